"""An installation of one row per reading is brought to readings by series and loses nothing."""

from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest

from cloud.ingest import service as ingest
from cloud.ingest.model import MeterSeen
from cloud.store.db import Database
from cloud.store.migrate import migrate
from meterloop.embedded.postgres import EmbeddedPostgres
from tests.integration.ingest_kit import (
    M1,
    M2,
    ORIGIN,
    READINGS,
    a_batch,
    build_network,
    registers,
    send,
    slots,
    tables,
)
from tests.integration.moved_kit import database_before

HOUR = timedelta(hours=1)


@pytest.fixture
def old_dsn(postgres: EmbeddedPostgres) -> Iterator[str]:
    """A database as it stood before readings had series."""
    with database_before(postgres, 70) as dsn:
        yield dsn


def plant(dsn: str) -> None:
    """Two days of a meter, written as the version before wrote them."""
    with psycopg.connect(dsn) as conn:
        for seq in (1, 2):
            conn.execute(
                "INSERT INTO ingest.batch VALUES ('C-01', 1, %s, '\\x00', 'stored', %s, %s, %s, 5,"
                " 5, 0, 0, 0, 0, 0)",
                (seq, ORIGIN, ORIGIN, ORIGIN),
            )
            for hour in range(3):
                at = ORIGIN + HOUR * (24 * (seq - 1) + hour)
                conn.execute(
                    "INSERT INTO ingest.register_reading VALUES ('M-000001', 1, %s, %s, 0, %s,"
                    " 'C-01', 1, %s)",
                    (at, 1000 * seq + hour, at, seq),
                )
            for slot in range(2):
                at = ORIGIN + HOUR * 24 * (seq - 1) + HOUR * slot / 2
                conn.execute(
                    "INSERT INTO ingest.interval_reading VALUES ('M-000001', 3, %s, 1800, %s, 0,"
                    " %s, 'C-01', 1, %s)",
                    (at, 100 + slot, at, seq),
                )
        conn.execute(
            "INSERT INTO ingest.meter_seen VALUES ('M-000001', %s, %s)",
            (ORIGIN + 26 * HOUR, ORIGIN + 27 * HOUR),
        )


def test_old_readings_move_to_series_and_days_and_the_stream_goes_on(
    old_dsn: str, hypertable: bool
) -> None:
    with Database(old_dsn) as old:
        build_network(old)
    plant(old_dsn)
    with psycopg.connect(old_dsn) as conn:
        before = [conn.execute(query).fetchall() for query in READINGS]  # type: ignore[call-overload]
    applied = migrate(old_dsn, hypertable=hypertable)
    assert applied[0].startswith("0070")
    with Database(old_dsn) as db:
        assert tables(db, *READINGS) == before
        with db.transaction() as conn:
            assert ingest.meters_seen(conn) == [
                MeterSeen(meter=M1, last_at=ORIGIN + 26 * HOUR, last_received=ORIGIN + 27 * HOUR)
            ]
            assert len(ingest.days_open(conn)) == 2
            assert ingest.totals(conn)["readings"] == ingest.totals(conn)["stored"] == 10
        # a repeat of what moved, and something new beside it
        outcome = send(
            db, a_batch(3, [*registers(M1, {0: 1000, 26.5: 2100}), *slots(M1, {0: 100})])
        )
        assert (outcome.account.duplicates, outcome.account.stored) == (2, 1)
        assert send(db, a_batch(4, registers(M2, {1: 5}))).account.stored == 1
        rows = ingest.close_past_days(db, now=ORIGIN + 240 * HOUR, keep=24 * HOUR)
        assert list(rows.values()) == [6, 6]
        after = tables(db, *READINGS)
        assert [len(part) for part in after] == [8, 4]
        assert all(set(old) <= set(new) for old, new in zip(before, after, strict=True))
