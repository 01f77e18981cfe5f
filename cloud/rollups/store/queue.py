"""SQL of what waits to be rolled up."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from cloud.rollups.model import Cause, Mark, Touched
from cloud.store.db import Connection
from cloud.store.sql import Queries
from protocols.identity import UsagePointId

SQL = Queries(Path(__file__).parent.parent / "sql")
"""Named blocks of roll-ups, for their stores alone."""

Key = tuple[UsagePointId, date]
"""A usage point and a civil day of its zone."""


_LOT = 2000
"""So many points wait as one row at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lot:
    """Points that wait together, for a day that ended or for a cycle that was closed."""

    day: date | None
    cycle: int | None
    noted_at: datetime
    usage_points: list[UsagePointId]


def lock_list(conn: Connection) -> bool:
    """Take the lock of who writes the list until commit, unless somebody has it."""
    return _taken(conn, "lock_list", {})


def lock_part(conn: Connection, part: int) -> bool:
    """Take the lock of one part of the network until commit, unless somebody has it."""
    return _taken(conn, "lock_part", {"part": part})


def parts_due(conn: Connection, now: datetime) -> list[int]:
    """Return the parts of which anything is due, those that wait longest first."""
    return [row[0] for row in conn.execute(SQL["parts_due"], {"now": now})]


def insert_lots(
    conn: Connection,
    usage_points: Sequence[UsagePointId],
    *,
    due_at: datetime,
    now: datetime,
    day: date | None = None,
    cycle: int | None = None,
) -> None:
    """Put points on the list for a day or for a cycle."""
    if usage_points:
        conn.execute(
            SQL["insert_lots"],
            {"usage_points": list(usage_points), "due_at": due_at, "noted_at": now, "day": day,
             "cycle": cycle, "size": _LOT},
        )  # fmt: skip


def take_lots(conn: Connection, part: int, now: datetime, limit: int) -> list[Lot]:
    """Take the oldest due lots of a part, of so many points or a lot more."""
    rows = conn.execute(SQL["take_lots"], {"part": part, "now": now, "limit": -(-limit // _LOT)})
    return [
        Lot(day=day, cycle=cycle, noted_at=noted_at, usage_points=points)
        for day, cycle, noted_at, points in rows
    ]


def _taken(conn: Connection, block: str, asked: dict[str, Any]) -> bool:
    row = conn.execute(SQL[block], asked).fetchone()
    assert row is not None
    return bool(row[0])


def insert_touched(conn: Connection, told: Mark, touched: Touched) -> None:
    """Note days of one cause, told by one actor at one instant; nothing where there are none."""
    if not touched.usage_points:
        return
    conn.execute(
        SQL["insert_touched"],
        {
            "cause": told.cause.value, "reference": told.reference, "actor": told.actor,
            "at": told.noted_at, "usage_points": touched.usage_points, "days": touched.days,
            "readings": touched.readings, "first_ms": touched.first_ms,
            "last_ms": touched.last_ms,
        },
    )  # fmt: skip


def take_touched(conn: Connection, limit: int) -> list[tuple[Key, Mark]]:
    """Take what the oldest `limit` transactions noted, in the order in which they noted it."""
    return [
        (
            (UsagePointId(row[4]), row[5]),
            Mark(
                cause=Cause(row[0]), reference=row[1], actor=row[2], noted_at=row[3],
                readings=row[6], first_ms=row[7], last_ms=row[8],
            ),
        )
        for row in conn.execute(SQL["take_touched"], {"limit": limit})
    ]  # fmt: skip


def upsert_dirty(conn: Connection, marks: Sequence[tuple[Key, datetime, Mark]]) -> None:
    """Put days on the list, each from when it is due; each key once."""
    if not marks:
        return
    columns: dict[str, list[Any]] = {
        name: []
        for name in ("usage_point", "day", "due_at", "cause", "reference", "actor", "noted_at",
                     "readings", "first_ms", "last_ms")
    }  # fmt: skip
    for (point, day), due_at, mark in marks:
        row = (point, day, due_at, mark.cause.value, mark.reference, mark.actor, mark.noted_at,
               mark.readings, mark.first_ms, mark.last_ms)  # fmt: skip
        for name, value in zip(columns, row, strict=True):
            columns[name].append(value)
    conn.execute(SQL["upsert_dirty"], columns)


def take_dirty(conn: Connection, part: int, now: datetime, limit: int) -> dict[Key, Mark]:
    """Take every due day of the points of a part that have waited longest: of `limit` days."""
    return {
        (UsagePointId(row[0]), row[1]): Mark(
            cause=Cause(row[2]), reference=row[3], actor=row[4], noted_at=row[5],
            readings=row[6], first_ms=row[7], last_ms=row[8],
        )
        for row in conn.execute(SQL["take_dirty"], {"part": part, "now": now, "limit": limit})
    }  # fmt: skip


def waiting(conn: Connection, now: datetime) -> tuple[int, int, int]:
    """Return transactions not looked at, days on the list, and those of them that are due."""
    row = conn.execute(SQL["waiting"], {"now": now}).fetchone()
    assert row is not None
    return row[0], row[1], row[2]


def waiting_before(conn: Connection, until: date) -> list[tuple[str, int, date, str]]:
    """Return (kind, how many, first day, one of them) of what waits and begins before a day."""
    return conn.execute(SQL["waiting_before"], {"until": until}).fetchall()


def horizons(conn: Connection) -> dict[str, date]:
    """Return the next day of every zone that is known."""
    return dict(conn.execute(SQL["horizons"]).fetchall())


def upsert_horizon(conn: Connection, zone: str, next_day: date) -> None:
    """Say that the days of a zone before `next_day` are all on the list or done."""
    conn.execute(SQL["upsert_horizon"], {"zone": zone, "next_day": next_day})


def cycles_seen(conn: Connection, cycles: Sequence[int]) -> set[int]:
    """Return those of the cycles whose points have their roll-ups."""
    return {row[0] for row in conn.execute(SQL["cycles_seen"], {"cycles": list(cycles)})}


def insert_cycle_seen(conn: Connection, cycle: int, now: datetime) -> None:
    """Say that the points of a cycle have their roll-ups."""
    conn.execute(SQL["insert_cycle_seen"], {"cycle": cycle, "at": now})
