"""The signer's own judgement; it trusts no one who wrote the rows it reads."""

from datetime import datetime, timedelta

import cbor2

from cloud.signer.model import Cause, Counts, Limits, Order, Part
from protocols.mqtt.downlink import Command, Go, Verb, body_of
from protocols.timeline import from_ms


def refuse_signature(
    order: Order, limits: Limits, counts: Counts, *, now: datetime, longest: timedelta
) -> Cause | None:
    """
    Return the first reason not to sign, or None.

    A reconnect is only checked for being what was ordered: in doubt power comes back. `longest`
    is how far ahead a command may expire, in business time.
    """
    shape = _refuse_shape(order, now=now, longest=longest)
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
    )  # fmt: skip
    return None if same and order.part is Part.COMMAND else Cause.DIFFERS


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
