"""
Checks of registers, of intervals against them, and of a whole series before a bill.

Registers are few beside intervals and their products are large, so they are compared as whole
numbers of any size (object columns), never as floats.
"""

import numpy as np

from cloud.vee.rules import parameters as given
from cloud.vee.rules.findings import Hits, hits_of, joined, no_hits
from cloud.vee.rules.grid import MAX_WH, Grid, Int, State
from cloud.vee.rules.interval_checks import installed
from cloud.vee.rules.observed import Observed, Reads, Spans, spans_of


def register_step(seen: Observed, p: given.RegisterStep) -> Hits:
    """
    Find registers that fell without a rollover, or ran faster than the contract lets them.

    *Source*: MDM handbook section 14 trap 3: digits known and a cap by contract power, else an
    exception, never a number. *Units*: Wh.
    """
    reads, spans = seen.reads, spans_of(seen.reads, seen.facts)
    if not len(spans.after):
        return no_hits()
    series, took = reads.series[spans.after], _took(reads, spans)
    power = seen.facts.capacity_w[series].astype(object)
    most = power * took * p.margin_permille // 3_600_000_000
    fast = (power > 0) & (spans.advance.astype(object) > most)
    rows = spans.fell | fast.astype(np.bool_)
    limit = np.where(power[rows] > 0, most[rows], 0)
    return _span_hits(reads, spans, rows, spans.advance[rows], limit.astype(np.int64))


def sum_check(seen: Observed, p: given.SumCheck) -> Hits:
    """
    Find spans between reads whose intervals do not add up to the register's advance.

    Skipped where a slot is missing, or a read lies off the slots' borders or outside the frame.
    *Source*: WA Metering Code 2006 A7.2; Oracle MDM "Sum Check"; 0.7 % of open MDM practice.
    *Units*: Wh found and Wh of the register.
    """
    spans, first, end, inside = borders(seen)
    reads, rows = seen.reads, np.nonzero(inside & ~spans.fell)[0]
    rows = rows[reads.rate[spans.after[rows]] == 0]
    if not len(rows):
        return no_hits()
    total, missing = sums(seen.grid, reads.series[spans.after[rows]], first[rows], end[rows])
    advance = spans.advance[rows].astype(object) * reads.factor[spans.after[rows]].astype(object)
    off = np.abs(total.astype(object) - advance)
    wrong = (missing == 0) & (off > p.floor_wh) & (off * 1000 > p.tolerance_permille * advance)
    bad = np.zeros(len(spans.after), dtype=np.bool_)
    bad[rows[wrong.astype(np.bool_)]] = True
    chosen = wrong.astype(np.bool_)
    return _span_hits(reads, spans, bad, total[chosen], advance[chosen].astype(np.int64))


def borders(seen: Observed) -> tuple[Spans, Int, Int, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """Return the spans, their first slot and end, and which lie on borders inside the frame."""
    reads, frame = seen.reads, seen.grid.frame
    spans = spans_of(reads, seen.facts)
    first, on_first = frame.slot_of(reads.at_ms[spans.before])
    end, on_end = frame.slot_of(reads.at_ms[spans.after])
    inside = on_first & on_end & (first >= 0) & (end <= len(frame)) & (end > first)
    return spans, first, end, inside


def sums(grid: Grid, series: Int, first: Int, end: Int) -> tuple[Int, Int]:
    """Return the energy and the number of missing slots of `[first, end)` of each series."""
    width = grid.wh.shape[1] + 1
    run, lack = (np.zeros((len(grid.wh), width), dtype=np.int64) for _ in range(2))
    np.cumsum(np.clip(grid.wh, -MAX_WH, MAX_WH), axis=1, out=run[:, 1:])
    np.cumsum(~grid.present, axis=1, out=lack[:, 1:])
    return run[series, end] - run[series, first], lack[series, end] - lack[series, first]


def tou_sum(seen: Observed, p: given.TouSum) -> Hits:
    """
    Find moments at which the rate registers do not add up to the total register.

    Only where every rate that the series has anywhere was read at that moment.
    *Source*: Oracle MDM, TOU check; 0.1 %. *Units*: Wh.
    """
    reads = seen.reads
    rated = reads.rate > 0
    if not rated.any():
        return no_hits()
    rates = np.unique(np.stack((reads.series[rated], reads.rate[rated])), axis=1)[0]
    have = np.bincount(rates, minlength=int(reads.series.max()) + 1)
    moments, back = np.unique(np.stack((reads.series, reads.at_ms)), axis=1, return_inverse=True)
    back = back.reshape(-1)
    size = moments.shape[1]
    of_rates, totals, count = (np.zeros(size, dtype=np.int64) for _ in range(3))
    known = np.zeros(size, dtype=np.bool_)
    np.add.at(of_rates, back[rated], reads.wh[rated])
    np.add.at(count, back[rated], 1)
    totals[back[~rated]], known[back[~rated]] = reads.wh[~rated], True
    series = moments[0]
    off = np.abs(of_rates - totals)
    whole = known & (count == have[series]) & (count > 0) & (off > p.floor_wh)
    wrong = whole & (off.astype(object) * 1000 > p.tolerance_permille * totals.astype(object))
    rows = wrong.astype(np.bool_)
    at = moments[1][rows]
    return hits_of(series[rows], at, at + 1, of_rates[rows], totals[rows])


def delta_percent(seen: Observed, p: given.DeltaPercent) -> Hits:
    """
    Find spans between reads whose use per time differs from that of the span before by a share.

    100 abs(cur - prev) / cur with both per time in UTC and times the factor valid at each read.
    *Source*: Itron IEE, delta percent of registers. *Units*: permille of the present use.
    """
    reads, spans = seen.reads, spans_of(seen.reads, seen.facts)
    if len(spans.after) < 2:
        return no_hits()
    linked = (spans.before[1:] == spans.after[:-1]) & ~spans.fell[1:] & ~spans.fell[:-1]
    use = spans.advance.astype(object) * reads.factor[spans.after].astype(object)
    took = _took(reads, spans)
    now, past = use[1:] * took[:-1], use[:-1] * took[1:]
    enough = np.maximum(use[1:], use[:-1]) >= p.least_wh
    off = np.abs(now - past)
    wrong = linked & enough.astype(np.bool_) & (off * 1000 > p.threshold_permille * now)
    rows = np.zeros(len(spans.after), dtype=np.bool_)
    rows[1:] = wrong.astype(np.bool_)
    chosen = rows[1:]
    # no present use at all: the share has no bound, so the largest that a column shows is told
    value = [
        min(int(a) * 1000 // int(b), MAX_WH) if b else MAX_WH
        for a, b in zip(off[chosen], now[chosen], strict=True)
    ]
    return _span_hits(
        reads, spans, rows, np.array(value, dtype=np.int64),
        np.full(len(value), p.threshold_permille),
    )  # fmt: skip


def high_low(seen: Observed, p: given.HighLow) -> Hits:
    """
    Find series whose average daily use of the last days leaves the band around their history.

    The last `window_days` against everything before them, both per day of values that exist; a
    history shorter than `least_history_days` gives no verdict. *Source*: Oracle MDM "High/Low
    Check": normalised by average daily usage. *Units*: permille of the history's daily use.
    """
    grid = seen.grid
    slots, per_day = p.window_days * grid.frame.per_day, grid.frame.per_day
    cut = grid.wh.shape[1] - slots
    if slots < 1 or cut < 1:
        return no_hits()
    wh = np.where(grid.eligible, np.clip(grid.wh, 0, MAX_WH), 0)
    now, past = wh[:, cut:].sum(axis=1), wh[:, :cut].sum(axis=1)
    now_slots = grid.eligible[:, cut:].sum(axis=1).astype(object)
    past_slots = grid.eligible[:, :cut].sum(axis=1).astype(object)
    fresh, normal = now.astype(object) * past_slots * 1000, past.astype(object) * now_slots
    known = (past_slots >= p.least_history_days * per_day) & (now_slots > 0) & (past > 0)
    high, low = fresh > p.high_permille * normal, fresh < p.low_permille * normal
    found = []
    for outside, limit in ((high, p.high_permille), (low, p.low_permille)):
        rows = np.nonzero((known & outside).astype(np.bool_))[0]
        value = (fresh[rows] // np.maximum(normal[rows], 1)).astype(np.int64)
        start = np.full(len(rows), grid.frame.start_ms + cut * grid.frame.step_s * 1000)
        found.append(hits_of(rows, start, np.full(len(rows), grid.frame.end_ms), value, limit))
    return joined(found)


def billing_gate(seen: Observed, p: given.BillingGate) -> Hits:
    """
    Find series of which too many slots are missing, estimated, edited or doubted to be billed.

    *Source*: Itron IEE, billing gate: share of values that were not simply measured. *Units*:
    permille of the slots in the frame that lie in the installation, rounded up.
    """
    grid, expected = seen.grid, installed(seen)
    sound = expected & ((grid.state == State.MEASURED) | (grid.state == State.VALID))
    whole = expected.sum(axis=1)
    lacking = whole - sound.sum(axis=1)
    rows = np.nonzero(lacking * 1000 > p.most_permille * whole)[0]
    frame = grid.frame
    return hits_of(
        rows, np.full(len(rows), frame.start_ms), np.full(len(rows), frame.end_ms),
        -(-lacking[rows] * 1000 // np.maximum(whole[rows], 1)), p.most_permille,
    )  # fmt: skip


def _took(reads: Reads, spans: Spans) -> "np.ndarray[tuple[int], np.dtype[np.object_]]":
    return (reads.at_ms[spans.after] - reads.at_ms[spans.before]).astype(object)


def _span_hits(
    reads: Reads, spans: Spans, rows: "np.ndarray[tuple[int], np.dtype[np.bool_]]",
    value: Int, limit: Int,
) -> Hits:  # fmt: skip
    return hits_of(
        reads.series[spans.after[rows]], reads.at_ms[spans.before[rows]],
        reads.at_ms[spans.after[rows]], value, limit,
    )  # fmt: skip
