"""Rows of rollouts."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from cloud.store.db import Connection
from cloud.upkeep.model import Kind, Rollout, RolloutId, RolloutState, Stages, Wish
from cloud.upkeep.store.blocks import SQL, refusals


def insert_rollout(conn: Connection, wish: Wish, *, now: datetime) -> RolloutId:
    """Insert what is asked for. Raises: RefusedError."""
    values = {
        "kind": wish.kind.value, "requested_by": wish.requested_by, "reason": wish.reason,
        "now": now, "first": wish.stages.first, "success_permille": wish.stages.success_permille,
        "most_open": wish.stages.most_open, "until": wish.until,
        "settings": Jsonb(dict(wish.settings)) if wish.settings is not None else None,
        "image": wish.image, "activate": wish.activate, "activate_at": wish.activate_at,
    }  # fmt: skip
    with refusals():
        row = conn.execute(SQL["insert_rollout"], values).fetchone()
    assert row is not None
    return RolloutId(row[0])


def rollout(conn: Connection, id_: RolloutId) -> Rollout | None:
    """Return a rollout, locked, or None."""
    row = conn.execute(SQL["rollout"], {"rollout": id_}).fetchone()
    return _rollout(row) if row else None


def rollouts(conn: Connection, *, most: int) -> list[Rollout]:
    """Return the newest rollouts."""
    return [_rollout(row) for row in conn.execute(SQL["rollouts"], {"most": most}).fetchall()]


def open_rollouts(conn: Connection) -> list[RolloutId]:
    """Return the rollouts that have not ended."""
    return [RolloutId(row[0]) for row in conn.execute(SQL["open_rollouts"]).fetchall()]


def set_state(
    conn: Connection,
    id_: RolloutId,
    *,
    before: RolloutState,
    state: RolloutState,
    cause: str,
    ended_at: datetime | None,
) -> None:
    """Write a step of a locked rollout. Raises: RefusedError."""
    values = {
        "rollout": id_, "before": before.value, "state": state.value, "cause": cause,
        "ended_at": ended_at,
    }  # fmt: skip
    with refusals():
        row = conn.execute(SQL["set_rollout_state"], values).fetchone()
    assert row is not None, f"{id_} is not {before}"


def set_approved(conn: Connection, id_: RolloutId, *, actor: str, now: datetime) -> None:
    """Write who approved a locked rollout. Raises: RefusedError."""
    with refusals():
        values = {"rollout": id_, "actor": actor, "now": now}
        row = conn.execute(SQL["set_approved"], values).fetchone()
    assert row is not None, f"{id_} is approved already"


def _rollout(row: Sequence[Any]) -> Rollout:
    (id_, kind, state, cause, requested_by, reason, requested_at, approved_by, until, first,
     success_permille, most_open, settings, image, activate, activate_at,
     ended_at) = row  # fmt: skip
    return Rollout(
        id=RolloutId(id_), kind=Kind(kind), state=RolloutState(state), cause=cause,
        requested_by=requested_by, reason=reason, requested_at=requested_at,
        approved_by=approved_by, until=until,
        stages=Stages(first=first, success_permille=success_permille, most_open=most_open),
        settings=settings, image=bytes(image) if image is not None else None, activate=activate,
        activate_at=activate_at, ended_at=ended_at,
    )  # fmt: skip
