"""Days as columns say what days one by one say, and fold to the same months and cycles."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.rollups.model import Bound, DayFigures
from cloud.rollups.rules.periods import Spans, fold, fold_many
from cloud.rollups.rules.table import NONE, nothing, table_of

FIRST = date(2026, 3, 1)
AT = datetime(2026, 3, 1, tzinfo=UTC)


@st.composite
def bounds(draw: st.DrawFn) -> Bound | None:
    """A register that begins or ends a day, or none."""
    if draw(st.integers(0, 3)) == 0:
        return None
    at = AT + timedelta(milliseconds=draw(st.integers(0, 10**9)))
    return Bound(at=at, wh=draw(st.integers(-(10**6), 10**15)), qualities=draw(st.integers(0, 31)))


@st.composite
def figures(draw: st.DrawFn) -> DayFigures:
    """A day of which anything may be missing."""
    slots = draw(st.integers(0, 100))
    closing = draw(bounds())
    return DayFigures(
        slots=slots, missing=draw(st.integers(0, slots)),
        interval_wh=draw(st.none() | st.integers(0, 10**12)),
        slot_qualities=draw(st.integers(0, 31)),
        opening=draw(bounds()) if closing is not None else None, closing=closing,
    )  # fmt: skip


@given(st.lists(figures(), max_size=12))
def test_days_come_out_of_a_table_as_they_went_in(days: list[DayFigures]) -> None:
    table = table_of(days)
    assert [table.figures(n) for n in range(len(days))] == days
    assert table.basis().tolist() == [int(each.basis) for each in days]
    assert table.wh().tolist() == [NONE if each.wh is None else each.wh for each in days]
    assert table.same(table_of(days)).all()


@given(st.lists(figures(), min_size=2, max_size=2))
def test_two_days_are_the_same_where_every_figure_is(days: list[DayFigures]) -> None:
    one, other = table_of(days[:1]), table_of(days[1:])
    assert bool(one.same(other)[0]) == (days[0] == days[1])


def test_days_of_which_nothing_is_known_are_empty() -> None:
    empty = DayFigures(
        slots=0, missing=0, interval_wh=None, slot_qualities=0, opening=None, closing=None
    )
    assert [nothing(2).figures(n) for n in range(2)] == [empty, empty]


@pytest.mark.req("B14")
@given(
    st.dictionaries(st.tuples(st.integers(0, 2), st.integers(0, 34)), figures(), max_size=25),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30), st.integers(1, 20)), max_size=6),
)
def test_many_periods_at_once_are_each_as_by_itself(
    days: dict[tuple[int, int], DayFigures], wanted: list[tuple[int, int, int]]
) -> None:
    keys = sorted(days)
    zero = FIRST.toordinal()
    columns = np.array([(point, zero + day) for point, day in keys], dtype=np.int64).reshape(-1, 2)
    asked = np.array(wanted, dtype=np.int64).reshape(-1, 3)
    spans = Spans(
        point=asked[:, 0], first=zero + asked[:, 1], until=zero + asked[:, 1] + asked[:, 2]
    )
    table = table_of([days[key] for key in keys])
    found = fold_many(columns[:, 0], columns[:, 1], table, spans)
    for one, (point, first, length) in zip(found, wanted, strict=True):
        own = {
            FIRST + timedelta(days=day): each
            for (at, day), each in days.items()
            if at == point and first <= day < first + length
        }
        begin = FIRST + timedelta(days=first)
        plain = fold(own, begin, begin + timedelta(days=length)) if own else None
        assert one == plain
