"""
The till: payments that come at once are taken together, in one transaction for all of them.

Whoever comes while the till is free opens it and takes everybody who waits; whoever comes while it
is taken waits for the next time. Where several were taken the last time, who opens waits a moment
for as many, since they come back together; who is alone waits for nobody. A payment that is not
plain, or that went wrong beside others, goes the road of a single one, where it is refused in its
own words.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from weakref import WeakKeyDictionary

from billing.customers import service as customers
from billing.payments import rules
from billing.payments.model import PaymentOrder, PaymentReceipt, PaymentState
from billing.payments.service import guard, posting
from billing.payments.service.posting import Taking
from billing.payments.store import holds, rows
from cloud.store.db import Connection, Database, DatabaseError
from protocols.errors import RefusedError

MOST = 64
"""Payments taken together; the next ones need not wait long."""
_TOGETHER = timedelta(seconds=1)
"""Those whose instants are farther apart are not taken at one and the same."""
_MOMENT = 0.002
"""Seconds; what a payment takes alone is several times as much."""


@dataclass(slots=True, eq=False)
class _Asked:
    order: PaymentOrder
    now: datetime
    done: bool = False
    receipt: PaymentReceipt | None = None


class Till:
    """Takes payments of one process, all who wait at a time."""

    def __init__(self, db: Database) -> None:
        """Begin with nobody waiting."""
        self._db = db
        self._changed = threading.Condition()
        self._waiting: list[_Asked] = []
        self._open = False
        self._last = 1

    def pay(self, order: PaymentOrder, *, now: datetime) -> PaymentReceipt | None:
        """Take a payment together with others; None where it has to go the road of a single one."""
        asked = _Asked(order, now)
        with self._changed:
            self._waiting.append(asked)
            self._changed.notify_all()
            while self._open and not asked.done:
                self._changed.wait()
            if asked.done:
                return asked.receipt
            self._open = True
            self._changed.wait_for(lambda: len(self._waiting) >= self._last, _MOMENT)
            taken = self._next(asked)
            self._last = len(taken)
        try:
            self._take(taken)
        finally:
            with self._changed:
                for each in taken:
                    each.done = True
                self._open = False
                self._changed.notify_all()
        return asked.receipt

    def _next(self, asked: _Asked) -> list[_Asked]:
        """Remove from those who wait who is taken now: `asked`, and others unlike it in all."""
        self._waiting.remove(asked)
        taken, left = [asked], list[_Asked]()
        accounts, names = {asked.order.account}, {_key(asked.order)}
        for each in self._waiting:
            alike = each.order.account in accounts or _key(each.order) in names
            if alike or len(taken) == MOST or abs(each.now - asked.now) > _TOGETHER:
                left.append(each)
                continue
            taken.append(each)
            accounts.add(each.order.account)
            names.add(_key(each.order))
        self._waiting = left
        return taken

    def _take(self, taken: Sequence[_Asked]) -> None:
        try:
            with self._db.transaction() as conn:
                found = _paid(
                    conn, [each.order for each in taken], now=max(each.now for each in taken)
                )
        except (RefusedError, DatabaseError):
            # one of them spoiled it for all, and nothing was written; each is told its own reason
            if len(taken) == 1:
                raise
            return
        for each in taken:
            each.receipt = found.get((each.order.channel, each.order.peer_txn_id))


_TILLS: WeakKeyDictionary[Database, Till] = WeakKeyDictionary()
_MAKING = threading.Lock()


def till_of(db: Database) -> Till:
    """Return the one till of a pool of connections."""
    with _MAKING:
        return _TILLS.setdefault(db, Till(db))


def _paid(
    conn: Connection, orders: Sequence[PaymentOrder], *, now: datetime
) -> dict[tuple[str, str], PaymentReceipt]:
    """
    Take those of some orders, each of another account, that are plain or were taken before.

    Locks channels (shared), then the payments' new rows, then as `posting.take_many`.
    """
    keyed = {(order.channel, order.peer_txn_id): order for order in orders}
    digests = {key: rules.body_hash(order) for key, order in keyed.items()}
    known = rows.posted_by_peers(conn, list(keyed))
    receipts = {
        key: posting.receipt_of(payment, replayed=True)
        for key, payment in known.items()
        if payment.body_hash == digests[key]
    }
    plain = _plain(conn, [order for key, order in keyed.items() if key not in known])
    if not plain:
        return receipts
    fresh = holds.insert_holds(
        conn, [(each.order, digests[_key(each.order)]) for each in plain], now
    )
    takings = [each for each in plain if _key(each.order) in fresh]
    for payment in posting.take_many(conn, takings, now=now) if takings else ():
        assert payment.state is PaymentState.POSTED
        receipts[payment.channel, payment.peer_txn_id] = posting.receipt_of(payment, replayed=False)
    return receipts


def _plain(conn: Connection, orders: Sequence[PaymentOrder]) -> list[Taking]:
    """Return the orders that nothing stands against and nothing limits but their amount."""
    wanted = [order for order in orders if not order.already_collected]
    if not wanted:
        return []
    cards = customers.cards_of(conn, [order.account for order in wanted])
    terms = {
        key: guard.terms_of(conn, *key)
        for key in sorted({(order.channel, order.currency) for order in wanted})
    }
    found = []
    for order in wanted:
        card, (channel, limit) = cards.get(order.account), terms[order.channel, order.currency]
        if card is None or card.currency != order.currency or limit is not None:
            continue
        if not channel.by_agent and channel.min_micros <= order.amount_micros <= channel.max_micros:
            found.append(Taking(order=order, card=card, terms=channel))
    return found


def _key(order: PaymentOrder) -> tuple[str, str]:
    return order.channel, order.peer_txn_id
