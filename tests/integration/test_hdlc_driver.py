"""The DLMS driver over HDLC: on TCP, on a serial line, several meters on one line, with losses."""

import asyncio
import contextlib
import json
import os
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import TypeAdapter, ValidationError

from edge.acquire.dlms import DlmsDriver, DlmsTarget
from edge.acquire.drivers import build_driver
from edge.clock import EdgeClock
from edge.config import ConfigError, KeyRing, MeterConfig, MeterKeys
from edge.links.hdlc import HdlcPlace
from edge.links.serial import SerialSettings
from edge.outbox.counters import Counters
from edge.outbox.database import OutboxDatabase
from meterloop.demo.seed import edge_meters
from protocols.errors import PeerError
from protocols.mqtt.downlink import Verb
from protocols.quantities import rescale
from protocols.reading import Channel, RelayState
from protocols.timeline import Interval, to_ms
from simulators.faults import Fault
from simulators.fleet import make_fleet
from simulators.meter.dlms_server import DlmsMeterServer
from simulators.meter.pty_line import PtyLine
from simulators.run import server_of
from simulators.truth import TruthLedger
from simulators.world import World
from tests.patient_loop import PATIENT

pytestmark = pytest.mark.anyio
ORIGIN = datetime(2026, 3, 4, 10, 7, tzinfo=UTC)
TITLE = b"MTL\x00\x00\x00\x00\x01"
FLEET = make_fleet(seed=7, customers=60, origin=ORIGIN)
STORY, ARMS, RACE = (FLEET.planted(name) for name in ("story", "arms", "race"))


@pytest.fixture
def anyio_backend():
    return PATIENT


class StandingClock:
    def now(self):
        return ORIGIN


class LossyLine(PtyLine):
    """Loses the answers whose numbers are in `lost`, and makes some noise instead."""

    lost: frozenset[int] = frozenset()
    said = 0

    def say(self, octets):
        if not octets:
            return
        self.said += 1
        super().say(b"\xff\x00\x7e" if self.said in self.lost else octets)


class Bench:
    def __init__(self, tmp_path):
        self.folder = tmp_path
        self.ledger = TruthLedger(tmp_path / "truth.sqlite", FLEET)
        self.world = World(FLEET, self.ledger, now_ms=lambda: to_ms(ORIGIN))
        self.outbox = OutboxDatabase(tmp_path / "outbox.sqlite")
        self.counters = Counters(self.outbox)
        self.open = contextlib.AsyncExitStack()
        self.drivers = []

    async def on_tcp(self, spec, *, segment_octets=128):
        server = DlmsMeterServer(
            self.world.meters[spec.meter], link="hdlc-tcp", segment_octets=segment_octets
        )
        await server.start("127.0.0.1", 0)
        self.open.push_async_callback(server.close)
        return self.driver(spec, HdlcPlace(segment_octets=segment_octets), port=server.port)

    async def on_line(self, line):
        await line.start()
        self.open.push_async_callback(line.close)
        return line

    def station(self, spec, *, physical=None, mode_e=False):
        server = DlmsMeterServer(self.world.meters[spec.meter], physical=physical)
        return server.station(mode_e=mode_e)

    def driver(self, spec, place, **changes):
        target = DlmsTarget(
            meter=spec.meter,
            host="127.0.0.1",
            hdlc=place,
            authentication=spec.authentication,
            password=spec.password,
            system_title=TITLE,
            authentication_key=spec.authentication_key,
            encryption_key=spec.encryption_key,
            expected_device_name=spec.meter,
            interval_seconds=spec.interval_seconds,
            has_relay=spec.has_relay,
            timeout_seconds=2.0,
        )
        driver = DlmsDriver(replace(target, **changes), self.counters, StandingClock())
        self.drivers.append(driver)
        return driver


@pytest.fixture
async def bench(tmp_path):
    made = Bench(tmp_path)
    async with made.open:
        yield made
        for driver in made.drivers:
            await driver.close()
    made.ledger.close()
    made.outbox.close()


async def check_every_job(bench, driver, spec):
    """Read, fetch a day of profile, open and close the switch, as over any other line."""
    meter = bench.world.meters[spec.meter]
    got = {s.channel: rescale(s.raw, s.scaler) for s in (await driver.read_now()).samples}
    assert got[Channel.IMPORT_WH] == meter.snapshot().register_wh
    day = Interval(start=ORIGIN - timedelta(days=1), end=ORIGIN - timedelta(minutes=7))
    samples = await driver.read_profile(day)
    assert len(samples) == 86_400 // spec.interval_seconds - 1
    await driver.operate(Verb.DISCONNECT)
    assert (await driver.read_relay()).control_state is RelayState.DISCONNECTED
    await driver.operate(Verb.RECONNECT)
    assert (await driver.read_relay()).output_closed


@pytest.mark.req("A1")
@pytest.mark.parametrize("segment_octets", [64, 128, 2030])
@pytest.mark.parametrize("spec", [STORY, RACE], ids=["hls5", "lls"])
async def test_every_job_over_tcp(bench, spec, segment_octets):
    driver = await bench.on_tcp(spec, segment_octets=segment_octets)
    await check_every_job(bench, driver, spec)


@pytest.mark.req("A1")
@pytest.mark.parametrize("place", [
    HdlcPlace(), HdlcPlace(physical=17), HdlcPlace(physical=9042),
    HdlcPlace(physical=17, address_octets=4), HdlcPlace(serial=SerialSettings(baud=19_200)),
])  # fmt: skip
async def test_every_job_on_a_serial_line(bench, tmp_path, place):
    line = PtyLine(tmp_path / "line", bench.station(STORY, physical=place.physical))
    await bench.on_line(line)
    driver = bench.driver(STORY, replace(place, serial_port=str(line.path)))
    await check_every_job(bench, driver, STORY)


@pytest.mark.req("A1", "A5")
async def test_meters_on_one_line_take_turns_and_never_answer_for_each_other(bench, tmp_path):
    specs = {17: STORY, 18: ARMS, 19: RACE}
    line = PtyLine(tmp_path / "line")
    for physical, spec in specs.items():
        line.attach(bench.station(spec, physical=physical))
    await bench.on_line(line)
    drivers = {
        spec.meter: bench.driver(spec, HdlcPlace(serial_port=str(line.path), physical=physical))
        for physical, spec in specs.items()
    }
    for _ in range(3):
        readouts = await asyncio.gather(*(driver.read_now() for driver in drivers.values()))
        for name, readout in zip(drivers, readouts, strict=True):
            assert readout.identity == name
            energy = next(s for s in readout.samples if s.channel is Channel.IMPORT_WH)
            shown = bench.world.meters[name].snapshot().register_wh
            assert rescale(energy.raw, energy.scaler) == shown


@pytest.mark.req("A1")
async def test_lost_and_spoilt_answers_are_asked_for_again(bench, tmp_path):
    line = LossyLine(tmp_path / "line", bench.station(STORY))
    line.lost = frozenset({1, 4, 6, 7, 11, 15, 20, 33})
    await bench.on_line(line)
    place = HdlcPlace(serial_port=str(line.path))
    await check_every_job(bench, bench.driver(STORY, place, timeout_seconds=0.1), STORY)
    assert line.said > 33


@pytest.mark.req("A1")
async def test_a_silent_meter_is_given_up_and_the_line_is_free_for_others(bench, tmp_path):
    line = PtyLine(tmp_path / "line")
    for physical, spec in ((17, STORY), (18, RACE)):
        line.attach(bench.station(spec, physical=physical))
    await bench.on_line(line)
    bench.world.meters[STORY.meter].faults.add(Fault.SILENT)
    silent = bench.driver(
        STORY, HdlcPlace(serial_port=str(line.path), physical=17), timeout_seconds=0.1
    )
    other = bench.driver(RACE, HdlcPlace(serial_port=str(line.path), physical=18))
    with pytest.raises(PeerError) as refused:
        await silent.read_now()
    assert refused.value.code == "link.timeout"
    assert (await other.read_now()).identity == RACE.meter
    bench.world.meters[STORY.meter].faults.clear()
    assert (await silent.read_now()).identity == STORY.meter


@pytest.mark.req("A1")
async def test_a_line_that_goes_away_is_an_error_and_comes_back(bench, tmp_path):
    line = PtyLine(tmp_path / "line", bench.station(RACE))
    await bench.on_line(line)
    driver = bench.driver(RACE, HdlcPlace(serial_port=str(line.path)))
    await driver.read_now()
    await line.close()
    with pytest.raises(PeerError) as gone:
        await driver.read_now()
    assert gone.value.code == "link.closed"
    with pytest.raises(PeerError) as absent:
        await driver.read_now()
    assert absent.value.code == "link.refused"
    await line.start()
    assert (await driver.read_now()).identity == RACE.meter


@pytest.mark.req("A1")
async def test_sign_on_by_mode_e_hands_over_to_hdlc(bench, tmp_path):
    station = bench.station(STORY, mode_e=True)
    line = PtyLine(tmp_path / "line", station)
    await bench.on_line(line)
    place = HdlcPlace(serial_port=str(line.path), mode_e=True)
    driver = bench.driver(STORY, place)
    await check_every_job(bench, driver, STORY)
    assert station.sign_on.handed_over == 9600
    await driver.close()
    assert (await driver.read_now()).identity == STORY.meter
    without = bench.driver(STORY, replace(place, mode_e=False), timeout_seconds=0.1)
    await driver.close()
    station.sign_on.handed_over = 0
    with pytest.raises(PeerError) as silent:
        await without.read_now()
    assert silent.value.code == "link.timeout"


@pytest.mark.req("A1")
async def test_a_meter_on_another_address_or_line_is_a_typed_error(bench, tmp_path):
    line = PtyLine(tmp_path / "line", bench.station(STORY, physical=17))
    await bench.on_line(line)
    place = HdlcPlace(serial_port=str(line.path), physical=18)
    with pytest.raises(PeerError) as elsewhere:
        await bench.driver(STORY, place, timeout_seconds=0.1).read_now()
    assert elsewhere.value.code == "link.timeout"
    place = HdlcPlace(serial_port=str(line.path), physical=17)
    with pytest.raises(PeerError) as refused:
        await bench.driver(STORY, place, client_sap=48).read_now()
    assert refused.value.code == "hdlc.refused"


@pytest.mark.req("A1")
async def test_a_fleet_on_hdlc_is_read_as_its_configuration_says(bench, tmp_path):
    fleet = make_fleet(seed=7, customers=60, origin=ORIGIN, hdlc=4)
    on_tcp = [meter for meter in fleet.meters if meter.link == "hdlc-tcp"]
    assert [meter.protocol for meter in on_tcp] == ["dlms"] * 4
    on_line = replace(on_tcp[0], link="wrapper", serial_line=str(tmp_path / "line"))
    fleet = replace(fleet, meters=(on_line, *on_tcp[1:]))
    world = World(fleet, bench.ledger, now_ms=lambda: to_ms(ORIGIN))
    places = {}
    for meter in fleet.meters:
        server = server_of(world.meters[meter.meter])
        await server.start("127.0.0.1", 0)
        bench.open.push_async_callback(server.close)
        places[meter.meter] = ("127.0.0.1", 1 if meter.serial_line else server.port)
    adapter = TypeAdapter(MeterConfig)
    keys = KeyRing(
        system_title=TITLE,
        meters={
            meter.meter: MeterKeys(
                password=meter.password,
                authentication_key=meter.authentication_key,
                encryption_key=meter.encryption_key,
            )
            for meter in fleet.meters
        },
    )
    for wanted in edge_meters(fleet, on_line.concentrator, places):
        config = adapter.validate_python(wanted)
        driver = build_driver(config, keys, bench.counters, EdgeClock())
        bench.drivers.append(driver)
        assert (await driver.read_now()).identity == config.meter


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"link": "hdlc-serial"}, "serial_port"),
        ({"link": "hdlc-tcp", "hdlc_info_octets": 5000}, "hdlc_info_octets"),
        ({"link": "hdlc-tcp", "hdlc_address_octets": 3}, "hdlc_address_octets"),
        ({"link": "hdlc-tcp", "hdlc_address_octets": 4}, "physical"),
        ({"link": "hdlc-tcp", "hdlc_physical": 200, "hdlc_address_octets": 2}, "0..127"),
    ],
)
def test_an_address_that_cannot_be_is_told_before_anything_starts(wrong, told):
    plain = {
        "meter": "M-1", "usage_point": "UP-1", "protocol": "dlms", "host": "127.0.0.1", "port": 1,
        "history_from": "2026-01-01T00:00:00Z",
    }  # fmt: skip

    def start():
        config = TypeAdapter(MeterConfig).validate_python(plain | wrong)
        build_driver(config, KeyRing(system_title=TITLE, meters={}), None, EdgeClock())

    with pytest.raises((ValidationError, ConfigError), match=told):
        start()


@pytest.mark.req("A1")
@pytest.mark.parametrize("way", ["tcp", "line"])
@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # the one who asks is another process
async def test_one_meter_is_read_by_hand_over_hdlc(bench, tmp_path, way):
    meter = bench.world.meters[RACE.meter]
    if way == "tcp":
        server = DlmsMeterServer(meter, link="hdlc-tcp")
        await server.start("127.0.0.1", 0)
        bench.open.push_async_callback(server.close)
        place = ["--host", "127.0.0.1", "--port", str(server.port), "--link", "hdlc-tcp"]
    else:
        line = PtyLine(tmp_path / "line", bench.station(RACE, physical=17, mode_e=True))
        await bench.on_line(line)
        place = ["--serial-port", str(line.path), "--hdlc-physical", "17", "--mode-e"]
    keys = tmp_path / "keys.json"
    keys.touch(mode=0o600)
    secrets = {"system_title": TITLE.hex(), RACE.meter: {"password": RACE.password.hex()}}
    keys.write_text(json.dumps(secrets))
    reader = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from meterloop.cli import main; main()", "read", RACE.meter, *place,
        "--authentication", "lls", "--keys", str(keys), "--json",
        stdout=-1, stderr=-1, env=os.environ | {"XDG_STATE_HOME": str(tmp_path)},
    )  # fmt: skip
    out, complaint = await reader.communicate()
    assert reader.returncode == 0, complaint.decode()[-2000:]
    assert json.loads(out)["registers"]["1-0:1.8.0*255"] == f"{meter.snapshot().register_wh}e0"
