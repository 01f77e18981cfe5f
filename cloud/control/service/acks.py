"""
Use cases of the edge's answers: acks, the challenge of a cut, ends, what was found out late.

Every ack is judged under the supply's lock. An ack that fits no command of that meter and that
concentrator is kept apart and never acts.
"""

from datetime import datetime, timedelta

from cloud.control import rules
from cloud.control.model import (
    FINAL_COMMAND,
    CommandEvent,
    CommandRow,
    CommandState,
    Refusal,
    RelayPosition,
    RequestEvent,
    RequestState,
    SupplyState,
)
from cloud.control.service import keep, steps, tokens
from cloud.control.service.supply import note_connected
from cloud.control.store import commands as rows
from cloud.control.store import requests as request_rows
from cloud.control.store import supply as supply_rows
from cloud.store import audit
from cloud.store.db import Connection, Database
from protocols.errors import RefusedError
from protocols.identity import ConcentratorId
from protocols.mqtt.downlink import KEEPING, Go, Verb, body_of
from protocols.mqtt.uplink import Ack, Stage

MIN_NONCE = 8
EDGE = "system:edge"


def record_ack(db: Database, ack: Ack, *, concentrator: ConcentratorId, now: datetime) -> bool:
    """
    Take one ack in one transaction; return False when it was known or fits no command.

    The caller sends the receipt after this returns, whatever it returned: the ack is stored. A
    database guard that refuses a go ends the cut, so that no race leaves it half open.
    """
    try:
        with db.transaction() as conn:
            return _record(conn, ack, concentrator=concentrator, now=now)
    except RefusedError as refused:
        with db.transaction() as conn:
            known = rows.command(conn, ack.id)
            if known is None:
                raise
            supply_rows.supply(conn, known.usage_point, lock=True)
            rows.insert_ack(conn, ack, concentrator=concentrator, now=now)
            cause = f"{Refusal(refused.refusal).value}"
            steps.cancel_cut(conn, known.usage_point, cause=cause, actor=steps.SYSTEM, now=now)
        return True


def _record(conn: Connection, ack: Ack, *, concentrator: ConcentratorId, now: datetime) -> bool:
    known = rows.command(conn, ack.id)
    stray = _stray(known, ack, concentrator)
    if known is None or stray:
        rows.insert_stray_ack(conn, ack, concentrator=concentrator, cause=stray, now=now)
        return False
    policy = supply_rows.policy(conn)
    supply = steps.supply_for_gate(conn, known.usage_point, policy, lock=True, now=now)
    command = rows.command(conn, ack.id)
    assert command is not None
    if not rows.insert_ack(conn, ack, concentrator=concentrator, now=now):
        return False
    target = rules.move_command(command.state, CommandEvent(ack.stage.value))
    if command.state in FINAL_COMMAND:
        _found_late(conn, command, supply, ack, now=now)
    elif target is CommandState.CHALLENGED:
        _answer_challenge(conn, command, supply, ack, now=now)
    elif target in FINAL_COMMAND:
        _end(conn, command, supply, ack, now=now)
    elif target is not None:
        rows.set_state(conn, command.id, before=command.state, state=target)
    return True


def _stray(known: CommandRow | None, ack: Ack, concentrator: ConcentratorId) -> str:
    if known is None:
        return "no such command"
    if known.meter != ack.meter:
        return "another meter's command"
    if known.concentrator != concentrator:
        return "another concentrator's command"
    return ""


def _answer_challenge(
    conn: Connection, command: CommandRow, supply: SupplyState, ack: Ack, *, now: datetime
) -> None:
    """Pass the gate again; write the go for this nonce, or take the cut back."""
    request = request_rows.request(conn, command.request) if command.request else None
    refusal: Refusal | None = Refusal.WRONG_STATE
    if request is not None and command.verb == Verb.DISCONNECT:
        refusal = rules.refuse_go(request, supply, challenged_for=timedelta(0), limit=timedelta(0))
    if refusal is None and (len(ack.nonce) < MIN_NONCE or rows.nonce_seen(conn, ack.nonce)):
        refusal = Refusal.BACKSTOP
    if refusal is not None:
        steps.cancel_cut(conn, command.usage_point, cause=refusal, actor=steps.SYSTEM, now=now)
        return
    rows.set_nonce(conn, command.id, nonce=ack.nonce)
    body = body_of(
        Go(
            id=command.id, concentrator=command.concentrator, meter=command.meter,
            nonce=ack.nonce,
        )
    )  # fmt: skip
    rows.insert_go(conn, command.id, nonce=ack.nonce, body=body, now=now)
    audit.record(
        conn, at=now, actor=steps.SYSTEM, action="command.go", entity="command",
        entity_id=command.id, after={"epoch": supply.epoch},
    )  # fmt: skip


def _end(
    conn: Connection, command: CommandRow, supply: SupplyState, ack: Ack, *, now: datetime
) -> None:
    state = CommandState(ack.stage.value)
    finish(
        conn, command, supply, state, at=ack.at, reason=ack.reason, source="edge",
        tries=_tries(ack), evidence=ack.evidence, now=now,
    )  # fmt: skip


def finish(
    conn: Connection,
    command: CommandRow,
    supply: SupplyState,
    state: CommandState,
    *,
    at: datetime,
    reason: str,
    source: str,
    tries: int = 1,
    evidence: object = None,
    now: datetime,
) -> None:
    """End an open command of a locked supply and do what follows from it."""
    plain = evidence if isinstance(evidence, dict) else None
    if not steps.end_command(
        conn, command, state, actor=EDGE if source == "edge" else steps.SYSTEM, reason=reason,
        evidence=plain, now=now,
    ):  # fmt: skip
        return
    if command.verb == Verb.DISCONNECT:
        if state in {CommandState.DONE, CommandState.ARMED}:
            _cut(conn, command, supply, state, at=at, source=source, now=now)
        else:
            _not_cut(conn, command, supply, state, tries=tries, reason=reason, now=now)
    elif command.verb == Verb.RECONNECT and state in {CommandState.DONE, CommandState.ARMED}:
        _restored(conn, command, supply, state, at=at, source=source, now=now)
    elif command.verb in KEEPING:
        keep.note_keep_end(conn, command, supply, state, reason=reason, now=now)
    elif command.verb == Verb.DELIVER_TOKEN:
        tokens.note_token_end(conn, command, result=state, reason=reason, evidence=plain, now=now)


def _cut(
    conn: Connection,
    command: CommandRow,
    supply: SupplyState,
    state: CommandState,
    *,
    at: datetime,
    source: str,
    now: datetime,
) -> None:
    position = RelayPosition.ARMED if state is CommandState.ARMED else RelayPosition.DISCONNECTED
    point = command.usage_point
    supply_rows.set_relay(conn, point, relay_state=position, at=at, source=source, now=now)
    supply_rows.set_cut(conn, point, cut=True, now=now)
    request = request_rows.request(conn, command.request) if command.request else None
    if request is not None and rules.move_request(request.state, RequestEvent.DONE) is not None:
        steps.move_request(conn, request, RequestEvent.DONE, actor=EDGE, now=now)
    steps.tell_customer(conn, point, "supply_cut", key=command.id, now=now)
    if supply.restore_due_at is not None:
        # paid while the switch was opening: the payment's own reconnect may have run before it
        steps.issue_reconnect(
            conn, supply, epoch=supply.epoch, actor=steps.SYSTEM,
            reason="paid while the cut was carried out", now=now,
        )  # fmt: skip


def _not_cut(
    conn: Connection,
    command: CommandRow,
    supply: SupplyState,
    state: CommandState,
    *,
    tries: int,
    reason: str,
    now: datetime,
) -> None:
    request = request_rows.request(conn, command.request) if command.request else None
    if request is None or request.state is not RequestState.ORDERED:
        return
    if supply.epoch != request.epoch or supply.restore_due_at is not None:
        steps.move_request(
            conn, request, RequestEvent.CANCEL, actor=steps.SYSTEM,
            cause=Refusal.PAYMENT_REGISTERED, now=now,
        )  # fmt: skip
        return
    event = rules.after_failed_cut(
        result=state, tries=request_rows.add_tries(conn, request.id, tries=tries),
        policy=supply_rows.policy(conn),
    )  # fmt: skip
    steps.move_request(conn, request, event, actor=EDGE, cause=reason[:200], now=now)


def _restored(
    conn: Connection,
    command: CommandRow,
    supply: SupplyState,
    state: CommandState,
    *,
    at: datetime,
    source: str,
    now: datetime,
) -> None:
    point = command.usage_point
    armed = state is CommandState.ARMED
    position = RelayPosition.ARMED if armed else RelayPosition.CONNECTED
    supply_rows.set_relay(conn, point, relay_state=position, at=at, source=source, now=now)
    if rows.open_command(conn, point, Verb.DISCONNECT) is not None:
        # a cut that cannot be taken back is still under way: power stays owed until it has ended
        return
    if armed:
        supply_rows.clear_restore_due(conn, point, now=now)
        steps.tell_customer(conn, point, "supply_armed", key=command.id, now=now)
    else:
        note_connected(conn, supply, key=command.id, now=now)


def _found_late(
    conn: Connection, command: CommandRow, supply: SupplyState, ack: Ack, *, now: datetime
) -> None:
    """
    Follow the truth after a command had ended without an answer; its outcome stays as it was.

    A cut that turns out done after it was taken back is undone at once: in doubt power stays on.
    """
    if ack.stage not in {Stage.DONE, Stage.ARMED} or command.state in {
        CommandState.DONE,
        CommandState.ARMED,
    }:
        return
    state = CommandState(ack.stage.value)
    if command.verb == Verb.RECONNECT:
        _restored(conn, command, supply, state, at=ack.at, source="edge", now=now)
        return
    if command.verb in KEEPING:
        keep.note_late_keep(conn, command, supply, now=now)
    if command.verb == Verb.DELIVER_TOKEN:
        tokens.note_token_end(
            conn, command, result=state, reason="found late", evidence=dict(ack.evidence), now=now
        )
    if command.verb != Verb.DISCONNECT:
        return
    if command.epoch != supply.epoch or command.state is CommandState.CANCELLED:
        supply_rows.set_restore_due(conn, command.usage_point, now=now)
    after = supply_rows.supply(conn, command.usage_point, lock=True)
    assert after is not None
    _cut(conn, command, after, state, at=ack.at, source="edge", now=now)


def _tries(ack: Ack) -> int:
    found = ack.evidence.get("attempts", 1)
    return min(max(found, 1), 10) if type(found) is int else 1
