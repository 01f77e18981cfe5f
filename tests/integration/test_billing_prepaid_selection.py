"""The plan of looks on a real database: who is calculated when, and nobody is forgotten."""

from datetime import timedelta

import pytest

from billing.customers import service as customers
from billing.customers.model import Registration
from billing.payments import service as payments
from billing.prepaid import service as prepaid
from billing.prepaid.rules.credit import Level, PolicyPart
from billing.prepaid.service import policies, selection
from cloud.store.db import Database
from tests.integration.billing_kit import HOUR, ORIGIN, YUAN, customer, order, read, rows, street

QUARTER = timedelta(minutes=15)


def look(db: Database, plan: selection.Plan, at) -> int:
    return selection.look(db, plan, now=at).chosen


def crossings(db: Database) -> list[tuple[str, str]]:
    return rows(db, "SELECT usage_point, kind FROM prepaid.crossing ORDER BY id")


@pytest.mark.req("C1", "C2", "C3", "C8")
def test_everybody_at_first_then_those_near_a_line_and_each_within_a_day(db: Database) -> None:
    near = customer(2, opening_balance_micros=20 * YUAN + 1)
    street(db, customer(1, opening_balance_micros=5_000 * YUAN), near, customer(3))
    for number in (1, 2, 3):
        read(db, f"UP-{number:06}", ORIGIN, 1_000_000)
    plan = selection.Plan()
    assert look(db, plan, ORIGIN) == 3
    assert look(db, plan, ORIGIN + QUARTER) == 0
    # whoever stands a micro above a line is due within the hour that a crossing may stay unseen
    chosen = [look(db, plan, ORIGIN + n * QUARTER) for n in range(2, 5)]
    assert chosen == [0, 1, 1]
    with db.transaction() as conn:
        far = selection.next_look_of(conn, "UP-000001", now=ORIGIN)
        close = selection.next_look_of(conn, "UP-000002", now=ORIGIN)
    assert far is not None
    assert close is not None
    assert close.at - ORIGIN <= HOUR
    assert far.at - ORIGIN >= 12 * HOUR
    assert (close.distance_micros, far.daily_micros, far.days_left) == (1, None, None)
    found = set()
    for n in range(5, 98):
        at = ORIGIN + n * QUARTER
        with db.transaction() as conn:
            due = plan.due(conn, now=at)
        assert due is not None
        found |= set(due.tolist())
        with db.transaction() as conn:
            plan.note(conn, due, now=at)
    assert len(found) == 3


@pytest.mark.req("C1", "C5")
def test_a_line_crossed_in_between_is_seen_at_the_look_that_was_planned(db: Database) -> None:
    street(db, customer(1, opening_balance_micros=22 * YUAN))
    read(db, "UP-000001", ORIGIN, 1_000_000)
    plan = selection.Plan()
    look(db, plan, ORIGIN)
    seen = None
    for n in range(1, 96):
        at = ORIGIN + n * QUARTER
        read(db, "UP-000001", at, 1_000_000 + n * 1_000)
        look(db, plan, at)
        if crossings(db) and seen is None:
            seen = n
    # 2 yuan are used up by 3846 Wh: four quarters of an hour
    assert seen is not None
    assert 4 <= seen <= 4 + 4
    kinds = [kind for _, kind in crossings(db)]
    assert kinds[0] == "reminder"
    assert "zero" in kinds


def test_money_that_moved_and_a_new_customer_are_looked_at_at_once(db: Database) -> None:
    street(db, customer(1, opening_balance_micros=900 * YUAN))
    read(db, "UP-000001", ORIGIN, 1_000_000)
    plan = selection.Plan()
    look(db, plan, ORIGIN)
    assert look(db, plan, ORIGIN + QUARTER) == 0
    payments.pay(db, order(1, "a", 5), now=ORIGIN + QUARTER)
    assert look(db, plan, ORIGIN + 2 * QUARTER) == 1
    assert look(db, plan, ORIGIN + 3 * QUARTER) == 0
    new = customer(2)
    customers.register(
        db, Registration(customers=(new,), actor="user:reza"), now=ORIGIN + 3 * QUARTER
    )
    read(db, "UP-000002", ORIGIN + 3 * QUARTER, 1_000_000)
    chosen = [look(db, plan, ORIGIN + n * QUARTER) for n in (4, 5, 6)]
    # the sweep enrols it at once, the plan has it from the next look on
    assert chosen == [0, 1, 0]
    assert plan.accounts == 2


def test_a_policy_sets_how_long_a_line_may_stay_unseen(db: Database) -> None:
    street(db, customer(1), customer(2))
    for number in (1, 2):
        read(db, f"UP-{number:06}", ORIGIN, 1_000_000)
    prepaid.sweep(db, now=ORIGIN)
    part = PolicyPart(
        level=Level.AGREEMENT, target="SA-000002", says={"unseen_minutes": 15, "limit_minutes": 60}
    )
    policies.set_policy(db, part, actor="user:lin", now=ORIGIN)
    with db.transaction() as conn:
        one = selection.next_look_of(conn, "UP-000001", now=ORIGIN)
        other = selection.next_look_of(conn, "UP-000002", now=ORIGIN)
        assert selection.next_look_of(conn, "UP-000009", now=ORIGIN) is None
    assert one is not None
    assert other is not None
    assert other.at <= ORIGIN + HOUR < one.at
    assert (other.unseen_minutes, other.limit_minutes) == (15, 60)


def test_the_average_day_tells_how_long_a_balance_lasts(db: Database) -> None:
    street(db, customer(1))
    for day in range(6):
        read(db, "UP-000001", ORIGIN + day * 24 * HOUR, 1_000_000 + day * 10_000)
        prepaid.sweep(db, now=ORIGIN + day * 24 * HOUR)
    with db.transaction() as conn:
        found = selection.next_look_of(conn, "UP-000001", now=ORIGIN + 5 * 24 * HOUR)
    assert found is not None
    drawn = rows(db, "SELECT amount_micros FROM prepaid.drawdown")
    assert found.daily_micros == sum(row[0] for row in drawn) // len(drawn)
    assert found.days_left == (50 * YUAN - 50 * 520_000) // found.daily_micros
