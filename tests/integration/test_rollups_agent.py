"""The process keeps roll-ups by itself, and a turn that is killed has not happened."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cloud.ingest.agent import IngestConfig
from cloud.rollups import agent
from cloud.rollups import service as rollups
from cloud.store.db import Database
from cloud.store.failpoint import VARIABLE
from protocols.mqtt.broker import BrokerAddress
from protocols.timeline import TimeScale
from tests.integration.ingest_kit import M1, M2, a_batch, build_network, registers, slots, tables
from tests.integration.rollup_kit import DAYS, LATER, PERIODS, deliver

_TURN = """
import sys
from cloud.rollups import service
from cloud.store.db import Database
from tests.integration.rollup_kit import LATER
with Database(sys.argv[1]) as db:
    service.keep(db, now=LATER)
"""
ROOT = Path(__file__).parents[2]
STORY = (
    "SELECT usage_point, day, version, known_at FROM rollups.day ORDER BY 1, 2, 3",
    "SELECT usage_point, day, after_version FROM rollups.recompute ORDER BY 1, 2, 3",
    "SELECT count(*) FROM rollups.dirty",
    "SELECT count(*) FROM rollups.touched",
)


def a_life(db: Database) -> None:
    """Readings of two meters over the end of a month."""
    build_network(db)
    hours = range(24 * 29, 24 * 34, 5)
    deliver(db, a_batch(1, registers(M1, {hour: 1000 + 40 * hour for hour in hours})))
    deliver(db, a_batch(2, registers(M2, {hour: 20 * hour for hour in hours})))
    deliver(db, a_batch(3, slots(M1, dict.fromkeys(range(48 * 29, 48 * 33, 3), 90))))


@pytest.mark.req("B14")
def test_a_killed_turn_leaves_everything_to_the_next_one(db: Database, database_dsn: str) -> None:
    a_life(db)
    before = tables(db, *STORY)
    killed = subprocess.run(
        [sys.executable, "-c", _TURN, database_dsn], check=False,
        env={**os.environ, VARIABLE: "rollups.days_written:kill", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert killed.returncode == -9
    assert tables(db, *STORY) == before
    rollups.keep(db, now=LATER)
    assert tables(db, *STORY) != before
    after = tables(db, DAYS, PERIODS, *STORY)
    rollups.keep(db, now=LATER)
    assert tables(db, DAYS, PERIODS, *STORY) == after


def test_only_one_turn_at_a_time_and_none_is_lost(db: Database) -> None:
    a_life(db)
    with db.transaction() as conn:
        conn.execute("SELECT pg_advisory_xact_lock(7305117110)")
        kept, more = rollups.turn(db, now=LATER)
        assert (kept.looked_at, more) == (0, False)
    assert rollups.keep(db, now=LATER).days > 0


def test_the_process_rolls_up_what_is_due_under_its_own_role(
    db: Database, database_dsn: str
) -> None:
    a_life(db)
    config = IngestConfig(
        dsn=database_dsn, broker=BrokerAddress(host="127.0.0.1", port=1),
        scale=TimeScale(origin=LATER, wall_origin=LATER),
    )  # fmt: skip
    status: dict[str, Any] = {}

    async def until_done() -> None:
        stop = asyncio.Event()
        task = asyncio.create_task(agent.keep(config, stop=stop, status=status))
        while not task.done():
            with db.transaction() as conn:
                _, waiting, due = rollups.waiting(conn, LATER)
            if status.get("rolled_up") and (waiting, due) == (0, 0):
                stop.set()
            await asyncio.sleep(0.05)
        await task

    asyncio.run(asyncio.wait_for(until_done(), 60))
    with db.transaction() as conn:
        (count,) = conn.execute("SELECT count(*) FROM rollups.day").fetchone() or (0,)
    assert status["rolled_up"] == count > 0
