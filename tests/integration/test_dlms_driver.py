"""The DLMS driver against the simulated meter over real TCP: LLS and HLS5, every job it has."""

import asyncio
import contextlib
import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from edge.acquire.dlms import DlmsDriver, DlmsTarget
from edge.acquire.dlms_session import COUNTER_BLOCK
from edge.outbox.counters import Counters
from edge.outbox.database import OutboxDatabase
from protocols.errors import PeerError
from protocols.mqtt.downlink import Verb
from protocols.quantities import rescale
from protocols.reading import Channel, RelayState
from protocols.timeline import Interval, to_ms
from simulators.faults import Fault
from simulators.fleet import make_fleet
from simulators.meter.dlms_server import DlmsMeterServer
from simulators.truth import TruthLedger
from simulators.world import World
from tests.patient_loop import PATIENT

pytestmark = pytest.mark.anyio
ORIGIN = datetime(2026, 3, 4, 10, 7, tzinfo=UTC)
TITLE = b"MTL\x00\x00\x00\x00\x01"
FLEET = make_fleet(seed=7, customers=60, origin=ORIGIN)
DLMS = {meter.number: meter for meter in FLEET.customers if meter.protocol == "dlms"}
STORY = next(m for m in DLMS.values() if m.planted == "story")
ARMS = next(m for m in DLMS.values() if m.planted == "arms")
RACE = next(m for m in DLMS.values() if m.planted == "race")


@pytest.fixture
def anyio_backend():
    return PATIENT


class StandingClock:
    """Business time that stands until it is moved."""

    def __init__(self):
        self.at = ORIGIN

    def now(self):
        return self.at


class Bench:
    """A meter listening, a durable counter store, and drivers to talk to it."""

    def __init__(self, tmp_path, spec):
        self.spec = spec
        self.clock = StandingClock()
        self.ledger = TruthLedger(tmp_path / "truth.sqlite", FLEET)
        world = World(FLEET, self.ledger, now_ms=lambda: to_ms(self.clock.at))
        self.meter = world.meters[spec.meter]
        self.server = DlmsMeterServer(self.meter)
        self.outbox = OutboxDatabase(tmp_path / "outbox.sqlite")
        self.counters = Counters(self.outbox)
        self.drivers = []

    def target(self, **changes):
        spec = self.spec
        target = DlmsTarget(
            meter=spec.meter,
            host="127.0.0.1",
            port=self.server.port,
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
        return replace(target, **changes)

    def driver(self, **changes):
        driver = DlmsDriver(self.target(**changes), self.counters, self.clock)
        self.drivers.append(driver)
        return driver


@contextlib.asynccontextmanager
async def bench(tmp_path, spec):
    made = Bench(tmp_path, spec)
    await made.server.start("127.0.0.1", 0)
    try:
        yield made
    finally:
        for driver in made.drivers:
            await driver.close()
        await made.server.close()
        made.ledger.close()
        made.outbox.close()


def by_channel(readout):
    return {sample.channel: rescale(sample.raw, sample.scaler) for sample in readout.samples}


@pytest.mark.parametrize("spec", [STORY, RACE], ids=["hls5", "lls"])
class TestReading:
    @pytest.mark.req("A1")
    async def test_one_visit_reads_what_the_meter_shows(self, tmp_path, spec):
        async with bench(tmp_path, spec) as b:
            driver = b.driver()
            readout = await driver.read_now()
            shown = b.meter.snapshot()
            values = by_channel(readout)
            assert values[Channel.IMPORT_WH] == shown.register_wh
            assert values[Channel.POWER_W] == shown.power_w
            assert abs(values[Channel.VOLTAGE_L1_MV] - shown.voltage_mv[0]) < 100
            assert abs(values[Channel.CURRENT_L1_MA] - shown.current_ma[0]) < 10
            assert Channel.EXPORT_WH not in values
            assert readout.identity == spec.meter
            assert readout.relay == shown.relay
            assert {to_ms(sample.at) for sample in readout.samples} == {shown.device_ms}
            assert readout.clock.offset_ms == shown.device_ms - shown.true_ms

    @pytest.mark.req("A2")
    async def test_a_profile_span_gives_exactly_the_intervals_that_start_in_it(
        self, tmp_path, spec
    ):
        async with bench(tmp_path, spec) as b:
            seconds = spec.interval_seconds
            start = ORIGIN.replace(hour=0, minute=0) - timedelta(days=1)
            span = Interval(start=start, end=start + timedelta(hours=24))
            samples = await b.driver().read_profile(span)
            truth = b.meter.profile()
            expected = {
                end - seconds * 1000: wh
                for end, wh in zip(truth.ends_ms.tolist(), truth.wh.tolist(), strict=True)
                if to_ms(span.start) <= end - seconds * 1000 < to_ms(span.end)
            }
            assert len(expected) == 86_400 // seconds
            assert {to_ms(s.at): rescale(s.raw, s.scaler) for s in samples} == expected
            assert all(s.channel is Channel.IMPORT_INTERVAL_WH for s in samples)
            assert all(s.seconds == seconds for s in samples)
            assert [s.at for s in samples] == sorted(s.at for s in samples)

    @pytest.mark.req("A2")
    async def test_the_whole_ring_comes_in_blocks(self, tmp_path, spec):
        async with bench(tmp_path, spec) as b:
            b.clock.at = ORIGIN + timedelta(days=30)
            span = Interval(start=ORIGIN - timedelta(days=400), end=b.clock.at)
            samples = await b.driver().read_profile(span)
            assert [rescale(s.raw, s.scaler) for s in samples] == b.meter.profile().wh.tolist()
            assert len(samples) > 1000

    async def test_nothing_there_is_an_empty_answer(self, tmp_path, spec):
        async with bench(tmp_path, spec) as b:
            span = Interval(start=ORIGIN + timedelta(days=9), end=ORIGIN + timedelta(days=10))
            assert await b.driver().read_profile(span) == ()

    async def test_one_session_serves_many_visits(self, tmp_path, spec):
        async with bench(tmp_path, spec) as b:
            driver = b.driver()
            for minute in range(20):
                b.clock.at = ORIGIN + timedelta(minutes=minute)
                readout = await driver.read_now()
                values = by_channel(readout)
                assert values[Channel.IMPORT_WH] == b.meter.snapshot().register_wh
            assert b.server._answers < 20 + 6

    async def test_the_clock_is_set_by_the_offset(self, tmp_path, spec):
        async with bench(tmp_path, spec) as b:
            b.meter.set_clock(to_ms(ORIGIN) + 420_000)
            driver = b.driver()
            b.clock.at += timedelta(seconds=1)
            offset = (await driver.read_now()).clock.offset_ms
            assert abs(offset - 420_000) <= 10
            await driver.set_clock(offset)
            b.clock.at += timedelta(seconds=1)
            assert abs((await driver.read_now()).clock.offset_ms) <= 20


@pytest.mark.parametrize("spec", [STORY, RACE], ids=["hls5", "lls"])
@pytest.mark.req("A10")
async def test_the_switch_opens_and_closes(tmp_path, spec):
    async with bench(tmp_path, spec) as b:
        driver = b.driver()
        assert (await driver.read_relay()).output_closed
        await driver.operate(Verb.DISCONNECT)
        opened = await driver.read_relay()
        assert (opened.output_closed, opened.control_state) == (False, RelayState.DISCONNECTED)
        b.clock.at += timedelta(seconds=10)
        assert by_channel(await driver.read_now())[Channel.POWER_W] == 0
        await driver.operate(Verb.RECONNECT)
        assert (await driver.read_relay()).output_closed


@pytest.mark.req("A10")
async def test_a_meter_that_cannot_close_arms_and_its_customer_closes(tmp_path):
    async with bench(tmp_path, ARMS) as b:
        driver = b.driver()
        await driver.operate(Verb.DISCONNECT)
        await driver.operate(Verb.RECONNECT)
        armed = await driver.read_relay()
        assert (armed.output_closed, armed.control_state) == (False, RelayState.ARMED)
        assert b.meter.press()
        assert (await driver.read_relay()).output_closed


@pytest.mark.req("A10")
async def test_an_armed_mode_4_switch_is_opened_before_it_is_closed(tmp_path):
    async with bench(tmp_path, STORY) as b:
        b.meter.restore_relay(to_ms(ORIGIN), output=False, control_state=RelayState.ARMED)
        driver = b.driver()
        await driver.operate(Verb.RECONNECT)
        assert (await driver.read_relay()).output_closed


async def test_a_stuck_switch_answers_success_and_stays(tmp_path):
    async with bench(tmp_path, STORY) as b:
        b.meter.switch_fault(Fault.STUCK_RELAY, on=True)
        driver = b.driver()
        await driver.operate(Verb.DISCONNECT)
        assert (await driver.read_relay()).output_closed


@pytest.mark.req("D9")
@pytest.mark.parametrize(
    ("spec", "change"),
    [
        (STORY, {"authentication_key": bytes(16)}),
        (STORY, {"encryption_key": bytes(16)}),
        (RACE, {"password": b"guess"}),
        (RACE, {"authentication": "none"}),
        (STORY, {"authentication": "lls", "password": b"guess"}),
        (STORY, {"client_sap": 16, "authentication": "none"}),
    ],
    ids=["wrong-ak", "wrong-ek", "wrong-password", "no-password", "lls-at-hls", "public"],
)
async def test_nobody_opens_the_switch_without_proof(tmp_path, spec, change):
    async with bench(tmp_path, spec) as b:
        with pytest.raises(PeerError):
            await b.driver(**change).operate(Verb.DISCONNECT)
        assert b.meter.relay_reading().output_closed


@pytest.mark.req("D9")
async def test_every_ciphered_frame_carries_a_counter_never_used_before(tmp_path):
    """Two processes' worth of drivers share one store; the meter saw each counter once."""
    async with bench(tmp_path, STORY) as b:
        seen = []
        floor = b.server._profiles[1].client_counter
        for _ in range(3):
            driver = b.driver()
            for _ in range(5):
                await driver.read_now()
                seen.append(floor.value)
            await driver.close()
        assert all(a < c for a, c in itertools.pairwise(seen))
        assert b.counters.reserve(TITLE, STORY.meter, 1)[0] > seen[-1]
        assert b.counters.reserve(TITLE, STORY.meter, 1)[0] > 3 * COUNTER_BLOCK


async def test_a_lost_counter_store_recovers_above_the_meter(tmp_path):
    async with bench(tmp_path, STORY) as b:
        b.server._profiles[1].client_counter.value = 5000
        driver = b.driver()
        with pytest.raises(PeerError) as refused:
            await driver.read_now()
        assert refused.value.code == "dlms.counter_rejected"
        assert (await driver.read_now()).identity == STORY.meter


async def test_a_meter_that_asks_for_an_absurd_counter_is_not_obeyed(tmp_path):
    async with bench(tmp_path, STORY) as b:
        b.server._profiles[1].client_counter.value = 0xFFFF_0000
        driver = b.driver()
        with pytest.raises(PeerError) as refused:
            await driver.read_now()
        assert refused.value.code == "dlms.counter_jump"
        assert b.counters.reserve(TITLE, STORY.meter, 1)[0] < 10_000


async def test_a_meter_without_a_switch_says_so(tmp_path):
    spec = STORY
    async with bench(tmp_path, spec) as b:
        driver = b.driver(has_relay=False)
        for call in (driver.read_relay(), driver.operate(Verb.DISCONNECT)):
            with pytest.raises(PeerError) as refused:
                await call
            assert refused.value.code == "meter.no_relay"
        assert (await driver.read_now()).relay is None


async def test_a_cancelled_call_leaves_no_answer_for_the_next(tmp_path):
    async with bench(tmp_path, RACE) as b:
        driver = b.driver()
        await driver.read_now()
        b.meter.switch_fault(Fault.SILENT, on=True)
        call = asyncio.create_task(driver.read_now())
        await asyncio.sleep(0.05)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        b.meter.switch_fault(Fault.SILENT, on=False)
        assert (await driver.read_now()).identity == RACE.meter
