"""
Checks of intervals on the grid, each a kernel over all series at once.

A kernel looks at values that are present; missing slots are found by `gap` alone. Limits are
compared by cross-multiplication of integers, so nothing is rounded.
"""

import numpy as np

from cloud.vee.rules import parameters as given
from cloud.vee.rules.findings import Hits, hits_of, joined, no_hits
from cloud.vee.rules.grid import MAX_WH, Bool, Frame, Grid, Int, State, runs
from cloud.vee.rules.observed import NO_SERIES, Observed


def places(frame: Frame, mask: Bool, value: Int, limit: Int | int) -> Hits:
    """Return a hit for every slot in `mask`; `value` and a limit of the same shape go with it."""
    row, slot = np.nonzero(mask)
    start = frame.start_ms + slot * frame.step_s * 1000
    limits = limit if isinstance(limit, int) else limit[row, slot]
    return hits_of(row, start, start + frame.step_s * 1000, value[row, slot], limits)


def stretches(frame: Frame, mask: Bool, least: int, limit: int) -> Hits:
    """Return a hit for every run of at least `least` slots; its value is its length in slots."""
    row, first, end = runs(mask)
    long = end - first >= max(1, least)
    row, first, end = row[long], first[long], end[long]
    step = frame.step_s * 1000
    return hits_of(
        row, frame.start_ms + first * step, frame.start_ms + end * step, end - first, limit
    )


def spike_daily(seen: Observed, p: given.SpikeDaily) -> Hits:
    """
    Find local days whose largest value stands too far above the third largest.

    (max - third) / third > threshold; a day with fewer than three values, or whose third largest
    is zero, has no ratio. *Source*: California VEE standards (DASMMD) for interval data, spike
    check; Oracle D2-INTSPKCHK. *Units*: value and limit in permille of the third largest.
    """
    grid, edges = seen.grid, seen.grid.frame.edges
    found = []
    top = np.where(grid.present, np.clip(grid.wh, -MAX_WH, MAX_WH), -MAX_WH - 1)
    lengths = np.diff(edges)
    for length in np.unique(lengths[lengths >= 3]).tolist():
        days = np.nonzero(lengths == length)[0]
        slots = edges[days][:, None] + np.arange(length)
        cube = np.partition(top[:, slots], (length - 3, length - 1), axis=2)
        largest, third = cube[:, :, length - 1], cube[:, :, length - 3]
        over = (third > 0) & (largest >= p.least_wh)
        over &= (largest - third) * 1000 > p.threshold_permille * third
        row, day = np.nonzero(over)
        # the slot that holds the peak: the first of equals
        where = np.argmax(top[row[:, None], slots[day]], axis=1)
        slot = slots[day, where]
        start = grid.frame.start_ms + slot * grid.frame.step_s * 1000
        ratio = (largest - third)[row, day] * 1000 // np.maximum(third[row, day], 1)
        found.append(
            hits_of(row, start, start + grid.frame.step_s * 1000, ratio, p.threshold_permille)
        )
    return joined(found)


def demand_step(seen: Observed, p: given.DemandStep) -> Hits:
    """
    Find values that differ from the last valid one before them by more than a share of it.

    *Source*: Itron IEE, interval validation, percent difference to the last valid interval. A step
    to or from less than `least_wh` on both sides is none. *Units*: permille.
    """
    grid = seen.grid
    index = np.where(grid.eligible, np.arange(grid.wh.shape[1]), -1)
    last = np.maximum.accumulate(index, axis=1)
    before = np.full_like(last, -1)
    before[:, 1:] = last[:, :-1]
    known = (before >= 0) & grid.present
    wh = np.clip(grid.wh, -MAX_WH, MAX_WH)
    base = np.take_along_axis(wh, np.maximum(before, 0), axis=1)
    away = np.abs(wh - base)
    step = known & (base > 0) & (np.maximum(wh, base) >= p.least_wh)
    step &= away * 1000 > p.threshold_permille * base
    return places(grid.frame, step, away * 1000 // np.maximum(base, 1), p.threshold_permille)


def historical_max(seen: Observed, p: given.HistoricalMax) -> Hits:
    """
    Find series whose peak in the last window exceeds that of the window before by a share.

    Both windows are `window_days` whole days at the end of the frame and need enough values.
    *Source*: Itron IEE, historical maximum. *Units*: permille of the earlier peak.
    """
    grid = seen.grid
    slots = p.window_days * grid.frame.per_day
    end = grid.wh.shape[1]
    if slots < 1 or end < 2 * slots:
        return no_hits()
    wh = np.where(grid.eligible, np.clip(grid.wh, 0, MAX_WH), 0)
    now, then = wh[:, end - slots :], wh[:, end - 2 * slots : end - slots]
    covered = _covered(grid, end - slots, end, p.least_coverage_permille)
    covered &= _covered(grid, end - 2 * slots, end - slots, p.least_coverage_permille)
    peak, past = now.max(axis=1), then.max(axis=1)
    rows = np.nonzero(covered & (past > 0) & (peak * 1000 > p.threshold_permille * past))[0]
    slot = end - slots + now[rows].argmax(axis=1)
    start = grid.frame.start_ms + slot * grid.frame.step_s * 1000
    value = peak[rows] * 1000 // np.maximum(past[rows], 1)
    return hits_of(rows, start, start + grid.frame.step_s * 1000, value, p.threshold_permille)


def _covered(grid: Grid, first: int, end: int, permille: int) -> Bool:
    count = grid.eligible[:, first:end].sum(axis=1)
    enough: Bool = count * 1000 >= permille * (end - first)
    return enough


def gap(seen: Observed, p: given.Gap) -> Hits:
    """
    Find runs of missing slots longer than allowed; outside the installation nothing is expected.

    Slots are instants, so a day of 92 or 100 quarter hours lacks nothing and nothing is twice.
    *Source*: ERCOT, Elhub, Energinet: expected slots of the local day. *Units*: slots.
    """
    missing = ~seen.grid.present & installed(seen)
    return stretches(seen.grid.frame, missing, p.allowed_slots + 1, p.allowed_slots)


def installed(seen: Observed) -> Bool:
    """Tell which slots lie wholly within the installation of their series."""
    frame = seen.grid.frame
    start = frame.start_ms + np.arange(len(frame)) * frame.step_s * 1000
    inside: Bool = (start >= seen.facts.installed_ms[:, None]) & (
        start + frame.step_s * 1000 <= seen.facts.removed_ms[:, None]
    )
    return inside


def zero_run(seen: Observed, p: given.ZeroRun) -> Hits:
    """
    Find zeros in a row for `least_seconds` or longer. *Units*: slots.

    *Source*: zero-run check of open MDM practice, 60 minutes; MDM handbook section 3.
    """
    least = -(-p.least_seconds // seen.grid.frame.step_s)
    return stretches(seen.grid.frame, seen.grid.present & (seen.grid.wh == 0), least, least)


def stale_run(seen: Observed, p: given.StaleRun) -> Hits:
    """
    Find a value other than zero repeated in `least_slots` slots or more. *Units*: slots.

    *Source*: stale-value check of open MDM practice, 6 slots; Oracle "Consecutive Interval Check".
    """
    grid = seen.grid
    alive = grid.present & (grid.wh != 0)
    same = np.zeros_like(alive)
    same[:, 1:] = alive[:, 1:] & alive[:, :-1] & (grid.wh[:, 1:] == grid.wh[:, :-1])
    row, first, end = runs(same)
    first = first - 1
    long = end - first >= max(2, p.least_slots)
    row, first, end = row[long], first[long], end[long]
    step = grid.frame.step_s * 1000
    start = grid.frame.start_ms
    return hits_of(row, start + first * step, start + end * step, end - first, p.least_slots)


def negative(seen: Observed, p: given.Negative) -> Hits:
    """
    Find energy below `-least_wh`; forward and backward energy are channels of their own.

    *Source*: Oracle MDM "Negative Consumption Check". *Units*: Wh.
    """
    grid = seen.grid
    return places(grid.frame, grid.present & (grid.wh < -p.least_wh), grid.wh, -p.least_wh)


def capacity(seen: Observed, p: given.Capacity) -> Hits:
    """
    Find intervals above contract power x time; capacity 0 is unknown.

    *Source*: MDM handbook section 3, `capacity`: interval above contract kW x hours. *Units*: Wh.
    """
    grid, power = seen.grid, seen.facts.capacity_w[:, None]
    limit = power * grid.frame.step_s * p.margin_permille // 3_600_000
    over = grid.present & (power > 0) & (grid.wh > limit)
    return places(grid.frame, over, grid.wh, np.broadcast_to(limit, grid.wh.shape))


def device_inactive(seen: Observed, p: given.DeviceInactive) -> Hits:
    """
    Find energy of slots that do not lie within the installation.

    *Source*: Oracle MDM "Inactive Measurement Check": data of a device uninstalled or off. *Units*:
    Wh.
    """
    grid = seen.grid
    alive = grid.present & ~installed(seen) & (grid.wh > p.least_wh)
    return places(grid.frame, alive, grid.wh, p.least_wh)


def sibling_missing(seen: Observed, p: given.SiblingMissing) -> Hits:
    """
    Find slots that one series of a meter lacks while another series of that meter has them.

    *Source*: Oracle MDM "Ensure IMD Exists for Sibling MCs". *Units*: slots.
    """
    grid = seen.grid
    _, device = np.unique(seen.facts.device, return_inverse=True)
    if not len(device):
        return no_hits()
    some = np.zeros((int(device.max()) + 1, grid.wh.shape[1]), dtype=np.bool_)
    np.logical_or.at(some, device, grid.present)
    missing = some[device] & ~grid.present & installed(seen)
    return stretches(grid.frame, missing, p.least_slots, p.least_slots)


def estimated_too_long(seen: Observed, p: given.EstimatedTooLong) -> Hits:
    """
    Find estimates in a row that reach further than `longest_seconds`. *Units*: slots.

    *Source*: ERCOT: after retries over 5 calendar days a person takes over; MDM handbook section 4.
    """
    longest = p.longest_seconds // seen.grid.frame.step_s
    estimated = seen.grid.state == State.ESTIMATED
    return stretches(seen.grid.frame, estimated, longest + 1, longest)


def reactive_without_active(seen: Observed, p: given.ReactiveWithoutActive) -> Hits:
    """
    Find reactive energy above `least_varh` in slots whose active energy is zero.

    *Source*: California VEE standards (DASMMD): kVARh check. *Units*: varh.
    """
    grid, active = seen.grid, seen.facts.active_of
    paired = (active != NO_SERIES)[:, None]
    beside = np.maximum(active, 0)
    idle = grid.present[beside] & (grid.wh[beside] == 0)
    mask = paired & idle & grid.present & (grid.wh > p.least_varh)
    return places(grid.frame, mask, grid.wh, p.least_varh)


def device_flags(seen: Observed, p: given.DeviceFlags) -> Hits:
    """
    Find values that the meter itself doubts by a bit of `mask`. *Units*: the bits found.

    *Source*: DSMR / IDIS profile status 0-0:96.10.1; California VEE: pulse overflow, test mode.
    """
    flagged = seen.grid.status & p.mask
    return places(seen.grid.frame, seen.grid.present & (flagged != 0), flagged, p.mask)
