"""How bills go out and are paid, from a run to the text on a phone, a page, paper, a debit list."""

import csv
import io
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from billing.bills.rules.means import STANDARD, Choice, Delivery, Means
from billing.bills.service import means
from billing.money import parse_micros
from cloud.messages import service as messages
from cloud.messages.model import MessageEvent
from cloud.store.db import Database
from protocols.errors import RefusedError
from tests.integration.billing_kit import rows
from tests.integration.bills_kit import FEB, NOW, book, household, read
from tests.integration.test_billing_bills_run import finished

LATER = NOW + timedelta(hours=1)


def choose(db: Database, number: int, how: Means, delivery: Delivery, mandate: str = "") -> None:
    choice = Choice(means=how, delivery=delivery, mandate=mandate)
    means.choose(db, f"AC-{number:06}", choice, actor="user:li", reason="asked", now=NOW)


@pytest.fixture
def street(db: Database) -> Database:
    """Five who pay and are told in five ways."""
    languages = ("en", "zh", "uz", "ru", "fa")
    book(db, *[replace(household(n), language=languages[n - 1]) for n in range(1, 6)])
    for number in range(1, 6):
        read(db, number, FEB, 1_000 + 100 * number)
    choose(db, 2, Means.BANK_DEBIT, Delivery.ELECTRONIC, "M-77/2")
    choose(db, 3, Means.COUNTER, Delivery.PAPER)
    choose(db, 4, Means.CASH, Delivery.SMS)
    choose(db, 5, Means.BANK_DEBIT, Delivery.SMS, "M-77/5")
    return db


@pytest.mark.req("G10", "G21")
def test_a_run_sends_each_bill_its_own_way_and_lists_what_banks_take(street: Database) -> None:
    run = finished(street)
    with street.transaction() as conn:
        told = {each.subject: each for each in messages.outbox(conn)}
        debits = means.debits_of(conn, run.id)
        counts = means.counts_of(conn, run.id)
        bills = {row.account: row for row in debits}
    states = {subject[-1]: each.state.value for subject, each in told.items()}
    assert states == {"1": "queued", "2": "queued", "3": "paper", "4": "queued", "5": "queued"}
    kinds = {subject[-1]: each.kind.value for subject, each in told.items()}
    assert kinds == {
        "1": "bill_issued", "2": "bill_debited", "3": "bill_issued", "4": "bill_issued",
        "5": "bill_debited",
    }  # fmt: skip
    assert "银行账户" in told["UP-000002"].text
    assert "برداشت" in told["UP-000005"].text
    assert [(each.mandate, each.amount_micros) for each in debits] == [
        ("M-77/2", 120_910_000), ("M-77/5", 297_190_000),
    ]  # fmt: skip
    assert {(each.means.value, each.delivery.value, each.bills) for each in counts} == {
        ("counter", "sms", 1), ("bank_debit", "electronic", 1), ("counter", "paper", 1),
        ("cash", "sms", 1), ("bank_debit", "sms", 1),
    }  # fmt: skip
    listed = list(csv.DictReader(io.StringIO(means.debit_file(debits))))
    assert [parse_micros(row["amount"]) for row in listed] == [
        each.amount_micros for each in debits
    ]
    assert listed[0]["due_on"] == bills["AC-000002"].due_on.isoformat()


@pytest.mark.req("G21")
def test_an_sms_bill_reaches_the_phone_and_an_electronic_one_is_seen_once(
    street: Database, database_dsn: str
) -> None:
    finished(street)
    with street.transaction() as conn:
        [text] = messages.messages_of(conn, "UP-000001")
        [(bill,)] = conn.execute("SELECT id FROM bills.bill WHERE account = 'AC-000002'").fetchall()
    due = {each.id: each for each in messages.due(street, wall_now=LATER)}
    assert due[text.id].phone == "+8613800000001"
    assert "62.15 CNY" in due[text.id].text
    for event in (MessageEvent.ACCEPTED, MessageEvent.DELIVERED):
        assert messages.note(street, text.id, event, now=LATER)
    with street.transaction() as conn:
        assert messages.messages_of(conn, "UP-000001")[0].state.value == "delivered"
        assert means.sent_of(conn, bill).opened_at is None
    with Database(database_dsn, user="meterloop_portal") as pages:
        means.opened(pages, bill, actor="user:c2", now=LATER)
        means.opened(pages, bill, actor="user:c2", now=LATER + timedelta(days=1))
    with street.transaction() as conn:
        sent = means.sent_of(conn, bill)
    assert (sent.opened_at, sent.opened_by) == (LATER, "user:c2")


@pytest.mark.req("G10")
def test_a_choice_is_checked_kept_and_noted_without_the_mandate(street: Database) -> None:
    def refused(code: str, number: int, *choice: Any) -> None:
        with pytest.raises(RefusedError) as found:
            choose(street, number, *choice)
        assert found.value.refusal == code

    refused("means.mandate_bad", 1, Means.BANK_DEBIT, Delivery.SMS)
    refused("means.mandate_bad", 1, Means.CASH, Delivery.SMS, "M-1")
    refused("means.mandate_bad", 1, Means.BANK_DEBIT, Delivery.SMS, "M\n1")
    refused("customers.agreement_unknown", 9, Means.CASH, Delivery.SMS)
    with street.transaction() as conn:
        assert means.choice_of(conn, "AC-000001") == STANDARD
        assert means.choice_of(conn, "AC-000002").mandate == "M-77/2"
    noted = rows(street, "SELECT after FROM audit.event WHERE action = 'means.choose' ORDER BY id")
    assert noted[0][0] == {"means": "bank_debit", "delivery": "electronic", "mandate": "set"}
