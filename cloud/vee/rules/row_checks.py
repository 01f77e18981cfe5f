"""Checks of rows as they came, of meter clocks, and of a new value beside the one that stands."""

import numpy as np

from cloud.vee.rules import parameters as given
from cloud.vee.rules.findings import Hits, hits_of, no_hits
from cloud.vee.rules.grid import Bool, Int
from cloud.vee.rules.observed import Observed, Rows


def future(seen: Observed, p: given.Future, *, now_ms: int) -> Hits:
    """
    Find rows that end later than `now_ms`, the meter's clock forgiven by `slack_seconds`.

    *Source*: MDM handbook section 3; no interval is known before it has passed. *Units*: ms ahead.
    """
    rows = seen.rows
    ahead = rows.start_ms + rows.seconds * 1000 - now_ms
    return _at_rows(rows, ahead > p.slack_seconds * 1000, ahead, p.slack_seconds * 1000)


def duplicate(seen: Observed, p: given.Duplicate) -> Hits:
    """
    Find intervals that came before with another value; the same again says nothing new.

    Of rows that share series and start the first in the columns stands. *Source*: Oracle MDM
    "Duplicate IMD Check". *Units*: Wh of difference.
    """
    rows = seen.rows
    if not len(rows):
        return no_hits()
    order = np.lexsort((np.arange(len(rows)), rows.start_ms, rows.series))
    series, start = rows.series[order], rows.start_ms[order]
    new = np.ones(len(rows), dtype=np.bool_)
    new[1:] = (np.diff(series) != 0) | (np.diff(start) != 0)
    first = np.maximum.accumulate(np.where(new, np.arange(len(rows)), 0))
    off = np.zeros(len(rows), dtype=np.int64)
    off[order] = np.abs(rows.wh[order] - rows.wh[order][first])
    again = np.zeros(len(rows), dtype=np.bool_)
    again[order] = ~new
    return _at_rows(rows, again & (off > p.difference_wh), off, p.difference_wh)


def interval_size(seen: Observed, p: given.IntervalSize) -> Hits:
    """
    Find rows whose length is not the profile's, or whose start lies off its grid.

    *Source*: Oracle MDM "Interval Size Check". *Units*: seconds.
    """
    rows, step = seen.rows, seen.grid.frame.step_s
    away = (rows.start_ms - seen.grid.frame.start_ms) % (step * 1000)
    away = np.minimum(away, step * 1000 - away)
    wrong = (rows.seconds != step) | (away > p.slack_seconds * 1000)
    return _at_rows(rows, wrong, rows.seconds, step)


def unit(seen: Observed, p: given.Unit) -> Hits:
    """
    Find rows whose unit is not that of their series.

    *Source*: Oracle MDM "Unit of Measure Check"; codes of IEC 61968-9. *Units*: unit code.
    """
    rows = seen.rows
    kinds = np.zeros(len(seen.facts), dtype=np.bool_) if seen.reactive is None else seen.reactive
    wanted = np.where(kinds[rows.series], p.reactive_code, p.active_code)
    return _at_rows(rows, rows.unit != wanted, rows.unit, wanted)


def multiplier(seen: Observed, p: given.Multiplier) -> Hits:
    """
    Find rows whose transformer factor is not that of the asset at their time.

    *Source*: Oracle MDM "Multiplier Check". *Units*: the factor.
    """
    rows = seen.rows
    off = np.abs(rows.factor - rows.factor_known) > p.difference
    return _at_rows(rows, off, rows.factor, rows.factor_known)


def clock_tolerance(seen: Observed, p: given.ClockTolerance) -> Hits:
    """
    Find meter clocks that are too far off: what was stamped since the check before is suspect.

    *Source*: MSCONS STS reason ZA0; 3 minutes and above is national practice. *Units*: ms off.
    """
    clocks = seen.clocks
    if not len(clocks.series):
        return no_hits()
    since = np.full(len(clocks.series), seen.grid.frame.start_ms, dtype=np.int64)
    linked = np.diff(clocks.series) == 0
    since[1:][linked] = clocks.at_ms[:-1][linked]
    off = np.abs(clocks.ahead_ms)
    rows = (off > p.tolerance_seconds * 1000) & (clocks.at_ms > since)
    return hits_of(
        clocks.series[rows], since[rows], clocks.at_ms[rows], off[rows], p.tolerance_seconds * 1000
    )


def replacement(seen: Observed, p: given.Replacement) -> Hits:
    """
    Find new values that may not take the place of the one that stands.

    A new value replaces when its quality ranks higher, or when the rank is no lower and the change
    exceeds both limits. The same value again is no replacement at all and is not told.
    *Source*: Oracle MDM "Final Measurement Replacement". *Units*: Wh of change.
    """
    changes = seen.changes
    if not len(changes.series):
        return no_hits()
    off = np.abs(changes.new_wh - changes.old_wh)
    large = (off > p.least_change_wh) & (
        off.astype(object) * 1000 > p.least_change_permille * np.abs(changes.old_wh.astype(object))
    ).astype(np.bool_)
    better = changes.new_state > changes.old_state
    same_rank = changes.new_state == changes.old_state
    refused = (off > 0) & ~better & ~(same_rank & large)
    end = changes.start_ms + seen.grid.frame.step_s * 1000
    return hits_of(
        changes.series[refused], changes.start_ms[refused], end[refused], off[refused],
        p.least_change_wh,
    )  # fmt: skip


def _at_rows(rows: Rows, wrong: Bool, value: Int, limit: Int | int) -> Hits:
    end = rows.start_ms + np.maximum(rows.seconds, 0) * 1000
    limits = limit if isinstance(limit, int) else limit[wrong]
    return hits_of(rows.series[wrong], rows.start_ms[wrong], end[wrong], value[wrong], limits)
