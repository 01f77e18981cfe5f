"""Estimators by worked examples from their rules, and what must hold of every estimate."""

from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.vee import service
from cloud.vee.model import ExceptionKind
from cloud.vee.rules import analogue, shapes
from cloud.vee.rules.anchors import anchors_of, estimate_registers
from cloud.vee.rules.checks import check_series
from cloud.vee.rules.estimate import Reason, estimate_series, judged
from cloud.vee.rules.grid import State, frame_of
from cloud.vee.rules.observed import Reads, reads_of
from cloud.vee.rules.rule_sets import Method, RuleSet, rule_set_for
from tests.unit.vee.vee_kit import (
    BERLIN,
    HOUR,
    START_MS,
    UTC_ZONE,
    facts_with,
    grid_of,
    ints,
    seen_of,
)

pytestmark = pytest.mark.req("B17")
MS = HOUR * 1000


def rules(**more: object) -> RuleSet:
    """Return the shipped set, with other values for its estimators."""
    from dataclasses import replace

    shipped = rule_set_for(service.shipped_rule_sets(), "household", date(2026, 3, 2))
    return replace(shipped, estimate=replace(shipped.estimate, **more))  # type: ignore[arg-type]


def only(method: Method) -> RuleSet:
    return rules(with_register=(method.value,), without_register=(method.value,))


def total_reads(*pairs: tuple[int, int]) -> Reads:
    """Return total registers of series 0 at slots."""
    size = len(pairs)
    return reads_of(
        ints([0] * size), ints([0] * size), ints([START_MS + slot * MS for slot, _ in pairs]),
        ints([wh for _, wh in pairs]),
    )  # fmt: skip


def test_linear() -> None:
    """WA Metering Code A8.2.2.1: the straight line between measured neighbours, 2 h inclusive."""
    done = estimate_series(seen_of(grid_of([[10, None, None, 40]])), only(Method.LINEAR))
    assert done.grid.wh.tolist() == [[10, 20, 30, 40]]
    assert done.grid.state[0].tolist() == [
        State.MEASURED,
        State.ESTIMATED,
        State.ESTIMATED,
        State.MEASURED,
    ]
    three_hours = estimate_series(
        seen_of(grid_of([[10, None, None, None, 40]])), only(Method.LINEAR)
    )
    assert [each.reason for each in three_hours.made] == [Reason.NOTHING]
    assert not three_hours.grid.present[0, 1:4].any()
    edge = estimate_series(seen_of(grid_of([[None, 20, 30]])), only(Method.LINEAR))
    assert [each.method for each in edge.made] == [""]


def week_of(hour_values: dict[int, int], days: int) -> list[int | None]:
    """Return days whose value at noon is told by day, 1 elsewhere."""
    return [hour_values.get(n // 24, 1) if n % 24 == 12 else 1 for n in range(days * 24)]


def test_like_day() -> None:
    """WA Metering Code A8.2.2.2: mean of the same slot on the 3 last days of the same class."""
    # Mondays 0, 7; days 5, 6 are a weekend: of day 9 (Wednesday) the days 8, 7 and 4 are taken
    row = week_of({4: 30, 5: 900, 6: 900, 7: 60, 8: 90, 3: 700}, 10)
    row[9 * 24 + 12] = None
    done = estimate_series(seen_of(grid_of([row])), only(Method.LIKE_DAY))
    assert done.grid.wh[0, 9 * 24 + 12] == 60
    saturday = week_of({5: 11, 6: 99, 11: 99}, 13)
    saturday[12 * 24 + 12] = None  # a Saturday: its like day is a week before
    done = estimate_series(seen_of(grid_of([saturday])), only(Method.LIKE_DAY))
    assert done.grid.wh[0, 12 * 24 + 12] == 11


def test_like_day_two_week() -> None:
    """Itron IEE: like days from a table within two weeks; an estimate is never a reference."""
    row = week_of({0: 40, 7: 10, 5: 700}, 15)
    row[14 * 24 + 12] = None
    states = [[State.MEASURED] * len(row)]
    states[0][14 * 24 + 12] = State.MISSING
    states[0][11 * 24 + 12] = State.ESTIMATED
    done = estimate_series(seen_of(grid_of([row], states=states)), only(Method.LIKE_DAY_TWO_WEEK))
    # three nearest workdays with a measured value: 10, 9 and 8, all 1
    assert done.grid.wh[0, 14 * 24 + 12] == 1


def test_proxy_day() -> None:
    """Itron IEE and Oracle: the day whose temperature is nearest lends its values."""
    row: list[int | None] = [*[5] * 24, *[7] * 24, *[9] * 24, *[None] * 24]
    seen = seen_of(grid_of([row]), temperature_mk=ints([280_000, 290_000, 285_000, 284_000]))
    done = estimate_series(seen, only(Method.PROXY_DAY))
    assert done.grid.wh[0, 72:].tolist() == [9] * 24


def test_load_profile() -> None:
    """Itron IEE, Oracle: a class profile, here in quarter hours that add up to each hour."""
    profile = tuple(range(101, 125))
    values, known = shapes.load_profile(frame_of(START_MS, 96, 900, UTC_ZONE), 0, 96, profile)
    assert known.all()
    assert values.reshape(24, 4).sum(axis=1).tolist() == list(profile)


def test_check_meter() -> None:
    """The check meter of the supply comes before every guess."""
    grid = grid_of([[1, None, 3], [1, 44, 3]])
    done = estimate_series(seen_of(grid, facts_with(2, check_of=[1, -1])), only(Method.CHECK_METER))
    assert done.grid.wh[0].tolist() == [1, 44, 3]


def test_subtractive() -> None:
    """Oracle: the sum meter less its other parts."""
    grid = grid_of([[100, 100], [30, 40], [None, 20]])
    facts = facts_with(3, part_of=[-1, 0, 0])
    done = estimate_series(seen_of(grid, facts), only(Method.SUBTRACTIVE))
    assert done.grid.wh[2].tolist() == [70, 20]


def test_scale_to_register() -> None:
    """BSCP502, Elhub: measured and estimated add up to the advance; the rest is by carry."""
    seen = seen_of(grid_of([[10, None, None, 40]]), reads=total_reads((0, 1000), (4, 1100)))
    done = estimate_series(seen, only(Method.LINEAR))
    assert done.grid.wh.tolist() == [[10, 20, 30, 40]]
    more = seen_of(grid_of([[10, None, None, 40]]), reads=total_reads((0, 1000), (4, 1201)))
    done = estimate_series(more, only(Method.LINEAR))
    assert done.grid.wh.tolist() == [[10, 60, 91, 40]]
    assert done.made[0].anchored


def test_flat_from_register() -> None:
    """Itron IEE: what remains, evenly over the missing slots, rounding carried."""
    seen = seen_of(grid_of([[10, None, None, None]]), reads=total_reads((0, 0), (4, 110)))
    done = estimate_series(seen, only(Method.FLAT_FROM_REGISTER))
    assert done.grid.wh.tolist() == [[10, 33, 33, 34]]


def test_scale_by_tou() -> None:
    """Itron IEE, Oracle: each rate's register anchors the slots of its rate."""
    slots = START_MS + ints([0, 4]) * MS
    reads = reads_of(
        ints([0] * 6), ints([0, 0, 1, 1, 2, 2]), np.tile(slots, 3), ints([0, 100, 0, 70, 0, 30])
    )
    seen = seen_of(grid_of([[None, None, None, 20]]), reads=reads, rate_of_slot=ints([1, 1, 2, 2]))
    done = estimate_series(seen, only(Method.FLAT_FROM_REGISTER))
    assert done.grid.wh.tolist() == [[35, 35, 10, 20]]
    assert done.made[0].by_rate


def test_measured_values_are_never_scaled_down() -> None:
    """metering, Elhub: actuals above the advance raise, the slot stays missing with its reason."""
    seen = seen_of(grid_of([[60, None, 60]]), reads=total_reads((0, 0), (3, 100)))
    done = estimate_series(seen, rules())
    assert [each.reason for each in done.made] == [Reason.CONTRADICTION]
    assert done.grid.wh.tolist() == [[60, 0, 60]]
    assert not done.grid.present[0, 1]


def test_zero_needs_a_confirmed_outage() -> None:
    """MeteringCode A7.1.2.2, ERCOT: zero only for a confirmed outage; the rest takes the energy."""
    outage = np.array([[False, True, False, False]])
    seen = seen_of(
        grid_of([[10, None, None, 40]]), reads=total_reads((0, 0), (4, 90)), outage=outage
    )
    done = estimate_series(seen, rules())
    assert done.grid.wh.tolist() == [[10, 0, 40, 40]]
    assert [(each.method, each.reason) for each in done.made] == [
        ("zero", Reason.OUTAGE), (done.made[1].method, Reason.MISSING),
    ]  # fmt: skip
    alone = estimate_series(seen_of(grid_of([[None, None]])), rules())
    assert [each.reason for each in alone.made] == [Reason.NOTHING]
    assert not alone.grid.present.any(), "refuse, do not invent"


def test_register_from_intervals() -> None:
    """Itron IEE: the read before plus the sum, forward only, over the rollover and the factor."""
    assert shapes.register_from_intervals(999_990, ints([5, 10]), 1_000_000) == 5
    assert shapes.register_from_intervals(100, ints([50, 60]), 0, factor=50) == 102
    with pytest.raises(ValueError, match="backwards"):
        shapes.register_from_intervals(1, ints([-5]), 0)
    seen = seen_of(grid_of([[10, 20, None, 40]]), reads=total_reads((0, 1000)))
    wanted = START_MS + ints([2, 4]) * MS
    found = estimate_registers(seen, ints([0, 0]), wanted)
    assert [(each.wh, each.reason) for each in found] == [(1030, ""), (None, "interval_missing")]


def test_monthly_adu() -> None:
    """CPUC PSWG: average to two decimals of a kWh, times the days, cut to whole kWh."""
    # 412 kWh in 31 days are 13.29 kWh a day; 28 days of it are 372.12, cut to 372
    assert shapes.monthly_use(412_000, 31, 28) == 372_000
    with pytest.raises(ValueError, match="one day"):
        shapes.monthly_use(1, 0, 28)


def test_an_analogue_takes_one_quantile_of_like_moments_under_the_register() -> None:
    rng = np.random.default_rng(3)
    day = np.array([20] * 16 + [400, 500, 450, 100] + [30] * 4)
    row: list[int | None] = [int(v) for v in np.tile(day, 20) + rng.integers(0, 5, 480)]
    for slot in range(240, 264):
        row[slot] = None
    seen = seen_of(grid_of([row]), reads=total_reads((0, 0), (240, 17_000), (264, 19_000)))
    done = estimate_series(seen, rules())
    inside = done.grid.wh[0, 240:264]
    assert inside.sum() == 2000
    assert done.made[0].method == Method.ANALOGUE
    assert inside[16:19].min() > 5 * inside[:16].max(), "the evening's peak stays a peak"
    assert (done.low[0] <= done.grid.wh[0]).all()
    assert (done.high[0] >= done.grid.wh[0]).all()


def test_a_doubted_value_is_estimated_unless_the_register_vouches_for_it() -> None:
    row: list[int | None] = [100, 101, 102] * 40
    row[60] = 9000
    grid = grid_of([row])
    bare = seen_of(grid)
    large = rule_set_for(service.shipped_rule_sets(), "large", date(2026, 3, 2))
    found = check_series(bare, large, now_ms=grid.frame.end_ms)
    assert found.of(ExceptionKind.SPIKE_ROBUST).start_ms.tolist() == [START_MS + 60 * MS]
    doubted = judged(bare, found)
    assert doubted.grid.state[0, 60] == State.QUESTIONABLE
    done = estimate_series(doubted, large)
    assert done.grid.wh[0, 60] < 110
    assert done.made[0].reason == Reason.QUESTIONABLE
    at_home = check_series(bare, rules(), now_ms=grid.frame.end_ms)
    assert at_home.of(ExceptionKind.SPIKE_ROBUST).start_ms.tolist() == [START_MS + 60 * MS]
    kept = judged(bare, at_home)
    assert kept.grid.state[0, 60] == State.VALID, "in a home a peak is told, not taken away"
    whole = total_reads((0, 0), (120, sum(value or 0 for value in row)))
    vouched = judged(seen_of(grid, reads=whole), found)
    assert (vouched.grid.state == State.VALID).all()


@pytest.mark.parametrize(("start", "length"), [(1_774_738_800_000, 92), (1_792_879_200_000, 100)])
def test_a_day_of_the_changing_clock_is_filled_whole(start: int, length: int) -> None:
    """28/29 March and 25 October 2026 in Berlin: 92 and 100 quarter hours, energy conserved."""
    before = start - 10 * 86_400_000
    width = 10 * 96 + length + 96 * 5
    row: list[int | None] = [50 + n % 96 for n in range(width)]
    row[960 : 960 + length] = [None] * length
    grid = grid_of([row], step_s=900, start_ms=before, zone=BERLIN)
    assert grid.frame.expected()[10] == length or grid.frame.expected()[9] == length
    reads = reads_of(
        ints([0, 0]), ints([0, 0]), ints([start, start + length * 900_000]), ints([0, 7777])
    )
    done = estimate_series(seen_of(grid, reads=reads), rules())
    assert done.grid.present.all()
    assert done.grid.wh[0, 960 : 960 + length].sum() == 7777


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_energy_is_conserved_and_measured_values_stand(seed: int) -> None:
    """Whenever both reads exist, measured and estimated add up to the register exactly."""
    chance = np.random.default_rng(seed)
    width = int(chance.integers(4, 24 * 16))
    truth = chance.integers(0, int(chance.choice([3, 3000])), width)
    missing = np.zeros(width, dtype=bool)
    for _ in range(int(chance.integers(1, 5))):
        first = int(chance.integers(0, width))
        missing[first : first + int(chance.integers(1, 60))] = True
    cuts = np.unique(np.concatenate(([0, width], chance.integers(0, width, 3))))
    registers = np.concatenate(([0], np.cumsum(truth)))[cuts]
    row = [None if gone else int(value) for value, gone in zip(truth, missing, strict=True)]
    seen = seen_of(
        grid_of([row]), reads=total_reads(*zip(cuts.tolist(), registers.tolist(), strict=True))
    )
    done = estimate_series(seen, rules())
    assert done.grid.present.all()
    assert (done.grid.wh >= 0).all()
    assert np.array_equal(done.grid.wh[0][~missing], truth[~missing])
    for anchor in anchors_of(seen):
        assert done.grid.wh[0, anchor.first : anchor.end].sum() == anchor.total_wh
    again = estimate_series(seen, rules())
    assert np.array_equal(again.grid.wh, done.grid.wh), "the same input gives the same estimate"
    assert (done.low <= done.grid.wh).all()
    assert (done.grid.wh <= done.high).all()


@given(seed=st.integers(0, 2**32 - 1), total=st.integers(0, 10**7))
@settings(max_examples=100, deadline=None)
def test_one_quantile_meets_any_total_and_grows_with_it(seed: int, total: int) -> None:
    chance = np.random.default_rng(seed)
    shape = (int(chance.integers(1, 30)), int(chance.integers(1, 20)))
    weight = chance.integers(0, 2**23, shape)
    weight[0] = 1
    found = analogue.Candidates(wh=chance.integers(0, 10**6, shape), weight=weight)
    values = analogue.at_quantile(found, total)
    assert int(values.sum()) == total
    assert (values >= 0).all()
    low, high = analogue.band(found, 800)
    assert (low <= high).all()


@given(shape=st.lists(st.integers(0, 10**9), min_size=1, max_size=40), total=st.integers(0, 10**12))
def test_carry_rounding_is_within_one_of_the_share(shape: list[int], total: int) -> None:
    parts = analogue.scaled(ints(shape), total).tolist()
    assert sum(parts) == total
    whole = sum(shape)
    if whole:
        assert all(
            abs(part * whole - value * total) < whole
            for part, value in zip(parts, shape, strict=True)
        )


def test_a_series_does_not_depend_on_those_beside_it() -> None:
    chance = np.random.default_rng(5)
    rows = [[int(v) for v in chance.integers(0, 900, 24 * 9)] for _ in range(3)]
    holed: list[list[int | None]] = [[*row] for row in rows]
    for n, row in enumerate(holed):
        row[70 + 9 * n : 90 + 9 * n] = [None] * 20
    together = estimate_series(seen_of(grid_of(holed)), rules())
    for n, row in enumerate(holed):
        alone = estimate_series(seen_of(grid_of([row])), rules())
        assert np.array_equal(alone.grid.wh[0], together.grid.wh[n])


def test_pieces_of_different_methods_share_the_register_by_the_level_of_the_others() -> None:
    """Two gaps under one register: one has like hours on the days before, the other has none."""
    row: list[int | None] = [*[100] * 48, *[None] * 2, *[100] * 20, *[None] * 2]
    states = [[0 if value is None else State.MEASURED for value in row]]
    for day in range(2):  # of the last two hours of a day nothing else is known
        states[0][day * 24 + 22], states[0][day * 24 + 23] = State.ESTIMATED, State.ESTIMATED
    grid = grid_of([row], states=states)
    seen = seen_of(grid, reads=total_reads((48, 0), (72, 2400)))
    done = estimate_series(seen, rules())
    assert [each.method for each in done.made] == [Method.ANALOGUE, Method.FLAT_FROM_REGISTER]
    assert done.grid.wh[0, 48:].tolist() == [100] * 24


def test_every_method_is_shown_here() -> None:
    here = " ".join(name for name in globals() if name.startswith("test_"))
    shown = {method for method in Method if method.value in here}
    assert shown | {Method.ANALOGUE, Method.ZERO} == set(Method)
    assert len(Method) >= 9
