"""The Modbus driver against simulated meters over real sockets, healthy and not."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from edge.acquire.modbus import ModbusDriver, ModbusTarget
from protocols.errors import PeerError
from protocols.mqtt.downlink import Verb
from protocols.reading import REGISTERS, Channel
from protocols.timeline import Interval, from_ms, to_ms
from simulators.endpoints import free_port
from simulators.faults import Fault
from simulators.fleet import make_fleet
from simulators.meter.modbus_server import ModbusMeterServer
from simulators.truth import TruthFile, TruthLedger
from simulators.world import World
from tests.patient_loop import patiently

ORIGIN = datetime(2026, 3, 1, tzinfo=UTC)
FLEET = make_fleet(seed=7, customers=25, origin=ORIGIN)


class Now:
    def __init__(self):
        self.ms = to_ms(ORIGIN)

    def now(self):
        return from_ms(self.ms)


class Line:
    """One simulated meter, its server, a driver that reads it, and the truth."""

    def __init__(self, model, path, serial=None):
        self.clock = Now()
        self.path = path / "truth"
        self.ledger = TruthLedger(self.path, FLEET)
        world = World(FLEET, self.ledger, now_ms=lambda: self.clock.ms)
        self.meter = next(
            m for m in world.meters.values()
            if m.spec.model == model and (m.spec.kind == "head") == (model == "abb_b23")
        )  # fmt: skip
        self.server = ModbusMeterServer(self.meter)
        self.port = free_port()
        self.driver = ModbusDriver(
            ModbusTarget(
                meter=self.meter.spec.meter,
                host="127.0.0.1",
                port=self.port,
                model=model,
                serial=serial or self.meter.spec.serial,
                timeout_seconds=0.4,
            ),
            self.clock,
        )


@asynccontextmanager
async def line(model, path, **options):
    found = Line(model, path, **options)
    await found.server.start("127.0.0.1", found.port)
    try:
        yield found
    finally:
        await found.driver.close()
        await found.server.close()


def run(scenario):
    patiently(asyncio.wait_for(scenario, 60))


@pytest.mark.req("A1", "A3", "A9")
@pytest.mark.parametrize("model", ["sdm630", "abb_b23"])
def test_what_is_read_is_what_the_meter_measures(model, tmp_path):
    async def scenario():
        async with line(model, tmp_path) as at:
            for _ in range(3):
                at.clock.ms += 3_600_000
                shown = at.meter.snapshot()
                read = await at.driver.read_now()
                values = {s.channel: s.raw * 10**s.scaler if s.scaler >= 0
                          else s.raw // 10**-s.scaler for s in read.samples}  # fmt: skip
                resolution = 1 if model == "sdm630" else 10
                assert values[Channel.IMPORT_WH] == shown.register_wh // resolution * resolution
                assert values[Channel.POWER_W] == shown.power_w
                assert abs(values[Channel.VOLTAGE_L1_MV] - shown.voltage_mv[0]) <= 100
                assert {sample.at for sample in read.samples} == {at.clock.now()}
                assert read.identity == at.meter.spec.serial
                assert read.relay is None
                assert read.clock is None
            served = TruthFile(at.path).rows("SELECT raw, scaler FROM served WHERE channel = 1")
            assert (served[-1][0] * 10 ** served[-1][1]) == values[Channel.IMPORT_WH]
            assert sum(s.channel in REGISTERS for s in read.samples) == 2

    run(scenario())


def test_the_head_meter_shows_three_phases(tmp_path):
    async def scenario():
        async with line("abb_b23", tmp_path) as at:
            read = await at.driver.read_now()
            channels = {sample.channel: sample for sample in read.samples}
            for channel in (Channel.VOLTAGE_L2_MV, Channel.VOLTAGE_L3_MV, Channel.CURRENT_L3_MA):
                assert channels[channel].raw > 0

    run(scenario())


@pytest.mark.parametrize(
    ("fault", "codes"),
    [
        (Fault.SILENT, {"modbus.timeout"}),
        (Fault.DARK, {"modbus.timeout", "modbus.unreachable"}),
        (Fault.TRUNCATE, {"modbus.timeout", "modbus.unreachable"}),
        (Fault.FOREIGN, {"modbus.foreign"}),
    ],
)
def test_a_faulty_meter_is_a_peer_error_and_a_healed_one_is_read_again(fault, codes, tmp_path):
    async def scenario():
        async with line("sdm630", tmp_path) as at:
            await at.driver.read_now()
            at.meter.switch_fault(fault, on=True)
            with pytest.raises(PeerError) as caught:
                await at.driver.read_now()
            assert caught.value.code in codes
            at.meter.switch_fault(fault, on=False)
            assert (await at.driver.read_now()).identity == at.meter.spec.serial

    run(scenario())


def test_garbled_answers_never_crash_nor_turn_into_another_meter(tmp_path):
    async def scenario():
        async with line("sdm630", tmp_path) as at:
            at.meter.switch_fault(Fault.GARBLE, on=True)
            failures = 0
            for _ in range(25):
                try:
                    read = await at.driver.read_now()
                    assert read.identity == at.meter.spec.serial
                except PeerError:
                    failures += 1
            assert failures

    run(scenario())


def test_the_wrong_meter_behind_an_address_is_foreign(tmp_path):
    async def scenario():
        async with line("sdm630", tmp_path, serial="12345678") as at:
            with pytest.raises(PeerError, match=r"modbus\.foreign") as caught:
                await at.driver.read_now()
            assert caught.value.evidence["expected"] == "12345678"

    run(scenario())


def test_nobody_at_the_address_is_unreachable(tmp_path):
    async def scenario():
        found = Line("sdm630", tmp_path)
        with pytest.raises(PeerError, match=r"modbus\.(unreachable|timeout)"):
            await found.driver.read_now()

    run(scenario())


def test_an_address_that_the_meter_does_not_have_is_an_exception(tmp_path):
    async def scenario():
        async with line("sdm630", tmp_path) as at:
            other = ModbusDriver(
                ModbusTarget(meter=at.meter.spec.meter, host="127.0.0.1", port=at.port,
                             model="abb_b23", serial="", timeout_seconds=0.4),
                at.clock,
            )  # fmt: skip
            with pytest.raises(PeerError, match=r"modbus\.exception"):
                await other.read_now()

    run(scenario())


def test_what_such_a_meter_does_not_have_is_said(tmp_path):
    async def scenario():
        driver = Line("sdm630", tmp_path).driver
        span = Interval(start=ORIGIN, end=from_ms(to_ms(ORIGIN) + 1))
        with pytest.raises(PeerError, match=r"meter\.no_profile"):
            await driver.read_profile(span)
        with pytest.raises(PeerError, match=r"meter\.no_relay"):
            await driver.read_relay()
        with pytest.raises(PeerError, match=r"meter\.no_relay"):
            await driver.operate(Verb.DISCONNECT)
        with pytest.raises(PeerError, match=r"meter\.no_clock"):
            await driver.set_clock(5)
        assert not driver.has_relay
        assert not driver.has_profile

    run(scenario())
