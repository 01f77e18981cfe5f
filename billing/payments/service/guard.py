"""
Room for a payment: the channel's day and the agent's float, taken before it is announced.

Locks come in one order: channel (shared), day, float, the payment's new row, ledger.
A payment that moves on has locked its own row already and then takes day and float, before the
ledger; nobody who has those two waits for a row that stood before, so nobody waits in a ring.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from billing.ledger import service as ledger
from billing.payments.model import Channel, Hold, HoldState, PaymentOrder
from billing.payments.rules import limits as rules
from billing.payments.rules.steps import business_day
from billing.payments.store import limits as store
from cloud.store.db import Connection
from protocols.timeline import Interval, local_day

_ENDED = {HoldState.RELEASED, HoldState.EXPIRED, HoldState.REVERSED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What was taken for a payment: the day it counts in, and whether it keeps some of a float."""

    counted_on: date | None = None
    reserves: bool = False


NO_ROOM = Room()
"""Where nothing limits, and for what a settlement file brings: that money is there already."""


class _RivalFirst(Exception):  # noqa: N818 - no failure: the other's row stands instead
    """Somebody announced the same payment in the meantime."""


def terms_of(conn: Connection, channel: str, currency: str) -> tuple[Channel, int | None]:
    """Return a channel's terms and its limit a day; no change of either passes before commit."""
    store.share_channel(conn, channel)
    return store.terms_and_limit(conn, channel, currency)


def announce(
    conn: Connection, order: PaymentOrder, terms: Channel, limit: int | None,
    insert: Callable[[Room], bool], *, announced: bool, now: datetime,
) -> bool:  # fmt: skip
    """
    Take room for an order and insert its row; return False when a rival announced it first.

    `announced` keeps a part of an agent's float until the hold ends; a payment at once needs only
    that others' holds stay covered. Raises: RefusedError `payments.day_limit`, `payments.float`.
    """
    if limit is None and not terms.by_agent:
        return insert(NO_ROOM)
    try:
        # a savepoint: who finds the rival's row must let go of day and float before it waits for it
        with conn.transaction():
            if not insert(_room(conn, order, terms, limit, announced=announced, now=now)):
                raise _RivalFirst
    except _RivalFirst:
        return False
    return True


def _room(
    conn: Connection, order: PaymentOrder, terms: Channel, limit: int | None, *, announced: bool,
    now: datetime,
) -> Room:  # fmt: skip
    counted_on = None
    if limit is not None:
        counted_on = business_day(terms, now)
        taken = store.lock_day(conn, order.channel, order.currency, counted_on)
        if not order.already_collected:
            rules.check_day(order, limit=limit, taken=taken)
        store.count_in_day(conn, order.channel, order.currency, counted_on, order.amount_micros)
    reserves = terms.by_agent and announced
    if terms.by_agent and not order.already_collected:
        reserved = store.lock_reserve(conn, order.channel, order.currency)
        if reserves or reserved:
            floating = ledger.float_of(conn, order.channel, order.currency)
            rules.check_float(order, floating=floating, reserved=reserved)
        if reserves:
            store.add_reserve(conn, order.channel, order.currency, order.amount_micros)
    return Room(counted_on=counted_on, reserves=reserves)


def share(conn: Connection, channel: str) -> None:
    """Keep changes of a channel's limits out; before the row of a payment that may count again."""
    store.share_channel(conn, channel)


def moved(
    conn: Connection, before: Hold, to: HoldState, *, counts: bool = True, now: datetime
) -> None:
    """
    Follow a payment that moves: what ends counts no more, what is not held keeps no float.

    Before the ledger is touched. `counts` is false for money that a settlement file brings.
    """
    if to in _ENDED:
        store.give_back(conn, [before])
    elif counts and before.state in _ENDED:
        _count_again(conn, before, now)
    if before.state is HoldState.HELD:
        store.free(conn, [before])


def expired(conn: Connection, ended: Sequence[Hold]) -> None:
    """Follow many holds that ended at once."""
    store.give_back(conn, ended)
    store.free(conn, ended)


def day_span(terms: Channel, day: date) -> Interval:
    """Return when a channel's day begins and ends."""
    past = timedelta(hours=terms.cutover.hour, minutes=terms.cutover.minute)
    whole = local_day(day, ZoneInfo(terms.zone))
    return Interval(start=whole.start + past, end=whole.end + past)


def _count_again(conn: Connection, hold: Hold, now: datetime) -> None:
    """Count money that the peer took after the end of its hold; it is there, so nothing refuses."""
    terms, limit = store.terms_and_limit(conn, hold.channel, hold.currency)
    if limit is None:
        return
    day = business_day(terms, now)
    store.lock_day(conn, hold.channel, hold.currency, day)
    store.count_in_day(conn, hold.channel, hold.currency, day, hold.amount_micros)
    store.set_counted(conn, hold, day)
