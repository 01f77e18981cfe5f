"""Arrears of a past moment, books compared, exceptions and limits, in a real browser."""

import csv
import io
import re
from datetime import timedelta
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Browser, Locator

from billing.accounting import service as accounting
from billing.customers.model import AccountId
from billing.ledger import service as ledger
from billing.ledger.model import Event
from billing.payments import service as payments
from billing.payments.model import PaymentOrder
from portal.i18n import LANGUAGES
from tests.acceptance.browser_kit import OPEN_ALL, check, keep, looking, needs_browser, step_up
from tests.integration.portal_kit import YUAN, Town, account

pytestmark = needs_browser
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def owing(town: Town) -> Town:
    """Return the town after customer 43 was billed 500 yuan an hour ago and paid since."""
    now = town.clock.now()
    with town.owner.transaction() as conn:
        ledger.book(
            conn,
            Event(kind="theft_penalty", key="t", value_date=now.date(), actor="system:billing",
                  currency="CNY", owners={"account": account(43)},
                  amounts={"amount": 5_000 * YUAN}),
            now=now - HOUR,
        )  # fmt: skip
    pay(town, "late", 5_000)
    pay(town, "lost", 25, to="AC-999999")
    return town


def pay(town: Town, txn: str, yuan: int, *, to: str = "") -> None:
    now = town.clock.now()
    payments.pay(
        town.owner,
        PaymentOrder(
            channel="bank", peer_txn_id=txn, account=AccountId(to or account(43)),
            amount_micros=yuan * YUAN, currency="CNY", peer_time=now, actor="peer:bank",
            already_collected=True, office="0417",
        ),
        now=now,
    )  # fmt: skip


@pytest.mark.req("S30")
def test_arrears_before_the_payment_are_shown_and_sent_as_csv(
    chromium: Browser, owing: Town
) -> None:
    zone = ZoneInfo("Asia/Shanghai")
    moment = (owing.clock.now() - HOUR / 2).astimezone(zone)
    with owing.owner.transaction() as conn:
        [one] = [
            each
            for each in accounting.owed_accounts(
                conn, moment=moment, zone=zone, now=owing.clock.now()
            )
            if each.account == account(43)
        ]
    with looking(chromium, owing, "nina") as look:
        page = look.page
        page.goto(f"{owing.url}/arrears?lang=en")
        assert account(43) not in page.locator("main").inner_text(), "it has paid by now"
        page.fill("#at", f"{moment:%Y-%m-%dT%H:%M}")
        page.select_option("#by", "transformer")
        page.select_option("#collected", "office")
        page.get_by_role("button", name="Show").click()
        row = page.locator("#accounts tr", has_text=account(43))
        assert str(one.owed_micros // YUAN) in re.sub(r"\D", "", row.inner_text())
        with page.expect_download() as waiting:
            page.locator("a[href^='/arrears.csv?at=']").click()
        told = list(csv.DictReader(io.StringIO(waiting.value.path().read_text(encoding="utf-8"))))
        [line] = [each for each in told if each["account"] == account(43)]
        assert line["owed"] == f"{one.owed_micros // 10**6}.{one.owed_micros % 10**6:06}"
        page.goto(f"{owing.url}/arrears?lang=en&collected=office")
        assert "bank 0417" in page.locator("#received").inner_text()
        later = (owing.clock.now() + 48 * HOUR).astimezone(zone)
        ask = page.request.get
        assert ask(f"{owing.url}/arrears?at={later:%Y-%m-%dT%H:%M}").status == 409
        assert ask(f"{owing.url}/arrears?at=then").status == 422


@pytest.mark.req("G6", "G7")
def test_books_agree_and_an_exception_is_taken_and_settled(chromium: Browser, owing: Town) -> None:
    with looking(chromium, owing, "reza") as look:
        page = look.page
        page.goto(f"{owing.url}/audit?lang=en")
        assert "receipts" in page.locator("#ties").inner_text()
        assert page.locator("#ties .pill.bad").count() == 0
        assert page.locator("#gaps").count() == 0
        page.get_by_role("button", name="Look again").click()
        page.locator(".flash.good").wait_for()

        def item() -> Locator:
            page.goto(f"{owing.url}/audit?lang=en")
            page.evaluate(OPEN_ALL)
            return page.locator("#queue > li", has_text="AC-999999")

        item().get_by_role("button", name="Take").click()
        page.locator(".flash.good").wait_for()
        one = item()
        assert "with reza" in one.inner_text()
        one.locator("input[name='reason']").fill("the bank will say whose it is")
        one.get_by_role("button", name="May stay").click()
        page.locator(".flash.good").wait_for()
        assert item().count() == 0
        assert "may stay" in page.locator("#counts").inner_text()
        assert not look.faults


@pytest.mark.req("H3")
def test_a_limit_is_proposed_by_one_and_approved_by_another(chromium: Browser, owing: Town) -> None:
    with looking(chromium, owing, "reza") as reza, looking(chromium, owing, "lin") as lin:
        page = reza.page
        page.goto(f"{owing.url}/payments?lang=en")
        page.evaluate(OPEN_ALL)
        page.select_option("#limit-channel", "bank")
        page.fill("#limit-amount", "60000")
        page.fill("#limit-why", "the contract of March")
        page.locator("form[action='/payments/limits'] button").click()
        page.locator(".flash.good").wait_for()
        assert page.locator("button[value='approved']").count() == 0, "not by oneself"
        page = lin.page
        step_up(page, owing, "/payments")
        page.goto(f"{owing.url}/payments?lang=en")
        assert "the contract of March" in page.locator("main").inner_text()
        page.locator("button[value='approved']").click()
        page.locator(".flash.good").wait_for()
        assert "60,000" in page.locator("#limits").inner_text()
        with owing.owner.transaction() as conn:
            [bank] = [
                one
                for one in payments.limits_of(conn, now=owing.clock.now())
                if one.channel == "bank"
            ]
        assert bank.day_limit_micros == 60_000 * YUAN
        assert bank.taken_micros >= 5_025 * YUAN
        assert not reza.faults
        assert not lin.faults


@pytest.mark.req("Q4")
def test_the_pages_are_sound_in_every_language(chromium: Browser, owing: Town) -> None:
    zone = ZoneInfo("Asia/Shanghai")
    accounting.gather(owing.owner, actor="system:billing", zone=zone, now=owing.clock.now() + HOUR)
    past = f"{(owing.clock.now() - HOUR / 2).astimezone(zone):%Y-%m-%dT%H:%M}"
    with looking(chromium, owing, "reza") as look:
        page = look.page
        for language in LANGUAGES:
            for name, path in (
                ("arrears", f"/arrears?at={past}&lang="), ("audit", "/audit?lang="),
            ):  # fmt: skip
                answer = page.goto(f"{owing.url}{path}{language}")
                assert answer is not None
                assert answer.status == 200
                page.evaluate("document.fonts.ready.then(() => 1)")
                page.evaluate(OPEN_ALL)
                for width in (360, 1280):
                    page.set_viewport_size({"width": width, "height": 800})
                    check(look, f"{name} {language} {width}")
                    keep(page, f"{name}-{language}-{width}")
        assert not look.faults
        assert look.hosts == {urlsplit(owing.url).netloc}


@pytest.mark.req("R12")
def test_a_customer_sees_none_of_it(chromium: Browser, owing: Town) -> None:
    with looking(chromium, owing, "c43") as look:
        for path in ("/arrears", "/arrears.csv", "/audit"):
            assert look.page.request.get(owing.url + path).status == 403
