"""Rows of requests, approvals and outcomes."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from cloud.control.model import (
    CutRow,
    DisconnectRequest,
    Outcome,
    Recheck,
    Refusal,
    RelayPosition,
    RequestId,
    RequestState,
)
from cloud.control.store.blocks import SQL, refusals
from cloud.store.db import Connection
from protocols.identity import CommandId, UsagePointId

_WIDTH = 15


def insert_request(
    conn: Connection,
    *,
    usage_point: UsagePointId,
    state: RequestState,
    cause: str,
    requested_by: str,
    reason: str,
    figures: Mapping[str, Any],
    epoch: int,
    expires_at: datetime,
    now: datetime,
) -> RequestId:
    """Insert a request, open or refused at once, and return its id."""
    values = {
        "usage_point": usage_point, "state": state.value, "cause": cause,
        "requested_by": requested_by, "reason": reason, "figures": Jsonb(dict(figures)),
        "epoch": epoch, "expires_at": expires_at, "now": now,
        "final_at": now if state is RequestState.REFUSED else None,
    }  # fmt: skip
    with refusals():
        row = conn.execute(SQL["insert_request"], values).fetchone()
    assert row is not None
    return RequestId(row[0])


def request(conn: Connection, id_: RequestId, *, lock: bool = False) -> DisconnectRequest | None:
    """Return a request with its approvers, or None; take its lock first if asked so."""
    if lock:
        conn.execute(SQL["lock_request"], {"request": id_})
    row = conn.execute(SQL["request"], {"request": id_}).fetchone()
    return _request(row) if row else None


def open_request(conn: Connection, usage_point: UsagePointId) -> DisconnectRequest | None:
    """Return the open request of a supply, or None."""
    row = conn.execute(SQL["open_request"], {"usage_point": usage_point}).fetchone()
    return request(conn, RequestId(row[0])) if row else None


def requests_of(conn: Connection, usage_point: UsagePointId) -> list[DisconnectRequest]:
    """Return the requests of one supply, newest first."""
    rows = conn.execute(SQL["requests_of"], {"usage_point": usage_point}).fetchall()
    return [_request(row) for row in rows]


def same_refusal(
    conn: Connection,
    usage_point: UsagePointId,
    *,
    cause: Refusal,
    epoch: int,
    requested_by: str,
) -> RequestId | None:
    """Return the newest request when it was refused for the same cause already."""
    values = {
        "usage_point": usage_point, "cause": cause.value, "epoch": epoch,
        "requested_by": requested_by,
    }  # fmt: skip
    row = conn.execute(SQL["same_refusal"], values).fetchone()
    return RequestId(row[0]) if row else None


def requests_in(conn: Connection, state: RequestState) -> list[tuple[RequestId, UsagePointId]]:
    """Return requests in one state with the supply to lock, oldest first."""
    rows = conn.execute(SQL["requests_in"], {"state": state.value}).fetchall()
    return [(RequestId(id_), UsagePointId(point)) for id_, point in rows]


def requests_lapsed(conn: Connection, *, now: datetime) -> list[tuple[RequestId, UsagePointId]]:
    """Return requests past their validity that were never ordered."""
    rows = conn.execute(SQL["requests_lapsed"], {"now": now}).fetchall()
    return [(RequestId(id_), UsagePointId(point)) for id_, point in rows]


def rechecks(conn: Connection) -> list[Recheck]:
    """Return what two people approved and billing has not confirmed."""
    return [
        Recheck(
            request=RequestId(id_), usage_point=UsagePointId(point), epoch=epoch,
            requested_by=requested_by, reason=reason, figures=figures,
        )
        for id_, point, epoch, requested_by, reason, figures in conn.execute(SQL["rechecks"])
    ]  # fmt: skip


def insert_approval(
    conn: Connection, id_: RequestId, *, position: int, actor: str, now: datetime
) -> None:
    """Insert an approval. Raises: RefusedError SAME_PERSON or NOT_A_PERSON by the database."""
    values = {"request": id_, "position": position, "actor": actor, "now": now}
    with refusals():
        conn.execute(SQL["insert_approval"], values)


def move(
    conn: Connection,
    id_: RequestId,
    *,
    before: RequestState,
    state: RequestState,
    cause: str,
    now: datetime,
) -> None:
    """Write a move of the request's state; the caller holds the supply's lock."""
    values = {
        "request": id_, "before": before.value, "state": state.value, "cause": cause, "now": now,
    }  # fmt: skip
    moved = conn.execute(SQL["move_request"], values).fetchone()
    assert moved is not None, f"request {id_} left {before} without the supply's lock"


def set_rechecked(
    conn: Connection,
    id_: RequestId,
    *,
    figures: Mapping[str, Any],
    until: datetime | None,
    now: datetime,
) -> None:
    """Note the fee that billing computed anew, and until when it said so."""
    values = {"request": id_, "figures": Jsonb(dict(figures)), "until": until, "now": now}
    conn.execute(SQL["set_rechecked"], values)


def set_waits_for(conn: Connection, id_: RequestId, *, cause: Refusal) -> bool:
    """Note what the gate waits for; False when it waited for that before."""
    values = {"request": id_, "cause": cause.value}
    return conn.execute(SQL["set_waits_for"], values).fetchone() is not None


def add_tries(conn: Connection, id_: RequestId, *, tries: int) -> int:
    """Count tries of a cut and return all of them."""
    row = conn.execute(SQL["add_tries"], {"request": id_, "tries": tries}).fetchone()
    assert row is not None
    return int(row[0])


def cut_board(conn: Connection, *, limit: int) -> list[CutRow]:
    """Return the lines of the cut board, open ones first."""
    return [
        CutRow(
            request=_request(row[:_WIDTH]), relay_state=RelayPosition(row[_WIDTH]),
            protected=row[_WIDTH + 1], protection_reason=row[_WIDTH + 2],
            halted=row[_WIDTH + 3],
            command=CommandId(row[_WIDTH + 4]) if row[_WIDTH + 4] else None,
            command_state=row[_WIDTH + 5],
        )
        for row in conn.execute(SQL["cut_board"], {"limit": limit})
    ]  # fmt: skip


def insert_outcome(
    conn: Connection,
    *,
    usage_point: UsagePointId,
    request_id: RequestId | None,
    command: CommandId | None,
    verb: str,
    result: str,
    cause: str,
    now: datetime,
) -> None:
    """Write down an end."""
    values = {
        "usage_point": usage_point, "request": request_id, "command": command, "verb": verb,
        "result": result, "cause": cause, "now": now,
    }  # fmt: skip
    conn.execute(SQL["insert_outcome"], values)


def outcomes_after(conn: Connection, seq: int, *, limit: int) -> list[Outcome]:
    """Return ends after `seq`, oldest first, none of them skipped by a slower transaction."""
    rows = conn.execute(SQL["outcomes_after"], {"seq": seq, "limit": limit})
    return [
        Outcome(
            seq=found, usage_point=UsagePointId(point),
            request=RequestId(request_id) if request_id else None,
            command=CommandId(command) if command else None,
            verb=verb, result=result, cause=cause, at=at, request_state=request_state,
        )
        for found, point, request_id, command, verb, result, cause, at, request_state in rows
    ]  # fmt: skip


def _request(row: Sequence[Any]) -> DisconnectRequest:
    (id_, usage_point, state, requested_by, reason, epoch, created_at, expires_at, rechecked_at,
     recheck_until, cause, waits_for, tries, figures, approved_by) = row  # fmt: skip
    return DisconnectRequest(
        id=RequestId(id_), usage_point=UsagePointId(usage_point), state=RequestState(state),
        requested_by=requested_by, reason=reason, epoch=epoch, created_at=created_at,
        expires_at=expires_at, rechecked_at=rechecked_at, recheck_until=recheck_until,
        cause=cause, waits_for=waits_for, tries=tries, figures=figures,
        approved_by=tuple(approved_by),
    )  # fmt: skip
