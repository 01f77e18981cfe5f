"""How many interval slots came by concentrator and hour, and how many ought to have come."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cloud.ingest.rules.homes import Cells
from cloud.ingest.rules.packing import DAY_MS, Bool, Int
from protocols.reading import Channel

HOUR_MS = 3_600_000
HOURS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """
    New import intervals by concentrator, UTC day and the hour in which they start.

    *Shape*: `place` and `day` (since 1970) are equally long, `slots` has 24 columns beside them.
    """

    place: Int
    day: Int
    slots: Int


def tally_of(cells: Cells, *, place: Int, channel: Int, at_ms: Int, seconds: Int) -> Tally:
    """
    Count the import intervals among new readings that are cut into `cells`.

    `place` numbers the concentrator of each reading; no two share a series. *Units*: ms, s.
    """
    cells = cells.take(channel[cells.first] == Channel.IMPORT_INTERVAL_WH)
    if not len(cells.series):
        none = np.zeros(0, dtype=np.int64)
        return Tally(place=none, day=none, slots=np.zeros((0, HOURS), dtype=np.int64))
    low = int(cells.day.min())
    span = int(cells.day.max()) - low + 1
    key = place[cells.first] * span + cells.day - low
    there = np.zeros(int(key.max()) + 1, dtype=np.bool_)
    there[key] = True
    pairs = np.flatnonzero(there)
    group = (np.cumsum(there) - 1)[key]
    slots = np.zeros((len(pairs), HOURS), dtype=np.int64)
    lengths = seconds[cells.first]
    # a whole day says by its length alone how many start in each hour
    for length in np.unique(lengths[cells.whole]).tolist():
        many = np.bincount(group[cells.whole & (lengths == length)], minlength=len(pairs))
        slots += many[:, None] * starts_by_hour(length, 0, HOURS)[None, :]
    part: Bool = ~cells.whole
    if part.any():
        some = cells.take(part)
        hour = at_ms[some.rows()] % DAY_MS // HOUR_MS
        flat = np.repeat(group[part], some.size) * HOURS + hour
        slots += np.bincount(flat, minlength=slots.size).reshape(slots.shape)
    return Tally(place=pairs // span, day=pairs % span + low, slots=slots)


def starts_by_hour(seconds: int, hour: int, hours: int) -> Int:
    """Return how many intervals of that length start in each of `hours` hours since 1970."""
    bounds = np.arange(hour, hour + hours + 1, dtype=np.int64) * 3600
    return np.diff(-(-bounds // seconds))


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A meter with a load profile that was there for a part of the hours only. *Units*: ms, s."""

    seconds: int
    since_ms: int
    until_ms: int | None


def expected(
    steady: Sequence[tuple[int, int]], changes: Sequence[Change], *, hour: int, hours: int
) -> Int:
    """
    Return how many slots meters should fill in each of `hours` hours since 1970.

    `steady` has (length in seconds, meters that were there all the time).
    """
    wanted: NDArray[np.int64] = np.zeros(hours, dtype=np.int64)
    for seconds, meters in steady:
        wanted += meters * starts_by_hour(seconds, hour, hours)
    for one in changes:
        step = one.seconds * 1000
        first = max(hour * HOUR_MS, one.since_ms)
        end = (hour + hours) * HOUR_MS
        last = end - 1 if one.until_ms is None else min(end - 1, one.until_ms - step)
        starts = np.arange(-(-first // step), last // step + 1, dtype=np.int64) * step
        wanted += np.bincount(starts // HOUR_MS - hour, minlength=hours)[:hours]
    return wanted
