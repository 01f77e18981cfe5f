"""
One payment for all supplies of a company (G22): debts first, in the company's own order.

Each share is a payment of its own with its own receipt, in one transaction: all or none. How it was
shared is kept, so the same payment again returns the same receipts whatever the balances are now.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from billing.customers import service as customers
from billing.customers.model import AccountId
from billing.ledger import service as ledger
from billing.payments import rules
from billing.payments.model import PaymentOrder, PaymentReceipt, Refusal
from billing.payments.rules.sharing import shares
from billing.payments.service import core
from billing.payments.store import collective as store
from cloud.store import audit
from cloud.store.db import Connection, Database
from protocols.errors import RefusedError


@dataclass(frozen=True, slots=True, kw_only=True)
class CompanyPayment:
    """One payment of a company and how it was shared. *Units*: micros."""

    channel: str
    peer_txn_id: str
    currency: str
    amount_micros: int
    shares: tuple[tuple[str, int], ...]
    at: datetime


def debts_of(conn: Connection, accounts: Sequence[str]) -> list[int]:
    """Return what each account lacks in the ledger: 0 where it holds money."""
    return [
        max(0, -ledger.balance_of(conn, account)) + sum(ledger.owed(conn, account).values())
        for account in accounts
    ]


def pay(db: Database, order: PaymentOrder, *, now: datetime) -> list[PaymentReceipt]:
    """
    Take one payment for the collective that `order.account` names; return its shares' receipts.

    Raises: RefusedError `customers.collective_unknown`, `payments.conflict` for the same id with
    another body, `payments.currency`, and as `core.pay`; then nothing was taken.
    """
    rules.check_order(order)
    with db.transaction() as conn:
        company = customers.lock_collective(conn, order.account)
        known = store.shared(conn, order.channel, order.peer_txn_id)
        if known is None:
            if order.currency != company.currency:
                raise RefusedError(
                    Refusal.CURRENCY, f"{company.id} is in {company.currency}",
                    fix="pay in that money",
                )  # fmt: skip
            found = shares(order.amount_micros, debts_of(conn, company.accounts))
            accounts: Sequence[str] = company.accounts
            store.insert(conn, order, accounts, found, now)
            audit.record(
                conn, at=now, actor=order.actor, action="payments.collective",
                entity="collective", entity_id=company.id,
                after={"channel": order.channel, "peer_txn_id": order.peer_txn_id,
                       "amount_micros": order.amount_micros},
            )  # fmt: skip
        else:
            if known[:3] != (order.account, order.currency, order.amount_micros):
                raise RefusedError(
                    Refusal.CONFLICT, f"{order.peer_txn_id!r} was another payment",
                    fix="use a new id for a new payment",
                )  # fmt: skip
            accounts, found = known[3], known[4]
        return [
            _taken(
                conn,
                replace(
                    order,
                    account=AccountId(account),
                    amount_micros=share,
                    peer_txn_id=f"{order.peer_txn_id}/{number}",
                ),
                now,
            )
            for number, (account, share) in enumerate(zip(accounts, found, strict=True), start=1)
            if share
        ]


def payments_of(conn: Connection, collective: str) -> list[CompanyPayment]:
    """Return the newest payments of a company."""
    return [
        CompanyPayment(
            channel=row[0], peer_txn_id=row[1], currency=row[2], amount_micros=row[3],
            shares=tuple(zip(row[4], row[5], strict=True)), at=row[6],
        )
        for row in store.newest(conn, collective)
    ]  # fmt: skip


def _taken(conn: Connection, order: PaymentOrder, now: datetime) -> PaymentReceipt:
    receipt, refused = core.paid(conn, order, now=now)
    if refused is not None:
        raise refused
    assert receipt is not None
    return receipt
