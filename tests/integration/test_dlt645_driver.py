"""The DL/T 645 driver against simulated meters over TCP and over a serial line."""

import asyncio
from datetime import timedelta

import pytest

from protocols.dlt645 import records
from protocols.dlt645.exchange import SecurityError
from protocols.dlt645.frame import Frame, encode_frame
from protocols.dlt645.items import IMPORT, encode_di
from protocols.errors import PeerError
from protocols.mqtt.downlink import Verb
from protocols.quantities import rescale
from protocols.reading import Channel, RelayState
from protocols.timeline import Interval, floor_to_grid, to_ms
from simulators.faults import Fault
from simulators.meter.dlt645_objects import issue_token
from simulators.truth import TruthFile
from tests.integration.dlt645_kit import ORIGIN, on_tcp, on_wire, run

MODELS = ("dlt645_relay", "dlt645_pilot")


def values(readout):
    return {s.channel: rescale(s.raw, s.scaler) for s in readout.samples}


@pytest.mark.req("A1", "A3", "A9")
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("line", [on_tcp, on_wire])
def test_what_is_read_is_what_the_meter_measures(line, model, tmp_path):
    async def scenario():
        async with line(model, tmp_path) as at:
            for _ in range(2):
                at.clock.passes(3600)
                shown = at.meter.snapshot()
                read = await at.driver.read_now()
                told = values(read)
                assert told[Channel.IMPORT_WH] == shown.register_wh // 10 * 10
                assert told[Channel.POWER_W] == shown.power_w
                assert told[Channel.VOLTAGE_L1_MV] == shown.voltage_mv[0] // 100 * 100
                assert told[Channel.CURRENT_L1_MA] == shown.current_ma[0]
                assert Channel.VOLTAGE_L2_MV not in told
                assert abs(read.clock.offset_ms - at.meter.spec.clock_offset_ms) <= 500
                assert read.clock.uncertainty_ms >= 500
                assert read.relay.output_closed
                assert read.relay.control_state is RelayState.CONNECTED
                assert read.identity == at.meter.spec.serial
            served = TruthFile(at.truth).rows("SELECT raw, scaler FROM served WHERE channel = 1")
            assert served[-1][0] * 10 ** served[-1][1] == told[Channel.IMPORT_WH]

    run(scenario())


@pytest.mark.req("A2", "A8")
@pytest.mark.parametrize("model", MODELS)
def test_load_records_become_the_intervals_that_truly_were(model, tmp_path):
    async def scenario():
        async with on_tcp(model, tmp_path) as at:
            seconds = at.meter.spec.interval_seconds
            span = Interval(
                start=floor_to_grid(ORIGIN - timedelta(days=1, hours=7), seconds),
                end=floor_to_grid(ORIGIN, seconds),
            )
            samples = await at.driver.read_profile(span)
            at.world.close_intervals()
            truth = TruthFile(at.truth).intervals(at.meter.spec.meter)
            taken = {
                to_ms(s.at): rescale(s.raw, s.scaler)
                for s in samples
                if s.channel is Channel.IMPORT_INTERVAL_WH
            }
            lag = at.meter.spec.clock_offset_ms < 0
            assert len(taken) >= span.length // timedelta(seconds=seconds) - lag
            assert taken == {start: truth[start] for start in taken}
            assert {s.seconds for s in samples} == {seconds}
            before = Interval(start=span.start - timedelta(days=9), end=span.start)
            early = await at.driver.read_profile(before)
            assert min(s.at for s in early) > before.start

    run(scenario())


@pytest.mark.req("A2", "A9")
def test_freezes_demand_and_tokens(tmp_path):
    async def scenario():
        async with on_tcp("dlt645_relay", tmp_path) as at:
            await at.driver.freeze()
            instant = await at.driver.read_frozen(records.Freeze.INSTANT, 1)
            assert instant.import_raw == (at.meter.snapshot().register_wh // 10,)
            daily = await at.driver.read_frozen(records.Freeze.DAILY, 1)
            assert (daily.at + timedelta(hours=8)).time().isoformat() == "00:00:00"
            assert daily.import_raw[0] < instant.import_raw[0]
            demand = await at.driver.read_demand()
            assert demand.raw > 0
            with pytest.raises(PeerError, match="no_such_item"):
                await at.driver.read_frozen(records.Freeze.HOURLY, 1)
            spec = at.meter.spec
            first = issue_token(spec, cents=5000, count=1)
            assert (await at.driver.deliver_token(first)).balance_cents == 5000
            for opaque, why in (
                (first, SecurityError.REPEATED),
                (issue_token(spec, cents=5000, count=3), SecurityError.PURCHASE_COUNT),
                (bytes(12), SecurityError.MODULE),
            ):
                with pytest.raises(PeerError) as refused:
                    await at.driver.deliver_token(opaque)
                assert refused.value.evidence["error"] == why
            second = issue_token(spec, cents=100, count=2)
            assert (await at.driver.deliver_token(second)).balance_cents == 5100
            assert at.anew().remembered("balance_cents") == 5100
            with pytest.raises(PeerError, match="does not fit"):
                await at.driver.deliver_token(bytes(300))

    run(scenario())


@pytest.mark.req("A5")
@pytest.mark.parametrize("model", MODELS)
def test_the_clock_is_set_over_midnight_and_by_broadcast_once_a_day(model, tmp_path):
    async def scenario():
        async with on_tcp(model, tmp_path) as at:
            at.clock.tick = 10
            at.clock.ms = to_ms(ORIGIN.replace(hour=15, minute=59, second=58))  # 23:59:58 there
            at.meter.set_clock(at.clock.ms + 200_000)
            read = await at.driver.read_now()
            assert abs(read.clock.offset_ms - 200_000) <= 500
            await at.driver.set_clock(read.clock.offset_ms)
            assert abs((await at.driver.read_now()).clock.offset_ms) <= 1000
            at.meter.set_clock(at.clock.ms + 100_000)
            await at.driver.broadcast_time()
            assert abs((await at.driver.read_now()).clock.offset_ms) <= 1000
            at.meter.set_clock(at.clock.ms + 100_000)
            await at.driver.broadcast_time()
            assert (await at.driver.read_now()).clock.offset_ms > 99_000

    run(scenario())


@pytest.mark.parametrize(
    ("fault", "codes"),
    [
        (Fault.SILENT, {"link.timeout"}),
        (Fault.DARK, {"link.timeout", "link.closed", "link.refused"}),
        (Fault.TRUNCATE, {"link.closed", "link.timeout", "dlt645.frame"}),
        (Fault.GARBLE, {"link.timeout", "dlt645.frame"}),
        (Fault.FOREIGN, {"dlt645.foreign"}),
    ],
)
def test_a_failing_meter_is_a_typed_error_and_comes_back(fault, codes, tmp_path):
    async def scenario():
        async with on_tcp("dlt645_relay", tmp_path) as at:
            await at.driver.read_now()
            at.meter.faults.add(fault)
            for _ in range(3):
                with pytest.raises(PeerError) as error:
                    await at.driver.read_now()
                assert error.value.code in codes
                assert error.value.peer == at.meter.spec.meter
            at.meter.faults.discard(fault)
            assert values(await at.driver.read_now())[Channel.IMPORT_WH] > 0

    run(scenario())


@pytest.mark.req("A5")
def test_two_meters_on_one_wire_with_noise_and_late_words_are_never_mistaken(tmp_path):
    async def scenario():
        async with on_wire("dlt645_relay", tmp_path) as at:
            other = at.others[0]
            noise = [b"\x00\xff\x68", b"\x68" * 3, encode_frame(
                Frame(address=other.spec.serial, control=0x91,
                      content=encode_di(IMPORT.di) + bytes(4)), wake=2)]  # fmt: skip
            for turn in range(3):
                at.clock.passes(1800)
                at.wire.say(noise[turn])
                reads = await asyncio.gather(*(driver.read_now() for driver in at.drivers))
                for meter, read in zip([at.meter, other], reads, strict=True):
                    shown = meter.snapshot().register_wh // 10 * 10
                    assert values(read)[Channel.IMPORT_WH] == shown
            other.faults.add(Fault.SILENT)
            with pytest.raises(PeerError):
                await at.drivers[1].read_now()
            assert values(await at.driver.read_now())[Channel.IMPORT_WH] > 0

    run(scenario())


def test_an_order_with_the_wrong_password_moves_nothing(tmp_path):
    async def scenario():
        async with on_tcp("dlt645_relay", tmp_path, password=b"\x02\x99\x99\x98") as at:
            with pytest.raises(PeerError) as error:
                await at.driver.operate(Verb.DISCONNECT)
            assert error.value.code == "dlt645.password"
            assert at.meter.control_state is RelayState.CONNECTED
            with pytest.raises(PeerError, match="password"):
                await at.driver.set_clock(5000)

    run(scenario())


def test_a_meter_without_relay_or_records_says_so(tmp_path):
    async def scenario():
        async with on_tcp("dlt645_relay", tmp_path, has_relay=False, interval_seconds=None) as at:
            assert (await at.driver.read_now()).relay is None
            span = Interval(start=ORIGIN - timedelta(hours=1), end=ORIGIN)
            for call in (
                at.driver.operate(Verb.DISCONNECT), at.driver.read_relay(),
                at.driver.keep_power(on=True), at.driver.read_profile(span),
            ):  # fmt: skip
                with pytest.raises(PeerError, match=r"meter\.no_"):
                    await call

    run(scenario())
