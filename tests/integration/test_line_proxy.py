"""The fault proxy before real drivers: whatever strikes the line, no wrong value is ever told."""

import asyncio
import contextlib
import os
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from edge.acquire.dlms import DlmsDriver, DlmsTarget
from edge.acquire.modbus import ModbusDriver, ModbusTarget
from protocols.errors import PeerError
from protocols.reading import Channel
from protocols.timeline import to_ms
from simulators.fleet import make_fleet
from simulators.line_faults import LineFault, LinePlan
from simulators.line_proxy import CLIENT, METER, LineProxy, PtyEnd
from simulators.run import server_of
from simulators.truth import TruthLedger
from simulators.world import World
from tests.patient_loop import PATIENT

pytestmark = pytest.mark.anyio
ORIGIN = datetime(2026, 3, 4, 10, 7, tzinfo=UTC)
FLEET = make_fleet(seed=7, customers=60, origin=ORIGIN)
GMAC = FLEET.planted("story")
MODBUS = next(m for m in FLEET.customers if m.protocol == "modbus")
HOSTILE = {
    LineFault.GARBLE: 80,
    LineFault.TRUNCATE: 60,
    LineFault.GLUE: 60,
    LineFault.LATE: 80,
    LineFault.FOREIGN: 80,
    LineFault.SILENCE: 40,
    LineFault.NOISE: 60,
    LineFault.SPLIT: 100,
    LineFault.CUT: 40,
}


@pytest.fixture
def anyio_backend():
    return PATIENT


class Now:
    def now(self):
        return ORIGIN


class Counters:
    def __init__(self):
        self.next = 1

    def reserve(self, system_title, key_id, block):
        self.next += block
        return range(self.next - block, self.next)

    def raise_to(self, system_title, key_id, floor):
        self.next = max(self.next, floor)


@contextlib.asynccontextmanager
async def meter_behind(tmp_path, spec, plan):
    """The meter and the port of a proxy before it."""
    ledger = TruthLedger(tmp_path / "truth.sqlite", FLEET)
    world = World(FLEET, ledger, now_ms=lambda: to_ms(ORIGIN))
    server = server_of(world.meters[spec.meter])
    await server.start("127.0.0.1", 0)
    port = server._server.sockets[0].getsockname()[1]
    proxy = LineProxy(plan=plan, port=port)
    try:
        yield world.meters[spec.meter], await proxy.listen(), proxy
    finally:
        await proxy.close()
        await server.close()
        ledger.close()


def driver_of(spec, port):
    if spec.protocol == "modbus":
        target = ModbusTarget(
            meter=spec.meter, host="127.0.0.1", port=port, model=spec.model, serial=spec.serial,
            timeout_seconds=0.2,
        )  # fmt: skip
        return ModbusDriver(target, Now())
    target = DlmsTarget(
        meter=spec.meter, host="127.0.0.1", port=port, authentication="hls5",
        system_title=b"MTL\x00\x00\x00\x00\x01", authentication_key=spec.authentication_key,
        encryption_key=spec.encryption_key, expected_device_name=spec.meter, timeout_seconds=0.2,
    )  # fmt: skip
    return DlmsDriver(target, Counters(), Now())


@pytest.mark.parametrize("spec", [GMAC, MODBUS], ids=["dlms-gmac", "modbus-tcp"])
async def test_a_hostile_line_costs_reads_but_never_tells_a_wrong_value(tmp_path, spec):
    # Modbus TCP has no check sum: an octet flipped there cannot be seen, so TCP must carry it
    shares = {k: v // 2 for k, v in HOSTILE.items() if spec is GMAC or k != LineFault.GARBLE}
    plan = LinePlan(permille=shares, seed=5, late_seconds=0.3)
    async with meter_behind(tmp_path, spec, plan) as (meter, port, _):
        driver = driver_of(spec, port)
        good = codes = 0
        for _ in range(40):
            try:
                readout = await driver.read_now()
            except PeerError:
                codes += 1
                continue
            good += 1
            values = {s.channel: s.raw * 10.0**s.scaler for s in readout.samples}
            assert values[Channel.IMPORT_WH] == pytest.approx(meter.snapshot().register_wh, abs=10)
        plan.paused = True
        await asyncio.sleep(0.4)
        with contextlib.suppress(PeerError):
            await driver.read_now()
        assert (await driver.read_now()).identity
        await driver.close()
    assert good > 5
    assert codes > 5
    assert len(plan.struck) >= 6


async def test_a_delay_below_the_deadline_costs_nothing_but_time(tmp_path):
    plan = LinePlan(latency_seconds=0.05)
    async with meter_behind(tmp_path, MODBUS, plan) as (_, port, proxy):
        seen = []
        proxy.tap = lambda side, octets: seen.append((side, len(octets)))
        driver = driver_of(MODBUS, port)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await driver.read_now()
        trips = sum(side == METER for side, _ in seen)
        assert loop.time() - begun >= 0.05 * trips
        assert {side for side, _ in seen} == {CLIENT, METER}
        await driver.close()


async def test_a_pseudo_terminal_carries_the_same_faults(tmp_path):
    far = PtyEnd()  # the meter's end: a program that echoes what it is told
    plan = LinePlan(permille={LineFault.NOISE: 1000})

    async def echo():
        while octets := await far.read():
            far.write(octets[::-1])

    serving = asyncio.create_task(echo())
    proxy = LineProxy(plan=plan, serial=far.path)
    path = await proxy.open_port()
    port = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    os.write(port, b"abc")
    answer = b""
    async with asyncio.timeout(5):
        while not answer.endswith(b"cba"):
            await asyncio.sleep(0.01)
            with contextlib.suppress(BlockingIOError):
                answer += os.read(port, 100)
    assert len(answer) > 3
    assert plan.struck == {LineFault.NOISE: 1}
    os.close(port)
    await proxy.close()
    far.close()
    await serving


async def test_a_meter_that_is_not_there_ends_the_clients_line(tmp_path):
    proxy = LineProxy(plan=LinePlan(), port=1)
    port = await proxy.listen()
    with pytest.raises(PeerError) as refused:
        await driver_of(replace(GMAC), port).read_now()
    assert refused.value.code == "link.closed"
    await proxy.close()
