"""
Use cases of money in. Every call may come twice, late and from two channels at once.

`pay` is one transaction: the ledger entry (its unique key makes a repeat wait and then find it),
the balance with that money, the supply's epoch in control, audit, message and payment row.
Locks are taken in the order that the sweep keeps too: ledger account, state, supply.
"""

import logging
from datetime import datetime

from billing.customers import service as customers
from billing.customers.model import AccountId, CustomerCard, Notification
from billing.ledger import service as ledger
from billing.ledger.model import AccountKind, Draft, Findings, Leg, Posted, Side
from billing.ledger.model import Refusal as LedgerRefusal
from billing.payments import rules, store
from billing.payments.model import (
    Adjustment,
    Payment,
    PaymentOrder,
    PaymentReceipt,
    PaymentState,
    Quote,
    Refusal,
)
from billing.prepaid import service as prepaid
from cloud.control import service as control
from cloud.messages import service as messages
from cloud.store import audit
from cloud.store.db import Connection, Database
from protocols.errors import RefusedError
from protocols.identity import UsagePointId
from protocols.timeline import Interval

_LOG = logging.getLogger(__name__)


def pay(db: Database, order: PaymentOrder, *, now: datetime) -> PaymentReceipt:
    """
    Take one payment, once, and return its receipt (H1, H2).

    The same order again returns the same receipt with `replayed`. When the balance is above zero
    with it, a supply that was cut for arrears is ordered back in this same transaction (D15).

    Raises: RefusedError `payments.conflict` for the same id with another body, `payments.amount`,
    `payments.currency`, or `payments.account_unknown` unless the peer has the money already.
    """
    rules.check_order(order)
    with db.transaction() as conn:
        known = store.payment_by_peer(conn, order.channel, order.peer_txn_id)
        if known is not None:
            return _replay(order, known)
        card = customers.card_of_account(conn, order.account)
        if card is None:
            return _suspend(conn, order, now)
        rules.check_currency(order, card.currency)
        posted = _post(conn, order, AccountKind.CUSTOMER, order.account, now)
        if posted.replayed:
            return _found_by_entry(conn, order)
        available = _move(conn, card, ref=f"{order.channel}:{order.peer_txn_id}", now=now)
        payment = _payment(
            order, posted, PaymentState.POSTED,
            usage_point=card.usage_point, available=available, now=now,
        )  # fmt: skip
        store.insert_payment(conn, payment)
        _record(conn, payment, now)
        _thank(conn, payment, card, now)
    _LOG.info("payments.posted", extra={"fields": {"receipt": payment.receipt_no}})
    return _receipt(payment, replayed=False)


def adjust(db: Database, change: Adjustment, *, now: datetime) -> int:
    """
    Raise or lower a balance for a stated reason that two people stand for; return the balance.

    Once per key. Raises: RefusedError when the two are one, or the key stands with other content.
    """
    rules.check_adjustment(change)
    with db.transaction() as conn:
        card = customers.card_of_account(conn, change.account)
        if card is None:
            raise _unknown(change.account)
        side = Side.CREDIT if change.amount_micros > 0 else Side.DEBIT
        posted = ledger.post(
            conn,
            Draft(
                key=f"adjustment:{change.key}", kind="adjustment", value_date=now.date(),
                actor=change.actors[0], reason=change.reason, source_ref=change.key,
                legs=_legs(
                    card.account, AccountKind.CUSTOMER, side,
                    against=("adjustment", AccountKind.ADJUSTMENT),
                    amount=abs(change.amount_micros), currency=card.currency,
                ),
            ),
            now=now,
        )  # fmt: skip
        if posted.replayed or change.amount_micros < 0:
            balance = prepaid.settle(conn, card.account, now=now)
            available = balance.available_micros if balance else 0
        else:
            available = _move(conn, card, ref=f"adjustment:{change.key}", now=now)
        if not posted.replayed:
            audit.record(
                conn, at=now, actor=change.actors[0], on_behalf=change.actors[1],
                action="payments.adjust", entity="account", entity_id=change.account,
                after={"amount_micros": change.amount_micros, "entry": posted.entry_id},
                reason=change.reason,
            )  # fmt: skip
    return available


def quote(conn: Connection, account: str, *, now: datetime) -> Quote:
    """
    Return what a channel may show before it takes money (H9, H12).

    Raises: RefusedError `payments.account_unknown`.
    """
    card = customers.card_of_account(conn, account)
    if card is None:
        raise _unknown(account)
    available = prepaid.balance_of(conn, card.usage_point, now).available_micros
    return Quote(
        account=card.account,
        masked_name=rules.mask(card.name),
        currency=card.currency,
        available_micros=available,
        due_micros=max(0, -available),
    )


def status(conn: Connection, channel: str, peer_txn_id: str) -> PaymentReceipt | None:
    """Return the receipt of a payment, or None when it never arrived; a peer asks, not guesses."""
    payment = store.payment_by_peer(conn, channel, peer_txn_id)
    return _receipt(payment, replayed=True) if payment else None


def payments_of(conn: Connection, account: str, *, limit: int = 20) -> list[Payment]:
    """Return the newest payments of an account."""
    return store.payments_of_account(conn, account, limit)


def statement(conn: Connection, channel: str, span: Interval) -> list[Payment]:
    """Return a channel's payments by the peer's own time, in a stable order."""
    return store.payments_in_span(conn, channel, span)


def totals(conn: Connection) -> list[tuple[str, str, str, int, int]]:
    """Return number and sum of payments of each channel, currency and state."""
    return store.payments_total(conn)


def audit_payments(conn: Connection) -> Findings:
    """Prove M2 inside: every posted payment credited its account once, with its amount."""
    wrong = store.payments_unlike_ledger(conn)
    return Findings(count=len(wrong), examples=tuple(wrong[: ledger.EXAMPLES]))


def _move(conn: Connection, card: CustomerCard, *, ref: str, now: datetime) -> int:
    """Settle the balance with money just posted and tell control; return what is available."""
    balance = prepaid.settle(conn, card.account, now=now)
    available = balance.available_micros if balance else ledger.balance_of(conn, card.account)
    terms = customers.terms_of(conn, card)
    control.payment_registered(
        conn, UsagePointId(card.usage_point), ref=ref,
        restores=available > 0 and terms.auto_restore, now=now,
    )  # fmt: skip
    return available


def _post(
    conn: Connection, order: PaymentOrder, kind: AccountKind, code: str, now: datetime
) -> Posted:
    try:
        return ledger.post(
            conn,
            Draft(
                key=f"payment:{order.channel}:{order.peer_txn_id}",
                kind="payment",
                value_date=order.peer_time.date(),
                actor=order.actor,
                source_ref=f"{order.channel}:{order.peer_txn_id}",
                legs=_legs(
                    code, kind, Side.CREDIT,
                    against=(f"bank_clearing:{order.channel}", AccountKind.BANK),
                    amount=order.amount_micros, currency=order.currency,
                ),
            ),
            now=now,
        )  # fmt: skip
    except RefusedError as error:
        if error.refusal is LedgerRefusal.CONFLICT:
            raise _conflict(order) from error
        raise


def _legs(
    code: str,
    kind: AccountKind,
    side: Side,
    *,
    against: tuple[str, AccountKind],
    amount: int,
    currency: str,
) -> tuple[Leg, Leg]:
    return (
        Leg(code=code, kind=kind, side=side, amount_micros=amount, currency=currency),
        Leg(
            code=against[0], kind=against[1], side=side.other, amount_micros=amount,
            currency=currency,
        ),
    )  # fmt: skip


def _suspend(conn: Connection, order: PaymentOrder, now: datetime) -> PaymentReceipt:
    """Keep money of an account we do not know, if the peer has it; else refuse."""
    if not order.already_collected:
        raise _unknown(order.account)
    posted = _post(conn, order, AccountKind.SUSPENSE, "suspense", now)
    if posted.replayed:
        return _found_by_entry(conn, order)
    payment = _payment(
        order, posted, PaymentState.SUSPENSE, usage_point="", available=None, now=now
    )
    store.insert_payment(conn, payment)
    _record(conn, payment, now)
    _LOG.warning("payments.suspense", extra={"fields": {"receipt": payment.receipt_no}})
    return _receipt(payment, replayed=False)


def _found_by_entry(conn: Connection, order: PaymentOrder) -> PaymentReceipt:
    """Return the receipt a rival made while we waited for its entry's key."""
    known = store.payment_by_peer(conn, order.channel, order.peer_txn_id)
    assert known is not None, "an entry of a payment stands without its payment"
    return _replay(order, known)


def _replay(order: PaymentOrder, known: Payment) -> PaymentReceipt:
    if known.body_hash != rules.body_hash(order):
        raise _conflict(order)
    return _receipt(known, replayed=True)


def _payment(
    order: PaymentOrder,
    posted: Posted,
    state: PaymentState,
    *,
    usage_point: str,
    available: int | None,
    now: datetime,
) -> Payment:
    return Payment(
        receipt_no=f"R-{posted.entry_id:010}", channel=order.channel,
        peer_txn_id=order.peer_txn_id, body_hash=rules.body_hash(order), state=state,
        account=AccountId(order.account), usage_point=usage_point,
        amount_micros=order.amount_micros, currency=order.currency, peer_time=order.peer_time,
        received_at=now, actor=order.actor, entry_id=posted.entry_id, available_micros=available,
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


def _receipt(payment: Payment, *, replayed: bool) -> PaymentReceipt:
    return PaymentReceipt(
        receipt_no=payment.receipt_no, state=payment.state, account=payment.account,
        usage_point=payment.usage_point, amount_micros=payment.amount_micros,
        currency=payment.currency, available_micros=payment.available_micros,
        received_at=payment.received_at, replayed=replayed,
    )  # fmt: skip


def _conflict(order: PaymentOrder) -> RefusedError:
    return RefusedError(
        Refusal.CONFLICT,
        f"{order.channel} {order.peer_txn_id} was sent before with another body",
        fix="a new payment needs a new id; a repeat must say the same",
    )


def _unknown(account: str) -> RefusedError:
    return RefusedError(
        Refusal.UNKNOWN_ACCOUNT, f"there is no account {account!r}", fix="check the account number"
    )
