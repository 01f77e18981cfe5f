"""A bill that validation stops, at the page of its run: why, and each way on."""

from datetime import date, datetime, time, timedelta
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser

from billing.bills.service import run as runs
from cloud.store.db import Database
from portal.i18n import LANGUAGES
from tests.acceptance.browser_kit import check, keep, looking, needs_browser
from tests.integration import bills_kit
from tests.integration.bills_kit import FEB, JAN, ZONE, household
from tests.integration.portal_kit import Town

pytestmark = needs_browser
DAYS = [date(2026, 1, 12) + timedelta(days=n) for n in range(3)]
SHOWN, PASSED = 71, 73


def lacking(db: Database, point: str) -> None:
    """Three days of a usage point of which validation could measure nothing."""
    for day in DAYS:
        since = datetime.combine(day, time(0), ZONE)
        facts = {"point": point, "day": day, "since": since, "until": since + timedelta(days=1)}
        with db.transaction() as conn:
            conn.execute(
                "INSERT INTO vee.day (usage_point, day, seconds, version, since, until, checked_at,"
                " rule_set, rule_hash, expected, present, edited, suspect, estimated, missing,"
                " findings, refused, reads_from, reads_to)"
                " VALUES (%(point)s, %(day)s, 900, 1, %(since)s, %(until)s, %(until)s,"
                " 'household.v1', '', 96, 0, 0, 0, 96, 0, '{}', '[]', %(day)s, %(day)s)", facts,
            )  # fmt: skip
            conn.execute(
                "INSERT INTO vee.exception (kind, meter, usage_point, range_start, range_end,"
                " opened_at, severity, day, places, value, allowed, unit, rule_set)"
                " VALUES ('billing_gate', 'M-000071', %(point)s, %(since)s, %(until)s, %(until)s,"
                " 'blocking', %(day)s, 1, 1000, 20, 'permille', 'household.v1')", facts,
            )  # fmt: skip


@pytest.fixture(scope="module")
def stopped(town: Town) -> int:
    """A run that waits, and is looked at."""
    return stop(town, SHOWN)


def stop(town: Town, number: int) -> int:
    """Open a run that waits because of three days of 31: 97 of 1000."""
    one, book = household(number, language="fa"), f"gated-{number}"
    bills_kit.book(town.owner, one)
    now = town.clock.now()
    runs.assign_book(town.owner, [one.account], book, actor="user:reza", now=now)
    bills_kit.read(town.owner, number, FEB, 1_100)
    lacking(town.owner, one.usage_point)
    run = runs.open_run(
        town.owner, start=JAN, end=FEB, zone=ZONE, actor="user:mona", now=now, book=book
    )
    assert runs.advance(town.owner, run.id, now=now).waiting == "held"
    return run.id


@pytest.mark.req("Q4")
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_stopped_bill_says_why_in_every_language(
    chromium: Browser, town: Town, stopped: int, language: str
) -> None:
    with looking(chromium, town, "reza") as look:
        page = look.page
        page.goto(f"{town.url}/runs/{stopped}?lang={language}")
        page.evaluate("document.fonts.ready.then(() => 1)")
        assert page.locator("[data-share]").get_attribute("data-share") == "97"
        for width in (360, 1280):
            page.set_viewport_size({"width": width, "height": 900})
            check(look, f"a stopped bill {language} {width}")
            keep(page, f"bills-stopped-{language}-{width}")
        assert not look.faults
        assert look.hosts == {urlsplit(town.url).netloc}


@pytest.mark.req("B17", "G6")
def test_its_days_are_looked_at_again_and_two_people_let_it_pass(
    chromium: Browser, town: Town
) -> None:
    stopped = stop(town, PASSED)
    with looking(chromium, town, "reza") as reza, looking(chromium, town, "lin") as lin:
        page = reza.page
        page.goto(f"{town.url}/runs/{stopped}?lang=en")
        again = page.get_by_role("button", name="Validate again")
        again.focus()
        page.keyboard.press("Enter")
        page.locator(".flash.good").wait_for()
        with town.owner.transaction() as conn:
            waits = conn.execute(
                "SELECT day, actor FROM vee.dirty WHERE usage_point = %s ORDER BY day",
                (f"UP-{PASSED:06}",),
            ).fetchall()
        assert waits == [(day, "user:reza") for day in DAYS]
        for look in (reza, lin):
            page = look.page
            page.goto(f"{town.url}/runs/{stopped}?lang=en")
            held = page.locator("li.case")
            assert "too little was measured" in held.inner_text()
            if look is lin:
                assert "Agreed by reza" in " ".join(held.inner_text().split())
                keep(page, "bills-stopped-first-en-1280")
            held.locator("input[name='reason']").fill("the concentrator was down")
            held.get_by_role("button", name="It is so").click()
            page.locator(".flash.good").wait_for()
            assert not look.faults
        assert page.locator("li.case").count() == 0
    moved = runs.advance(town.owner, stopped, now=town.clock.now())
    assert moved.states == {"billed": 1}


def test_no_one_person_closes_it_in_the_queue(chromium: Browser, town: Town) -> None:
    with town.owner.transaction() as conn:
        conn.execute(
            "INSERT INTO vee.exception (kind, meter, usage_point, range_start, range_end,"
            " opened_at, severity, day) VALUES ('billing_gate', 'M-000071', 'UP-000072',"
            " '2026-01-02', '2026-01-03', now(), 'blocking', '2026-01-02')"
        )
    with looking(chromium, town, "reza") as look:
        page = look.page
        page.goto(f"{town.url}/stream/findings?severity=blocking&lang=en")
        assert "two people accept it at the bill run" in page.locator("main").inner_text()
        assert page.locator("form[action$='/close']").count() == 0
        check(look, "blocking findings")
        assert not look.faults
