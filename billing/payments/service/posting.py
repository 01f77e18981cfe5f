"""What every way of taking money shares: its entries, balance, epoch, audit row and message."""

import logging
from datetime import datetime

from billing.customers import service as customers
from billing.customers.model import CustomerCard, Notification
from billing.ledger import service as ledger
from billing.ledger.model import Event
from billing.ledger.rules.allocating import allocate
from billing.payments import rules
from billing.payments.model import (
    Channel,
    Payment,
    PaymentOrder,
    PaymentReceipt,
    PaymentState,
    Refusal,
)
from billing.payments.store import holds, rows
from billing.prepaid import service as prepaid
from billing.prepaid.service import credit
from cloud.control import service as control
from cloud.messages import service as messages
from cloud.store import audit
from cloud.store.db import Connection
from protocols.errors import RefusedError
from protocols.identity import UsagePointId

_LOG = logging.getLogger(__name__)
ORDER = ledger.ORDER
"""In which order receivables are paid."""


def take(
    conn: Connection, order: PaymentOrder, card: CustomerCard, terms: Channel, *, now: datetime
) -> Payment:
    """
    Book money of a known account, pay its receivables with it, raise the epoch, tell the customer.

    The caller holds the payment's hold; locks follow in the order ledger account, state, supply.
    """
    kind = "payment_by_agent" if terms.by_agent else "payment"
    key = f"{order.channel}:{order.peer_txn_id}"
    owed = ledger.owed(conn, card.account, lock=True)
    due = credit.due_of_top_up(conn, card, order.amount_micros, owed)
    parts = allocate(order.amount_micros, due, ORDER)
    events = [
        Event(
            kind=kind, key=f"payment:{key}", value_date=order.peer_time.date(), actor=order.actor,
            currency=order.currency, source_ref=key, amounts={"amount": order.amount_micros},
            owners={"account": card.account, "channel": order.channel},
        )
    ]  # fmt: skip
    if parts:
        amounts = {target.value: parts.get(target, 0) for target in ORDER.order}
        events.append(
            Event(
                kind="allocation", key=f"allocation:{key}", value_date=order.peer_time.date(),
                actor=order.actor, currency=order.currency, source_ref=key, reason=ORDER.rule,
                owners={"account": card.account}, amounts={**amounts, "total": sum(parts.values())},
            )
        )  # fmt: skip
    posted = ledger.book_many(conn, events, now=now)
    available = move(conn, card, ref=key, now=now)
    payment = _payment(
        order, posted[0].entry_id, PaymentState.POSTED, usage_point=card.usage_point,
        available=available, now=now,
    )  # fmt: skip
    rows.insert_payment(conn, payment)
    if parts:
        holds.insert_allocations(
            conn, payment.receipt_no, parts, rule=ORDER.rule, entry=posted[1].entry_id
        )
    _record(conn, payment, now)
    _thank(conn, payment, card, now)
    _LOG.info("payments.posted", extra={"fields": {"receipt": payment.receipt_no}})
    return payment


def suspend(conn: Connection, order: PaymentOrder, *, now: datetime) -> Payment:
    """Keep money that a peer has and that no account may take yet."""
    key = f"{order.channel}:{order.peer_txn_id}"
    posted = ledger.book(
        conn,
        Event(
            kind="payment_in_suspense", key=f"payment:{key}", value_date=order.peer_time.date(),
            actor=order.actor, currency=order.currency, source_ref=key,
            owners={"channel": order.channel}, amounts={"amount": order.amount_micros},
        ),
        now=now,
    )  # fmt: skip
    payment = _payment(
        order, posted.entry_id, PaymentState.SUSPENSE, usage_point="", available=None, now=now
    )
    rows.insert_payment(conn, payment)
    _record(conn, payment, now)
    _LOG.warning("payments.suspense", extra={"fields": {"receipt": payment.receipt_no}})
    return payment


def move(conn: Connection, card: CustomerCard, *, ref: str, now: datetime) -> int:
    """Settle the balance with money just posted and tell control; return what is available."""
    available = settled(conn, card.account, now=now)
    if card.ended_at is not None:
        return available  # the supply is somebody else's by now
    terms = customers.terms_of(conn, card)
    control.payment_registered(
        conn, UsagePointId(card.usage_point), ref=ref,
        restores=available > 0 and terms.auto_restore, now=now,
    )  # fmt: skip
    return available


def settled(conn: Connection, account: str, *, now: datetime) -> int:
    """Settle the balance with what was just posted and return what is available."""
    balance = prepaid.settle(conn, account, now=now)
    return balance.available_micros if balance else ledger.balance_of(conn, account)


def receipt_of(payment: Payment, *, replayed: bool) -> PaymentReceipt:
    """Return our answer about a payment."""
    return PaymentReceipt(
        receipt_no=payment.receipt_no, state=payment.state, account=payment.account,
        usage_point=payment.usage_point, amount_micros=payment.amount_micros,
        currency=payment.currency, available_micros=payment.available_micros,
        received_at=payment.received_at, replayed=replayed,
    )  # fmt: skip


def conflict(order: PaymentOrder) -> RefusedError:
    """Return the refusal of an id that came before with another body."""
    return RefusedError(
        Refusal.CONFLICT,
        f"{order.channel} {order.peer_txn_id} was sent before with another body",
        fix="a new payment needs a new id; a repeat must say the same",
    )


def unknown(account: str) -> RefusedError:
    """Return the refusal of an account we do not have."""
    return RefusedError(
        Refusal.UNKNOWN_ACCOUNT, f"there is no account {account!r}", fix="check the account number"
    )


def _payment(
    order: PaymentOrder,
    entry_id: int,
    state: PaymentState,
    *,
    usage_point: str,
    available: int | None,
    now: datetime,
) -> Payment:
    return Payment(
        receipt_no=f"R-{entry_id:010}", channel=order.channel, peer_txn_id=order.peer_txn_id,
        body_hash=rules.body_hash(order), state=state, account=order.account,
        usage_point=usage_point, amount_micros=order.amount_micros, currency=order.currency,
        peer_time=order.peer_time, received_at=now, actor=order.actor, entry_id=entry_id,
        available_micros=available,
    )  # fmt: skip


def _record(conn: Connection, payment: Payment, now: datetime) -> None:
    audit.record(
        conn, at=now, actor=payment.actor, action=f"payments.{payment.state.value}",
        entity="account", entity_id=payment.account,
        after={
            "receipt": payment.receipt_no, "amount_micros": payment.amount_micros,
            "currency": payment.currency, "available_micros": payment.available_micros,
        },
    )  # fmt: skip


def _thank(conn: Connection, payment: Payment, card: CustomerCard, now: datetime) -> None:
    terms = customers.terms_of(conn, card)
    messages.enqueue(
        conn,
        dedupe_key=f"payment:{payment.receipt_no}",
        kind="payment_received",
        subject=card.usage_point,
        phone="" if terms.notification is Notification.PAPER else None,
        variables={
            "amount_micros": payment.amount_micros,
            "available_micros": payment.available_micros or 0,
            "currency": payment.currency,
            "receipt": payment.receipt_no,
        },
        now=now,
    )
