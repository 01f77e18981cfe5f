"""Rows of commands, goes and acks."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

from psycopg.types.json import Jsonb

from cloud.control.model import CommandRow, CommandState, RequestId
from cloud.control.store.blocks import SQL, refusals
from cloud.store.db import Connection
from protocols.identity import CommandId, ConcentratorId, MeterId, UsagePointId
from protocols.mqtt.downlink import Verb
from protocols.mqtt.uplink import Ack


class Sendable(NamedTuple):
    """A signed command that the edge has not confirmed."""

    id: CommandId
    concentrator: ConcentratorId
    body: bytes
    signature: bytes
    state: str
    expires: datetime


class SignedGo(NamedTuple):
    """A signed go whose cut waits for it, or was given it and has not answered."""

    command: CommandId
    usage_point: UsagePointId
    concentrator: ConcentratorId
    body: bytes
    signature: bytes
    made_at: datetime
    released_at: datetime | None
    expires: datetime


class Pointed(NamedTuple):
    """A command with the supply to lock before it is touched, and why."""

    command: CommandId
    usage_point: UsagePointId
    cause: str = ""


def insert_command(
    conn: Connection,
    *,
    usage_point: UsagePointId,
    transformer: str,
    meter: MeterId,
    concentrator: ConcentratorId,
    verb: Verb,
    request: RequestId | None,
    epoch: int,
    cuts_left: int | None,
    issued_by: str,
    reason: str,
    local_day: date | None,
    keep_release: str | None = None,
    token: int | None = None,
    now: datetime,
) -> CommandId:
    """Insert a command. Raises: RefusedError where the database's own guard refuses it."""
    values = {
        "usage_point": usage_point, "transformer": transformer, "meter": meter,
        "concentrator": concentrator, "verb": verb.value, "request": request, "epoch": epoch,
        "cuts_left": cuts_left, "issued_by": issued_by, "reason": reason, "local_day": local_day,
        "keep_release": keep_release, "token": token, "now": now,
    }  # fmt: skip
    with refusals():
        row = conn.execute(SQL["insert_command"], values).fetchone()
    assert row is not None
    return CommandId(row[0])


def command(conn: Connection, id_: CommandId) -> CommandRow | None:
    """Return a command, or None."""
    row = conn.execute(SQL["command"], {"command": id_}).fetchone()
    return _command(row) if row else None


def open_command(conn: Connection, usage_point: UsagePointId, verb: Verb) -> CommandRow | None:
    """Return the open command of one verb, or None."""
    values = {"usage_point": usage_point, "verb": verb.value}
    row = conn.execute(SQL["open_command"], values).fetchone()
    return _command(row) if row else None


def commands_of(conn: Connection, usage_point: UsagePointId) -> list[CommandRow]:
    """Return the commands of one supply, newest first."""
    rows = conn.execute(SQL["commands_of"], {"usage_point": usage_point}).fetchall()
    return [_command(row) for row in rows]


def unprepared(conn: Connection) -> list[CommandRow]:
    """Return open commands that have no body yet."""
    return [_command(row) for row in conn.execute(SQL["unprepared_commands"]).fetchall()]


def set_body(
    conn: Connection, id_: CommandId, *, body: bytes, not_before: datetime, expires: datetime
) -> None:
    """Write the octets that the signer will see and the edge will get."""
    values = {"command": id_, "body": body, "not_before": not_before, "expires": expires}
    conn.execute(SQL["set_body"], values)


def sendable(conn: Connection) -> list[Sendable]:
    """Return signed commands that the edge has not confirmed."""
    return [
        Sendable(CommandId(id_), ConcentratorId(where), bytes(body), bytes(signature), state, end)
        for id_, where, body, signature, state, end in conn.execute(SQL["sendable_commands"])
    ]


def signed_goes(conn: Connection) -> list[SignedGo]:
    """Return signed goes of open cuts that have not started."""
    return [
        SignedGo(
            CommandId(id_), UsagePointId(point), ConcentratorId(where), bytes(body),
            bytes(signature), made_at, released_at, end,
        )
        for id_, point, where, body, signature, made_at, released_at, end
        in conn.execute(SQL["signed_goes"])
    ]  # fmt: skip


def refused_by_signer(conn: Connection) -> list[Pointed]:
    """Return open commands that the signer refused."""
    return _pointed(conn.execute(SQL["refused_by_signer"]).fetchall())


def open_past(conn: Connection, *, before: datetime) -> list[Pointed]:
    """Return open commands whose validity ended before an instant."""
    return _pointed(conn.execute(SQL["open_past"], {"before": before}).fetchall())


def began(conn: Connection, id_: CommandId) -> bool:
    """Tell whether the edge told that it started a command."""
    return conn.execute(SQL["ack_of_start"], {"command": id_}).fetchone() is not None


def set_state(
    conn: Connection, id_: CommandId, *, before: CommandState, state: CommandState
) -> None:
    """Write a step of an open command."""
    values = {"command": id_, "before": before.value, "state": state.value}
    conn.execute(SQL["set_command_state"], values)


def set_dispatched(conn: Connection, id_: CommandId, *, now: datetime) -> bool:
    """Note the first dispatch; False when the command has ended or went out before."""
    values = {"command": id_, "now": now}
    return conn.execute(SQL["set_dispatched"], values).fetchone() is not None


def set_nonce(conn: Connection, id_: CommandId, *, nonce: bytes) -> None:
    """Note the edge's challenge."""
    with refusals():
        conn.execute(SQL["set_nonce"], {"command": id_, "nonce": nonce})


def end(
    conn: Connection,
    id_: CommandId,
    *,
    state: CommandState,
    reason: str,
    evidence: Mapping[str, Any] | None,
    now: datetime,
) -> bool:
    """End an open command; False when it had ended."""
    values = {
        "command": id_, "state": state.value, "reason": reason.replace("\x00", ""), "now": now,
        "evidence": Jsonb(plain(evidence)) if evidence is not None else None,
    }  # fmt: skip
    return conn.execute(SQL["end_command"], values).fetchone() is not None


def nonce_seen(conn: Connection, nonce: bytes) -> bool:
    """Tell whether a nonce was used before."""
    return conn.execute(SQL["nonce_seen"], {"nonce": nonce}).fetchone() is not None


def insert_go(
    conn: Connection, id_: CommandId, *, nonce: bytes, body: bytes, now: datetime
) -> None:
    """Insert the go. Raises: RefusedError where the database's own guard refuses it."""
    with refusals():
        conn.execute(SQL["insert_go"], {"command": id_, "nonce": nonce, "body": body, "now": now})


def go_times(conn: Connection, id_: CommandId) -> tuple[datetime, datetime | None] | None:
    """Return when the go of a command was made and released, or None."""
    row = conn.execute(SQL["go"], {"command": id_}).fetchone()
    return (row[0], row[1]) if row else None


def release_go(conn: Connection, id_: CommandId, *, now: datetime) -> bool:
    """Let a signed go leave, once. Raises: RefusedError where the guard refuses it."""
    with refusals():
        return conn.execute(SQL["release_go"], {"command": id_, "now": now}).fetchone() is not None


def insert_ack(conn: Connection, ack: Ack, *, concentrator: ConcentratorId, now: datetime) -> bool:
    """Write down an ack; False when it came before."""
    values = {
        "id": ack.id, "stage": ack.stage.value, "meter": ack.meter, "concentrator": concentrator,
        "at": ack.at, "nonce": ack.nonce or None, "reason": ack.reason.replace("\x00", ""),
        "evidence": Jsonb(plain(ack.evidence)), "now": now,
    }  # fmt: skip
    return conn.execute(SQL["insert_ack"], values).fetchone() is not None


def insert_stray_ack(
    conn: Connection, ack: Ack, *, concentrator: ConcentratorId, cause: str, now: datetime
) -> None:
    """Write down an ack that fits no command of that meter and concentrator."""
    values = {
        "id": ack.id, "stage": ack.stage.value, "meter": ack.meter, "concentrator": concentrator,
        "cause": cause, "now": now,
    }  # fmt: skip
    conn.execute(SQL["insert_stray_ack"], values)


def plain(value: Any, depth: int = 8) -> Any:
    """Return `value` in JSON's types: octets as hex, anything odd as text, NUL left out."""
    if depth and isinstance(value, Mapping):
        return {
            str(key)[:100].replace("\x00", ""): plain(item, depth - 1)
            for key, item in list(value.items())[:100]
        }
    if depth and isinstance(value, list | tuple):
        return [plain(item, depth - 1) for item in value[:1000]]
    if isinstance(value, bytes):
        return value[:500].hex()
    if value is None or isinstance(value, bool | int):
        return value
    return str(value)[:500].replace("\x00", "")


def _pointed(rows: Sequence[Sequence[Any]]) -> list[Pointed]:
    return [Pointed(CommandId(row[0]), UsagePointId(row[1]), *row[2:]) for row in rows]


def _command(row: Sequence[Any]) -> CommandRow:
    (id_, usage_point, meter, concentrator, verb, state, request, epoch, issued_by, issued_at,
     expires, ended_at, end_reason, evidence, token, release) = row  # fmt: skip
    return CommandRow(
        id=CommandId(id_), usage_point=UsagePointId(usage_point), meter=MeterId(meter),
        concentrator=ConcentratorId(concentrator), verb=verb, state=CommandState(state),
        request=RequestId(request) if request else None, epoch=epoch, issued_by=issued_by,
        issued_at=issued_at, expires=expires, ended_at=ended_at, end_reason=end_reason,
        evidence=evidence, token=token, keep_release=release,
    )  # fmt: skip
