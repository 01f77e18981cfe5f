"""
The estimator of choice: values of like moments, all taken at one common quantile.

Every missing slot has candidates: the same clock time (and its two neighbours) on the days around
the gap, and the measured values at its edges. A candidate weighs more the nearer its day, the more
alike the day's kind, the more alike the hours just before and after the gap, and the closer the
day's total over those hours comes to the energy that the register says was used. The estimate of
all slots is one quantile of their candidates, chosen so that they add up to the register.

Why one quantile: among all series with a given sum, that one has the smallest expected absolute
error (its multiplier on the sum is the same for every slot). Means, which like-day rules take,
smear a peak over the day; a quantile keeps calm hours calm.

Everything is an integer: weights are shares of `_ONE`, levels are 65536ths, shares are permille.
"""

from dataclasses import dataclass

import numpy as np

from cloud.vee.rules.grid import Bool, Frame, Grid, Int, State
from cloud.vee.rules.shapes import linear, moved

_ONE = 1 << 20
LEVELS = 1 << 16
_FINE = 12
"""Bits of a place between two candidates."""

_NEARER_PERMILLE = 930
"""What a day counts beside the day that is one nearer to the gap."""

_SAME_KIND, _SAME_WEEKDAY = 3000, 1500
_CONTEXT, _BESIDE, _EDGE, _LINE = 10_000, 700, 600, 500
_CALM_WH_PER_HOUR = 20
"""Added to totals before they are compared, so that nothing is infinitely unlike nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """
    Weighted candidates of missing slots. *Shape*: (candidates, slots). *Units*: Wh.

    A weight of 0 is no candidate. Every slot that `known` names has one at least.
    """

    wh: Int
    weight: Int

    @property
    def known(self) -> Bool:
        """Tell which slots have a candidate."""
        found: Bool = self.weight.sum(axis=0) > 0
        return found

    def mean(self) -> Int:
        """Return the weighted mean of each slot, 0 without candidates, rounded down."""
        whole = np.maximum(self.weight.sum(axis=0), 1)
        return _dot(self.wh, self.weight, whole)


def _dot(wh: Int, weight: Int, whole: Int) -> Int:
    # weights of one slot add up to far below 2**29 and values to 2**34: products fit
    total: Int = (wh * weight).sum(axis=0) // whole
    return total


def candidates(
    grid: Grid, row: int, first: int, end: int, *, table: Int, total: int | None,
    history_days: int, context_slots: int,
) -> Candidates:  # fmt: skip
    """
    Return the candidates of the gap `[first, end)` of one series; `total` is what it must hold.

    Looks at `history_days` days before and after and at eligible values alone: measured, valid or
    edited, never an estimate.
    """
    frame, wh_row = grid.frame, grid.wh[row]
    good_row = grid.state[row] >= State.MEASURED
    slots = np.arange(first, end)
    days = np.concatenate((np.arange(-history_days, 0), np.arange(1, history_days + 1)))
    place, there = moved(frame, slots, days, table)
    good = there & good_row[place] & ((place < first) | (place >= end))
    wh = np.where(good, wh_row[place], 0)
    weight = np.where(good, _nearness(days)[:, None], 0)
    like = frame.kind[place] == frame.kind[slots][None, :]
    weight = np.where(like, weight * _SAME_KIND // 1000, weight)
    weight = np.where((days % 7 == 0)[:, None], weight * _SAME_WEEKDAY // 1000, weight)
    if total is not None:
        weight = _alike_in_total(frame, wh, good, weight, total)
    if end - first <= 2 * frame.per_day:
        level = None if total is None else total // (end - first)
        factor = _alike_around(
            grid, row, _around(grid, row, first, end, context_slots), days, table=table, level=level
        )
        weight = weight * factor[:, None] // 1000
    values, weights = [wh], [weight]
    for step in (-1, 1):
        beside = np.clip(place + step, 0, len(frame) - 1)
        fine = good & good_row[beside] & ((beside < first) | (beside >= end))
        values.append(np.where(fine, wh_row[beside], 0))
        weights.append(np.where(fine, weight * _BESIDE // 1000, 0))
    edge_values, edge_weights = _edges(
        grid, row, first, end, whole=np.sum([w.sum(axis=0) for w in weights], axis=0), total=total
    )
    return Candidates(
        wh=np.concatenate([*values, edge_values]),
        weight=np.minimum(np.concatenate([*weights, edge_weights]), _ONE * 8),
    )


def _nearness(days: Int) -> Int:
    far = int(np.abs(days).max())
    steps = [_ONE // 16]
    for _ in range(far):
        steps.append(steps[-1] * _NEARER_PERMILLE // 1000)
    return np.array(steps, dtype=np.int64)[np.abs(days)]


def _alike_in_total(
    frame: Frame, wh: Int, good: Bool, weight: Int,
    total: int,
) -> Int:  # fmt: skip
    """Return weights times how close each day's energy over the gap's hours is to its share."""
    length = wh.shape[1]
    cuts = np.arange(0, length, frame.per_day)
    sizes = np.diff(np.append(cuts, length))
    energy = np.add.reduceat(wh, cuts, axis=1)
    count = np.add.reduceat(good.astype(np.int64), cuts, axis=1)
    calm = _CALM_WH_PER_HOUR * sizes * frame.step_s // 3600 + 1
    found = energy * sizes // np.maximum(count, 1) + calm
    share = total * sizes // length + calm
    ratio = 1000 * np.minimum(found, share) // np.maximum(np.maximum(found, share), 1)
    factor = np.maximum(ratio, 0) ** 2 // 1000
    factor = factor * count // sizes
    nearer: Int = weight * np.repeat(factor, sizes, axis=1) // 1000
    return nearer


def _around(grid: Grid, row: int, first: int, end: int, slots: int) -> Int:
    """Return the eligible slots just before and just after a gap."""
    near = np.concatenate((np.arange(first - slots, first), np.arange(end, end + slots)))
    near = near[(near >= 0) & (near < len(grid.frame))]
    sound: Int = near[grid.state[row, near] >= State.MEASURED]
    return sound


def _alike_around(
    grid: Grid, row: int, around: Int, days: Int, *, table: Int, level: int | None
) -> Int:
    """Return permille per day: how alike the hours beside the gap were. `level` is Wh a slot."""
    if not len(around):
        return np.full(len(days), 1000, dtype=np.int64)
    place, there = moved(grid.frame, around, days, table)
    known = there & (grid.state[row, place] >= State.MEASURED)
    here = grid.wh[row][around]
    whole = int(np.abs(here).sum())
    calm = whole // len(around) if level is None else level
    far = np.where(known, np.abs(grid.wh[row][place] - here), np.abs(here)).sum(axis=1)
    unlike = 1000 * far // (whole + len(around) * (calm + 1))
    half = 1_000_000 // (1000 + _CONTEXT * unlike // 2000)
    alike: Int = half * half // 1000
    return alike


def _edges(
    grid: Grid, row: int, first: int, end: int, *, whole: Int, total: int | None
) -> tuple[Int, Int]:
    """
    Return the measured neighbours and the line between them as candidates.

    A neighbour is the weaker the farther a slot is from it, the line the longer it is. Alone, where
    no other day has that hour, they are no candidates: that is what `linear` is for.
    """
    length = end - first
    away = np.arange(1, length + 1)
    values, weights = np.zeros((3, length), dtype=np.int64), np.zeros((3, length), dtype=np.int64)
    for n, (slot, distance) in enumerate(((first - 1, away), (end, away[::-1]))):
        if 0 <= slot < len(grid.frame) and grid.state[row, slot] >= State.MEASURED:
            values[n] = grid.wh[row, slot]
            weights[n] = whole * _EDGE // 1000 // distance
    line, known = linear(grid, row, first, end)
    if known.all():
        values[2] = line if total is None else scaled(line, total)
        weights[2] = whole * _LINE // 1000 // (length * length)
    return values, weights


def at_quantile(found: Candidates, total: int) -> Int:
    """
    Return for each slot one common quantile of its candidates such that all add up to `total`.

    The sum is exact. Where even the largest candidates do not reach the total, or the smallest
    exceed it, they are scaled. *Shape*: one value per slot; every slot needs a candidate.
    """
    order = np.argsort(found.wh, axis=0, kind="stable")
    wh = np.take_along_axis(found.wh, order, axis=0)
    weight = np.take_along_axis(found.weight, order, axis=0)
    reach = np.cumsum(weight, axis=0)
    middle = (2 * reach - weight) * LEVELS // (2 * np.maximum(reach[-1], 1))
    low, high = 0, LEVELS
    bottom, top = _level(wh, weight, middle, low), _level(wh, weight, middle, high)
    if int(bottom.sum()) >= total:
        return scaled(bottom, total)
    if int(top.sum()) <= total:
        return scaled(top, total)
    while high - low > 1:
        level = (low + high) // 2
        values = _level(wh, weight, middle, level)
        if int(values.sum()) <= total:
            low, bottom = level, values
        else:
            high, top = level, values
    return bottom + scaled(top - bottom, total - int(bottom.sum()))


def band(found: Candidates, permille: int) -> tuple[Int, Int]:
    """Return the quantiles between which `permille` of the candidates of each slot lie."""
    order = np.argsort(found.wh, axis=0, kind="stable")
    wh = np.take_along_axis(found.wh, order, axis=0)
    weight = np.take_along_axis(found.weight, order, axis=0)
    reach = np.cumsum(weight, axis=0)
    middle = (2 * reach - weight) * LEVELS // (2 * np.maximum(reach[-1], 1))
    out = (1000 - permille) * LEVELS // 2000
    return _level(wh, weight, middle, out), _level(wh, weight, middle, LEVELS - out)


def _level(wh: Int, weight: Int, middle: Int, level: int) -> Int:
    """Return each slot's value at a level, on the line between the two candidates around it."""
    real = weight > 0
    below = real & (middle <= level)
    above = real & (middle > level)
    last, column = len(wh) - 1, np.arange(wh.shape[1])
    has_low, has_high = below.any(axis=0), above.any(axis=0)
    lower = last - np.argmax(below[::-1], axis=0)
    upper = np.argmax(above, axis=0)
    lower = np.where(has_low, lower, upper)
    upper = np.where(has_high, upper, lower)
    y0, y1 = wh[lower, column], wh[upper, column]
    m0, m1 = middle[lower, column], middle[upper, column]
    part = np.where(m1 > m0, ((level - m0) << _FINE) // np.maximum(m1 - m0, 1), 0)
    value: Int = y0 + (((y1 - y0) * part) >> _FINE)
    return value


def scaled(shape: Int, total: int) -> Int:
    """
    Return `shape` times what makes it add up to `total` exactly; evenly where it is all zero.

    Rounded by running sums, so parts differ from their share by less than one unit. *Source*: MDM
    handbook section 14 trap 9, carry rounding.
    """
    run = np.cumsum(np.maximum(shape, 0).astype(object))
    if not len(run):
        return shape
    if not run[-1]:
        run = np.arange(1, len(shape) + 1).astype(object)
    ends = (run * total // run[-1]).astype(np.int64)
    parts: Int = np.diff(ends, prepend=0)
    return parts
