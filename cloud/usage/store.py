"""SQL of usage."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from cloud.store.db import Connection
from cloud.store.sql import Queries
from cloud.usage.model import IntervalUsage, UsageRegister
from protocols.identity import MeterId, UsagePointId
from protocols.reading import Quality
from protocols.timeline import Interval

_SQL = Queries(Path(__file__).parent / "sql")


def register_at(conn: Connection, usage_point: UsagePointId, at: datetime) -> UsageRegister | None:
    """Return the newest register at or before `at`."""
    row = conn.execute(_SQL["register_at"], {"usage_point": usage_point, "at": at}).fetchone()
    return None if row is None else _register(row)


def first_register(conn: Connection, usage_point: UsagePointId) -> UsageRegister | None:
    """Return the oldest register."""
    row = conn.execute(_SQL["first_register"], {"usage_point": usage_point}).fetchone()
    return None if row is None else _register(row)


def registers_at_each(
    conn: Connection, usage_points: Sequence[UsagePointId], at: Sequence[datetime]
) -> list[UsageRegister | None]:
    """Return for each (usage point, instant) the newest register at or before it."""
    found: list[UsageRegister | None] = [None] * len(usage_points)
    rows = conn.execute(
        _SQL["registers_at_each"], {"usage_points": list(usage_points), "at": list(at)}
    )
    for row in rows:
        found[row[0] - 1] = _register(row[1:])
    return found


def newest_registers(
    conn: Connection, usage_points: Sequence[UsagePointId]
) -> list[tuple[UsagePointId, int, int, str, MeterId, int]]:
    """Return (usage point, at ms, cumulative Wh, quality, meter, meter Wh) of each that has one."""
    rows = conn.execute(_SQL["newest_registers"], {"usage_points": list(usage_points)})
    return [(UsagePointId(p), at, wh, q, MeterId(m), raw) for p, at, wh, q, m, raw in rows]


def oldest_registers(
    conn: Connection, usage_points: Sequence[UsagePointId]
) -> dict[UsagePointId, int]:
    """Return the first cumulative Wh of each usage point that has one."""
    rows = conn.execute(_SQL["oldest_registers"], {"usage_points": list(usage_points)})
    return {UsagePointId(point): wh for point, wh in rows}


def registers_in(
    conn: Connection, usage_point: UsagePointId, span: Interval
) -> list[UsageRegister]:
    """Return every register in `span`, oldest first."""
    rows = conn.execute(
        _SQL["registers_in"], {"usage_point": usage_point, "start": span.start, "end": span.end}
    )
    return [_register(row) for row in rows]


def intervals_in(
    conn: Connection, usage_point: UsagePointId, span: Interval
) -> list[IntervalUsage]:
    """Return every interval that starts in `span`, oldest first."""
    rows = conn.execute(
        _SQL["intervals_in"], {"usage_point": usage_point, "start": span.start, "end": span.end}
    )
    return [
        IntervalUsage(
            usage_point=UsagePointId(point), start=start, seconds=seconds, wh=wh,
            quality=Quality(quality),
        )
        for point, start, seconds, wh, quality in rows
    ]  # fmt: skip


def insert_registers(conn: Connection, columns: Mapping[str, list[Any]]) -> None:
    """Write derived registers: columns usage_point at_ms meter wh cumulative_wh quality."""
    conn.execute(_SQL["insert_registers"], dict(columns))


def delete_registers(conn: Connection, usage_point: UsagePointId) -> None:
    """Forget the derived registers of a usage point."""
    conn.execute(_SQL["delete_registers"], {"usage_point": usage_point})


def insert_intervals(conn: Connection, columns: Mapping[str, list[Any]]) -> None:
    """Write derived intervals: columns usage_point start_ms seconds wh quality."""
    conn.execute(_SQL["insert_intervals"], dict(columns))


def _register(row: Sequence[Any]) -> UsageRegister:
    usage_point, at, cumulative_wh, quality, meter, meter_wh = row
    return UsageRegister(
        usage_point=UsagePointId(usage_point), at=at, cumulative_wh=cumulative_wh,
        quality=Quality(quality), meter=MeterId(meter), meter_wh=meter_wh,
    )  # fmt: skip
