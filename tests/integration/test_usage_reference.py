"""Usage by reference: factors, what is said over raw values, time of knowledge."""

import random
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud.assets import service as assets
from cloud.assets.model import Ratio
from cloud.store.db import Database
from cloud.usage import service as usage
from cloud.usage.model import EDITED, ESTIMATED, MISSING, QUESTIONABLE, VALID
from protocols.errors import RefusedError
from protocols.identity import UsagePointId
from protocols.reading import Quality
from protocols.timeline import Interval, to_ms
from tests.integration.ingest_kit import (
    M1,
    M2,
    ORIGIN,
    ROLLOVER_WH,
    SLOT,
    SPARE,
    UP1,
    UP2,
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

HOUR = timedelta(hours=1)
DAY = Interval(start=ORIGIN, end=ORIGIN + timedelta(days=1))
KNOWN = ORIGIN + timedelta(days=60)


@pytest.fixture(autouse=True)
def _network(db: Database) -> None:
    build_network(db)


def told(db: Database, point: UsagePointId, as_of: datetime | None = None) -> list[list[Any]]:
    with db.transaction() as conn:
        return [
            [(r.at, r.cumulative_wh, r.meter, r.meter_wh, r.quality)
             for r in usage.registers(conn, point, DAY, as_of=as_of)],
            [(i.start, i.seconds, i.wh, i.quality)
             for i in usage.intervals(conn, point, DAY, as_of=as_of)],
        ]  # fmt: skip


def change(db: Database, hours: float, numerator: int, **more: Any) -> None:
    ratio = Ratio(
        usage_point=UP1, valid_from=ORIGIN + hours * HOUR, numerator=numerator,
        **{"denominator": 1, **more},
    )  # fmt: skip
    usage.change_ratio(db, ratio, actor="user:lin", reason="100/5 instead of 50/5", now=KNOWN)


@pytest.mark.req("B14")
def test_transformers_changed_at_a_time_multiply_what_comes_after_and_nothing_twice(
    db: Database,
) -> None:
    send(db, a_batch(1, registers(M1, {1: 100, 5: 500})))
    send(db, a_batch(2, slots(M1, {2: 40, 12: 30})))
    change(db, 3, 20, register_wh=300)
    for again in (False, True):
        if again:
            with db.transaction() as conn:
                usage.rebuild(conn, UP1, now=KNOWN)
        reads, halves = told(db, UP1)
        # 200 Wh before, 200 figures x 20 after
        assert [wh for _, wh, *_ in reads] == [100, 300 + 200 * 20]
        assert [wh for _, _, wh, _ in halves] == [40, 30 * 20]
    (live,) = send(db, a_batch(3, registers(M1, {6: 501}))).live
    assert live.register_wh == 4300 + 20
    # a late reading before the change moves nothing after it, for the figure then was written down
    send(db, a_batch(4, registers(M1, {2: 260})))
    assert [wh for _, wh, *_ in told(db, UP1)[0]] == [100, 260, 4300, 4320]
    segments = tables(
        db, "SELECT since, offset_wh, numerator FROM usage.segment WHERE void_at IS NULL"
        " ORDER BY since",
    )  # fmt: skip
    assert segments == [[(ORIGIN, 0, 1), (ORIGIN + 3 * HOUR, 300 - 6000, 20)]]


def test_a_factor_is_set_once_for_an_instant_with_a_figure_that_can_be(db: Database) -> None:
    send(db, a_batch(1, registers(M1, {1: 100, 5: 500})))
    with pytest.raises(RefusedError) as refused:
        change(db, 3, 20, register_wh=501)
    assert refused.value.refusal == "usage.ratio_register"
    change(db, 3, 20)
    with pytest.raises(RefusedError) as refused:
        change(db, 3, 30)
    assert refused.value.refusal == "assets.differs"
    acts = tables(db, "SELECT actor, action, entity_id FROM audit.event WHERE action LIKE '%ratio'")
    assert acts == [[("user:lin", "assets.ratio", UP1)]]


def test_a_fraction_is_rounded_once_a_day(db: Database) -> None:
    change(db, 0, 1, denominator=3)
    send(db, a_batch(1, slots(M1, dict.fromkeys(range(48), 100))))
    with db.transaction() as conn:
        whole = usage.interval_columns(conn, [UP1], DAY)
        # half a day by itself is the same half
        noon = Interval(start=ORIGIN + 12 * HOUR, end=DAY.end)
        half = usage.interval_columns(conn, [UP1], noon)
    assert int(whole.wh.sum()) == 48 * 100 // 3
    assert half.wh.tolist() == whole.wh.tolist()[24:]


def say(db: Database, point: str, layer: str, says: dict[int, tuple[int, int]], at: int) -> None:
    """Let a layer say (kind, Wh) over slots, known so many minutes after KNOWN."""
    with db.transaction() as conn:
        conn.execute(
            "INSERT INTO vee.overlay (usage_point, day, layer, seconds, version, created_at, since,"
            " offset_s, kind, wh, low_wh, high_wh, actor, verified_by, reason)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, 'user:lin', 'user:reza',"
            " 'seen')",
            (point, ORIGIN.date(), layer, SLOT, at, KNOWN + timedelta(minutes=at), ORIGIN,
             [SLOT * slot for slot in says], [kind for kind, _ in says.values()],
             [wh for _, wh in says.values()], [0] * len(says), [0] * len(says)),
        )  # fmt: skip


@pytest.mark.req("B12")
def test_an_edit_outranks_the_raw_value_and_that_an_estimate_at_every_time_of_knowledge(
    db: Database,
) -> None:
    send(db, a_batch(1, slots(M1, {0: 10, 1: 11, 2: 12})), now=KNOWN)
    say(db, UP1, "machine", {1: (4, 11), 2: (1, 99), 3: (1, 77)}, 1)
    say(db, UP1, "person", {0: (2, 15), 3: (3, 0)}, 2)
    say(db, UP1, "person", {3: (2, 70), 0: (3, 0)}, 3)
    expected = {
        0: {0: (10, VALID), 1: (11, VALID), 2: (12, VALID)},
        1: {0: (10, VALID), 1: (11, QUESTIONABLE), 2: (12, VALID), 3: (77, ESTIMATED)},
        2: {0: (15, EDITED), 1: (11, QUESTIONABLE), 2: (12, VALID)},
        3: {1: (11, QUESTIONABLE), 2: (12, VALID), 3: (70, EDITED)},
    }
    with db.transaction() as conn:
        for minutes, slots_then in expected.items():
            at = KNOWN + timedelta(minutes=minutes)
            found = usage.interval_columns(conn, [UP1], DAY, as_of=at)
            place = ((found.start_ms - to_ms(ORIGIN)) // (SLOT * 1000)).tolist()
            values = zip(found.wh.tolist(), found.quality.tolist(), strict=True)
            assert dict(zip(place, values, strict=True)) == slots_then
        found = usage.interval_columns(conn, [UP1], DAY, as_of=KNOWN - timedelta(minutes=1))
        assert len(found) == 0


@pytest.mark.req("B14")
def test_a_matrix_holds_slots_of_many_points_and_the_registers_around_its_bounds(
    db: Database,
) -> None:
    send(db, a_batch(1, [*slots(M1, {0: 10, 3: 13}), *slots(M2, {1: 21})]))
    send(db, a_batch(2, registers(M1, {0: 5, 30: 900})))
    span = Interval(start=ORIGIN, end=ORIGIN + timedelta(hours=25))
    with db.transaction() as conn:
        found = usage.matrix(conn, [UP2, UP1], span, SLOT)
        shorter = usage.matrix(conn, [UP1], span, 900)
    assert found.wh.shape == (2, 50)
    assert found.wh[:, :4].tolist() == [[MISSING, 21, MISSING, MISSING], [10, MISSING, MISSING, 13]]
    assert (found.quality >= 0).sum() == 3
    assert found.bounds_ms.tolist() == [to_ms(ORIGIN) + h * 3_600_000 for h in (0, 24, 25)]
    assert found.before_wh[1].tolist() == [5, 5, 5]
    assert found.after_wh[1].tolist() == [900, 900, 900]
    assert (found.before_ms[0] == MISSING).all()
    assert (shorter.wh == MISSING).all()


def a_life(seed: int) -> list[Row]:
    """A meter exchanged at ten, another that rolls over, and half hours of both."""
    draw = random.Random(seed)
    old, new, rolling, wh = {}, {}, {}, 99_000
    for hour in range(1, 20):
        wh += draw.randint(0, 1500)
        (old if hour <= 10 else new)[hour] = wh - 90_000 if hour <= 10 else wh - 80_000
        rolling[hour] = wh % ROLLOVER_WH
    held = {slot: draw.randint(0, 700) for slot in range(20) if draw.random() < 0.8}
    return [*registers(M1, old), *registers(SPARE, new), *registers(M2, rolling), *slots(M1, held)]


LIVES = [a_life(seed) for seed in range(4)]


@pytest.mark.req("B14", "B16")
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    life=st.sampled_from(LIVES), seed=st.integers(0, 999), size=st.integers(2, 6),
    twice=st.booleans(),
)  # fmt: skip
def test_as_of_answers_what_was_answered_then_and_order_leaves_no_trace(
    db: Database, life: list[Row], seed: int, size: int, *, twice: bool
) -> None:
    with db.transaction() as conn:
        exchanged = len(assets.installations_at(conn, [UP1])) > 1
    if not exchanged:
        assets.exchange(
            db, usage_point=UP1, new_meter=SPARE, at=ORIGIN + 10 * HOUR, final_wh=None,
            initial_wh=None, actor="user:lin", now=ORIGIN,
        )  # fmt: skip
    forget(db)
    assert send(db, a_batch(1, life)).account.quarantined == 0
    expected = usage_rows(db)
    forget(db)
    rows = random.Random(seed).sample(life, len(life))
    parts = [rows[n::size] for n in range(size)]
    given_then = []
    for n, part in enumerate([*parts, parts[0]] if twice else parts):
        now = KNOWN + n * HOUR
        assert send(db, a_batch(n + 1, part), now=now).account.quarantined == 0
        given_then.append((now, told(db, UP1), told(db, UP2)))
    assert usage_rows(db) == expected
    for now, first, second in given_then:
        assert told(db, UP1, as_of=now) == first
        assert told(db, UP2, as_of=now) == second
    with db.transaction() as conn:
        assert list(usage.contradictions(conn)) == []


def test_instants_asked_together_are_answered_as_one_by_one(db: Database) -> None:
    send(db, a_batch(1, registers(M1, {1: 1000, 9: 1900})))
    assets.exchange(
        db, usage_point=UP1, new_meter=SPARE, at=ORIGIN + 10 * HOUR, final_wh=2000, initial_wh=7,
        actor="user:lin", now=ORIGIN,
    )  # fmt: skip
    send(db, a_batch(2, registers(SPARE, {11: 57})))
    hours = [0, 1, 5, 9, 10, 10.5, 11, 20]
    at = [ORIGIN + hour * HOUR for hour in hours]
    with db.transaction() as conn:
        found = usage.registers_at_each(conn, [UP1] * len(at), at)
        assert [each and each.cumulative_wh for each in found] == [
            None, 1000, 1000, 1900, 1900, 1900, 2050, 2050,
        ]  # fmt: skip
        assert [usage.register_at(conn, UP1, each) for each in at] == found
        later = usage.at_instants(
            conn, [UP1] * len(at), np.array([to_ms(each) for each in at]), before=False
        )
        assert later.wh.tolist() == [1000, 1000, 1900, 1900, 2050, 2050, 2050, 0]
        assert later.at_ms.tolist()[-1] == MISSING
        newest = usage.latest_registers(conn)
        assert newest.cumulative_wh.tolist() == [2050]
        assert newest.quality.tolist() == [Quality.VALID]
