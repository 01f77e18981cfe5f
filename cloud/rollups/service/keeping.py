"""
Keeping roll-ups right: every day that ended, and exactly what a late reading changed.

A turn takes points from the list, looks at their waiting days and writes a version where the
figures differ from the newest one. Where the register at the end of a day moved, the day after it
is looked at too, and so on until nothing moves. Months and cycles follow from their days. One
transaction holds all of it, under one lock, so a turn that dies has not happened.
"""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from cloud.assets import service as assets
from cloud.rollups.model import Cause, DayFigures, DayRollup, Kept, Mark
from cloud.rollups.rules import carrying
from cloud.rollups.service.folding import fold_cycles, fold_periods
from cloud.rollups.service.measuring import measure
from cloud.rollups.service.terms import DEFAULT_POLICY, Policy
from cloud.rollups.store import queue, recomputes, versions
from cloud.rollups.store.queue import Key
from cloud.store.db import Connection, Database
from cloud.store.failpoint import reach
from protocols.identity import UsagePointId
from protocols.timeline import local_date, local_day

_ONE = timedelta(days=1)
_CHUNK = 5000
_NOTHING = DayFigures(
    slots=0, missing=0, interval_wh=None, slot_qualities=0, opening=None, closing=None
)

Changes = dict[Key, tuple[Mark, DayRollup | None, DayRollup]]
"""Of each day that has another version now: why, the version before, the version after."""


def keep(
    db: Database,
    *,
    now: datetime,
    policy: Policy = DEFAULT_POLICY,
    progress: Callable[[Kept], None] | None = None,
) -> Kept:
    """Do all that is due at `now`, turn by turn; `progress` hears what is done so far."""
    total = Kept()
    more = True
    while more:
        kept, more = turn(db, now=now, policy=policy)
        total = Kept(
            looked_at=total.looked_at + kept.looked_at, days=total.days + kept.days,
            periods=total.periods + kept.periods, recomputes=total.recomputes + kept.recomputes,
        )  # fmt: skip
        if progress is not None:
            progress(total)
    return total


def turn(db: Database, *, now: datetime, policy: Policy = DEFAULT_POLICY) -> tuple[Kept, bool]:
    """
    Do one transaction of what is due; return what was done and whether more is due.

    Nothing is done while another process holds the lock.
    """
    with db.transaction() as conn:
        if not queue.lock(conn):
            return Kept(), False
        sorted_in = _sort_in(conn, policy)
        listed = _list_ended(conn, now, policy)
        taken = queue.take_dirty(conn, now, policy.days)
        changes = _roll_up(conn, taken, now, policy)
        reach("rollups.days_written")
        periods = fold_periods(conn, changes, now)
        made = sum(len(each) for each in periods.values())
        noted = [
            (mark, before, after, periods[key])
            for key, (mark, before, after) in sorted(changes.items())
            if before is not None
        ]
        recomputes.insert_recomputes(conn, noted, now)
        made += fold_cycles(conn, now)
        kept = Kept(looked_at=len(taken), days=len(changes), periods=made, recomputes=len(noted))
        return kept, bool(taken) or sorted_in or listed


def _sort_in(conn: Connection, policy: Policy) -> bool:
    """Put what transactions noted on the list; tell whether there was any."""
    taken = queue.take_touched(conn, policy.transactions)
    marks: dict[Key, Mark] = {}
    for key, mark in taken:
        marks[key] = carrying.joined(marks[key], mark) if key in marks else mark
    zones = {
        each.id: ZoneInfo(each.zone)
        for each in assets.usage_points(conn, sorted({point for point, _ in marks}))
    }
    _enlist(conn, {key: mark for key, mark in marks.items() if key[0] in zones}, zones, policy)
    return bool(taken)


def _list_ended(conn: Connection, now: datetime, policy: Policy) -> bool:
    """
    Put every customer's point on the list for a day that ended; tell whether one did.

    At first that is yesterday; days before it come by their readings, or when they are asked for.
    """
    horizon = queue.horizons(conn)
    if horizon and all(not _ended(day, zone, now) for zone, day in horizon.items()):
        return False
    by_zone: dict[str, list[UsagePointId]] = {}
    for each in assets.usage_points(conn, assets.usage_point_ids(conn)):
        by_zone.setdefault(each.zone, []).append(each.id)
    mark = Mark(cause=Cause.END, noted_at=now)
    listed = False
    for zone, points in by_zone.items():
        place = ZoneInfo(zone)
        day = horizon.get(zone, local_date(now, place) - _ONE)
        if _ended(day, zone, now):
            _enlist(conn, {(p, day): mark for p in points}, dict.fromkeys(points, place), policy)
            queue.upsert_horizon(conn, zone, day + _ONE)
            listed = True
    return listed


def _ended(day: date, zone: str, now: datetime) -> bool:
    return local_day(day, ZoneInfo(zone)).end <= now


def _enlist(
    conn: Connection,
    marks: dict[Key, Mark],
    zones: dict[UsagePointId, ZoneInfo],
    policy: Policy,
) -> None:
    keys = sorted(marks)
    due = {
        (zone, day): local_day(day, zone).end + policy.rest
        for zone, day in {(zones[point], day) for point, day in keys}
    }
    for start in range(0, len(keys), _CHUNK):
        queue.upsert_dirty(
            conn,
            [(key, due[zones[key[0]], key[1]], marks[key]) for key in keys[start : start + _CHUNK]],
        )


def _roll_up(conn: Connection, taken: dict[Key, Mark], now: datetime, policy: Policy) -> Changes:
    """Write a version of each day that differs, and of those behind it that moved with it."""
    found: Changes = {}
    pending, width = dict(taken), 1
    seen: set[Key] = set()
    while pending:
        keys = sorted(pending)
        seen |= set(keys)
        before = versions.days_at(conn, keys)
        measured = measure(conn, keys)
        fresh: Changes = {}
        for key in keys:
            mark, old = pending[key], before.get(key)
            zone, figures = measured.get(key, (old.zone if old else "", _NOTHING))
            same = figures == (old.figures if old else _NOTHING)
            if same or not carrying.follows(mark, key, {**found, **fresh}):
                continue
            fresh[key] = (mark, old, DayRollup(
                usage_point=key[0], day=key[1], zone=zone,
                version=old.version + 1 if old else 1, known_at=now, figures=figures,
            ))  # fmt: skip
        versions.insert_days(conn, [after for _, _, after in fresh.values()], now)
        found |= fresh
        pending = {
            **carrying.behind(fresh, seen, width=width, until=now - policy.rest),
            **_ahead(conn, fresh, seen),
        }
        width *= 2
    return found


def _ahead(conn: Connection, fresh: Changes, seen: set[Key]) -> dict[Key, Mark]:
    """Return the days before changed ones that end with another register than those begin with."""
    keys = {(point, day - _ONE) for point, day in fresh} - seen
    before = versions.days_at(conn, sorted(keys))
    return carrying.ahead(fresh, before)
