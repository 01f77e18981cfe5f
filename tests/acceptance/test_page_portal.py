"""Every page in a real browser: three scripts, two widths, no axe violation, nothing foreign."""

import gzip
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
import pytest
from playwright.sync_api import Browser, Locator, Page

from portal.site import HERE
from protocols.identity import UsagePointId
from protocols.mqtt import topics
from protocols.mqtt.broker import BrokerAddress
from protocols.mqtt.live import (
    LiveBalance,
    LiveMessage,
    LiveReading,
    LiveSupply,
    live_to_bytes,
)
from protocols.mqtt.topics import Live
from protocols.timeline import to_ms
from tests.acceptance.browser_kit import AXE, OPEN_ALL, RULES, check, keep, looking, needs_browser
from tests.integration.portal_kit import PASSWORD, Town

NUMBER = "document.querySelector('#live-power')"
PAGES = [
    ("", "/sign-in"), ("", "/tour"), ("", "/nowhere"),
    ("maryam", "/home"), ("c60", "/home"), ("c43", "/home/usage"), ("c43", "/home/pay"),
    ("reza", "/inbox"), ("reza", "/customers?q=UP"), ("reza", "/customers/UP-000088"),
    ("lin", "/cuts"), ("reza", "/work"), ("reza", "/messages"), ("reza", "/quarantine"),
    ("lin", "/confirm?next=/cuts"), ("tina", "/customers/UP-000060"), ("aziz", "/crew"),
    ("aziz", "/crew/*"),
]  # fmt: skip

pytestmark = needs_browser


@pytest.mark.req("Q4", "Q6", "R12")
@pytest.mark.parametrize(("login", "path"), PAGES, ids=[f"{a or 'guest'}:{b}" for a, b in PAGES])
def test_a_page_is_sound_in_three_scripts_at_two_widths(
    chromium: Browser, town: Town, login: str, path: str
) -> None:
    with looking(chromium, town, login) as look:
        page = look.page
        if path == "/crew/*":
            page.goto(town.url + "/crew")
            path = page.locator("a[href^='/crew/']").first.get_attribute("href") or ""
        for language in ("fa", "zh", "en"):
            mark = "&" if "?" in path else "?"
            answer = page.goto(f"{town.url}{path}{mark}lang={language}")
            assert answer is not None
            assert answer.status == (404 if path == "/nowhere" else 200)
            page.evaluate("document.fonts.ready.then(() => 1)")
            for width in (360, 1280):
                page.set_viewport_size({"width": width, "height": 800})
                if (language, width) == ("en", 1280):
                    page.evaluate(OPEN_ALL)
                check(look, f"{path} {language} {width}")
                keep(page, f"{login or 'guest'}{path}-{language}-{width}")
        if path == "/nowhere":
            # the browser notes the 404 we asked for
            look.faults = [fault for fault in look.faults if "404" not in fault]
        assert not look.faults
        assert look.hosts == {urlsplit(town.url).netloc}


@pytest.mark.req("Q4")
def test_the_check_itself_finds_faults(chromium: Browser) -> None:
    page = chromium.new_page()
    page.set_content("<html><body><img src='x'><input><p style='color:#eee'>pale</p></body></html>")
    page.evaluate(AXE + ";0")
    found = page.evaluate(f"axe.run(document, {{runOnly: {RULES}}})")
    assert {"image-alt", "label", "color-contrast"} <= {rule["id"] for rule in found["violations"]}
    page.close()


class Live42:
    """Speaks for ingest, billing and control on the live topics of customer 42."""

    def __init__(self, broker: BrokerAddress) -> None:
        self.watched: list[str] = []
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self._client.on_message = lambda _c, _u, message: self.watched.append(message.topic)
        self._client.connect(broker.host, broker.port)
        self._client.loop_start()
        self._client.subscribe("ami/v1/+/down/watch", qos=0)

    def tell(self, what: Live, message: LiveMessage) -> None:
        self._client.publish(
            topics.live(message.usage_point, what), live_to_bytes(message), retain=True
        ).wait_for_publish(5)

    def reading(self, watts: int, wh: int) -> None:
        wall = to_ms(datetime.now(UTC))
        self.tell(Live.READING, LiveReading(
            usage_point=UP42, at_ms=wall, wall_ms=wall, quality="valid", register_wh=wh,
            today_wh=4_321, power_w=watts, voltage_mv=231_000, current_ma=5_000))  # fmt: skip

    def balance(self, town: Town, micros: int) -> None:
        self.tell(Live.BALANCE, LiveBalance(
            usage_point=UP42, available_micros=micros, cost_today_micros=2_460_000, today_wh=4_730,
            as_of_register_wh=1, at_ms=to_ms(town.clock.now()), tariff_hash="x"))  # fmt: skip

    def supply(self, town: Town, state: str) -> None:
        self.tell(Live.SUPPLY, LiveSupply(
            usage_point=UP42, state=state, at_ms=to_ms(town.clock.now())))  # fmt: skip

    def close(self) -> None:
        for what in Live:
            self._client.publish(topics.live(UP42, what), b"", retain=True).wait_for_publish(5)
        self._client.loop_stop()
        self._client.disconnect()


UP42 = UsagePointId("UP-000042")


@pytest.fixture
def live(town: Town) -> Iterator[Live42]:
    speaker = Live42(town.broker)
    yield speaker
    speaker.close()


def until(page: Page, script: str, *, seconds: float = 10.0) -> None:
    """Wait for a script to be true; the strict policy forbids the library's own way."""
    end = time.monotonic() + seconds
    while not page.evaluate(script):
        assert time.monotonic() < end, f"never true: {script}"
        page.wait_for_timeout(50)


def text(page: Page, name: str) -> str:
    return page.locator(f"[data-text='{name}']").first.inner_text()


@pytest.mark.req("Q4", "Q6", "Q10")
def test_live_figures_reach_the_page_with_their_age_and_the_meter_is_hurried(
    chromium: Browser, town: Town, live: Live42
) -> None:
    with looking(chromium, town, "maryam") as look:
        page = look.page
        page.goto(town.url + "/home?lang=fa")
        live.reading(2_340, 1_080_000)
        until(page, f"{NUMBER}.dataset.registerWh === '1080000'")
        assert text(page, "power") == "۲٫۳۴"
        live.reading(2_500, 1_080_010)
        until(page, f"{NUMBER}.dataset.registerWh === '1080010'")
        lag = page.locator("#live-power").get_attribute("data-lag-ms")
        assert lag is not None
        assert 0 <= int(lag) < 5_000
        live.balance(town, -3_210_000)
        until(page, "!!document.querySelector('.balance .figure.negative')")
        assert text(page, "balance") == "\u2066\u2212۳٫۲۱\u2069 یوان"
        # energy and cost of today come together, so that one divided by the other is a price
        assert text(page, "today") == "۴٫۷۳"
        assert "۲٫۴۶" in text(page, "cost")
        assert page.locator(".hero .age").get_attribute("data-shade") == "fresh"
        assert "ami/v1/C-01/down/watch" in live.watched, "the meter is read faster while watched"
        assert not look.faults


@pytest.mark.req("Q6")
def test_a_cut_and_a_restore_are_seen_without_reloading(
    chromium: Browser, town: Town, live: Live42
) -> None:
    with looking(chromium, town, "maryam", width=360) as look:
        page = look.page
        page.goto(town.url + "/home?lang=en")
        pill = page.locator(".hero .supply")
        for state, words in (
            ("disconnected", "برق قطع است"), ("armed", "آماده: با دست وصل کنید"),
            ("connected", "برق وصل است"),
        ):  # fmt: skip
            live.supply(town, state)
            until(page, f"document.querySelector('.hero').dataset.state === '{state}'")
            assert pill.locator("svg").filter(visible=True).count() == 1, "a picture beside words"
            assert pill.inner_text().strip() == words


@pytest.mark.req("Q6")
def test_an_old_figure_turns_grey_and_is_never_shown_as_live(
    chromium: Browser, town: Town, live: Live42
) -> None:
    with looking(chromium, town, "maryam") as look:
        page = look.page
        page.goto(town.url + "/home?lang=en")
        for age, shade in ((10, "fresh"), (45, "late"), (400, "old")):
            wall = to_ms(datetime.now(UTC)) - age * 1000
            live.tell(Live.READING, LiveReading(
                usage_point=UP42, at_ms=wall, wall_ms=wall, quality="estimated",
                register_wh=1_000 + age, today_wh=1, power_w=500))  # fmt: skip
            until(
                page, f"document.querySelector('#live-power').dataset.registerWh === '{1000 + age}'"
            )
            until(page, f"document.querySelector('.hero .age').dataset.shade === '{shade}'")
        assert "stale" in (page.locator("#live-power").get_attribute("class") or "")
        assert text(page, "quality") == "برآورد", "the stream speaks the person's language"


@pytest.mark.req("Q6")
def test_eight_tabs_share_one_stream(chromium: Browser, town: Town, live: Live42) -> None:
    with looking(chromium, town, "maryam") as look:
        tabs = [look.page, *(look.page.context.new_page() for _ in range(7))]
        for tab in tabs:
            tab.goto(town.url + "/home")
        live.reading(3_333, 2_000_000)
        for tab in tabs:
            until(tab, f"{NUMBER}.dataset.registerWh === '2000000'")
        deadline = time.monotonic() + 5
        while town.status["viewers"] != 1 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert town.status["viewers"] == 1
        tabs[0].close()
        live.reading(3_444, 2_000_100)
        until(tabs[1], f"{NUMBER}.dataset.registerWh === '2000100'")


def _case(page: Page) -> Locator:
    return page.locator("li.case", has_text="UP-000061")


@pytest.mark.req("D2", "Q4")
def test_the_journey_of_a_cut_in_the_browser(chromium: Browser, town: Town) -> None:
    with looking(chromium, town, "reza") as reza, looking(chromium, town, "lin") as lin:
        page = reza.page
        page.goto(town.url + "/customers/UP-000061")
        page.get_by_text("Request a cut").click()
        page.fill("#reason", "asked by the court")
        page.locator("form[action='/cuts'] button").click()
        page.wait_for_url("**/cuts")
        case = _case(page)
        assert case.get_by_role("button", name="Approve").is_disabled()
        assert "same person" in case.inner_text()

        page = lin.page
        page.goto(town.url + "/cuts")
        page.locator("li.case", has_text="UP-000061").locator(
            "form[action$='approve'] button"
        ).click()
        page.wait_for_url("**/confirm?next=/cuts")
        page.fill("#password", PASSWORD)
        page.locator("form[action='/confirm'] button").click()
        page.wait_for_url("**/cuts")
        page.locator("li.case", has_text="UP-000061").locator(
            "form[action$='approve'] button"
        ).click()
        page.locator(".flash.good").wait_for()
        assert "lin" in _case(page).inner_text()
        assert not reza.faults
        assert not lin.faults


@pytest.mark.req("Q6", "H1")
def test_paying_works_with_and_without_scripts(chromium: Browser, town: Town) -> None:
    for scripts in (True, False):
        context = chromium.new_context(java_script_enabled=scripts)
        page = context.new_page()
        page.goto(town.url + "/sign-in")
        page.fill("#login", "c43")
        page.fill("#password", PASSWORD)
        page.click("main form button")
        page.goto(town.url + "/home/pay")
        page.fill("#amount", "12.5")
        page.locator("form[action='/home/pay'] button").click()
        page.wait_for_url("**/home")
        assert "12.50" in page.locator(".flash.good").inner_text()
        assert page.locator("#live-power").inner_text().strip() != ""
        context.close()


@pytest.mark.req("Q4")
def test_an_opened_table_stays_open_while_the_page_refreshes_itself(
    chromium: Browser, town: Town
) -> None:
    with looking(chromium, town, "c43") as look:
        page = look.page
        page.goto(town.url + "/home")
        page.locator("#rows summary").click()
        with page.expect_response(lambda answer: "part=rows" in answer.url, timeout=15_000):
            pass
        page.wait_for_timeout(300)
        assert page.locator("#rows details").get_attribute("open") is not None
        chart = page.locator(".chart")
        chart.focus()
        page.keyboard.press("ArrowLeft")
        assert "千瓦时" in page.locator("#chart-note").inner_text(), "bars are read by keyboard"
        assert not look.faults


@pytest.mark.req("Q4")
def test_what_a_page_weighs_is_within_budget() -> None:
    def weight(*patterns: str) -> int:
        files = [file for pattern in patterns for file in (HERE / "static").rglob(pattern)]
        assert files
        return sum(len(gzip.compress(file.read_bytes())) for file in files)

    assert weight("*.js", "*.css") <= 80 * 1024
    assert weight("*.js", "*.css", "*.woff2") <= 150 * 1024
