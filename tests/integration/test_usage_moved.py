"""An installation of one usage row per register goes on with segments that say the same."""

from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest

from cloud.store.db import Database
from cloud.store.migrate import migrate
from cloud.usage import service as usage
from meterloop.embedded.postgres import EmbeddedPostgres
from protocols.identity import UsagePointId
from tests.integration.ingest_kit import ORIGIN, UP1
from tests.integration.moved_kit import database_before

HOUR = timedelta(hours=1)

# (meter, hour, figure, cumulative): A rolls over at 1000 after hour 2; B follows it at hour 5
WALK = (("A", 1, 900, 900), ("A", 2, 990, 990), ("A", 3, 10, 1010), ("A", 4, 20, 1020),
        ("B", 6, 70, 1040), ("B", 7, 75, 1045))  # fmt: skip


@pytest.fixture
def old_dsn(postgres: EmbeddedPostgres) -> Iterator[str]:
    """A database as it stood before usage referred to raw readings."""
    with database_before(postgres, 100) as dsn:
        yield dsn


def plant(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("SET session_replication_role = replica")
        conn.execute(
            "INSERT INTO assets.usage_point (id, kind, transformer, zone, capacity_w)"
            " VALUES (%s, 'customer', 'T-01', 'Asia/Shanghai', 8000)", (UP1,),
        )  # fmt: skip
        conn.execute("SELECT ingest.open_day(%s, %s)", (ORIGIN.date(), ORIGIN))
        for meter, since, until in (("A", 0, 5), ("B", 5, None)):
            conn.execute(
                "INSERT INTO assets.meter (id, model, protocol, max_w, has_relay,"
                " can_close_remotely, rollover_wh) VALUES (%s, 'x', 'dlms', 20000, false, false,"
                " 2000)", (meter,),
            )  # fmt: skip
            conn.execute(
                "INSERT INTO assets.installation (meter, usage_point, concentrator, installed_at,"
                " removed_at, initial_wh, final_wh) VALUES (%s, %s, 'C-01', %s, %s, %s, %s)",
                (meter, UP1, ORIGIN + since * HOUR, ORIGIN + until * HOUR if until else None,
                 60 if meter == "B" else None, 30 if meter == "A" else None),
            )  # fmt: skip
            conn.execute(
                "INSERT INTO ingest.series (meter, channel, seconds) VALUES (%s, 1, 0)", (meter,)
            )
        for meter, hour, figure, total in WALK:
            at = ORIGIN + hour * HOUR
            conn.execute(
                "INSERT INTO ingest.reading (series, at, wh, status, received_at, batch)"
                " SELECT s.no, %s, %s, 0, %s, 0 FROM ingest.series AS s WHERE s.meter = %s",
                (at, figure, at, meter),
            )
            conn.execute(
                "INSERT INTO usage.register VALUES (%s, %s, %s, %s, %s, 'valid')",
                (UP1, at, meter, figure, total),
            )
        conn.execute(
            "INSERT INTO usage.newest (usage_point, at_ms, cumulative_wh, questionable, moved)"
            " SELECT usage_point, (extract(epoch FROM at) * 1000)::bigint, cumulative_wh, false,"
            " pg_current_xact_id() FROM usage.register ORDER BY at DESC LIMIT 1"
        )


@pytest.mark.req("B14", "N2")
def test_registers_that_stood_as_rows_stand_by_segments(old_dsn: str) -> None:
    plant(old_dsn)
    assert "0100_usage_segments" in migrate(old_dsn)
    with Database(old_dsn, user="meterloop_portal", application="test") as db:
        with db.transaction() as conn:
            at = [ORIGIN + hour * HOUR for _, hour, _, _ in WALK]
            found = usage.registers_at_each(conn, [UsagePointId(UP1)] * len(at), at)
            assert [(r.meter, r.meter_wh, r.cumulative_wh) for r in found if r] == [
                (meter, figure, total) for meter, _, figure, total in WALK
            ]
            segments = usage.segments_of(conn, [UsagePointId(UP1)])
            newest = usage.latest_registers(conn)
    assert [(s.meter, s.offset_wh) for s in segments] == [("A", 0), ("A", 1000), ("B", 970)]
    assert segments[-1].until is None
    assert newest.cumulative_wh.tolist() == [1045]
