"""What days are made of, asked of usage for many days at once: columns and matrices, no objects."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from zoneinfo import ZoneInfo

import numpy as np

from cloud.assets import service as assets
from cloud.assets.model import Installed, Stays
from cloud.rollups.model import mask_of
from cloud.rollups.rules import days as rules
from cloud.rollups.rules.days import CODES
from cloud.rollups.rules.table import CLOSING, NONE, OPENING, Bool, Cell, DayTable, Int, nothing
from cloud.store.db import Connection
from cloud.usage import service as usage
from cloud.usage.model import MISSING, Slots
from protocols.identity import UsagePointId
from protocols.timeline import Interval, from_ms, local_day, to_ms

_NEVER = np.iinfo(np.int64).max
_DAY_MS = 86_400_000
_SHIFT = 43
"""More bits than an instant in ms needs: a point's place and an instant in one sortable number."""
_SPARSE = 4
"""Days are asked together while at most three of four are fetched in vain."""
_MASKS = np.array([mask_of([quality]) for quality in CODES], dtype=np.int64)
"""Bits of a quality by its code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Days:
    """Which days are asked about. *Shape*: `point` and `day` are equal columns, each pair once."""

    names: list[UsagePointId]
    point: Int
    """Places in `names`; rising, and so are the days of one point."""
    day: Int
    """Ordinals of civil days."""

    def __len__(self) -> int:
        """Return the number of days."""
        return len(self.day)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """
    What usage tells of days now. *Shape*: a place per day; *units*: ms.

    A day is not `there` where no meter hung at the point and no register bounds it.
    """

    there: Bool
    zones: tuple[str, ...]
    zone: Int
    """Place in `zones`, -1 where no meter ever hung at the point."""
    start_ms: Int
    end_ms: Int
    table: DayTable


def days_of(keys: Sequence[tuple[UsagePointId, date]]) -> Days:
    """Return sorted keys, each once, as columns."""
    names = list(dict.fromkeys([point for point, _ in keys]))
    place = {point: n for n, point in enumerate(names)}
    return Days(
        names=names,
        point=np.fromiter((place[point] for point, _ in keys), np.int64, len(keys)),
        day=np.fromiter((day.toordinal() for _, day in keys), np.int64, len(keys)),
    )


def measure(conn: Connection, days: Days) -> Measured:
    """Return zone, instants and figures of the days, as usage tells them now."""
    stays = assets.stays(conn, days.names)
    codes = {zone: n for n, zone in enumerate(dict.fromkeys(stays.zones))}
    zone = np.full(len(days.names), -1, dtype=np.int64)
    # the newest stay of a point comes last, and so does its zone
    zone[stays.point] = np.array([codes[each] for each in stays.zones], dtype=np.int64)
    of_day = zone[days.point]
    start, end = _midnights(tuple(codes), of_day, days.day)
    found = nothing(len(days))
    known = np.flatnonzero(of_day >= 0)
    profiled = np.zeros(len(days), dtype=np.bool_)
    for rows in _asked_together(days, known):
        lot = _Lot(days=days, rows=rows, start_ms=start[rows], end_ms=end[rows])
        _registers(conn, lot, found)
        profiled[rows[_slots(conn, lot, stays, found)]] = True
    _first(conn, days, found)
    return Measured(
        there=profiled | found.closed(), zones=tuple(codes), zone=of_day, start_ms=start,
        end_ms=end, table=found,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lot:
    """Days that are asked together: `rows` of all days. *Units*: ms."""

    days: Days
    rows: Int
    start_ms: Int
    end_ms: Int

    def points(self) -> tuple[list[UsagePointId], Int]:
        """Return the names of its points, and the place of each day's among them."""
        own, place = np.unique(self.days.point[self.rows], return_inverse=True)
        if len(own) == len(self.days.names):
            return self.days.names, place
        return [self.days.names[n] for n in own.tolist()], place


def _midnights(zones: tuple[str, ...], zone: Int, day: Int) -> tuple[Int, Int]:
    keys, place = np.unique((zone << 32) + day, return_inverse=True)
    start, end = np.zeros(len(keys), dtype=np.int64), np.zeros(len(keys), dtype=np.int64)
    for n, key in enumerate(keys.tolist()):
        if key >= 0:
            name = zones[key >> 32]
            span = local_day(date.fromordinal(key & 0xFFFFFFFF), ZoneInfo(name))
            start[n], end[n] = to_ms(span.start), to_ms(span.end)
    return start[place], end[place]


def _asked_together(days: Days, rows: Int) -> Iterator[Int]:
    """Yield days in lots for one question each: many points of a day, or many days of a point."""
    if not len(rows):
        return
    day = days.day[rows]
    points = len(np.unique(days.point[rows]))
    if len(rows) * _SPARSE >= points * int(day.max() - day.min() + 1):
        yield rows
        return
    for one in np.unique(day).tolist():
        yield rows[day == one]


def _registers(conn: Connection, lot: _Lot, found: DayTable) -> None:
    """Write down the registers at or before both midnights of each day."""
    names, place = lot.points()
    low, high = int(lot.start_ms.min()), int(lot.end_ms.max())
    span = Interval(start=from_ms(low // _DAY_MS * _DAY_MS), end=from_ms(high + 1))
    read = usage.register_columns(conn, names, span)
    keys = (read.point << _SHIFT) + read.at_ms
    for bound, instants in ((OPENING, lot.start_ms), (CLOSING, lot.end_ms)):
        at = np.searchsorted(keys, (place << _SHIFT) + instants, side="right") - 1
        ok = at >= 0
        ok[ok] = read.point[at[ok]] == place[ok]
        rows, at = lot.rows[ok], at[ok]
        for cell, column in zip(bound, (read.at_ms, read.wh, _MASKS[read.quality]), strict=True):
            found.cells[cell, rows] = column[at]
        # none within the days themselves: the newest before them, however old
        left = np.flatnonzero(~ok)
        if len(left):
            asked = [names[n] for n in place[left].tolist()]
            older = usage.at_instants(conn, asked, instants[left])
            _beside(found, bound, lot.rows[left], older)


def _beside(found: DayTable, bound: Sequence[Cell], rows: Int, told: usage.AtInstants) -> None:
    there = np.flatnonzero(told.at_ms != MISSING)
    columns = (told.at_ms, told.wh, _MASKS[told.quality])
    for cell, column in zip(bound, columns, strict=True):
        found.cells[cell, rows[there]] = column[there]


def _first(conn: Connection, days: Days, found: DayTable) -> None:
    """Let the first register of all begin a day before which there is none, where one ends it."""
    unended = ~found.closed()
    for cell in OPENING:
        found.cells[cell, unended] = 0 if cell is Cell.FROM_QUALITY else NONE
    rows = np.flatnonzero(found.closed() & ~found.opened())
    if len(rows):
        asked, place = np.unique(days.point[rows], return_inverse=True)
        never = np.zeros(len(asked), dtype=np.int64)
        first = usage.at_instants(conn, [days.names[n] for n in asked], never, before=False)
        there = first.at_ms[place] != MISSING
        columns = (first.at_ms, first.wh, _MASKS[first.quality])
        for cell, column in zip(OPENING, columns, strict=True):
            found.cells[cell, rows[there]] = column[place[there]]


def _slots(conn: Connection, lot: _Lot, stays: Stays, found: DayTable) -> Int:
    """Add up the intervals of each day; return the days of whose meters any keeps a profile."""
    owner, stay = _owed_by(lot, stays)
    if not len(owner):
        return owner
    names, place = lot.points()
    span = Interval(start=from_ms(int(lot.start_ms.min())), end=from_ms(int(lot.end_ms.max())))
    read = usage.interval_columns(conn, names, span)
    for seconds in np.unique(stays.seconds[stay]).tolist():
        of_length = stays.seconds[stay] == seconds
        own, since = owner[of_length], stay[of_length]
        days = np.unique(own)
        grid = _Grid(place[days], lot.start_ms[days], lot.end_ms[days], seconds * 1000)
        expected = grid.owed(
            np.searchsorted(days, own), stays.since_ms[since], stays.until_ms[since]
        )
        counts = rules.count_slots(*grid.laid(read, seconds), expected)
        rows = lot.rows[days]
        found.cells[Cell.SLOTS, rows] += counts.slots
        found.cells[Cell.MISSING, rows] += counts.missing
        found.cells[Cell.SLOT_QUALITIES, rows] |= counts.qualities
        held = counts.present > 0
        before = found.cells[Cell.INTERVAL_WH, rows[held]]
        found.cells[Cell.INTERVAL_WH, rows[held]] = counts.wh[held] + np.where(
            before == NONE, 0, before
        )
    return np.unique(owner)


def _owed_by(lot: _Lot, stays: Stays) -> tuple[Int, Int]:
    """Return (day of the lot, stay) of each meter with a profile that hung in the day."""
    point = lot.days.point[lot.rows]
    low = np.searchsorted(stays.point, point)
    size = np.searchsorted(stays.point, point, side="right") - low
    owner = np.repeat(np.arange(len(point)), size)
    stay = np.repeat(low - (np.cumsum(size) - size), size) + np.arange(int(size.sum()))
    hung = (
        (stays.seconds[stay] > 0)
        & (stays.since_ms[stay] < lot.end_ms[owner])
        & (stays.until_ms[stay] > lot.start_ms[owner])
    )
    return owner[hung], stay[hung]


class _Grid:
    """The slots of days: a row a day, a column a slot. *Units*: ms; `point` is rising."""

    def __init__(self, point: Int, start_ms: Int, end_ms: Int, step_ms: int) -> None:
        self._point, self._step = point, step_ms
        self._first = -(-start_ms // step_ms) * step_ms
        self._size = -(-(end_ms - self._first) // step_ms)
        self._ends = self._first + self._size * step_ms
        self._shape = len(point), int(self._size.max())

    def owed(self, row: Int, since_ms: Int, until_ms: Int) -> Bool:
        """Return which slots meters owe that hung in `row` over `[since_ms, until_ms)`."""
        low = np.clip(-(-(since_ms - self._first[row]) // self._step), 0, self._size[row])
        high = np.clip((until_ms - self._first[row]) // self._step, 0, self._size[row])
        slots = np.arange(self._shape[1])
        expected = np.zeros(self._shape, dtype=np.bool_)
        # the first meter of each day, then the second of those that had one, ..
        rank = np.arange(len(row)) - np.searchsorted(row, row)
        for layer in range(int(rank.max()) + 1):
            of_layer = rank == layer
            within = (slots >= low[of_layer][:, None]) & (slots < high[of_layer][:, None])
            expected[row[of_layer]] |= within
        return expected

    def laid(self, read: Slots, seconds: int) -> tuple[Int, rules.Codes]:
        """Return energy and quality of every slot; a code of -1 where nothing stands."""
        wh = np.zeros(self._shape, dtype=np.int64)
        codes = np.full(self._shape, -1, dtype=np.int8)
        own = read if (read.seconds == seconds).all() else read.take(read.seconds == seconds)
        row = self._row(own)
        inside = (row >= 0) & (own.start_ms >= self._first[row]) & (own.start_ms < self._ends[row])
        if not inside.all():
            own, row = own.take(inside), row[inside]
        at = row * self._shape[1] + (own.start_ms - self._first[row]) // self._step
        wh.reshape(-1)[at] = own.wh
        codes.reshape(-1)[at] = own.quality
        return wh, codes

    def _row(self, own: Slots) -> Int:
        """Return the day of its point in which each interval can lie, -1 where none does."""
        point = self._point
        if (np.diff(point) > 0).all():
            of_point = np.full(int(max(point[-1], own.point.max(initial=0))) + 1, -1, np.int64)
            of_point[point] = np.arange(len(point))
            return of_point[own.point]
        keys = (point << _SHIFT) + self._first
        row = np.searchsorted(keys, (own.point << _SHIFT) + own.start_ms, side="right") - 1
        return np.where((row >= 0) & (point[row] == own.point), row, -1)


def profiles(hung: Sequence[Installed], span: Interval) -> list[tuple[int, Installed]]:
    """Return interval length and installation of the meters with a profile that hung in `span`."""
    found = []
    for item in hung:
        seconds, removed = item.meter.interval_seconds, item.installation.removed_at
        begun = item.installation.installed_at < span.end
        if seconds is not None and begun and (removed is None or removed > span.start):
            found.append((seconds, item))
    return found


def owed(item: Installed, starts: rules.Int, seconds: int) -> rules.Bools:
    """Tell which slots the meter of an installation owes."""
    removed = item.installation.removed_at
    since = to_ms(item.installation.installed_at)
    return rules.owed(starts, seconds, since, _NEVER if removed is None else to_ms(removed))
