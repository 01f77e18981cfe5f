"""Payme's calls on the core: one answer for each call, the same answer for the same call again."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from billing.customers import service as customers
from billing.customers.model import AccountId
from billing.payments import rules
from billing.payments.model import Hold, HoldState, PaymentOrder, Refusal
from billing.payments.rules import payme as words
from billing.payments.rules import quoting
from billing.payments.rules.payme import Call, Door, Fault
from billing.payments.service import core, posting
from billing.payments.store import holds
from cloud.store.db import Connection, Database
from protocols.errors import RefusedError
from protocols.timeline import Interval, from_ms

_MS = timedelta(milliseconds=1)


def answer(db: Database, door: Door, octets: bytes, *, now: datetime) -> dict[str, Any]:
    """Return the body that answers some octets of Payme's; what it may not do becomes a fault."""
    call = words.parse(octets)
    if isinstance(call, Fault):
        return words.fault_body(call)
    try:
        return words.result_body(call, _CALLS[call.method](db, door, call, now))
    except RefusedError as error:
        return words.fault_body(words.fault_of(error, call, door))


def _allowed(db: Database, door: Door, call: Call, now: datetime) -> dict[str, Any]:
    order = _order(door, call, txn="check", at=now)
    rules.check_order(order)
    with db.transaction() as conn:
        card = customers.card_of_account(conn, order.account)
        if card is None:
            raise posting.unknown(order.account)
        rules.check_currency(order, card.currency)
        quoting.check_limits(order, holds.channel(conn, door.channel))
    return {"allow": True}


def _create(db: Database, door: Door, call: Call, now: datetime) -> dict[str, Any]:
    order = _order(door, call, txn=call.params["id"], at=_instant(call.params["time"]))
    found = core.hold(db, order, now=now)
    if found.state is not HoldState.HELD:
        raise RefusedError(
            Refusal.ENDED, f"the transaction is {found.state.value}",
            fix="create a transaction under a new id",
        )  # fmt: skip
    return words.created(found)


def _perform(db: Database, door: Door, call: Call, now: datetime) -> dict[str, Any]:
    core.post(db, door.channel, call.params["id"], actor=_actor(door), now=now)
    return words.performed(_found(db, door, call, now))


def _cancel(db: Database, door: Door, call: Call, now: datetime) -> dict[str, Any]:
    return words.cancelled(
        core.void(
            db, door.channel, call.params["id"], reason=str(max(0, call.params["reason"])),
            actor=_actor(door), now=now,
        )
    )  # fmt: skip


def _check(db: Database, door: Door, call: Call, now: datetime) -> dict[str, Any]:
    return words.checked(_found(db, door, call, now))


def _list(db: Database, door: Door, call: Call, now: datetime) -> dict[str, Any]:  # noqa: ARG001
    start, end = _instant(call.params["from"]), _instant(call.params["to"]) + _MS
    if end <= start:
        return words.listed([], door)
    with db.transaction() as conn:
        return words.listed(
            holds.holds_in_span(conn, door.channel, Interval(start=start, end=end)), door
        )


_CALLS: dict[str, Callable[[Database, Door, Call, datetime], dict[str, Any]]] = {
    "CheckPerformTransaction": _allowed,
    "CreateTransaction": _create,
    "PerformTransaction": _perform,
    "CancelTransaction": _cancel,
    "CheckTransaction": _check,
    "GetStatement": _list,
}


def _found(db: Database, door: Door, call: Call, now: datetime) -> Hold:
    with db.transaction() as conn:
        return _standing(conn, door, call.params["id"], now)


def _standing(conn: Connection, door: Door, txn: str, now: datetime) -> Hold:
    found = core.stand(conn, door.channel, txn, now=now)
    if found is None:
        raise RefusedError(Refusal.UNKNOWN, f"there is no {txn!r}", fix="create it first")
    return found


def _order(door: Door, call: Call, *, txn: str, at: datetime) -> PaymentOrder:
    named = call.params["account"].get(door.account_field)
    return PaymentOrder(
        channel=door.channel, peer_txn_id=txn, currency=door.currency, peer_time=at,
        account=AccountId(named if isinstance(named, str) and named.isprintable() else ""),
        amount_micros=call.params["amount"] * words.MICROS_PER_TIYIN, actor=_actor(door),
    )  # fmt: skip


def _instant(milliseconds: int) -> datetime:
    try:
        return from_ms(milliseconds)
    except (OverflowError, ValueError, OSError) as error:
        raise RefusedError(
            Refusal.BAD_ID, f"{milliseconds} ms is no instant", fix="send milliseconds since 1970"
        ) from error


def _actor(door: Door) -> str:
    return f"peer:{door.channel}"
