"""SQL of why versions came, and of what in billing had used a day."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from cloud.rollups.model import (
    Cause,
    DayRollup,
    Dependent,
    DependentKind,
    KeptDay,
    Mark,
    PeriodChange,
    PeriodKind,
    Recompute,
)
from cloud.rollups.store.queue import SQL, Key
from cloud.rollups.store.versions import day_of
from cloud.store.db import Connection
from protocols.identity import UsagePointId

New = tuple[Mark, DayRollup | None, DayRollup, Sequence[PeriodChange]]
"""Why, the version before, the version after, and the periods that changed with it."""


def insert_recomputes(conn: Connection, found: Sequence[New], now: datetime) -> None:
    """Write down why versions came."""
    columns: dict[str, list[Any]] = {
        name: []
        for name in ("usage_point", "day", "cause", "reference", "actor", "noted_at", "readings",
                     "first_ms", "last_ms", "carried_from", "before_version", "after_version",
                     "periods")
    }  # fmt: skip
    for mark, before, after, periods in found:
        row = (after.usage_point, after.day, mark.cause.value, mark.reference, mark.actor,
               mark.noted_at, mark.readings, mark.first_ms, mark.last_ms, mark.carried_from,
               before.version if before else None, after.version,
               json.dumps([_plain(each) for each in periods]))  # fmt: skip
        for name, value in zip(columns, row, strict=True):
            columns[name].append(value)
    conn.execute(SQL["insert_recomputes"], {**columns, "at": now})


def recomputes_of(
    conn: Connection, point: UsagePointId, day: date | None, limit: int
) -> list[Recompute]:
    """Return recomputes of a point, newest first, with their versions and dependents."""
    rows = conn.execute(
        SQL["recomputes_of"], {"usage_point": point, "day": day, "limit": limit}
    ).fetchall()
    return _recomputes(conn, rows)


def insert_kept(
    conn: Connection,
    found: Sequence[tuple[Key, int, Mark]],
    kept_from: date,
    now: datetime,
) -> None:
    """Write down which days keep their version (0: have none), and what asked for them."""
    if not found:
        return
    columns: dict[str, list[Any]] = {
        name: []
        for name in ("usage_point", "day", "version", "cause", "reference", "actor", "noted_at")
    }
    for (point, day), version, mark in found:
        row = (point, day, version, mark.cause.value, mark.reference, mark.actor, mark.noted_at)
        for name, value in zip(columns, row, strict=True):
            columns[name].append(value)
    conn.execute(SQL["insert_kept"], {**columns, "kept_from": kept_from, "at": now})


def kept_of(conn: Connection, point: UsagePointId, day: date | None, limit: int) -> list[KeptDay]:
    """Return the days of a point that keep their version, what was asked last first."""
    rows = conn.execute(SQL["kept_of"], {"usage_point": point, "day": day, "limit": limit})
    return [
        KeptDay(
            usage_point=point, day=row[0], version=row[1],
            mark=Mark(cause=Cause(row[2]), reference=row[3], actor=row[4], noted_at=row[5]),
            kept_from=row[6], at=row[7],
        )
        for row in rows
    ]  # fmt: skip


def unlooked(conn: Connection, limit: int) -> list[Recompute]:
    """Return the oldest recomputes that billing was not asked about."""
    return _recomputes(conn, conn.execute(SQL["recomputes_unlooked"], {"limit": limit}).fetchall())


def insert_dependents(
    conn: Connection, found: Mapping[int, Sequence[Dependent]], now: datetime
) -> None:
    """Write down what billing told of recomputes; one that was asked about before is left alone."""
    fresh = {
        row[0]
        for row in conn.execute(
            SQL["insert_looked"],
            {"recompute": list(found), "found": [len(each) for each in found.values()], "at": now},
        )
    }
    columns: dict[str, list[Any]] = {
        name: []
        for name in ("recompute", "n", "kind", "reference", "account", "state", "wh_before",
                     "wh_after", "currency", "micros_before", "micros_after")
    }  # fmt: skip
    for id_ in sorted(fresh):
        for n, each in enumerate(found[id_]):
            row = (id_, n, each.kind.value, each.reference, each.account, each.state,
                   each.wh_before, each.wh_after, each.currency, each.micros_before,
                   each.micros_after)  # fmt: skip
            for name, value in zip(columns, row, strict=True):
                columns[name].append(value)
    if columns["n"]:
        conn.execute(SQL["insert_dependents"], columns)


def _recomputes(conn: Connection, rows: Sequence[Sequence[Any]]) -> list[Recompute]:
    wanted = [
        (row[1], row[2], version) for row in rows for version in (row[11], row[12]) if version
    ]
    days = {
        (row[0], row[1], row[3]): day_of(row)
        for row in conn.execute(
            SQL["day_versions"],
            {"usage_points": [key[0] for key in wanted], "days": [key[1] for key in wanted],
             "versions": [key[2] for key in wanted]},
        )
    }  # fmt: skip
    dependents = defaultdict[int, list[Dependent]](list)
    for row in conn.execute(SQL["dependents_of"], {"recomputes": [row[0] for row in rows]}):
        dependents[row[0]].append(_dependent(row[1:]))
    return [
        Recompute(
            id=row[0],
            mark=Mark(
                cause=Cause(row[3]), reference=row[4], actor=row[5], noted_at=row[6],
                readings=row[7], first_ms=row[8], last_ms=row[9], carried_from=row[10],
            ),
            before=days.get((row[1], row[2], row[11])),
            after=days[row[1], row[2], row[12]],
            periods=tuple(_change(each) for each in row[13]),
            dependents=tuple(dependents[row[0]]),
            looked=row[14],
        )
        for row in rows
    ]  # fmt: skip


def _plain(change: PeriodChange) -> dict[str, Any]:
    return {
        "kind": change.kind.value, "name": change.name, "version": change.version,
        "wh_before": change.wh_before, "wh_after": change.wh_after,
    }  # fmt: skip


def _change(plain: Mapping[str, Any]) -> PeriodChange:
    return PeriodChange(
        kind=PeriodKind(plain["kind"]), name=plain["name"], version=plain["version"],
        wh_before=plain["wh_before"], wh_after=plain["wh_after"],
    )  # fmt: skip


def _dependent(row: Sequence[Any]) -> Dependent:
    kind, reference, account, state, wh_before, wh_after, currency, before, after = row
    return Dependent(
        kind=DependentKind(kind), reference=reference, account=account, state=state,
        wh_before=wh_before, wh_after=wh_after, currency=currency, micros_before=before,
        micros_after=after,
    )  # fmt: skip
