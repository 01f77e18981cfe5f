"""Deposits on a real database: demanded, paid as a due line, held, returned by two people."""

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from billing.bills.rules.deposits import DepositEvent, DepositState, Rate
from billing.bills.service import deposits
from billing.bills.store.deposits import Deposit
from billing.customers.model import CustomerKind
from billing.payments import service as payments
from cloud.store.db import Database
from protocols.errors import RefusedError
from tests.integration.billing_kit import YUAN, order, rows
from tests.integration.bills_kit import book, household
from tests.integration.test_billing_bills_plans import sound, standing

HOME, FIRM = "AC-000001", "AC-000002"
START = datetime(2026, 1, 10, 12, tzinfo=UTC)
YEAR_ON = datetime(2027, 1, 10, 12, tzinfo=UTC)
TERMS = replace(
    deposits.RULES, rates=(Rate(valid_from=date(2020, 1, 1), permille_a_year=15),)
)  # fmt: skip


@pytest.fixture
def firm(db: Database) -> Database:
    book(db, household(1), household(2, kind=CustomerKind.LEGAL))
    return db


def demanded(db: Database) -> Deposit:
    return deposits.demand(db, FIRM, reason="new customer", actor="user:li", now=START)


def pay(db: Database, yuan: float, txn: str) -> None:
    payments.pay(db, replace(order(2, txn, yuan), peer_time=START), now=START)


def refused(code: str, act: Any) -> None:
    with pytest.raises(RefusedError) as found:
        act()
    assert found.value.refusal == code


def test_a_deposit_is_a_due_line_held_when_paid_and_returned_with_interest_by_two(
    firm: Database, database_dsn: str
) -> None:
    with Database(database_dsn, user="meterloop_portal") as pages:
        deposit = demanded(pages)
    refused("deposit.open_already", lambda: demanded(firm))
    refused(
        "deposit.none_due",
        lambda: deposits.demand(firm, HOME, reason="x", actor="user:li", now=START),
    )
    quote = payments.quote(firm, "bank", FIRM, now=START)
    assert [(line.code, line.amount_micros) for line in quote.lines] == [("ar_deposit", 500 * YUAN)]
    pay(firm, 200, "a")
    assert deposits.step(firm, now=START) == 0
    assert standing(firm, FIRM) == {"ar_deposit": 300 * YUAN, "deposit": -200 * YUAN}
    pay(firm, 300, "b")
    with Database(database_dsn, user="meterloop_billing") as own:
        assert deposits.step(own, now=START) == 1
        assert deposits.step(own, now=START) == 0
    assert standing(firm, FIRM) == {"deposit": -500 * YUAN}

    def propose() -> Deposit:
        return deposits.propose_return(
            firm, deposit.id, channel="bank", reason="a good payer", actor="user:li", now=YEAR_ON
        )

    def decide(event: DepositEvent, actor: str) -> Deposit:
        return deposits.decide_return(
            firm, deposit.id, event, actor=actor, now=YEAR_ON, terms=TERMS
        )

    propose()
    refused("deposit.same_person", lambda: decide(DepositEvent.APPROVE, "user:li"))
    assert decide(DepositEvent.REFUSE, "user:wang").state is DepositState.HELD
    propose()
    done = decide(DepositEvent.APPROVE, "user:wang")
    assert (done.state, done.interest_micros) == (DepositState.RETURNED, 7_500_000)
    refused("deposit.state", propose)
    assert standing(firm, FIRM) == {}
    bank = rows(firm, "SELECT sum(side * amount_micros)::bigint FROM ledger.posted_leg"
                " WHERE kind = 'bank_clearing'")  # fmt: skip
    assert bank == [(-7_500_000,)]
    noted = rows(firm, "SELECT action FROM audit.event WHERE action LIKE 'deposit.%%' ORDER BY id")
    assert [row[0].removeprefix("deposit.") for row in noted] == [
        "demanded", "held", "return_proposed", "return_refused", "return_proposed", "returned",
    ]  # fmt: skip
    sound(firm)


def test_a_voided_payment_takes_its_part_of_a_deposit_out_again(firm: Database) -> None:
    demanded(firm)
    pay(firm, 200, "a")
    payments.void(firm, "bank", "a", reason="mistake", actor="peer:bank", now=START)
    assert standing(firm, FIRM) == {"ar_deposit": 500 * YUAN}
    sound(firm)


def test_a_demand_that_is_dropped_leaves_what_was_paid_as_prepayment(firm: Database) -> None:
    deposit = demanded(firm)
    pay(firm, 120, "a")
    refused(
        "deposit.reason_missing",
        lambda: deposits.drop(firm, deposit.id, reason=" ", actor="user:li", now=START),
    )
    done = deposits.drop(firm, deposit.id, reason="by mistake", actor="user:li", now=START)
    assert done.state is DepositState.DROPPED
    assert standing(firm, FIRM) == {"customer_prepayment": -120 * YUAN}
    sound(firm)
