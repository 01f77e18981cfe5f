"""Every interval kernel finds what its scalar twin finds, on any series."""

from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.vee.rules import interval_checks, register_checks, spike
from cloud.vee.rules import parameters as told
from cloud.vee.rules.grid import State, frame_of
from cloud.vee.rules.observed import Observed
from tests.unit.vee import check_oracle as oracle
from tests.unit.vee import vee_kit as kit

ZONES = [kit.UTC_ZONE, kit.BERLIN, ZoneInfo("Asia/Kathmandu")]


def series_from(seed: int) -> Observed:
    """Return any few series: missing, estimated, doubted values, installations, pairs."""
    chance = np.random.default_rng(seed)
    count, width = int(chance.integers(1, 4)), int(chance.integers(1, 61))
    shape = (count, width)
    kinds = [
        np.zeros(shape, dtype=np.int64), chance.integers(-3, 12, shape),
        chance.integers(0, 5000, shape), chance.integers(-(10**9), 10**9, shape),
    ]  # fmt: skip
    weights = chance.dirichlet(np.ones(4) * 0.4)
    wh = np.choose(chance.choice(4, shape, p=weights), kinds)
    wh = np.where(chance.random(shape) < chance.choice([0, 0.3, 0.8]), np.roll(wh, 1, axis=1), wh)
    state = chance.choice([3, 3, 3, 3, 1, 2, 4, 5], shape)
    state[chance.random(shape) < chance.choice([0, 0.05, 0.5])] = 0
    step = int(chance.choice([900, 1800, 3600, 14_400]))
    # around both changes of the clock, and between them
    start = int(chance.choice([1_774_652_400_000, kit.START_MS, 1_792_884_600_000]))
    start -= start % (step * 1000)
    end = start + width * step * 1000
    spans = np.sort(chance.integers(start, end + 1, (count, 2)), axis=1)
    if chance.random() < 0.5:
        spans[:] = (start, end)
    rows = [
        [None if mark == 0 else int(value) for value, mark in zip(*row, strict=True)]
        for row in zip(wh, state, strict=True)
    ]
    return kit.seen_of(
        kit.grid_of(
            rows, step_s=step, start_ms=start, zone=ZONES[int(chance.integers(3))],
            states=state.tolist(),
        ),
        kit.facts_with(
            count,
            capacity_w=chance.choice([0, 1, 4000], count),
            device=chance.integers(0, 2, count),
            active_of=chance.integers(-1, count, count),
            installed_ms=spans[:, 0],
            removed_ms=spans[:, 1],
        ),
    )  # fmt: skip


OBSERVED = st.integers(0, 2**32 - 1).map(series_from)
SMALL = st.integers(0, 5)
PAIRS: list[tuple[Callable[..., Any], Callable[..., Any], st.SearchStrategy[Any]]] = [
    (interval_checks.spike_daily, oracle.spike_daily, st.builds(
        told.SpikeDaily, threshold_permille=st.integers(0, 3000), least_wh=st.integers(0, 100))),
    (interval_checks.demand_step, oracle.demand_step, st.builds(
        told.DemandStep, threshold_permille=st.integers(0, 3000), least_wh=st.integers(0, 100))),
    (interval_checks.historical_max, oracle.historical_max, st.builds(
        told.HistoricalMax, window_days=st.integers(1, 2), threshold_permille=st.integers(0, 2000),
        least_coverage_permille=st.integers(1, 900))),
    (interval_checks.gap, oracle.gap, st.builds(told.Gap, allowed_slots=SMALL)),
    (interval_checks.zero_run, oracle.zero_run, st.builds(
        told.ZeroRun, least_seconds=st.integers(1, 10_000))),
    (interval_checks.stale_run, oracle.stale_run, st.builds(told.StaleRun, least_slots=SMALL)),
    (interval_checks.negative, oracle.negative, st.builds(told.Negative, least_wh=SMALL)),
    (interval_checks.capacity, oracle.capacity, st.builds(
        told.Capacity, margin_permille=st.integers(1, 2000))),
    (interval_checks.device_inactive, oracle.device_inactive, st.builds(
        told.DeviceInactive, least_wh=SMALL)),
    (interval_checks.sibling_missing, oracle.sibling_missing, st.builds(
        told.SiblingMissing, least_slots=SMALL)),
    (interval_checks.estimated_too_long, oracle.estimated_too_long, st.builds(
        told.EstimatedTooLong, longest_seconds=st.integers(0, 20_000))),
    (interval_checks.reactive_without_active, oracle.reactive_without_active, st.builds(
        told.ReactiveWithoutActive, least_varh=SMALL)),
    (register_checks.high_low, oracle.high_low, st.builds(
        told.HighLow, window_days=st.integers(1, 2), least_history_days=st.integers(0, 2),
        low_permille=st.integers(0, 900), high_permille=st.integers(1000, 3000))),
    (register_checks.billing_gate, oracle.billing_gate, st.builds(
        told.BillingGate, most_permille=st.integers(0, 999))),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kernel", "twin", "parameters"), PAIRS, ids=[pair[0].__name__ for pair in PAIRS]
)
@given(seen=OBSERVED, choose=st.data())
@settings(max_examples=60, deadline=None)
def test_a_kernel_finds_what_its_scalar_twin_finds(
    kernel: Any, twin: Any, parameters: Any, seen: Observed, choose: Any
) -> None:
    p = choose.draw(parameters)
    hits = kernel(seen, p)
    assert kit.told(hits) == twin(seen, p)
    assert len(kit.told(hits)) == len(hits), "no place is told twice"


@given(
    seen=OBSERVED,
    p=st.builds(
        told.SpikeRobust, side_slots=st.integers(1, 13), times_permille=st.integers(0, 9000),
        floor_wh=st.integers(0, 50), least_values=st.integers(0, 12),
    ),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_robust_spikes_are_those_of_exact_medians(seen: Observed, p: told.SpikeRobust) -> None:
    hits = spike.spike_robust(seen, p)
    places = list(zip(hits.series.tolist(), hits.start_ms.tolist(), strict=True))
    found = set(places)
    exact = oracle.spike_robust_places(seen, p)
    # the kernel's limit is rounded down to a quarter of a watt-hour, so it may only find more
    assert exact <= found
    for series, start in found - exact:
        slot = (start - seen.grid.frame.start_ms) // (seen.grid.frame.step_s * 1000)
        row = places.index((series, start))
        assert hits.value[row] - 1 <= hits.limit[row] + p.times_permille // 1000 + 1, slot


@pytest.mark.skipif(not spike.INSTALLED, reason="numba is an option")
@given(seed=st.integers(0, 2**32 - 1), side=st.integers(1, 14))
@settings(max_examples=40, deadline=None)
def test_the_compiled_pass_gives_the_same_bits_as_the_plain_one(seed: int, side: int) -> None:
    chance = np.random.default_rng(seed)
    shape = (int(chance.integers(1, 6)), int(chance.integers(1, 150)))
    wh = chance.integers(0, int(chance.choice([2, 6, 4000])), shape)
    wh[chance.random(shape) < 0.03] *= 100
    present = chance.random(shape) < 0.9
    side = min(side, max(1, shape[1] - 1))
    values = (side, int(chance.integers(0, 9000)), int(chance.integers(0, 20)), 5)
    for compiled, plain in zip(
        spike.one_pass()(wh, present, values), spike.plain(wh, present, values), strict=True
    ):
        assert np.array_equal(compiled, plain)


@pytest.mark.parametrize(
    ("start", "expected"),
    [("2026-03-28T23:00:00+00:00", 92), ("2026-10-24T22:00:00+00:00", 100),
     ("2026-06-30T22:00:00+00:00", 96)],
)  # fmt: skip
def test_local_days_have_92_96_or_100_quarter_hours(start: str, expected: int) -> None:
    from datetime import datetime

    from protocols.timeline import to_ms

    frame = frame_of(to_ms(datetime.fromisoformat(start)), 200, 900, kit.BERLIN)
    assert frame.expected()[0] == expected
    assert frame.wall[0] == 0
    assert frame.wall[expected - 1] == 95
    assert frame.day[expected] == 1
    assert frame.wall[expected] == 0


def test_states_rank_from_missing_to_edited() -> None:
    assert sorted(State) == [
        State.MISSING, State.ESTIMATED, State.QUESTIONABLE, State.MEASURED, State.VALID,
        State.EDITED,
    ]  # fmt: skip
