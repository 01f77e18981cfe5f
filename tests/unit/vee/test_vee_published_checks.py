"""
One worked example per check, from the published rule that it follows; the figures are by hand.

The source of each rule stands in the docstring of its test; where only second-hand wording was at
hand it says so.
"""

import pytest

from cloud.vee.model import ExceptionKind
from cloud.vee.rules import interval_checks, register_checks, row_checks, spike
from cloud.vee.rules import parameters as told
from cloud.vee.rules.checks import CHECKS
from cloud.vee.rules.grid import State
from cloud.vee.rules.observed import Changes, Clocks, Rows, reads_of
from tests.unit.vee.vee_kit import (
    HOUR,
    START_MS,
    facts_with,
    grid_of,
    ints,
    seen_of,
    slots,
)
from tests.unit.vee.vee_kit import (
    told as rows_of,
)

pytestmark = pytest.mark.req("B11", "B12")
DAY = 24
MS = HOUR * 1000


def at(slot: int) -> int:
    return START_MS + slot * MS


def rows(**columns: list[int]) -> Rows:
    size = len(next(iter(columns.values())))
    plain = {"series": [0] * size, "seconds": [HOUR] * size, "wh": [0] * size,
             "unit": [72] * size, "factor": [1] * size, "factor_known": [1] * size,
             "start_ms": [at(n) for n in range(size)]}  # fmt: skip
    return Rows(**{name: ints(value) for name, value in (plain | columns).items()})


def test_spike_daily() -> None:
    """California VEE (DASMMD), spike check: (peak - third) / third > 180 %, per 24 hours."""
    # third 1000: a peak of 2800 is 180 % above and passes, one of 2801 fails
    first = [500] * 21 + [1000, 1200, 2800]
    second = [500] * 21 + [1000, 1200, 2801]
    grid = grid_of([first + second])
    p = told.SpikeDaily(threshold_permille=1800, least_wh=0)
    hits = interval_checks.spike_daily(seen_of(grid), p)
    assert slots(hits, grid) == [(0, 47, 48)]
    assert hits.value.tolist() == [1801]


def test_spike_robust() -> None:
    """Hampel identifier, 12 slots a side, 6 times 1.4826 MAD; with MAD 0 the mean deviation."""
    p = told.SpikeRobust(side_slots=12, times_permille=6000, floor_wh=10, least_values=13)
    # around the spike: median 101, MAD 1, so beyond 101 + 6 x max(1.4826, 10) = 161 is a spike
    row: list[int | None] = [100, 101, 102] * 10
    row[15] = 162
    grid = grid_of([row])
    hits = spike.spike_robust(seen_of(grid), p)
    assert slots(hits, grid) == [(0, 15, 16)]
    assert hits.limit.tolist() == [60]
    row[15] = 161
    assert len(spike.spike_robust(seen_of(grid_of([row])), p)) == 0
    # MAD 0: 24 equal values and one at 1000: mean deviation 900 / 25, 1.2533 x 36 x 6 = 270.7
    flat: list[int | None] = [100] * 30
    flat[15] = 1000
    hits = spike.spike_robust(seen_of(grid_of([flat])), p)
    assert (hits.value.tolist(), hits.limit.tolist()) == ([900], [270])


def test_sum_check() -> None:
    """WA Metering Code 2006 A7.2, Oracle MDM "Sum Check"; 0.7 % of the register's advance."""
    reads = reads_of(ints([0, 0]), ints([0, 0]), ints([at(0), at(10)]), ints([5000, 15_000]))
    p = told.SumCheck(tolerance_permille=7, floor_wh=0)
    fits = grid_of([[1000] * 9 + [1070]])
    off = grid_of([[1000] * 9 + [1071]])
    holed = grid_of([[1000] * 9 + [None]])
    assert len(register_checks.sum_check(seen_of(fits, reads=reads), p)) == 0
    hits = register_checks.sum_check(seen_of(off, reads=reads), p)
    assert (hits.value.tolist(), hits.limit.tolist()) == ([10_071], [10_000])
    assert len(register_checks.sum_check(seen_of(holed, reads=reads), p)) == 0, "not comparable"


def test_sum_check_takes_a_rollover_and_the_factor() -> None:
    """MDM handbook trap 3 and 10: digits known, ratio at the read."""
    reads = reads_of(
        ints([0, 0]), ints([0, 0]), ints([at(0), at(2)]), ints([999_990, 10]),
        factor=ints([50, 50]),
    )  # fmt: skip
    facts = facts_with(1, rollover_wh=[1_000_000])
    p = told.SumCheck(tolerance_permille=0, floor_wh=0)
    assert (
        len(register_checks.sum_check(seen_of(grid_of([[400, 600]]), facts, reads=reads), p)) == 0
    )
    assert (
        len(register_checks.sum_check(seen_of(grid_of([[400, 601]]), facts, reads=reads), p)) == 1
    )


def test_tou_sum() -> None:
    """Oracle MDM, TOU usage check: the rates add up to the total, within 0.1 %."""
    moments, rates = [at(0)] * 3 + [at(1)] * 3, [0, 1, 2] * 2
    reads = reads_of(
        ints([0] * 6), ints(rates), ints(moments), ints([10_000, 6000, 4010, 20_000, 9000, 11_021])
    )
    hits = register_checks.tou_sum(
        seen_of(grid_of([[0]]), reads=reads), told.TouSum(tolerance_permille=1, floor_wh=0)
    )
    assert rows_of(hits) == {(0, at(1), at(1) + 1, 20_021, 20_000)}


def test_high_low() -> None:
    """Oracle MDM "High/Low Check": average daily use against history, 50 % to 200 %."""
    p = told.HighLow(window_days=1, least_history_days=2, low_permille=500, high_permille=2000)
    steady, high, low = [10] * 48 + [20] * 24, [10] * 48 + [20] * 23 + [21], [10] * 48 + [4] * 24
    hits = register_checks.high_low(seen_of(grid_of([steady, high, low])), p)
    assert sorted(zip(hits.series.tolist(), hits.limit.tolist(), strict=True)) == [
        (1, 2000), (2, 500),
    ]  # fmt: skip


def test_delta_percent() -> None:
    """Itron IEE, delta percent: 100 |cur - prev| / cur, both per time, factor at each read."""
    # 100 Wh an hour over two hours, then 500 Wh in one: 400 / 500 = 80 %
    reads = reads_of(ints([0] * 3), ints([0] * 3), ints([at(0), at(2), at(3)]), ints([0, 200, 700]))
    seen = seen_of(grid_of([[0]]), reads=reads)
    strict = told.DeltaPercent(threshold_permille=799, least_wh=0)
    assert register_checks.delta_percent(seen, strict).value.tolist() == [800]
    loose = told.DeltaPercent(threshold_permille=800, least_wh=0)
    assert len(register_checks.delta_percent(seen, loose)) == 0
    # the ratio was halved: 1000 before the factor of 1 is 500 after it
    changed = reads_of(
        ints([0] * 3), ints([0] * 3), ints([at(0), at(1), at(2)]), ints([0, 100, 300]),
        factor=ints([2, 2, 1]),
    )  # fmt: skip
    equal = told.DeltaPercent(threshold_permille=0, least_wh=0)
    assert len(register_checks.delta_percent(seen_of(grid_of([[0]]), reads=changed), equal)) == 0


def test_historical_max() -> None:
    """Itron IEE, historical maximum: against the same-length window before."""
    p = told.HistoricalMax(window_days=1, threshold_permille=1500, least_coverage_permille=500)
    grid = grid_of([[10] * 23 + [100] + [10] * 20 + [150] + [10] * 3,
                    [10] * 23 + [100] + [10] * 20 + [151] + [10] * 3])  # fmt: skip
    assert slots(interval_checks.historical_max(seen_of(grid), p), grid) == [(1, 44, 45)]


def test_demand_step() -> None:
    """Itron IEE: percent difference to the last VALID interval; estimates are passed over."""
    grid = grid_of([[100, 900, 130]], states=[[State.VALID, State.ESTIMATED, State.VALID]])
    p = told.DemandStep(threshold_permille=299, least_wh=0)
    hits = interval_checks.demand_step(seen_of(grid), p)
    assert sorted(hits.value.tolist()) == [300, 8000]


def test_gap() -> None:
    """ERCOT, Elhub, Energinet: expected slots of the day less those that came."""
    grid = grid_of([[1, None, None, 4], [None, 2, 3, 4]])
    hits = interval_checks.gap(seen_of(grid), told.Gap(allowed_slots=0))
    assert slots(hits, grid) == [(0, 1, 3), (1, 0, 1)]
    assert hits.value.tolist() == [2, 1]


def test_zero_run() -> None:
    """Zeros for 60 minutes or more."""
    grid = grid_of([[1, 0, 0, 0, 1, 0, 0, 0, 0, 2]], step_s=900)
    hits = interval_checks.zero_run(seen_of(grid), told.ZeroRun(least_seconds=3600))
    assert slots(hits, grid) == [(0, 5, 9)]


def test_stale_run() -> None:
    """The same value other than zero in 6 slots or more."""
    grid = grid_of([[7] * 5 + [8] * 6 + [0] * 9])
    hits = interval_checks.stale_run(seen_of(grid), told.StaleRun(least_slots=6))
    assert slots(hits, grid) == [(0, 5, 11)]


def test_negative() -> None:
    """Oracle MDM "Negative Consumption Check"."""
    grid = grid_of([[1, -1, 0]])
    hits = interval_checks.negative(seen_of(grid), told.Negative(least_wh=0))
    assert slots(hits, grid) == [(0, 1, 2)]


def test_future() -> None:
    """No interval ends later than now, the meter's clock forgiven."""
    p = told.Future(slack_seconds=180)
    seen = seen_of(grid_of([[0]]), rows=rows(start_ms=[at(0), at(1)]))
    hits = row_checks.future(seen, p, now_ms=at(2) - 180_001)
    assert hits.start_ms.tolist() == [at(1)]
    assert len(row_checks.future(seen, p, now_ms=at(2) - 180_000)) == 0


def test_duplicate() -> None:
    """Oracle MDM "Duplicate IMD Check": the same again is nothing, another value is told."""
    seen = seen_of(
        grid_of([[0]]), rows=rows(start_ms=[at(0), at(1), at(0), at(1)], wh=[5, 6, 5, 9])
    )
    hits = row_checks.duplicate(seen, told.Duplicate(difference_wh=0))
    assert (hits.start_ms.tolist(), hits.value.tolist()) == ([at(1)], [3])


def test_interval_size() -> None:
    """Oracle MDM "Interval Size Check": length and grid of the profile."""
    seen = seen_of(
        grid_of([[0]]),
        rows=rows(start_ms=[at(0), at(1), at(2) + 60_000], seconds=[HOUR, 900, HOUR]),
    )
    hits = row_checks.interval_size(seen, told.IntervalSize(slack_seconds=0))
    assert hits.start_ms.tolist() == [at(1), at(2) + 60_000]


def test_unit() -> None:
    """Oracle MDM "Unit of Measure Check"; IEC 61968-9: 72 is Wh, 73 is varh."""
    seen = seen_of(grid_of([[0]]), rows=rows(unit=[72, 73]))
    hits = row_checks.unit(seen, told.Unit(active_code=72, reactive_code=73))
    assert (hits.value.tolist(), hits.limit.tolist()) == ([73], [72])


def test_multiplier() -> None:
    """Oracle MDM "Multiplier Check": a ratio applied twice is found."""
    seen = seen_of(grid_of([[0]]), rows=rows(factor=[50, 2500], factor_known=[50, 50]))
    hits = row_checks.multiplier(seen, told.Multiplier(difference=0))
    assert (hits.value.tolist(), hits.limit.tolist()) == ([2500], [50])


def test_device_inactive() -> None:
    """Oracle MDM "Inactive Measurement Check": energy before installation or after removal."""
    grid = grid_of([[5, 5, 5, 0]])
    facts = facts_with(1, installed_ms=[at(1)], removed_ms=[at(2)])
    hits = interval_checks.device_inactive(seen_of(grid, facts), told.DeviceInactive(least_wh=0))
    assert slots(hits, grid) == [(0, 0, 1), (0, 2, 3)]


def test_sibling_missing() -> None:
    """Oracle MDM "Ensure IMD Exists for Sibling MCs"."""
    grid = grid_of([[1, 2, None], [1, None, None], [None, None, None]])
    facts = facts_with(3, device=[4, 4, 9])
    p = told.SiblingMissing(least_slots=1)
    assert slots(interval_checks.sibling_missing(seen_of(grid, facts), p), grid) == [(1, 1, 2)]


def test_estimated_too_long() -> None:
    """ERCOT: after five calendar days of retries a person takes over."""
    e, v = State.ESTIMATED, State.VALID
    grid = grid_of([[1] * 241], states=[[e] * 120 + [v] + [e] * 120])
    p = told.EstimatedTooLong(longest_seconds=432_000)
    assert len(interval_checks.estimated_too_long(seen_of(grid), p)) == 0
    longer = grid_of([[1] * 241], states=[[e] * 121 + [v] + [e] * 119])
    assert slots(interval_checks.estimated_too_long(seen_of(longer), p), longer) == [(0, 0, 121)]


def test_capacity() -> None:
    """MDM handbook section 3: an interval above contract kW x hours."""
    grid = grid_of([[1000, 1001]], step_s=900)
    facts = facts_with(1, capacity_w=[4000])
    hits = interval_checks.capacity(seen_of(grid, facts), told.Capacity(margin_permille=1000))
    assert (hits.value.tolist(), hits.limit.tolist()) == ([1001], [1000])


def test_reactive_without_active() -> None:
    """California VEE (DASMMD): kVARh above zero while kWh is zero (second-hand)."""
    grid = grid_of([[0, 5, 0], [9, 9, 0]])
    facts = facts_with(2, active_of=[-1, 0])
    p = told.ReactiveWithoutActive(least_varh=0)
    assert slots(interval_checks.reactive_without_active(seen_of(grid, facts), p), grid) == [
        (1, 0, 1)
    ]


def test_device_flags() -> None:
    """DSMR / IDIS profile status: critical error, clock invalid, value invalid (bits 0, 1, 2)."""
    grid = grid_of([[1, 1, 1]], status=[[0, 0b1000, 0b0110]])
    hits = interval_checks.device_flags(seen_of(grid), told.DeviceFlags(mask=7))
    assert (slots(hits, grid), hits.value.tolist()) == ([(0, 2, 3)], [6])


def test_clock_tolerance() -> None:
    """MSCONS reason ZA0: beyond three minutes, all since the check before is suspect."""
    clocks = Clocks(
        series=ints([0, 0]), at_ms=ints([at(2), at(5)]), ahead_ms=ints([180_000, -180_001])
    )
    seen = seen_of(grid_of([[1] * 6]), clocks=clocks)
    hits = row_checks.clock_tolerance(seen, told.ClockTolerance(tolerance_seconds=180))
    assert rows_of(hits) == {(0, at(2), at(5), 180_001, 180_000)}


def test_replacement() -> None:
    """Oracle MDM "Final Measurement Replacement": better quality, or a change that matters."""
    v, e = State.VALID, State.ESTIMATED
    changes = Changes(
        series=ints([0] * 5), start_ms=ints([at(n) for n in range(5)]),
        old_wh=ints([1000] * 5), new_wh=ints([1001, 1005, 1500, 1000, 2000]),
        old_state=ints([e, v, v, v, v]), new_state=ints([v, v, v, v, e]),
    )  # fmt: skip
    p = told.Replacement(least_change_permille=10, least_change_wh=10)
    hits = row_checks.replacement(seen_of(grid_of([[0]]), changes=changes), p)
    # better quality; too small; large enough; the same; lower quality
    assert hits.start_ms.tolist() == [at(1), at(4)]


def test_register_step() -> None:
    """MDM handbook trap 3: a register that fell without a rollover, or ran beyond the contract."""
    reads = reads_of(
        ints([0, 0, 1, 1, 2, 2]), ints([0] * 6), ints([at(0), at(1)] * 3),
        ints([500, 499, 0, 4401, 999_999, 5]),
    )  # fmt: skip
    facts = facts_with(3, capacity_w=[0, 4000, 0], rollover_wh=[0, 0, 1_000_000])
    hits = register_checks.register_step(
        seen_of(grid_of([[0]] * 3), facts, reads=reads), told.RegisterStep(margin_permille=1100)
    )
    assert rows_of(hits) == {(0, at(0), at(1), -1, 0), (1, at(0), at(1), 4401, 4400)}


def test_billing_gate() -> None:
    """Itron IEE: share of missing, estimated, edited, doubted above 2 % stops the bill."""
    v = State.VALID
    good = [v] * 98 + [State.EDITED, State.ESTIMATED]
    bad = [v] * 97 + [State.EDITED, State.ESTIMATED, State.QUESTIONABLE]
    grid = grid_of([[1] * 100] * 2, states=[good, bad])
    hits = register_checks.billing_gate(seen_of(grid), told.BillingGate(most_permille=20))
    assert (hits.series.tolist(), hits.value.tolist()) == ([1], [30])


def test_every_check_has_its_worked_example() -> None:
    here = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert {code.value for code in CHECKS} <= here
    assert set(CHECKS) < set(ExceptionKind)
    assert len(CHECKS) >= 24
