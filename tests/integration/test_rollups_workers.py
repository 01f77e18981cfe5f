"""Several workers side by side: each takes parts of the network that no other has."""

import threading
from datetime import timedelta

import pytest

from cloud.assets import service as assets
from cloud.assets.model import (
    Concentrator,
    Installation,
    Meter,
    PointKind,
    Registration,
    Transformer,
    UsagePoint,
)
from cloud.rollups import service as rollups
from cloud.rollups.service import Policy
from cloud.store.db import Database
from protocols.identity import MeterId, TransformerId, UsagePointId
from tests.integration.ingest_kit import C1, M1, ORIGIN, UP1, UP2, a_batch, build_network, registers
from tests.integration.ingest_kit import tables as asked
from tests.integration.rollup_kit import DAYS, LATER, PERIODS, deliver

TWICE = "SELECT usage_point, day FROM rollups.day GROUP BY 1, 2 HAVING count(*) > 1"


def test_a_part_that_another_works_on_is_left_to_him(db: Database) -> None:
    build_network(db)
    deliver(db, a_batch(1, registers(M1, {1: 1000, 20: 2000})))
    with db.transaction() as conn:
        ((same,),) = conn.execute(
            "SELECT (hashtext(%s) & 63) = (hashtext(%s) & 63)", (UP1, UP2)
        ).fetchall()
        assert not same
        conn.execute("SELECT pg_advisory_xact_lock(730519, hashtext(%s) & 63)", (UP1,))
        rollups.keep(db, now=LATER)
        assert rollups.days(conn, [UP1], ORIGIN.date(), LATER.date()) == []
        _, waiting, due = rollups.waiting(conn, LATER)
        assert due > 0
        assert waiting == due
    assert rollups.keep(db, now=LATER).days > 0
    with db.transaction() as conn:
        assert rollups.waiting(conn, LATER)[2] == 0


@pytest.mark.req("B14")
def test_workers_side_by_side_do_each_day_once(db: Database, database_dsn: str) -> None:
    meters = [MeterId(f"M-{n:03}") for n in range(60)]
    register_town(db, meters)
    for n, meter in enumerate(meters):
        read: dict[float, int] = {hour: 1000 + hour * (n + 1) for hour in range(1, 24 * 5, 6)}
        deliver(db, a_batch(n + 1, registers(meter, read)))
    made: list[int] = []
    start = threading.Barrier(3)

    def work() -> None:
        with Database(database_dsn, user="meterloop_ingest", size=1) as own:
            start.wait(60)
            more, days = True, 0
            while more:
                kept, more = rollups.turn(own, now=LATER, policy=Policy(days=20))
                days += kept.days
            made.append(days)

    workers = [threading.Thread(target=work) for _ in range(3)]
    for each in workers:
        each.start()
    for each in workers:
        each.join(300)
    assert len(made) == 3
    # one may have seen nothing due while another still had the part that was due
    made.append(rollups.keep(db, now=LATER).days)
    found = asked(db, DAYS, PERIODS, TWICE, "SELECT count(*) FROM rollups.day")
    assert found[2] == []
    assert found[3] == [(sum(made),)]
    assert {row[0] for row in found[0]} == {f"UP-{n:03}" for n in range(60)}
    assert rollups.keep(db, now=LATER + timedelta(minutes=1)).days == 0


def register_town(db: Database, meters: list[MeterId]) -> None:
    """Register as many points as there are meters."""
    transformer, concentrator = TransformerId("T-01"), C1
    assets.register(
        db,
        Registration(
            transformers=(Transformer(id=transformer),),
            concentrators=(Concentrator(id=concentrator),),
            usage_points=tuple(
                UsagePoint(
                    id=UsagePointId(f"UP-{n:03}"), kind=PointKind.CUSTOMER,
                    transformer=transformer, zone="Asia/Shanghai",
                )
                for n in range(len(meters))
            ),
            meters=tuple(
                Meter(id=meter, model="x", protocol="dlms", has_relay=False,
                      can_close_remotely=False)
                for meter in meters
            ),
            installations=tuple(
                Installation(
                    meter=meter, usage_point=UsagePointId(f"UP-{n:03}"),
                    concentrator=concentrator, installed_at=ORIGIN,
                )
                for n, meter in enumerate(meters)
            ),
        ),
        now=ORIGIN,
    )  # fmt: skip
