"""
The published ways to fill a gap: a line, like days, a proxy day, a profile, other meters.

Each gives whole watt-hours for the slots `[first, end)` of one series and tells which of them it
could give; scaling to the register follows in `estimate`. None looks at an estimate.
"""

from collections.abc import Sequence

import numpy as np

from cloud.vee.rules.grid import Bool, DayKind, Frame, Grid, Int, State

LIKE_DAYS_TWO_WEEKS: dict[DayKind, tuple[int, ...]] = {
    DayKind.WORKDAY: (-1, -2, -3, -4, -5, -6, -7, -8, -9, -10, -11, -12, -13, -14),
    DayKind.SATURDAY: (-7, -14),
    DayKind.REST: (-7, -14),
}
"""
Days before the gap that may serve, nearest first. *Source*: Itron IEE, like-day estimation by a
table of like days within two weeks; those of another kind are passed over.
"""


def linear(grid: Grid, row: int, first: int, end: int) -> tuple[Int, Bool]:
    """
    Return the straight line between the two measured neighbours, rounded half up.

    *Source*: WA Metering Code 2006 A8.2.2.1. Nothing when a neighbour is not measured.
    """
    length = end - first
    nothing = np.zeros(length, dtype=np.int64), np.zeros(length, dtype=np.bool_)
    if first < 1 or end >= len(grid.frame):
        return nothing
    if min(grid.state[row, first - 1], grid.state[row, end]) < State.MEASURED:
        return nothing
    left, right = int(grid.wh[row, first - 1]), int(grid.wh[row, end])
    step = np.arange(1, length + 1)
    values = (2 * left * (length + 1) + 2 * (right - left) * step + length + 1) // (
        2 * (length + 1)
    )
    return values, np.ones(length, dtype=np.bool_)


def like_day(
    grid: Grid, row: int, first: int, end: int, *, table: Int, days: int, search_days: int
) -> tuple[Int, Bool]:
    """
    Return the mean of the same clock time on the last `days` days of the same kind, half up.

    *Source*: WA Metering Code 2006 A8.2.2.2: workday, Saturday, Sunday with holidays.
    """
    return _mean_of(
        grid,
        row,
        np.arange(first, end),
        offsets=range(-1, -search_days - 1, -1),
        table=table,
        days=days,
    )


def like_day_two_week(
    grid: Grid, row: int, first: int, end: int, *, table: Int, days: int
) -> tuple[Int, Bool]:
    """Return the mean over the like days of the two weeks before, by table, half up."""
    slots = np.arange(first, end)
    values, known = np.zeros(len(slots), dtype=np.int64), np.zeros(len(slots), dtype=np.bool_)
    for kind, offsets in LIKE_DAYS_TWO_WEEKS.items():
        some = grid.frame.kind[slots] == kind
        if some.any():
            values[some], known[some] = _mean_of(
                grid, row, slots[some], offsets=offsets, table=table, days=days
            )
    return values, known


def _mean_of(
    grid: Grid, row: int, slots: Int, *, offsets: Sequence[int], table: Int, days: int
) -> tuple[Int, Bool]:
    frame = grid.frame
    place, there = moved(frame, slots, np.array(offsets, dtype=np.int64), table)
    good = there & (grid.state[row, place] >= State.MEASURED)
    good &= frame.kind[place] == frame.kind[slots][None, :]
    taken = good & (np.cumsum(good, axis=0) <= days)
    count = taken.sum(axis=0)
    total = np.where(taken, grid.wh[row][place], 0).sum(axis=0)
    mean = (2 * total + count) // np.maximum(2 * count, 1)
    return np.where(count > 0, mean, 0), count > 0


def moved(frame: Frame, slots: Int, days: Int, table: Int) -> tuple[Int, Bool]:
    """Return per day offset and slot the slot of the same clock time there, and whether it is."""
    day = frame.day[slots][None, :] + days[:, None]
    inside = (day >= 0) & (day < len(table))
    wall = np.broadcast_to(np.minimum(frame.wall[slots], frame.per_day - 1), day.shape)
    place = table[np.clip(day, 0, len(table) - 1), wall]
    return np.maximum(place, 0), inside & (place >= 0)


def by_wall(frame: Frame) -> Int:
    """
    Return the slot of each local day and place on the clock's face, -1 where there is none.

    Of an hour that the clock shows twice the first is taken. *Shape*: (days, slots of a day).
    """
    table = np.full((len(frame.edges) - 1, frame.per_day), -1, dtype=np.int64)
    order = np.arange(len(frame))[::-1]
    order = order[frame.wall[order] < frame.per_day]
    table[frame.day[order], frame.wall[order]] = order
    return table


def proxy_day(
    grid: Grid, row: int, first: int, end: int, *, table: Int, temperature_mk: Int
) -> tuple[Int, Bool]:
    """
    Return the values of the day whose mean temperature was nearest, whole and measured.

    *Shape*: `temperature_mk` has one value per local day of the frame, in millikelvin. Of days that
    are equally near the one of the same kind, then the later wins. *Source*: Itron IEE and Oracle,
    proxy day. Days of the gap itself are never proxies.
    """
    frame, slots = grid.frame, np.arange(first, end)
    values, known = np.zeros(len(slots), dtype=np.int64), np.zeros(len(slots), dtype=np.bool_)
    own = set(frame.day[slots].tolist())
    kinds = frame.kind[frame.edges[:-1]]
    for day in sorted(own):
        here = frame.day[slots] == day
        wall = np.minimum(frame.wall[slots[here]], frame.per_day - 1)
        ranked = sorted(
            (each for each in range(len(table)) if each not in own),
            key=lambda each, day=day: (  # type: ignore[misc]
                abs(int(temperature_mk[each] - temperature_mk[day])),
                int(kinds[each] != kinds[day]), -each,
            ),
        )  # fmt: skip
        for each in ranked:
            place = table[each, wall]
            if (place >= 0).all() and (grid.state[row, place] >= State.MEASURED).all():
                values[here], known[here] = grid.wh[row, place], True
                break
    return values, known


def load_profile(frame: Frame, first: int, end: int, hours_wh: Sequence[int]) -> tuple[Int, Bool]:
    """
    Return a standard day's hours as slots; parts of an hour share it by running sums.

    *Source*: Itron IEE, Oracle: class load profile. *Shape*: `hours_wh` 24 values, or none.
    """
    length = end - first
    if len(hours_wh) != 24:
        return np.zeros(length, dtype=np.int64), np.zeros(length, dtype=np.bool_)
    run = np.concatenate(([0], np.cumsum(np.array(hours_wh, dtype=np.int64))))

    def until(seconds: Int) -> Int:
        hour, rest = seconds // 3600, seconds % 3600
        here = np.minimum(hour, 23)
        part: Int = run[np.minimum(hour, 24)] + (run[here + 1] - run[here]) * rest // 3600
        return part

    start = np.minimum(frame.wall[first:end], frame.per_day - 1) * frame.step_s
    values = until(start + frame.step_s) - until(start)
    return values, np.ones(length, dtype=np.bool_)


def check_meter(grid: Grid, other: int, first: int, end: int) -> tuple[Int, Bool]:
    """
    Return the eligible values of the check meter of the same supply.

    *Source*: WA Metering Code 2006, check metering comes first; Itron IEE, Oracle.
    """
    known = grid.state[other, first:end] >= State.MEASURED
    return np.where(known, grid.wh[other, first:end], 0), known


def subtractive(
    grid: Grid, whole: int, parts: Sequence[int], first: int, end: int
) -> tuple[Int, Bool]:
    """
    Return what a sum meter counted less its other parts; never below zero.

    *Source*: Oracle, subtractive interval estimation. Only slots in which all of them are eligible.
    """
    rows = [whole, *parts]
    known = (grid.state[rows, first:end] >= State.MEASURED).all(axis=0)
    left = grid.wh[whole, first:end] - grid.wh[list(parts), first:end].sum(axis=0)
    return np.where(known & (left > 0), left, 0), known & (left >= 0)


def monthly_use(before_wh: int, before_days: int, days: int) -> int:
    """
    Return the estimated use of `days` from the average daily use of an earlier period.

    The average is rounded half up to two decimals of a kWh, then multiplied, and the product cut to
    whole kWh. *Source*: CPUC PSWG monthly rules as quoted in MDM handbook section 4.
    Raises: ValueError when the earlier period has no day.
    """
    if before_days < 1 or days < 0:
        raise ValueError("an average needs a period of one day at least")
    centi_kwh = (2 * before_wh + 10 * before_days) // (20 * before_days)
    return centi_kwh * days // 100 * 1000


def register_from_intervals(read_wh: int, intervals: Int, rollover_wh: int, factor: int = 1) -> int:
    """
    Return the register after `intervals`, forward only: the read before plus what was used.

    Primary energy is divided by the transformer factor, rounded down; the sum turns over with the
    register. *Source*: Itron IEE, register estimation from intervals.
    Raises: ValueError on energy below zero, which a register cannot follow.
    """
    total = int(intervals.sum())
    if total < 0:
        raise ValueError("a register never runs backwards")
    after = read_wh + total // factor
    return after % rollover_wh if rollover_wh else after
