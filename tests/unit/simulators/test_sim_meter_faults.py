"""Power cut, rollover and clock jump at a simulated meter, and what its ledger says of them."""

import itertools
from datetime import UTC, datetime

import pytest

from protocols.reading import Status
from protocols.timeline import to_ms
from simulators.energy import SwitchedEnergy, household_curve
from simulators.faults import CLOCK_JUMP_MS, ROLLOVER_WH, Fault
from simulators.fleet import make_fleet
from simulators.meter.state import SimulatedMeter
from simulators.truth import TruthLedger
from simulators.world import World

ORIGIN = datetime(2026, 3, 1, tzinfo=UTC)
FLEET = make_fleet(seed=7, customers=60, origin=ORIGIN)
STORY = FLEET.planted("story")
HOUR = 3_600_000


class Bench:
    """One world on a ledger, at an instant the test chooses."""

    def __init__(self, folder):
        self.folder = folder
        self.now = to_ms(ORIGIN)
        self.ledger = None
        self.start()

    def start(self):
        if self.ledger is not None:
            self.ledger.close()
        self.ledger = TruthLedger(self.folder / "truth.sqlite", FLEET)
        self.world = World(FLEET, self.ledger, now_ms=lambda: self.now)
        self.meter = self.world.meters[STORY.meter]


@pytest.fixture
def bench(tmp_path):
    found = Bench(tmp_path)
    yield found
    found.ledger.close()


def test_nothing_is_counted_while_there_is_no_power(bench):
    bench.now += HOUR
    bench.meter.switch_fault(Fault.POWER_CUT, on=True)
    assert Fault.DARK in bench.meter.faults
    before = bench.meter.snapshot().register_wh
    bench.now += 3 * HOUR
    during = bench.meter.snapshot()
    assert (during.register_wh, during.power_w) == (before, 0)
    bench.meter.switch_fault(Fault.POWER_CUT, on=False)
    assert bench.meter.faults == set()
    bench.now += 6 * HOUR
    assert bench.meter.snapshot().register_wh > before
    rows = bench.meter.profile()
    touched = (rows.status & int(Status.POWER_DOWN)) != 0
    assert touched.sum() - 3 * HOUR // (rows.seconds * 1000) in (0, 1)  # its clock drifts
    dead = rows.wh[touched]
    assert dead[1:-1].sum() == 0


def test_a_power_cut_outlives_the_simulator_to_the_watt_hour(bench):
    bench.now += HOUR
    bench.meter.switch_fault(Fault.POWER_CUT, on=True)
    bench.now += HOUR
    bench.meter.switch_fault(Fault.POWER_CUT, on=False)
    bench.now += HOUR
    bench.meter.crew_opens()
    bench.now += HOUR
    bench.meter.crew_closes()
    bench.now += HOUR
    before = bench.meter.snapshot()
    rows = bench.meter.profile()
    bench.start()
    after = bench.meter.snapshot()
    assert after == before
    again = bench.meter.profile()
    assert again.wh.tolist() == rows.wh.tolist()
    assert again.status.tolist() == rows.status.tolist()


def test_a_relay_opened_in_the_dark_stays_open_when_power_returns(bench):
    bench.meter.switch_fault(Fault.POWER_CUT, on=True)
    bench.now += HOUR
    bench.meter.crew_opens()
    bench.now += HOUR
    bench.meter.switch_fault(Fault.POWER_CUT, on=False)
    bench.now += HOUR
    assert bench.meter.snapshot().power_w == 0
    bench.meter.crew_closes()
    assert bench.meter.snapshot().power_w > 0


def test_a_clock_jumps_once_and_stays_until_it_is_set(bench):
    before = bench.meter.snapshot().device_ms
    bench.meter.switch_fault(Fault.CLOCK_JUMP, on=True)
    bench.meter.switch_fault(Fault.CLOCK_JUMP, on=True)
    bench.now += 1000
    assert abs(bench.meter.snapshot().device_ms - before - 1000 - CLOCK_JUMP_MS) <= 20
    bench.meter.switch_fault(Fault.CLOCK_JUMP, on=False)
    bench.start()
    assert abs(bench.meter.snapshot().device_ms - before - 1000 - CLOCK_JUMP_MS) <= 20
    bench.meter.set_clock(bench.now)
    bench.now += 1000
    assert abs(bench.meter.snapshot().device_ms - bench.now) <= 20


def test_a_register_of_seven_digits_begins_again_at_zero():
    now = [to_ms(ORIGIN)]
    since = to_ms(FLEET.history_from)
    energy = SwitchedEnergy(household_curve(FLEET.household(STORY), since), 0)
    energy.opening_wh = ROLLOVER_WH - energy.register_wh(now[0]) - 100
    ledger = type("Quiet", (), {"fault": lambda *_, **__: None})()
    meter = SimulatedMeter(STORY, energy, now_ms=lambda: now[0], ledger=ledger, since_ms=since)
    meter.switch_fault(Fault.ROLLOVER, on=True)
    assert meter.snapshot().register_wh == ROLLOVER_WH - 100
    shown = []
    for _ in range(48):
        now[0] += HOUR // 2
        shown.append(meter.snapshot().register_wh)
    drops = [a - b for a, b in itertools.pairwise(shown) if b < a]
    assert len(drops) <= 1
    assert shown[-1] < ROLLOVER_WH // 2
    assert energy.register_wh(now[0]) == ROLLOVER_WH + shown[-1]
