"""
Interval series of many meters as one matrix, and the civil clock that stands over its columns.

Columns are slots in UTC and so never collide; the frame tells of each slot which local day it
belongs to and where on the clock's face it lies. A day has 92, 96 or 100 quarter hours.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import IntEnum
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from protocols.timeline import from_ms, to_ms

Int = NDArray[np.int64]
Bool = NDArray[np.bool_]

MAX_WH = 10**11
"""Largest interval that kernels take, a hundred gigawatt-hours: products stay inside 64 bits."""

DAY_S = 86_400


class State(IntEnum):
    """How a slot came to its value; the order is the rank of what may replace what."""

    MISSING = 0
    ESTIMATED = 1
    QUESTIONABLE = 2
    MEASURED = 3
    VALID = 4
    EDITED = 5


class DayKind(IntEnum):
    """Class of a local day. *Source*: WA Metering Code 2006 A8.2.2.2: like days are of a class."""

    WORKDAY = 0
    SATURDAY = 1
    REST = 2
    """Sunday or holiday."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """
    The civil clock over a row of slots. *Units*: ms, s.

    *Shape*: `day` (local day, numbered from the frame's first), `wall` (slots since local midnight
    as the clock on the wall shows it) and `kind` have one place per slot; `edges` holds the first
    slot of each local day and the end. The first and the last day may be cut.
    """

    start_ms: int
    step_s: int
    day: Int
    wall: Int
    kind: Int
    edges: Int
    first_day: date
    zone: str

    def __len__(self) -> int:
        """Return the number of slots."""
        return len(self.day)

    @property
    def end_ms(self) -> int:
        """Return the end of the last slot."""
        return self.start_ms + len(self) * self.step_s * 1000

    @property
    def per_day(self) -> int:
        """Return the slots of a day of 24 hours."""
        return DAY_S // self.step_s

    def slot_of(self, at_ms: Int) -> tuple[Int, Bool]:
        """Return the slot border at or before each instant, and whether it lies on a border."""
        step = self.step_s * 1000
        away = at_ms - self.start_ms
        return away // step, away % step == 0

    def expected(self) -> Int:
        """Return how many slots each local day has in this frame."""
        return np.diff(self.edges)


def frame_of(
    start_ms: int,
    slots: int,
    step_s: int,
    zone: ZoneInfo,
    holidays: Collection[date] = frozenset(),
) -> Frame:
    """
    Return the civil clock over `slots` slots from `start_ms` on.

    Raises: ValueError when there is no slot, or the step does not divide an hour or is none of
    1, 2, .. 24 hours.
    """
    if slots < 1:
        raise ValueError("a frame has one slot at least")
    if step_s < 1 or DAY_S % step_s:
        raise ValueError(f"intervals of {step_s} s do not divide a day")
    step = step_s * 1000
    end_ms = start_ms + slots * step
    first = from_ms(start_ms).astimezone(zone).date()
    day, wall, kind = (np.zeros(slots, dtype=np.int64) for _ in range(3))
    edges = [0]
    today = first
    while edges[-1] < slots:
        tomorrow = _midnight(today + timedelta(days=1), zone)
        last = min(slots, -(-(min(tomorrow, end_ms) - start_ms) // step))
        rows = slice(edges[-1], last)
        number = len(edges) - 1
        day[rows], kind[rows] = number, _kind(today, holidays)
        wall[rows] = _wall(start_ms + step * np.arange(edges[-1], last), today, zone, step_s)
        if last > edges[-1]:
            edges.append(last)
        today += timedelta(days=1)
    return Frame(
        start_ms=start_ms, step_s=step_s, day=day, wall=wall, kind=kind,
        edges=np.array(edges, dtype=np.int64), first_day=first, zone=zone.key,
    )  # fmt: skip


def _midnight(day: date, zone: ZoneInfo) -> int:
    return to_ms(datetime.combine(day, time(), tzinfo=zone).astimezone(UTC))


def _kind(day: date, holidays: Collection[date]) -> DayKind:
    if day in holidays or day.weekday() == 6:
        return DayKind.REST
    return DayKind.SATURDAY if day.weekday() == 5 else DayKind.WORKDAY


def _wall(starts: Int, day: date, zone: ZoneInfo, step_s: int) -> Int:
    """Return where each start of one local day lies on the clock's face."""
    if not len(starts):
        return starts

    def offset(at: int) -> int:
        local = from_ms(at).astimezone(zone).utcoffset()
        return 0 if local is None else int(local.total_seconds())

    low, high = offset(int(starts[0])), offset(int(starts[-1]))
    midnight = int(np.datetime64(day, "s").astype(np.int64))
    if low == high:
        offsets = np.full(len(starts), low, dtype=np.int64)
    else:
        # a day on which the clock changes is asked slot by slot: at most two a year
        offsets = np.array([offset(int(at)) for at in starts], dtype=np.int64)
    return (starts // 1000 + offsets - midnight) // step_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """
    Intervals of many series on one frame. *Shape*: (series, slots). *Units*: Wh (or varh).

    `wh` is 0 where `state` is MISSING. `status` holds what the meter said (profile status bits).
    """

    frame: Frame
    wh: Int
    state: NDArray[np.int8]
    status: Int

    def __post_init__(self) -> None:
        """Refuse matrices of different shape."""
        shape = (len(self.wh), len(self.frame))
        if not self.wh.shape == self.state.shape == self.status.shape == shape:
            raise ValueError(f"a grid needs three matrices of shape {shape}")

    @property
    def present(self) -> Bool:
        """Tell which slots have a value."""
        found: Bool = self.state != State.MISSING
        return found

    @property
    def eligible(self) -> Bool:
        """
        Tell which values may serve as a reference: measured, valid or edited, never an estimate.

        *Source*: MDM handbook section 4.
        """
        found: Bool = self.state >= State.MEASURED
        return found


def empty_grid(frame: Frame, series: int) -> Grid:
    """Return a grid in which everything is missing."""
    shape = (series, len(frame))
    return Grid(
        frame=frame, wh=np.zeros(shape, dtype=np.int64),
        state=np.zeros(shape, dtype=np.int8), status=np.zeros(shape, dtype=np.int64),
    )  # fmt: skip


def placed(
    frame: Frame, count: int, *, series: Int, start_ms: Int, seconds: Int, wh: Int,
    state: Int | State, status: Int,
) -> Grid:  # fmt: skip
    """
    Return rows on the grid of `count` series; of two rows of one slot the first stands.

    Rows of another length, off the slots' borders or outside the frame find no place: checks of
    rows tell of them.
    """
    grid = empty_grid(frame, count)
    step, width = frame.step_s * 1000, len(frame)
    away = start_ms - frame.start_ms
    slot = away // step
    on = (slot * step == away) & (seconds == frame.step_s) & (slot >= 0) & (slot < width)
    marks = np.broadcast_to(np.asarray(state, dtype=np.int8), wh.shape)
    keep = slice(None) if on.all() else on
    # written backwards, so that of two rows of one slot the first stands
    place = (series[keep] * width + slot[keep])[::-1]
    present = marks[keep][::-1] != State.MISSING
    grid.wh.reshape(-1)[place] = np.where(present, wh[keep][::-1], 0)
    grid.state.reshape(-1)[place] = marks[keep][::-1]
    grid.status.reshape(-1)[place] = status[keep][::-1]
    return grid


def runs(mask: Bool) -> tuple[Int, Int, Int]:
    """Return row, first and end of every run of true places, row by row. *Shape*: mask 2-D."""
    padded = np.zeros((mask.shape[0], mask.shape[1] + 2), dtype=np.int8)
    padded[:, 1:-1] = mask
    change = np.diff(padded, axis=1)
    row, first = np.nonzero(change == 1)
    _, end = np.nonzero(change == -1)
    return row, first, end
