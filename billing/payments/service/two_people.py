"""What two people decide about money: adjustments, the end of suspense, corrected payments."""

from datetime import datetime

from billing.customers import service as customers
from billing.ledger import service as ledger
from billing.ledger.model import Event
from billing.payments import rules
from billing.payments.model import Adjustment, Payment, PaymentState, Refusal
from billing.payments.service import posting
from billing.payments.store import holds, rows, settling
from cloud.store import audit
from cloud.store.db import Connection, Database
from protocols.errors import RefusedError


def adjust(db: Database, change: Adjustment, *, now: datetime) -> int:
    """
    Raise or lower a balance for a stated reason that two people stand for; return the balance.

    Once per key. Raises: RefusedError when the two are one, or the key stands with other content.
    """
    rules.check_adjustment(change)
    with db.transaction() as conn:
        card = customers.card_of_account(conn, change.account)
        if card is None:
            raise posting.unknown(change.account)
        posted = ledger.book(
            conn,
            Event(
                kind="adjustment", key=f"adjustment:{change.key}", value_date=now.date(),
                actor=change.actors[0], reason=change.reason, source_ref=change.key,
                currency=card.currency, owners={"account": card.account},
                amounts={"amount": change.amount_micros},
            ),
            now=now,
        )  # fmt: skip
        if posted.replayed or change.amount_micros < 0:
            available = posting.settled(conn, card.account, now=now)
        else:
            available = posting.move(conn, card, ref=f"adjustment:{change.key}", now=now)
        if not posted.replayed:
            audit.record(
                conn, at=now, actor=change.actors[0], on_behalf=change.actors[1],
                action="payments.adjust", entity="account", entity_id=change.account,
                after={"amount_micros": change.amount_micros, "entry": posted.entry_id},
                reason=change.reason,
            )  # fmt: skip
    return available


def assign_suspense(
    db: Database,
    receipt_no: str,
    account: str,
    *,
    actors: tuple[str, str],
    reason: str,
    now: datetime,
) -> int:
    """
    Give money in suspense to its owner; return the owner's balance. Again, nothing moves.

    Raises: RefusedError `payments.two_people`, `payments.account_unknown`, `payments.currency`,
    `payments.settled_already` when it went elsewhere.
    """
    rules.check_people(actors)
    with db.transaction() as conn:
        payment = _in_suspense(conn, receipt_no)
        card = customers.card_of_account(conn, account)
        if card is None:
            raise posting.unknown(account)
        if card.currency != payment.currency:
            raise RefusedError(
                Refusal.CURRENCY, f"account {account} holds {card.currency}",
                fix=f"name an account that holds {payment.currency}",
            )  # fmt: skip
        fresh = _end(
            conn, payment, "suspense_assigned", account, actors=actors, reason=reason, now=now
        )
        if fresh:
            return posting.move(conn, card, ref=f"suspense:{receipt_no}", now=now)
        return posting.settled(conn, account, now=now)


def return_suspense(
    db: Database, receipt_no: str, *, actors: tuple[str, str], reason: str, now: datetime
) -> None:
    """
    Give money in suspense back to the channel it came from. Again, nothing moves.

    Raises: RefusedError `payments.two_people`, `payments.settled_already` when it was assigned.
    """
    rules.check_people(actors)
    with db.transaction() as conn:
        send_back(conn, _in_suspense(conn, receipt_no), actors=actors, reason=reason, now=now)


def send_back(
    conn: Connection, payment: Payment, *, actors: tuple[str, str], reason: str, now: datetime
) -> None:
    """Return money in suspense in the caller's transaction; what the channel has of it is nil."""
    if _end(conn, payment, "suspense_returned", "", actors=actors, reason=reason, now=now):
        entry = settling.suspense_end(conn, payment.receipt_no)
        assert entry is not None
        settling.insert_correction(
            conn, payment.receipt_no, kind="returned", delta=-payment.amount_micros,
            entry=entry[2], reason=reason, actors=actors, now=now,
        )  # fmt: skip


def correct(
    conn: Connection,
    payment: Payment,
    delta: int,
    *,
    key: str,
    actors: tuple[str, str],
    reason: str,
    now: datetime,
) -> None:
    """Change what a posted payment counts by `delta`, even below zero of the balance."""
    card = customers.card_of_account(conn, payment.account)
    if card is None:
        raise posting.unknown(payment.account)
    terms = holds.channel(conn, payment.channel)
    posted = ledger.book(
        conn,
        Event(
            kind="agent_payment_corrected" if terms.by_agent else "payment_corrected",
            key=f"correction:{key}", value_date=now.date(), actor=actors[0], reason=reason,
            source_ref=payment.receipt_no, currency=payment.currency, amounts={"amount": delta},
            owners={"account": payment.account, "channel": payment.channel},
        ),
        now=now,
    )  # fmt: skip
    if delta > 0:
        posting.move(conn, card, ref=f"correction:{key}", now=now)
    else:
        posting.settled(conn, payment.account, now=now)
    settling.insert_correction(
        conn, payment.receipt_no, kind="amount", delta=delta, entry=posted.entry_id,
        reason=reason, actors=actors, now=now,
    )  # fmt: skip
    audit.record(
        conn, at=now, actor=actors[0], on_behalf=actors[1], action="payments.corrected",
        entity="account", entity_id=payment.account, reason=reason,
        after={"receipt_corrected": payment.receipt_no, "delta_micros": delta},
    )  # fmt: skip


def _in_suspense(conn: Connection, receipt_no: str) -> Payment:
    payment = rows.payment_by_receipt(conn, receipt_no)
    if payment is None or payment.state is not PaymentState.SUSPENSE:
        raise RefusedError(
            Refusal.UNKNOWN, f"{receipt_no} is not in suspense", fix="look at what waits there"
        )
    return payment


def _end(
    conn: Connection,
    payment: Payment,
    kind: str,
    account: str,
    *,
    actors: tuple[str, str],
    reason: str,
    now: datetime,
) -> bool:
    """Book the end of money in suspense once; return False when it ended so before."""
    outcome = kind.removeprefix("suspense_")
    known = settling.suspense_end(conn, payment.receipt_no)
    if known is None:
        posted = ledger.book(
            conn,
            Event(
                # one key for either end: a rival waits here, and another end is a conflict
                kind=kind, key=f"suspense:{payment.receipt_no}", value_date=now.date(),
                actor=actors[0], source_ref=payment.receipt_no, currency=payment.currency,
                owners={"account": account} if account else {"channel": payment.channel},
                amounts={"amount": payment.amount_micros},
            ),
            now=now,
        )  # fmt: skip
        if not posted.replayed:
            settling.insert_suspense_end(
                conn, payment.receipt_no, outcome=outcome, account=account,
                entry=posted.entry_id, reason=reason, actors=actors, now=now,
            )  # fmt: skip
            audit.record(
                conn, at=now, actor=actors[0], on_behalf=actors[1], action=f"payments.{kind}",
                entity="account", entity_id=account or payment.account, reason=reason,
                after={"receipt": payment.receipt_no, "amount_micros": payment.amount_micros},
            )  # fmt: skip
            return True
        known = settling.suspense_end(conn, payment.receipt_no)
    if known is None or known[:2] != (outcome, account):
        raise RefusedError(
            Refusal.SETTLED, f"{payment.receipt_no} was settled otherwise",
            fix="look at what waits in suspense",
        )  # fmt: skip
    return False
