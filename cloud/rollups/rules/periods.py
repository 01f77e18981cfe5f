"""Months and reading cycles from days: sums of what adds up, unions of what does not."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date

import numpy as np

from cloud.rollups.model import Basis, Bound, DayFigures, PeriodFigures
from cloud.rollups.rules.days import days_between
from cloud.rollups.rules.table import NONE, Bool, Cell, DayTable, Int
from protocols.timeline import from_ms


def month_span(day: date) -> tuple[date, date]:
    """Return the first day of the day's month and of the next one."""
    first = day.replace(day=1)
    return first, date(first.year + first.month // 12, first.month % 12 + 1, 1)


def month_name(first: date) -> str:
    """Return `2026-03`."""
    return f"{first:%Y-%m}"


def fold(days: Mapping[date, DayFigures], first: date, until: date) -> PeriodFigures:
    """
    Return the days of `[first, until)` together; a day that is absent counts as not told.

    Where every day is told by registers, the sum is the advance from `opening` to `closing`.
    """
    found = [days[day] for day in days_between(first, until) if day in days]
    told = [each.wh for each in found if each.wh is not None]
    summed = [each.interval_wh for each in found if each.interval_wh is not None]
    openings = [each.opening for each in found if each.opening is not None]
    closings = [each.closing for each in found if each.closing is not None]
    slot_qualities = register_qualities = bases = 0
    for each in found:
        slot_qualities |= each.slot_qualities
        bases |= int(each.basis) if each.basis is not Basis.UNKNOWN else 0
    for bound in (*openings, *closings):
        register_qualities |= bound.qualities
    return PeriodFigures(
        first_day=first, until_day=until, days_told=len(told),
        slots=sum(each.slots for each in found), missing=sum(each.missing for each in found),
        slot_qualities=slot_qualities, register_qualities=register_qualities, bases=bases,
        interval_wh=sum(summed) if summed else None,
        opening=_plain(openings[0]) if openings else None,
        closing=_plain(closings[-1]) if closings else None,
        wh=sum(told) if told else None,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Spans:
    """Days `[first, until)` of points. *Shape*: equal columns; ordinals of civil days."""

    point: Int
    first: Int
    until: Int

    def __len__(self) -> int:
        """Return the number of spans."""
        return len(self.point)


def fold_many(point: Int, day: Int, table: DayTable, spans: Spans) -> list[PeriodFigures | None]:
    """
    Return what `fold` says of each span, None where no day of it is there.

    *Shape*: `point` and `day` (an ordinal) are as long as `table`, in that order, each pair once.
    """
    if not len(day):
        return [None] * len(spans)
    keys = (point << _SHIFT) + day
    low = np.searchsorted(keys, (spans.point << _SHIFT) + spans.first)
    high = np.searchsorted(keys, (spans.point << _SHIFT) + spans.until)
    some = np.flatnonzero(high > low)
    low, high = low[some], high[some]
    wh, basis, held = table.wh(), table.basis(), table[Cell.INTERVAL_WH]
    opened, closed = table.opened(), table.closed()
    begins, ends = _next(opened)[low], _last(closed)[high - 1]
    bits = table[Cell.FROM_QUALITY] | table[Cell.TO_QUALITY]
    columns: dict[str, Int] = {
        "days_told": _sum(wh != NONE, low, high),
        "slots": _sum(table[Cell.SLOTS], low, high),
        "missing": _sum(table[Cell.MISSING], low, high),
        "slot_qualities": _union(table[Cell.SLOT_QUALITIES], low, high),
        "register_qualities": _union(bits, low, high),
        "bases": _union(basis, low, high),
        "held": _sum(held != NONE, low, high),
        "interval_wh": _sum(np.where(held == NONE, 0, held), low, high),
        "wh": _sum(np.where(wh == NONE, 0, wh), low, high),
        "opening": np.where(begins < high, begins, -1),
        "closing": np.where(ends >= low, ends, -1),
    }
    found: list[PeriodFigures | None] = [None] * len(spans)
    for place, *row in zip(
        some.tolist(), spans.first[some].tolist(), spans.until[some].tolist(),
        *(column.tolist() for column in columns.values()), strict=True,
    ):  # fmt: skip
        first, until, told, slots, missing, of_slots, of_bounds, bases = row[:8]
        filled, sums, total = row[8:11]
        found[place] = PeriodFigures(
            first_day=date.fromordinal(first), until_day=date.fromordinal(until), days_told=told,
            slots=slots, missing=missing, slot_qualities=of_slots, register_qualities=of_bounds,
            bases=bases, interval_wh=sums if filled else None, wh=total if told else None,
            opening=_bound_at(table, row[11], Cell.FROM_MS, Cell.FROM_WH),
            closing=_bound_at(table, row[12], Cell.TO_MS, Cell.TO_WH),
        )  # fmt: skip
    return found


_SHIFT = 32
"""More bits than an ordinal needs: a point's place and a day in one sortable number."""


def _sum(column: Int | Bool, low: Int, high: Int) -> Int:
    total = np.concatenate(([0], np.cumsum(column, dtype=np.int64)))
    found: Int = total[high] - total[low]
    return found


def _union(bits: Int, low: Int, high: Int) -> Int:
    # of each pair of edges what lies between them counts, and what lies behind it does not
    edges = np.stack((low, high), axis=1).reshape(-1)
    found: Int = np.bitwise_or.reduceat(np.append(bits, 0), edges)[::2]
    return found


def _next(there: Bool) -> Int:
    """Return per place the first one at or after it that is there; past the end where none is."""
    places = np.where(there, np.arange(len(there)), len(there))
    found: Int = np.minimum.accumulate(places[::-1])[::-1]
    return found


def _last(there: Bool) -> Int:
    """Return per place the last one at or before it that is there; -1 where none is."""
    found: Int = np.maximum.accumulate(np.where(there, np.arange(len(there)), -1))
    return found


def _bound_at(table: DayTable, place: int, at: Cell, wh: Cell) -> Bound | None:
    if place < 0:
        return None
    cells = table.cells
    return Bound(at=from_ms(int(cells[at, place])), wh=int(cells[wh, place]), qualities=0)


def _plain(bound: Bound) -> Bound:
    """Return a bound without qualities: those of a period stand in one set for all its bounds."""
    return replace(bound, qualities=0)
