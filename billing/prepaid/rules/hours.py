"""Energy by TouPeriod from intervals: as far as they follow one another without a gap."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from billing.money import IntArray
from billing.tariffs.model import Tariff
from billing.tariffs.rules.calendar import periods_of
from protocols.timeline import from_ms, to_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Intervals:
    """
    Intervals of many rows, by row and then by start. *Units*: ms, seconds, Wh.

    *Shape*: equally long columns; `doubt` is 1 where the interval is questionable.
    """

    row: IntArray
    start_ms: IntArray
    seconds: IntArray
    wh: IntArray
    doubt: IntArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What intervals tell of each row: energy by TouPeriod up to an instant, nothing beyond it."""

    energy: IntArray
    """(TouPeriods, rows)."""
    until_ms: IntArray
    doubt: IntArray


def known_energy(found: Intervals, period: IntArray, since_ms: IntArray, periods: int) -> Known:
    """
    Return the energy of the gapless run of intervals that begins at each row's `since_ms`.

    `period` names the TouPeriod of each interval, -1 where it lies in two: such a one ends the run,
    as a gap, an overlap or a negative energy does.
    """
    rows = len(since_ms)
    energy = np.zeros((periods, rows), dtype=np.int64)
    until, doubt = since_ms.copy(), np.zeros(rows, dtype=np.int64)
    if not found.row.size:
        return Known(energy=energy, until_ms=until, doubt=doubt)
    ends = found.start_ms + found.seconds * 1000
    first = np.concatenate(([True], found.row[1:] != found.row[:-1]))
    expected = np.where(first, since_ms[found.row], np.concatenate(([0], ends[:-1])))
    broken = (found.start_ms != expected) | (period < 0) | (found.wh < 0)
    so_far = np.cumsum(broken)
    # breaks of earlier rows do not count
    before = np.maximum.accumulate(np.where(first, so_far - broken, 0))
    good = so_far == before
    np.add.at(energy, (period[good], found.row[good]), found.wh[good])
    np.maximum.at(until, found.row[good], ends[good])
    np.maximum.at(doubt, found.row[good], found.doubt[good])
    return Known(energy=energy, until_ms=until, doubt=doubt)


def periods_at(tariff: Tariff, start_ms: IntArray, seconds: IntArray) -> IntArray:
    """Return the TouPeriod of each interval, -1 where one lies in two."""
    keys, where = np.unique(np.stack((start_ms, seconds)), axis=1, return_inverse=True)
    found = np.empty(keys.shape[1], dtype=np.int64)
    begin = 0
    for n in range(1, keys.shape[1] + 1):
        follows = (
            n < keys.shape[1]
            and keys[1, n] == keys[1, n - 1]
            and keys[0, n] == keys[0, n - 1] + keys[1, n - 1] * 1000
        )
        if not follows:
            found[begin:n] = _run(tariff, int(keys[0, begin]), int(keys[1, begin]), n - begin)
            begin = n
    at: IntArray = found[where.reshape(-1)]
    return at


def _run(tariff: Tariff, start_ms: int, seconds: int, count: int) -> IntArray | Sequence[int]:
    start = from_ms(start_ms)
    try:
        return periods_of(tariff, start, seconds, count)
    except ValueError:
        if count == 1:
            return [-1]
    each = timedelta(seconds=seconds)
    half = count // 2
    second = start + half * each
    return [
        *_run(tariff, start_ms, seconds, half),
        *_run(tariff, to_ms(second), seconds, count - half),
    ]
