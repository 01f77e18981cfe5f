"""What workers remember of usage is what the database would say, whoever changes it meanwhile."""

import random
import threading
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud.assets import service as assets
from cloud.assets.model import Ratio
from cloud.ingest import service as ingest
from cloud.store.db import Database, TransientDatabaseError
from cloud.usage import service as usage
from protocols.errors import RefusedError
from protocols.identity import MeterId, UsagePointId
from protocols.reading import Channel
from tests.integration.ingest_kit import (
    C1,
    C2,
    M1,
    M2,
    M3,
    ORIGIN,
    ROLLOVER_WH,
    SPARE,
    UP1,
    UP2,
    UP3,
    a_batch,
    arrival_of,
    build_network,
    payload_of,
    registers,
    send,
)
from tests.integration.test_ingest_order import forget
from tests.integration.usage_kit import say_register

HOUR = timedelta(hours=1)
POINTS = (UP1, UP2, UP3)
_ROWS = (
    "SELECT n.usage_point, n.at_ms, n.cumulative_wh, n.quality, n.meter, n.wh, n.day_ms,"
    " n.opening_wh, n.overlaid, n.questionable FROM usage.newest AS n WHERE n.at_ms >= 0 ORDER BY 1"
)


class _UndoError(Exception):
    """Takes back what was looked up."""


def looked_up(db: Database) -> list[tuple[object, ...]]:
    """The newest registers as they are when every one is looked up anew; nothing is written."""
    found: list[tuple[object, ...]] = []
    try:
        with db.transaction() as conn:
            usage.rebuild_many(conn, POINTS, now=ORIGIN)
            found = conn.execute(_ROWS).fetchall()
            raise _UndoError
    except _UndoError:
        return found


def kept(db: Database) -> list[tuple[object, ...]]:
    with db.transaction() as conn:
        return conn.execute(_ROWS).fetchall()


def life(seed: int) -> dict[MeterId, dict[int, int]]:
    """True figures by hour of a plain and a rolling meter, their neighbour, and the spare one."""
    draw = random.Random(seed)
    found: dict[MeterId, dict[int, int]] = {}
    for meter, begin, start in ((M1, 0, 5000), (M2, 0, 99_000), (M3, 0, 10), (SPARE, 40, 200)):
        wh, found[meter] = start, {}
        for hour in range(begin, 40 if meter == M1 else 72):
            wh += draw.randint(0, 1200)
            found[meter][hour] = wh % ROLLOVER_WH if meter == M2 else wh
    return found


LIVES = [life(seed) for seed in range(4)]
"""Made beforehand: nothing that Hypothesis does may lean on another generator."""

Step = tuple[str, int, Any, Any]
STEPS = st.one_of(
    st.tuples(
        st.just("wave"), st.integers(0, 1), st.sampled_from((M1, M2, M3, SPARE)),
        st.lists(st.integers(0, 71), min_size=1, max_size=3, unique=True),
    ),
    st.tuples(st.just("edit"), st.integers(0, 1), st.sampled_from(POINTS), st.integers(1, 71)),
    st.tuples(st.just("ratio"), st.integers(0, 1), st.sampled_from(POINTS), st.integers(1, 71)),
    st.tuples(st.just("exchange"), st.just(0), st.just(UP1), st.just(40)),
)  # fmt: skip


def take_step(workers: tuple[Database, Database], seq: int, step: Step, seed: int) -> None:
    """Let one of two workers, or a person, do something."""
    kind, who, whom, when = step
    db = workers[who]
    if kind == "wave":
        figures = LIVES[seed][whom]
        rows = registers(whom, {hour: figures[hour] for hour in sorted(when) if hour in figures})
        concentrator = C2 if whom == M3 else C1
        if rows:
            outcome = send(db, a_batch(seq, rows, concentrator=concentrator))
            assert outcome.receipt is not None
    elif kind == "edit":
        say_register(db, whom, ORIGIN + when * HOUR, 1000 * when)
    elif kind == "ratio":
        ratio = Ratio(usage_point=whom, valid_from=ORIGIN + when * HOUR, numerator=when)
        # another factor may begin then already
        with suppress(RefusedError):
            usage.change_ratio(db, ratio, actor="user:lin", reason="other ones", now=ORIGIN)
    else:
        with suppress(RefusedError):
            assets.exchange(
                db, usage_point=whom, new_meter=SPARE, at=ORIGIN + when * HOUR, final_wh=None,
                initial_wh=None, actor="user:lin", now=ORIGIN,
            )  # fmt: skip


@pytest.mark.req("A1", "B14")
@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, len(LIVES) - 1), steps=st.lists(STEPS, min_size=2, max_size=10))
def test_newest_registers_are_what_a_look_at_everything_finds(
    db: Database,
    database_dsn: str,
    seed: int,
    steps: list[Step],
) -> None:
    _anew(db)
    with Database(database_dsn, application="test-two") as other:
        for seq, step in enumerate(steps, 1):
            take_step((db, other), seq, step, seed)
            if step[0] == "exchange":
                # segments follow an exchange with the first reading after it
                send(db, a_batch(seq, registers(SPARE, {41: LIVES[seed][SPARE][41]}), boot=9))
                send(db, a_batch(seq, registers(M1, {39: LIVES[seed][M1][39]}), boot=8))
            assert kept(db) == looked_up(db)


def _anew(db: Database) -> None:
    with db.transaction() as conn:
        conn.execute("SET LOCAL session_replication_role = replica")
        conn.execute(
            "TRUNCATE assets.ratio, vee.register_overlay, usage.turn, assets.installation,"
            " assets.usage_point, assets.meter, assets.concentrator, assets.transformer,"
            " assets.concentrator_revision CASCADE"
        )
    build_network(db)
    forget(db)


def test_a_wave_asks_for_nothing_that_it_remembers(db: Database, database_dsn: str) -> None:
    build_network(db)
    send(db, a_batch(1, [*registers(M1, {1: 10}), (M1, Channel.POWER_W, ORIGIN + HOUR, 640)]))
    send(db, a_batch(2, registers(M1, {2: 20})))
    # were it read again, this would show
    with db.transaction() as conn:
        conn.execute("SET LOCAL session_replication_role = replica")
        conn.execute("UPDATE usage.segment SET offset_wh = 7000")
        conn.execute("UPDATE ingest.momentary SET value = 9")
    (live,) = send(db, a_batch(3, registers(M1, {3: 30}))).live
    assert (live.register_wh, live.power_w) == (30, 640)
    with Database(database_dsn, user="meterloop_portal") as portal, portal.transaction() as conn:
        usage.refresh(conn, [UP1])
    # whoever changes something has everybody ask anew
    (live,) = send(db, a_batch(4, registers(M1, {4: 40}))).live
    assert (live.register_wh, live.power_w) == (7040, 9)


def test_a_wave_that_failed_leaves_nothing_remembered(db: Database) -> None:
    build_network(db)
    send(db, a_batch(1, registers(M1, {1: 10})))

    def broken(*asked: Any) -> ingest.Lives:
        usage.derive(*asked)
        raise TransientDatabaseError("the server went away")

    batch = a_batch(2, registers(M1, {2: 20}))
    with pytest.raises(TransientDatabaseError):
        ingest.store_batch(db, arrival_of(payload_of(batch), hint=batch.id), derive=broken)
    assert kept(db) == looked_up(db)
    (live,) = send(db, a_batch(3, registers(M1, {1.5: 15}))).live
    assert live.register_wh == 15
    assert kept(db) == looked_up(db)


def test_who_changes_newest_registers_keeps_readings_waiting(
    db: Database, database_dsn: str
) -> None:
    build_network(db)
    send(db, a_batch(1, registers(M1, {1: 10, 2: 20})))
    sent: list[int] = []

    def wave(other: Database) -> None:
        while not sent:
            # as the agent does: who waits for too long begins anew
            with suppress(TransientDatabaseError):
                (live,) = send(other, a_batch(2, registers(M1, {3: 30}))).live
                sent.append(live.register_wh)

    with (
        Database(database_dsn, application="test-waits") as other,
        Database(database_dsn, application="test-looks", size=1) as looker,
    ):
        worker = threading.Thread(target=wave, args=(other,))
        with db.transaction() as conn:
            usage.refresh(conn, [UP1])
            worker.start()
            while _waiting(looker) == 0:
                assert sent == []
            assert sent == []
        worker.join()
    assert sent == [30]
    assert kept(db) == looked_up(db)


def _waiting(looker: Database) -> int:
    with looker.transaction() as conn:
        row = conn.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'test-waits'"
            " AND wait_event_type = 'Lock' AND wait_event = 'advisory'"
        ).fetchone()
    assert row is not None
    return int(row[0])


def test_a_meter_that_tells_no_register_shows_what_the_one_before_it_read(db: Database) -> None:
    build_network(db)
    send(db, a_batch(1, registers(M1, {1: 10, 9: 90})))
    assets.exchange(
        db, usage_point=UP1, new_meter=SPARE, at=ORIGIN + 10 * HOUR, final_wh=None,
        initial_wh=None, actor="user:lin", now=ORIGIN,
    )  # fmt: skip
    (live,) = send(db, a_batch(2, [(SPARE, Channel.POWER_W, ORIGIN + 11 * HOUR, 12)])).live
    assert (live.usage_point, live.register_wh, live.power_w) == (UsagePointId(UP1), 90, 12)
