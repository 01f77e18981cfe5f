"""The signer's own judgement; it trusts no one who wrote the rows it reads."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import cbor2

from cloud.signer.model import Cause, Counts, Limits, Order, Part
from protocols.mqtt.downlink import Command, Go, Verb, body_of
from protocols.timeline import from_ms


def refuse_signature(
    order: Order, limits: Limits, counts: Counts, *, now: datetime, longest: timedelta
) -> Cause | None:
    """
    Return the first reason not to sign, or None.

    A reconnect or keep-power is only checked for being what was ordered: in doubt power comes
    back. A token must be the one that was taken for that meter; that a meter may trip again takes
    two people. `longest` is how far ahead a command may expire, in business time.
    """
    shape = _refuse_shape(order, now=now, longest=longest)
    if shape is None and order.verb == Verb.END_KEEP_POWER:
        return _refuse_end_of_keeping(order)
    if shape is not None or order.verb != Verb.DISCONNECT:
        return shape
    if order.protected:
        return Cause.PROTECTED
    if order.epoch != order.supply_epoch:
        return Cause.EPOCH
    people = {name.casefold() for name in order.approvers if name.startswith("user:")}
    if len(people - {order.requested_by.casefold()}) < 2:
        return Cause.NOT_APPROVED
    if order.request_state != "ordered":
        return Cause.STATE
    if order.halted:
        return Cause.HALTED
    if order.part is Part.GO:
        return None if order.signed_before else Cause.NOT_SIGNED
    if counts.hour >= limits.max_cuts_per_hour or counts.day >= limits.max_cuts_per_day:
        return Cause.LIMIT
    return None


def _refuse_shape(order: Order, *, now: datetime, longest: timedelta) -> Cause | None:
    """Compare the octets to be signed with the order that was approved, field by field."""
    message = parse(order.body)
    if message is None or body_of(message) != order.body:
        return Cause.MALFORMED
    if (message.id, message.meter, message.concentrator) != (
        order.id, order.meter, order.concentrator,
    ):  # fmt: skip
        return Cause.DIFFERS
    if not order.open:
        return Cause.STATE
    if order.expires <= now:
        return Cause.EXPIRED
    if order.expires - now > longest:
        return Cause.TOO_LONG
    if isinstance(message, Go):
        wrong = order.part is not Part.GO or message.nonce != order.nonce
        return Cause.NO_NONCE if wrong else None
    same = (message.verb.value, message.epoch, message.expires) == (
        order.verb, order.epoch, _whole_ms(order.expires),
    ) and _args_fit(order, message.args)  # fmt: skip
    return None if same and order.part is Part.COMMAND else Cause.DIFFERS


def _args_fit(order: Order, args: Mapping[str, Any]) -> bool:
    if order.verb == Verb.DELIVER_TOKEN:
        return order.token is not None and args == {
            "kind": order.token[0], "opaque": order.token[1],
        }  # fmt: skip
    return not args or (order.verb == Verb.RECONNECT and args == {"lift_only": True})


def _refuse_end_of_keeping(order: Order) -> Cause | None:
    if order.protected:
        return Cause.PROTECTED
    people = {name.casefold() for name in order.released_by or () if name.startswith("user:")}
    return None if len(people) == 2 else Cause.NOT_APPROVED


def parse(body: bytes) -> Command | Go | None:
    """Return the message in unsigned octets, or None when they are none."""
    try:
        plain = cbor2.loads(body)
        if plain["t"] == "go":
            return Go(
                id=plain["id"], concentrator=plain["concentrator"], meter=plain["meter"],
                nonce=plain["nonce"],
            )  # fmt: skip
        return Command(
            id=plain["id"], concentrator=plain["concentrator"], meter=plain["meter"],
            verb=Verb(plain["verb"]), not_before=from_ms(plain["not_before_ms"]),
            expires=from_ms(plain["expires_ms"]), issuer=plain["issuer"], epoch=plain["epoch"],
            args=plain["args"],
        )  # fmt: skip
    except (cbor2.CBORError, KeyError, TypeError, ValueError, EOFError, OverflowError):
        return None


def _whole_ms(instant: datetime) -> datetime:
    return instant - timedelta(microseconds=instant.microsecond % 1000)
