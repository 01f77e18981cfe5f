"""RTU meters on a real serial device (a pseudo-terminal), from the agent's configuration down."""

import asyncio
import json
import os
import random
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from edge.acquire.bus import SerialBus, UnitTiming
from edge.acquire.drivers import build_driver
from edge.clock import EdgeClock
from edge.config import ConfigError, KeyRing, config_from_json
from edge.links.serial import SerialLink, SerialSettings
from edge.run import run as run_agent
from protocols.errors import PeerError
from protocols.modbus.plan import ReadRequest
from protocols.modbus.rtu import RtuRead
from protocols.reading import Channel
from simulators.meter.register_bank import bank_of
from simulators.meter.rtu_bus import HostilePlan, RtuGateway, RtuMeters, RtuPort, UnitTraits
from tests.integration.edge_harness import REPO, cloud, written
from tests.patient_loop import patiently
from tests.unit.modbus.meter_kit import HandTime, meter_of, value_of

FAST_LINE = SerialSettings(baud=115_200)


def run(scenario):
    asyncio.run(asyncio.wait_for(scenario, 60))


@asynccontextmanager
async def served(banks, *, baud=115_200, **options):
    port = RtuPort()
    settings = SerialSettings(baud=baud)
    meters = RtuMeters(banks, port.send, octet_seconds=settings.octet_seconds, **options)
    port.serve(meters)
    try:
        yield port, meters
    finally:
        await port.close()


class NoCounters:
    def reserve(self, system_title, key_id, block):
        raise AssertionError("Modbus has no counters")


def agent(*meters):
    return json.dumps({
        "concentrator": "C-01", "broker": {"host": "127.0.0.1", "port": 1}, "outbox": "o",
        "keys_file": "k", "control_public_key": "0" * 64, "meters": list(meters),
    })  # fmt: skip


def entry(unit, path, **more):
    return {
        "meter": f"M-{unit:06}", "usage_point": f"UP-{unit:06}", "protocol": "modbus",
        "history_from": datetime(2026, 1, 1, tzinfo=UTC).isoformat(), "link": "rtu-serial",
        "serial_port": path, "baud": 115_200, "unit": unit, "model": "sdm630",
        "serial": f"{31_000_000 + unit}", **more,
    }  # fmt: skip


def drivers_of(*entries):
    clock = EdgeClock()
    ring = KeyRing(system_title=bytes(8), meters={})
    config = config_from_json(agent(*entries))
    return [build_driver(item, ring, NoCounters(), clock) for item in config.meters]


@pytest.mark.req("A1", "A5", "A9")
def test_several_meters_on_one_port_are_one_bus():
    async def scenario():
        clock = HandTime()
        models = {1: "sdm630", 2: "abb_b23", 3: "sunspec_203"}
        meters = {unit: meter_of(model, clock, unit=unit)[0] for unit, model in models.items()}
        banks = {unit: bank_of(meter) for unit, meter in meters.items()}
        async with served(banks, traits=UnitTraits(gap=0.004)) as (port, line):
            drivers = drivers_of(
                entry(1, port.path),
                entry(2, port.path, model="abb_b23"),
                entry(3, port.path, model="sunspec"),
            )
            answers = await asyncio.gather(*(driver.read_now() for driver in drivers))
            for unit, read in enumerate(answers, 1):
                shown = meters[unit].snapshot()
                assert 0 <= shown.register_wh - value_of(read) < 10
                assert value_of(read, Channel.POWER_W) == shown.power_w
                assert read.identity == meters[unit].spec.serial
            assert line.reboots == 0
            with pytest.raises(PeerError, match=r"link\.(busy|refused)"):
                await SerialLink.open(port.path, FAST_LINE)
            for driver in drivers:
                await driver.close()
            # given back: the port can be had again
            (again,) = drivers_of(entry(1, port.path))
            await again.read_now()
            await again.close()

    run(scenario())


@pytest.mark.req("A1", "A5")
def test_a_hostile_line_on_a_real_port_gives_no_wrong_value():
    async def scenario():
        clock = HandTime()
        meters = {unit: meter_of("sdm630", clock, unit=unit)[0] for unit in (1, 2)}

        banks = {unit: bank_of(meter) for unit, meter in meters.items()}
        plan = HostilePlan(permille=150, timeout_seconds=0.1, late_seconds=0.1, seed=11)
        timing = UnitTiming(gap=0.01, timeout=0.1, latency=0.15)
        draws = random.Random(1)
        async with served(banks, plan=plan, traits=UnitTraits(turn_round=0.002)) as (port, _):
            bus = SerialBus(
                port.path,
                lambda: SerialLink.open(port.path, FAST_LINE),
                settings=FAST_LINE,
                monotonic=asyncio.get_running_loop().time,
            )
            for _ in range(120):
                unit = draws.choice((1, 2))
                fc, address = draws.choice(((4, 0), (4, 0x34), (4, 0x46), (4, 0x48), (3, 0xFC00)))
                request = ReadRequest(fc=fc, address=address, count=2)
                answer = await bus.ask(
                    RtuRead(unit=unit, request=request), unit=str(unit), timing=timing, tries=8
                )
                assert list(answer.words) == banks[unit].words(request)
            counts = bus.counts
            assert counts.answered == 120
            assert counts.timeouts > 4
            assert counts.recovered > 4
            await bus.close()

    patiently(scenario())


@pytest.mark.req("A1")
def test_meters_behind_a_transparent_gateway_are_a_bus_too():
    async def scenario():
        clock = HandTime()
        meters = {unit: meter_of("sdm630", clock, unit=unit)[0] for unit in (1, 2)}
        gateway = RtuGateway()
        gateway.serve(
            RtuMeters(
                {unit: bank_of(meter) for unit, meter in meters.items()},
                gateway.send,
                octet_seconds=FAST_LINE.octet_seconds,
            )
        )
        place = {"host": "127.0.0.1", "link": "rtu-tcp", "serial_port": "", "gap_ms": 5}
        place["port"] = await gateway.start("127.0.0.1")
        drivers = drivers_of(entry(1, "") | place, entry(2, "") | place)
        for read, meter in zip(
            await asyncio.gather(*(driver.read_now() for driver in drivers)),
            meters.values(), strict=True,
        ):  # fmt: skip
            assert value_of(read) == meter.snapshot().register_wh
        await gateway.close()
        with pytest.raises(PeerError, match=r"link\.(closed|refused)"):
            await drivers[0].read_now()
        for driver in drivers:
            await driver.close()

    run(scenario())


async def read_by_hand(*arguments, home):
    command = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "meterloop.cli", "read", "M-000001", "--protocol", "modbus",
        *arguments, "--json", cwd=REPO, stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "XDG_STATE_HOME": str(home)},
    )  # fmt: skip
    out, _ = await command.communicate()
    return command.returncode, json.loads(out)


@pytest.mark.req("A5")
def test_a_meter_on_a_serial_port_is_read_from_the_command_line(tmp_path):
    async def scenario():
        meter, _ = meter_of("sunspec_203", HandTime(), unit=7)
        async with served({7: bank_of(meter)}, baud=19_200) as (port, _):
            line = ("--serial-port", port.path, "--baud", "19200", "--unit", "7")
            code, told = await read_by_hand(*line, "--model", "sunspec", home=tmp_path)
            assert code == 0
            assert told["identity"] == meter.spec.serial
            assert told["registers"]["1-0:1.8.0*255"] == str(meter.snapshot().register_wh)
            bad = tmp_path / "bad.yaml"
            bad.write_text("model: [", encoding="utf-8")
            code, told = await read_by_hand(*line, "--map-file", str(bad), home=tmp_path)
            assert code == 1
            assert told["error"]["code"] == "modbus.map"
            assert "bad.yaml" in told["error"]["message"]

    run(scenario())


def test_a_port_that_is_not_there_is_told():
    async def scenario():
        (driver,) = drivers_of(entry(1, "/dev/serial/by-id/absent"))
        with pytest.raises(PeerError, match=r"link\.refused"):
            await driver.read_now()
        await driver.close()

    run(scenario())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"serial_port": ""}, "serial_port"),
        ({"protocol": "dlms"}, "is for protocol modbus"),
        ({"model": ""}, "needs model"),
        ({"unit": 300}, "unit"),
        ({"gap_ms": -1}, "gap_ms"),
        ({"link": "rtu-tcp", "serial_port": ""}, "host and port"),
        ({"parity": "X"}, "parity"),
    ],
)
def test_a_wrong_entry_names_the_key(more, message):
    with pytest.raises(ConfigError, match=message):
        config_from_json(agent(entry(1, "/dev/ttyUSB0") | more))


def test_two_meters_that_want_one_port_at_two_speeds_are_refused():
    async def scenario():
        first = drivers_of(entry(1, "/dev/ttyUSB7"))
        with pytest.raises(ConfigError, match=r"M-000002\.serial_port.*same baud"):
            drivers_of(entry(2, "/dev/ttyUSB7", baud=9600))
        assert first

    run(scenario())


@pytest.mark.req("A1", "A3", "A5")
def test_an_agent_polls_a_street_of_rtu_meters_and_a_dead_one_starves_nobody(mqtt_broker, tmp_path):
    async def scenario():
        clock = HandTime()
        meters = {unit: meter_of("sdm630", clock, unit=unit)[0] for unit in (1, 2, 3)}
        banks = {unit: bank_of(meter) for unit, meter in meters.items()}
        async with served(banks, traits=UnitTraits(gap=0.004)) as (port, line):
            line.dark.add(2)
            entries = [entry(unit, port.path, gap_ms=5, answer_ms=60) for unit in (1, 2, 3)]
            _, config = written(tmp_path, mqtt_broker, "C-RTU", meters=entries)
            stop, up = asyncio.Event(), asyncio.Event()
            status = {}
            async with cloud(mqtt_broker, "C-RTU") as far:
                agent = asyncio.ensure_future(
                    run_agent(config, stop=stop, ready=up.set, status=status)
                )
                await far.until(lambda: heard(far, "M-000001") > 5 and heard(far, "M-000003") > 5)
                assert heard(far, "M-000002") == 0, "no value is made up for a meter that is silent"
                line.dark.clear()
                await far.until(lambda: heard(far, "M-000002") > 1, 45)
                stop.set()
                await asyncio.wait_for(agent, 30)
            shown = {meter.spec.modbus_unit: meter.snapshot() for meter in meters.values()}
            told = energy_told(far)
            assert told == {f"M-{unit:06}": {shown[unit].register_wh} for unit in (1, 2, 3)}
            assert line.reboots == 0

    asyncio.run(asyncio.wait_for(scenario(), 100))


def energy_told(far):
    """Return the import registers that have come up, by meter."""
    found = {}
    for batch in far.batches:
        columns = batch.columns
        for meter, channel, raw in zip(
            columns["meter"].tolist(), columns["channel"].tolist(), columns["raw"].tolist(),
            strict=True,
        ):  # fmt: skip
            if channel == Channel.IMPORT_WH:
                found.setdefault(batch.meters[meter], set()).add(raw)
    return found


def heard(far, meter):
    return sum(
        batch.columns["meter"].tolist().count(batch.meters.index(meter))
        for batch in far.batches
        if meter in batch.meters
    )
