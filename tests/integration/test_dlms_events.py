"""Event logs read by the driver: once each, through kills, repeats and clocks set back."""

import pytest

from edge.acquire.driver import EventDriver
from protocols.dlms.classes import profile
from protocols.dlms.classes.disconnect import Trigger
from protocols.dlms.event_codes import log_name
from protocols.dlms.values import array, structure, unsigned
from protocols.errors import PeerError
from protocols.events import EventCode
from simulators.faults import Fault
from tests.integration.dlms_bench import RACE, STORY, MovingNow, driven, driver_at
from tests.patient_loop import PATIENT

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return PATIENT


def told(read):
    return [(event.code, event.origin) for event in read.events]


@pytest.mark.parametrize("spec", [STORY, RACE], ids=["hls5", "lls"])
async def test_what_truly_happened_is_told_with_profile_log_and_number(tmp_path, spec):
    async with driven(tmp_path, spec) as (driver, server, bench):
        assert isinstance(driver, EventDriver)
        nothing = await driver.read_events(None)
        assert nothing.events == ()
        server.meter.remote(Trigger.REMOTE_DISCONNECT)
        bench.clock.pass_by(seconds=5)
        server.meter.switch_fault(Fault.TERMINAL_COVER, on=True)
        server.meter.set_clock(server.meter.snapshot().device_ms + 2_000)
        read = await driver.read_events(nothing.mark)
        assert told(read) == [
            (EventCode.CLOCK_ADJUSTED, "idis/99.98.0/4"),
            (EventCode.CLOCK_ADJUSTED, "idis/99.98.0/5"),
            (EventCode.TERMINAL_COVER_OPENED, "idis/99.98.1/40"),
            (EventCode.RELAY_OPENED_REMOTELY, "idis/99.98.2/62"),
            (EventCode.TAMPER, "idis/97.98.0/13"),
        ]
        assert read.events[0].detail == "old time"
        again = await driver.read_events(read.mark)
        assert again.events == ()


async def test_a_wrong_password_is_in_the_log_and_comes_up(tmp_path):
    async with driven(tmp_path, RACE) as (driver, server, _):
        start = await driver.read_events(None)
        async with driver_at(tmp_path, server, password=b"wrong") as intruder:
            with pytest.raises(PeerError):
                await intruder.read_now()
        read = await driver.read_events(start.mark)
        assert (EventCode.WRONG_PASSWORD, "idis/99.98.1/46") in told(read)


async def test_equal_entries_of_one_instant_are_counted_and_keep_their_names(tmp_path):
    async with driven(tmp_path, STORY) as (driver, server, _):
        for _ in range(3):
            server.meter.book.note(1, 46)
        first = await driver.read_events(None)
        server.meter.book.note(1, 46)
        second = await driver.read_events(first.mark)
    origins = [event.origin for event in first.events if event.code is EventCode.WRONG_PASSWORD]
    assert origins == ["idis/99.98.1/46", "idis/99.98.1/46#2", "idis/99.98.1/46#3"]
    assert [event.origin for event in second.events] == ["idis/99.98.1/46#4"]


async def test_an_agent_that_died_before_it_stored_tells_the_same_again(tmp_path):
    async with driven(tmp_path, STORY) as (driver, server, _):
        mark = (await driver.read_events(None)).mark
        server.meter.book.note(1, 44)
        first = await driver.read_events(mark)
    async with driven(tmp_path, STORY) as (driver, _, _):
        again = await driver.read_events(mark)
    logged = [e for e in first.events if e.origin.endswith("/44")]
    assert logged
    assert set(logged) <= set(again.events)


@pytest.mark.parametrize("jump_minutes", [-600, -60, 60, 600])
async def test_nothing_is_missed_when_the_clock_was_set_far_away_in_between(tmp_path, jump_minutes):
    clock = MovingNow()
    async with driven(tmp_path, STORY, clock) as (driver, server, _):
        mark = (await driver.read_events(None)).mark
        clock.pass_by(minutes=30)
        server.meter.book.note(0, 7)
        server.meter.set_clock(server.meter.snapshot().device_ms + jump_minutes * 60_000)
        clock.pass_by(minutes=2)
        server.meter.book.note(0, 8)
        read = await driver.read_events(mark)
        assert [code for code, _ in told(read)] == [
            EventCode.BATTERY_REPLACE, EventCode.CLOCK_ADJUSTED, EventCode.CLOCK_ADJUSTED,
            EventCode.BATTERY_LOW,
        ]  # fmt: skip
        clock.pass_by(minutes=2)
        server.meter.book.note(0, 9)
        then = await driver.read_events(read.mark)
        assert [code for code, _ in told(then)] == [EventCode.TARIFF_CHANGED]


async def test_an_alarm_is_told_when_it_rises_and_again_when_it_was_cleared(tmp_path):
    async with driven(tmp_path, STORY) as (driver, server, bench):
        server.meter.switch_fault(Fault.MAGNET, on=True)
        first = await driver.read_events(None)
        assert (EventCode.TAMPER, "idis/97.98.0/13") in told(first)
        bench.clock.pass_by(minutes=1)
        assert told(await driver.read_events(first.mark)) == []
        server.meter.book.clear_alarms(0)
        bench.clock.pass_by(minutes=1)
        calm = await driver.read_events(first.mark)
        server.meter.switch_fault(Fault.MAGNET, on=False)
        risen = await driver.read_events(calm.mark)
        assert told(risen) == [
            (EventCode.MAGNET_OFF, "idis/99.98.1/43"), (EventCode.TAMPER, "idis/97.98.0/13"),
        ]  # fmt: skip


async def test_a_log_that_makes_no_sense_is_left_out_and_hides_no_other(tmp_path, caplog):
    async with driven(tmp_path, STORY) as (driver, server, _):
        server.meter.book.note(1, 40)
        server.meter.book.note(2, 62)
        device = server._profiles[1].device
        key = (profile.CLASS_ID, bytes(log_name(1)), profile.BUFFER)
        device._part.selectors[key] = lambda *_: array([structure(unsigned(1))])
        read = await driver.read_events(None)
        assert (EventCode.RELAY_OPENED_REMOTELY, "idis/99.98.2/62") in told(read)
        assert not any(origin.startswith("idis/99.98.1/") for _, origin in told(read))
        assert "edge.events.log_left_out" in caplog.text
        assert (await driver.read_now()).identity == STORY.meter


async def test_numbers_follow_the_companion_profile_of_the_meter(tmp_path):
    async with driven(tmp_path, STORY, event_profile="spodes") as (driver, server, _):
        server.meter.book.note(2, 4)
        read = await driver.read_events(None)
        assert told(read) == [(EventCode.RELAY_CLOSED_REMOTELY, "spodes/99.98.2/4")]
