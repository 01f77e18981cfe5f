"""A thousand payments, five sends each, eight connections: none twice, none lost (G6, H2)."""

import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from billing.ledger import service as ledger
from billing.payments import service as payments
from cloud.store.db import Database
from protocols.timeline import Interval
from tests.integration.billing_kit import HOUR, ORIGIN, YUAN, customer, order, rows, street

PAYMENTS, SENDS, CONNECTIONS, PEOPLE = 1_000, 5, 8, 25


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.req("G6", "H2")
def test_a_thousand_payments_sent_five_times_over_eight_connections(
    db: Database, database_dsn: str
) -> None:
    people = [customer(number, opening_balance_micros=0) for number in range(1, PEOPLE + 1)]
    street(db, *people)
    sends = [
        (verb, n % PEOPLE + 1, f"t-{n}", 1 + n % 9)
        for n in range(PAYMENTS)
        for verb in ("pay", "pay", "pay", "hold", "post")
    ]
    assert len(sends) == PAYMENTS * SENDS
    random.Random(7).shuffle(sends)

    def send(one: tuple[str, int, str, int]) -> str:
        verb, number, txn, yuan = one
        if verb == "hold":
            payments.hold(shared, order(number, txn, yuan), now=ORIGIN)
            return ""
        if verb == "post":  # a repeat of `pay` in two steps
            payments.hold(shared, order(number, txn, yuan), now=ORIGIN)
            return payments.post(shared, "bank", txn, actor="peer:bank", now=ORIGIN).receipt_no
        return payments.pay(shared, order(number, txn, yuan), now=ORIGIN).receipt_no

    started = time.monotonic()
    with Database(database_dsn, user="meterloop_portal", size=CONNECTIONS) as shared:
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            receipts = set(pool.map(send, sends)) - {""}
    print(f"{len(sends)} sends in {time.monotonic() - started:.1f} s")
    assert len(receipts) == PAYMENTS
    wanted = {f"t-{n}": (1 + n % 9) * YUAN for n in range(PAYMENTS)}
    with db.transaction() as conn:
        span = Interval(start=ORIGIN, end=ORIGIN + HOUR)
        found = payments.statement(conn, "bank", span, limit=2 * PAYMENTS)
        assert payments.audit_payments(conn).count == 0
        total = sum(ledger.balance_of(conn, person.account) for person in people)
    assert {row.peer_txn_id: row.net_micros for row in found} == wanted
    assert len(found) == PAYMENTS
    assert total == sum(wanted.values())
    assert rows(db, "SELECT count(*) FROM ledger.entry WHERE kind = 'payment'") == [(PAYMENTS,)]
    ledger.seal(db, now=ORIGIN)
    book = ledger.audit_book(db)
    assert (book.linked, book.violations) == (PAYMENTS, 0)
