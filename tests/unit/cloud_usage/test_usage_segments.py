"""Segments of a usage point against a meter that is walked watt-hour by watt-hour."""

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.usage.rules.placing import figures_of, lines_from, registers_of, slots_of
from cloud.usage.rules.walking import FOREVER_MS, Factor, Line, Segment, Stay, accumulate, lines_of

HOUR = 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """A usage point's true hours, and the stays in which meters counted them."""

    use: list[int]
    stays: list[Stay]
    factors: tuple[Factor, ...]


_MOST = 300
"""What an hour counts at the most."""


@st.composite
def lives(draw: st.DrawFn, *, with_factors: bool = True) -> Life:
    """
    Meters that follow one another, each read at every hour but some, rolling over as they do.

    The fitter writes every figure down, and so does whoever changes a factor: nothing is unseen. A
    register is read before it can have turned a whole round, for that no figure would tell.
    """
    stays: list[Stay] = []
    use: list[int] = []
    hours = draw(st.lists(st.integers(2, 12), min_size=1, max_size=3))
    total = sum(hours)
    changes = sorted(draw(st.sets(st.integers(1, total - 1), max_size=2))) if with_factors else []
    numbers = [draw(st.integers(1, 40)) for _ in changes]
    begun = 0
    noted: dict[int, int] = {}
    for size in hours:
        rollover = draw(st.sampled_from([0, 1000]))
        shown = draw(st.integers(0, 999))
        initial, at_ms, wh, unseen = shown, [], [], 0
        for hour in range(begun, begun + size):
            if hour in changes:
                noted[hour] = shown
            whole_round = bool(rollover) and unseen + _MOST >= rollover
            if hour > begun and (draw(st.booleans()) or whole_round):
                at_ms.append(hour * HOUR)
                wh.append(shown)
                unseen = 0
            counted = draw(st.integers(0, _MOST))
            unseen += counted
            use.append(counted)
            shown = (shown + counted) % rollover if rollover else shown + counted
        end = (begun + size) * HOUR
        last = begun + size == total
        # at its end each meter is read, so that no turn of its register passes unseen
        at_ms.append(end)
        wh.append(shown)
        stays.append(
            Stay(
                since_ms=begun * HOUR, until_ms=FOREVER_MS if last else end,
                at_ms=np.array(at_ms, dtype=np.int64), wh=np.array(wh, dtype=np.int64),
                rollover_wh=rollover, initial_wh=initial, final_wh=None if last else shown,
            )
        )  # fmt: skip
        begun += size
    factors = tuple(
        Factor(since_ms=hour * HOUR, numerator=number, register_wh=noted[hour])
        for hour, number in zip(changes, numbers, strict=True)
    )
    return Life(
        use=use, factors=factors,
        stays=[
            Stay(
                since_ms=stay.since_ms, until_ms=stay.until_ms, at_ms=stay.at_ms, wh=stay.wh,
                rollover_wh=stay.rollover_wh, initial_wh=stay.initial_wh,
                final_wh=stay.final_wh, factors=factors,
            )
            for stay in stays
        ],
    )  # fmt: skip


def rows_of(lines: list[Line]) -> list[tuple[int, str, int, int, int, int, int, int]]:
    return [
        (0, f"M-{line.stay}", line.since_ms, line.until_ms, line.offset_wh, line.numerator,
         line.denominator, 0)
        for line in lines
    ]  # fmt: skip


def usage_registers(life: Life) -> dict[int, int]:
    """The usage point's register at every instant read, by segments."""
    lines = lines_from(rows_of(lines_of(life.stays)))
    place = {name: n for n, name in enumerate(lines.meters)}
    columns: list[list[int]] = [[], [], []]
    for n in sorted(range(len(life.stays)), key=lambda k: place[f"M-{k}"]):
        stay = life.stays[n]
        columns[0] += [place[f"M-{n}"]] * len(stay.at_ms)
        columns[1] += stay.at_ms.tolist()
        columns[2] += stay.wh.tolist()
    meter, at_ms, wh = (np.array(column, dtype=np.int64) for column in columns)
    zeros = np.zeros(len(meter), dtype=np.int64)
    found, _ = registers_of(
        lines, figures_of(lines, meter=meter, at_ms=at_ms, seconds=zeros, wh=wh, status=zeros)
    )
    return dict(zip(found.at_ms.tolist(), found.wh.tolist(), strict=True))


def factor_at(life: Life, hour: int) -> int:
    begun = [each for each in life.factors if each.since_ms <= hour * HOUR]
    return begun[-1].numerator if begun else 1


@given(lives())
def test_exchange_rollover_and_factors_conserve_every_watt_hour(life: Life) -> None:
    true = [0]
    for hour, counted in enumerate(life.use):
        true.append(true[-1] + counted * factor_at(life, hour))
    found = usage_registers(life)
    instants = sorted(found)
    for before, after in itertools.pairwise(instants):
        told = found[after] - found[before]
        assert told == true[after // HOUR] - true[before // HOUR]


@given(lives(with_factors=False))
def test_without_factors_segments_say_what_the_plain_walk_says(life: Life) -> None:
    walked = accumulate(
        [
            Segment(
                wh=stay.wh, rollover_wh=stay.rollover_wh, initial_wh=stay.initial_wh,
                final_wh=stay.final_wh,
            )
            for stay in life.stays
        ]
    )  # fmt: skip
    expected: dict[int, int] = {}
    for stay, column in zip(life.stays, walked, strict=True):
        expected |= dict(zip(stay.at_ms.tolist(), column.tolist(), strict=True))
    assert usage_registers(life) == expected


@given(lives())
def test_segments_of_a_point_share_no_time_and_leave_none_of_a_stay_out(life: Life) -> None:
    lines = lines_of(life.stays)
    assert lines[0].since_ms == life.stays[0].since_ms
    assert lines[-1].until_ms == life.stays[-1].until_ms
    for before, after in itertools.pairwise(lines):
        assert before.until_ms == after.since_ms


@given(
    st.lists(st.integers(0, 5000), min_size=1, max_size=96), st.integers(1, 9), st.integers(1, 9)
)
def test_a_fraction_is_carried_so_that_a_day_adds_up(wh: list[int], top: int, bottom: int) -> None:
    lines = lines_from([(0, "M", 0, FOREVER_MS, 0, top, bottom, 0)])
    at = np.arange(len(wh)) * 900_000
    figures = figures_of(
        lines, meter=np.zeros(len(wh), dtype=np.int64), at_ms=at,
        seconds=np.full(len(wh), 900), wh=np.array(wh, dtype=np.int64),
        status=np.zeros(len(wh), dtype=np.int64),
    )  # fmt: skip
    slots, _, _ = slots_of(lines, figures)
    assert int(slots.wh.sum()) == sum(wh) * top // bottom
    parts = np.array(wh) * top // bottom
    assert ((slots.wh - parts >= 0) & (slots.wh - parts <= 1)).all()


def test_a_register_without_a_note_belongs_to_the_factor_before_up_to_its_last_read() -> None:
    stay = Stay(
        since_ms=0, until_ms=FOREVER_MS, at_ms=np.array([HOUR, 3 * HOUR]),
        wh=np.array([100, 130]), factors=(Factor(since_ms=2 * HOUR, numerator=10),),
    )  # fmt: skip
    assert usage_registers(Life(use=[], stays=[stay], factors=stay.factors)) == {
        HOUR: 100, 3 * HOUR: 100 + 30 * 10,
    }  # fmt: skip


@pytest.mark.parametrize("noted", [90, 131])
def test_a_figure_that_the_meter_cannot_have_shown_multiplies_nothing_twice(noted: int) -> None:
    """The service refuses such a note; the rule at least never invents a turn of the register."""
    stay = Stay(
        since_ms=0, until_ms=FOREVER_MS, at_ms=np.array([HOUR, 3 * HOUR]),
        wh=np.array([100, 130]),
        factors=(Factor(since_ms=2 * HOUR, numerator=10, register_wh=noted),),
    )  # fmt: skip
    found = usage_registers(Life(use=[], stays=[stay], factors=stay.factors))
    assert 100 <= found[3 * HOUR] <= 100 + 30 * 10


def test_an_interval_must_lie_within_the_installation() -> None:
    rows = [(0, "A", 0, HOUR, 0, 1, 1, 0), (0, "B", HOUR, FOREVER_MS, 0, 1, 1, 0)]
    lines = lines_from(rows)
    half = HOUR // 2
    figures = figures_of(
        lines, meter=np.array([0, 0, 1, 1]), at_ms=np.array([0, half + 1, half, HOUR]),
        seconds=np.full(4, 1800), wh=np.array([1, 2, 4, 8]), status=np.zeros(4, dtype=np.int64),
    )  # fmt: skip
    slots, _, _ = slots_of(lines, figures)
    assert slots.wh.tolist() == [1, 8]
