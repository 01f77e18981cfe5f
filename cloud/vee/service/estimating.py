"""Estimates of one civil day of many usage points, each stretch from the window that is its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from cloud.assets.model import Installed
from cloud.store.db import Connection
from cloud.vee.rules.checks import check_series
from cloud.vee.rules.estimate import Estimate, estimate_series, judged
from cloud.vee.rules.grid import DAY_S, Int, State
from cloud.vee.rules.observed import Observed
from cloud.vee.rules.rule_sets import RuleSet
from cloud.vee.rules.stretches import days_touched, stretches_of
from cloud.vee.service.looking import Seen, Supply, borders_of, look, span_of_days
from protocols.identity import UsagePointId

_ROWS_AT_ONCE = 200
"""Stretches estimated in one call: a window of 40 days takes some 200 kB of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """
    What was found for one stretch: its slots with value and band, or none and why.

    *Shape*: four equal columns. *Units*: ms, Wh.
    """

    start_ms: Int
    wh: Int
    low: Int
    high: Int
    made: tuple[Estimate, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DayEstimates:
    """The stretches that touch one day of a usage point, and the days on which they rest."""

    filled: tuple[Filled, ...] = ()
    reads_from: date
    reads_to: date


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """One stretch of one usage point in its own window, in ms since 1970."""

    point: UsagePointId
    first_ms: int
    end_ms: int
    low_ms: int
    high_ms: int
    anchored: bool
    from_day: date
    to_day: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a call works with. `limit` is the end of the last complete day of the zone."""

    supply: Supply
    installed: Mapping[UsagePointId, Sequence[Installed]]
    rules: RuleSet
    seconds: int
    zone: ZoneInfo
    limit: datetime

    @property
    def history_days(self) -> int:
        """Return how many days before a stretch its estimate looks at."""
        return max(self.rules.estimate.history_days, self.rules.estimate.like_search_days)

    @property
    def reach_days(self) -> int:
        """Return how many days a stretch or the registers around it may be apart."""
        return self.rules.estimate.longest_gap_seconds // DAY_S + 1


def estimates_of(
    conn: Connection, terms: Terms, usage_points: Sequence[UsagePointId], day: date
) -> list[DayEstimates]:
    """
    Return what can be said of the slots that one day of each usage point lacks.

    A stretch that crosses midnight is estimated whole and alike from each of its days.
    """
    tasks = _tasks_of(conn, terms, usage_points, day)
    windows: dict[tuple[date, date], list[_Task]] = {}
    for mine in tasks:
        for task in mine:
            windows.setdefault((task.from_day, task.to_day), []).append(task)
    done: dict[_Task, Filled] = {}
    for (first, last), some in sorted(windows.items()):
        for at in range(0, len(some), _ROWS_AT_ONCE):
            done.update(_fill(conn, terms, some[at : at + _ROWS_AT_ONCE], first, last))
    found = []
    for mine in tasks:
        # registers may yet come that enclose what none encloses now
        ends = [
            task.to_day if task.anchored else task.from_day + timedelta(days=terms.reach_days)
            for task in mine
        ]
        before = timedelta(days=max(terms.history_days, terms.reach_days))
        found.append(
            DayEstimates(
                filled=tuple(done[task] for task in mine),
                reads_from=min([day, *(task.from_day - before for task in mine)]),
                reads_to=max([day, *ends, *(task.to_day for task in mine)]),
            )
        )
    return found


def _tasks_of(
    conn: Connection, terms: Terms, usage_points: Sequence[UsagePointId], day: date
) -> list[list[_Task]]:
    reach = timedelta(days=terms.reach_days)
    span = span_of_days(day - reach, day + reach, terms.zone, terms.limit, terms.seconds)
    seen = look(
        conn, terms.supply, usage_points, terms.installed, span, seconds=terms.seconds,
        zone=terms.zone,
    )  # fmt: skip
    frame, lacking = seen.observed.grid.frame, seen.lacking
    mine = frame.day == (day - frame.first_day).days
    today = np.flatnonzero(mine)
    step = terms.seconds * 1000
    longest = terms.rules.estimate.longest_gap_seconds // terms.seconds
    found = []
    for row, borders in enumerate(borders_of(seen)):
        stretches = stretches_of(lacking[row], borders, limit=len(frame), longest=longest)
        tasks = []
        for each in stretches:
            if each.end <= today[0] or each.first > today[-1]:
                continue
            first_day, last_day = days_touched(each, frame.day)
            tasks.append(
                _Task(
                    point=usage_points[row],
                    first_ms=frame.start_ms + each.first * step,
                    end_ms=frame.start_ms + each.end * step,
                    low_ms=frame.start_ms + each.low * step,
                    high_ms=frame.start_ms + each.high * step,
                    anchored=each.anchored,
                    from_day=frame.first_day + timedelta(days=first_day),
                    to_day=frame.first_day + timedelta(days=last_day),
                )
            )
        found.append(tasks)
    return found


def _fill(
    conn: Connection, terms: Terms, tasks: Sequence[_Task], first: date, last: date
) -> dict[_Task, Filled]:
    span = span_of_days(
        first - timedelta(days=terms.history_days),
        last,
        terms.zone,
        terms.limit,
        terms.seconds,
    )
    points = sorted({task.point for task in tasks})
    all_ = look(
        conn, terms.supply, points, terms.installed, span, seconds=terms.seconds, zone=terms.zone
    )
    place = {point: row for row, point in enumerate(points)}
    seen = all_.rows(np.array([place[task.point] for task in tasks], dtype=np.int64))
    made = estimate_series(_masked(seen, tasks, terms.rules), terms.rules)
    of_row: dict[int, list[Estimate]] = {}
    for one in made.made:
        of_row.setdefault(one.series, []).append(one)
    frame = seen.observed.grid.frame
    step = frame.step_s * 1000
    done = {}
    for row, task in enumerate(tasks):
        pieces = of_row.get(row, [])
        slots = [
            np.arange(
                (one.start_ms - frame.start_ms) // step, (one.end_ms - frame.start_ms) // step
            )
            for one in pieces
            if one.method
        ]
        at = np.sort(np.concatenate(slots)) if slots else np.zeros(0, dtype=np.int64)
        done[task] = Filled(
            start_ms=frame.start_ms + at * step, wh=made.grid.wh[row, at], low=made.low[row, at],
            high=made.high[row, at], made=tuple(pieces),
        )  # fmt: skip
    return done


def _masked(seen: Seen, tasks: Sequence[_Task], rules: RuleSet) -> Observed:
    """
    Return the series in which the stretch alone lacks, under its own registers alone.

    What is doubted counts with its raw value, for that is what stands, but serves no estimate.
    """
    observed = seen.observed
    findings = check_series(observed, rules, now_ms=observed.grid.frame.end_ms, light=True)
    grid = judged(observed, findings).grid
    start = grid.frame.start_ms + np.arange(len(grid.frame)) * grid.frame.step_s * 1000
    first, end, low, high = (
        np.array([getattr(task, name) for task in tasks], dtype=np.int64)[:, None]
        for name in ("first_ms", "end_ms", "low_ms", "high_ms")
    )
    own = (start >= first) & (start < end) & seen.lacking
    silent = (grid.state == State.QUESTIONABLE) | ((grid.state == State.MISSING) & ~own)
    state = np.where(silent, State.ESTIMATED, grid.state).astype(np.int8)
    reads = observed.reads
    anchored = np.array([task.anchored for task in tasks], dtype=np.bool_)
    keep = anchored[reads.series] & (
        (reads.at_ms == low[reads.series, 0]) | (reads.at_ms == high[reads.series, 0])
    )
    return replace(
        observed,
        grid=replace(grid, state=state),
        reads=replace(
            reads, series=reads.series[keep], rate=reads.rate[keep], at_ms=reads.at_ms[keep],
            wh=reads.wh[keep], factor=reads.factor[keep], state=reads.state[keep],
        ),
    )  # fmt: skip
