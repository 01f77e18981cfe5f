"""The whole installation as `up` runs it: ready, read, killed piece by piece, ended, audited."""

import asyncio
import json
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from cloud.store.clock import Clock
from cloud.store.db import Database
from meterloop.audit import audit_installation
from meterloop.demo import town as demo_town
from meterloop.stack import Stack
from meterloop.supervisor import State


def crowd() -> float:
    """How many times longer things take here now, because others use the same cores."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


async def until(holds: Callable[[], bool], *, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.1)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.req("A1", "A9")
def test_every_killed_process_is_back_and_nothing_was_lost(tmp_path: Path) -> None:
    """G12 and R1 to R5: `kill -9` of each process in turn, the broker and PostgreSQL included."""
    town = demo_town.prepare(tmp_path, seed_number=1, speed=4320, port=0)
    clock = Clock(scale=town.scale)
    pids: list[int] = []

    async def scene() -> None:
        async with Stack(town.installation) as stack:
            with Database(stack.dsn, application="test", size=2) as owner:
                await asyncio.to_thread(demo_town.fill, owner, town, clock=clock)
            await stack.start_simulator()
            await asyncio.gather(stack.start_services(), stack.start_edges())
            rows = stack.supervisor.status()
            ingest = stack.supervisor.row("ingest")
            await until(lambda: int(ingest.health.get("stored", 0)) > 2_000, seconds=60)
            for row in rows:
                if row.name in {"edge-C-02", "edge-C-03", "edge-C-04"}:
                    continue  # the same program as the first agent
                killed, restarts, began = row.pid, row.restarts, time.monotonic()
                os.kill(killed, signal.SIGKILL)
                await until(
                    lambda row=row, pid=killed: row.state is State.READY and row.pid != pid,  # type: ignore[misc]
                    seconds=10 * crowd(),
                )
                assert row.restarts == restarts + 1, row.name
                sys.stdout.write(f"{row.name}: back after {time.monotonic() - began:.1f} s\n")
            await until(lambda: int(ingest.health.get("receipts", 0)) > 20, seconds=60)
            await asyncio.sleep(5)
            for _ in range(20):  # conservation is judged at rest: what flies may land
                report = await asyncio.to_thread(
                    audit_installation, town.installation, dsn=stack.dsn
                )
                if report.total == 0:
                    break
                await asyncio.sleep(1)
            assert report.total == 0, report.as_text()
            assert report.counts["intervals"] > 2_000
            pids.extend(row.pid for row in rows)

    asyncio.run(scene())
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
    table = json.loads((tmp_path / "run" / "status.json").read_text())["processes"]
    assert {row["state"] for row in table} == {"ended"}
    with sqlite3.connect(tmp_path / "simulator" / "truth.sqlite") as truth:
        assert truth.execute("SELECT count(*) FROM interval").fetchone()[0] > 2_000
