"""Use cases of time: dispatch, release, expiry, restorations that are due, what reports show."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from cloud.control import rules
from cloud.control.model import (
    GONE,
    CommandEvent,
    CommandState,
    Refusal,
    RelayPosition,
    SupplyState,
)
from cloud.control.service import steps
from cloud.control.service.acks import finish
from cloud.control.service.supply import note_connected
from cloud.control.store import commands as rows
from cloud.control.store import requests as request_rows
from cloud.control.store import supply as supply_rows
from cloud.control.store.supply import Unpublished
from cloud.store import audit
from cloud.store.clock import Clock
from cloud.store.db import Connection, Database
from protocols.errors import RefusedError
from protocols.identity import CommandId, ConcentratorId, UsagePointId
from protocols.mqtt.downlink import Verb, seal
from protocols.reading import RelayReading, RelayState

GRACE_SECONDS = 10
"""Wall seconds after a command's validity and its handshake in which an answer may still come."""


class Outgoing(NamedTuple):
    """
    A signed payload for one concentrator; `key` names it for repeats.

    It is worth nothing from `expires` on, in business time.
    """

    key: str
    concentrator: ConcentratorId
    payload: bytes
    command: CommandId
    expires: datetime


class SeenRelay(NamedTuple):
    """A switch as a meter reported it."""

    usage_point: UsagePointId
    at: datetime
    relay: RelayReading


def outgoing(db: Database, clock: Clock) -> list[Outgoing]:
    """
    Return everything that must be on the wire now: signed commands, released goes.

    Sending twice does no harm (the edge knows ids), so whatever the edge has not answered is
    returned again; the caller paces repeats.
    """
    with db.transaction() as conn:
        commands = rows.sendable(conn)
        goes = rows.signed_goes(conn)
        handshake = clock.wall_span(supply_rows.policy(conn).handshake_seconds)
        for command in commands:
            if command.state == CommandState.ISSUED:
                rows.set_dispatched(conn, command.id, now=clock.now())
    found = [
        Outgoing(
            item.id, item.concentrator, seal(item.body, item.signature), item.id, item.expires
        )
        for item in commands
    ]  # fmt: skip
    found.extend(
        Outgoing(
            f"{go.command}/go", go.concentrator, seal(go.body, go.signature), go.command,
            min(go.expires, go.made_at + handshake),
        )
        for go in goes
        if go.released_at is not None or release(db, clock, go.command, go.usage_point)
    )  # fmt: skip
    return found


def release(db: Database, clock: Clock, command: CommandId, usage_point: UsagePointId) -> bool:
    """
    Let a go leave: the gate's last word, under the lock that payments take.

    After this commits a payment can only undo the cut, not stop it. Return False when refused:
    the cut is taken back then.
    """
    try:
        with db.transaction() as conn:
            return _release(conn, clock, command, usage_point)
    except RefusedError as refused:
        with db.transaction() as conn:
            supply_rows.supply(conn, usage_point, lock=True)
            steps.cancel_cut(
                conn, usage_point, cause=Refusal(refused.refusal), actor=steps.SYSTEM,
                now=clock.now(),
            )  # fmt: skip
        return False


def _release(conn: Connection, clock: Clock, id_: CommandId, usage_point: UsagePointId) -> bool:
    policy = supply_rows.policy(conn)
    supply = steps.supply_for_gate(conn, usage_point, policy, lock=True, now=clock.now())
    now = clock.now()
    command = rows.command(conn, id_)
    times = rows.go_times(conn, id_)
    request = request_rows.request(conn, command.request) if command and command.request else None
    if command is None or times is None or request is None or command.ended_at is not None:
        return False
    refusal = rules.refuse_go(
        request, supply, challenged_for=now - times[0],
        limit=clock.wall_span(policy.handshake_seconds),
    )  # fmt: skip
    if refusal is not None:
        steps.cancel_cut(conn, usage_point, cause=refusal, actor=steps.SYSTEM, now=now)
        return False
    target = rules.move_command(command.state, CommandEvent.RELEASE)
    if target is None or not rows.release_go(conn, id_, now=now):
        return False
    rows.set_state(conn, id_, before=command.state, state=target)
    audit.record(
        conn, at=now, actor=steps.SYSTEM, action="command.release", entity="command",
        entity_id=id_, after={"epoch": supply.epoch},
    )  # fmt: skip
    return True


def expire_commands(db: Database, clock: Clock) -> int:
    """
    End every command whose time is over, so that none stays without an outcome.

    A cut whose go never left cannot act: expired. One that may have acted is judged by the switch
    as reported since; unknown stays unknown until a report comes, and counts as expired.
    """
    with db.transaction() as conn:
        late = rows.open_past(conn, before=clock.now())
        policy = supply_rows.policy(conn)
    grace = clock.wall_span(policy.handshake_seconds + GRACE_SECONDS)
    ended = 0
    for id_, usage_point, _cause in late:
        with db.transaction() as conn:
            supply = supply_rows.supply(conn, usage_point, lock=True)
            command = rows.command(conn, id_)
            if supply is None or command is None or command.ended_at is not None:
                continue
            now = clock.now()
            assert command.expires is not None
            may_have_acted = command.state in GONE or command.verb != Verb.DISCONNECT
            if may_have_acted and now < command.expires + grace:
                continue
            times = rows.go_times(conn, id_)
            since = times[1] if times and times[1] else command.issued_at
            state = _state_by_report(command.verb, supply.relay_state, supply.state_at, since)
            if not may_have_acted:
                state = CommandState.EXPIRED
            elif state is CommandState.EXPIRED and command.verb == Verb.DISCONNECT:
                supply_rows.set_relay(
                    conn, usage_point, relay_state=RelayPosition.UNKNOWN, at=now,
                    source="deadline", now=now,
                )  # fmt: skip
            finish(
                conn, command, supply, state, at=supply.state_at or now, now=now,
                reason="no answer from the concentrator in time", source="report",
            )  # fmt: skip
            ended += 1
    return ended


def _state_by_report(
    verb: str, relay: RelayPosition, seen_at: datetime | None, since: datetime
) -> CommandState:
    if seen_at is None or seen_at <= since:
        return CommandState.EXPIRED
    wanted = {
        (Verb.DISCONNECT.value, RelayPosition.DISCONNECTED): CommandState.DONE,
        (Verb.DISCONNECT.value, RelayPosition.ARMED): CommandState.DONE,
        (Verb.DISCONNECT.value, RelayPosition.CONNECTED): CommandState.FAILED,
        (Verb.RECONNECT.value, RelayPosition.CONNECTED): CommandState.DONE,
        (Verb.RECONNECT.value, RelayPosition.ARMED): CommandState.ARMED,
    }
    return wanted.get((verb, relay), CommandState.EXPIRED)


def restore_due(db: Database, clock: Clock) -> int:
    """
    Issue the reconnects that are owed and not under way: power is retried until it is back.

    A restoration that takes longer than the policy allows becomes an outcome `alarm`/`overdue`
    once; work orders follow from it.
    """
    with db.transaction() as conn:
        policy = supply_rows.policy(conn)
        retry = clock.wall_span(policy.restore_retry_seconds)
        alarm = clock.wall_span(policy.restore_alarm_seconds)
        due = supply_rows.restores_due(conn, tried_after=clock.now() - retry)
        overdue = supply_rows.restores_overdue(conn, due_before=clock.now() - alarm)
    issued = 0
    for usage_point in due:
        with db.transaction() as conn:
            supply = supply_rows.supply(conn, usage_point, lock=True)
            if supply is None or supply.restore_due_at is None:
                continue
            command = steps.issue_reconnect(
                conn, supply, epoch=supply.epoch, actor=steps.SYSTEM,
                reason="power is still owed", now=clock.now(),
            )  # fmt: skip
            issued += command is not None
    for usage_point in overdue:
        with db.transaction() as conn:
            supply = supply_rows.supply(conn, usage_point, lock=True)
            if supply is None or supply.restore_due_at is None:
                continue
            supply_rows.set_alarmed(conn, usage_point, now=clock.now())
            request_rows.insert_outcome(
                conn, usage_point=usage_point, request_id=None, command=None, verb="alarm",
                result="overdue", cause="restoration takes too long", now=clock.now(),
            )  # fmt: skip
    return issued


def reconcile(db: Database, seen: Iterable[SeenRelay], *, now: datetime) -> int:
    """
    Follow the switches as meters report them; return how many supplies changed.

    Closed again after arming (the customer pressed) or after a crew's visit: power is back. Closed
    though cut for arrears and nobody ordered it: reported as `self_reconnected`. While a crew's
    cut stands, a stuck relay that says closed does not overrule it.
    """
    changed = 0
    for usage_point, at, relay in _news(db, list(seen)):
        with db.transaction() as conn:
            supply = supply_rows.supply(conn, usage_point, lock=True)
            if supply is None or (supply.state_at is not None and at <= supply.state_at):
                continue
            position = position_of(relay)
            if position is supply.relay_state:
                if supply.open_command is not None:
                    # fresh news of an open order: its deadline is judged by it
                    supply_rows.set_relay(
                        conn, usage_point, relay_state=position, at=at,
                        source=supply.state_source, now=now,
                    )  # fmt: skip
                continue
            connected = position is RelayPosition.CONNECTED
            cut_by_crew = supply.state_source == "field" and supply.cut_for_arrears
            if connected and cut_by_crew and supply.restore_due_at is None:
                continue
            supply_rows.set_relay(
                conn, usage_point, relay_state=position, at=at, source="report", now=now
            )
            if connected and supply.open_command is None and supply.cut_for_arrears:
                _closed_again(conn, supply, now=now)
            changed += 1
    return changed


def _news(db: Database, seen: list[SeenRelay]) -> list[SeenRelay]:
    """Return the reports that may change something, so that the many others take no lock."""
    if not seen:
        return []
    with db.transaction() as conn:
        known = supply_rows.relay_positions(conn, [item.usage_point for item in seen])
    return [
        item
        for item in seen
        if item.usage_point in known
        and (
            known[item.usage_point].busy
            or known[item.usage_point].relay_state != position_of(item.relay)
        )
    ]


def _closed_again(conn: Connection, supply: SupplyState, *, now: datetime) -> None:
    owed = supply.restore_due_at is not None or supply.relay_state is RelayPosition.ARMED
    audit.record(
        conn, at=now, actor="system:edge", entity="supply", entity_id=supply.usage_point,
        action="supply.connected" if owed else "supply.self_reconnected",
        before={"relay_state": supply.relay_state.value},
        after={"relay_state": RelayPosition.CONNECTED.value},
    )  # fmt: skip
    if owed:
        note_connected(conn, supply, key=f"{supply.usage_point}:{supply.epoch}", now=now)
        return
    supply_rows.set_cut(conn, supply.usage_point, cut=False, now=now)
    request_rows.insert_outcome(
        conn, usage_point=supply.usage_point, request_id=None, command=None, verb="alarm",
        result="failed", cause="self_reconnected", now=now,
    )  # fmt: skip


def position_of(relay: RelayReading) -> RelayPosition:
    """Return our word for a switch as read; the output counts before the logic's state."""
    if relay.output_closed:
        return RelayPosition.CONNECTED
    if relay.control_state is RelayState.ARMED:
        return RelayPosition.ARMED
    return RelayPosition.DISCONNECTED


def unpublished(db: Database) -> list[Unpublished]:
    """Return the supplies whose retained live message is old."""
    with db.transaction() as conn:
        return supply_rows.unpublished(conn)


def published(db: Database, shown: Iterable[Unpublished]) -> None:
    """Note that these live messages were sent."""
    with db.transaction() as conn:
        for item in shown:
            supply_rows.mark_published(conn, item.usage_point, version=item.version)


def forget_published(db: Database) -> None:
    """Make every live message old: the broker may have lost what it retained."""
    with db.transaction() as conn:
        supply_rows.forget_published(conn)
