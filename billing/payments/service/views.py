"""Asking about payments: read-only, paged, in an order that does not change."""

from dataclasses import replace
from datetime import datetime

from billing.ledger.model import Findings
from billing.ledger.service import EXAMPLES
from billing.payments.model import (
    Hold,
    HoldState,
    Payment,
    PaymentReceipt,
    PaymentState,
    StatementRow,
    SuspenseItem,
)
from billing.payments.service import posting
from billing.payments.store import holds, rows, settling
from cloud.store.db import Connection
from protocols.timeline import Interval


def status(conn: Connection, channel: str, peer_txn_id: str) -> PaymentReceipt | None:
    """Return the receipt of a payment, or None when it never arrived; a peer asks, not guesses."""
    payment = rows.payment_by_peer(conn, channel, peer_txn_id)
    if payment is None:
        return None
    receipt = posting.receipt_of(payment, replayed=True)
    announced = holds.hold(conn, channel, peer_txn_id, lock=False)
    if announced is not None and announced.state is HoldState.REVERSED:
        return replace(receipt, state=PaymentState.REVERSED)
    return receipt


def hold_of(conn: Connection, channel: str, peer_txn_id: str) -> Hold | None:
    """Return an announced payment as it stands, or None when it never arrived."""
    return holds.hold(conn, channel, peer_txn_id, lock=False)


def holds_of(conn: Connection, channel: str, span: Interval) -> list[Hold]:
    """Return a channel's announced payments by the peer's own time, ended ones too."""
    return holds.holds_in_span(conn, channel, span)


def payments_of(conn: Connection, account: str, *, limit: int = 20) -> list[Payment]:
    """Return the newest payments of an account."""
    return rows.payments_of_account(conn, account, limit)


def statement(
    conn: Connection,
    channel: str,
    span: Interval,
    *,
    after: tuple[datetime, str] | None = None,
    limit: int = 1_000,
) -> list[StatementRow]:
    """
    Return a channel's payments by the peer's own time, each with what is left of it.

    A page continues after the `place` of the last row before it; repeats and voids of what was
    already told change no place.
    """
    return settling.statement_rows(conn, channel, span, after=after, limit=limit)


def suspense(conn: Connection, *, now: datetime) -> list[SuspenseItem]:
    """Return money that waits for its owner, oldest first, with its age in days."""
    return settling.suspense_waiting(conn, now)


def totals(conn: Connection) -> list[tuple[str, str, str, int, int]]:
    """Return number and sum of payments of each channel, currency and state."""
    return rows.payments_total(conn)


def audit_payments(conn: Connection) -> Findings:
    """Prove M2 inside: every posted payment credited its account once, with its amount."""
    wrong = rows.payments_unlike_ledger(conn)
    return Findings(count=len(wrong), examples=tuple(wrong[:EXAMPLES]))
