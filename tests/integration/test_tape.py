"""Sessions recorded through a proxy and played back to the same drivers tell the same values."""

import contextlib
import io
import itertools
from datetime import UTC, datetime

import pytest

from edge.acquire.dlms import DlmsDriver, DlmsTarget
from edge.acquire.modbus import ModbusDriver, ModbusTarget
from protocols.errors import PeerError
from protocols.tape.lines import parse_tape
from protocols.timeline import to_ms
from simulators.fleet import make_fleet
from simulators.line_faults import LinePlan
from simulators.line_proxy import LineProxy
from simulators.run import server_of
from simulators.tape_player import TapePlayer
from simulators.tape_recorder import TapeRecorder
from simulators.truth import TruthLedger
from simulators.world import World
from tests.patient_loop import PATIENT

pytestmark = pytest.mark.anyio
ORIGIN = datetime(2026, 3, 4, 10, 7, tzinfo=UTC)
FLEET = make_fleet(seed=7, customers=60, origin=ORIGIN)
LLS = FLEET.planted("race")
GMAC = FLEET.planted("story")
MODBUS = next(m for m in FLEET.customers if m.protocol == "modbus")


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


def driver_of(spec, port, **changes):
    if spec.protocol == "modbus":
        return ModbusDriver(
            ModbusTarget(
                meter=spec.meter, host="127.0.0.1", port=port, model=spec.model, serial=spec.serial
            ),
            Now(),
        )
    options = {
        "authentication": spec.authentication,
        "password": spec.password,
        "system_title": b"MTL\x00\x00\x00\x00\x01",
        "authentication_key": spec.authentication_key,
        "encryption_key": spec.encryption_key,
    } | changes
    target = DlmsTarget(
        meter=spec.meter, host="127.0.0.1", port=port, expected_device_name=spec.meter,
        has_relay=True, timeout_seconds=0.5, **options,
    )  # fmt: skip
    return DlmsDriver(target, Counters(), Now())


async def recorded(tmp_path, spec, visits=1):
    """Return the tape's text and what was read while it ran."""
    ledger = TruthLedger(tmp_path / "truth.sqlite", FLEET)
    world = World(FLEET, ledger, now_ms=lambda: to_ms(ORIGIN))
    server = server_of(world.meters[spec.meter])
    await server.start("127.0.0.1", 0)
    out, ticks = io.StringIO(), itertools.count()
    tap = TapeRecorder(out, peer="meter", started=ORIGIN, elapsed=lambda: next(ticks) / 1000)
    port = server._server.sockets[0].getsockname()[1]
    proxy = LineProxy(plan=LinePlan(), port=port, tap=tap)
    driver = driver_of(spec, await proxy.listen())
    readouts = [await driver.read_now() for _ in range(visits)]
    await driver.close()
    await proxy.close()
    await server.close()
    ledger.close()
    assert tap.withheld == 0
    return out.getvalue(), readouts


@contextlib.asynccontextmanager
async def played(text):
    player = TapePlayer(tape=parse_tape(text), speed=0)
    try:
        yield player, await player.listen()
    finally:
        await player.close()


@pytest.mark.parametrize("spec", [LLS, MODBUS], ids=["dlms-lls", "modbus-tcp"])
async def test_a_played_tape_tells_what_the_meter_told(tmp_path, spec):
    text, told = await recorded(tmp_path, spec, visits=3)
    async with played(text) as (player, port):
        driver = driver_of(spec, port)
        again = [await driver.read_now() for _ in range(3)]
        await driver.close()
    assert [readout.samples for readout in again] == [readout.samples for readout in told]
    assert player.unknown == 0


async def test_no_password_stands_on_the_tape_and_any_password_plays_it(tmp_path):
    text, _ = await recorded(tmp_path, LLS)
    assert LLS.password.hex() not in text
    async with played(text) as (_, port):
        driver = driver_of(LLS, port, password=b"x" * len(LLS.password))
        assert (await driver.read_now()).identity == LLS.meter
        await driver.close()


async def test_no_key_stands_on_the_tape_and_a_fresh_challenge_is_not_answered(tmp_path):
    text, _ = await recorded(tmp_path, GMAC)
    for secret in (GMAC.authentication_key, GMAC.encryption_key):
        assert secret.hex() not in text
    async with played(text) as (player, port):
        driver = driver_of(GMAC, port)
        with pytest.raises(PeerError) as refused:
            await driver.read_now()
        assert refused.value.code == "link.timeout"
        assert player.unknown == 1


async def test_a_request_that_is_not_on_the_tape_meets_silence(tmp_path):
    text, _ = await recorded(tmp_path, MODBUS)
    async with played(text) as (player, port):
        other = next(m for m in FLEET.meters if m.protocol == "modbus" and m.model != MODBUS.model)
        driver = driver_of(other, port)
        driver._target = ModbusTarget(
            meter=other.meter, host="127.0.0.1", port=port, model=other.model, serial="",
            timeout_seconds=0.2,
        )  # fmt: skip
        with pytest.raises(PeerError) as refused:
            await driver.read_now()
        assert refused.value.code == "modbus.timeout"
        assert player.unknown == 1


async def test_the_meter_swapped_for_another_is_found_out_on_a_tape_too(tmp_path):
    text, _ = await recorded(tmp_path, LLS)
    async with played(text) as (_, port):
        driver = driver_of(LLS, port)
        driver._target = DlmsTarget(
            meter="M-000061", host="127.0.0.1", port=port, authentication="lls",
            password=LLS.password, expected_device_name="M-000061", timeout_seconds=0.5,
        )  # fmt: skip
        with pytest.raises(PeerError) as refused:
            await driver.read_now()
        assert refused.value.code == "dlms.foreign"
