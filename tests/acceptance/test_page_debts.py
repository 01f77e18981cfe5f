"""Plans, deposits and ends in a real browser: two people, the customer's own signature."""

from dataclasses import replace
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Browser, Page

from billing.bills.rules.plans import PlanState
from billing.bills.service import deposits, ending, means, plans
from billing.bills.service.corrections import Order
from billing.customers.model import AccountId
from billing.payments import service as payments
from billing.payments.model import PaymentOrder
from portal.i18n import LANGUAGES
from protocols.timeline import local_date
from tests.acceptance.browser_kit import OPEN_ALL, check, keep, looking, needs_browser, step_up
from tests.integration.portal_kit import YUAN, Town, account, point

pytestmark = needs_browser


def see(page: Page, town: Town, path: str, language: str = "en") -> None:
    page.goto(f"{town.url}{path}?lang={language}")
    page.evaluate(OPEN_ALL)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every plan of a household take two people."""
    home = replace(plans.RULES["household", "CNY"], two_people_micros=1, least_micros=1_000_000)
    rules = {**plans.RULES, ("household", "CNY"): home}
    monkeypatch.setattr(plans, "RULES", rules)


@pytest.mark.req("G11")
def test_a_debt_is_shared_by_two_in_the_office_and_the_customer_signs(
    chromium: Browser, town: Town, large: None
) -> None:
    debts = f"/customers/{point(60)}/debts"
    with (
        looking(chromium, town, "reza") as reza, looking(chromium, town, "lin") as lin,
        looking(chromium, town, "c60", width=360) as own,
    ):  # fmt: skip
        page = reza.page
        see(page, town, debts)
        owed = int(page.locator("#owed").get_attribute("data-micros") or 0)
        assert owed > 3 * YUAN
        page.fill("#first", "1")
        page.fill("#count", "2")
        page.fill("#why", "a hard winter")
        page.get_by_role("button", name="Propose", exact=True).click()
        page.locator(".flash.good").wait_for()
        assert "Waits for approval" in page.locator("#plans").inner_text()
        assert "Another person must agree" in page.locator("#plans").inner_text()
        assert page.get_by_role("button", name="Approve").count() == 0
        step_up(lin.page, town, "/debts")
        see(lin.page, town, "/debts")
        lin.page.locator("#waiting-plans a.button").click()
        see(lin.page, town, debts)
        lin.page.get_by_role("button", name="Approve").click()
        lin.page.locator(".flash.good").wait_for()
        see(own.page, town, "/home/debts")
        shares = own.page.locator("#plans li[data-micros]")
        told = [int(each.get_attribute("data-micros") or 0) for each in shares.all()]
        with town.owner.transaction() as conn:
            plan = plans.pages_of(conn, account(60))[0]
        assert sum(told) == plan.plan.parts.total
        check(own, "plan to sign")
        keep(own.page, "debts_sign_360")
        own.page.get_by_role("button", name="I agree to this plan").click()
        own.page.locator(".flash.good").wait_for()
        with town.owner.transaction() as conn:
            plan = plans.pages_of(conn, account(60))[0]
        assert (plan.plan.state, plan.plan.signed_by) == (PlanState.ACTIVE, "user:c60")
        see(own.page, town, "/home/bills")
        left = own.page.locator("#on-plan").get_attribute("data-micros")
        assert int(left or 0) == plan.left_micros
        for language in LANGUAGES:
            see(own.page, town, "/home/debts", language)
            check(own, f"debts {language}")
            keep(own.page, f"debts_own_{language}_360")
        assert not reza.faults + lin.faults + own.faults
        assert own.hosts == {town.url.removeprefix("http://")}


@pytest.mark.req("G10", "G21")
def test_how_bills_are_paid_and_come_is_chosen(chromium: Browser, town: Town) -> None:
    with (
        looking(chromium, town, "reza") as reza,
        looking(chromium, town, "maryam", width=360) as own,
    ):
        page = reza.page
        see(page, town, f"/customers/{point(42)}/debts")
        page.select_option("#how", "bank_debit")
        page.fill("#mandate", "M-42")
        page.get_by_role("button", name="Save").click()
        page.locator(".flash.good").wait_for()
        see(own.page, town, "/home/debts")
        own.page.select_option("#delivery", "electronic")
        own.page.get_by_role("button", name="Save").click()
        own.page.locator(".flash.good").wait_for()
        see(own.page, town, "/home/debts", "fa")
        check(own, "means fa")
        keep(own.page, "debts_means_fa_360")
        with town.owner.transaction() as conn:
            chosen = means.choice_of(conn, account(42))
        assert (chosen.means.value, chosen.delivery.value, chosen.mandate) == (
            "bank_debit", "electronic", "M-42",
        )  # fmt: skip
        see(page, town, f"/customers/{point(42)}/debts")
        page.select_option("#how", "cash")
        page.get_by_role("button", name="Save").click()
        page.locator(".flash.good").wait_for()
        assert not reza.faults + own.faults


@pytest.mark.req("K10")
def test_what_is_left_of_an_end_and_a_deposit_go_back_by_two(chromium: Browser, town: Town) -> None:
    now = town.clock.now()
    deposit = deposits.demand(
        town.owner, account(88), reason="a hospital", actor="user:mona", now=now
    )
    payments.pay(
        town.owner,
        PaymentOrder(
            channel="bank", peer_txn_id="dep-88", account=AccountId(account(88)),
            amount_micros=600 * YUAN, currency="CNY", peer_time=now, actor="peer:bank",
        ),
        now=now,
    )  # fmt: skip
    deposits.step(town.owner, now=now)
    today = local_date(now, ZoneInfo("Asia/Shanghai"))
    ended = ending.close(
        town.owner, "SA-000061", end=today, register_wh=None,
        order=Order(reason="moved out", actor="user:mona", approver="user:lin"), now=now,
    )  # fmt: skip
    assert ended.left_micros > 0
    with looking(chromium, town, "reza") as reza, looking(chromium, town, "lin") as lin:
        page = reza.page
        see(page, town, f"/customers/{point(88)}/debts")
        page.locator("#deposits").get_by_label("Reason").fill("a good payer")
        page.locator("#deposits").get_by_role("button", name="Propose").click()
        page.locator(".flash.good").wait_for()
        see(page, town, "/debts")
        end = page.locator("#end-SA-000061")
        end.get_by_label("Reason").fill("moved out")
        end.get_by_role("button", name="Propose").click()
        page.locator(".flash.good").wait_for()
        see(page, town, "/debts")
        check(reza, "debts of the office")
        keep(page, "debts_office")
        assert page.get_by_role("button", name="Approve").count() == 0
        step_up(lin.page, town, "/debts")
        for place in ("#returning", "#end-SA-000061"):
            see(lin.page, town, "/debts")
            lin.page.locator(place).get_by_role("button", name="Approve").click()
            lin.page.locator(".flash.good").wait_for()
        lin.page.set_viewport_size({"width": 360, "height": 800})
        for language in LANGUAGES:
            see(lin.page, town, "/debts", language)
            check(lin, f"office debts {language}")
        keep(lin.page, "debts_office_settled_360")
        assert not reza.faults + lin.faults
    with town.owner.transaction() as conn:
        assert deposits.deposits_of(conn, account(88))[0].state.value == "returned"
        [after] = ending.endings_of(conn, account(61))
    assert deposit.amount_micros == 500 * YUAN
    assert (after.state.value, after.refunded_micros) == ("refunded", ended.left_micros)
    assert now - timedelta(days=1) < after.ended_at
