"""SQL of payments that one company makes for all of its supplies."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from billing.payments.model import PaymentOrder
from billing.payments.store.blocks import SQL
from cloud.store.db import Connection


def insert(
    conn: Connection, order: PaymentOrder, accounts: Sequence[str], shares: Sequence[int],
    now: datetime,
) -> bool:  # fmt: skip
    """Keep how a payment was shared; tell whether it was new."""
    row = conn.execute(
        SQL["insert_collective_payment"],
        {
            "channel": order.channel, "peer_txn_id": order.peer_txn_id,
            "collective": order.account, "currency": order.currency,
            "amount": order.amount_micros, "accounts": list(accounts), "shares": list(shares),
            "actor": order.actor, "now": now,
        },
    ).fetchone()  # fmt: skip
    return row is not None


def shared(conn: Connection, channel: str, peer_txn_id: str) -> tuple[Any, ...] | None:
    """Return collective, currency, amount, accounts and shares of a payment, or None."""
    asked = {"channel": channel, "peer_txn_id": peer_txn_id}
    return conn.execute(SQL["collective_payment"], asked).fetchone()


def newest(conn: Connection, collective: str) -> list[tuple[Any, ...]]:
    """Return the newest payments of a company."""
    return list(conn.execute(SQL["collective_payments"], {"collective": collective}))
