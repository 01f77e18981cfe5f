"""Rows of errands and of what the edge said of them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from psycopg.types.json import Jsonb

from cloud.store.db import Connection
from cloud.upkeep.model import Errand, ErrandState, Kind, RolloutId, Target
from cloud.upkeep.store.blocks import SQL, plain, refusals
from protocols.identity import CommandId, ConcentratorId, MeterId
from protocols.mqtt.uplink import Ack


class Sendable(NamedTuple):
    """A signed errand that the edge has not confirmed."""

    id: CommandId
    rollout: RolloutId
    kind: Kind
    concentrator: ConcentratorId
    state: ErrandState
    expires: datetime
    body: bytes
    signature: bytes


class Pointed(NamedTuple):
    """An errand with the rollout to lock before it is touched, and why."""

    errand: CommandId
    rollout: RolloutId
    cause: str


def insert_errands(
    conn: Connection, rollout: RolloutId, kind: Kind, targets: Sequence[Target]
) -> None:
    """Insert an errand for each target. Raises: RefusedError where one has such an errand open."""
    values = {
        "rollout": rollout, "kind": kind.value,
        "concentrators": [target.concentrator for target in targets],
        "meters": [target.meter for target in targets],
        "sealed": [target.sealed for target in targets],
        "sources": [target.source for target in targets],
    }  # fmt: skip
    with refusals():
        conn.execute(SQL["insert_errands"], values)


def errands_of(conn: Connection, rollout: RolloutId) -> list[Errand]:
    """Return the errands of a rollout in their order."""
    rows = conn.execute(SQL["errands_of"], {"rollout": rollout}).fetchall()
    return [_errand(row) for row in rows]


def errand(conn: Connection, id_: CommandId) -> Errand | None:
    """Return an errand, or None."""
    row = conn.execute(SQL["errand"], {"errand": id_}).fetchone()
    return _errand(row) if row else None


def brought(conn: Connection, meters: Sequence[MeterId], image: bytes) -> dict[MeterId, CommandId]:
    """Return for each meter the newest errand that brought an image in, to be activated later."""
    rows = conn.execute(SQL["brought"], {"meters": list(meters), "image": image}).fetchall()
    return {MeterId(meter): CommandId(id_) for meter, id_ in rows}


def next_revision(conn: Connection, concentrator: ConcentratorId) -> int:
    """Return a revision above every other of that concentrator."""
    row = conn.execute(SQL["next_revision"], {"concentrator": concentrator}).fetchone()
    assert row is not None
    return int(row[0])


def set_issued(
    conn: Connection,
    id_: CommandId,
    *,
    revision: int | None,
    body: bytes,
    not_before: datetime,
    expires: datetime,
    now: datetime,
) -> bool:
    """Write the octets that the signer will see; False when it no longer waits."""
    values = {
        "errand": id_, "revision": revision, "body": body, "not_before": not_before,
        "expires": expires, "now": now,
    }  # fmt: skip
    with refusals():
        return conn.execute(SQL["set_issued"], values).fetchone() is not None


def sendable(conn: Connection) -> list[Sendable]:
    """Return signed errands that the edge has not confirmed."""
    return [
        Sendable(
            CommandId(id_), RolloutId(rollout), Kind(kind), ConcentratorId(where),
            ErrandState(state), expires, bytes(body), bytes(signature),
        )
        for id_, rollout, kind, where, state, expires, body, signature
        in conn.execute(SQL["sendable_errands"])
    ]  # fmt: skip


def set_dispatched(conn: Connection, id_: CommandId, *, now: datetime) -> bool:
    """Note the first dispatch; False when it must not leave any more."""
    return conn.execute(SQL["set_dispatched"], {"errand": id_, "now": now}).fetchone() is not None


def set_state(conn: Connection, id_: CommandId, *, before: ErrandState, state: ErrandState) -> None:
    """Write a step of an open errand."""
    values = {"errand": id_, "before": before.value, "state": state.value}
    conn.execute(SQL["set_errand_state"], values)


def set_progress(conn: Connection, id_: CommandId, progress: Mapping[str, Any]) -> None:
    """Write how far the edge says it has come."""
    conn.execute(SQL["set_progress"], {"errand": id_, "progress": Jsonb(plain(progress))})


def end(
    conn: Connection,
    id_: CommandId,
    *,
    state: ErrandState,
    reason: str,
    evidence: Mapping[str, Any],
    now: datetime,
) -> bool:
    """End an open errand; False when it had ended."""
    values = {
        "errand": id_, "state": state.value, "reason": reason.replace("\x00", "")[:500],
        "evidence": Jsonb(plain(evidence)), "now": now,
    }  # fmt: skip
    return conn.execute(SQL["end_errand"], values).fetchone() is not None


def not_signed(conn: Connection) -> list[Pointed]:
    """Return open errands that the signer would not sign."""
    return _pointed(conn.execute(SQL["not_signed"]).fetchall())


def overdue(conn: Connection, *, before: datetime, begun_before: datetime) -> list[Pointed]:
    """Return open errands that ended their validity before an instant; another one if begun."""
    values = {"before": before, "begun_before": begun_before}
    return _pointed(conn.execute(SQL["overdue"], values).fetchall())


def insert_ack(conn: Connection, ack: Ack, *, concentrator: ConcentratorId, now: datetime) -> bool:
    """Write down an ack; False when it came before."""
    values = {
        "id": ack.id, "stage": ack.stage.value, "meter": ack.meter, "concentrator": concentrator,
        "at": ack.at, "reason": ack.reason.replace("\x00", ""),
        "evidence": Jsonb(plain(ack.evidence)), "now": now,
    }  # fmt: skip
    return conn.execute(SQL["insert_ack"], values).fetchone() is not None


def insert_stray_ack(
    conn: Connection, ack: Ack, *, concentrator: ConcentratorId, cause: str, now: datetime
) -> None:
    """Write down an ack that fits no errand of that target and concentrator."""
    values = {
        "id": ack.id, "stage": ack.stage.value, "meter": ack.meter, "concentrator": concentrator,
        "cause": cause, "now": now,
    }  # fmt: skip
    conn.execute(SQL["insert_stray_ack"], values)


def _pointed(rows: Sequence[Sequence[Any]]) -> list[Pointed]:
    return [Pointed(CommandId(row[0]), RolloutId(row[1]), str(row[2])) for row in rows]


def _errand(row: Sequence[Any]) -> Errand:
    (id_, rollout, position, kind, concentrator, meter, sealed, source, revision, state, expires,
     progress, ended_at, end_reason, evidence) = row  # fmt: skip
    return Errand(
        id=CommandId(id_), rollout=RolloutId(rollout), position=position, kind=Kind(kind),
        concentrator=ConcentratorId(concentrator), meter=MeterId(meter),
        sealed=bytes(sealed) if sealed is not None else None,
        source=CommandId(source) if source else None, revision=revision,
        state=ErrandState(state), expires=expires, progress=progress, ended_at=ended_at,
        end_reason=end_reason, evidence=evidence,
    )  # fmt: skip
