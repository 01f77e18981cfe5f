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


def blocking_findings(
    conn: Connection, spans: Sequence[tuple[UsagePointId, date, date]]
) -> list[tuple[int, ExceptionKind, date, int]]:
    """Return place, kind, day and what was allowed of blocking findings open in the spans."""
    rows = conn.execute(_SQL["blocking_findings"], _columns(spans))
    return [(place, ExceptionKind(kind), day, allowed) for place, kind, day, allowed in rows]


def unsound_time(
    conn: Connection, spans: Sequence[tuple[UsagePointId, date, date]]
) -> dict[int, int]:
    """Return by place how much of a span is missing, estimated or doubted. *Units*: ms."""
    rows = conn.execute(_SQL["unsound_time"], _columns(spans))
    return {int(place): int(ms) for place, ms in rows}


def lock_blocking(
    conn: Connection, usage_point: UsagePointId, first: date, last: date
) -> list[tuple[int, ExceptionKind, date]]:
    """Return number, kind and day of blocking findings open between two days, and lock them."""
    rows = conn.execute(
        _SQL["lock_blocking"], {"usage_point": usage_point, "first": first, "last": last}
    )
    return [(id_, ExceptionKind(kind), day) for id_, kind, day in rows]


def _columns(spans: Sequence[tuple[UsagePointId, date, date]]) -> dict[str, list[object]]:
    return {
        "usage_points": [point for point, _, _ in spans],
        "firsts": [first for _, first, _ in spans], "lasts": [last for _, _, last in spans],
    }  # fmt: skip
