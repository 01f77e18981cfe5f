"""The signer's own judgement of upkeep; it trusts no one who wrote the rows it reads."""

from datetime import datetime, timedelta
from typing import Any

import cbor2

from cloud.signer.model import Allowance, Errand, UpkeepCause
from cloud.signer.rules.switches import parse
from protocols.mqtt.downlink import Command, Verb, body_of
from protocols.mqtt.upkeep import (
    ConfigOrder,
    FirmwareOrder,
    activation_args,
    config_body,
    fault_of,
    firmware_args,
)
from protocols.timeline import from_ms

LONGEST = timedelta(days=7)
"""Business time: no errand that this signer signs is good for longer."""

_VERBS = {
    "firmware": Verb.FIRMWARE,
    "activation": Verb.ACTIVATE_FIRMWARE,
    "rekey": Verb.REKEY,
}
_RUNNING = frozenset({"first", "rest"})


def refuse_errand(errand: Errand, allowance: Allowance, *, now: datetime) -> UpkeepCause | None:
    """
    Return the first reason not to sign, or None.

    Settings take one person; all else takes two, told apart without regard to capitals.
    """
    if errand.rollout_state not in _RUNNING or errand.rollout_kind != errand.kind:
        return UpkeepCause.NOT_RUNNING
    if not _is_approved(errand):
        return UpkeepCause.NOT_APPROVED
    if errand.expires <= now:
        return UpkeepCause.EXPIRED
    if errand.expires - now > LONGEST or errand.expires > errand.until:
        return UpkeepCause.TOO_LONG
    cause = _refuse_settings(errand) if errand.kind == "configuration" else _refuse_command(errand)
    if cause is None and allowance.signed >= allowance.most:
        return UpkeepCause.LIMIT
    return cause


def _is_approved(errand: Errand) -> bool:
    people = {errand.requested_by.casefold()}
    if errand.kind != "configuration":
        people.add(errand.approved_by.casefold())
    wanted = 1 if errand.kind == "configuration" else 2
    return len(people) == wanted and all(_is_person(name) for name in people)


def _is_person(name: str) -> bool:
    return name.startswith("user:") and name != "user:"


def _refuse_settings(errand: Errand) -> UpkeepCause | None:
    order = _settings_in(errand.body)
    if order is None:
        return UpkeepCause.MALFORMED
    same = (
        order.id == errand.id
        and order.concentrator == errand.concentrator
        and str(errand.meter) == str(errand.concentrator)
        and order.revision == errand.revision
        and order.issuer == errand.requested_by
        and order.expires == _whole_ms(errand.expires)
        and order.settings == errand.settings
    )
    if not same:
        return UpkeepCause.DIFFERS
    return UpkeepCause.SETTING if fault_of(order.settings) else None


def _settings_in(body: bytes) -> ConfigOrder | None:
    """Return the order in unsigned octets, or None when there is none."""
    try:
        plain = cbor2.loads(body)
        order = ConfigOrder(
            id=plain["id"], concentrator=plain["concentrator"], revision=plain["revision"],
            issued_at=from_ms(plain["issued_ms"]), expires=from_ms(plain["expires_ms"]),
            issuer=plain["issuer"], settings=plain["settings"],
        )  # fmt: skip
        return order if config_body(order) == body else None
    except (cbor2.CBORError, KeyError, TypeError, ValueError, EOFError, OverflowError):
        return None


def _refuse_command(errand: Errand) -> UpkeepCause | None:
    command = parse(errand.body)
    if not isinstance(command, Command) or body_of(command) != errand.body:
        return UpkeepCause.MALFORMED
    wanted = (
        errand.id, errand.concentrator, errand.meter, _VERBS.get(errand.kind),
        errand.requested_by, _whole_ms(errand.expires),
    )  # fmt: skip
    found = (
        command.id, command.concentrator, command.meter, command.verb, command.issuer,
        command.expires,
    )  # fmt: skip
    if found != wanted or dict(command.args) != _args_of(errand):
        return UpkeepCause.DIFFERS
    image = errand.image
    return UpkeepCause.IMAGE if image is not None and not image.whole else None


def _args_of(errand: Errand) -> dict[str, Any] | None:
    """Return the only `args` that the rollout allows."""
    if errand.kind == "rekey":
        return {"sealed": errand.sealed}
    image = errand.image
    if image is None:
        return None
    if errand.kind == "activation":
        if errand.source is None or not errand.source_fits:
            return None
        return activation_args(errand.source)
    return firmware_args(
        FirmwareOrder(
            image=image.sha256, size=image.size, identifier=image.identifier, block=image.block,
            activate=errand.activate, activate_at=errand.activate_at,
        )
    )  # fmt: skip


def _whole_ms(instant: datetime) -> datetime:
    return instant - timedelta(microseconds=instant.microsecond % 1000)
