"""What an operator watches, beside what is stored: slots by hour, lag, presence, one reading."""

import random
from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cloud.assets import service as assets
from cloud.ingest import service as ingest
from cloud.ingest.service import stream, tracing
from cloud.ingest.service.stream import Flow, Stream
from cloud.store.db import Database
from protocols.identity import ConcentratorId
from protocols.reading import Channel
from tests.integration.ingest_kit import (
    C1,
    C2,
    M1,
    M2,
    M3,
    ORIGIN,
    SPARE,
    UP1,
    Row,
    a_batch,
    build_network,
    registers,
    send,
    send_octets,
    slots,
    tables,
)
from tests.integration.test_ingest_order import forget

DAY = timedelta(days=1)
GRACE = timedelta(minutes=15)
LATE = ORIGIN + 3 * DAY
NOON = ORIGIN + DAY + timedelta(hours=12, minutes=20)
INTERVALS = "SELECT concentrator, start FROM ingest.interval_reading WHERE channel = 3"
TALLIES = "SELECT concentrator, day, slots FROM ingest.tally"


def rows_of_two_days() -> list[Row]:
    """Whole days, holes, registers between them, of meters on two concentrators."""
    return [
        *slots(M1, {n: 100 + n for n in range(60)}),
        *slots(M2, {n: 7 for n in range(96) if n % 5}),
        *slots(M3, dict.fromkeys(range(50, 96), 9)),
        *registers(M1, {n: 1000 + 50 * n for n in range(12)}),
    ]


def counted(db: Database) -> Counter[tuple[str, object, int]]:
    """Return the tallies as (concentrator, day, hour)."""
    [rows] = tables(db, TALLIES)
    return Counter(
        {
            (concentrator, day, hour): many
            for concentrator, day, by_hour in rows
            for hour, many in enumerate(by_hour)
            if many
        }
    )


@pytest.mark.req("A8")
@settings(
    max_examples=5,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(seed=st.integers(0, 2**32), cuts=st.integers(1, 4), close=st.booleans())
def test_tallies_are_the_stored_slots_in_any_order_and_however_often_they_come(
    db: Database, seed: int, cuts: int, close: bool
) -> None:
    forget(db)
    with db.transaction() as conn:
        conn.execute("TRUNCATE ingest.tally")
    build_network(db)
    ingest.open_days_ahead(db, now=ORIGIN)
    rows, chance = rows_of_two_days(), random.Random(seed)
    chance.shuffle(rows)
    home = {M1: C1, M2: C1, M3: C2}
    parts = [rows[n::cuts] for n in range(cuts)] * 2
    chance.shuffle(parts)
    for seq, part in enumerate(parts, start=1):
        for concentrator in (C1, C2):
            mine = [row for row in part if home[row[0]] == concentrator]
            if mine:
                send(db, a_batch(seq, mine, concentrator=concentrator), now=LATE)
        if close and seq == cuts:
            ingest.close_day(db, ORIGIN.date(), now=LATE)
    [stored] = tables(db, INTERVALS)
    assert counted(db) == Counter((c, start.date(), start.hour) for c, start in stored)
    assert sum(counted(db).values()) == 60 + 76 + 46


def a_look(db: Database) -> tuple[Stream, dict[ConcentratorId, Flow]]:
    """Return the stream at noon of the second day."""
    with db.transaction() as conn:
        found = stream.watch(conn, now=NOON, wall_now=NOON, grace=GRACE)
    return found, {flow.concentrator: flow for flow in found.flows}


@pytest.mark.req("A8")
def test_success_and_coverage_by_concentrator(db: Database) -> None:
    build_network(db)
    # slots 24 .. 71 lie in the 24 hours before noon of the second day
    send(db, a_batch(1, slots(M1, dict.fromkeys(range(73), 5))), now=NOON)
    send(db, a_batch(2, slots(M2, dict.fromkeys(range(24, 60), 5))), now=NOON)
    found, flows = a_look(db)
    assert found.first_hour == ORIGIN + timedelta(hours=12)
    first, second = flows[C1], flows[C2]
    assert (first.meters, first.heard, sum(first.expected), sum(first.came)) == (2, 2, 96, 84)
    assert first.came == (4,) * 18 + (2,) * 6
    assert first.success_permille == 875
    assert (second.meters, second.heard, sum(second.came)) == (1, 0, 0)
    assert second.success_permille == 0
    assert second.newest_wall is None
    assert found.success_permille == 84 * 1000 // 144


@pytest.mark.req("A8")
def test_a_meter_is_expected_only_while_it_hangs_there(db: Database) -> None:
    build_network(db)
    at = ORIGIN + DAY
    assets.exchange(
        db, usage_point=UP1, new_meter=SPARE, at=at, final_wh=5000, initial_wh=0,
        actor="user:reza", now=NOON,
    )  # fmt: skip
    send(db, a_batch(1, slots(M1, dict.fromkeys(range(24, 48), 5))), now=NOON)
    send(db, a_batch(2, slots(SPARE, dict.fromkeys(range(48, 73), 5))), now=NOON)
    _, flows = a_look(db)
    # M2 is silent; of the other two each filled what was its own
    assert (flows[C1].meters, flows[C1].heard) == (2, 1)
    assert sum(flows[C1].expected) == 96
    assert sum(flows[C1].came) == 48


def test_lag_and_rates_come_from_the_last_batches(db: Database) -> None:
    build_network(db)
    for seq, age in ((1, 25 * 60), (2, 130), (3, 20)):
        send(db, a_batch(seq, slots(M1, {seq: 5, seq + 10: 6})), now=NOON - timedelta(seconds=age))
    send_octets(db, b"no batch", now=NOON - timedelta(seconds=10))
    found, flows = a_look(db)
    assert found.newest_wall == NOON - timedelta(seconds=20)
    assert [one.stored for one in found.minutes] == [2, 2, 2]
    late = found.minutes[-1].lag_p95_ms
    assert late == (NOON - timedelta(seconds=20) - ORIGIN) // timedelta(milliseconds=1)
    batches, readings = found.per_second()
    # two batches of two readings in the last four minutes and this one, which has just begun
    assert (batches, readings) == (2_000_000 // 240_000, 4_000_000 // 240_000)
    assert (flows[C1].batches, flows[C1].stored) == (3, 6)
    assert flows[C1].newest_event == ORIGIN + timedelta(seconds=1800 * 14)
    assert found.refused == {"payload.envelope": 1} or sum(found.refused.values()) == 1
    # a concentrator that has been quiet for longer keeps its last batch
    with db.transaction() as conn:
        later = stream.watch(conn, now=NOON + DAY, wall_now=NOON + DAY, grace=GRACE)
    assert later.minutes == ()
    assert later.newest_wall == NOON - timedelta(seconds=20)
    assert later.per_second() == (0, 0)


def test_a_will_leaves_what_was_told_of_the_backlog(db: Database) -> None:
    build_network(db)
    told: dict[str, int | str] = {"waiting": 17, "silent": 2, "clock": "holdover"}
    with db.transaction() as conn:
        ingest.note_presence(conn, C1, online=True, at=NOON, told=told)
        ingest.note_presence(conn, C1, online=False, at=NOON + timedelta(seconds=5))
        [presence] = ingest.concentrator_presence(conn)
    assert (presence.online, presence.told) == (False, told)


@pytest.mark.req("B12")
@pytest.mark.parametrize("packed", [False, True])
def test_a_reading_is_traced_to_its_batch(db: Database, packed: bool) -> None:
    build_network(db)
    ingest.open_days_ahead(db, now=ORIGIN)
    at = ORIGIN + timedelta(minutes=90)
    batch = a_batch(4, slots(M1, {n: 40 + n for n in range(6)}))
    send(db, batch, now=NOON)
    send(db, a_batch(5, slots(M1, {3: 999})), now=NOON)
    if packed:
        assert ingest.close_day(db, ORIGIN.date(), now=NOON) == 6
    with db.transaction() as conn:
        found = tracing.trace(conn, M1, Channel.IMPORT_INTERVAL_WH, at)
        nothing = tracing.trace(conn, M1, Channel.IMPORT_INTERVAL_WH, at + DAY)
    assert found.home is not None
    assert (found.home.wh, found.home.seconds, found.home.status) == (43, 1800, 0)
    assert found.home.received_at == at + timedelta(seconds=1801)
    assert found.home.packed_readings == (6 if packed else 0)
    assert found.batch is not None
    assert found.batch.id == batch.id
    assert (found.batch.rows, found.batch.stored, found.batch.kept_octets) == (6, 6, None)
    [refused] = found.refused
    assert (refused.cause, refused.seq) == ("reading.conflict", 5)
    assert refused.row is not None
    assert refused.row["raw"] == 999
    assert (nothing.home, nothing.batch, list(nothing.refused)) == (None, None, [])
