"""Subscribers, companies and discounts at the pages, by the people who may."""

import json
from datetime import date

import pytest
from playwright.sync_api import Browser, Page

from billing.bills.service import run as runs
from billing.customers.model import CustomerId, CustomerKind
from billing.rating import service as rating
from billing.tariffs import service as tariffs
from cloud.assets import model as things
from cloud.assets import service as assets
from portal.i18n import LANGUAGES
from protocols.identity import TransformerId, UsagePointId
from tests.acceptance.browser_kit import OPEN_ALL, check, keep, looking, needs_browser
from tests.acceptance.test_page_run_orders import confirmed
from tests.integration import bills_kit
from tests.integration.billing_kit import rows
from tests.integration.bills_kit import FEB, JAN, ZONE, household
from tests.integration.portal_kit import Town
from tests.integration.test_subscribers import HEAD, LONG_AGO, line

pytestmark = needs_browser


@pytest.fixture(scope="module")
def points(town: Town) -> None:
    """Three supplies that nobody has yet, and a company with two."""
    assets.register(
        town.owner,
        things.Registration(
            transformers=(things.Transformer(id=TransformerId("T-700")),),
            usage_points=tuple(
                things.UsagePoint(
                    id=UsagePointId(f"UP-{number:06}"), kind=things.PointKind.CUSTOMER,
                    transformer=TransformerId("T-700"), zone=zone,
                )
                for number, zone in ((701, "Asia/Tehran"), (702, "Asia/Shanghai"),
                                     (703, "Asia/Shanghai"))
            ),
        ),
        now=town.clock.now(),
    )  # fmt: skip
    shipped = tariffs.shipped("ir-industry-contract")
    rating.publish(town.owner, shipped, actor="user:reza", now=LONG_AGO)
    firm = [
        household(number, customer=CustomerId("CU-FIRM"), name="渝北商贸公司",
                  kind=CustomerKind.LEGAL) for number in (1, 2)
    ]  # fmt: skip
    bills_kit.book(town.owner, *firm)
    accounts: list[str] = [one.account for one in firm]
    now = town.clock.now()
    runs.assign_book(town.owner, accounts, "firm", actor="user:reza", now=now)
    for number, kwh in ((1, 1_100), (2, 1_600)):
        bills_kit.read(town.owner, number, FEB, kwh)
    run = runs.open_run(
        town.owner, start=JAN, end=FEB, zone=ZONE, actor="user:reza", now=now, book="firm"
    )
    runs.advance(town.owner, run.id, now=now)


def seen_in_every_language(look: object, town: Town, path: str, name: str) -> None:
    page: Page = look.page  # type: ignore[attr-defined]
    for language in LANGUAGES:
        page.goto(f"{town.url}{path}?lang={language}")
        page.evaluate(OPEN_ALL)
        for width in (360, 1280):
            page.set_viewport_size({"width": width, "height": 800})
            check(look, f"{path} {language} {width}")  # type: ignore[arg-type]
        keep(page, f"{name}-{language}")


@pytest.mark.req("G12", "G13")
def test_one_by_demand_by_a_form_and_many_from_a_file(
    chromium: Browser, town: Town, points: None
) -> None:
    with looking(chromium, town, "reza") as look:
        page = look.page
        page.goto(f"{town.url}/subscribers?lang=en")
        for name, value in {
            "usage_point": "UP-000701", "agreement": "SA-000701", "account": "AC-000701",
            "customer": "CU-000701", "name": "Foolad Co", "first": "2026-10-23",
            "contract_kw": "500", "register_kwh": "12.5",
        }.items():  # fmt: skip
            page.fill(f"#{name}", value)
        page.select_option("#kind", "legal")
        page.select_option("#supply", "demand")
        page.select_option("#tariff", "ir-industry-contract")
        page.get_by_role("button", name="Take in", exact=True).click()
        page.wait_for_url("**/customers/UP-000701")
        kept = rows(
            town.owner,
            "SELECT tariff_code, opening_register_wh, attributes FROM customers.agreement"
            " WHERE id = 'SA-000701'",
        )
        assert kept == [("ir-industry-contract", 12_500, {"contract_w": "500000"})]

        look.faults.clear()  # the live stream refused: this supply has no meter
        good = line(702, customer="CU-000702")
        text = "\n".join([HEAD, good, line(703, customer="CU-000703", kind="robot"), line(999)])
        page.goto(f"{town.url}/subscribers?lang=en")
        page.fill("#file", text)
        page.get_by_role("button", name="Only check").click()
        page.locator("#taken").wait_for()
        assert page.locator("#taken").get_attribute("data-added") == "1"
        assert rows(town.owner, "SELECT 1 FROM customers.agreement WHERE id = 'SA-000702'") == []
        assert page.locator("#file").input_value().strip() == text
        keep(page, "subscribers-checked-en")
        page.get_by_role("button", name="Take good lines in").click()
        page.locator("#taken[data-added='1']").wait_for()
        told = {
            one.get_attribute("data-line"): one.get_attribute("data-code")
            for one in page.locator("#refused li").all()
        }
        assert told == {"3": "subscribers.line", "4": "subscribers.usage_point_unknown"}
        assert (
            len(rows(town.owner, "SELECT 1 FROM customers.agreement WHERE id = 'SA-000702'")) == 1
        )
        seen_in_every_language(look, town, "/subscribers", "subscribers")
        assert not look.faults


@pytest.mark.req("G22")
def test_a_company_is_joined_billed_and_pays_at_once(
    chromium: Browser, town: Town, points: None
) -> None:
    with looking(chromium, town, "reza") as look, looking(chromium, town, "tina") as counter:
        page = look.page
        page.goto(f"{town.url}/companies?lang=en")
        page.fill("#collective", "CO-1")
        page.fill("#customer", "CU-FIRM")
        page.fill("#accounts", "AC-000001, AC-000002")
        page.get_by_role("button", name="Join").click()
        page.wait_for_url("**/companies/CO-1")
        page.goto(f"{town.url}/companies/CO-1?lang=en")
        assert page.locator("#members").get_attribute("data-owed") == str(62_150_000 + 389_850_000)
        page.fill("#first", JAN.isoformat())
        page.fill("#until", FEB.isoformat())
        page.get_by_role("button", name="Issue one bill").click()
        page.locator("#company-bills li").wait_for()
        assert page.locator("#company-bills li").get_attribute("data-micros") == "452000000"
        with page.expect_download() as waiting:
            page.evaluate(
                "() => { const one = document.querySelector('#company-bills a');"
                " one.setAttribute('download', ''); one.click(); }"
            )
        assert waiting.value.path().read_bytes().startswith(b"%PDF")
        desk = counter.page
        desk.goto(f"{town.url}/companies/CO-1?lang=en")
        desk.fill("#amount", "452.00")
        desk.get_by_role("button", name="Take the payment").click()
        desk.locator(".flash.good").wait_for()
        assert desk.locator("#members").get_attribute("data-owed") == "0"
        seen_in_every_language(look, town, "/companies/CO-1", "company")
        seen_in_every_language(look, town, "/companies", "companies")
        assert not look.faults
        assert not counter.faults


@pytest.mark.req("G15")
def test_a_discount_is_asked_for_by_one_and_granted_by_another(
    chromium: Browser, town: Town, points: None
) -> None:
    with looking(chromium, town, "reza") as reza, looking(chromium, town, "nina") as nina:
        page = reza.page
        page.goto(f"{town.url}/discounts?lang=en")
        page.fill("#agreement", "SA-000001")
        page.fill("#evidence", "operating licence 4711")
        page.fill("#first", "2026-12-01")
        page.fill("#until", "2027-12-01")
        page.get_by_role("button", name="Propose").click()
        page.locator("#waiting li").wait_for()
        assert "another person decides" in page.locator("#waiting").inner_text()
        confirmed(nina.page, town, "/discounts")
        nina.page.locator("#waiting input[name='reason']").fill("licence seen")
        nina.page.locator("button[name='granted'][value='true']").click()
        nina.page.locator(".flash.good").wait_for()
        seen_in_every_language(nina, town, "/discounts", "discounts")
        assert not reza.faults
        assert not nina.faults
    changes = rows(
        town.owner,
        "SELECT from_day, attributes, state FROM customers.terms_change"
        " WHERE agreement = 'SA-000001' AND state <> 'base' ORDER BY from_day",
    )
    assert json.loads(json.dumps(changes, default=str)) == [
        ["2026-12-01", {"industry": "true"}, "approved"],
        ["2027-12-01", {"industry": None}, "approved"],
    ]
    assert changes[0][0] == date(2026, 12, 1)
