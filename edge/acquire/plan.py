"""
What to read next from one meter, and what an answer means for what is still missing.

Present values first, then the newest part of the profile, then the meter's event logs, then what
is missing, newest part first, in chunks. `mark` is the end of the newest interval that is safely
stored; `gaps` are the holes before it. A hole that the meter has answered for without filling it
is asked for a bounded number of times, then remembered as missing for good.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from protocols.timeline import Interval, floor_to_grid

MOST_TRIES = 3
"""How often the meter may answer without an interval before we believe that it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Intervals in `[start, end)` that are not stored; `tries` answers came without them."""

    start: datetime
    end: datetime
    tries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How far a profile is stored. *Shape*: `gaps` in order, apart, all before `mark`."""

    mark: datetime
    gaps: tuple[Gap, ...] = ()

    def missing(self) -> timedelta:
        """Return how much time lies in gaps, also in those given up."""
        return sum((gap.end - gap.start for gap in self.gaps), timedelta())


@dataclass(frozen=True, slots=True, kw_only=True)
class Cadence:
    """
    How often to read. *Units*: wall seconds; `chunk` is business time of one profile trip.

    `retry_pause` comes before a hole that the meter has already failed to fill. `offline` takes
    the place of `poll` while nobody can hear: the profile is complete anyway, and a long outage
    must not fill the outbox with momentary values.
    """

    poll: float
    watched: float
    profile: float
    backfill_pause: float
    retry_pause: float = 10.0
    offline: float = 0.0
    events: float = 60.0
    chunk: timedelta


class StepKind(StrEnum):
    """What a visit reads."""

    LIVE = "live"
    PROFILE = "profile"
    EVENTS = "events"
    BACKFILL = "backfill"


@dataclass(frozen=True, slots=True, kw_only=True)
class Agenda:
    """
    When which kind of visit to one meter is due. *Units*: seconds of the monotonic clock.

    `interval_seconds` is 0 for a meter without a profile, `events_at` None for one without logs.
    """

    interval_seconds: int
    live_at: float
    profile_at: float
    backfill_at: float
    watched_until: float = 0.0
    events_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The next visit: wait `wait` wall seconds, then read `span` (profile) or present values."""

    kind: StepKind
    wait: float = 0.0
    span: Interval | None = None


def next_step(
    agenda: Agenda,
    coverage: Coverage,
    cadence: Cadence,
    *,
    now: datetime,
    monotonic: float,
    heard: bool = True,
) -> Step:
    """Return what to do next: whatever is due in the order of the module text, else the wait."""
    live_at = agenda.live_at
    if monotonic < agenda.watched_until:
        live_at = min(live_at, agenda.live_at - cadence.poll + cadence.watched)
    if not heard:
        live_at = agenda.live_at + max(0.0, cadence.offline - cadence.poll)
    if live_at <= monotonic:
        return Step(kind=StepKind.LIVE)
    wait = live_at - monotonic
    if agenda.interval_seconds:
        if agenda.profile_at <= monotonic:
            newest = newest_span(coverage, agenda.interval_seconds, cadence.chunk, now=now)
            if newest is not None:
                return Step(kind=StepKind.PROFILE, span=newest)
            wait = min(wait, 1.0)
        else:
            wait = min(wait, agenda.profile_at - monotonic)
    if agenda.events_at is not None:
        if agenda.events_at <= monotonic:
            return Step(kind=StepKind.EVENTS)
        wait = min(wait, agenda.events_at - monotonic)
    if agenda.interval_seconds:
        hole = next_hole(coverage, cadence.chunk)
        if hole is not None:
            backfill_at = agenda.backfill_at + (cadence.retry_pause if hole.tries else 0.0)
            if backfill_at <= monotonic:
                return Step(kind=StepKind.BACKFILL, span=Interval(start=hole.start, end=hole.end))
            wait = min(wait, backfill_at - monotonic)
    return Step(kind=StepKind.LIVE, wait=wait)


def visited(agenda: Agenda, step: Step, cadence: Cadence, *, monotonic: float) -> Agenda:
    """Return the agenda after a visit that began at `monotonic`, whether it succeeded or not."""
    match step.kind:
        case StepKind.LIVE:
            return replace(agenda, live_at=monotonic + cadence.poll)
        case StepKind.PROFILE:
            return replace(agenda, profile_at=monotonic + cadence.profile)
        case StepKind.EVENTS:
            return replace(agenda, events_at=monotonic + cadence.events)
        case StepKind.BACKFILL:
            return replace(agenda, backfill_at=monotonic + cadence.backfill_pause)


def newest_span(
    coverage: Coverage, interval_seconds: int, chunk: timedelta, *, now: datetime
) -> Interval | None:
    """Return the closed intervals after the mark, at most the newest `chunk` of them."""
    end = floor_to_grid(now, interval_seconds)
    if end <= coverage.mark:
        return None
    oldest = floor_to_grid(end - chunk, interval_seconds)
    return Interval(start=max(coverage.mark, oldest), end=end)


def next_hole(coverage: Coverage, chunk: timedelta) -> Gap | None:
    """Return the newest part of the hole least often asked for, None when all are given up."""
    asked = [gap for gap in coverage.gaps if gap.tries < MOST_TRIES]
    if not asked:
        return None
    least = min(gap.tries for gap in asked)
    gap = max((item for item in asked if item.tries == least), key=lambda item: item.end)
    return replace(gap, start=max(gap.start, gap.end - chunk))


def after_newest(
    coverage: Coverage, span: Interval, starts: Iterable[datetime], interval_seconds: int
) -> Coverage:
    """
    Return the coverage after the meter answered `span` (from `newest_span`) with `starts`.

    What lies between mark and span is left for backfill. Missing intervals at the very end are no
    gap: a meter whose clock lags has not closed them yet; the mark waits for them.
    """
    gaps = list(coverage.gaps)
    if span.start > coverage.mark:
        gaps.append(Gap(start=coverage.mark, end=span.start))
    step = timedelta(seconds=interval_seconds)
    mark = span.start
    for start in sorted(start for start in set(starts) if start in span):
        if start > mark:
            gaps.append(Gap(start=mark, end=start, tries=1))
        mark = start + step
    return Coverage(mark=mark, gaps=_joined(gaps))


def after_backfill(
    coverage: Coverage, span: Interval, starts: Iterable[datetime], interval_seconds: int
) -> Coverage:
    """Return the coverage after the meter answered the hole `span` with `starts`."""
    step = timedelta(seconds=interval_seconds)
    filled = sorted(start for start in set(starts) if start in span)
    gaps: list[Gap] = []
    for gap in coverage.gaps:
        if gap.end <= span.start or gap.start >= span.end:
            gaps.append(gap)
            continue
        if gap.start < span.start:
            gaps.append(replace(gap, end=span.start))
        at = max(gap.start, span.start)
        end = min(gap.end, span.end)
        for start in filled:
            if start > at:
                gaps.append(Gap(start=at, end=start, tries=gap.tries + 1))
            at = max(at, start + step)
        if at < end:
            gaps.append(Gap(start=at, end=end, tries=gap.tries + 1))
        if gap.end > span.end:
            gaps.append(replace(gap, start=span.end))
    return Coverage(mark=coverage.mark, gaps=_joined(gaps))


def _joined(gaps: Iterable[Gap]) -> tuple[Gap, ...]:
    """Return gaps in order, neighbours with the same number of tries made one."""
    joined: list[Gap] = []
    for gap in sorted(gaps, key=lambda item: item.start):
        if joined and joined[-1].end == gap.start and joined[-1].tries == gap.tries:
            joined[-1] = replace(joined[-1], end=gap.end)
        else:
            joined.append(gap)
    return tuple(joined)
