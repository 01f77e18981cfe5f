"""Emergency credit and fee control in a real browser: a customer borrows, two people set aside."""

from datetime import timedelta

import pytest
from playwright.sync_api import Browser

from billing.ledger import service as ledger
from billing.prepaid import service as prepaid
from billing.prepaid.rules.credit import Level, PolicyPart
from billing.prepaid.service import policies, watch
from cloud.control import service as control
from cloud.control.service.sweep import SeenRelay
from portal.i18n import LANGUAGES
from protocols.reading import RelayReading, RelayState
from tests.acceptance.browser_kit import OPEN_ALL, check, keep, looking, needs_browser, step_up
from tests.integration.portal_kit import YUAN, Town, account, point

pytestmark = needs_browser


@pytest.fixture(scope="module", autouse=True)
def offer(town: Town) -> None:
    """Offer ten yuan below zero to all, and a fifth of each top-up for old debt."""
    part = PolicyPart(
        level=Level.DEFAULT, target="CNY",
        says={
            "emergency_micros": 10 * YUAN, "emergency_from_micros": YUAN,
            "recovery_permille": 200, "recovery_cap_micros": 5 * YUAN,
        },
    )  # fmt: skip
    policies.set_policy(town.owner, part, actor="user:reza", now=town.clock.now())


def owed(town: Town, number: int) -> dict[str, int]:
    with town.owner.transaction() as conn:
        return {kind.value: due for kind, due in ledger.owed(conn, account(number)).items()}


@pytest.mark.req("C10")
def test_a_customer_in_debt_borrows_once_and_sees_it_apart(chromium: Browser, town: Town) -> None:
    with looking(chromium, town, "c60", width=360) as look:
        page = look.page
        page.goto(f"{town.url}/home?lang=en")
        page.get_by_role("link", name="Emergency credit and old debt").click()
        page.goto(f"{town.url}/home/credit?lang=en")
        check(look, "credit before")
        keep(page, "credit-before")
        page.locator("main form button.main").focus()
        page.keyboard.press("Enter")
        page.locator(".flash.good").wait_for()
        page.goto(f"{town.url}/home/credit?lang=en")
        apart = page.locator("#apart").inner_text()
        assert "10.00" in apart
        assert "Lent to you" in apart
        assert page.locator("main form[action='/home/credit']").count() == 0
        assert "not repaid yet" in page.locator("main").inner_text()
        check(look, "credit after")
        keep(page, "credit-after")
        assert not look.faults
    assert owed(town, 60) == {"ar_emergency": 10 * YUAN}


def test_who_is_well_off_is_told_why_nothing_is_lent(chromium: Browser, town: Town) -> None:
    with looking(chromium, town, "c61") as look:
        look.page.goto(f"{town.url}/home/credit?lang=en")
        assert "still above the line" in look.page.locator("main").inner_text()
        assert look.page.locator("main form[action='/home/credit']").count() == 0


@pytest.mark.req("C12")
def test_staff_see_fee_control_and_two_people_set_old_debt_aside(
    chromium: Browser, town: Town
) -> None:
    later = town.clock.now() + timedelta(days=1)
    prepaid.sweep(town.owner, now=later)
    with town.owner.transaction() as conn:
        debt = -ledger.balance_of(conn, account(88))
    assert debt > YUAN
    with looking(chromium, town, "reza") as reza, looking(chromium, town, "lin") as lin:
        page = reza.page
        page.goto(f"{town.url}/fee-control?lang=en")
        page.evaluate(OPEN_ALL)
        page.fill("#account", account(88))
        page.fill("#amount", "1.00")
        page.locator("form[action='/fee-control/debts'] #reason").fill("from the winter")
        page.locator("form[action='/fee-control/debts'] button").click()
        page.locator(".flash.good").wait_for()
        page.goto(f"{town.url}/fee-control?lang=en")
        assert "Another person must agree" in page.locator("#debts").inner_text()
        assert page.locator("form[action$='/approve']").count() == 0
        assert owed(town, 88) == {}

        page = lin.page
        step_up(page, town, "/fee-control")
        page.goto(f"{town.url}/fee-control?lang=en")
        assert "from the winter" in page.locator("#debts").inner_text()
        page.locator("form[action$='/approve'] button").click()
        page.locator(".flash.good").wait_for()
        assert owed(town, 88) == {"ar_old_debt": YUAN}
        assert not reza.faults
        assert not lin.faults


def test_the_watch_is_worked_off_at_the_page(chromium: Browser, town: Town) -> None:
    now = town.clock.now() + timedelta(minutes=1)
    opened = RelayReading(
        output_closed=False, control_state=RelayState.DISCONNECTED, control_mode=4
    )
    control.reconcile(town.owner, [SeenRelay(point(43), now, opened)], now=now)
    watch.look(town.owner, now=now + timedelta(days=5))
    with town.owner.transaction() as conn:
        found = watch.watched(conn)
    assert [one.usage_point for one in found] == [point(43)]
    with looking(chromium, town, "reza") as look:
        page = look.page
        page.goto(f"{town.url}/fee-control?lang=en")
        item = page.locator("#watched > li").first
        item.locator("input[name='note']").fill("on a journey")
        item.get_by_role("button", name="Note").click()
        page.locator(".flash.good").wait_for()
    with town.owner.transaction() as conn:
        assert "on a journey" in {one.note for one in watch.watched(conn)}


@pytest.mark.req("Q4")
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("width", [360, 1280])
def test_fee_control_is_clean_in_every_language_narrow_and_wide(
    chromium: Browser, town: Town, language: str, width: int
) -> None:
    with looking(chromium, town, "reza", width=width) as look:
        look.page.goto(f"{town.url}/fee-control?lang={language}&days=30")
        look.page.evaluate(OPEN_ALL)
        check(look, f"fee-control {language} {width}")
        keep(look.page, f"fee-control-{language}-{width}")
        assert not look.faults
    with looking(chromium, town, "c60", width=width) as look:
        look.page.goto(f"{town.url}/home/credit?lang={language}")
        check(look, f"credit {language} {width}")
        keep(look.page, f"credit-{language}-{width}")


def test_staff_lend_for_a_customer_who_asks_by_phone(chromium: Browser, town: Town) -> None:
    own = PolicyPart(
        level=Level.AGREEMENT, target="SA-000042",
        says={"emergency_micros": 7 * YUAN, "emergency_from_micros": 500 * YUAN},
    )  # fmt: skip
    policies.set_policy(town.owner, own, actor="user:reza", now=town.clock.now())
    with looking(chromium, town, "reza") as look:
        page = look.page
        page.goto(f"{town.url}/customers/{point(42)}?lang=en")
        check(look, "customer with credit")
        page.get_by_role("button", name="as the customer asks").click()
        page.locator(".flash.good").wait_for()
        page.goto(f"{town.url}/customers/{point(42)}?lang=en")
        assert "7.00" in page.locator("#apart").inner_text()
        keep(page, "customer-credit")
        assert not look.faults
    assert owed(town, 42) == {"ar_emergency": 7 * YUAN}
