"""SQL of the exception queue: list, assign, settle, count."""

from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path

from cloud.store.db import Connection
from cloud.store.sql import Queries
from cloud.vee.model import ExceptionKind, QueueCount, VeeException
from cloud.vee.store.exceptions import exception_of
from protocols.identity import UsagePointId

_SQL = Queries(Path(__file__).parents[1] / "sql")


def queue(
    conn: Connection,
    *,
    open_: bool,
    kind: ExceptionKind | None,
    severity: str | None,
    usage_points: Sequence[UsagePointId] | None,
    assigned_to: str | None,
    opened_before: datetime | None,
    limit: int,
) -> list[VeeException]:
    """Return exceptions, gravest first, then oldest; None means any."""
    rows = conn.execute(
        _SQL["queue"],
        {
            "open": open_, "kind": kind.value if kind else None, "severity": severity,
            "usage_points": None if usage_points is None else list(usage_points),
            "assigned_to": assigned_to, "opened_before": opened_before, "limit": limit,
        },
    )  # fmt: skip
    return [exception_of(row) for row in rows]


def lock_exception(conn: Connection, id_: int) -> VeeException | None:
    """Return one exception and take its row lock."""
    row = conn.execute(_SQL["lock_exception"], {"id": id_}).fetchone()
    return None if row is None else exception_of(row)


def assign(conn: Connection, id_: int, *, to: str, now: datetime) -> None:
    """Give an exception, locked by the caller, to somebody."""
    conn.execute(_SQL["assign_exception"], {"id": id_, "assigned_to": to, "now": now})


def settle(conn: Connection, id_: int, *, actor: str, reason: str, now: datetime) -> None:
    """Close an exception, locked by the caller."""
    conn.execute(
        _SQL["settle_exception"], {"id": id_, "actor": actor, "reason": reason, "now": now}
    )


def counts(conn: Connection) -> list[QueueCount]:
    """Return open exceptions by severity and kind."""
    return [
        QueueCount(severity=severity, kind=ExceptionKind(kind), open=n, oldest=oldest)
        for severity, kind, n, oldest in conn.execute(_SQL["queue_counts"])
    ]


def blocked(
    conn: Connection, usage_points: Sequence[UsagePointId], first: date, last: date
) -> set[UsagePointId]:
    """Return usage points of which a blocking finding is open between two days."""
    rows = conn.execute(
        _SQL["blocked_points"],
        {"usage_points": list(usage_points), "first": first, "last": last},
    )
    return {UsagePointId(row[0]) for row in rows}
