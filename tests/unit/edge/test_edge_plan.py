"""What is read next, and what an answer means for what is missing."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.acquire.plan import (
    MOST_TRIES,
    Agenda,
    Cadence,
    Coverage,
    Gap,
    StepKind,
    after_backfill,
    after_newest,
    newest_span,
    next_hole,
    next_step,
    visited,
)
from protocols.timeline import Interval, grid_starts

HALF_HOUR = 1800
DAY = datetime(2026, 7, 1, tzinfo=UTC)
CHUNK = timedelta(days=2)
CADENCE = Cadence(poll=2.0, watched=1.0, profile=3.0, backfill_pause=0.1, chunk=CHUNK)


def at(hours: float) -> datetime:
    return DAY + timedelta(hours=hours)


def agenda(**changes: float) -> Agenda:
    due = {"live_at": 100.0, "profile_at": 100.0, "backfill_at": 100.0} | changes
    return Agenda(interval_seconds=HALF_HOUR, **due)


def test_present_values_come_first_then_the_newest_then_what_is_missing() -> None:
    coverage = Coverage(mark=at(10), gaps=(Gap(start=at(0), end=at(8)),))
    plan, kinds = agenda(), []
    for _ in range(3):
        step = next_step(plan, coverage, CADENCE, now=at(12), monotonic=100.0)
        kinds.append((step.kind, step.wait))
        plan = visited(plan, step, CADENCE, monotonic=100.0)
    assert kinds == [(StepKind.LIVE, 0.0), (StepKind.PROFILE, 0.0), (StepKind.BACKFILL, 0.0)]
    rest = next_step(plan, coverage, CADENCE, now=at(12), monotonic=100.0)
    assert rest.wait == pytest.approx(0.1)


def test_a_watched_meter_is_read_faster_and_only_while_it_is_watched() -> None:
    plan = visited(agenda(), next_step(agenda(), Coverage(mark=at(12)), CADENCE, now=at(12),
                   monotonic=100.0), CADENCE, monotonic=100.0)  # fmt: skip
    calm = Coverage(mark=at(12))
    plan = Agenda(interval_seconds=0, live_at=plan.live_at, profile_at=0, backfill_at=0)
    assert next_step(plan, calm, CADENCE, now=at(12), monotonic=101.0).wait == pytest.approx(1.0)
    watched = Agenda(
        interval_seconds=0, live_at=plan.live_at, profile_at=0, backfill_at=0, watched_until=130.0
    )
    assert next_step(watched, calm, CADENCE, now=at(12), monotonic=101.0).wait == 0.0


def test_the_newest_chunk_is_asked_for_and_the_rest_left_as_a_gap() -> None:
    coverage = Coverage(mark=at(0))
    span = newest_span(coverage, HALF_HOUR, CHUNK, now=at(24 * 10 + 0.2))
    assert span == Interval(start=at(24 * 8), end=at(24 * 10))
    after = after_newest(coverage, span, grid_starts(span, HALF_HOUR), HALF_HOUR)
    assert after.mark == at(240)
    assert after.gaps == (Gap(start=at(0), end=at(24 * 8)),)
    hole = next_hole(after, CHUNK)
    assert hole == Gap(start=at(24 * 6), end=at(24 * 8))


def test_missing_intervals_at_the_very_end_are_waited_for_not_called_a_gap() -> None:
    coverage = Coverage(mark=at(0))
    span = Interval(start=at(0), end=at(3))
    after = after_newest(coverage, span, [at(0), at(0.5), at(1.5)], HALF_HOUR)
    assert after.mark == at(2)
    assert after.gaps == (Gap(start=at(1), end=at(1.5), tries=1),)


@pytest.mark.req("A8")
def test_a_hole_that_stays_empty_is_asked_for_a_bounded_number_of_times_and_remembered() -> None:
    coverage = Coverage(mark=at(4), gaps=(Gap(start=at(1), end=at(2)),))
    for _ in range(MOST_TRIES):
        hole = next_hole(coverage, CHUNK)
        assert hole is not None
        span = Interval(start=hole.start, end=hole.end)
        coverage = after_backfill(coverage, span, [], HALF_HOUR)
    assert next_hole(coverage, CHUNK) is None
    assert coverage.missing() == timedelta(hours=1)


def test_a_partly_filled_hole_keeps_only_what_is_still_missing() -> None:
    coverage = Coverage(mark=at(8), gaps=(Gap(start=at(0), end=at(6)),))
    span = Interval(start=at(4), end=at(6))
    after = after_backfill(coverage, span, [at(4), at(5)], HALF_HOUR)
    assert after.gaps == (
        Gap(start=at(0), end=at(4)),
        Gap(start=at(4.5), end=at(5), tries=1),
        Gap(start=at(5.5), end=at(6), tries=1),
    )


def test_a_hole_that_failed_before_waits_behind_fresh_ones_and_for_longer() -> None:
    gaps = (Gap(start=at(0), end=at(1)), Gap(start=at(5), end=at(6), tries=1))
    assert next_hole(Coverage(mark=at(8), gaps=gaps), CHUNK) == gaps[0]
    old = Coverage(mark=at(12), gaps=gaps[1:])
    step = next_step(agenda(live_at=101.0), old, CADENCE, now=at(12), monotonic=100.0)
    assert (step.kind, step.wait) == (StepKind.LIVE, 1.0)
    later = next_step(agenda(live_at=111.0), old, CADENCE, now=at(12), monotonic=110.0)
    assert later.kind is StepKind.BACKFILL


@given(
    slots=st.sets(st.integers(0, 479)),
    visits=st.lists(st.integers(1, 60), min_size=1, max_size=12),
)
def test_whatever_the_meter_has_is_read_once_and_the_rest_is_known_as_missing(
    slots: set[int], visits: list[int]
) -> None:
    """Oracle: after all visits, stored + missing = everything up to the mark, nothing twice."""
    step = timedelta(seconds=HALF_HOUR)
    present = {DAY + step * slot for slot in slots}
    coverage, now, stored = Coverage(mark=DAY), DAY, []
    for slots_passed in visits:
        now += step * slots_passed
        span = newest_span(coverage, HALF_HOUR, timedelta(hours=6), now=now)
        if span is not None:
            rows = [start for start in grid_starts(span, HALF_HOUR) if start in present]
            stored += rows
            coverage = after_newest(coverage, span, rows, HALF_HOUR)
    for _ in range(500):
        hole = next_hole(coverage, timedelta(hours=6))
        if hole is None:
            break
        span = Interval(start=hole.start, end=hole.end)
        rows = [start for start in grid_starts(span, HALF_HOUR) if start in present]
        stored += rows
        coverage = after_backfill(coverage, span, rows, HALF_HOUR)
    assert next_hole(coverage, CHUNK) is None
    assert len(stored) == len(set(stored))
    if coverage.mark > DAY:
        whole = set(grid_starts(Interval(start=DAY, end=coverage.mark), HALF_HOUR))
        missing = {
            start
            for gap in coverage.gaps
            for start in grid_starts(Interval(start=gap.start, end=gap.end), HALF_HOUR)
        }
        assert set(stored) == whole & present
        assert missing == whole - present


def test_logs_come_after_the_newest_and_before_what_is_missing() -> None:
    coverage = Coverage(mark=at(10), gaps=(Gap(start=at(0), end=at(8)),))
    plan, kinds = agenda(events_at=100.0), []
    for _ in range(4):
        step = next_step(plan, coverage, CADENCE, now=at(12), monotonic=100.0)
        kinds.append(step.kind)
        plan = visited(plan, step, CADENCE, monotonic=100.0)
    assert kinds == [StepKind.LIVE, StepKind.PROFILE, StepKind.EVENTS, StepKind.BACKFILL]
    assert plan.events_at == 100.0 + CADENCE.events


def test_a_meter_without_a_profile_has_its_logs_read_too() -> None:
    plan = Agenda(interval_seconds=0, live_at=130.0, profile_at=0, backfill_at=0, events_at=120.0)
    calm = Coverage(mark=at(12))
    assert next_step(plan, calm, CADENCE, now=at(12), monotonic=110.0).wait == pytest.approx(10.0)
    assert next_step(plan, calm, CADENCE, now=at(12), monotonic=120.0).kind is StepKind.EVENTS
