"""A change of CT/PT ratio in a real browser: proposed by one, seen for what it does, verified."""

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Browser

from cloud.assets import service as assets
from cloud.store import audit
from portal.i18n import LANGUAGES
from protocols.identity import UsagePointId
from tests.acceptance.browser_kit import check, keep, looking, needs_browser, step_up
from tests.integration.portal_kit import Town

pytestmark = needs_browser
POINT = UsagePointId("UP-000042")
PATH = f"/stream/points/{POINT}/ratio"


@pytest.fixture(scope="module")
def since(town: Town) -> str:
    """Yesterday noon by the clock of the point, as a browser's field takes it."""
    noon = town.clock.now().astimezone(ZoneInfo("Asia/Shanghai")) - timedelta(days=1)
    return noon.strftime("%Y-%m-%dT12:00")


def propose(town: Town, chromium: Browser, login: str, since: str) -> None:
    with looking(chromium, town, login) as look:
        page = look.page
        page.goto(f"{town.url}/stream/intervals/{POINT}?lang=en")
        page.click(f'a[href="{PATH}"]')
        page.fill("#factor", "200/5")
        page.fill("#since", since)
        page.fill("#why", "order 7: transformers 200/5")
        page.keyboard.press("Enter")
        page.wait_for_selector("[data-proposal] [data-difference]")
        # the person who proposed is told that another must agree, and gets no button
        assert page.locator("button[value=true]").count() == 0
        check(look, "ratio proposed")
        keep(page, "ratio-en-1280")
        assert not look.faults


@pytest.mark.req("B14")
def test_two_people_change_a_ratio_seen_before_for_what_it_does(
    chromium: Browser, town: Town, since: str
) -> None:
    propose(town, chromium, "reza", since)
    for language in LANGUAGES:
        with looking(chromium, town, "nina", width=360) as look:
            look.page.goto(f"{town.url}{PATH}?lang={language}")
            check(look, language)
            keep(look.page, f"ratio-{language}-360")
    with looking(chromium, town, "nina") as look:
        page = look.page
        page.goto(f"{town.url}{PATH}?lang=en")
        told = page.locator("[data-difference]").get_attribute("data-difference")
        assert int(told or "0") > 0
        with town.owner.transaction() as conn:
            assert assets.ratios(conn, [POINT]) == [], "looking changes nothing"
        step_up(page, town, "/stream")
        page.goto(f"{town.url}{PATH}?lang=en")
        page.click("button[value=true]")
        page.wait_for_selector("#held")
        assert "× 40" in page.inner_text("#held")
        check(look, "ratio holds")
        keep(page, "ratio-held-en-1280")
        assert not look.faults
    with town.owner.transaction() as conn:
        (held,) = assets.ratios(conn, [POINT])
        acts = [each.action for each in audit.history(conn, entity="usage_point", entity_id=POINT)]
    assert (held.numerator, held.denominator) == (40, 1)
    assert {"assets.ratio_proposed", "assets.ratio_verified", "assets.ratio"} <= set(acts)
