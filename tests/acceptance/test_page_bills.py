"""Bills and runs in a real browser: page, rows, interface and PDF agree; people decide in turn."""

import io
from dataclasses import replace
from datetime import date
from urllib.parse import urlsplit

import httpx
import pypdf
import pytest
from playwright.sync_api import Browser, Page

from billing.bills.model import Gate, Stage
from billing.bills.service import asking
from billing.bills.service import run as runs
from cloud.store.db import Database
from portal.auth import service as access
from portal.auth.model import Role, UserSpec
from portal.i18n import LANGUAGES
from tests.acceptance.browser_kit import OPEN_ALL, check, keep, looking, needs_browser
from tests.integration import bills_kit
from tests.integration.bills_kit import FEB, JAN, MAR, ZONE, household
from tests.integration.portal_kit import API_KEY, PASSWORD, YUAN, Town

pytestmark = needs_browser
EXPECTED = {1: 62_150_000, 2: 389_850_000, 3: 3_390_000}
"""100 kWh: 52 + 3 + 7.15; 600 kWh: 260 + 82 + 3 + 44.85; none: 3 + 0.39."""


def opened(town: Town, start: date, end: date, **changes: int) -> int:
    """Open a run of the book and move it on as far as it goes without people."""
    now = town.clock.now()
    run = runs.open_run(
        town.owner, start=start, end=end, zone=ZONE, actor="user:reza", now=now, book="north",
        gate=replace(Gate(), **changes),
    )  # fmt: skip
    runs.advance(town.owner, run.id, now=now)
    return run.id


@pytest.fixture(scope="module")
def first(town: Town) -> int:
    """A closed run of three households, who can sign in as h1, h2, h3."""
    people = [household(n, language=("fa", "zh", "uz")[n - 1]) for n in (1, 2, 3)]
    bills_kit.book(town.owner, *people)
    runs.assign_book(
        town.owner, [one.account for one in people], "north", actor="user:reza",
        now=town.clock.now(),
    )  # fmt: skip
    access.ensure_users(
        town.owner,
        tuple(
            UserSpec(login=f"h{n}", name=f"Wang Lei {n}", roles=(Role.CUSTOMER,), language="en",
                     password=PASSWORD, usage_points=(f"UP-{n:06}",))
            for n in (1, 2, 3)
        ),
        town.clock.now(),
    )  # fmt: skip
    for number, kwh in ((1, 1_100), (2, 1_600), (3, 1_000)):
        bills_kit.read(town.owner, number, FEB, kwh)
    number = opened(town, JAN, FEB)
    runs.close(town.owner, number, actor="user:reza", now=town.clock.now())
    return number


def bill_of(db: Database, number: int) -> int:
    with db.transaction() as conn:
        return asking.bills_of(conn, f"AC-{number:06}")[-1].id


def amounts(page: Page, selector: str) -> list[int]:
    return [int(one.get_attribute("data-micros") or "") for one in page.locator(selector).all()]


@pytest.mark.req("G5", "G17", "Q6")
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_bill_says_the_same_on_page_in_pdf_and_by_interface(
    chromium: Browser, town: Town, first: int, number: int
) -> None:
    bill = bill_of(town.owner, number)
    total = EXPECTED[number]
    with looking(chromium, town, f"h{number}") as look:
        page = look.page
        page.goto(f"{town.url}/home/bills?lang=en")
        page.get_by_role("link", name=f"Bill {bill}", exact=True).click()
        page.wait_for_url(f"**/home/bills/{bill}")
        assert amounts(page, "#bill-total") == [total]
        assert sum(amounts(page, "#bill-rows li[data-counts='1']")) == total
        with page.expect_download() as waiting:
            page.get_by_role("link", name="Bill as PDF").click()
        octets = waiting.value.path().read_bytes()
        assert not look.faults
    told = httpx.get(
        f"{town.url}/api/v1/usage-points/UP-{number:06}/bills/{bill}",
        headers={"Authorization": f"Bearer {API_KEY}"}, timeout=20,
    ).json()  # fmt: skip
    assert told["total_micros"] == total
    assert sum(row["amount_micros"] for row in told["rows"] if row["counts"]) == total
    assert sum(line["amount_micros"] for line in told["lines"]) == total
    if number == 2:
        printed = "".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(octets)).pages)
        assert "389.85" in printed
        assert printed.count("44.85") == 1
    assert octets.startswith(b"%PDF")


@pytest.mark.req("Q4")
@pytest.mark.parametrize("language", LANGUAGES)
def test_pages_of_bills_are_sound_in_every_language(
    chromium: Browser, town: Town, first: int, language: str
) -> None:
    bill = bill_of(town.owner, 2)
    for login, paths in (
        ("h2", ("/home/bills", f"/home/bills/{bill}")),
        ("reza", ("/runs", f"/runs/{first}", f"/customers/UP-000002/bills/{bill}")),
    ):
        with looking(chromium, town, login) as look:
            page = look.page
            for path in paths:
                answer = page.goto(f"{town.url}{path}?lang={language}")
                assert answer is not None
                assert answer.status == 200
                page.evaluate("document.fonts.ready.then(() => 1)")
                page.evaluate(OPEN_ALL)
                for width in (360, 1280):
                    page.set_viewport_size({"width": width, "height": 800})
                    check(look, f"{path} {language} {width}")
                    keep(page, f"bills-{path.strip('/')}-{language}-{width}")
            assert not look.faults
            assert look.hosts == {urlsplit(town.url).netloc}


@pytest.mark.req("G9")
def test_totals_of_a_run_are_those_of_the_ledger(chromium: Browser, town: Town, first: int) -> None:
    with looking(chromium, town, "mona") as look:
        page = look.page
        page.goto(f"{town.url}/runs/{first}?lang=en")
        assert page.locator("ol.steps li[aria-current]").inner_text() == "closed"
        assert sum(amounts(page, "#sheet tbody tr")) == sum(EXPECTED.values())
        books = page.locator("#books li").all()
        assert books
        assert all(
            one.get_attribute("data-billed") == one.get_attribute("data-booked") for one in books
        )
        assert sum(int(one.get_attribute("data-billed") or "") for one in books) == sum(
            EXPECTED.values()
        )
        assert not look.faults


@pytest.mark.req("B5", "G6")
def test_doubt_is_decided_and_a_large_amount_agreed_to_by_two_at_the_page(
    chromium: Browser, town: Town, first: int
) -> None:
    for number, kwh in ((1, 1_900), (2, 2_100), (3, 1_010)):
        bills_kit.read(town.owner, number, MAR, kwh)
    run = opened(town, FEB, MAR, two_people_micros=500 * YUAN)
    with looking(chromium, town, "reza") as reza, looking(chromium, town, "lin") as lin:
        page = reza.page
        page.goto(f"{town.url}/runs/{run}?lang=en")
        check(reza, "a run with doubt")
        keep(page, "bills-run-held-en-1280")
        held = page.locator("li.case")
        assert held.count() == 1
        assert "AC-000001" in held.inner_text()
        assert "much more than usual" in held.inner_text()
        held.locator("input[name='reason']").fill("heating")
        held.get_by_role("button", name="It is so").click()
        page.locator(".flash.good").wait_for()
        runs.advance(town.owner, run, now=town.clock.now())

        for look in (reza, lin):
            page = look.page
            page.goto(f"{town.url}/confirm?next=/runs/{run}")
            page.fill("#password", PASSWORD)
            page.locator("form[action='/confirm'] button").click()
            page.wait_for_url(f"**/runs/{run}")
            page.goto(f"{town.url}/runs/{run}?lang=en")
            waiting = page.locator("form[action$='/approve']")
            assert waiting.count() == 1
            waiting.locator("button").click()
            page.locator(".flash.good").wait_for()
            page.goto(f"{town.url}/runs/{run}?lang=en")
            if look is reza:
                assert "another person must" in page.locator("#run").inner_text()
        assert page.locator("form[action$='/approve']").count() == 0
        assert not reza.faults
        assert not lin.faults
    moved = runs.advance(town.owner, run, now=town.clock.now())
    assert moved.run.stage is Stage.TOTALLED
    assert moved.states == {"billed": 3}


@pytest.mark.req("R12")
def test_nobody_sees_the_bill_of_another(chromium: Browser, town: Town, first: int) -> None:
    bill = bill_of(town.owner, 2)
    with looking(chromium, town, "h1") as look:
        for path in (f"/home/bills/{bill}", f"/home/bills/{bill}/pdf"):
            answer = look.page.request.get(town.url + path)
            assert answer.status == 404, path
        assert look.page.request.get(f"{town.url}/runs/{first}").status == 403
