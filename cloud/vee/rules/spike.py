"""
Robust spikes: a value against the median of its window (Hampel), in integers.

The median of an even number of values is a half: so twice the values are kept, four times the
median absolute deviation, and every factor is multiplied out. The plain twin sorts whole windows
with numpy; where numba is installed one pass keeps each window in order, to the same bits.
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, cast

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from cloud.vee.rules.findings import Hits, hits_of
from cloud.vee.rules.grid import Bool, Int
from cloud.vee.rules.observed import Observed
from cloud.vee.rules.parameters import SpikeRobust

INSTALLED = find_spec("numba") is not None

BOUND = 10**10
"""Values are clamped to this many Wh (ten gigawatt-hours in one interval): products fit 64 bits."""

SMALLEST = 50_000
"""Values below which compiling would cost more than it brings."""

_MAD, _MEAN_AD, _SCALE = 14_826, 12_533, 10_000
"""1.4826 and 1.2533 in ten-thousandths: what makes both agree with the deviation of a normal."""

_NOTHING = 4 * BOUND
_BLOCK = 32_768

Told = tuple[int, int, int, int]
"""Slots on each side, times in permille, floor in Wh, least number of values."""


def spike_robust(seen: Observed, p: SpikeRobust) -> Hits:
    """
    Find values too far from the median of the `side_slots` values on each side and itself.

    abs(x - median) > times * max(1.4826 MAD, floor); a MAD of 0 gives 1.2533 mean deviation
    instead. Missing slots are left out; fewer than `least_values` values give no verdict.
    *Source*: Hampel identifier; MDM handbook section 3 (12 slots a side, 6 times, 0.01 kWh).
    *Units*: Wh from the median, rounded down; the limit likewise.
    """
    grid = seen.grid
    wh = np.clip(grid.wh, -BOUND, BOUND)
    side = min(p.side_slots, max(1, wh.shape[1] - 1))
    told = (side, p.times_permille, p.floor_wh, max(1, p.least_values))
    if INSTALLED and wh.size >= SMALLEST:
        mask, away, limit = one_pass()(wh, grid.present, told)
    else:
        mask, away, limit = plain(wh, grid.present, told)
    row, slot = np.nonzero(mask)
    start = grid.frame.start_ms + slot * grid.frame.step_s * 1000
    return hits_of(row, start, start + grid.frame.step_s * 1000, away[row, slot], limit[row, slot])


def plain(wh: Int, present: Bool, told: Told) -> tuple[Bool, Int, Int]:
    """Return per value whether it is a spike, its distance and the limit. *Shape*: 2-D."""
    mask, away, limit = np.zeros_like(present), np.zeros_like(wh), np.zeros_like(wh)
    rows = max(1, _BLOCK // max(1, wh.shape[1]))
    for first in range(0, len(wh), rows):
        some = slice(first, first + rows)
        mask[some], away[some], limit[some] = _windows(wh[some], present[some], told)
    return mask, np.where(mask, away, 0), np.where(mask, limit, 0)


def _windows(wh: Int, present: Bool, told: Told) -> tuple[Bool, Int, Int]:
    side, times, floor, least = told
    padded = np.full((len(wh), wh.shape[1] + 2 * side), _NOTHING, dtype=np.int64)
    padded[:, side:-side] = np.where(present, 2 * wh, _NOTHING)
    windows = np.sort(sliding_window_view(padded, 2 * side + 1, axis=1), axis=2)
    count = (windows < _NOTHING).sum(axis=2)
    median = _middle(windows, count) // 2
    deviation = np.where(windows < _NOTHING, np.abs(windows - median[:, :, None]), _NOTHING)
    total = np.where(windows < _NOTHING, deviation, 0).sum(axis=2)
    mad = _middle(np.sort(deviation, axis=2), count)
    away = np.abs(2 * wh - median)
    spread = np.where(
        mad > 0, _MAD * mad // _SCALE, _MEAN_AD * 2 * total // (_SCALE * np.maximum(count, 1))
    )
    limit = np.maximum(spread, 4 * floor) * times // 1000
    hit = present & (count >= least) & (2 * away > limit)
    return hit, away // 2, limit // 4


def _middle(ordered: Int, count: Int) -> Int:
    """Return the sum of the two middle values of the first `count` of each row."""
    last = np.maximum(count - 1, 0)
    pair = np.stack((last // 2, np.minimum(count // 2, last)), axis=2)
    both: Int = np.take_along_axis(ordered, pair, axis=2).sum(axis=2)
    return both


def _fused(
    wh: Int, present: Bool, told: Told
) -> tuple[Bool, Int, Int]:  # pragma: no cover - compiled; its twin above is the measure
    side, times, floor, least = told
    rows, slots = wh.shape
    mask = np.zeros((rows, slots), dtype=np.bool_)
    away_of, limit_of = np.zeros_like(wh), np.zeros_like(wh)
    window, apart = np.zeros(2 * side + 2, np.int64), np.zeros(2 * side + 2, np.int64)
    for row in range(rows):
        count = 0
        for slot in range(-side, slots):
            if slot + side < slots and present[row, slot + side]:
                count = _insert(window, count, 2 * wh[row, slot + side])
            if slot > side and present[row, slot - side - 1]:
                count = _remove(window, count, 2 * wh[row, slot - side - 1])
            if slot < 0 or not present[row, slot] or count < least:
                continue
            median = (window[(count - 1) // 2] + window[count // 2]) // 2
            away = abs(2 * wh[row, slot] - median)
            # the limit is never below the floor: most values need no deviation at all
            if 2 * away <= 4 * floor * times // 1000:
                continue
            limit = max(_spread(window, apart, count, median), 4 * floor) * times // 1000
            if 2 * away > limit:
                mask[row, slot] = True
                away_of[row, slot], limit_of[row, slot] = away // 2, limit // 4
    return mask, away_of, limit_of


def _spread(window: Int, apart: Int, count: int, median: int) -> int:  # pragma: no cover - compiled
    total, low = 0, (count - 1) // 2
    high = low + 1
    # distances from the median come in order from two runs, one on each side of it
    for n in range(count):
        below = abs(window[low] - median) if low >= 0 else _NOTHING
        above = abs(window[high] - median) if high < count else _NOTHING
        apart[n] = min(below, above)
        total += apart[n]
        if below <= above:
            low -= 1
        else:
            high += 1
    mad = apart[(count - 1) // 2] + apart[count // 2]
    return int(_MAD * mad // _SCALE if mad > 0 else _MEAN_AD * 2 * total // (_SCALE * count))


def _insert(window: Int, count: int, value: int) -> int:  # pragma: no cover - compiled
    place = count
    while place > 0 and window[place - 1] > value:
        window[place] = window[place - 1]
        place -= 1
    window[place] = value
    return count + 1


def _remove(window: Int, count: int, value: int) -> int:  # pragma: no cover - compiled
    place = 0
    while window[place] != value:
        place += 1
    for n in range(place, count - 1):
        window[n] = window[n + 1]
    return count - 1


@cache
def one_pass() -> Callable[..., Any]:
    """Return the pass compiled; numba is imported by who has values enough, not by everybody."""
    compiled = import_module("numba").njit(nogil=True)
    # the pass is compiled against what stands under these names when it is first called
    for part in (_insert, _remove, _spread):
        globals()[part.__name__] = compiled(part)
    return cast("Callable[..., Any]", compiled(_fused))
