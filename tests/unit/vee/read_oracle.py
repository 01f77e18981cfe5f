"""The checks of registers, rows, clocks and replacements written a second time, one by one."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise

from cloud.vee.rules import parameters as given
from cloud.vee.rules.grid import MAX_WH, State
from cloud.vee.rules.observed import Observed

Row = tuple[int, int, int, int, int]
Read = tuple[int, int, int]
"""When, what it showed, factor."""


def by_series(seen: Observed) -> dict[tuple[int, int], list[Read]]:
    found: dict[tuple[int, int], list[Read]] = {}
    reads = seen.reads
    for n in range(len(reads)):
        key = (int(reads.series[n]), int(reads.rate[n]))
        found.setdefault(key, []).append(
            (int(reads.at_ms[n]), int(reads.wh[n]), int(reads.factor[n]))
        )
    return {key: sorted(each) for key, each in sorted(found.items())}


def spans(seen: Observed) -> Iterator[tuple[int, int, Read, Read, int | None]]:
    """Yield series, rate, the two reads and the advance, None where the register fell."""
    for (series, rate), reads in by_series(seen).items():
        rollover = int(seen.facts.rollover_wh[series])
        for before, after in pairwise(reads):
            advance = after[1] - before[1]
            if advance < 0 and rollover:
                advance += rollover
            yield series, rate, before, after, advance if advance >= 0 else None


def register_step(seen: Observed, p: given.RegisterStep) -> set[Row]:
    found = set()
    for series, _, before, after, advance in spans(seen):
        power = int(seen.facts.capacity_w[series])
        hours = Fraction(after[0] - before[0], 3_600_000)
        most = int(power * hours * Fraction(p.margin_permille, 1000)) if power else 0
        raw = after[1] - before[1]
        rollover = int(seen.facts.rollover_wh[series])
        shown = raw + rollover if raw < 0 and rollover else raw
        if advance is None or (power and advance > most):
            found.add((series, before[0], after[0], shown, most))
    return found


def sum_check(seen: Observed, p: given.SumCheck) -> set[Row]:
    found = set()
    grid, step = seen.grid, seen.grid.frame.step_s * 1000
    for series, rate, before, after, advance in spans(seen):
        first, off_first = divmod(before[0] - grid.frame.start_ms, step)
        end, off_end = divmod(after[0] - grid.frame.start_ms, step)
        if rate or advance is None or off_first or off_end or first < 0 or end > len(grid.frame):
            continue
        if end <= first or any(grid.state[series, n] == State.MISSING for n in range(first, end)):
            continue
        total = sum(int(grid.wh[series, n]) for n in range(first, end))
        register = advance * after[2]
        off = abs(total - register)
        if off > p.floor_wh and off * 1000 > p.tolerance_permille * register:
            found.add((series, before[0], after[0], total, register))
    return found


def tou_sum(seen: Observed, p: given.TouSum) -> set[Row]:
    found = set()
    reads = by_series(seen)
    for series in {key[0] for key in reads}:
        rates = [rate for each, rate in reads if each == series and rate]
        for at, total, _ in reads.get((series, 0), []):
            shown = [{a: wh for a, wh, _ in reads[series, rate]}.get(at) for rate in rates]
            if not rates or None in shown:
                continue
            off = abs(sum(wh for wh in shown if wh is not None) - total)
            if off > p.floor_wh and off * 1000 > p.tolerance_permille * total:
                found.add((series, at, at + 1, sum(wh or 0 for wh in shown), total))
    return found


def delta_percent(seen: Observed, p: given.DeltaPercent) -> set[Row]:
    found = set()
    every = list(spans(seen))
    for past, now in pairwise(every):
        if past[:2] != now[:2] or past[4] is None or now[4] is None:
            continue
        use, before = now[4] * now[3][2], past[4] * past[3][2]
        if max(use, before) < p.least_wh:
            continue
        rate = Fraction(use, now[3][0] - now[2][0])
        old = Fraction(before, past[3][0] - past[2][0])
        off = abs(rate - old)
        if off * 1000 > p.threshold_permille * rate:
            share = min(int(off * 1000 / rate), MAX_WH) if rate else MAX_WH
            found.add((now[0], now[2][0], now[3][0], share, p.threshold_permille))
    return found


def rows(seen: Observed) -> Iterator[tuple[int, int, int, int, int]]:
    """Yield number, series, start, end and energy of each row."""
    each = seen.rows
    for n in range(len(each)):
        start, seconds = int(each.start_ms[n]), int(each.seconds[n])
        yield n, int(each.series[n]), start, start + max(seconds, 0) * 1000, int(each.wh[n])


def duplicate(seen: Observed, p: given.Duplicate) -> list[Row]:
    first: dict[tuple[int, int], int] = {}
    found = []
    for _, series, start, end, wh in rows(seen):
        stood = first.setdefault((series, start), wh)
        if abs(wh - stood) > p.difference_wh:
            found.append((series, start, end, abs(wh - stood), p.difference_wh))
    return found


def interval_size(seen: Observed, p: given.IntervalSize) -> list[Row]:
    found = []
    step = seen.grid.frame.step_s
    for n, series, start, end, _ in rows(seen):
        away = (start - seen.grid.frame.start_ms) % (step * 1000)
        seconds = int(seen.rows.seconds[n])
        if seconds != step or min(away, step * 1000 - away) > p.slack_seconds * 1000:
            found.append((series, start, end, seconds, step))
    return found


def clock_tolerance(seen: Observed, p: given.ClockTolerance) -> set[Row]:
    found = set()
    since: dict[int, int] = {}
    clocks = seen.clocks
    for series, at, ahead in zip(
        clocks.series.tolist(), clocks.at_ms.tolist(), clocks.ahead_ms.tolist(), strict=True
    ):
        before = since.get(series, seen.grid.frame.start_ms)
        if abs(ahead) > p.tolerance_seconds * 1000 and at > before:
            found.add((series, before, at, abs(ahead), p.tolerance_seconds * 1000))
        since[series] = at
    return found


def replacement(seen: Observed, p: given.Replacement) -> list[Row]:
    found = []
    each, step = seen.changes, seen.grid.frame.step_s * 1000
    for n in range(len(each.series)):
        old, new = int(each.old_wh[n]), int(each.new_wh[n])
        better = each.new_state[n] > each.old_state[n]
        equal = each.new_state[n] == each.old_state[n]
        matters = abs(new - old) > p.least_change_wh and (
            Fraction(abs(new - old) * 1000) > p.least_change_permille * abs(old)
        )
        if new != old and not (better or (equal and matters)):
            start = int(each.start_ms[n])
            found.append(
                (int(each.series[n]), start, start + step, abs(new - old), p.least_change_wh)
            )
    return found
