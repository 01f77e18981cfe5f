"""SQL of the versions of days and of periods."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from cloud.rollups.model import (
    Bound,
    DayFigures,
    DayRollup,
    PeriodFigures,
    PeriodKind,
    PeriodRollup,
)
from cloud.rollups.store.queue import SQL
from cloud.store.db import Connection
from protocols.identity import UsagePointId

PeriodKey = tuple[UsagePointId, PeriodKind, str]
"""A usage point, a kind of period and its name."""

_PERIOD = ("usage_point", "kind", "name", "version", "first_day", "until_day", "days_told", "slots",
           "missing", "slot_qualities", "register_qualities", "bases", "interval_wh", "from_at",
           "from_wh", "to_at", "to_wh", "wh")  # fmt: skip


def days_in(
    conn: Connection,
    points: Sequence[UsagePointId],
    first: date,
    until: date,
    as_of: datetime | None = None,
) -> list[DayRollup]:
    """Return the versions that held at `as_of` of days in `[first, until)`, by point and day."""
    rows = conn.execute(
        SQL["days_in"],
        {"usage_points": list(points), "first": first, "until": until, "as_of": as_of},
    )
    return [day_of(row) for row in rows]


def days_named(
    conn: Connection, keys: Sequence[tuple[UsagePointId, date, int]]
) -> dict[tuple[UsagePointId, date], list[DayRollup]]:
    """Return the versions named, by usage point and day."""
    rows = conn.execute(
        SQL["day_versions"],
        {"usage_points": [key[0] for key in keys], "days": [key[1] for key in keys],
         "versions": [key[2] for key in keys]},
    )  # fmt: skip
    found: dict[tuple[UsagePointId, date], list[DayRollup]] = {}
    for each in map(day_of, rows):
        found.setdefault((each.usage_point, each.day), []).append(each)
    return found


def versions_of_day(conn: Connection, point: UsagePointId, day: date) -> list[DayRollup]:
    """Return every version of one day, oldest first."""
    rows = conn.execute(SQL["versions_of_day"], {"usage_point": point, "day": day})
    return [day_of(row) for row in rows]


def periods_at(
    conn: Connection, keys: Sequence[PeriodKey], as_of: datetime | None = None
) -> dict[PeriodKey, PeriodRollup]:
    """Return the version that held at `as_of` (None: the newest) of each period that has one."""
    rows = conn.execute(
        SQL["periods_at"],
        {"usage_points": [key[0] for key in keys], "kinds": [key[1].value for key in keys],
         "names": [key[2] for key in keys], "as_of": as_of},
    )  # fmt: skip
    found = [_period(row) for row in rows]
    return {(each.usage_point, each.kind, each.name): each for each in found}


def periods_of(
    conn: Connection,
    point: UsagePointId,
    kind: PeriodKind,
    span: tuple[date, date],
    as_of: datetime | None = None,
) -> list[PeriodRollup]:
    """Return the versions that held at `as_of` of periods that touch the days `[span)`."""
    rows = conn.execute(
        SQL["periods_of"],
        {
            "usage_point": point,
            "kind": kind.value,
            "first": span[0],
            "until": span[1],
            "as_of": as_of,
        },
    )
    return [_period(row) for row in rows]


def insert_periods(conn: Connection, periods: Sequence[PeriodRollup], now: datetime) -> None:
    """Write versions, known from `now`."""
    columns: dict[str, list[Any]] = {name: [] for name in _PERIOD}
    for each in periods:
        one = each.figures
        row = (each.usage_point, each.kind.value, each.name, each.version, one.first_day,
               one.until_day, one.days_told, one.slots, one.missing, one.slot_qualities,
               one.register_qualities, one.bases, one.interval_wh, *_split(one.opening)[:2],
               *_split(one.closing)[:2], one.wh)  # fmt: skip
        for name, value in zip(_PERIOD, row, strict=True):
            columns[name].append(value)
    conn.execute(SQL["insert_periods"], {**columns, "known_at": now})


def day_of(row: Sequence[Any]) -> DayRollup:
    """Return what a row of columns `usage_point day zone version known_at ..` says."""
    (point, day, zone, version, known_at, slots, missing, interval_wh, qualities, from_at, from_wh,
     from_quality, to_at, to_wh, to_quality) = row  # fmt: skip
    return DayRollup(
        usage_point=UsagePointId(point), day=day, zone=zone, version=version, known_at=known_at,
        figures=DayFigures(
            slots=slots, missing=missing, interval_wh=interval_wh, slot_qualities=qualities,
            opening=_bound(from_at, from_wh, from_quality),
            closing=_bound(to_at, to_wh, to_quality),
        ),
    )  # fmt: skip


def _period(row: Sequence[Any]) -> PeriodRollup:
    (point, kind, name, version, known_at, first, until, told, slots, missing, qualities, registers,
     bases, interval_wh, from_at, from_wh, to_at, to_wh, wh) = row  # fmt: skip
    return PeriodRollup(
        usage_point=UsagePointId(point), kind=PeriodKind(kind), name=name, version=version,
        known_at=known_at,
        figures=PeriodFigures(
            first_day=first, until_day=until, days_told=told, slots=slots, missing=missing,
            slot_qualities=qualities, register_qualities=registers, bases=bases,
            interval_wh=interval_wh, opening=_bound(from_at, from_wh, 0),
            closing=_bound(to_at, to_wh, 0), wh=wh,
        ),
    )  # fmt: skip


def _split(bound: Bound | None) -> tuple[datetime | None, int | None, int]:
    return (None, None, 0) if bound is None else (bound.at, bound.wh, bound.qualities)


def _bound(at: datetime | None, wh: int | None, qualities: int) -> Bound | None:
    return None if at is None or wh is None else Bound(at=at, wh=wh, qualities=qualities)
