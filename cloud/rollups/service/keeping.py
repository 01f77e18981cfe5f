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
from cloud.rollups.model import Cause, Kept, Mark
from cloud.rollups.rules import carrying
from cloud.rollups.rules.days import days_between
from cloud.rollups.service.comparing import roll_up
from cloud.rollups.service.folding import fold_cycles, fold_periods, list_cycles
from cloud.rollups.service.marking import want
from cloud.rollups.service.terms import DEFAULT_POLICY, Policy
from cloud.rollups.store import queue, recomputes
from cloud.rollups.store.queue import Key
from cloud.store.db import Connection, Database
from cloud.store.failpoint import reach
from cloud.usage import service as usage
from protocols.identity import UsagePointId
from protocols.timeline import local_date, local_day

_ONE = timedelta(days=1)
_CHUNK = 5000
_CHANGES = 200


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

    Of several workers one writes the list, and each takes parts of the network that no other has:
    a usage point is in one part, and all that follows from its days is its own.
    """
    told = _past_changed(db, now)
    with db.transaction() as conn:
        more = _list(conn, now, policy) or told
        taken, lots = _take(conn, now, policy)
        changes = roll_up(conn, taken, now, policy)
        reach("rollups.days_written")
        made, periods = fold_periods(conn, changes.zones, now)
        noted = [
            (mark, before, after, periods.get(key, []))
            for key, (mark, before, after) in sorted(changes.again.items())
        ]
        recomputes.insert_recomputes(conn, noted, now)
        made += fold_cycles(conn, lots, now)
        kept = Kept(
            looked_at=len(taken), days=len(changes.zones), periods=made, recomputes=len(noted)
        )
        return kept, bool(taken) or bool(lots) or more


def _past_changed(db: Database, now: datetime) -> bool:
    """
    Make anew what rests on installations and factors of past time; tell whether there were any.

    Segments of usage first, then every day since is noted. By itself, for it waits for the locks of
    usage, and who rolls up must wait for nobody.
    """
    with db.transaction() as conn:
        if not queue.lock_list(conn):
            return False
        taken = assets.take_changes(conn, _CHANGES)
        points = sorted({each.usage_point for each in taken})
        usage.rebuild_many(conn, points, now=now)
        zones = assets.zones_of(conn, points)
        for each in taken:
            zone = ZoneInfo(zones[each.usage_point])
            # a register at the very midnight ends the day before
            days = days_between(local_date(each.since, zone) - _ONE, local_date(now, zone))
            want(
                conn, [each.usage_point] * len(days), days, cause=Cause.ASSETS.value,
                reference=each.reference, actor=each.actor, now=now,
            )  # fmt: skip
        return bool(taken)


def _list(conn: Connection, now: datetime, policy: Policy) -> bool:
    """Put what is to be looked at on the list, unless another does; tell whether there was any."""
    if not queue.lock_list(conn):
        return False
    sorted_in = _sort_in(conn, policy)
    ended = _list_ended(conn, now, policy)
    return list_cycles(conn, now) or sorted_in or ended


def _take(
    conn: Connection, now: datetime, policy: Policy
) -> tuple[dict[Key, Mark], list[queue.Lot]]:
    """Take due days of parts that nobody else works on, and lots of cycles, until it is enough."""
    taken: dict[Key, Mark] = {}
    cycles: list[queue.Lot] = []
    for part in queue.parts_due(conn, now):
        left = policy.days - len(taken) - sum(len(lot.usage_points) for lot in cycles)
        if left <= 0:
            break
        if not queue.lock_part(conn, part):
            continue
        for key, mark in queue.take_dirty(conn, part, now, left).items():
            taken[key] = carrying.joined(taken[key], mark) if key in taken else mark
        for lot in queue.take_lots(conn, part, now, left):
            if lot.day is None:
                cycles.append(lot)
                continue
            mark = Mark(cause=Cause.END, noted_at=lot.noted_at)
            for point in lot.usage_points:
                # what brought something speaks before the mere end of the day
                taken.setdefault((point, lot.day), mark)
    return taken, cycles


def _sort_in(conn: Connection, policy: Policy) -> bool:
    """Put what transactions noted on the list; tell whether there was any."""
    taken = queue.take_touched(conn, policy.transactions)
    marks: dict[Key, Mark] = {}
    for key, mark in taken:
        marks[key] = carrying.joined(marks[key], mark) if key in marks else mark
    asked = sorted({point for point, _ in marks})
    zones = {point: ZoneInfo(zone) for point, zone in assets.zones_of(conn, asked).items()}
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
    listed = False
    for zone, points in assets.points_by_zone(conn).items():
        place = ZoneInfo(zone)
        day = horizon.get(zone, local_date(now, place) - _ONE)
        if _ended(day, zone, now):
            due = local_day(day, place).end + policy.rest
            queue.insert_lots(conn, points, due_at=due, now=now, day=day)
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
