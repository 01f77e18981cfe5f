"""The simulator as a process: meters, hands, SMS centre; killed and back the same."""

import asyncio
import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from edge.acquire.dlms import DlmsDriver, DlmsTarget
from edge.acquire.modbus import ModbusDriver, ModbusTarget
from protocols.errors import PeerError
from protocols.mqtt.downlink import Verb
from protocols.reading import Channel, RelayState
from protocols.timeline import Interval, TimeScale, from_ms, to_ms
from simulators.endpoints import allocate, free_port, load_state
from simulators.fleet import make_fleet
from simulators.replay import load_replay, replay_fleet
from simulators.run import SimulatorConfig, run
from simulators.truth import TruthFile

ROOT = Path(__file__).parents[2]
RECORDED = ROOT.parent / "shared" / "data" / "nsw10_halfhourly.parquet"
ORIGIN = datetime(2026, 3, 1, tzinfo=UTC)

CHILD = """
import asyncio, json, sys
from pathlib import Path
from protocols.timeline import TimeScale
from simulators.run import SimulatorConfig, run
s = json.loads(sys.argv[1])
config = SimulatorConfig(
    seed=s["seed"], scale=TimeScale.parse(s["scale"]), truth=Path(s["truth"]),
    fleet_file=Path(s["fleet"]), hands_port=s["hands"], sms_port=s["sms"], customers=80)
asyncio.run(run(config, stop=asyncio.Event(), ready=lambda: print("ready", flush=True), status={}))
"""


class Counters:
    """Counters of one test, starting at a second so that they rise over restarts."""

    def __init__(self):
        self.next = 1

    def reserve(self, system_title, key_id, block):
        self.next += block
        return range(self.next - block, self.next)

    def raise_to(self, system_title, key_id, floor):
        self.next = max(self.next, floor)


COUNTERS = Counters()


class Clock:
    def __init__(self, scale):
        self.scale = scale

    def now(self):
        return self.scale.at(datetime.now(UTC))


def driver_of(spec, place, clock):
    if spec.protocol == "modbus":
        return ModbusDriver(
            ModbusTarget(meter=spec.meter, host=place.host, port=place.port, model=spec.model,
                         serial=spec.serial, timeout_seconds=10.0), clock,
        )  # fmt: skip
    return DlmsDriver(
        DlmsTarget(
            meter=spec.meter, host=place.host, port=place.port,
            authentication=spec.authentication, password=spec.password,
            system_title=b"MLPEDGE1", authentication_key=spec.authentication_key,
            encryption_key=spec.encryption_key, expected_device_name=spec.meter,
            interval_seconds=spec.interval_seconds, has_relay=spec.has_relay,
            timeout_seconds=10.0,
        ),
        COUNTERS, clock,
    )  # fmt: skip


@asynccontextmanager
async def simulator(config):
    stop, ready, status = asyncio.Event(), asyncio.Event(), {}
    task = asyncio.create_task(run(config, stop=stop, ready=ready.set, status=status))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED, timeout=30)
    waiting.cancel()
    if task.done():
        task.result()
    try:
        yield status
    finally:
        stop.set()
        await task


def config_at(folder, *, speed=4320, **changes):
    scale = TimeScale(wall_origin=datetime.now(UTC), origin=ORIGIN, speed=speed)
    settings = {
        "seed": 7, "scale": scale, "truth": folder / "truth.sqlite",
        "fleet_file": folder / "fleet.json", "customers": 80,
    }  # fmt: skip
    return SimulatorConfig(**(settings | changes))


def http(port, path, body=None):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}")
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")


def go(scenario):
    asyncio.run(asyncio.wait_for(scenario, 100))


@pytest.mark.req("A1", "A3", "A9")
def test_every_meter_of_a_mixed_fleet_answers_but_the_silent_one(tmp_path):
    async def scenario():
        fleet = make_fleet(seed=7, customers=125, origin=ORIGIN)
        config = config_at(tmp_path, customers=125)
        places = allocate(fleet, config.fleet_file)
        clock = Clock(config.scale)
        silent = []
        async with simulator(config) as status:
            assert status["meters"] == 130
            for spec in fleet.meters:
                driver = driver_of(spec, places[spec.meter], clock)
                if spec.planted == "silent":
                    driver = driver_of(spec, places[spec.meter], clock)
                    with pytest.raises(PeerError, match="timeout"):
                        await driver.read_now()
                    silent.append(spec.meter)
                    continue
                read = await driver.read_now()
                assert any(s.channel is Channel.IMPORT_WH for s in read.samples), spec.meter
                assert (read.relay is not None) == spec.has_relay
                await driver.close()
        assert silent == ["M-000120"]
        served = TruthFile(config.truth).rows("SELECT count(DISTINCT meter) FROM served")
        assert served == [(129,)]

    go(scenario())


@pytest.mark.req("A10", "D9", "D10", "D13")
def test_an_order_over_the_wire_opens_the_relay_at_once_and_truth_says_so(tmp_path):
    async def scenario():
        config = config_at(tmp_path, speed=60, hands_port=free_port())
        fleet = make_fleet(seed=7, customers=80, origin=ORIGIN)
        places = allocate(fleet, config.fleet_file)
        spec = fleet.planted("story")
        async with simulator(config):
            driver = driver_of(spec, places[spec.meter], Clock(config.scale))
            thief = driver_of(
                make_fleet(seed=8, customers=80, origin=ORIGIN).planted("story"),
                places[spec.meter], Clock(config.scale),
            )  # fmt: skip
            with pytest.raises(PeerError):
                await thief.operate(Verb.DISCONNECT)
            look = await asyncio.to_thread(http, config.hands_port, f"/meters/{spec.meter}")
            assert look[1]["output_closed"] is True, "another station's keys must not open it"
            await driver.operate(Verb.DISCONNECT)
            assert (await driver.read_relay()).output_closed is False
            _, seen = await asyncio.to_thread(http, config.hands_port, f"/meters/{spec.meter}")
            assert (seen["power_w"], seen["control_state"]) == (0, 0)
            await driver.operate(Verb.RECONNECT)
            assert (await driver.read_relay()).control_state is RelayState.CONNECTED
            await driver.close()
        moves = TruthFile(config.truth).relay_moves(spec.meter)
        assert [(m.output, m.cause) for m in moves] == [
            (False, "remote_disconnect"), (True, "remote_reconnect"),
        ]  # fmt: skip

    go(scenario())


@pytest.mark.req("D12", "D17")
def test_hands_press_the_button_and_the_crew_moves_a_stuck_relay(tmp_path):
    async def scenario():
        config = config_at(tmp_path, speed=60, hands_port=free_port())
        fleet = make_fleet(seed=7, customers=80, origin=ORIGIN)
        places = allocate(fleet, config.fleet_file)
        arms, stuck = fleet.planted("arms"), fleet.planted("stuck_relay")

        async def hands(path, body=None):
            return await asyncio.to_thread(http, config.hands_port, path, body)

        async with simulator(config):
            clock = Clock(config.scale)
            driver = driver_of(arms, places[arms.meter], clock)
            await driver.operate(Verb.DISCONNECT)
            await driver.operate(Verb.RECONNECT)
            relay = await driver.read_relay()
            assert (relay.output_closed, relay.control_state) == (False, RelayState.ARMED)
            assert (await hands(f"/meters/{arms.meter}/press", {}))[1]["moved"] is True
            assert (await driver.read_relay()).output_closed is True
            driver = driver_of(stuck, places[stuck.meter], clock)
            await driver.operate(Verb.DISCONNECT)
            assert (await driver.read_relay()).output_closed is True
            assert (await hands(f"/meters/{stuck.meter}/open", {}))[1]["output_closed"] is False
            assert (await driver.read_relay()).output_closed is False
            status, _ = await hands("/meters/M-000000")
            assert status == 404
            status, _ = await hands(f"/meters/{arms.meter}/fault", {"name": "melt", "on": True})
            assert status == 422
            _, seen = await hands(f"/meters/{arms.meter}/fault", {"name": "silent", "on": True})
            assert seen["faults"] == ["silent"]
        truth = TruthFile(config.truth)
        assert [m.cause for m in truth.relay_moves(stuck.meter)] == ["field"]
        assert [m.cause for m in truth.relay_moves(arms.meter)][-1] == "manual_reconnect"

    go(scenario())


def test_a_killed_simulator_serves_the_same_meters_on_the_same_ports(tmp_path):
    scale = TimeScale(wall_origin=datetime.now(UTC), origin=ORIGIN, speed=4320)
    settings = {
        "seed": 7, "scale": str(scale), "truth": str(tmp_path / "truth"),
        "fleet": str(tmp_path / "fleet.json"), "hands": free_port(), "sms": 0,
    }  # fmt: skip

    def start():
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, json.dumps(settings)],
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert child.stdout.readline() == "ready\n"
        return child

    child = start()
    try:
        state = load_state(tmp_path / "fleet.json")
        story = state.fleet.planted("story")
        assert http(settings["hands"], f"/meters/{story.meter}/open", {})[1]["moved"] is True
        before = http(settings["hands"], f"/meters/{story.meter}")[1]
        busy = http(settings["hands"], "/meters/M-000001")[1]
        time.sleep(1.2)
        child.send_signal(signal.SIGKILL)
        child.wait()
        begun = time.monotonic()
        child = start()
        assert time.monotonic() - begun < 60
        after = http(settings["hands"], f"/meters/{story.meter}")[1]
        busy_after = http(settings["hands"], "/meters/M-000001")[1]
        assert after["register_wh"] == before["register_wh"], "an open relay lets nothing through"
        assert after["output_closed"] is False
        assert busy_after["register_wh"] > busy["register_wh"]
        assert load_state(tmp_path / "fleet.json") == state
        clock = Clock(scale)

        async def profile():
            driver = driver_of(story, state.endpoints[story.meter], clock)
            span = Interval(start=ORIGIN - timedelta(days=1), end=clock.now())
            rows = await driver.read_profile(span)
            await driver.close()
            return rows

        told = {to_ms(row.at): row.raw for row in asyncio.run(profile())}
        time.sleep(1.2)
        written = TruthFile(tmp_path / "truth").intervals(story.meter)
        assert len(told) > 24
        assert told.items() <= written.items()
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def test_a_port_in_use_is_named_and_nothing_is_left_listening(tmp_path):
    async def scenario():
        config = config_at(tmp_path, customers=3)
        places = allocate(make_fleet(seed=7, customers=3, origin=ORIGIN), config.fleet_file)
        taken = places["M-000002"]
        server = await asyncio.start_server(lambda _r, _w: None, taken.host, taken.port)
        with pytest.raises(OSError, match=f"M-000002 cannot listen on .*{taken.port}"):
            async with simulator(config):
                raise AssertionError("it must not come up")
        server.close()
        hands = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
        port = hands.sockets[0].getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            async with simulator(config_at(tmp_path, customers=3, hands_port=port)):
                raise AssertionError("it must not come up")
        hands.close()
        async with simulator(config):
            pass

    go(scenario())


def test_the_sms_centre_keeps_each_message_once_whatever_its_mood(tmp_path):
    async def scenario():
        config = config_at(tmp_path, customers=3, hands_port=free_port(), sms_port=free_port())

        async def post(path, body=None, port=config.sms_port):
            return await asyncio.to_thread(http, port, path, body)

        async with simulator(config):
            moods = set()
            for number in range(60):
                order = {"id": f"m-{number}", "to": "+8613800000042", "text": f"balance {number}"}
                for _ in range(3):
                    status, _answer = await post("/messages", order)
                    moods.add(status)
                assert status == 202
            assert moods == {202, 503, 504}
            status, _ = await post("/messages", order | {"text": "other"})
            assert status == 409
            assert (await post("/messages", {"id": "x"}))[0] == 422
            assert (await post("/messages/m-1"))[1]["state"] == "delivered"
            assert (await post("/messages/none"))[0] == 404
            _, kept = await post("/sms?to=%2B8613800000042", None, config.hands_port)
            assert len(kept) == 60
            assert len({item["id"] for item in kept}) == 60
            assert (await post("/sms?to=nobody", None, config.hands_port))[1] == []

    go(scenario())


@pytest.mark.req("A1")
@pytest.mark.skipif(not RECORDED.exists(), reason="the recorded series are not here")
def test_recorded_homes_are_read_over_dlms_to_the_watt_hour(tmp_path):
    replay = load_replay(RECORDED)
    fleet = replay_fleet(replay, seed=1)
    scale = TimeScale(wall_origin=datetime.now(UTC), origin=replay.origin, speed=1)
    config = config_at(tmp_path, seed=1, scale=scale, replay=RECORDED)
    table = pq.read_table(RECORDED)
    customers = np.array(table["customer_id"].to_pylist())
    starts = table["t"].to_numpy().astype("datetime64[ms]").astype(np.int64) - 36_000_000
    wh = np.rint(table["kwh"].to_numpy() * 1000).astype(np.int64)

    async def scenario():
        places = allocate(fleet, config.fleet_file)
        async with simulator(config):
            for spec in fleet.meters[:2]:
                driver = driver_of(spec, places[spec.meter], Clock(scale))
                read = {}
                start = from_ms(replay.first_ms)
                while start < replay.origin:
                    end = start + timedelta(days=62)
                    for row in await driver.read_profile(Interval(start=start, end=end)):
                        read[to_ms(row.at)] = row.raw
                    start = end
                await driver.close()
                mine = customers == spec.source
                recorded = dict(zip(starts[mine].tolist(), wh[mine].tolist(), strict=True))
                assert read == recorded

    go(scenario())
