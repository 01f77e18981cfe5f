"""Money to settle, in a real browser: a file compared, two people at two screens."""

from datetime import timedelta
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Browser, Page

from billing.customers.model import AccountId
from billing.ledger import service as ledger
from billing.payments import service as payments
from billing.payments.model import PaymentOrder, PaymentReceipt
from billing.payments.service import proposals
from portal.i18n import LANGUAGES
from protocols.timeline import local_date
from tests.acceptance.browser_kit import OPEN_ALL, check, keep, looking, needs_browser, step_up
from tests.integration.portal_kit import YUAN, Town, account

pytestmark = needs_browser


@pytest.fixture(scope="module")
def lost(town: Town) -> PaymentReceipt:
    """Money that the bank took for an account nobody has, five days ago."""
    then = town.clock.now() - timedelta(days=5)
    return payments.pay(
        town.owner,
        PaymentOrder(
            channel="bank", peer_txn_id="lost-1", account=AccountId("AC-999999"),
            amount_micros=25 * YUAN, currency="CNY", peer_time=then, actor="peer:bank",
            already_collected=True,
        ),
        now=then,
    )  # fmt: skip


def paid(town: Town, txn: str, yuan: int, number: int = 43) -> None:
    now = town.clock.now()
    payments.pay(
        town.owner,
        PaymentOrder(
            channel="bank", peer_txn_id=txn, account=account(number), amount_micros=yuan * YUAN,
            currency="CNY", peer_time=now, actor="peer:bank", already_collected=True,
        ),
        now=now,
    )  # fmt: skip


def posted(town: Town, number: int) -> int:
    with town.owner.transaction() as conn:
        return ledger.balance_of(conn, account(number))


def open_page(page: Page, town: Town) -> None:
    page.goto(f"{town.url}/payments?lang=en")
    page.evaluate(OPEN_ALL)


@pytest.mark.req("H9", "G14")
def test_money_without_an_owner_finds_it_by_two_people(
    chromium: Browser, town: Town, lost: PaymentReceipt
) -> None:
    before = posted(town, 43)
    with looking(chromium, town, "reza") as reza, looking(chromium, town, "lin") as lin:
        page = reza.page
        open_page(page, town)
        item = page.locator("#suspense > li", has_text=lost.receipt_no)
        assert "5 days" in item.inner_text()
        item.locator("input[name='account']").fill(account(43))
        item.locator("input[name='reason']").fill("the name on the slip")
        item.get_by_role("button", name="Assign").click()
        page.locator(".flash.good").wait_for()
        open_page(page, town)
        assert page.locator("form[action='/payments/agree']").count() == 0
        assert "Another person must agree" in page.locator("#suspense").inner_text()
        assert posted(town, 43) == before, "one person moves nothing"

        page = lin.page
        step_up(page, town, "/payments")
        open_page(page, town)
        item = page.locator("#suspense > li", has_text=lost.receipt_no)
        assert "the name on the slip" in item.inner_text()
        item.locator("form[action='/payments/agree'] button").click()
        page.locator(".flash.good").wait_for()
        open_page(page, town)
        assert page.locator("#suspense > li", has_text=lost.receipt_no).count() == 0
        assert posted(town, 43) == before + 25 * YUAN
        assert not reza.faults
        assert not lin.faults


@pytest.mark.req("H9")
def test_a_file_is_compared_and_what_differs_ends_by_two_people(
    chromium: Browser, town: Town
) -> None:
    paid(town, "same-1", 10)
    paid(town, "other-1", 20)
    before = posted(town, 43)
    at = town.clock.now().isoformat()
    rows = [
        "peer_txn_id,account,amount,currency,peer_time",
        f"same-1,{account(43)},10.00,CNY,{at}", f"other-1,{account(43)},18.50,CNY,{at}",
        f"new-1,{account(43)},7.25,CNY,{at}",
    ]  # fmt: skip
    today = local_date(town.clock.now(), ZoneInfo("Asia/Shanghai")).isoformat()
    with looking(chromium, town, "reza") as reza, looking(chromium, town, "lin") as lin:
        page = reza.page
        open_page(page, town)
        page.select_option("#channel", "bank")
        page.fill("#first", today)
        page.fill("#last", today)
        page.fill("#file", "\n".join(rows))
        page.get_by_role("button", name="Compare").click()
        page.locator(".flash.good").wait_for()
        assert posted(town, 43) == before + 7_250_000, "what only the bank had is booked"
        open_page(page, town)
        item = page.locator("#differences > li", has_text="other-1")
        assert "amounts differ" in item.inner_text()
        item.locator("input[name='reason']").fill("the bank's slip says 18.50")
        item.get_by_role("button", name="Correct ours").click()
        page.locator(".flash.good").wait_for()

        page = lin.page
        step_up(page, town, "/payments")
        open_page(page, town)
        item = page.locator("#differences > li", has_text="other-1")
        item.locator("form[action='/payments/agree'] button").click()
        page.locator(".flash.good").wait_for()
        assert posted(town, 43) == before + 7_250_000 - 1_500_000
        with town.owner.transaction() as conn:
            assert not [
                one for one in proposals.open_differences(conn) if one.peer_txn_id == "other-1"
            ]
        assert not reza.faults
        assert not lin.faults


@pytest.mark.req("Q4")
def test_the_page_of_payments_is_sound_in_every_language(
    chromium: Browser, town: Town, lost: PaymentReceipt
) -> None:
    now = town.clock.now()
    paid(town, "missing-1", 3, 999)
    wish = proposals.Proposal(
        subject=proposals.suspense_subject("nobody"), end=proposals.End.RETURNED, account="",
        reason="sent twice", actor="user:reza", at=now,
    )  # fmt: skip
    proposals.propose(town.owner, wish, now=now)
    with looking(chromium, town, "reza") as look:
        page = look.page
        for language in LANGUAGES:
            answer = page.goto(f"{town.url}/payments?lang={language}")
            assert answer is not None
            assert answer.status == 200
            page.evaluate("document.fonts.ready.then(() => 1)")
            page.evaluate(OPEN_ALL)
            for width in (360, 1280):
                page.set_viewport_size({"width": width, "height": 800})
                check(look, f"payments {language} {width}")
                keep(page, f"payments-{language}-{width}")
        assert not look.faults
        assert look.hosts == {urlsplit(town.url).netloc}


@pytest.mark.req("R12")
def test_a_customer_settles_nothing_and_a_bad_file_is_refused_by_line(
    chromium: Browser, town: Town
) -> None:
    with looking(chromium, town, "c43") as look:
        assert look.page.request.get(f"{town.url}/payments").status == 403
    paid(town, "bad-file-1", 1)
    with looking(chromium, town, "nina") as look:
        page = look.page
        open_page(page, town)
        page.fill("#file", "peer_txn_id,account,amount\nx,y,1")
        with page.expect_response("**/payments/reconcile") as waiting:
            page.locator("form[action='/payments/reconcile'] button").click()
        assert waiting.value.status == 409
        assert "payments.file" in page.locator("main").inner_text()
