"""A run from its opening to its close at the pages: staff order, billing acts, two people close."""

import pytest
from playwright.sync_api import Browser, Page

from billing.bills.model import RunAct, RunOutcome, Stage
from billing.bills.service import orders
from billing.bills.service import run as runs
from cloud.store.db import Database
from portal.i18n import LANGUAGES
from protocols.errors import RefusedError
from tests.acceptance.browser_kit import OPEN_ALL, check, keep, looking, needs_browser
from tests.integration import bills_kit
from tests.integration.bills_kit import FEB, JAN, ZONE, household
from tests.integration.portal_kit import PASSWORD, Town

pytestmark = needs_browser
BILLED = 62_150_000 + 389_850_000
"""100 kWh: 52 + 3 + 7.15; 600 kWh: 260 + 82 + 3 + 44.85."""


@pytest.fixture(scope="module")
def people(town: Town) -> None:
    """Two households of the book south, read at both ends of January."""
    bills_kit.book(town.owner, *(household(n) for n in (1, 2)))
    runs.assign_book(
        town.owner, ["AC-000001", "AC-000002"], "south", actor="user:reza", now=town.clock.now()
    )
    for number, kwh in ((1, 1_100), (2, 1_600)):
        bills_kit.read(town.owner, number, FEB, kwh)


def confirmed(page: Page, town: Town, path: str) -> None:
    page.goto(f"{town.url}/confirm?next={path}")
    page.fill("#password", PASSWORD)
    page.locator("form[action='/confirm'] button").click()
    page.wait_for_url(f"**{path}")
    page.goto(f"{town.url}{path}?lang=en")


def send_order(page: Page, act: RunAct) -> None:
    page.locator(f"button[name='act'][value='{act.value}']").click()
    page.locator(".flash.good").wait_for()


@pytest.mark.req("G5", "B6", "G6")
def test_a_run_goes_from_opening_to_close_at_the_pages(
    chromium: Browser, town: Town, people: None
) -> None:
    with (
        looking(chromium, town, "reza") as reza,
        looking(chromium, town, "lin") as lin,
        Database(town.dsn, user="meterloop_billing", application="test") as billing,
    ):
        page = reza.page
        confirmed(page, town, "/runs")
        page.fill("#first", JAN.isoformat())
        page.fill("#until", FEB.isoformat())
        page.fill("#book", "south")
        page.get_by_role("button", name="Open", exact=True).click()
        page.wait_for_url("**/runs/*")
        number = int(page.url.rsplit("/", 1)[-1])
        page.goto(f"{town.url}/runs/{number}?lang=en")
        send_order(page, RunAct.ADVANCE)
        page.goto(f"{town.url}/runs/{number}?lang=en")
        assert page.locator("#run-ordered").count() == 1, "an order waits: no second one is offered"
        assert page.locator("button[name='act']").count() == 0
        done = orders.carry_out(billing, now=town.clock.now())
        assert done is not None
        assert done.outcome is RunOutcome.DONE
        page.goto(f"{town.url}/runs/{number}?lang=en")
        rows = page.locator("#sheet tbody tr").all()
        assert sum(int(row.get_attribute("data-micros") or "") for row in rows) == BILLED
        assert page.locator("button[value='close']").count() == 0, "who opened does not close"
        assert "another person closes it" in page.locator("#run").inner_text()

        confirmed(lin.page, town, f"/runs/{number}")
        send_order(lin.page, RunAct.CLOSE)
        orders.carry_out(billing, now=town.clock.now())
        for language in LANGUAGES:
            lin.page.goto(f"{town.url}/runs/{number}?lang={language}")
            lin.page.evaluate(OPEN_ALL)
            for width in (360, 1280):
                lin.page.set_viewport_size({"width": width, "height": 800})
                check(lin, f"closed run {language} {width}")
            keep(lin.page, f"run-closed-{language}")
            page.goto(f"{town.url}/runs?lang={language}")
            for width in (360, 1280):
                page.set_viewport_size({"width": width, "height": 800})
                check(reza, f"open a run {language} {width}")
            keep(page, f"runs-open-{language}")
        assert not reza.faults
        assert not lin.faults
        with town.owner.transaction() as conn:
            assert runs.run_of(conn, number).stage is Stage.CLOSED
        assert orders.carry_out(billing, now=town.clock.now()) is None, "each order once"


def test_an_order_needs_the_password_anew_and_the_right(
    chromium: Browser, town: Town, people: None
) -> None:
    with looking(chromium, town, "mona") as look:
        look.page.goto(f"{town.url}/runs?lang=en")
        assert look.page.locator("#open-h").count() == 0, "a manager looks on"
    with pytest.raises(RefusedError) as refused:
        orders.order(town.owner, 99_999, RunAct.ADVANCE, actor="user:reza", now=town.clock.now())
    assert refused.value.refusal.value == "bills.run_unknown"


def test_what_a_rule_refuses_ends_as_refused_with_its_code(town: Town, people: None) -> None:
    now = town.clock.now()
    run = runs.open_run(
        town.owner, start=JAN, end=FEB, zone=ZONE, actor="user:reza", now=now, book="west"
    )
    orders.order(town.owner, run.id, RunAct.CLOSE, actor="user:lin", now=now)
    with pytest.raises(RefusedError):
        orders.order(town.owner, run.id, RunAct.ADVANCE, actor="user:reza", now=now)
    done = orders.carry_out(town.owner, now=now)
    assert done is not None
    assert (done.outcome, done.code) == (RunOutcome.REFUSED, "bills.run_still_open")
    with pytest.raises(RefusedError) as alone:
        orders.order(town.owner, run.id, RunAct.CLOSE, actor="user:reza", now=now)
    assert alone.value.refusal.value == "bills.same_person"
