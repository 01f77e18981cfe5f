"""
The core: quote, hold, post, pay, void, expire. Every call may come twice, late, and from two sides.

Each step of one payment locks its hold first, so steps of one payment follow one another; then
come the locks that the sweep keeps too: ledger account, state, supply. The table of steps stands in
`billing.payments.rules.steps`.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count

from billing.customers import service as customers
from billing.customers.model import AccountId, CustomerCard
from billing.ledger import service as ledger
from billing.payments import rules
from billing.payments.model import (
    Channel,
    DueLine,
    Hold,
    HoldEvent,
    HoldState,
    Payment,
    PaymentOrder,
    PaymentReceipt,
    Quote,
    Refusal,
)
from billing.payments.rules import limits, quoting, steps
from billing.payments.service import guard, posting
from billing.payments.service.till import till_of
from billing.payments.store import holds, rows, settling
from billing.prepaid import service as prepaid
from billing.prepaid.model import Refusal as NoBalance
from billing.prepaid.service import credit
from cloud.assets import service as assets
from cloud.store import audit
from cloud.store.db import Connection, Database
from protocols.errors import RefusedError
from protocols.identity import UsagePointId

_AT_ONCE = 1_000


def set_channel(
    db: Database, terms: Channel, *, actor: str, approver: str = "", now: datetime
) -> None:
    """
    Set the terms of a channel.

    Raises: RefusedError `payments.two_people` when limits or purse of a channel that has terms
    change and no second person stands for it.
    """
    with db.transaction() as conn:
        before = holds.channel(conn, terms.channel)
        if holds.has_terms(conn, terms.channel):
            limits.check_terms(before, terms, (actor, approver))
        holds.put_channel(conn, terms)
        audit.record(
            conn, at=now, actor=actor, on_behalf=approver, action="payments.set_channel",
            entity="channel", entity_id=terms.channel, before=_plain(before), after=_plain(terms),
        )  # fmt: skip


def channel_of(conn: Connection, channel: str) -> Channel:
    """Return the terms of a channel."""
    return holds.channel(conn, channel)


def quote(db: Database, channel: str, account: str, *, now: datetime) -> Quote:
    """
    Return what a channel may show before it takes money, under a number that ends (H9, H12).

    Raises: RefusedError `payments.account_unknown`.
    """
    with db.transaction() as conn:
        card = customers.card_of_account(conn, account)
        if card is None:
            raise posting.unknown(account)
        terms = holds.channel(conn, channel)
        available = _available(conn, card, now)
        branch = branch_of(conn, card.usage_point)
        # old debt comes back as a share of what is paid: nobody is asked for all of it at once
        owed = credit.without_old_debt(ledger.owed(conn, account))
        lines = [DueLine(code=kind.value, amount_micros=owed[kind])
                 for kind in posting.ORDER.order if kind in owed]  # fmt: skip
        if available < 0:
            lines.append(DueLine(code="balance", amount_micros=-available))
        due = sum(line.amount_micros for line in lines)
        number, expires = holds.insert_quote(
            conn, terms, account=account, currency=card.currency, due=due, now=now
        )
    return Quote(
        id=number, channel=channel, account=card.account, masked_name=rules.mask(card.name),
        currency=card.currency, available_micros=available, due_micros=due, lines=tuple(lines),
        policy=terms.policy, min_micros=terms.min_micros, max_micros=terms.max_micros,
        expires_at=expires, branch=branch,
    )  # fmt: skip


def branch_of(conn: Connection, usage_point: str) -> str:
    """Return the unit that looks after a usage point, empty when nobody does."""
    point = UsagePointId(usage_point)
    return assets.units_of(conn, [point]).get(point, "")


def hold(db: Database, order: PaymentOrder, *, quote_id: int | None = None, now: datetime) -> Hold:
    """
    Announce a payment: nothing is booked until it is posted, and it ends by itself.

    The same order again returns it as it stands. Its time runs from the peer's own instant, so a
    late announcement may be over at once.

    Raises: RefusedError as `pay`, `payments.quote` and `payments.policy`.
    """
    rules.check_order(order)
    with db.transaction() as conn:
        found = holds.hold(conn, order.channel, order.peer_txn_id, lock=False)
        if found is None and _announce(conn, order, quote_id, now):
            _note(conn, order, "payments.held", now)
        found = _locked(conn, order.channel, order.peer_txn_id)
        if found.body_hash != rules.body_hash(order):
            raise posting.conflict(order)
        return _expired_if_over(conn, found, now)


def pay(db: Database, order: PaymentOrder, *, now: datetime) -> PaymentReceipt:
    """
    Take one payment, once, and return its receipt: hold and post at once (H1, H2).

    The same order again returns the same receipt with `replayed`. When the balance is above zero
    with it, a supply that was cut for arrears is ordered back in this same transaction (D15).

    Raises: RefusedError `payments.conflict` for the same id with another body, `payments.amount`,
    `payments.currency`, `payments.day_limit`, `payments.float`, or `payments.account_unknown`
    unless the peer has the money already;
    `payments.expired` and `payments.ended` for an announced payment that ended.
    """
    rules.check_order(order)
    together = till_of(db).pay(order, now=now)
    if together is not None:
        return together
    with db.transaction() as conn:
        receipt, refused = paid(conn, order, now=now)
    return _told(receipt, refused)


def paid(
    conn: Connection, order: PaymentOrder, *, now: datetime, settling_file: bool = False
) -> tuple[PaymentReceipt | None, RefusedError | None]:
    """
    Do what `pay` does, in the caller's transaction; a refusal comes back to be raised later.

    Money of a settlement file is there whatever its currency: what fits no account is suspended.
    """
    if holds.hold(conn, order.channel, order.peer_txn_id, lock=False) is None:
        card = customers.card_of_account(conn, order.account)
        terms, limit = guard.terms_of(conn, order.channel, order.currency)
        if card is None and not order.already_collected:
            raise posting.unknown(order.account)
        if card is not None and settling_file and card.currency != order.currency:
            card = None  # the money is there, but it cannot be this account's
        if card is not None:
            rules.check_currency(order, card.currency)
        if not order.already_collected:
            quoting.check_limits(order, terms)
        put = _inserter(
            conn, order, HoldState.POSTED if card else HoldState.SUSPENSE, expires_at=now, now=now
        )
        fresh = (
            put(guard.NO_ROOM)
            if settling_file
            else guard.announce(conn, order, terms, limit, put, announced=False, now=now)
        )
        if fresh:
            payment = (
                posting.take(conn, order, card, terms, now=now)
                if card
                else posting.suspend(conn, order, now=now)
            )
            return posting.receipt_of(payment, replayed=False), None
    if order.already_collected:
        guard.share(conn, order.channel)
    found = _locked(conn, order.channel, order.peer_txn_id)
    if found.body_hash != rules.body_hash(order):
        raise posting.conflict(order)
    event = HoldEvent.TAKEN if order.already_collected else HoldEvent.POST
    return _posted(conn, found, event, actor=order.actor, now=now, counts=not settling_file)


def post(
    db: Database, channel: str, peer_txn_id: str, *, actor: str, now: datetime, taken: bool = False
) -> PaymentReceipt:
    """
    Book an announced payment; again, the same receipt with `replayed`.

    `taken` says that the peer has the customer's money: after the end of a hold it is kept in
    suspense instead of refused.

    Raises: RefusedError `payments.transaction_unknown`, `payments.expired`, `payments.ended`.
    """
    event = HoldEvent.TAKEN if taken else HoldEvent.POST
    with db.transaction() as conn:
        if taken:
            guard.share(conn, channel)
        found = _locked(conn, channel, peer_txn_id)
        receipt, refused = _posted(conn, found, event, actor=actor, now=now)
    return _told(receipt, refused)


def void(
    db: Database, channel: str, peer_txn_id: str, *, reason: str, actor: str, now: datetime
) -> Hold:
    """
    Release what is held, or reverse what is posted while it is unspent and the day is open.

    Again, the same answer. Raises: RefusedError `payments.transaction_unknown`, `payments.ended`
    for money in suspense, `payments.spent`, `payments.day_closed`.
    """
    with db.transaction() as conn:
        found = _expired_if_over(conn, _locked(conn, channel, peer_txn_id), now)
        to = steps.next_state(found.state, HoldEvent.VOID)
        if to is found.state:
            return found
        guard.moved(conn, found, to, now=now)
        if to is HoldState.REVERSED:
            assert found.posted_at is not None
            steps.check_day_open(holds.channel(conn, channel), found.posted_at, now)
            _reverse(conn, found, reason=reason, actor=actor, now=now)
        holds.update_hold(conn, found, to, reason=reason, now=now)
        audit.record(
            conn, at=now, actor=actor, action=f"payments.{to.value}", entity="account",
            entity_id=found.account, reason=reason,
            after={"channel": channel, "peer_txn_id": peer_txn_id,
                   "amount_micros": found.amount_micros},
        )  # fmt: skip
        return _locked(conn, channel, peer_txn_id)


def expire(db: Database, *, now: datetime) -> int:
    """End every hold whose time has run out; return how many."""
    ended = 0
    for _ in count():
        with db.transaction() as conn:
            found = holds.expire_holds(conn, now)
            guard.expired(conn, found)
            for each in found:
                audit.record(
                    conn, at=now, actor="system:billing", action="payments.expired",
                    entity="account", entity_id=each.account,
                    after={"channel": each.channel, "peer_txn_id": each.peer_txn_id},
                )  # fmt: skip
        ended += len(found)
        if len(found) < _AT_ONCE:
            break
    return ended


def _available(conn: Connection, card: CustomerCard, now: datetime) -> int:
    """Return the live balance, or where no register has come yet what the ledger holds."""
    try:
        return prepaid.balance_of(conn, card.usage_point, now).available_micros
    except RefusedError as error:
        if error.refusal is not NoBalance.NO_AGREEMENT:
            raise
        return ledger.balance_of(conn, card.account)


def stand(conn: Connection, channel: str, peer_txn_id: str, *, now: datetime) -> Hold | None:
    """Return an announced payment as it stands at `now`: over, when its time has run out."""
    found = holds.hold(conn, channel, peer_txn_id, lock=False)
    if found is None or not steps.is_over(found, now):
        return found
    return _expired_if_over(conn, _locked(conn, channel, peer_txn_id), now)


def _announce(conn: Connection, order: PaymentOrder, quote_id: int | None, now: datetime) -> bool:
    """Insert the hold; return False when a rival was quicker."""
    card = customers.card_of_account(conn, order.account)
    if card is None:
        raise posting.unknown(order.account)
    rules.check_currency(order, card.currency)
    terms, limit = guard.terms_of(conn, order.channel, order.currency)
    quoting.check_limits(order, terms)
    if quote_id is not None:
        quoting.check_against_quote(order, holds.quoted(conn, quote_id), terms.policy, now=now)
    put = _inserter(
        conn, order, HoldState.HELD, quote=quote_id, now=now,
        expires_at=min(now, order.peer_time) + timedelta(seconds=terms.hold_seconds),
    )  # fmt: skip
    return guard.announce(conn, order, terms, limit, put, announced=True, now=now)


def _inserter(
    conn: Connection, order: PaymentOrder, state: HoldState, *, expires_at: datetime,
    now: datetime, quote: int | None = None,
) -> Callable[[guard.Room], bool]:  # fmt: skip
    """Return what inserts the row of an order with the room that was taken for it."""

    def insert(room: guard.Room) -> bool:
        return holds.insert_hold(
            conn, order, body_hash=rules.body_hash(order), quote=quote, expires_at=expires_at,
            now=now, state=state, room=(room.counted_on, room.reserves),
        )  # fmt: skip

    return insert


def _posted(
    conn: Connection, found: Hold, event: HoldEvent, *, actor: str, now: datetime,
    counts: bool = True,
) -> tuple[PaymentReceipt | None, RefusedError | None]:  # fmt: skip
    """Step a locked hold; an expiry found on the way is kept even when the step is refused."""
    found = _expired_if_over(conn, found, now)
    try:
        to = steps.next_state(found.state, event)
    except RefusedError as error:
        return None, error
    if to is found.state:
        known = rows.payment_by_peer(conn, found.channel, found.peer_txn_id)
        assert known is not None, "a posted hold stands without its payment"
        return posting.receipt_of(known, replayed=True), None
    guard.moved(conn, found, to, counts=counts, now=now)
    payment = _book(conn, found, to, actor=actor, now=now)
    state = HoldState(payment.state.value)
    holds.update_hold(conn, found, state, reason=found.reason, now=now)
    return posting.receipt_of(payment, replayed=False), None


def _book(conn: Connection, found: Hold, to: HoldState, *, actor: str, now: datetime) -> Payment:
    order = PaymentOrder(
        channel=found.channel, peer_txn_id=found.peer_txn_id, account=AccountId(found.account),
        amount_micros=found.amount_micros, currency=found.currency, peer_time=found.peer_time,
        actor=actor, office=found.office,
    )  # fmt: skip
    card = customers.card_of_account(conn, found.account)
    if to is HoldState.SUSPENSE or card is None:
        return posting.suspend(conn, order, now=now)
    return posting.take(conn, order, card, holds.channel(conn, found.channel), now=now)


def _reverse(conn: Connection, found: Hold, *, reason: str, actor: str, now: datetime) -> None:
    payment = rows.payment_by_peer(conn, found.channel, found.peer_txn_id)
    assert payment is not None, "a posted hold stands without its payment"
    ledger.owed(conn, payment.account, lock=True)
    key = f"{found.channel}:{found.peer_txn_id}"
    allocated = holds.allocation_entry(conn, payment.receipt_no)
    if allocated is not None:
        ledger.reverse(
            conn, allocated, key=f"void-allocation:{key}", actor=actor, reason=reason, now=now
        )
    back = ledger.reverse(
        conn, payment.entry_id, key=f"void:{key}", actor=actor, reason=reason, now=now
    )
    if posting.settled(conn, payment.account, now=now) < 0:
        raise RefusedError(
            Refusal.SPENT, "the customer has used this money",
            fix="two people may correct it at reconciliation",
        )  # fmt: skip
    settling.insert_correction(
        conn, payment.receipt_no, kind="void", delta=-payment.amount_micros, entry=back.entry_id,
        reason=reason, actors=[actor], now=now,
    )  # fmt: skip


def _locked(conn: Connection, channel: str, peer_txn_id: str) -> Hold:
    found = holds.hold(conn, channel, peer_txn_id, lock=True)
    if found is None:
        raise RefusedError(
            Refusal.UNKNOWN, f"{channel} never announced {peer_txn_id!r}",
            fix="announce the payment first",
        )  # fmt: skip
    return found


def _expired_if_over(conn: Connection, found: Hold, now: datetime) -> Hold:
    if not steps.is_over(found, now):
        return found
    holds.update_hold(conn, found, HoldState.EXPIRED, reason="timeout", now=now)
    guard.moved(conn, found, HoldState.EXPIRED, now=now)
    return replace(found, state=HoldState.EXPIRED, ended_at=now, reason="timeout")


def _told(receipt: PaymentReceipt | None, refused: RefusedError | None) -> PaymentReceipt:
    if refused is not None:
        raise refused
    assert receipt is not None
    return receipt


def _note(conn: Connection, order: PaymentOrder, action: str, now: datetime) -> None:
    audit.record(
        conn, at=now, actor=order.actor, action=action, entity="account",
        entity_id=order.account,
        after={"channel": order.channel, "peer_txn_id": order.peer_txn_id,
               "amount_micros": order.amount_micros, "currency": order.currency},
    )  # fmt: skip


def _plain(terms: Channel) -> dict[str, str | int | bool]:
    return {
        "zone": terms.zone, "cutover": terms.cutover.isoformat(), "policy": terms.policy.value,
        "hold_seconds": terms.hold_seconds, "quote_seconds": terms.quote_seconds,
        "min_micros": terms.min_micros, "max_micros": terms.max_micros,
        "by_agent": terms.by_agent,
    }  # fmt: skip
