"""While nobody can hear, present values are read more rarely; the profile goes on."""

from dataclasses import replace
from datetime import timedelta

import pytest

from edge.acquire.plan import Agenda, Cadence, Coverage, StepKind, next_step
from tests.unit.edge.edge_kit import NOON

CADENCE = Cadence(
    poll=2.0, watched=1.0, profile=3.0, backfill_pause=0.1, chunk=timedelta(days=2), offline=60.0
)
AGENDA = Agenda(interval_seconds=1800, live_at=100.0, profile_at=100.0, backfill_at=100.0)
UP_TO_DATE = Coverage(mark=NOON)


@pytest.mark.req("A8")
def test_present_values_wait_and_the_profile_does_not() -> None:
    heard = next_step(AGENDA, UP_TO_DATE, CADENCE, now=NOON, monotonic=100.0)
    assert (heard.kind, heard.wait) == (StepKind.LIVE, 0.0)
    behind = replace(UP_TO_DATE, mark=NOON - timedelta(hours=1))
    step = next_step(AGENDA, behind, CADENCE, now=NOON, monotonic=100.0, heard=False)
    assert step.kind is StepKind.PROFILE
    late = next_step(AGENDA, UP_TO_DATE, CADENCE, now=NOON, monotonic=158.0, heard=False)
    assert (late.kind, late.wait) == (StepKind.LIVE, 0.0)


def test_a_cadence_slower_than_the_offline_one_stays() -> None:
    slow = replace(CADENCE, poll=300.0)
    step = next_step(AGENDA, UP_TO_DATE, slow, now=NOON, monotonic=100.0, heard=False)
    assert (step.kind, step.wait) == (StepKind.LIVE, 0.0)
