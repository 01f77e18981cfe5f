"""Money in: once, whatever repeats, races or is wrong; and it stops a cut in the same breath."""

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from billing.ledger import service as ledger
from billing.payments import service as payments
from billing.payments.model import Adjustment, PaymentState
from billing.prepaid import service as prepaid
from cloud.control import service as control
from cloud.store import audit
from cloud.store.db import Database
from protocols.errors import RefusedError
from protocols.timeline import Interval
from tests.integration.billing_kit import HOUR, ORIGIN, YUAN, customer, order, read, rows, street

UP = "UP-000001"


def in_debt(db: Database) -> None:
    """One customer, 2 yuan below zero."""
    street(db, customer(1, opening_balance_micros=0))
    read(db, UP, ORIGIN + HOUR, 1_003_846)
    prepaid.sweep(db, now=ORIGIN + HOUR)


@pytest.mark.req("H1", "H2", "C14", "F3")
def test_a_payment_is_a_receipt_an_entry_an_epoch_and_a_message(db: Database) -> None:
    in_debt(db)
    with db.transaction() as conn:
        before = control.supply_of(conn, UP).epoch
    receipt = payments.pay(db, order(1, "t-1", 30), now=ORIGIN + 2 * HOUR)
    assert receipt.state is PaymentState.POSTED
    assert (receipt.available_micros, receipt.replayed) == (28 * YUAN, False)
    with db.transaction() as conn:
        assert ledger.balance_of(conn, "AC-000001") == 30 * YUAN
        assert control.supply_of(conn, UP).epoch == before + 1
        acts = [event.action for event in audit.history(conn, entity="account",
                                                        entity_id="AC-000001")]  # fmt: skip
        assert acts == ["payments.posted"]
        assert prepaid.balance_of(conn, UP, ORIGIN + 2 * HOUR).available_micros == 28 * YUAN
        assert payments.audit_payments(conn).count == 0
        assert payments.status(conn, "bank", "t-1").receipt_no == receipt.receipt_no
        assert payments.status(conn, "bank", "t-2") is None
    told = rows(db, "SELECT kind FROM messages.message WHERE kind = 'payment_received'")
    assert len(told) == 1


@pytest.mark.req("H1")
def test_a_repeat_gets_the_same_receipt_and_moves_nothing(db: Database) -> None:
    in_debt(db)
    first = payments.pay(db, order(1, "t-1", 30), now=ORIGIN + 2 * HOUR)
    later = order(1, "t-1", 30, peer_time=ORIGIN + timedelta(days=1), actor="peer:retry")
    again = payments.pay(db, later, now=ORIGIN + 9 * HOUR)
    assert again.replayed
    assert (again.receipt_no, again.available_micros, again.received_at) == (
        first.receipt_no, first.available_micros, first.received_at,
    )  # fmt: skip
    assert rows(db, "SELECT count(*) FROM payments.payment") == [(1,)]
    other = payments.pay(db, order(1, "t-1", 30, channel="web"), now=ORIGIN)
    assert not other.replayed  # ids are a channel's own


@pytest.mark.req("H1")
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"amount_micros": 31 * YUAN}, "payments.conflict"),
        ({"account": "AC-000002"}, "payments.conflict"),
        ({"currency": "UZS"}, "payments.conflict"),
        ({"peer_txn_id": "n", "amount_micros": 0}, "payments.amount"),
        ({"peer_txn_id": "n", "amount_micros": -1}, "payments.amount"),
        ({"peer_txn_id": "n", "amount_micros": 10**18}, "payments.amount"),
        ({"peer_txn_id": "n", "currency": "UZS"}, "payments.currency"),
        ({"peer_txn_id": "n", "account": "AC-999999"}, "payments.account_unknown"),
        ({"peer_txn_id": ""}, "payments.peer_id"),
        ({"peer_txn_id": "n", "channel": "a/b"}, "payments.peer_id"),
        ({"peer_txn_id": "n", "peer_time": ORIGIN.replace(tzinfo=None)}, "payments.peer_id"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_a_reason_and_moves_nothing(
    db: Database, changes, code: str
) -> None:
    street(db, customer(1), customer(2))
    payments.pay(db, order(1, "t-1", 30), now=ORIGIN)
    with pytest.raises(RefusedError) as caught:
        payments.pay(db, order(1, "t-1", 30, **changes), now=ORIGIN)
    assert caught.value.refusal.value == code
    assert caught.value.fix
    assert rows(db, "SELECT count(*) FROM ledger.entry WHERE kind = 'payment'") == [(1,)]
    with db.transaction() as conn:
        assert ledger.audit_sums(conn).count == 0


@pytest.mark.req("H2")
def test_money_that_a_peer_already_has_is_kept_in_suspense(db: Database) -> None:
    street(db, customer(1))
    taken = order(1, "t-9", 30, account="AC-999999", already_collected=True)
    first = payments.pay(db, taken, now=ORIGIN)
    assert (first.state, first.available_micros) == (PaymentState.SUSPENSE, None)
    assert payments.pay(db, taken, now=ORIGIN).receipt_no == first.receipt_no
    with db.transaction() as conn:
        assert payments.totals(conn) == [("bank", "CNY", "suspense", 1, 30 * YUAN)]
        assert ledger.audit_sums(conn).count == 0
        assert payments.audit_payments(conn).count == 0


@pytest.mark.req("H2")
def test_many_payments_sent_many_times_by_many_hands_are_each_taken_once(
    db: Database, database_dsn: str
) -> None:
    people = [customer(number) for number in range(1, 11)]
    street(db, *people)
    sends = [(n % 10 + 1, f"t-{n}", 1 + n % 7) for n in range(200)] * 5
    random.Random(7).shuffle(sends)
    with Database(database_dsn, user="meterloop_portal", size=8) as shared:

        def send(one: tuple[int, str, int]) -> str:
            return payments.pay(shared, order(*one), now=ORIGIN).receipt_no

        with ThreadPoolExecutor(8) as pool:
            receipts = list(pool.map(send, sends))
    assert len(set(receipts)) == 200
    with db.transaction() as conn:
        total = sum(ledger.balance_of(conn, person.account) for person in people)
        assert total == 10 * 50 * YUAN + sum(1 + n % 7 for n in range(200)) * YUAN
        assert ledger.audit_sums(conn).count == 0
        assert payments.audit_payments(conn).count == 0
        span = Interval(start=ORIGIN, end=ORIGIN + HOUR)
        assert len(payments.statement(conn, "bank", span)) == 200


def test_two_payments_at_once_see_each_other(db: Database, database_dsn: str) -> None:
    """Each alone leaves a debt: whichever comes second must see power allowed."""
    street(db, customer(1, opening_balance_micros=-30 * YUAN))
    prepaid.sweep(db, now=ORIGIN)
    with Database(database_dsn, size=2) as shared, ThreadPoolExecutor(2) as pool:
        found = list(
            pool.map(lambda t: payments.pay(shared, order(1, t, 20), now=ORIGIN), ("a", "b"))
        )
    assert sorted(receipt.available_micros for receipt in found) == [-10 * YUAN, 10 * YUAN]


@pytest.mark.req("G14")
def test_a_balance_is_adjusted_by_two_people_once(db: Database) -> None:
    in_debt(db)
    change = Adjustment(key="c-1", account="AC-000001", amount_micros=5 * YUAN,
                        reason="meter error", actors=("user:lin", "user:reza"))  # fmt: skip
    assert payments.adjust(db, change, now=ORIGIN + 2 * HOUR) == 3 * YUAN
    assert payments.adjust(db, change, now=ORIGIN + 2 * HOUR) == 3 * YUAN
    for actors in (("user:lin", "user:lin"), ("user:lin", "system:billing")):
        with pytest.raises(RefusedError, match="two different people"):
            payments.adjust(
                db,
                Adjustment(key="c-2", account="AC-000001", amount_micros=YUAN, reason="x",
                           actors=actors),
                now=ORIGIN,
            )  # fmt: skip
    with db.transaction() as conn:
        assert ledger.audit_sums(conn).count == 0


@pytest.mark.req("H9")
def test_a_quote_shows_what_is_due_and_only_a_masked_name(db: Database) -> None:
    in_debt(db)
    quote = payments.quote(db, "bank", "AC-000001", now=ORIGIN + HOUR)
    assert (quote.due_micros, quote.available_micros) == (2 * YUAN, -2 * YUAN)
    assert [(line.code, line.amount_micros) for line in quote.lines] == [("balance", 2 * YUAN)]
    assert quote.expires_at == ORIGIN + HOUR + timedelta(minutes=15)
    assert quote.masked_name == "W*** L*** 1***"
    with pytest.raises(RefusedError, match="account_unknown"):
        payments.quote(db, "bank", "AC-999999", now=ORIGIN)
