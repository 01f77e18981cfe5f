"""The operator's page of the stream in a real browser, and the same figures as JSON."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest
from playwright.sync_api import Browser

from cloud.ingest import service as ingest
from cloud.ingest.model import Arrival
from cloud.usage import service as usage
from portal.auth import service as access
from portal.i18n import LANGUAGES
from protocols.identity import BatchId, ConcentratorId, MeterId
from protocols.mqtt import envelope
from protocols.mqtt.topics import up_data
from protocols.mqtt.uplink import DataBatch, batch_to_plain
from protocols.reading import Channel
from protocols.timeline import from_ms, to_ms
from tests.acceptance.browser_kit import check, keep, looking, needs_browser
from tests.integration.portal_kit import API_KEY, CONCENTRATOR, Rows, Town, send, sign_in, slot_wh

pytestmark = needs_browser
STREAM_KEY = "meterloop_test_stream_key_0123456789abcdef"
METER = MeterId("M-000099")
LATELY = 20
MORNING = datetime(2026, 11, 16, 1, 0, tzinfo=UTC)
"""Nine o'clock in Chongqing on the first day of which the town has readings, from eight on."""
QUIET = ConcentratorId("C-77")


@pytest.fixture(scope="module")
def watched(town: Town) -> Town:
    """One concentrator tells its backlog, another has fallen silent; a machine may watch."""
    now = town.clock.now()
    with town.owner.transaction() as conn:
        ingest.note_presence(
            conn, CONCENTRATOR, online=True, at=now,
            told={"waiting": 3, "silent": 1, "missing_s": 1800, "clock": "synchronised"},
        )  # fmt: skip
        ingest.note_presence(conn, QUIET, online=False, at=now - timedelta(hours=2))
    send_lately(town)
    send_other_value(town)
    access.ensure_api_key(
        town.owner, name="alarms", channel="", secret=STREAM_KEY, scopes=("stream",), now=now
    )
    return town


def send_lately(town: Town) -> None:
    """Send a batch in each of the last minutes, each a little later than it was made."""
    # batches tell whole milliseconds
    now, wall = from_ms(to_ms(town.clock.now())), town.clock.wall_now()
    for seq in range(1, LATELY + 1):
        rows = Rows()
        at = now - timedelta(minutes=LATELY - seq, seconds=2)
        for n in range(1 + seq % 5):
            rows.add(Channel.IMPORT_WH, at - timedelta(seconds=n), 0, 9_000_000 + seq * 1000 - n)
        batch = DataBatch(
            id=BatchId(concentrator=CONCENTRATOR, boot=2, seq=seq), meters=(METER,),
            made_at=at, columns=rows.columns(at),
        )  # fmt: skip
        late = timedelta(milliseconds=400 + 137 * (seq * 7 % 11))
        ingest.store_batch(
            town.owner,
            Arrival(
                payload=envelope.encode(batch_to_plain(batch)), content_type=envelope.CBOR_ZSTD,
                topic=up_data(CONCENTRATOR), hint=batch.id, now=at + late,
                wall_now=wall - timedelta(minutes=LATELY - seq, seconds=1),
            ),
            derive=usage.derive,
        )  # fmt: skip


def send_other_value(town: Town) -> None:
    """Send another value of an interval that is stored; it is not believed."""
    now, rows = town.clock.now(), Rows()
    rows.add(Channel.IMPORT_INTERVAL_WH, MORNING, 1800, 77_000)
    batch = DataBatch(
        id=BatchId(concentrator=CONCENTRATOR, boot=2, seq=900), meters=(MeterId("M-000042"),),
        made_at=now, columns=rows.columns(now),
    )  # fmt: skip
    ingest.store_batch(
        town.owner,
        Arrival(
            payload=envelope.encode(batch_to_plain(batch)), content_type=envelope.CBOR_ZSTD,
            topic=up_data(CONCENTRATOR), hint=batch.id, now=now,
            wall_now=town.clock.wall_now() - timedelta(minutes=19, seconds=1),
        ),
        derive=usage.derive,
    )  # fmt: skip


@pytest.mark.req("A8")
def test_an_operator_sees_lag_success_backlog_and_quarantine(
    chromium: Browser, watched: Town
) -> None:
    with looking(chromium, watched, "reza") as look:
        look.page.goto(watched.url + "/stream")
        check(look, "stream")
        keep(look.page, "stream-en-1280")
        rows = look.page.locator(".flows li")
        assert [rows.nth(n).get_attribute("data-id") for n in range(2)] == [QUIET, CONCENTRATOR]
        mine = rows.nth(1)
        # five of six meters sent every slot; the newcomer sent none
        assert "83.3%" in mine.inner_text()
        assert "6 of 6 meters heard" in mine.inner_text()
        assert "3 batches wait" in mine.inner_text()
        assert mine.locator("svg.heat rect").count() == 24
        assert look.page.locator("#stream-success").inner_text() == "83.3%"
        assert look.page.locator("#refused li").count() == 2
        look.page.click(".flows li:nth-child(2) a")
        check(look, "concentrator")
        keep(look.page, "stream-concentrator-en-1280")
        assert "1,800" in look.page.inner_text("#one")
        assert not look.faults
        assert {host.split(":")[0] for host in look.hosts} == {"127.0.0.1"}


def test_bars_are_walked_with_the_keyboard_and_the_page_renews_itself(
    chromium: Browser, watched: Town
) -> None:
    with looking(chromium, watched, "reza") as look:
        page = look.page
        page.goto(watched.url + "/stream")
        chart = page.locator("section:has(#stored-h) svg")
        chart.focus()
        page.keyboard.press("ArrowLeft")
        note = page.locator("section:has(#stored-h) .chart-note")
        assert "readings" in note.inner_text()
        with page.expect_response(lambda answer: answer.url.endswith("/stream")) as renewed:
            pass
        assert renewed.value.request.headers["hx-request"] == "true"
        assert not look.faults


@pytest.mark.req("Q4")
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_in_every_language_on_a_phone(
    chromium: Browser, watched: Town, language: str
) -> None:
    with looking(chromium, watched, "mona", width=360) as look:
        for path in ("/stream", f"/stream/concentrators/{CONCENTRATOR}"):
            look.page.goto(f"{watched.url}{path}?lang={language}")
            check(look, f"{path} {language}")
            keep(look.page, f"stream-{language}-360{path}")
        assert not look.faults


@pytest.mark.parametrize("language", ["fa", "zh"])
def test_the_page_on_a_desk_in_other_scripts(
    chromium: Browser, watched: Town, language: str
) -> None:
    with looking(chromium, watched, "lin") as look:
        look.page.goto(f"{watched.url}/stream?lang={language}")
        check(look, language)
        keep(look.page, f"stream-{language}-1280")


@pytest.mark.req("A8")
def test_the_same_figures_as_json_for_those_with_the_key(watched: Town) -> None:
    def ask(key: str) -> httpx.Response:
        return httpx.get(watched.url + "/api/v1/stream", headers={"x-api-key": key})

    assert ask("").status_code == 401
    assert ask(API_KEY).status_code == 403
    told = ask(STREAM_KEY).json()
    quiet, mine = told["concentrators"][1], told["concentrators"][0]
    assert (quiet["concentrator"], quiet["online"], quiet["meters"]) == (QUIET, False, 0)
    assert (mine["meters"], mine["heard"], mine["told"]["waiting"]) == (6, 6, 3)
    assert told["success_permille"] == mine["success_permille"] == 833
    assert mine["came"] == [10] * 24
    assert mine["expected"] == [12] * 24
    assert told["quarantine"] == {"payload.syntax": 1, "reading.conflict": 1}
    assert sum(one["batches"] for one in told["minutes"]) == LATELY + 1
    assert max(one["lag_p95_ms"] for one in told["minutes"]) == 400 + 137 * 10
    with sign_in(watched, "reza") as client:
        shown = client.get("/stream").text
    assert f'data-id="{CONCENTRATOR}"' in shown
    assert "83.3%" in shown


def test_customers_crews_and_tellers_do_not_see_the_stream(watched: Town) -> None:
    paths = ("/stream", f"/stream/concentrators/{CONCENTRATOR}")
    for login in ("maryam", "aziz", "tina"):
        with sign_in(watched, login) as client:
            assert [client.get(path).status_code for path in paths] == [403, 403], login
    with sign_in(watched, "reza") as client:
        assert client.get("/stream/concentrators/none").status_code == 404


@pytest.mark.req("B12")
def test_an_interval_is_followed_from_its_batch_to_the_money(
    chromium: Browser, watched: Town
) -> None:
    with looking(chromium, watched, "reza") as look:
        page = look.page
        page.goto(watched.url + "/stream")
        page.fill("#point", " UP-000042 ")
        page.fill("#day", "2026-11-16")
        page.click("form:has(#point) button")
        page.wait_for_url("**/stream/intervals/UP-000042?day=2026-11-16")
        assert page.locator("svg.bar-chart rect").count() == 48
        assert page.locator("svg.bar-chart rect.hole").count() == 16
        page.click("#slots summary")
        page.click("#slots a:has-text('09:00')")
        assert "09:00 to 09:30" in page.inner_text("#history-h")
        check(look, "interval")
        keep(page, "interval-en-1280")
        told = page.inner_text(".trail")
        wh = slot_wh(42, 2)
        assert f"{wh / 1000:.3f} kWh" in told
        assert "C-01/1/1" in told
        assert "duplicate with another value" in told
        assert "C-01/2/900" in told
        assert "taken from the balance" in told
        page.click("nav.spans a:has-text('Interval after')")
        assert "09:30 to 10:00" in page.inner_text("#history-h")
        page.goto(f"{watched.url}/stream/intervals/UP-000099?day=2026-11-17")
        assert "Nothing has come" in page.inner_text(".trail")
        check(look, "an interval that never came")
        assert not look.faults


@pytest.mark.req("Q4")
@pytest.mark.parametrize("language", LANGUAGES)
def test_an_interval_in_every_language(chromium: Browser, watched: Town, language: str) -> None:
    for width in (360, 1280):
        with looking(chromium, watched, "mona", width=width) as look:
            look.page.goto(
                f"{watched.url}/stream/intervals/UP-000042?at=2026-11-16T01:00Z&lang={language}"
            )
            check(look, f"interval {language} {width}")
            keep(look.page, f"interval-{language}-{width}")
            assert not look.faults


def test_an_interval_is_for_the_office_and_asked_in_days_and_instants(watched: Town) -> None:
    here = "/stream/intervals/UP-000042"
    for login in ("maryam", "aziz", "tina"):
        with sign_in(watched, login) as client:
            assert client.get(here).status_code == 403, login
    with sign_in(watched, "lin") as client:
        assert client.get(here).status_code == 200
        assert client.get("/stream/intervals/UP-1").status_code == 404
        for bad in ("day=yesterday", "day=0001-01-01", "at=2026-11-17T00:00", "at=9999-12-31T23Z"):
            assert client.get(f"{here}?{bad}").status_code == 422, bad
        early = client.get(f"{here}?day=2020-01-01").text
        assert "当时没有安装电表" in early


@pytest.mark.req("B11", "B12")
def test_two_people_put_a_value_right_and_a_finding_is_taken_and_closed(
    chromium: Browser, watched: Town
) -> None:
    here = f"{watched.url}/stream/intervals/UP-000061?at=2026-11-16T01:30Z"
    with looking(chromium, watched, "reza") as look:
        page = look.page
        page.goto(here)
        page.fill("#energy", "0,25")
        page.fill("#reason", "read off the display by the crew")
        page.click("#edit button.main")
        assert "another person verifies" in page.inner_text("main")
        assert page.locator("button[value=true][name=accept]").count() == 0
        check(look, "a proposed edit")
        assert not look.faults
    with looking(chromium, watched, "nina", width=360) as look:
        page = look.page
        page.goto(here + "&lang=en")
        check(look, "to be verified")
        keep(page, "interval-to-verify-en-360")
        page.click("button[value=true][name=accept]")
        assert page.locator("li.said[data-kind=edit]").count() == 1
        told = page.inner_text("li.said[data-kind=edit]")
        for part in ("0,25", "reza", "nina", "read off the display"):
            assert part in told, told
        keep(page, "interval-edited-en-360")
        assert not look.faults


@pytest.mark.req("B12")
def test_the_queue_of_findings(chromium: Browser, watched: Town) -> None:
    with watched.owner.transaction() as conn:
        conn.execute(
            "INSERT INTO vee.exception (kind, meter, usage_point, range_start, range_end, day,"
            " severity, places, value, allowed, unit, opened_at)"
            " VALUES ('capacity', 'M-000061', 'UP-000061', %(at)s, %(end)s, '2026-11-16',"
            " 'error', 1, 21000, 10000, 'Wh', %(at)s),"
            " ('silent', 'M-000099', 'UP-000099', %(at)s, %(end)s, NULL, 'warning', 1, NULL, NULL,"
            " '', %(at)s)",
            {"at": MORNING, "end": MORNING + timedelta(minutes=30)},
        )
    with looking(chromium, watched, "reza") as look:
        page = look.page
        page.goto(watched.url + "/stream/findings")
        check(look, "queue")
        keep(page, "findings-en-1280")
        cards = page.locator("#queue > li")
        assert [cards.nth(n).get_attribute("data-kind") for n in range(2)] == ["capacity", "silent"]
        assert cards.nth(1).locator("input[name=reason]").count() == 0
        cards.nth(0).locator("button.main").click()
        assert "reza" in page.locator("#queue > li").nth(0).inner_text()
        page.check("input[name=mine]")
        page.click("form[role=search] button")
        assert page.locator("#queue > li").count() == 1
        page.fill("#queue input[name=reason]", "a workshop with a permit")
        page.click("#queue li form:has(input[name=reason]) button")
        page.goto(watched.url + "/stream/findings?kind=capacity")
        assert page.locator("#queue > li").count() == 0
        page.goto(watched.url + "/stream/intervals/UP-000061?at=2026-11-16T01:00Z")
        assert "a workshop with a permit" in page.inner_text("#found")
        assert not look.faults
    for language in ("fa", "zh"):
        with looking(chromium, watched, "nina", width=360) as look:
            look.page.goto(f"{watched.url}/stream/findings?lang={language}")
            check(look, f"queue {language}")
            keep(look.page, f"findings-{language}-360")
    with sign_in(watched, "mona") as client:
        assert "findings" in client.get("/stream/findings").text
        assert send(client, "/stream", "/stream/findings/1/assign").status_code == 403
        for bad in ("kind=none", "severity=dire", "days=-1"):
            assert client.get(f"/stream/findings?{bad}").status_code == 422
    with sign_in(watched, "maryam") as client:
        assert client.get("/stream/findings").status_code == 403
