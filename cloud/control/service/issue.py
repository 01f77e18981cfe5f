"""Use cases of the gate: issue what passes it, give the octets to sign, take what is refused."""

from datetime import datetime
from typing import Any

from cloud.assets import service as assets
from cloud.control import rules
from cloud.control.model import (
    CommandRow,
    CommandState,
    DisconnectRequest,
    Policy,
    Refusal,
    RequestEvent,
    RequestId,
    RequestState,
    SupplyState,
)
from cloud.control.service import keep, steps, tokens
from cloud.control.service.requests import apply_refusal
from cloud.control.store import commands as rows
from cloud.control.store import requests as request_rows
from cloud.control.store import supply as supply_rows
from cloud.control.store import tokens as token_rows
from cloud.store import audit
from cloud.store.clock import Clock
from cloud.store.db import Connection, Database
from protocols.errors import RefusedError
from protocols.identity import CommandId, UsagePointId
from protocols.mqtt.downlink import KEEPING, Command, Verb, body_of


def issue_due(db: Database, clock: Clock) -> list[CommandId]:
    """
    Pass every rechecked request through the last gate; insert the commands that may be issued.

    One transaction each: policy row (limits are counted one at a time), then the supply row that
    every payment takes. What must wait (hours, limits, halt) stays; what is forbidden ends.
    """
    with db.transaction() as conn:
        due = request_rows.requests_in(conn, RequestState.RECHECKED)
    issued = []
    for request, usage_point in due:
        try:
            command = issue_one(db, request, usage_point, now=clock.now())
        except RefusedError as refused:
            # the database's own guard saw what changed after the rules had looked
            command = None
            _keep_refusal(db, request, usage_point, refused, now=clock.now())
        if command is not None:
            issued.append(command)
    return issued


def issue_one(
    db: Database, request: RequestId, usage_point: UsagePointId, *, now: datetime
) -> CommandId | None:
    """
    Pass one request through the gate; return its command, or None when the gate refused.

    Raises: RefusedError where the database's guard refuses what the rules let pass.
    """
    with db.transaction() as conn:
        policy = supply_rows.policy(conn, lock=True)
        supply = steps.supply_for_gate(conn, usage_point, policy, lock=True, now=now)
        found = request_rows.request(conn, request, lock=True)
        if found is None or found.state is not RequestState.RECHECKED:
            return None
        refusal = rules.refuse_disconnect(found, supply, policy, now=now)
        if refusal is not None:
            apply_refusal(conn, found, refusal, now=now)
            return None
        return _insert_cut(conn, found, supply, policy, now=now)


def _insert_cut(
    conn: Connection,
    request: DisconnectRequest,
    supply: SupplyState,
    policy: Policy,
    *,
    now: datetime,
) -> CommandId | None:
    installed = assets.installation_of(conn, request.usage_point)
    if installed is None or not installed.meter.has_relay:
        steps.end_request(
            conn, request, RequestEvent.REFUSE, actor=steps.SYSTEM, cause=Refusal.NO_SWITCH,
            now=now,
        )  # fmt: skip
        return None
    command = rows.insert_command(
        conn, usage_point=request.usage_point, transformer=supply.transformer,
        meter=installed.meter.id, concentrator=installed.concentrator, verb=Verb.DISCONNECT,
        request=request.id, epoch=supply.epoch, cuts_left=supply.cuts_left,
        issued_by=steps.SYSTEM, reason=request.reason,
        local_day=steps.local_day(policy, now), now=now,
    )  # fmt: skip
    steps.move_request(conn, request, RequestEvent.ORDER, actor=steps.SYSTEM, now=now)
    audit.record(
        conn, at=now, actor=steps.SYSTEM, action="command.issue", entity="command",
        entity_id=command, reason=request.reason,
        on_behalf=" ".join((request.requested_by, *request.approved_by)),
        after={"verb": Verb.DISCONNECT.value, "usage_point": request.usage_point,
               "request": request.id, "epoch": supply.epoch},
    )  # fmt: skip
    return command


def _keep_refusal(
    db: Database,
    request: RequestId,
    usage_point: UsagePointId,
    refused: RefusedError,
    *,
    now: datetime,
) -> None:
    with db.transaction() as conn:
        supply_rows.supply(conn, usage_point, lock=True)
        found = request_rows.request(conn, request)
        if found is not None and found.state is RequestState.RECHECKED:
            apply_refusal(conn, found, Refusal(refused.refusal), now=now)


def prepare(db: Database, clock: Clock) -> int:
    """
    Give every new command its validity and the octets that the signer will judge.

    The validity is wall time (a machine waits for it), so it is set here, where a clock is, and
    not in the payment's transaction that may have inserted the command.
    """
    with db.transaction() as conn:
        commands = rows.unprepared(conn)
        if not commands:
            return 0
        policy = supply_rows.policy(conn)
        for command in commands:
            not_before = clock.now() - clock.wall_span(policy.handshake_seconds)
            expires = clock.after_wall(policy.command_ttl_seconds)
            rows.set_body(
                conn, command.id, body=_body(conn, command, not_before, expires),
                not_before=not_before, expires=expires,
            )  # fmt: skip
        return len(commands)


def _body(conn: Connection, command: CommandRow, not_before: datetime, expires: datetime) -> bytes:
    return body_of(
        Command(
            id=command.id, concentrator=command.concentrator, meter=command.meter,
            verb=Verb(command.verb), not_before=not_before, expires=expires,
            issuer=command.issued_by, epoch=command.epoch,
            args=_args(conn, command),
        )
    )  # fmt: skip


def _args(conn: Connection, command: CommandRow) -> dict[str, Any]:
    if command.token is not None:
        kind, opaque = token_rows.octets_of(conn, command.token)
        return {"kind": kind, "opaque": opaque}
    if command.verb != Verb.RECONNECT:
        return {}
    installed = assets.installation_of(conn, command.usage_point)
    closes = installed is not None and installed.meter.can_close_remotely
    # D16: where nothing can close remotely a reconnect only lifts the trip
    return {} if closes else {"lift_only": True}


def take_signer_refusals(db: Database, *, now: datetime) -> int:
    """End what the signer would not sign; return how many."""
    with db.transaction() as conn:
        refused = rows.refused_by_signer(conn)
    for id_, usage_point, cause in refused:
        with db.transaction() as conn:
            supply = supply_rows.supply(conn, usage_point, lock=True)
            command = rows.command(conn, id_)
            if command is None or command.ended_at is not None:
                continue
            reason = f"{Refusal.SIGNER}: {cause}"[:200]
            steps.end_command(
                conn, command, CommandState.REFUSED, actor="system:signer", reason=reason, now=now
            )
            if command.verb in KEEPING and supply is not None:
                keep.note_keep_end(
                    conn, command, supply, CommandState.REFUSED, reason=reason, now=now
                )
            tokens.note_token_end(
                conn, command, result=CommandState.REFUSED, reason=reason, evidence=None, now=now
            )
            request = request_rows.request(conn, command.request) if command.request else None
            if request is not None and request.state is RequestState.ORDERED:
                steps.move_request(
                    conn, request, RequestEvent.REFUSE, actor="system:signer", cause=reason,
                    now=now,
                )  # fmt: skip
    return len(refused)
