"""SQL of days that were looked at, of days to look at again, and of the machine's overlay rows."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

from psycopg.types.json import Jsonb

from cloud.store.db import Connection
from cloud.store.sql import Queries
from cloud.vee.model import CheckedDay
from protocols.identity import UsagePointId

_SQL = Queries(Path(__file__).parents[1] / "sql")

PointDay = tuple[UsagePointId, date]


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineRow:
    """What the machine says of one day. *Units*: s after its start, Wh."""

    usage_point: UsagePointId
    version: int
    created_at: datetime
    offset_s: list[int]
    kind: list[int]
    wh: list[int]
    low_wh: list[int]
    high_wh: list[int]
    made: list[dict[str, Any]]
    rule_hash: str

    def says_as(self, other: "MachineRow") -> bool:
        """Tell whether the other says the same, whenever it was said."""
        return replace(self, version=0, created_at=other.created_at) == replace(other, version=0)


def frontier(conn: Connection) -> datetime:
    """Return up to where whole days were handed to validation."""
    row = conn.execute(_SQL["frontier"]).fetchone()
    assert row is not None
    until: datetime = row[0]
    return until


def share_frontier(conn: Connection) -> None:
    """Keep the frontier where it is until commit."""
    conn.execute(_SQL["share_frontier"])


def hold_frontier(conn: Connection) -> None:
    """Wait until nobody adds readings, and keep them waiting until commit."""
    conn.execute(_SQL["hold_frontier"])


def move_frontier(conn: Connection, until: datetime) -> None:
    """Move the frontier forward."""
    conn.execute(_SQL["move_frontier"], {"until": until})


def lock_validation(conn: Connection) -> None:
    """Wait until no other transaction validates; held until commit."""
    conn.execute(_SQL["lock_validation"])


def newest_start(conn: Connection) -> datetime | None:
    """Return the newest interval of any meter."""
    row = conn.execute(_SQL["newest_start"]).fetchone()
    return None if row is None else row[0]


def insert_rounds(
    conn: Connection,
    rounds: Sequence[tuple[str, date, datetime, datetime, str]],
    now: datetime,
) -> None:
    """Begin rounds: (zone, day, since, until, rule set) each."""
    columns: list[list[Any]] = [list(column) for column in zip(*rounds, strict=True)]
    names = ("zone", "day", "since", "until", "rule_set")
    conn.execute(_SQL["insert_rounds"], {**dict(zip(names, columns, strict=True)), "now": now})


def open_round(conn: Connection) -> tuple[str, date, str] | None:
    """Return zone, day and last usage point of the oldest round that is not ended."""
    row = conn.execute(_SQL["open_round"]).fetchone()
    return None if row is None else (row[0], row[1], row[2])


def move_round(
    conn: Connection, zone: str, day: date, *, after: str, points: int, ended_at: datetime | None
) -> None:
    """Note how far a round has come."""
    conn.execute(
        _SQL["move_round"],
        {"zone": zone, "day": day, "after": after, "points": points, "ended_at": ended_at},
    )


def waiting(conn: Connection) -> tuple[int, int]:
    """Return how many rounds are not ended and how many days wait to be looked at again."""
    rounds, days = (conn.execute(_SQL[n]).fetchone() for n in ("open_rounds", "dirty_count"))
    assert rounds is not None
    assert days is not None
    return int(rounds[0]), int(days[0])


def mark_dirty(
    conn: Connection,
    days: Iterable[PointDay],
    now: datetime,
    *,
    cause: str,
    reference: str = "",
    actor: str = "system:ingest",
) -> None:
    """Have days looked at again; `cause` is late, edit or again."""
    chosen = sorted(set(days))
    if chosen:
        conn.execute(
            _SQL["mark_dirty"],
            {
                "usage_point": [point for point, _ in chosen], "day": [day for _, day in chosen],
                "cause": cause, "reference": reference, "actor": actor, "now": now,
            },
        )  # fmt: skip


def dirty_days(conn: Connection, limit: int) -> list[tuple[UsagePointId, date, str, int]]:
    """Return usage point, day, cause and marks of days that wait."""
    rows = conn.execute(_SQL["dirty_days"], {"limit": limit})
    return [(UsagePointId(point), day, cause, marks) for point, day, cause, marks in rows]


def clear_dirty(conn: Connection, days: Sequence[tuple[UsagePointId, date, int]]) -> None:
    """Forget days that were looked at, but those marked once more meanwhile."""
    conn.execute(
        _SQL["clear_dirty"],
        {
            "usage_point": [point for point, _, _ in days], "day": [day for _, day, _ in days],
            "marks": [marks for _, _, marks in days],
        },
    )  # fmt: skip


def resting_days(conn: Connection, days: Sequence[PointDay]) -> list[PointDay]:
    """Return other days whose estimates rest on one of those named."""
    rows = conn.execute(
        _SQL["resting_days"],
        {"usage_point": [point for point, _ in days], "day": [day for _, day in days]},
    )
    return [(UsagePointId(point), day) for point, day in rows]


def newest_days(
    conn: Connection, usage_points: Sequence[UsagePointId], day: date, seconds: int
) -> dict[UsagePointId, CheckedDay]:
    """Return the newest version of a day of each usage point that has one."""
    rows = conn.execute(
        _SQL["newest_days"], {"usage_points": list(usage_points), "day": day, "seconds": seconds}
    )
    return {found.usage_point: found for found in map(_day, rows)}


def days_of_point(
    conn: Connection, usage_point: UsagePointId, first: date, last: date
) -> list[CheckedDay]:
    """Return every version of the days between two, oldest first."""
    rows = conn.execute(
        _SQL["days_of_point"], {"usage_point": usage_point, "first": first, "last": last}
    )
    return [_day(row) for row in rows]


def insert_days(conn: Connection, days: Sequence[CheckedDay]) -> None:
    """Write versions of days."""
    rows = [
        {**asdict(day), "findings": Jsonb(dict(day.findings)), "refused": Jsonb(list(day.refused))}
        for day in days
    ]
    with conn.cursor() as cursor:
        cursor.executemany(_SQL["insert_day"], rows)


def newest_machine_rows(
    conn: Connection, usage_points: Sequence[UsagePointId], day: date, seconds: int
) -> dict[UsagePointId, MachineRow]:
    """Return what the machine says now of a day of each usage point of which it says anything."""
    rows = conn.execute(
        _SQL["newest_machine_rows"],
        {"usage_points": list(usage_points), "day": day, "seconds": seconds},
    )
    names = tuple(MachineRow.__dataclass_fields__)
    return {UsagePointId(row[0]): MachineRow(**dict(zip(names, row, strict=True))) for row in rows}


def insert_machine_rows(
    conn: Connection,
    rows: Sequence[MachineRow],
    *,
    day: date,
    seconds: int,
    since: datetime,
    rule_set: str,
) -> None:
    """Write versions of what the machine says of one day."""
    common = {"day": day, "seconds": seconds, "since": since, "rule_set": rule_set}
    with conn.cursor() as cursor:
        cursor.executemany(
            _SQL["insert_machine_row"],
            [{**asdict(row), **common, "made": Jsonb(row.made)} for row in rows],
        )


def _day(row: Sequence[Any]) -> CheckedDay:
    names = tuple(CheckedDay.__dataclass_fields__)
    return CheckedDay(**dict(zip(names, row, strict=True)))
