"""The balance on a real database: registers in, fees, days drawn, lines crossed once."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from billing.customers import service as customers
from billing.customers.model import Registration, Threshold, ThresholdLevel
from billing.ledger import service as ledger
from billing.payments import service as payments
from billing.prepaid import service as prepaid
from billing.prepaid.model import BalanceQuality, ExceptionKind
from cloud.messages import service as messages
from cloud.store.db import Database
from protocols.errors import RefusedError
from protocols.timeline import Interval
from tests.integration.billing_kit import HOUR, ORIGIN, YUAN, customer, order, read, rows, street
from tests.integration.usage_kit import say_register

UP = "UP-000001"


def _balance(db: Database, at: datetime):
    with db.transaction() as conn:
        return prepaid.balance_of(conn, UP, at)


def _kinds(db: Database) -> list[tuple[str, int]]:
    return [
        (row[0], row[1])
        for row in rows(db, "SELECT kind, crossing_no FROM prepaid.crossing ORDER BY id")
    ]


@pytest.mark.req("C4", "C5", "C6", "C14", "C15", "A2")
def test_a_register_lowers_the_balance_by_its_price(db: Database) -> None:
    street(db, customer(1))
    prepaid.sweep(db, now=ORIGIN)
    read(db, UP, ORIGIN + HOUR, 1_010_000)
    swept = prepaid.sweep(db, now=ORIGIN + HOUR)
    assert [live.available_micros for live in swept.changed] == [50 * YUAN - 5_200_000]
    balance = _balance(db, ORIGIN + HOUR)
    assert balance.available_micros == 44_800_000
    assert balance.posted_micros == 50 * YUAN
    assert balance.cost_today_micros == 5_200_000
    assert balance.as_of_register_wh == 1_010_000
    assert balance.as_of_ledger > 0
    assert balance.quality is BalanceQuality.ACTUAL
    assert len(balance.tariff_hash) == 64
    assert prepaid.sweep(db, now=ORIGIN + HOUR).changed == ()


@pytest.mark.req("F1", "F2", "F3")
def test_each_line_is_crossed_once_and_again_after_a_top_up(db: Database) -> None:
    street(db, customer(1))
    for hour, wh in ((1, 1_060_000), (2, 1_061_000), (3, 1_100_000), (4, 1_101_000)):
        read(db, UP, ORIGIN + hour * HOUR, wh)
        prepaid.sweep(db, now=ORIGIN + hour * HOUR)
        prepaid.sweep(db, now=ORIGIN + hour * HOUR)
    assert _kinds(db) == [("reminder", 1), ("zero", 1), ("cut", 1)]
    payments.pay(db, order(1, "a", 30), now=ORIGIN + 5 * HOUR)
    assert _kinds(db)[3:] == [("restored", 1)]
    read(db, UP, ORIGIN + 6 * HOUR, 1_160_000)
    prepaid.sweep(db, now=ORIGIN + 6 * HOUR)
    assert _kinds(db)[4:] == [("reminder", 2), ("zero", 2), ("cut", 2)]
    with db.transaction() as conn:
        told = [message.kind.value for message in messages.messages_of(conn, UP)]
    assert sorted(told) == ["dunning", "dunning", "payment_received", "reminder"]


@pytest.mark.req("C4")
def test_a_corrected_register_lifts_the_balance_and_the_warning_is_taken_back_once(
    db: Database,
) -> None:
    street(db, customer(1))
    read(db, UP, ORIGIN + HOUR, 1_110_000)
    prepaid.sweep(db, now=ORIGIN + HOUR)
    assert _balance(db, ORIGIN + HOUR).available_micros < 0
    say_register(db, UP, ORIGIN + HOUR, 1_011_000)
    for minutes in (1, 2):
        prepaid.sweep(db, now=ORIGIN + HOUR + timedelta(minutes=minutes))
    assert _kinds(db) == [("reminder", 1), ("zero", 1), ("cut", 1), ("restored", 1)]
    assert _balance(db, ORIGIN + 2 * HOUR).available_micros == 50 * YUAN - 5_720_000
    with db.transaction() as conn:
        told = sorted(message.kind.value for message in messages.messages_of(conn, UP))
        assert prepaid.audit_fees(conn).count == 0
    assert told == ["balance_corrected", "dunning"]


@pytest.mark.req("F5", "G1")
def test_reaching_a_price_step_is_told_once(db: Database) -> None:
    street(db, customer(1, opening_year_wh=2_399_000, opening_balance_micros=500 * YUAN))
    prepaid.sweep(db, now=ORIGIN)
    for hour, wh in ((1, 1_001_000), (2, 1_001_001), (3, 1_002_000)):
        read(db, UP, ORIGIN + hour * HOUR, wh)
        prepaid.sweep(db, now=ORIGIN + hour * HOUR)
    assert rows(db, "SELECT kind, level, register_wh FROM prepaid.crossing") == [
        ("tier", 2, 1_001_001)
    ]
    balance = _balance(db, ORIGIN + 3 * HOUR)
    assert (balance.tier, balance.next_tier_wh, balance.year_wh) == (2, 4_800_000, 2_401_000)
    assert balance.fee_micros == 520_000 + 570_000
    with db.transaction() as conn:
        why = prepaid.explain(conn, UP, now=ORIGIN + 3 * HOUR)
    assert [(line.step, line.wh) for line in why.lines] == [(1, 1_000), (2, 1_000)]
    assert why.fee_micros == balance.fee_micros


@pytest.mark.req("C7", "C9")
def test_days_drawn_add_up_to_the_bill_to_the_micro(db: Database) -> None:
    street(db, customer(1, opening_year_wh=2_390_123, opening_balance_micros=900 * YUAN))
    wh, at = 1_000_000, ORIGIN
    for step in range(1, 40):
        at, wh = ORIGIN + step * 7 * HOUR, wh + 1_237 + step
        read(db, UP, at, wh)
        prepaid.sweep(db, now=at)
    balance = _balance(db, at)
    drawn = rows(db, "SELECT sum(amount_micros)::bigint, count(*)::int FROM prepaid.drawdown")[0]
    assert drawn[0] == balance.drawn_micros
    assert drawn[1] >= 10
    assert balance.posted_micros == 900 * YUAN - balance.drawn_micros
    assert balance.available_micros == 900 * YUAN - balance.fee_micros
    with db.transaction() as conn:
        assert prepaid.audit_drawdowns(conn).count == 0
        assert prepaid.audit_fees(conn).count == 0
        assert ledger.audit_sums(conn).count == 0
        span = Interval(start=ORIGIN, end=at + HOUR)
        days = prepaid.daily_costs(conn, UP, span)
    assert sum(day.amount_micros for day in days) == balance.fee_micros
    assert sum(day.wh for day in days) == wh - 1_000_000
    assert [day.drawn for day in days] == [True] * (len(days) - 1) + [False]


@pytest.mark.req("C7")
def test_the_audit_sees_a_fee_that_is_one_micro_off(db: Database) -> None:
    street(db, customer(1))
    read(db, UP, ORIGIN + HOUR, 1_010_000)
    prepaid.sweep(db, now=ORIGIN + HOUR)
    rows(db, "UPDATE prepaid.state SET fee_micros = fee_micros + 1 RETURNING 1")
    with db.transaction() as conn:
        assert prepaid.audit_fees(conn).count == 1
    rows(db, "UPDATE prepaid.state SET drawn_micros = 1 RETURNING 1")
    with db.transaction() as conn:
        assert prepaid.audit_drawdowns(conn).count == 1


@pytest.mark.req("G1")
def test_the_ladder_starts_again_with_the_year_in_the_tariffs_zone(db: Database) -> None:
    started = datetime(2026, 12, 31, 12, 0, tzinfo=UTC)
    street(
        db,
        customer(
            1, started_at=started, opening_year_wh=5_000_000, opening_balance_micros=90 * YUAN
        ),
    )
    read(db, UP, started + HOUR, 1_001_000)  # 21:00 of 31 December there: third step
    prepaid.sweep(db, now=started + HOUR)
    assert _balance(db, started + HOUR).fee_micros == 820_000
    read(db, UP, started + 5 * HOUR, 1_002_000)  # 01:00 of the new year: first step
    prepaid.sweep(db, now=started + 5 * HOUR)
    balance = _balance(db, started + 5 * HOUR)
    assert balance.fee_micros == 820_000 + 520_000
    assert (balance.tier, balance.year_wh) == (1, 1_000)
    with db.transaction() as conn:
        assert prepaid.audit_fees(conn).count == 0


@pytest.mark.req("C11")
def test_without_registers_the_balance_is_an_interval(db: Database) -> None:
    street(db, customer(1))
    read(db, UP, ORIGIN + HOUR, 1_010_000)
    prepaid.sweep(db, now=ORIGIN + HOUR)
    late = ORIGIN + timedelta(hours=30)
    prepaid.sweep(db, now=late)
    balance = _balance(db, late)
    assert balance.quality is BalanceQuality.MISSING
    assert balance.available_micros == 44_800_000
    assert balance.lower_micros == 44_800_000 - 8 * 29 * 520_000
    with db.transaction() as conn:
        found = prepaid.exceptions(conn)
    assert [(each.usage_point, each.kind) for each in found] == [
        (UP, ExceptionKind.MISSING_REGISTER)
    ]
    read(db, UP, late, 1_020_000)
    prepaid.sweep(db, now=late)
    with db.transaction() as conn:
        assert prepaid.exceptions(conn) == []


@pytest.mark.req("F6", "F8", "C10")
def test_the_customers_line_wins_over_the_area_over_the_default(db: Database) -> None:
    street(db, customer(1), customer(2))
    customers.set_threshold(
        db,
        Threshold(level=ThresholdLevel.TRANSFORMER, target="T-01", reminder_micros=45 * YUAN,
                  auto_remind=False),
        actor="user:lin", now=ORIGIN,
    )  # fmt: skip
    customers.set_threshold(
        db,
        Threshold(level=ThresholdLevel.AGREEMENT, target="SA-000002", reminder_micros=10 * YUAN),
        actor="user:lin", now=ORIGIN,
    )  # fmt: skip
    for number in (1, 2):
        read(db, f"UP-{number:06}", ORIGIN + HOUR, 1_020_000)
    prepaid.sweep(db, now=ORIGIN + HOUR)
    assert rows(db, "SELECT usage_point, kind FROM prepaid.crossing") == [(UP, "reminder")]
    with db.transaction() as conn:
        assert messages.messages_of(conn, UP) == []  # the area is not reminded by itself


def test_the_same_registration_changes_nothing_and_another_is_refused(db: Database) -> None:
    street(db, customer(1))
    again = customers.register(
        db, Registration(customers=(customer(1),), actor="user:reza"), now=ORIGIN
    )
    assert (again.added, again.unchanged) == (0, 1)
    with pytest.raises(RefusedError, match="record_differs"):
        customers.register(
            db,
            Registration(customers=(customer(1, opening_year_wh=5),), actor="user:reza"),
            now=ORIGIN,
        )
    with db.transaction() as conn:
        assert ledger.balance_of(conn, "AC-000001") == 50 * YUAN


def test_nobody_rewrites_what_was_drawn_or_crossed(db: Database) -> None:
    street(db, customer(1))
    read(db, UP, ORIGIN + HOUR, 1_110_000)
    prepaid.sweep(db, now=ORIGIN + HOUR)
    for table in ("prepaid.crossing", "prepaid.segment", "prepaid.drawdown", "tariffs.version"):
        with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match="append_only"):
            rows(db, f"DELETE FROM {table} RETURNING 1")


def test_a_sweep_of_nobody_is_quiet(db: Database) -> None:
    assert prepaid.sweep(db, now=ORIGIN).points == 0
    with db.transaction() as conn, pytest.raises(RefusedError, match="no_agreement"):
        prepaid.balance_of(conn, UP, ORIGIN)
