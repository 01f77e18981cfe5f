"""A simulated meter: registers, profile, relay, clock and faults, at instants the test chooses."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.dlms.classes.disconnect import Trigger
from protocols.reading import Channel, RelayState, Status
from protocols.timeline import to_ms
from simulators.energy import SummedEnergy, SwitchedEnergy, household_curve
from simulators.faults import Fault
from simulators.fleet import make_fleet
from simulators.load import draw
from simulators.meter.device_clock import DeviceClock
from simulators.meter.state import SimulatedMeter

ORIGIN = datetime(2026, 3, 1, tzinfo=UTC)
FLEET = make_fleet(seed=7, origin=ORIGIN)
SINCE = to_ms(FLEET.history_from)
START = to_ms(ORIGIN)
HOUR = 3_600_000


class Notes:
    """A ledger that keeps what it is told."""

    def __init__(self):
        self.moves, self.sets, self.values, self.faults, self.closed = [], [], [], [], []
        self.logs, self.numbers = [], {}

    def relay(self, meter, at_ms, *, output, control_state, cause):
        self.moves.append((meter, at_ms, output, control_state, cause))

    def clock_set(self, meter, at_ms, device_ms):
        self.sets.append((meter, at_ms, device_ms))

    def fault(self, meter, at_ms, name, *, on):
        self.faults.append((meter, name, on))

    def logged(self, meter, at_ms, device_ms, log, code):
        self.logs.append((log, code, device_ms))

    def setting(self, meter, at_ms, name, value):
        self.numbers[name] = value

    def served(self, meter, at_ms, channel, raw, scaler):
        self.values.append((meter, at_ms, channel, raw, scaler))

    def intervals(self, meter, seconds, starts_ms, wh):
        self.closed += starts_ms.tolist()

    def reserve_counters(self, meter, block):
        return range(1, 1 + block)


class Bench:
    """One meter under test and the time it believes in."""

    def __init__(self, planted="story", number=None):
        self.now = START
        self.notes = Notes()
        spec = FLEET.planted(planted) if number is None else FLEET.meters[number - 1]
        energy = SwitchedEnergy(
            household_curve(FLEET.household(spec), SINCE), spec.opening_register_wh
        )
        self.meter = SimulatedMeter(
            spec, energy, now_ms=lambda: self.now, ledger=self.notes, since_ms=SINCE
        )


def test_the_register_opens_as_the_fleet_says_and_rises_by_the_load():
    bench = Bench()
    spec = bench.meter.spec
    bench.now = SINCE
    assert bench.meter.snapshot().register_wh == spec.opening_register_wh
    bench.now = SINCE + 24 * HOUR
    drawn = draw(FLEET.household(spec), SINCE // 900_000, 96).sum()
    assert bench.meter.snapshot().register_wh == spec.opening_register_wh + drawn


@given(st.lists(st.integers(0, 40 * 24 * HOUR), min_size=2, max_size=40))
@settings(max_examples=50)
def test_registers_never_go_down_and_one_by_one_equals_all_at_once(offsets):
    bench = Bench()
    instants = sorted(SINCE + offset for offset in offsets)
    for index, at in enumerate(instants[::5]):
        bench.meter.energy.switch(at, closed=bool(index % 2))
    together = bench.meter.energy.registers_wh(np.array(instants, dtype=np.int64))
    assert together.tolist() == [bench.meter.energy.register_wh(at) for at in instants]
    assert (np.diff(together) >= 0).all()


@pytest.mark.req("D10", "D13")
def test_a_remote_cut_opens_at_once_and_nothing_flows_until_it_is_closed():
    bench = Bench()
    before = bench.meter.snapshot()
    assert before.power_w > 0
    assert bench.meter.remote(Trigger.REMOTE_DISCONNECT)
    after = bench.meter.snapshot()
    assert (after.power_w, after.current_ma) == (0, (0,))
    assert after.relay.output_closed is False
    assert after.relay.control_state is RelayState.DISCONNECTED
    bench.now += 30 * HOUR
    assert bench.meter.snapshot().register_wh == before.register_wh
    assert bench.meter.remote(Trigger.REMOTE_RECONNECT)
    bench.now += HOUR
    assert bench.meter.snapshot().register_wh > before.register_wh
    assert [move[2:] for move in bench.notes.moves] == [
        (False, 0, "remote_disconnect"),
        (True, 1, "remote_reconnect"),
    ]


@pytest.mark.req("D12", "D17")
def test_a_meter_that_cannot_close_waits_armed_for_the_customers_hand():
    bench = Bench("arms")
    bench.meter.remote(Trigger.REMOTE_DISCONNECT)
    assert not bench.meter.press(), "cut for arrears: the button must not bring power back"
    assert bench.meter.remote(Trigger.REMOTE_RECONNECT)
    assert bench.meter.snapshot().relay.control_state is RelayState.ARMED
    assert bench.meter.snapshot().power_w == 0
    assert bench.meter.press()
    assert bench.meter.snapshot().relay.control_state is RelayState.CONNECTED
    assert bench.meter.snapshot().power_w > 0


def test_a_stuck_relay_answers_success_and_only_a_crew_moves_it():
    bench = Bench("stuck_relay")
    assert bench.meter.remote(Trigger.REMOTE_DISCONNECT)
    assert bench.meter.snapshot().relay.output_closed
    assert bench.notes.moves == []
    assert bench.meter.crew_opens()
    assert bench.meter.snapshot().power_w == 0
    assert bench.notes.moves[0][2:] == (False, 0, "field")
    assert not bench.meter.crew_opens(), "already open"
    assert bench.meter.crew_closes()


def test_intervals_add_up_to_the_register_over_a_cut():
    bench = Bench()
    bench.now = START + 5 * HOUR + 7 * 60_000
    bench.meter.remote(Trigger.REMOTE_DISCONNECT)
    bench.now += 3 * HOUR + 11 * 60_000
    bench.meter.remote(Trigger.REMOTE_RECONNECT)
    bench.now += 6 * HOUR
    rows = bench.meter.profile()
    ends = bench.meter.clock.first_reached(rows.ends_ms)
    begin = bench.meter.clock.first_reached(rows.ends_ms[:1] - rows.seconds * 1000)
    registers = bench.meter.energy.registers_wh(np.concatenate((begin, ends)))
    assert rows.wh.tolist() == np.diff(registers).tolist()
    assert (rows.wh == 0).sum() >= 3 * 3600 // rows.seconds - 1
    assert (np.diff(rows.ends_ms) == rows.seconds * 1000).all()


def test_a_profile_row_never_changes_once_it_is_closed():
    bench = Bench()
    early = bench.meter.profile()
    bench.meter.remote(Trigger.REMOTE_DISCONNECT)
    bench.meter.set_clock(bench.meter.snapshot().device_ms - 40 * 60_000)
    bench.now += 50 * HOUR
    late = bench.meter.profile()
    known = dict(zip(late.ends_ms.tolist(), late.wh.tolist(), strict=True))
    assert [known[end] for end in early.ends_ms.tolist()] == early.wh.tolist()


def test_a_profile_is_read_by_range_with_both_ends_in_it():
    bench = Bench()
    step = bench.meter.spec.interval_seconds * 1000
    rows = bench.meter.profile(first_end_ms=START - 5 * step, last_end_ms=START - 2 * step)
    assert rows.ends_ms.tolist() == [START - n * step for n in (5, 4, 3, 2)]
    assert len(bench.meter.profile(first_end_ms=START + 9 * step)) == 0
    assert len(bench.meter.profile(last_end_ms=SINCE)) == 0
    odd = bench.meter.profile(first_end_ms=START - 5 * step + 1, last_end_ms=START - 2 * step - 1)
    assert odd.ends_ms.tolist() == [START - n * step for n in (4, 3)]


def test_the_profile_is_a_ring_that_forgets_the_oldest():
    bench = Bench()
    bench.now = START + 80 * 24 * HOUR
    rows = bench.meter.profile()
    assert len(rows) == bench.meter.profile_slots == 62 * 86_400 // rows.seconds
    assert rows.ends_ms[-1] > bench.now - 2 * rows.seconds * 1000


def test_profile_rows_are_stamped_by_a_clock_that_is_ahead():
    bench = Bench("drift")
    bench.now = START + 24 * HOUR
    snapshot = bench.meter.snapshot()
    assert abs(snapshot.device_ms - bench.now - 420_000) < 10_000
    rows = bench.meter.profile()
    reached = bench.meter.clock.first_reached(rows.ends_ms)
    assert abs(int(rows.ends_ms[0] - reached[0]) - 420_000) < 10_000
    assert reached[-1] <= bench.now


def test_a_clock_set_is_kept_and_marks_the_interval_it_touches():
    bench = Bench("drift")
    bench.now = START + 5 * 60_000
    bench.meter.set_clock(bench.now)
    assert bench.notes.sets == [(bench.meter.spec.meter, bench.now, bench.now)]
    bench.now += 3 * HOUR
    assert abs(bench.meter.snapshot().device_ms - bench.now) < 1000
    rows = bench.meter.profile()
    marked = rows.ends_ms[rows.status & int(Status.CLOCK_ADJUSTED) > 0]
    assert len(marked) in (1, 2)
    assert all(abs(int(end) - START) <= 2 * rows.seconds * 1000 for end in marked)


@given(
    jumps=st.lists(
        st.tuples(st.integers(1, 5 * HOUR), st.integers(-4 * HOUR, 4 * HOUR)), max_size=5
    ),
    drift=st.integers(-200, 200),
)
@settings(max_examples=60)
def test_marks_are_reached_in_order_and_never_later_than_shown(jumps, drift):
    clock = DeviceClock(since_ms=SINCE, offset_ms=1230, drift_ppm=drift)
    now = SINCE
    for wait, jump in jumps:
        now += wait
        clock.set(now, clock.show(now) + jump)
    now += 6 * HOUR
    furthest = clock.furthest(now)
    marks = np.arange(SINCE + 5000, furthest, 900_000, dtype=np.int64)
    reached = clock.first_reached(marks)
    assert (np.diff(reached) >= 0).all()
    assert (reached <= now).all()
    assert clock.first_reached(np.array([furthest + 1]))[0] > now
    assert clock.show(now) <= furthest


def test_a_head_meter_shows_its_customers_and_the_loss_above_them():
    specs = [meter for meter in FLEET.customers if meter.transformer == "T-02"]
    parts = [SwitchedEnergy(household_curve(FLEET.household(spec), SINCE), 0) for spec in specs]
    head = SummedEnergy(parts, opening_wh=500, loss_permille=34)
    later = SINCE + 24 * HOUR
    below = sum(part.register_wh(later) for part in parts)
    assert head.register_wh(later) - 500 == below * 1034 // 1000
    assert head.power_w(later) >= sum(part.power_w(later) for part in parts)
    before = head.power_w(later)
    parts[0].switch(later, closed=False)
    assert head.power_w(later) < before
    assert head.registers_wh(np.array([SINCE, later])).tolist() == [500, head.register_wh(later)]


def test_faults_begin_and_end_and_are_written_down():
    bench = Bench()
    assert Fault.SILENT in Bench("silent").meter.faults
    bench.meter.switch_fault(Fault.FOREIGN, on=True)
    assert bench.meter.identity == "M-999999"
    assert bench.meter.serial != int(bench.meter.spec.serial)
    bench.meter.switch_fault(Fault.FOREIGN, on=False)
    assert bench.meter.identity == bench.meter.spec.meter
    assert [item[1:] for item in bench.notes.faults] == [("foreign", True), ("foreign", False)]


def test_a_served_register_is_noted_with_the_stamp_it_is_told_with():
    bench = Bench("drift")
    snapshot = bench.meter.snapshot()
    bench.meter.note_served(snapshot, Channel.IMPORT_WH, snapshot.register_wh, 0)
    assert bench.notes.values == [
        (bench.meter.spec.meter, snapshot.device_ms, 1, snapshot.register_wh, 0)
    ]


def test_a_meter_without_a_relay_obeys_nobody():
    number = next(m.number for m in FLEET.customers if m.protocol == "modbus")
    bench = Bench(number=number)
    assert bench.meter.relay_reading() is None
    assert not bench.meter.remote(Trigger.REMOTE_DISCONNECT)
    assert not bench.meter.press()
    assert not bench.meter.crew_opens()
    assert len(bench.meter.profile()) == 0


def test_a_switch_cannot_move_in_the_past():
    bench = Bench()
    bench.meter.energy.switch(START, closed=False)
    with pytest.raises(ValueError, match="already moved"):
        bench.meter.energy.switch(START - 1, closed=True)
