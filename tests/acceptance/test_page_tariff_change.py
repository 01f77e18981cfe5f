"""New prices at the pages: figures stated, impact on real accounts seen, two people, a date."""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Browser, Page

from billing.rating.rules.oracle import oracle_between
from billing.tariffs import service as tariffs
from billing.tariffs.model import Case
from billing.tariffs.rules import read_tariff
from cloud.usage import service as usage
from portal.i18n import LANGUAGES
from protocols.identity import UsagePointId
from protocols.timeline import local_date, local_day
from tests.acceptance.browser_kit import Look, check, keep, looking, needs_browser
from tests.acceptance.test_page_run_orders import confirmed
from tests.integration.billing_kit import rows
from tests.integration.portal_kit import Town

pytestmark = needs_browser
ZONE = ZoneInfo("Asia/Shanghai")
CODE = "cq-household-lv"
DAY = date(2027, 1, 1)


def in_force(town: Town, day: date) -> str | None:
    with town.owner.transaction() as conn:
        return tariffs.version_on(conn, CODE, day)


def widths(page: Page, look: Look, where: str) -> None:
    for width in (360, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        check(look, f"{where} {width}")


@pytest.mark.req("G2", "G3", "G4")
def test_prices_are_changed_seen_on_real_accounts_and_put_in_force_by_two(
    chromium: Browser, town: Town
) -> None:
    old = in_force(town, DAY)
    assert old is not None
    with looking(chromium, town, "reza") as reza, looking(chromium, town, "lin") as lin:
        page = reza.page
        confirmed(page, town, f"/tariffs/{old[:16]}/change")
        page.fill("#day", DAY.isoformat())
        page.fill("#legal", "order 7 of 2026")
        page.fill("#source", "gazette 7")
        page.fill("#reason", "the second step is dearer")
        second = page.locator("input[name='figure:energy/steps/1/price']")
        assert second.input_value() == "0.5700"
        second.fill("0.63")
        # only the example of 2401 kWh and more reaches the second step; stated wrong first
        examples = page.locator("#examples li")
        assert examples.count() >= 1
        document = read_tariff(tariffs.shipped(CODE))
        totals = {}
        for number, case in enumerate(document.test_cases):
            assert isinstance(case, Case)
            dearer = sum(
                6 * (min(wh, 4_800_000) - 2_400_000) * 10 * sign
                for wh, sign in ((case.to_wh, 1), (case.from_wh, -1)) if wh > 2_400_000
            )  # fmt: skip
            totals[number] = case.total + dearer
        page.fill("#total-0", "999.99")
        page.get_by_role("button", name="Propose").click()
        page.wait_for_load_state()
        assert "does not come out" in page.locator("main").inner_text()
        assert rows(town.owner, "SELECT count(*) FROM tariffs.proposal") == [(0,)]

        reza.faults.clear()  # the browser notes the refusal's status as an error
        page.goto(f"{town.url}/tariffs/{old[:16]}/change?lang=en")
        page.fill("#day", DAY.isoformat())
        page.fill("#legal", "order 7 of 2026")
        page.fill("#source", "gazette 7")
        page.fill("#reason", "the second step is dearer")
        page.locator("input[name='figure:energy/steps/1/price']").fill("0.63")
        for number, micros in totals.items():
            page.fill(f"#total-{number}", f"{micros // 1_000_000}.{micros % 1_000_000:06}")
        page.get_by_role("button", name="Propose").click()
        page.wait_for_url("**/tariffs/p*")
        assert in_force(town, DAY) == old, "a proposal prices nothing"

        page.goto(f"{town.url}/tariffs?lang=en")
        assert "another person decides" in page.locator("#proposed").inner_text()
        assert page.locator("button[value='published']").count() == 0
        _impact(town, reza, old)
        confirmed(lin.page, town, "/tariffs")
        lin.page.locator("button[value='published']").click()
        lin.page.locator(".flash.good").wait_for()
        assert not reza.faults
        assert not lin.faults
    new = in_force(town, DAY)
    assert new not in (None, old)
    assert in_force(town, DAY - timedelta(days=1)) == old


@pytest.mark.req("Q4")
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_form_of_new_prices_is_sound_in_every_language(
    chromium: Browser, town: Town, language: str
) -> None:
    present = in_force(town, local_date(town.clock.now(), ZONE))
    assert present is not None
    with looking(chromium, town, "reza") as look:
        for path in ("/tariffs", f"/tariffs/{present[:16]}/change"):
            look.page.goto(f"{town.url}{path}?lang={language}")
            widths(look.page, look, f"{path} {language}")
        keep(look.page, f"tariff-change-{language}")
        today = local_date(town.clock.now(), ZONE)
        look.page.goto(
            f"{town.url}/tariffs/diff?before={present[:16]}&after=cq-household-mv.v1"
            f"&first={today - timedelta(days=1)}&until={today}&lang={language}"
        )
        assert look.page.locator("#impact-sums").count() == 1
        widths(look.page, look, f"impact {language}")
        keep(look.page, f"tariff-impact-{language}")
        assert not look.faults


def _impact(town: Town, look: Look, old: str) -> None:
    """See what the proposal does to the town's accounts; every figure is checked by the oracle."""
    page, today = look.page, local_date(town.clock.now(), ZONE)
    first, until = today - timedelta(days=1), today
    page.goto(f"{town.url}/tariffs/diff?before={old[:16]}&after=p1&lang=en")
    page.fill("#first", first.isoformat())
    page.fill("#until", until.isoformat())
    page.get_by_role("button", name="Price by both").click()
    page.locator("#impact-sums").wait_for()
    sums = page.locator("#impact-sums")
    told = [
        int(sums.get_attribute(f"data-{name}") or "") for name in ("accounts", "before", "after")
    ]
    before, after = _by_oracle(town, first, until)
    assert told == [len(before), sum(before.values()), sum(after.values())]
    bands = page.locator("#impact-bands li").all()
    assert sum(int(one.get_attribute("data-accounts") or "") for one in bands) == len(before)
    changed = sum(after.values()) - sum(before.values())
    assert sum(int(one.get_attribute("data-micros") or "") for one in bands) == changed > 0
    movers = page.locator("ul.movers").first.locator("li")
    most = sorted((after[name] - before[name] for name in before), reverse=True)[: movers.count()]
    assert [int(one.get_attribute("data-micros") or "") for one in movers.all()] == most
    bars = page.locator("svg.impact rect").all()
    assert sum(int(one.get_attribute("data-value") or "") for one in bars) == len(before)
    keep(page, "tariff-impact-en")


def newest_of_the_day(town: Town, point: str, at: datetime) -> int | None:
    """The newest register in the day up to an instant."""
    with town.owner.transaction() as conn:
        found = usage.register_at(conn, UsagePointId(point), at)
    return found.cumulative_wh if found and found.at > at - timedelta(days=1) else None


def _by_oracle(town: Town, first: date, until: date) -> tuple[dict[str, int], dict[str, int]]:
    """Return what each account's registers cost by both, in fractions, from plain rows."""
    low, high = local_day(first, ZONE).start, local_day(until, ZONE).start
    old = read_tariff(tariffs.shipped(CODE))
    with town.owner.transaction() as conn:
        new = read_tariff(tariffs.proposals(conn)[0].document.encode())
    found: tuple[dict[str, int], dict[str, int]] = ({}, {})
    for account, opening, year, point in rows(
        town.owner,
        "SELECT account, opening_register_wh, opening_year_wh, usage_point"
        " FROM customers.agreement WHERE started_at <= %s", (low,),
    ):  # fmt: skip
        marks = [newest_of_the_day(town, point, at) for at in (low, high)]
        if all(mark is not None for mark in marks):
            span = [year + mark - opening for mark in marks if mark is not None]
            for side, tariff in zip(found, (old, new), strict=True):
                side[account] = oracle_between(tariff, span[0], span[1])
    assert len(found[0]) >= 3, "the town has real accounts"
    return found
