"""Terms at the page: a past day takes two people, the balance follows, every language fits."""

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Browser

from billing.prepaid import service as prepaid
from portal.i18n import LANGUAGES
from protocols.timeline import local_date
from tests.acceptance.browser_kit import OPEN_ALL, check, keep, looking, needs_browser
from tests.acceptance.test_page_run_orders import confirmed
from tests.integration.billing_kit import rows
from tests.integration.portal_kit import Town

pytestmark = needs_browser
ZONE = ZoneInfo("Asia/Shanghai")


@pytest.mark.req("G24", "G15")
def test_terms_of_a_past_day_are_changed_by_two_people(chromium: Browser, town: Town) -> None:
    point = rows(town.owner, "SELECT usage_point FROM prepaid.state ORDER BY 1 LIMIT 1")[0][0]
    today = local_date(town.clock.now(), ZONE)
    path = f"/customers/{point}/terms"
    with looking(chromium, town, "reza") as reza, looking(chromium, town, "lin") as lin:
        page = reza.page
        confirmed(page, town, path)
        page.fill("#day", (today + timedelta(days=3)).isoformat())
        page.fill("#name", "veteran")
        page.fill("#value", "true")
        page.fill("#reason", "card 4711 seen")
        page.locator("form.fields button.main").click()
        page.locator(".flash.good").wait_for()
        confirmed(page, town, path)
        page.fill("#day", (today - timedelta(days=1)).isoformat())
        page.fill("#name", "households")
        page.fill("#value", "2")
        page.fill("#reason", "two families live there")
        page.locator("form.fields button.main").click()
        page.locator(".flash").wait_for()
        states = rows(town.owner, "SELECT state FROM customers.terms_change ORDER BY id")
        assert states[:2] == [("base",), ("approved",)]
        if len(states) > 2:  # the town's first day may be today: then no day is past
            assert states[2] == ("proposed",)
            assert page.locator("button[value='approve']").count() == 0, "not who asked"
            confirmed(lin.page, town, path)
            lin.page.locator("button[value='approve']").click()
            lin.page.locator(".flash.good").wait_for()
        for language in LANGUAGES:
            lin.page.goto(f"{town.url}{path}?lang={language}")
            lin.page.evaluate(OPEN_ALL)
            for width in (360, 1280):
                lin.page.set_viewport_size({"width": width, "height": 800})
                check(lin, f"terms {language} {width}")
            keep(lin.page, f"terms-{language}")
    with town.owner.transaction() as conn:
        assert prepaid.balance_of(conn, point, town.clock.now()).fee_micros >= 0
