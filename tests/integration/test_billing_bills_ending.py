"""Ends on a real database: exact register, balance and deposit settled, nothing billed after."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest

from billing.bills.model import BillKind, CancelKind
from billing.bills.rules.ending import EndEvent, EndState
from billing.bills.service import corrections, deposits, ending, plans
from billing.bills.service import run as runs
from billing.bills.service.corrections import Order
from billing.bills.store.ending import Ending
from billing.collections.model import CaseState
from billing.customers.model import CustomerKind
from billing.payments import service as payments
from billing.prepaid import service as prepaid
from cloud.control import service as control
from cloud.store.db import Database
from protocols.errors import RefusedError
from tests.integration.billing_kit import HOUR, ORIGIN, YUAN, customer, order, rows, street
from tests.integration.billing_kit import read as read_at
from tests.integration.bills_kit import FEB, KWH, MAR, NOW, ZONE, book, household, read
from tests.integration.test_billing_bills_deposits import TERMS
from tests.integration.test_billing_bills_plans import noon, sound, standing, wish
from tests.integration.test_billing_bills_run import finished, opened
from tests.integration.test_billing_collections import case_of, due, fall, turn

HOME, FIRM, SA, UP = "AC-000001", "AC-000002", "SA-000001", "UP-000001"
LEAVES = date(2026, 2, 11)
ORDER = Order(reason="moved out", actor="user:li")


def ended(db: Database, agreement: str = SA, end: date = LEAVES, wh: int | None = None,
          **changes: Any) -> Ending:  # fmt: skip
    base: dict[str, Any] = {"order": ORDER, "now": noon(2, 12), "register_wh": wh, "end": end}
    return ending.close(db, agreement, **{**base, **changes})


def refused(code: str, act: Any) -> str:
    with pytest.raises(RefusedError) as found:
        act()
    assert found.value.refusal == code
    return found.value.message


@pytest.fixture
def home(db: Database) -> Database:
    """A household with 62.15 CNY of January to pay, and a firm."""
    book(db, household(1), household(2, kind=CustomerKind.LEGAL))
    read(db, 1, FEB, 1_100)
    read(db, 2, FEB, 1_600)
    finished(db)
    return db


@pytest.mark.req("K10")
def test_an_end_prices_up_to_the_register_handed_over_and_nothing_is_billed_after(
    home: Database, database_dsn: str
) -> None:
    with Database(database_dsn, user="meterloop_billing") as own:
        done = ended(own, wh=1_130 * KWH)
    bill = rows(home, "SELECT kind, period_start, period_end, start_wh, end_wh, total_micros,"
                " posted_micros FROM bills.bill WHERE id = %s", [done.bill])[0]  # fmt: skip
    # 30 kWh at 0.52 and of a month's 3.00 ten days in 28, with 13 %
    assert bill == ("final", FEB, LEAVES, 1_100 * KWH, 1_130 * KWH, 18_840_000, 18_840_000)
    assert (done.state, done.left_micros) == (EndState.DEMANDED, -80_990_000)
    refused("customers.agreement_unknown", lambda: ended(home))
    refused(
        "customers.agreement_unknown",
        lambda: corrections.bill_now(home, SA, end=MAR, zone=ZONE, order=ORDER, now=NOW),
    )
    read(home, 1, MAR, 1_200)
    run = opened(home, FEB, MAR)
    runs.advance(home, run.id, now=NOW)
    with home.transaction() as conn:
        sheet = runs.sheet_of(conn, run)
    assert rows(home, "SELECT count(*) FROM bills.item WHERE agreement = %s AND run = %s",
                [SA, run.id]) == [(0,)]  # fmt: skip
    assert sheet.uncovered_count == 0
    with pytest.raises(psycopg.Error, match="bill_after_end"), home.transaction() as conn:
        conn.execute(
            "INSERT INTO bills.bill (agreement, account, usage_point, currency, period_start,"
            " period_end, kind, seq, usage, versions, input_hash, kernel_version, quality, method,"
            " energy_wh, lines, total_micros, posted_micros, issued_at, due_on, actor)"
            " SELECT agreement, account, usage_point, currency, period_end, period_end + 5,"
            " 'adhoc', 1, usage, versions, input_hash, kernel_version, quality, method, 0, '[]',"
            " 0, 0, issued_at, due_on, actor FROM bills.bill WHERE id = %s",
            [done.bill],
        )
    # the demand is paid like any debt, and what is too much goes back by two people
    payments.pay(home, replace(order(1, "p", 90), peer_time=noon(2, 20)), now=noon(2, 20))
    assert ending.step(home, now=noon(2, 20)) == 1
    assert ending.step(home, now=noon(2, 20)) == 0
    with home.transaction() as conn:
        after = ending.endings_of(conn, HOME)[0]
    assert (after.state, after.left_micros) == (EndState.REFUND_DUE, 9_010_000)
    sound(home)


def test_what_is_left_is_paid_out_by_two_people(home: Database, database_dsn: str) -> None:
    payments.pay(home, replace(order(1, "p", 100), peer_time=noon(2, 5)), now=noon(2, 5))
    done = ended(home, wh=1_130 * KWH)
    assert (done.state, done.left_micros) == (EndState.REFUND_DUE, 19_010_000)

    def propose(db: Database) -> Ending:
        return ending.propose_refund(
            db, SA, channel="bank", reason="moved out", actor="user:li", now=noon(2, 13)
        )

    def decide(db: Database, event: EndEvent, actor: str) -> Ending:
        return ending.decide_refund(db, SA, event, actor=actor, now=noon(2, 14))

    with Database(database_dsn, user="meterloop_portal") as pages:
        propose(pages)
        refused("ending.same_person", lambda: decide(pages, EndEvent.APPROVE, "user:li"))
        assert decide(pages, EndEvent.REFUSE, "user:wang").state is EndState.REFUND_DUE
        propose(pages)
        payments.pay(home, replace(order(1, "q", 1), peer_time=noon(2, 13)), now=noon(2, 13))
        refused("ending.sum_changed", lambda: decide(pages, EndEvent.APPROVE, "user:wang"))
        propose_again = ending.step(home, now=noon(2, 14))
        assert propose_again == 1
        propose(pages)
        paid = decide(pages, EndEvent.APPROVE, "user:wang")
    assert (paid.state, paid.left_micros, paid.refunded_micros) == (
        EndState.REFUNDED, 0, 20_010_000,
    )  # fmt: skip
    assert standing(home, HOME) == {}
    refused("ending.state", lambda: propose(home))
    # money that comes when all is settled is found within the hour
    payments.pay(home, replace(order(1, "r", 2), peer_time=noon(2, 15)), now=noon(2, 15))
    assert ending.step(home, now=noon(2, 15)) == 1
    assert ending.step(home, now=noon(2, 15)) == 0
    with home.transaction() as conn:
        assert ending.endings_of(conn, HOME)[0].left_micros == 2 * YUAN
    noted = rows(home, "SELECT actor, on_behalf FROM audit.event WHERE action = 'ending.refunded'")
    assert noted == [("user:wang", "user:li")]
    sound(home)


def test_a_late_register_corrects_the_final_bill_and_its_settlement(home: Database) -> None:
    payments.pay(home, replace(order(1, "p", 100), peer_time=noon(2, 5)), now=noon(2, 5))
    done = ended(home, wh=1_130 * KWH)
    read(home, 1, LEAVES, 1_150)
    with home.transaction() as conn:
        late = ending.late_registers(conn)
    assert [(found.agreement, wh) for found, wh in late] == [(SA, 1_150 * KWH)]
    fixed = ending.correct(
        home, SA, register_wh=1_150 * KWH, order=Order(reason="read late", actor="user:li"),
        now=noon(2, 15),
    )  # fmt: skip
    # twenty kWh more: 10.40 with 13 % are 11.75
    assert fixed.left_micros == done.left_micros - 11_750_000
    assert fixed.bill != done.bill
    linked = rows(home, "SELECT corrects, kind FROM bills.bill WHERE id = %s", [fixed.bill])
    assert linked == [(done.bill, "corrective_reading")]
    with home.transaction() as conn:
        assert ending.late_registers(conn) == []
    again = Order(reason="read again", actor="user:li")
    for act in (
        lambda: corrections.cancel(
            home, fixed.bill, kind=CancelKind.ORDINARY, order=again, now=noon(2, 16)
        ),
        lambda: corrections.correct(
            home, fixed.bill, kind=BillKind.CORRECTIVE_READING, wh=1_140 * KWH, order=again,
            now=noon(2, 16),
        ),
    ):  # fmt: skip
        refused("bills.agreement_ended", act)
    refused(
        "bills.rebill_of_rebill",
        lambda: ending.correct(home, SA, register_wh=1_151 * KWH, order=again, now=noon(2, 16)),
    )
    refused(
        "ending.register_same",
        lambda: ending.correct(home, SA, register_wh=1_150 * KWH, order=again, now=noon(2, 16)),
    )
    sound(home)


def test_a_deposit_with_its_interest_pays_the_last_debts(home: Database) -> None:
    deposits.demand(
        home, FIRM, reason="new", actor="user:li", now=datetime(2026, 1, 10, tzinfo=UTC)
    )
    payments.pay(home, replace(order(2, "p", 389.85), peer_time=noon(1, 10)), now=noon(1, 10))
    payments.pay(home, replace(order(2, "q", 760), peer_time=noon(1, 10)), now=noon(1, 10))
    deposits.step(home, now=noon(1, 10))
    assert standing(home, FIRM)["deposit"] == -760 * YUAN
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deposits.apply_at_end, "__kwdefaults__", {"terms": TERMS})
        done = ended(home, "SA-000002", wh=1_700 * KWH)
    assert done.deposit_micros == 760 * YUAN
    # 33 days at 15 per mille a year
    assert done.interest_micros == 1_030_000
    assert "deposit" not in standing(home, FIRM)
    assert done.left_micros == 761_030_000 - 93_870_000
    assert done.state is EndState.REFUND_DUE
    sound(home)


def test_an_end_takes_an_open_plan_back(home: Database) -> None:
    plan = plans.propose(home, wish(HOME, first=20, count=1), now=noon(2, 10))
    plans.sign(home, plan.id, actor="customer:c1", now=noon(2, 10))
    done = ended(home, wh=1_130 * KWH)
    assert done.left_micros == -80_990_000
    assert standing(home, HOME) == {"ar_energy": 80_990_000}
    sound(home)


def test_a_correction_of_an_earlier_bill_runs_through_the_final_one(home: Database) -> None:
    payments.pay(home, replace(order(1, "p", 100), peer_time=noon(2, 5)), now=noon(2, 5))
    done = ended(home, wh=1_130 * KWH)
    january = rows(home, "SELECT id FROM bills.bill WHERE agreement = %s ORDER BY id", [SA])[0][0]
    corrections.correct(
        home, january, kind=BillKind.CORRECTIVE_READING, wh=1_110 * KWH,
        order=Order(reason="misread", actor="user:li"), now=noon(2, 14),
    )  # fmt: skip
    ending.step(home, now=noon(2, 14))
    with home.transaction() as conn:
        [moved] = ending.endings_of(conn, HOME)
    # ten kWh go from February to January; only roundings of a cent may differ
    assert abs(moved.left_micros - done.left_micros) <= 20_000
    fixed = ending.correct(
        home, SA, register_wh=1_150 * KWH, now=noon(2, 15),
        order=Order(reason="read late", actor="user:li", approver="user:wang"),
    )  # fmt: skip
    assert fixed.left_micros < moved.left_micros
    sound(home)


@pytest.mark.req("K10")
@pytest.mark.parametrize("wh", [None, 1_100 * KWH])
def test_an_end_on_the_day_its_bill_ended_takes_that_bill_as_the_last(
    home: Database, wh: int | None
) -> None:
    january = rows(home, "SELECT id FROM bills.bill WHERE agreement = %s", [SA])[0][0]
    done = ended(home, end=FEB, wh=wh)
    assert (done.bill, done.register_wh, done.ended_on) == (january, 1_100 * KWH, FEB)
    assert (done.state, done.left_micros) == (EndState.DEMANDED, -62_150_000)
    assert rows(home, "SELECT count(*) FROM bills.bill WHERE agreement = %s", [SA]) == [(1,)]
    refused("customers.agreement_unknown", lambda: ended(home, end=FEB))
    fixed = ending.correct(home, SA, register_wh=1_110 * KWH, order=ORDER, now=noon(2, 13))
    assert fixed.left_micros < done.left_micros
    sound(home)


def test_an_end_on_that_day_at_another_register_corrects_the_bill(home: Database) -> None:
    refused("bills.amount_bad", lambda: ended(home, end=FEB, wh=999 * KWH,
            order=replace(ORDER, approver="user:wang")))  # fmt: skip
    assert rows(home, "SELECT count(*) FROM bills.ending") == [(0,)]
    done = ended(home, end=FEB, wh=1_110 * KWH)
    made = rows(home, "SELECT b.id, b.kind, b.end_wh, b.total_micros, c.kind FROM bills.bill AS b"
                " JOIN bills.cancellation AS c ON c.bill = b.corrects"
                " WHERE b.agreement = %s", [SA])  # fmt: skip
    # 110 kWh at 0.52, a month's 3.00, 13 %
    assert made == [(done.bill, "corrective_reading", 1_110 * KWH, 68_030_000, "corrective")]
    assert done.left_micros == -68_030_000
    sound(home)


def test_an_end_that_nothing_tells_the_register_of_is_refused(home: Database) -> None:
    said = refused("bills.item_state", lambda: ended(home))
    assert "bills.register_missing" in said
    refused("ending.day_bad", lambda: ended(home, end=date(2026, 3, 1)))
    refused("ending.day_bad", lambda: ended(home, end=date(2026, 1, 1)))
    refused("bills.period_overlaps", lambda: ended(home, end=date(2026, 1, 20), wh=1_100 * KWH))
    refused("bills.item_state", lambda: ended(home, wh=1_099 * KWH))
    refused("bills.reason_missing", lambda: ended(home, order=Order(reason="", actor="user:li")))
    said = refused("bills.item_state", lambda: ended(home, wh=9_000 * KWH))
    assert "hilow" in said
    by_two = Order(reason="a factory", actor="user:li", approver="user:wang")
    assert ended(home, wh=9_000 * KWH, order=by_two).state is EndState.DEMANDED


def test_the_final_bill_of_a_prepaid_account_takes_off_what_was_drawn(
    db: Database, database_dsn: str
) -> None:
    street(db, customer(1))
    for day in range(1, 4):
        read_at(db, UP, ORIGIN + timedelta(days=day), 1_000_000 + 7_777 * day)
        prepaid.sweep(db, now=ORIGIN + timedelta(days=day, minutes=1))
    now = ORIGIN + timedelta(days=3, minutes=2)
    leaves = ORIGIN.date() + timedelta(days=2)
    with Database(database_dsn, user="meterloop_billing") as own:
        done = ended(own, end=leaves, wh=1_012_345, now=now)
    total, posted = rows(
        db, "SELECT total_micros, posted_micros FROM bills.bill WHERE id = %s", [done.bill]
    )[0]  # fmt: skip
    drawn = rows(db, "SELECT sum(amount_micros)::bigint FROM prepaid.drawdown")[0][0]
    assert posted == total - drawn
    assert total == 6_420_000
    assert done.left_micros == 50 * YUAN - total
    assert done.state is EndState.REFUND_DUE
    # what was drawn knows parts of a cent; what is left can be paid out
    assert done.left_micros % 10_000 == 0
    assert rows(db, "SELECT count(*) FROM prepaid.state") == [(0,)]
    read_at(db, UP, ORIGIN + timedelta(days=4), 1_040_000)
    prepaid.sweep(db, now=ORIGIN + timedelta(days=4, minutes=1))
    assert rows(db, "SELECT sum(amount_micros)::bigint FROM prepaid.drawdown") == [(drawn,)]
    late = ending.correct(
        db, SA, register_wh=1_012_000, order=Order(reason="misread", actor="user:li"),
        now=now + HOUR,
    )  # fmt: skip
    assert late.left_micros == 50 * YUAN - 6_240_000
    sound(db)


def test_money_that_comes_after_the_end_touches_no_supply_of_the_next_customer(
    db: Database,
) -> None:
    street(db, customer(1))
    read_at(db, UP, ORIGIN + HOUR, 1_001_000)
    now = ORIGIN + timedelta(days=1, hours=1)
    ended(db, end=ORIGIN.date() + timedelta(days=1), wh=1_001_500, now=now)
    with db.transaction() as conn:
        before = control.supply_of(conn, UP).epoch
    payments.pay(db, replace(order(1, "late", 5), peer_time=now), now=now)
    with db.transaction() as conn:
        assert control.supply_of(conn, UP).epoch == before
    assert ending.step(db, now=now) == 1
    sound(db)


def test_the_case_of_an_ended_agreement_is_closed(db: Database) -> None:
    at = fall(db)
    later = due(db, at)
    ended(db, end=later.date(), wh=1_111_000, now=later + HOUR)
    turn(db, later + HOUR)
    case = case_of(db)
    assert case.state is CaseState.CLOSED
    assert case.closed_at is not None


def test_the_end_of_a_balance_on_a_tariff_of_periods_settles_to_the_last_cent(
    db: Database,
) -> None:
    book(db, household(1, opening_balance_micros=100 * YUAN))
    for day in range(2, 12):
        read(db, 1, date(2026, 1, day), 1_000 + 10 * (day - 1))
        prepaid.sweep(db, now=datetime(2026, 1, day, 4, tzinfo=UTC))
    drawn = rows(db, "SELECT count(*), sum(amount_micros)::bigint FROM prepaid.drawdown")[0]
    assert drawn[0] == 10
    done = ended(db, end=date(2026, 1, 11), wh=1_100 * KWH, now=noon(1, 11))
    total, posted = rows(
        db, "SELECT total_micros, posted_micros FROM bills.bill WHERE id = %s", [done.bill]
    )[0]  # fmt: skip
    assert posted == total - drawn[1]
    assert done.left_micros == 100 * YUAN - total
    assert rows(db, "SELECT count(*) FROM prepaid.state") == [(0,)]
    assert rows(db, "SELECT count(*) FROM prepaid.open_stretch") == [(0,)]
    prepaid.sweep(db, now=datetime(2026, 1, 12, 4, tzinfo=UTC))
    with db.transaction() as conn:
        assert ending.late_registers(conn) == []
    sound(db)
