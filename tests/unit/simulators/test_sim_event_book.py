"""A simulated meter writes into its logs what truly happens to it, and raises alarms."""

import pytest

from protocols.dlms.classes.disconnect import Trigger
from simulators.faults import Fault
from simulators.meter.event_book import FRAUD, STANDARD, SWITCH
from tests.unit.simulators.test_sim_meter_state import Bench


def codes(bench, log):
    return [entry.code for entry in bench.meter.book.entries(log)]


def test_the_switch_log_says_who_moved_the_switch():
    bench = Bench("arms")
    for trigger in (Trigger.REMOTE_DISCONNECT, Trigger.REMOTE_RECONNECT):
        assert bench.meter.remote(trigger)
    assert bench.meter.press()
    assert bench.meter.by_itself(Trigger.LOCAL_DISCONNECT)
    assert bench.meter.press()
    assert bench.meter.crew_opens()
    assert codes(bench, SWITCH) == [62, 59, 61, 64, 61, 60]


def test_a_stuck_relay_is_written_down_and_nothing_of_a_move():
    bench = Bench("stuck_relay")
    assert bench.meter.remote(Trigger.REMOTE_DISCONNECT)
    assert codes(bench, SWITCH) == [68]


@pytest.mark.parametrize(
    ("fault", "log", "begins", "ends"),
    [
        (Fault.POWER_CUT, STANDARD, 1, 2),
        (Fault.TERMINAL_COVER, FRAUD, 40, 41),
        (Fault.MAGNET, FRAUD, 42, 43),
        (Fault.METER_COVER, FRAUD, 44, 45),
    ],
)
def test_what_is_done_to_a_meter_is_written_once_at_begin_and_end(fault, log, begins, ends):
    bench = Bench()
    for on in (True, True, False, False):
        bench.meter.switch_fault(fault, on=on)
        bench.now += 1000
    assert codes(bench, log) == [begins, ends]
    assert bench.meter.book.alarms == (1 << 2 if log == STANDARD else 1 << 13)
    bench.meter.book.clear_alarms(0)
    assert bench.meter.book.alarms == 0


def test_a_clock_that_is_set_tells_both_times():
    bench = Bench()
    shown = bench.meter.snapshot().device_ms
    bench.meter.set_clock(shown + 40_000)
    old, new = bench.meter.book.entries(STANDARD)
    assert (old.code, old.device_ms, new.code, new.device_ms) == (4, shown, 5, shown + 40_000)


def test_every_entry_was_in_the_ledger_first():
    bench = Bench()
    bench.meter.remote(Trigger.REMOTE_DISCONNECT)
    bench.meter.switch_fault(Fault.METER_COVER, on=True)
    assert [(log, code) for log, code, _ in bench.notes.logs] == [(SWITCH, 62), (FRAUD, 44)]
