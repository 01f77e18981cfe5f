"""Events of DL/T 645 meters in the same code space: state words as they change, records once."""

import pytest

from edge.acquire.driver import EventDriver
from protocols.events import EventCode
from simulators.faults import Fault
from tests.integration.dlt645_kit import on_tcp, on_wire, run


def told(read):
    return [(event.code, event.origin, event.detail) for event in read.events]


@pytest.mark.parametrize("line", [on_tcp, on_wire])
def test_a_power_cut_and_an_opened_cover_are_told_with_the_meters_own_times(line, tmp_path):
    async def scenario():
        async with line("dlt645_relay", tmp_path) as at:
            assert isinstance(at.driver, EventDriver)
            nothing = await at.driver.read_events(None)
            assert nothing.events == ()
            begun = at.meter.snapshot().device_ms
            at.meter.switch_fault(Fault.POWER_CUT, on=True)
            at.clock.passes(90)
            at.meter.switch_fault(Fault.POWER_CUT, on=False)
            at.meter.switch_fault(Fault.METER_COVER, on=True)
            read = await again(at, nothing.mark)
            assert told(read) == [
                (EventCode.POWER_DOWN, "dlt645/record/03110001", ""),
                (EventCode.POWER_UP, "dlt645/record/03110001", ""),
                (EventCode.METER_COVER_OPENED, "dlt645/record/03300D01", ""),
            ]
            down, up, _ = read.events
            assert abs(down.at.timestamp() * 1000 - begun) < 1000
            assert (up.at - down.at).total_seconds() == pytest.approx(90, abs=1)

    run(scenario())


def test_each_of_several_power_cuts_is_told_and_none_of_those_told_before(tmp_path):
    async def scenario():
        async with on_tcp("dlt645_relay", tmp_path) as at:
            await cut(at)
            first = await at.driver.read_events(None)
            assert [event.code for event in first.events] == [
                EventCode.POWER_DOWN, EventCode.POWER_UP,
            ]  # fmt: skip
            at.clock.passes(60)
            await cut(at)
            await cut(at)
            second = await again(at, first.mark)
            assert len({event.at for event in second.events}) == 4
            assert min(event.at for event in second.events) > first.mark.device_at

    run(scenario())


def test_a_voltage_that_sinks_and_comes_back_are_two_events(tmp_path, monkeypatch):
    async def scenario():
        async with on_tcp("dlt645_relay", tmp_path) as at:
            mark = (await at.driver.read_events(None)).mark
            for millivolts, expected in (
                (180_000, (EventCode.UNDERVOLTAGE, "dlt645/state4/1", "L1")),
                (230_000, (EventCode.VOLTAGE_NORMAL, "dlt645/state4/1", "L1")),
                (250_000, (EventCode.OVERVOLTAGE, "dlt645/state4/2", "L1")),
            ):
                monkeypatch.setattr(at.meter, "_voltages", lambda _now, mv=millivolts: (mv,))
                read = await at.driver.read_events(mark)
                assert told(read) == [expected]
                assert told(await at.driver.read_events(read.mark)) == []
                mark = read.mark

    run(scenario())


async def again(at, mark):
    """Read as often as it takes until records are looked at again; return all that is new."""
    found = ()
    for _ in range(15):
        read = await at.driver.read_events(mark)
        found, mark = (*found, *read.events), read.mark
    return type(read)(events=found, mark=mark)


async def cut(at):
    at.meter.switch_fault(Fault.POWER_CUT, on=True)
    at.clock.passes(30)
    at.meter.switch_fault(Fault.POWER_CUT, on=False)
    at.clock.passes(30)
