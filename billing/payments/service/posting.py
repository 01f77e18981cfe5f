"""What every way of taking money shares: its entries, balance, epoch, audit row and message."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from billing.customers import service as customers
from billing.customers.model import CustomerCard, Notification, Terms
from billing.ledger import service as ledger
from billing.ledger.model import AccountKind, Event
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
from cloud.messages.model import Kind, Wanted
from cloud.store import audit
from cloud.store.db import Connection
from protocols.errors import RefusedError
from protocols.identity import UsagePointId

_LOG = logging.getLogger(__name__)
ORDER = ledger.ORDER
"""In which order receivables are paid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taking:
    """A payment whose hold is the caller's, for an account that is known."""

    order: PaymentOrder
    card: CustomerCard
    terms: Channel

    @property
    def key(self) -> str:
        """Return by what ledger, control and audit name the payment."""
        return f"{self.order.channel}:{self.order.peer_txn_id}"


def take(
    conn: Connection, order: PaymentOrder, card: CustomerCard, terms: Channel, *, now: datetime
) -> Payment:
    """Do for one payment what `take_many` does."""
    return take_many(conn, [Taking(order=order, card=card, terms=terms)], now=now)[0]


def take_many(conn: Connection, takings: Sequence[Taking], *, now: datetime) -> list[Payment]:
    """
    Book money of known accounts, pay receivables with it, raise epochs, tell the customers.

    One payment of an account at most. The caller holds the payments' holds; locks follow in the
    order ledger accounts, states, supplies.
    """
    owed = ledger.owed_of_many(conn, [each.card.account for each in takings])
    parts = [
        allocate(
            each.order.amount_micros,
            credit.due_of_top_up(
                conn, each.card, each.order.amount_micros, owed[each.card.account]
            ),
            ORDER,
        )
        for each in takings
    ]
    events = [_received(each) for each in takings]
    events += [_allocated(each, part) for each, part in zip(takings, parts, strict=True) if part]
    posted = ledger.book_many(conn, events, now=now)
    terms = customers.terms_of_many(
        conn,
        [(str(each.card.agreement), each.card.usage_point, each.card.currency) for each in takings],
    )
    available = _moved(conn, takings, terms, now=now)
    payments = [
        _payment(
            each.order, entry.entry_id, PaymentState.POSTED, usage_point=each.card.usage_point,
            available=available[each.card.account], now=now,
        )
        for each, entry in zip(takings, posted, strict=False)
    ]  # fmt: skip
    rows.insert_payments(conn, payments)
    allocations = iter(posted[len(takings) :])
    for payment, part in zip(payments, parts, strict=True):
        if part:
            entry = next(allocations).entry_id
            holds.insert_allocations(conn, payment.receipt_no, part, rule=ORDER.rule, entry=entry)
    audit.record_many(conn, [_act(payment) for payment in payments], at=now)
    _thank(conn, payments, terms, now)
    for payment in payments:
        _LOG.info("payments.posted", extra={"fields": {"receipt": payment.receipt_no}})
    return payments


def _received(taking: Taking) -> Event:
    order = taking.order
    return Event(
        kind="payment_by_agent" if taking.terms.by_agent else "payment",
        key=f"payment:{taking.key}", value_date=order.peer_time.date(), actor=order.actor,
        currency=order.currency, source_ref=taking.key, amounts={"amount": order.amount_micros},
        owners={"account": taking.card.account, "channel": order.channel},
    )  # fmt: skip


def _allocated(taking: Taking, parts: Mapping[AccountKind, int]) -> Event:
    order = taking.order
    amounts = {target.value: parts.get(target, 0) for target in ORDER.order}
    return Event(
        kind="allocation", key=f"allocation:{taking.key}", value_date=order.peer_time.date(),
        actor=order.actor, currency=order.currency, source_ref=taking.key, reason=ORDER.rule,
        owners={"account": taking.card.account},
        amounts={**amounts, "total": sum(parts.values())},
    )  # fmt: skip


def _moved(
    conn: Connection, takings: Sequence[Taking], terms: Sequence[Terms], *, now: datetime
) -> dict[str, int]:
    """Settle balances with money just posted and tell control; return what is available."""
    accounts: list[str] = [each.card.account for each in takings]
    available = prepaid.settle_many(conn, accounts, now=now)
    bare = [account for account in accounts if account not in available]
    if bare:
        available |= ledger.balances_of(conn, bare)
    marks = [
        control.PaymentMark(
            usage_point=UsagePointId(each.card.usage_point), ref=each.key,
            restores=available[each.card.account] > 0 and own.auto_restore,
        )
        for each, own in zip(takings, terms, strict=True)
        # of an agreement that ended the supply is somebody else's by now
        if each.card.ended_at is None
    ]  # fmt: skip
    if marks:
        control.payments_registered(conn, marks, now=now)
    return available


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
    rows.insert_payments(conn, [payment])
    audit.record_many(conn, [_act(payment)], at=now)
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
    found = prepaid.settle_many(conn, [account], now=now)
    return found[account] if account in found else ledger.balance_of(conn, account)


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


def _act(payment: Payment) -> audit.Act:
    return audit.Act(
        actor=payment.actor, action=f"payments.{payment.state.value}", entity="account",
        entity_id=payment.account,
        after={
            "receipt": payment.receipt_no, "amount_micros": payment.amount_micros,
            "currency": payment.currency, "available_micros": payment.available_micros,
        },
    )  # fmt: skip


def _thank(
    conn: Connection, payments: Sequence[Payment], terms: Sequence[Terms], now: datetime
) -> None:
    wanted = [
        Wanted(
            dedupe_key=f"payment:{payment.receipt_no}", kind=Kind.PAYMENT_RECEIVED,
            subject=payment.usage_point,
            phone="" if own.notification is Notification.PAPER else None,
            variables={
                "amount_micros": payment.amount_micros,
                "available_micros": payment.available_micros or 0,
                "currency": payment.currency, "receipt": payment.receipt_no,
            },
        )
        for payment, own in zip(payments, terms, strict=True)
    ]  # fmt: skip
    messages.enqueue_many(conn, wanted, now=now)
