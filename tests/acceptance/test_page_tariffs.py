"""The tariff book in a real browser: every shipped file is drawn, two versions are compared."""

import json
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser

from billing.rating import service as rating
from billing.tariffs import service as tariffs
from billing.tariffs.rules import read_tariff
from billing.tariffs.rules.calendar import hours_of
from portal.i18n import LANGUAGES
from tests.acceptance.browser_kit import OPEN_ALL, check, keep, looking, needs_browser
from tests.integration.portal_kit import Town

pytestmark = needs_browser
PATHS = {
    "list": "/tariffs",
    "tou": "/tariffs/zj-household-tou.v1",
    "industry": "/tariffs/cn-industry-two-part.v1",
    "diff": "/tariffs/diff?before=uk-price-cap-2024q4.v1&after=uk-price-cap-2025q3.v1",
}


def dearer(document: bytes) -> bytes:
    """Return the next version of the household tariff: from 2027 its second step costs 0.63."""
    file = json.loads(document)
    file |= {"version": file["version"] + 1, "valid_from": "2027-01-01"}
    file["lines"][0]["steps"][1]["price"] = "0.63"
    file["test_cases"] = [
        {"name": "one of the second step", "from_kwh": "2400", "to_kwh": "2401", "total": "0.63"}
    ]
    return json.dumps(file).encode()


@pytest.mark.req("G2", "Q4")
@pytest.mark.parametrize("language", LANGUAGES)
def test_pages_of_the_book_are_sound_in_every_language(
    chromium: Browser, town: Town, language: str
) -> None:
    with looking(chromium, town, "reza") as look:
        page = look.page
        for name, path in PATHS.items():
            mark = "&" if "?" in path else "?"
            answer = page.goto(f"{town.url}{path}{mark}lang={language}")
            assert answer is not None
            assert answer.status == 200
            page.evaluate("document.fonts.ready.then(() => 1)")
            page.evaluate(OPEN_ALL)
            for width in (360, 1280):
                page.set_viewport_size({"width": width, "height": 800})
                check(look, f"{name} {language} {width}")
                keep(page, f"tariff-{name}-{language}-{width}")
        assert not look.faults
        assert look.hosts == {urlsplit(town.url).netloc}


@pytest.mark.req("G2")
def test_every_shipped_file_is_shown_with_its_hours_whole(chromium: Browser, town: Town) -> None:
    with looking(chromium, town, "mona") as look:
        page = look.page
        files = sorted(tariffs.SHIPPED.glob("*.json"))
        assert len(files) >= 1
        for path in files:
            tariff = read_tariff(path.read_bytes())
            page.goto(f"{town.url}/tariffs?lang=en")
            page.locator("main a", has_text=tariff.code).first.click()
            page.wait_for_url("**/tariffs/*")
            assert page.locator("ol.lines > li").count() == len(tariff.lines), path.name
            strips = page.locator("svg.clock")
            for n in range(strips.count()):
                widths = (
                    strips.nth(n)
                    .locator("rect")
                    .evaluate_all("all => all.map((one) => Number(one.getAttribute('width')))")
                )
                assert sum(widths) == 1000, "a day has no hole"
            if tariff.touperiods:
                assert hours_of(tariff).min() >= 0
                assert strips.count() >= 1
        assert not look.faults


@pytest.mark.req("G2", "G3")
def test_a_new_version_is_compared_with_the_old_by_price_and_percent(
    chromium: Browser, town: Town
) -> None:
    document = dearer(tariffs.shipped("cq-household-lv"))
    rating.publish(town.owner, document, actor="user:reza", now=town.clock.now())
    with looking(chromium, town, "reza") as look:
        page = look.page
        page.goto(f"{town.url}/tariffs?lang=en")
        refs = [
            (link.get_attribute("href") or "").removeprefix("/tariffs/")
            for link in page.locator("main section").first.locator("a").all()
        ]
        assert len(refs) == 2, "newest first, both in the book"
        page.select_option("#before", refs[1])
        page.select_option("#after", refs[0])
        page.get_by_role("button", name="Compare").click()
        page.wait_for_url("**/tariffs/diff**")
        changed = page.locator(".steps-drawn > li", has=page.locator(".pill.bad"))
        assert changed.count() == 1
        said = changed.inner_text()
        # 0.06 of 0.57 is 10.526 %, cut to hundredths
        assert "0.57 → 0.63" in " ".join(said.split())
        assert "+10.52 %" in said
        widths = changed.locator("rect").evaluate_all(
            "all => all.map((one) => Number(one.getAttribute('width')))"
        )
        assert widths == [57 * 1000 // 82, 63 * 1000 // 82], "bars are as long as prices are high"
        money = page.locator("section", has=page.locator("#money-h")).locator("tbody tr")
        assert money.count() == 1
        assert not look.faults


@pytest.mark.req("R12")
def test_the_book_is_for_the_office(chromium: Browser, town: Town) -> None:
    with looking(chromium, town, "c43") as look:
        answer = look.page.goto(f"{town.url}/tariffs")
        assert answer is not None
        assert answer.status == 403
