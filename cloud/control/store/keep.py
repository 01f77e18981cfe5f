"""Rows of keep-power: how meters were told, and who may make trips possible again."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from cloud.control.model import KeepPower, KeepRelease
from cloud.control.store.blocks import SQL, refusals
from cloud.store.db import Connection
from protocols.identity import CommandId, UsagePointId


def set_keep_power(
    conn: Connection, usage_point: UsagePointId, *, keep_power: KeepPower, now: datetime
) -> None:
    """Note how the meter of a locked supply was told."""
    values = {"usage_point": usage_point, "keep_power": keep_power.value, "now": now}
    conn.execute(SQL["set_keep_power"], values)


def mark_keep_tried(conn: Connection, usage_point: UsagePointId, *, now: datetime) -> None:
    """Note that a protected supply's meter was told, or cannot be told, at `now`."""
    conn.execute(SQL["mark_keep_tried"], {"usage_point": usage_point, "now": now})


def keeps_owed(conn: Connection, *, tried_before: datetime) -> list[UsagePointId]:
    """Return protected supplies whose meter is not known to keep power, not tried lately."""
    rows = conn.execute(SQL["keeps_owed"], {"tried_before": tried_before}).fetchall()
    return [UsagePointId(row[0]) for row in rows]


def insert_release(
    conn: Connection,
    usage_point: UsagePointId,
    *,
    requested_by: str,
    reason: str,
    expires_at: datetime,
    now: datetime,
) -> str:
    """Insert a wish to end keep-power. Raises: RefusedError where one is open."""
    values = {
        "usage_point": usage_point, "requested_by": requested_by, "reason": reason,
        "expires_at": expires_at, "now": now,
    }  # fmt: skip
    with refusals():
        row = conn.execute(SQL["insert_release"], values).fetchone()
    assert row is not None
    return str(row[0])


def keep_release(conn: Connection, release: str) -> KeepRelease | None:
    """Return a release, or None."""
    row = conn.execute(SQL["keep_release"], {"release": release}).fetchone()
    return _release(row) if row else None


def open_release(conn: Connection, usage_point: UsagePointId) -> KeepRelease | None:
    """Return the open release of a supply, or None."""
    row = conn.execute(SQL["open_release"], {"usage_point": usage_point}).fetchone()
    return _release(row) if row else None


def approve_release(conn: Connection, release: str, *, actor: str, now: datetime) -> bool:
    """Note the second person; False when it is closed or approved. Raises: RefusedError."""
    values = {"release": release, "actor": actor, "now": now}
    with refusals():
        return conn.execute(SQL["approve_release"], values).fetchone() is not None


def close_release(conn: Connection, release: str, *, cause: str, now: datetime) -> bool:
    """End a release; False when it was closed."""
    values = {"release": release, "cause": cause, "now": now}
    return conn.execute(SQL["close_release"], values).fetchone() is not None


def releases_lapsed(conn: Connection, *, now: datetime) -> list[tuple[str, UsagePointId]]:
    """Return releases that nobody approved in time, with their supplies."""
    rows = conn.execute(SQL["releases_lapsed"], {"now": now}).fetchall()
    return [(release, UsagePointId(point)) for release, point in rows]


def newest_keep_order(conn: Connection, usage_point: UsagePointId) -> CommandId | None:
    """Return the newest order about keep-power of a supply, or None."""
    row = conn.execute(SQL["newest_keep_order"], {"usage_point": usage_point}).fetchone()
    return CommandId(row[0]) if row else None


def _release(row: Sequence[Any]) -> KeepRelease:
    id_, point, requested_by, reason, requested_at, expires_at, approved_by, closed, cause = row
    return KeepRelease(
        id=id_, usage_point=UsagePointId(point), requested_by=requested_by, reason=reason,
        requested_at=requested_at, expires_at=expires_at, approved_by=approved_by or "",
        closed_at=closed, cause=cause,
    )  # fmt: skip
