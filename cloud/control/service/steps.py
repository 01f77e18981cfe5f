"""
Steps that several use cases share; each runs in the caller's transaction under the supply's lock.

Nothing here opens a transaction. Each step that touches a switch writes its audit event.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from cloud.assets import service as assets
from cloud.control import rules
from cloud.control.model import (
    CommandEvent,
    CommandRow,
    CommandState,
    DisconnectRequest,
    Policy,
    Refusal,
    RequestEvent,
    RequestState,
    SupplyState,
)
from cloud.control.store import commands as command_rows
from cloud.control.store import requests as request_rows
from cloud.control.store import supply as supply_rows
from cloud.messages import service as messages
from cloud.store import audit
from cloud.store.db import Connection
from protocols.errors import RefusedError
from protocols.identity import CommandId, UsagePointId
from protocols.mqtt.downlink import Verb

SYSTEM = "system:control"


def supply_for_gate(
    conn: Connection, usage_point: UsagePointId, policy: Policy, *, lock: bool, now: datetime
) -> SupplyState:
    """
    Return the supply with all that the gate asks, locked if asked so.

    Raises: RefusedError UNKNOWN_SUPPLY.
    """
    found = supply_rows.supply(conn, usage_point, lock=lock)
    if found is None:
        raise RefusedError(
            Refusal.UNKNOWN_SUPPLY,
            f"{usage_point} has no supply state",
            fix="register the usage point first",
        )
    facts = supply_rows.gate_facts(conn, found, now=now, local_day=local_day(policy, now))
    left = min(
        policy.max_cuts_per_hour - facts.hour,
        policy.max_cuts_per_day - facts.day,
        policy.max_cuts_per_transformer_day - facts.transformer_day,
    )
    return replace(
        found,
        protected=found.protected or facts.protected,
        held=facts.held,
        halted=facts.halted,
        cuts_left=left,
    )


def local_day(policy: Policy, now: datetime) -> Any:
    """Return the civil date by which cuts of a day are counted."""
    return now.astimezone(ZoneInfo(policy.zone)).date()


def move_request(
    conn: Connection,
    request: DisconnectRequest,
    event: RequestEvent,
    *,
    actor: str,
    cause: str = "",
    now: datetime,
) -> DisconnectRequest:
    """
    Move a request along its table and write down who did it.

    Raises: RefusedError WRONG_STATE where the table has no such move.
    """
    state = rules.move_request(request.state, event)
    if state is None:
        raise RefusedError(
            Refusal.WRONG_STATE, f"request {request.id} is {request.state}: cannot {event}"
        )
    request_rows.move(conn, request.id, before=request.state, state=state, cause=cause, now=now)
    audit.record(
        conn, at=now, actor=actor, action=f"request.{event}", entity="request",
        entity_id=request.id, before={"state": request.state.value},
        after={"state": state.value, "epoch": request.epoch}, reason=cause,
    )  # fmt: skip
    return replace(request, state=state, cause=cause)


def end_request(
    conn: Connection,
    request: DisconnectRequest,
    event: RequestEvent,
    *,
    actor: str,
    cause: str,
    now: datetime,
) -> DisconnectRequest:
    """End a request that has no open command, and tell the readers of outcomes."""
    moved = move_request(conn, request, event, actor=actor, cause=cause, now=now)
    request_rows.insert_outcome(
        conn, usage_point=request.usage_point, request_id=request.id, command=None,
        verb=Verb.DISCONNECT.value, cause=cause, now=now,
        result="refused" if moved.state is RequestState.REFUSED else "cancelled",
    )  # fmt: skip
    return moved


def end_command(
    conn: Connection,
    command: CommandRow,
    state: CommandState,
    *,
    actor: str,
    reason: str,
    evidence: Mapping[str, Any] | None = None,
    now: datetime,
) -> bool:
    """End a command with its one outcome; False when it had ended before."""
    if not command_rows.end(
        conn, command.id, state=state, reason=reason, evidence=evidence, now=now
    ):
        return False
    request_rows.insert_outcome(
        conn, usage_point=command.usage_point, request_id=command.request, command=command.id,
        verb=command.verb, result=state.value, cause=reason, now=now,
    )  # fmt: skip
    audit.record(
        conn, at=now, actor=actor, action=f"command.{state.value}", entity="command",
        entity_id=command.id, before={"state": command.state.value},
        after={"state": state.value}, reason=reason,
    )  # fmt: skip
    return True


def cancel_cut(
    conn: Connection,
    usage_point: UsagePointId,
    *,
    cause: str,
    actor: str,
    now: datetime,
    event: RequestEvent = RequestEvent.CANCEL,
) -> bool:
    """
    Take back whatever is on its way to a cut of a locked supply.

    Return True when a cut has gone too far for that: its go was released and the switch may open
    at any moment, so that only a reconnect can undo it.
    """
    command = command_rows.open_command(conn, usage_point, Verb.DISCONNECT)
    if command is not None:
        if rules.move_command(command.state, CommandEvent.CANCEL) is None:
            return True
        end_command(conn, command, CommandState.CANCELLED, actor=actor, reason=cause, now=now)
    request = request_rows.open_request(conn, usage_point)
    if request is not None:
        if command is None:
            end_request(conn, request, event, actor=actor, cause=cause, now=now)
        else:
            move_request(conn, request, event, actor=actor, cause=cause, now=now)
    return False


def issue_reconnect(
    conn: Connection, supply: SupplyState, *, epoch: int, actor: str, reason: str, now: datetime
) -> CommandId | None:
    """
    Insert the reconnect of a locked supply; no approval is asked, in doubt power comes back.

    Return None when one is under way already, or no meter is installed that could obey: the
    restoration stays due, and is told to people when it takes too long.
    """
    if command_rows.open_command(conn, supply.usage_point, Verb.RECONNECT) is not None:
        return None
    installed = assets.installation_of(conn, supply.usage_point)
    if installed is None or not installed.meter.has_relay:
        return None
    command = command_rows.insert_command(
        conn, usage_point=supply.usage_point, transformer=supply.transformer,
        meter=installed.meter.id, concentrator=installed.concentrator, verb=Verb.RECONNECT,
        request=None, epoch=epoch, cuts_left=None, issued_by=actor, reason=reason,
        local_day=None, now=now,
    )  # fmt: skip
    audit.record(
        conn, at=now, actor=actor, action="command.issue", entity="command", entity_id=command,
        after={"verb": Verb.RECONNECT.value, "usage_point": supply.usage_point, "epoch": epoch},
        reason=reason,
    )  # fmt: skip
    return command


def tell_customer(
    conn: Connection, usage_point: UsagePointId, kind: str, *, key: str, now: datetime
) -> None:
    """Put a message about the supply into the customer's outbox, once per `key`."""
    messages.enqueue(
        conn, dedupe_key=f"{kind}:{key}", kind=messages.Kind(kind), subject=usage_point,
        variables={"usage_point": usage_point}, now=now,
    )  # fmt: skip
