"""Days are opened, packed and dropped at any moment, and no question gets another answer."""

import itertools
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud.ingest import service as ingest
from cloud.store.db import Database
from cloud.store.failpoint import NAMES, VARIABLE
from protocols.mqtt.uplink import DataBatch
from protocols.reading import Status
from tests.integration.ingest_kit import (
    GAPS,
    M1,
    M2,
    ORIGIN,
    READINGS,
    SLOT,
    Row,
    a_batch,
    build_network,
    registers,
    send,
    slots,
    tables,
    usage_rows,
)
from tests.integration.test_ingest_order import forget

DAYS = [(ORIGIN + timedelta(days=n)).date() for n in range(3)]
NOW = ORIGIN + timedelta(days=2, hours=12)
SLOTS = 86_400 // SLOT
TWICE = "SELECT series, at FROM ingest.stored GROUP BY 1, 2 HAVING count(*) > 1"
ROWS, PACKED = "SELECT count(*) FROM ingest.reading", "SELECT count(*) FROM ingest.day"


def a_life() -> list[Row]:
    """Two days and a half of two meters: one with every slot of the first day, one with holes."""
    plain = {4 * n: 1000 + 90 * n for n in range(15)}
    whole = {slot: 100 + slot % 7 for slot in range(SLOTS + 20)}
    holes = {slot: 5 + slot for slot in range(100) if slot % 5}
    return [*registers(M1, plain), *slots(M1, whole), *slots(M2, holes)]


LIFE = a_life()


@st.composite
def stories(draw: st.DrawFn) -> list[DataBatch | date]:
    """The same rows in any order and cut, some twice, and days closed in between."""
    order = draw(st.permutations(range(len(LIFE))))
    if draw(st.booleans()):
        order = sorted(order)
    cuts = sorted(draw(st.sets(st.integers(1, len(LIFE) - 1), min_size=1, max_size=6)))
    bounds = [0, *cuts, len(LIFE)]
    parts = [[LIFE[n] for n in order[a:b]] for a, b in itertools.pairwise(bounds)]
    parts.append([LIFE[n] for n in draw(st.lists(st.integers(0, len(LIFE) - 1), max_size=9))])
    batches = [a_batch(seq, part) for seq, part in enumerate(parts, 1)]
    story: list[DataBatch | date] = [
        *batches,
        *draw(st.lists(st.sampled_from(batches), max_size=2)),
    ]
    for day in draw(st.lists(st.sampled_from(DAYS), max_size=4)):
        story.insert(draw(st.integers(0, len(story))), day)
    return story


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(story=stories(), opened=st.integers(0, 3), together=st.booleans())
def test_neither_order_nor_repetition_nor_the_closing_of_days_matters(
    db: Database, story: list[DataBatch | date], opened: int, together: bool
) -> None:
    build_network(db)
    forget(db)
    send(db, a_batch(1, LIFE), now=NOW + timedelta(days=60))
    expected = [*tables(db, *READINGS, *GAPS), *usage_rows(db)]
    assert [len(part) for part in expected[:2]] == [15, SLOTS + 20 + 80]
    forget(db)
    for n in range(opened):
        ingest.open_days_ahead(db, now=ORIGIN + timedelta(days=n), ahead=0)
    for act in story:
        if isinstance(act, date):
            ingest.close_day(db, act, now=NOW)
        else:
            assert send(db, act, now=NOW).account.quarantined == 0
        if together:
            assert tables(db, TWICE) == [[]]
    assert [*tables(db, *READINGS, *GAPS), *usage_rows(db), *tables(db, TWICE)] == [*expected, []]
    closed = ingest.close_past_days(db, now=NOW + timedelta(days=9), keep=timedelta(days=1))
    assert [*tables(db, *READINGS, *GAPS), *usage_rows(db), *tables(db, TWICE)] == [*expected, []]
    assert tables(db, ROWS) == [[(0,)]]
    assert ingest.close_past_days(db, now=NOW + timedelta(days=9), keep=timedelta(days=1)) == {}
    assert set(closed) >= {day for day in DAYS[:opened] if day not in story}
    with db.transaction() as conn:
        assert ingest.totals(conn)["readings"] == sum(len(part) for part in expected[:2])


@pytest.fixture
def network(db: Database) -> Database:
    build_network(db)
    return db


def test_a_whole_day_is_packed_at_once_and_a_part_of_an_open_day_is_rows(network: Database) -> None:
    ingest.open_days_ahead(network, now=ORIGIN)
    send(network, a_batch(1, slots(M1, {slot: slot for slot in range(SLOTS)})), now=NOW)
    assert tables(network, ROWS, PACKED) == [[(0,)], [(1,)]]
    send(network, a_batch(2, slots(M2, {slot: slot for slot in range(SLOTS - 1)})), now=NOW)
    assert tables(network, ROWS, PACKED) == [[(SLOTS - 1,)], [(1,)]]
    again = send(network, a_batch(3, slots(M1, {3: 3, 4: 999})), now=NOW)
    assert (again.account.duplicates, again.account.quarantined) == (1, 1)


def test_a_late_reading_grows_its_packed_day_with_where_it_came_from(network: Database) -> None:
    ingest.open_days_ahead(network, now=ORIGIN)
    send(network, a_batch(1, registers(M1, {1: 100, 3: 300})), now=NOW)
    assert ingest.close_day(network, DAYS[0], now=NOW) == 2
    assert ingest.close_day(network, DAYS[0], now=NOW) == 0
    flagged = {"status": int(Status.CLOCK_INVALID)}
    late = send(network, a_batch(2, registers(M1, {2: 200}), change=flagged), now=NOW)
    assert (late.account.stored, late.account.quarantined) == (1, 0)
    # too low for where it lies: judged against both neighbours of the packed day
    wrong = send(network, a_batch(3, registers(M1, {2.5: 150})), now=NOW)
    assert wrong.account.quarantined == 1
    (found,) = tables(
        network, "SELECT at, wh, status, seq, received_at FROM ingest.register_reading ORDER BY at"
    )
    hour = timedelta(hours=1)
    assert found == [
        (ORIGIN + n * hour, 100 * n, 2 * (n == 2), 1 + (n == 2), ORIGIN + n * hour + hour / 3600)
        for n in (1, 2, 3)
    ]
    with network.transaction() as conn:
        assert ingest.last_register_times(conn, [M1]) == {M1: ORIGIN + 3 * hour}
        assert ingest.raw_registers(conn, M1).wh.tolist() == [100, 200, 300]


def test_the_database_refuses_a_packed_day_that_loses_a_reading(network: Database) -> None:
    send(network, a_batch(1, registers(M1, {1: 100, 3: 300})), now=NOW)
    with network.transaction() as conn:
        row = conn.execute("SELECT body FROM ingest.day").fetchone()
    assert row is not None
    send(network, a_batch(2, registers(M1, {2: 200})), now=NOW)
    with pytest.raises(psycopg.errors.IntegrityConstraintViolation), network.transaction() as conn:
        conn.execute("UPDATE ingest.day SET body = %s", (row[0],))


def test_the_database_refuses_to_drop_rows_that_are_not_packed(network: Database) -> None:
    ingest.open_days_ahead(network, now=ORIGIN)
    send(network, a_batch(1, registers(M1, {1: 100})), now=NOW)
    with pytest.raises(psycopg.errors.IntegrityConstraintViolation), network.transaction() as conn:
        conn.execute("SELECT ingest.drop_day(%s, %s)", (DAYS[0], NOW))
    assert tables(network, ROWS) == [[(1,)]]


_CLOSE = """
import sys
from datetime import date, datetime, UTC
from cloud.ingest import service
from cloud.store.db import Database
with Database(sys.argv[1], user="meterloop_ingest") as db:
    print(service.close_day(db, date.fromisoformat(sys.argv[2]), now=datetime.now(UTC)))
"""


@pytest.mark.parametrize("place", sorted(n for n in NAMES if n.startswith("ingest.")))
def test_a_close_that_is_killed_leaves_the_day_as_it_was(
    network: Database, database_dsn: str, place: str
) -> None:
    ingest.open_days_ahead(network, now=ORIGIN)
    send(network, a_batch(1, registers(M1, {1: 100, 3: 300})), now=NOW)
    before: Any = tables(network, *READINGS, ROWS, PACKED)

    def close(**environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", _CLOSE, database_dsn, DAYS[0].isoformat()], text=True,
            env={**os.environ, "PYTHONPATH": ".", **environment}, capture_output=True, check=False,
        )  # fmt: skip

    assert close(**{VARIABLE: f"{place}:kill"}).returncode == -9
    assert tables(network, *READINGS, ROWS, PACKED) == before
    done = close()
    assert (done.returncode, done.stdout.strip()) == (0, "2"), done.stderr
    assert tables(network, *READINGS, ROWS, PACKED) == [*before[:2], [(0,)], [(1,)]]


WAITING = (
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def test_two_who_need_the_same_new_month_both_have_it(network: Database, database_dsn: str) -> None:
    month = date(2031, 5, 1)

    def second() -> None:
        with psycopg.connect(database_dsn) as other:
            other.execute("SELECT ingest.ready_month(%s)", (month,))

    with ThreadPoolExecutor(1) as threads:
        with network.transaction() as conn:
            conn.execute("SELECT ingest.ready_month(%s)", (month,))
            waits = threads.submit(second)
            deadline = time.monotonic() + 60
            while tables(network, WAITING) != [[(1,)]]:
                assert time.monotonic() < deadline, "nobody waits for the first"
                time.sleep(0.02)
        waits.result(60)
    assert tables(network, "SELECT to_regclass('ingest.day_203105') IS NOT NULL") == [[(True,)]]
