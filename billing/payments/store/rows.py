"""SQL of posted payments: rows are inserted once and never changed."""

from collections.abc import Sequence
from typing import Any

from billing.customers.model import AccountId
from billing.payments.model import Payment, PaymentState
from billing.payments.store.blocks import SQL
from cloud.store.db import Connection


def insert_payments(conn: Connection, payments: Sequence[Payment]) -> None:
    """Insert payments."""
    conn.execute(
        SQL["insert_payments"],
        {
            "receipt_nos": [p.receipt_no for p in payments],
            "channels": [p.channel for p in payments],
            "peer_txn_ids": [p.peer_txn_id for p in payments],
            "body_hashes": [p.body_hash for p in payments],
            "states": [p.state.value for p in payments],
            "accounts": [p.account for p in payments],
            "usage_points": [p.usage_point for p in payments],
            "amounts": [p.amount_micros for p in payments],
            "currencies": [p.currency for p in payments],
            "peer_times": [p.peer_time for p in payments],
            "received_ats": [p.received_at for p in payments],
            "actors": [p.actor for p in payments], "entry_ids": [p.entry_id for p in payments],
            "availables": [p.available_micros for p in payments],
        },
    )  # fmt: skip


def posted_by_peers(
    conn: Connection, peers: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], Payment]:
    """Return of (channel, peer's id) those that stand as they were posted."""
    found = conn.execute(
        SQL["posted_by_peers"],
        {"channels": [each[0] for each in peers], "peer_txn_ids": [each[1] for each in peers]},
    )
    return {(payment.channel, payment.peer_txn_id): payment for payment in map(_payment, found)}


def payment_by_peer(conn: Connection, channel: str, peer_txn_id: str) -> Payment | None:
    """Return the payment a channel reported under an id, or None."""
    row = conn.execute(
        SQL["payment_by_peer"], {"channel": channel, "peer_txn_id": peer_txn_id}
    ).fetchone()
    return _payment(row) if row else None


def payments_of_account(conn: Connection, account: str, limit: int) -> list[Payment]:
    """Return the newest payments of an account."""
    rows = conn.execute(SQL["payments_of_account"], {"account": account, "limit": limit})
    return [_payment(row) for row in rows]


def payment_by_receipt(conn: Connection, receipt_no: str) -> Payment | None:
    """Return a payment by its receipt, or None."""
    row = conn.execute(SQL["payment_by_receipt"], {"receipt": receipt_no}).fetchone()
    return _payment(row) if row else None


def payments_unlike_ledger(conn: Connection) -> list[str]:
    """Return receipts whose entry says something else."""
    return [row[0] for row in conn.execute(SQL["payments_unlike_ledger"])]


def payments_total(conn: Connection) -> list[tuple[str, str, str, int, int]]:
    """Return channel, currency, state, number and sum."""
    return [
        (row[0], row[1], row[2], row[3], int(row[4])) for row in conn.execute(SQL["payments_total"])
    ]


def _payment(row: Sequence[Any]) -> Payment:
    return Payment(
        receipt_no=row[0], channel=row[1], peer_txn_id=row[2], body_hash=bytes(row[3]),
        state=PaymentState(row[4]), account=AccountId(row[5]), usage_point=row[6],
        amount_micros=row[7], currency=row[8], peer_time=row[9], received_at=row[10],
        actor=row[11], entry_id=row[12], available_micros=row[13],
    )  # fmt: skip
