"""Row checks without a database: scaling, limits, neighbours, gaps, cumulation."""

import itertools
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.ingest.rules import alone, beside
from cloud.ingest.rules.beside import NEW, OTHER, SAME, Limits, Points
from cloud.usage import rules as usage_rules
from cloud.vee import rules as vee_rules
from cloud.vee.rules import Coverage
from protocols.quantities import rescale

HOUR = 3_600_000


def int64(values: object) -> np.ndarray:
    return np.array(values, dtype=np.int64)


@given(raw=st.integers(-(2**63), 2**63 - 1), scaler=st.integers(-128, 127))
def test_scaling_equals_the_one_scaler_rule_wherever_it_is_in_range(raw: int, scaler: int) -> None:
    value, fits = alone.scale(int64([raw]), int64([scaler]))
    believable = abs(raw) <= 10**18 and abs(scaler) <= 18
    exact = rescale(raw, scaler) if believable else 10**99
    assert bool(fits[0]) is (abs(exact) <= alone.MAX_VALUE)
    assert value[0] == (exact if fits[0] else 0)


def points(rows: list[tuple[int, int, int]]) -> Points:
    """Group, hour, value."""
    table = int64(rows).reshape(-1, 3)
    return Points(
        group=table[:, 0], at_ms=table[:, 1] * HOUR, value=table[:, 2],
        seconds=np.zeros(len(table), dtype=np.int64),
    )  # fmt: skip


def limits(*, rollover: int = 0, slack_ms: int = 0) -> Limits:
    return Limits(max_w=int64([1000]), rollover_wh=int64([rollover]), slack_ms=slack_ms)


def test_a_known_key_is_the_same_or_another_value() -> None:
    stored = points([(1, 1, 100), (1, 2, 200)])
    fresh = points([(1, 2, 200), (1, 1, 101), (1, 3, 300), (1, 3, 300), (1, 3, 301), (2, 1, 100)])
    assert beside.settle(stored, fresh).tolist() == [SAME, OTHER, NEW, SAME, OTHER, NEW]


@pytest.mark.parametrize(
    ("fresh", "accepted"),
    [
        ([(1, 2, 1500)], [True]),
        ([(1, 2, 999)], [False]),
        ([(1, 2, 2001)], [False]),
        ([(1, 4, 5000), (1, 5, 2600), (1, 6, 2700)], [False, True, True]),
        ([(1, -1, 900), (1, -2, 1100)], [True, False]),
        ([(2, 2, 5)], [True]),
    ],
)
def test_a_register_lies_between_its_neighbours(
    fresh: list[tuple[int, int, int]], accepted: list[bool]
) -> None:
    stored = points([(1, 1, 1000), (1, 3, 2000)])
    assert beside.consistent(stored, points(fresh), limits()).tolist() == accepted


def test_a_register_may_roll_over_only_where_the_meter_does() -> None:
    stored, fresh = points([(1, 1, 9800)]), points([(1, 2, 100)])
    assert beside.consistent(stored, fresh, limits(rollover=10_000)).tolist() == [True]
    assert beside.consistent(stored, fresh, limits()).tolist() == [False]
    # 9 990 Wh in an hour on a 1 kW meter is no rollover
    assert beside.consistent(
        points([(1, 1, 20)]), points([(1, 2, 10)]), limits(rollover=10_000)
    ).tolist() == [False]


def test_hostile_batches_cost_bounded_work_and_keep_stored_rows() -> None:
    fresh = points([(1, hour, 10**9 if hour % 2 else hour) for hour in range(1, 3000)])
    stored = points([(1, 0, 0), (1, 4000, 4000)])
    accepted = beside.consistent(stored, fresh, limits())
    assert accepted.tolist() == [hour % 2 == 0 for hour in range(1, 3000)]


@given(
    steps=st.lists(st.integers(0, 1000), min_size=1, max_size=40),
    kept=st.data(),
)
def test_true_readings_are_never_refused_whatever_is_stored_already(
    steps: list[int], kept: st.DataObject
) -> None:
    wh = np.cumsum(steps)
    rows = [(1, hour, int(value) % 10_000) for hour, value in enumerate(wh)]
    known = kept.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    stored = points([row for row, there in zip(rows, known, strict=True) if there])
    fresh = points([row for row, there in zip(rows, known, strict=True) if not there])
    assert beside.consistent(stored, fresh, limits(rollover=10_000)).all()


def test_reading_kinds_are_told_by_channel() -> None:
    channels = int64([1, 2, 3, 4, 10])
    assert alone.is_register(channels).tolist() == [True, True, False, False, False]
    assert alone.is_interval(channels).tolist() == [False, False, True, True, False]
    assert [alone.channel_name(code) for code in (1, 200)] == ["import_wh", "200"]


@given(
    parts=st.lists(st.lists(st.integers(0, 60), min_size=1, max_size=15), min_size=1, max_size=6)
)
def test_missing_ranges_are_the_grid_less_what_came_in_any_order(parts: list[list[int]]) -> None:
    step = 1_800_000
    known: Coverage | None = None
    for part in parts:
        known = vee_rules.extend(known, int64(part) * step, step)
    assert known is not None
    seen = {slot for part in parts for slot in part}
    missing = [slot for slot in range(min(seen), max(seen)) if slot not in seen]
    listed = [slot for start, end in known.missing for slot in range(start // step, end // step)]
    assert listed == missing
    assert (known.first, known.newest) == (min(seen) * step, max(seen) * step)
    # merged: neighbours never touch
    assert all(
        a[1] < b[0] for a, b in zip(known.missing, known.missing[1:], strict=False)
    )  # fmt: skip


def test_ranges_are_clipped_to_installations() -> None:
    assert vee_rules.clip(((0, 10), (20, 30)), [(5, 22), (25, 40)]) == ((5, 10), (20, 22), (25, 30))


@pytest.mark.req("B11")
def test_more_than_the_contract_allows_is_over_capacity() -> None:
    over = vee_rules.over_capacity(
        int64([4000, 4001, 9999]), int64([1800, 1800, 1800]), int64([8000, 8000, 0])
    )
    assert over.tolist() == [False, True, False]


@given(
    usage=st.lists(st.integers(0, 9_999), min_size=1, max_size=30),
    cut=st.integers(0, 30),
    rollover=st.sampled_from([0, 10_000]),
)
def test_cumulation_is_total_energy_across_rollover_and_exchange(
    usage: list[int], cut: int, rollover: int
) -> None:
    """With the fitter's figures no watt-hour is lost at the exchange."""
    cut = min(cut, len(usage))
    first_wh, second_wh = np.cumsum([500, *usage[:cut]]), np.cumsum([70, *usage[cut:]])
    if rollover:
        first_wh, second_wh = first_wh % rollover, second_wh % rollover
    first = usage_rules.Segment(wh=first_wh, rollover_wh=rollover, final_wh=int(first_wh[-1]))
    second = usage_rules.Segment(wh=second_wh, rollover_wh=rollover, initial_wh=70)
    walked = np.concatenate(usage_rules.accumulate([first, second]))
    assert walked[0] == 500
    assert walked[-1] - walked[0] == sum(usage)
    assert (np.diff(walked) >= 0).all()


def test_a_meter_that_was_never_read_counts_by_the_fitters_figures() -> None:
    segments = [
        usage_rules.Segment(wh=int64([100, 200]), final_wh=250),
        usage_rules.Segment(wh=int64([]), initial_wh=10, final_wh=40),
        usage_rules.Segment(wh=int64([7, 9]), initial_wh=5),
    ]
    assert [part.tolist() for part in usage_rules.accumulate(segments)] == [
        [100, 200], [], [282, 284],
    ]  # fmt: skip


def test_an_average_needs_time() -> None:
    assert usage_rules.daily_average(1000, 2 * usage_rules.DAY_MS) == 500
    assert usage_rules.daily_average(1, 2 * usage_rules.DAY_MS) == 1
    with pytest.raises(ValueError, match="time"):
        usage_rules.daily_average(1, 0)


def test_days_follow_the_zone_through_a_clock_change() -> None:
    from zoneinfo import ZoneInfo

    from protocols.timeline import Interval

    berlin = ZoneInfo("Europe/Berlin")
    span = Interval(
        start=datetime(2026, 3, 28, 22, tzinfo=UTC), end=datetime(2026, 3, 30, tzinfo=UTC)
    )
    days = usage_rules.days_of(span, berlin)
    assert [day.day for day in days] == [28, 29, 30]
    bounds = usage_rules.midnights(days, berlin)
    assert [(b - a).total_seconds() / 3600 for a, b in itertools.pairwise(bounds)] == [
        24, 23, 24,
    ]  # fmt: skip
