"""
Checks of rows against what is stored beside them, vectorised.

The rule of registers: between two neighbours in device time a register moves forward, by no more
than the meter can count in that time. A row is judged against the stored row before it and the
stored row after it, and against its companions in the batch. True readings satisfy this pairwise,
so no order and no repetition of batches can make one of them fail: the tables end up equal. Of two
rows that contradict each other the one that came first stays (nothing stored is ever altered) and
the other goes to quarantine; in contradictory input the tables therefore depend on order, but
stored plus quarantined never does. Within one batch the longest consistent run is kept, so a
single spike does not condemn what follows it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Int = NDArray[np.int64]
Bool = NDArray[np.bool_]

NEW, SAME, OTHER = 0, 1, 2
CHANNELS = 256
"""A group is one meter and one channel: meter index * 256 + channel code."""

_WINDOW = 64
"""How many rows back a run may skip; bounds the work on hostile input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """Energy values by (group, time). *Shape*: equal columns; group as `CHANNELS` says."""

    group: Int
    at_ms: Int
    value: Int
    seconds: Int

    def __len__(self) -> int:
        """Return the number of points."""
        return len(self.group)

    def take(self, rows: NDArray[np.intp] | Bool) -> "Points":
        """Return some of the points."""
        return Points(
            group=self.group[rows],
            at_ms=self.at_ms[rows],
            value=self.value[rows],
            seconds=self.seconds[rows],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """
    What a register may do, by meter index. *Units*: W, Wh (0: never rolls over), ms.

    `slack_ms` forgives time stamps that are late by that much against the value they carry.
    """

    max_w: Int
    rollover_wh: Int
    slack_ms: int


def onward(fresh: Points, before: Points, limits: Limits) -> Bool:
    """
    Return which register points follow from the one before them; no order, no search.

    *Shape*: `fresh` and `before` as long as each other; a `before` without time (below 0) is none.
    """
    possible: Bool = (before.at_ms < 0) | _possible(
        fresh.group // CHANNELS,
        fresh.value - before.value,
        fresh.at_ms - before.at_ms,
        limits,
    )
    return possible


def settle(stored: Points, fresh: Points) -> NDArray[np.int8]:
    """
    Return per fresh point NEW, SAME (key and value known) or OTHER (key known, value differs).

    Of fresh points that share a key the first in the batch counts as known to the later ones.
    """
    result = np.zeros(len(fresh), dtype=np.int8)
    if not len(fresh):
        return result
    both, is_fresh, order = _sorted(stored, fresh)
    starts = np.ones(len(order), dtype=np.bool_)
    starts[1:] = (np.diff(both.group) != 0) | (np.diff(both.at_ms) != 0)
    reference = np.maximum.accumulate(np.where(starts, np.arange(len(order)), 0))
    same = (both.value == both.value[reference]) & (both.seconds == both.seconds[reference])
    later = is_fresh & ~starts
    result[order[later] - len(stored)] = np.where(same[later], SAME, OTHER)
    return result


def consistent(stored: Points, fresh: Points, limits: Limits) -> Bool:
    """Return which fresh register points may stand beside the stored ones; keys all differ."""
    accepted = np.ones(len(fresh), dtype=np.bool_)
    if not len(fresh):
        return accepted
    both, is_fresh, order = _sorted(stored, fresh)
    inside = np.diff(both.group) == 0
    possible = _step_ok(both, slice(None, -1), slice(1, None), limits)
    broken = np.unique(both.group[1:][inside & ~possible])
    for group in broken:
        rows = np.flatnonzero(both.group == group)
        keep = _longest_run(both.take(rows), ~is_fresh[rows], limits)
        refused = rows[~keep]
        accepted[order[refused] - len(stored)] = False
    return accepted


def _sorted(stored: Points, fresh: Points) -> tuple[Points, Bool, NDArray[np.intp]]:
    both = Points(
        group=np.concatenate((stored.group, fresh.group)),
        at_ms=np.concatenate((stored.at_ms, fresh.at_ms)),
        value=np.concatenate((stored.value, fresh.value)),
        seconds=np.concatenate((stored.seconds, fresh.seconds)),
    )
    is_fresh = np.arange(len(both)) >= len(stored)
    order = np.lexsort((is_fresh, both.at_ms, both.group))
    return both.take(order), is_fresh[order], order


def _step_ok(points: Points, before: slice | Int, after: slice | Int, limits: Limits) -> Bool:
    return _possible(
        points.group[after] // CHANNELS,
        points.value[after] - points.value[before],
        points.at_ms[after] - points.at_ms[before],
        limits,
    )


def _possible(meter: Int, moved: Int, passed_ms: Int, limits: Limits) -> Bool:
    rollover = limits.rollover_wh[meter]
    if rollover.any():
        moved = np.where(rollover > 0, moved % np.maximum(rollover, 1), moved)
    # whole seconds, so that a century times a megawatt stays inside 64 bits
    most = limits.max_w[meter] * ((passed_ms + limits.slack_ms) // 1000 + 1) // 3600
    possible: Bool = (moved >= 0) & (moved <= most)
    return possible


def _longest_run(points: Points, fixed: Bool, limits: Limits) -> Bool:
    """Return the longest run of pairwise neighbours that keeps every fixed point of one group."""
    size = len(points)
    score = np.zeros(size, dtype=np.int64)
    came_from = np.full(size, -1, dtype=np.int64)
    last_fixed = -1
    for n in range(size):
        back = np.arange(max(n - _WINDOW, last_fixed + 1, 0), n)
        if last_fixed >= 0:
            back = np.concatenate(([last_fixed], back))
        possible = _step_ok(points, back, np.full(len(back), n), limits) & (score[back] > 0)
        if fixed[n] and last_fixed >= 0:
            possible |= (back == last_fixed) & (score[back] > 0)
        if possible.any():
            reachable = np.where(possible, score[back], 0)
            best = int(np.argmax(reachable))
            score[n], came_from[n] = reachable[best] + 1, back[best]
        elif last_fixed < 0 or fixed[n]:
            score[n] = 1
        if fixed[n]:
            last_fixed = n
    keep = fixed.copy()
    tail = np.arange(max(last_fixed, 0), size)
    at = int(tail[np.argmax(score[tail])])
    while at >= 0:
        keep[at] = True
        at = int(came_from[at])
    return keep
