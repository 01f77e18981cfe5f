"""How far the agent believes its clock."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from edge.clock import EdgeClock, Trust
from protocols.timeline import TimeScale
from tests.unit.edge.edge_kit import NOON, HandClock


def test_a_clock_that_runs_evenly_is_believed() -> None:
    hand = HandClock()
    clock = hand.clock()
    hand.passes(86_400.0)
    assert clock.trust() is Trust.SYNCHRONISED


def test_a_step_against_the_monotonic_clock_takes_trust_away_and_stepping_back_gives_it() -> None:
    hand = HandClock()
    clock = hand.clock()
    hand.wall -= timedelta(minutes=10)
    assert clock.trust() is Trust.UNTRUSTED
    hand.wall += timedelta(minutes=10)
    assert clock.trust() is Trust.SYNCHRONISED


def test_an_absurdly_old_clock_is_never_believed() -> None:
    assert HandClock(wall=datetime(1970, 1, 2, tzinfo=UTC)).clock().trust() is Trust.UNTRUSTED


def test_the_age_of_the_last_synchronisation_decides(tmp_path: Path) -> None:
    synced = tmp_path / "synchronized"
    hand = HandClock()
    clock = hand.clock(sync_file=synced)
    assert clock.trust() is Trust.UNTRUSTED
    synced.touch()
    os.utime(synced, (NOON.timestamp(), NOON.timestamp()))
    hand.passes(3600)
    assert clock.trust() is Trust.SYNCHRONISED
    hand.passes(86_400)
    assert clock.trust() is Trust.HOLDOVER
    hand.passes(86_400 * 8)
    assert clock.trust() is Trust.UNTRUSTED


def test_a_synchronisation_after_a_step_restores_trust(tmp_path: Path) -> None:
    synced = tmp_path / "synchronized"
    synced.touch()
    os.utime(synced, (NOON.timestamp(), NOON.timestamp()))
    hand = HandClock()
    clock = hand.clock(sync_file=synced)
    hand.wall += timedelta(minutes=10)
    assert clock.trust() is Trust.UNTRUSTED
    stamp = (hand.wall - timedelta(seconds=1)).timestamp()
    os.utime(synced, (stamp, stamp))
    assert clock.trust() is Trust.SYNCHRONISED


def test_business_time_runs_on_the_scale_and_durations_do_not() -> None:
    hand = HandClock()
    scale = TimeScale(wall_origin=NOON, origin=NOON, speed=4320)
    clock = EdgeClock(scale, wall=lambda: hand.wall, elapsed=hand.look)
    before = clock.monotonic()
    hand.passes(20.0)
    assert clock.now() == NOON + timedelta(days=1)
    assert clock.monotonic() - before == 20.0
    assert clock.wall_seconds_until(NOON + timedelta(days=2)) == 20.0
