"""Validation killed anywhere and begun again, and fed in any order, says the same in the end."""

import os
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud.assets import service as assets
from cloud.assets.model import Installation, Meter, PointKind, Registration, UsagePoint
from cloud.store.db import Database
from cloud.store.failpoint import NAMES, VARIABLE
from cloud.usage.agent import RawSupply
from cloud.vee import service as vee
from protocols.identity import MeterId, TransformerId, UsagePointId
from tests.integration.ingest_kit import C1, ORIGIN, SLOT, UP1, a_batch, send, tables
from tests.integration.vee_kit import (
    FINDINGS,
    OVERLAYS,
    POLICY,
    ZONE,
    Sender,
    build_one,
    end_of,
    rows,
    said,
    slots_of,
    truth,
    work,
)

DAYS = 6
HOLE = {*range(slots_of(2).stop - 5, slots_of(2).stop + 7), slots_of(4).start + 4}
SLOTS = [n for day in range(DAYS + 1) for n in slots_of(day) if n not in HOLE]
READS = [0, *(slots_of(day).stop for day in range(DAYS + 1))]
NOW = end_of(DAYS - 1) + timedelta(hours=1)

_WORK = """
import sys
from datetime import datetime
from cloud.store.db import Database
from cloud.usage.agent import RawSupply
from cloud.vee import service as vee
from cloud.vee.model import DayPolicy
with Database(sys.argv[1], user="meterloop_ingest") as db:
    now = datetime.fromisoformat(sys.argv[2])
    print(vee.work_all(db, RawSupply(), now=now, policy=DayPolicy(at_once=1)).days)
"""


@pytest.mark.parametrize("time", [1, 4])
@pytest.mark.parametrize("place", sorted(n for n in NAMES if n.startswith("vee.")))
def test_a_killed_run_leaves_nothing_half_done(
    db: Database, database_dsn: str, place: str, time: int
) -> None:
    build_one(db)
    Sender(db)(rows(SLOTS, reads=READS))

    def run(**environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", _WORK, database_dsn, NOW.isoformat()], text=True,
            env={**os.environ, "PYTHONPATH": ".", **environment}, capture_output=True, check=False,
        )  # fmt: skip

    assert run(**{VARIABLE: f"{place}:kill@{time}"}).returncode == -9
    done = run()
    assert done.returncode == 0, done.stderr
    found = said(db)
    assert set(found) == HOLE
    assert sum(wh for _, wh in found.values()) == sum(truth(n) for n in HOLE)
    assert run().stdout.strip() == "0"
    with db.transaction() as conn:
        assert vee.waiting(conn) == (0, 0)
        versions = conn.execute("SELECT day, max(version) FROM vee.overlay GROUP BY day").fetchall()
    assert {version for _, version in versions} == {1}
    assert len(versions) == 3


def another(db: Database, number: int) -> tuple[MeterId, UsagePointId]:
    """Install one more meter, as the first was."""
    meter, point = MeterId(f"M-{number:06}"), UsagePointId(f"UP-{number:06}")
    assets.register(
        db,
        Registration(
            usage_points=(
                UsagePoint(
                    id=point, kind=PointKind.CUSTOMER, transformer=TransformerId("T-01"),
                    zone=ZONE.key, capacity_w=8000,
                ),
            ),
            meters=(
                Meter(
                    id=meter, model="x", protocol="dlms", has_relay=True, can_close_remotely=True,
                    interval_seconds=SLOT, control_mode=4, max_w=20_000,
                ),
            ),
            installations=(
                Installation(meter=meter, usage_point=point, concentrator=C1, installed_at=ORIGIN),
            ),
        ),
        now=ORIGIN,
    )  # fmt: skip
    return meter, point


def stands(db: Database, point: UsagePointId) -> list[list[Any]]:
    """What is said and found of one usage point, without its name."""
    return [
        [row[1:] for row in table if row[0] == point] for table in tables(db, OVERLAYS, FINDINGS)
    ]


@settings(
    max_examples=6, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(
    order=st.lists(st.integers(0, 4), min_size=5, max_size=8).map(
        lambda some: [*some, *(n for n in range(5) if n not in some)]
    ),
    pauses=st.sets(st.integers(0, 7), max_size=3),
)
def test_any_order_and_repetition_says_what_the_proper_order_says(
    db: Database, order: list[int], pauses: set[int]
) -> None:
    with db.transaction() as conn:
        points = assets.usage_point_ids(conn)
    if not points:
        build_one(db)
        first = Sender(db)
        for day in range(DAYS + 1):
            mine = [n for n in slots_of(day) if n not in HOLE]
            first(rows(mine, reads=[slots_of(day).start, slots_of(day).stop]))
            work(db, max(day - 1, 0))
        assert {n for n, (kind, _) in said(db).items() if kind == 1} == HOLE
    meter, point = another(db, len(points) + 100)
    parts = [rows(SLOTS[n::5], reads=READS[n::5], meter=meter) for n in range(5)]
    for turn, part in enumerate(order):
        send(db, a_batch(100 * len(points) + turn + 50, parts[part]))
        if turn in pauses:
            vee.work_all(db, RawSupply(), now=NOW, policy=POLICY)
    vee.work_all(db, RawSupply(), now=NOW, policy=POLICY)
    assert stands(db, point) == stands(db, UP1)
