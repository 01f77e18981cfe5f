"""Registers missing for days become one order each, routed to a crew, settled when they come."""

from datetime import timedelta

import pytest

from cloud.store import audit
from cloud.store.db import Database
from cloud.vee import service as vee
from cloud.vee.model import WatchPolicy
from cloud.work import service as work
from cloud.work.model import Order, OrderKind, OrderState, VisitOutcome
from tests.integration.ingest_kit import (
    C2,
    M1,
    M2,
    M3,
    ORIGIN,
    UP1,
    UP2,
    UP3,
    a_batch,
    build_network,
    registers,
    send,
)

DAY = timedelta(days=1)
LATE = ORIGIN + 4 * DAY
POLICY = WatchPolicy(silent_after_ms=6 * 3_600_000, missing_days=3)


@pytest.fixture(autouse=True)
def _missing(db: Database) -> None:
    """Three meters of which only one still tells its register; one crew."""
    build_network(db)
    work.set_crew(db, crew="aziz", phone="+998901112233", language="uz", now=ORIGIN)
    send(db, a_batch(1, [*registers(M1, {1: 10}), *registers(M2, {1: 10, 90: 20})]))
    vee.sweep(db, policy=POLICY, now=LATE)


def orders(db: Database) -> dict[str, Order]:
    with db.transaction() as conn:
        return {each.usage_point: each for each in work.orders(conn)}


@pytest.mark.req("E1", "E2")
def test_missing_registers_raise_one_order_each_and_settle_it_when_they_come(db: Database) -> None:
    assert work.follow_missing(db, now=LATE) == (2, 0)
    assert work.follow_missing(db, now=LATE) == (0, 0)
    found = orders(db)
    assert set(found) == {UP1, UP3}
    assert (found[UP1].kind, found[UP1].state, found[UP1].crew) == (
        OrderKind.EXCEPTION, OrderState.ASSIGNED, "user:aziz"
    )  # fmt: skip
    assert M1 in found[UP1].summary
    send(db, a_batch(2, registers(M1, {97: 40})))
    vee.sweep(db, policy=POLICY, now=LATE + DAY)
    assert work.follow_missing(db, now=LATE + DAY) == (0, 1)
    settled = orders(db)[UP1]
    assert (settled.state, settled.verified_by, settled.outcome) == (
        OrderState.VERIFIED, "system:work", None
    )  # fmt: skip
    with db.transaction() as conn:
        newest = audit.history(conn, entity="order", entity_id=settled.id)[0]
    assert (newest.action, newest.actor) == ("order.settle", "system:work")


def test_what_a_crew_has_reported_is_not_overruled(db: Database) -> None:
    work.follow_missing(db, now=LATE)
    order = orders(db)[UP3]
    work.report(
        db, order.id, outcome=VisitOutcome.IDLE, register_wh=900, note="antenna was off",
        actor="user:aziz", idempotency_key="k", now=LATE,
    )  # fmt: skip
    send(db, a_batch(1, registers(M3, {97: 900}), concentrator=C2))
    vee.sweep(db, policy=POLICY, now=LATE + DAY)
    assert work.follow_missing(db, now=LATE + DAY) == (0, 0)
    assert orders(db)[UP3].state is OrderState.DONE


def test_registers_that_go_missing_again_raise_an_order_of_their_own(db: Database) -> None:
    work.follow_missing(db, now=LATE)
    first = orders(db)[UP1].id
    send(db, a_batch(2, registers(M1, {97: 40})))
    vee.sweep(db, policy=POLICY, now=LATE + DAY)
    work.follow_missing(db, now=LATE + DAY)
    vee.sweep(db, policy=POLICY, now=LATE + 5 * DAY)
    raised, _ = work.follow_missing(db, now=LATE + 5 * DAY)
    assert raised == 2
    with db.transaction() as conn:
        mine = work.orders_of(conn, UP1)
    assert [each.state for each in mine] == [OrderState.ASSIGNED, OrderState.VERIFIED]
    assert mine[1].id == first
    assert {each.usage_point for each in orders(db).values()} == {UP1, UP2, UP3}
