"""Any order and any repetition of batches gives the same readings, usage and gaps."""

import itertools
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud.store.db import Database
from protocols.mqtt.uplink import DataBatch
from tests.integration.ingest_kit import (
    GAPS,
    M1,
    M2,
    READINGS,
    ROLLOVER_WH,
    Row,
    a_batch,
    build_network,
    registers,
    send,
    slots,
    tables,
    usage_rows,
)

_FORGET = (
    "SET LOCAL session_replication_role = replica",
    "DO $$ DECLARE part regclass; BEGIN FOR part IN SELECT i.inhrelid FROM pg_inherits AS i"
    " WHERE i.inhparent = 'ingest.reading'::regclass"
    " LOOP EXECUTE format('DROP TABLE %s', part); END LOOP; END $$",
    "TRUNCATE ingest.day_state",
    "TRUNCATE ingest.batch, ingest.series, ingest.reading, ingest.day, ingest.concentrator_state,"
    " ingest.momentary, ingest.quarantine, ingest.payload, vee.coverage, vee.exception,"
    " usage.segment, usage.newest",
)


def forget(db: Database) -> None:
    """Start anew within one database; the triggers that forbid it are ours to lift in a test."""
    with db.transaction() as conn:
        for statement in _FORGET:
            conn.execute(statement)  # type: ignore[arg-type]


def a_life(seed: int) -> list[Row]:
    """True readings of a plain and a rolling meter, with holes in the profile."""
    draw = random.Random(seed)
    plain, rolling, wh = {}, {}, 99_000
    for hour in range(24):
        wh += draw.randint(0, 1500)
        plain[hour] = wh
        rolling[hour] = wh % ROLLOVER_WH
    held = {slot: draw.randint(0, 700) for slot in range(48) if draw.random() < 0.8}
    return [*registers(M1, plain), *registers(M2, rolling), *slots(M1, held)]


# drawn before anything is generated: nothing that Hypothesis does may lean on another generator
LIVES = [a_life(seed) for seed in range(6)]


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[int, list[DataBatch]]:
    """The same rows cut into batches, in any order, some rows and some batches twice."""
    seed = draw(st.integers(0, len(LIVES) - 1))
    rows = LIVES[seed]
    order = draw(st.permutations(range(len(rows))))
    cuts = sorted(draw(st.sets(st.integers(1, len(rows) - 1), min_size=1, max_size=6)))
    bounds = [0, *cuts, len(rows)]
    parts = [[rows[n] for n in order[a:b]] for a, b in itertools.pairwise(bounds)]
    extra = draw(st.lists(st.integers(0, len(rows) - 1), max_size=10))
    parts.append([rows[n] for n in extra])
    batches = [a_batch(seq, part) for seq, part in enumerate(parts, 1)]
    repeats = draw(st.lists(st.sampled_from(batches), max_size=3))
    return seed, [*batches, *repeats]


@pytest.mark.req("A1", "B14")
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(delivery=deliveries())
def test_order_and_repetition_do_not_matter(
    db: Database, delivery: tuple[int, list[DataBatch]]
) -> None:
    seed, batches = delivery
    build_network(db)
    forget(db)
    assert send(db, a_batch(1, LIVES[seed])).account.quarantined == 0
    expected = [*tables(db, *READINGS, *GAPS), *usage_rows(db)]
    assert [len(rows) for rows in expected[:2]] == [48, len(expected[1])]
    forget(db)
    for batch in batches:
        outcome = send(db, batch)
        assert outcome.account.quarantined == 0
    assert [*tables(db, *READINGS, *GAPS), *usage_rows(db)] == expected


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(order=st.permutations(range(6)), fifth=st.integers(0, 9000))
def test_contradictory_readings_are_stored_or_quarantined_never_lost(
    db: Database, order: list[int], fifth: int
) -> None:
    """Which of two contradicting rows is kept depends on order; that both are kept does not."""
    build_network(db)
    forget(db)
    rows = registers(M1, {0: 1000, 1: 1500, 2: 900, 3: 2000, 4: fifth, 5: 2500})
    for seq, n in enumerate(order, 1):
        send(db, a_batch(seq, [rows[n]]))
    stored, quarantined = tables(
        db,
        "SELECT at, wh FROM ingest.register_reading ORDER BY at",
        "SELECT (row ->> 'raw')::bigint FROM ingest.quarantine",
    )
    assert sorted([wh for _, wh in stored] + [wh for (wh,) in quarantined]) == sorted(
        wh for *_, wh in rows
    )
    values = [wh for _, wh in stored]
    assert values == sorted(values)


def test_a_spike_within_a_batch_does_not_condemn_what_follows(db: Database) -> None:
    build_network(db)
    values = {hour: 1000 + 100 * hour for hour in range(12)}
    outcome = send(db, a_batch(1, registers(M1, {**values, 3: 90_000_000})))
    assert (outcome.account.stored, outcome.account.quarantined) == (11, 1)
