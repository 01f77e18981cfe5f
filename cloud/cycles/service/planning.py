"""Routes, readers, calendars; planning a year, opening a cycle, sharing its list."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from cloud.assets import service as assets
from cloud.assets.model import Installed
from cloud.cycles import store
from cloud.cycles.model import (
    Cycle,
    CycleEvent,
    CycleId,
    CycleState,
    Reader,
    ReaderId,
    Refusal,
    Route,
    RouteId,
    Task,
    TaskId,
    TaskState,
)
from cloud.cycles.rules import dates, entries, sharing
from cloud.store import audit
from cloud.store.db import Connection, Database
from cloud.usage import service as usage
from cloud.usage.model import UsageRegister
from protocols.errors import RefusedError
from protocols.identity import UsagePointId
from protocols.timeline import local_day

WEEKEND = frozenset({6, 7})
"""ISO weekdays on which nobody reads, unless a utility says others (5 is Friday)."""


def set_route(
    db: Database, route: Route, points: Sequence[UsagePointId], *, actor: str, now: datetime
) -> None:
    """
    Write a route and its walking order; a point that stood elsewhere moves here.

    Raises: RefusedError TIMETABLE, UNKNOWN_POINT.
    """
    dates.refuse_timetable(route.timetable)
    with db.transaction() as conn:
        known = {item.usage_point.id for item in assets.installations_at(conn, list(points))}
        missing = [point for point in points if point not in known]
        if missing or len(set(points)) != len(points):
            raise RefusedError(
                Refusal.UNKNOWN_POINT,
                f"without a meter, or named twice: {', '.join(missing[:5]) or 'a point'}",
                fix="name each usage point once, with a meter installed",
            )
        store.upsert_route(conn, route)
        store.place_points(conn, route.id, points)
        audit.record(
            conn, at=now, actor=actor, action="cycles.route", entity="route", entity_id=route.id,
            after={"points": len(points), "opens_day": route.timetable.opens_day},
        )  # fmt: skip


def set_reader(db: Database, reader: Reader) -> None:
    """Write who reads, and how much a day."""
    with db.transaction() as conn:
        store.upsert_reader(conn, reader)


def set_holidays(db: Database, unit: str, days: Mapping[date, str]) -> None:
    """Write days on which nobody of a unit works."""
    with db.transaction() as conn:
        store.set_holidays(conn, unit, days)


def plan_year(
    db: Database,
    year: int,
    *,
    routes: Sequence[RouteId] | None = None,
    weekend: frozenset[int] = WEEKEND,
    actor: str,
    now: datetime,
) -> int:
    """Plan the cycles of every route, or of those named, for a year; return how many are new."""
    idle = dates.weekends(year, weekend)
    made = 0
    with db.transaction() as conn:
        for route in store.routes(conn, routes):
            closed = idle | store.holidays(conn, route.unit)
            found = [dates.dates_of(route.timetable, year, month, closed) for month in range(1, 13)]
            made += store.plan_cycles(conn, route.id, [one for one in found if one is not None])
        audit.record(
            conn, at=now, actor=actor, action="cycles.plan", entity="year", entity_id=str(year),
            after={"cycles": made},
        )  # fmt: skip
    return made


def open_cycle(db: Database, id_: CycleId, *, actor: str, now: datetime) -> int:
    """
    Open a planned cycle and write its list; return how many points it reads.

    Raises: RefusedError UNKNOWN_CYCLE, WRONG_STATE, NOTHING_TO_READ.
    """
    with db.transaction() as conn:
        cycle = known_cycle(conn, id_, lock=True)
        after = entries.move_cycle(cycle.state, CycleEvent.OPEN)
        listed = _write_list(conn, cycle, now)
        if not listed:
            raise RefusedError(
                Refusal.NOTHING_TO_READ, f"no point of route {cycle.route} has a meter",
                fix="put points on the route: meterloop cycle route",
            )  # fmt: skip
        store.move_cycle(conn, id_, after, actor=actor, now=now)
        audit.record(
            conn, at=now, actor=actor, action="cycles.open", entity="cycle", entity_id=str(id_),
            after={"points": listed},
        )  # fmt: skip
    return listed


def cancel_cycle(db: Database, id_: CycleId, *, actor: str, reason: str, now: datetime) -> None:
    """End a cycle that is not to be read. Raises: RefusedError UNKNOWN_CYCLE, WRONG_STATE."""
    with db.transaction() as conn:
        cycle = known_cycle(conn, id_, lock=True)
        after = entries.move_cycle(cycle.state, CycleEvent.CANCEL)
        store.move_cycle(conn, id_, after, actor=actor, now=now)
        audit.record(
            conn, at=now, actor=actor, action="cycles.cancel", entity="cycle", entity_id=str(id_),
            before={"state": cycle.state.value}, reason=reason,
        )  # fmt: skip


def share_out(db: Database, id_: CycleId, *, actor: str, now: datetime) -> dict[str, int]:
    """
    Give the points that wait to the readers of the route's unit, by what each manages.

    Returns how many each got, and under an empty name how many nobody can reach in time.
    Raises: RefusedError UNKNOWN_CYCLE, NOT_OPEN.
    """
    with db.transaction() as conn:
        cycle = known_cycle(conn, id_, lock=True)
        if cycle.state is not CycleState.OPEN:
            raise RefusedError(
                Refusal.NOT_OPEN, f"cycle {id_} is {cycle.state.value}", fix="open it"
            )
        [route] = store.routes(conn, [cycle.route])
        waiting = store.tasks(conn, id_, states=(TaskState.LISTED, TaskState.ASSIGNED))
        days = (cycle.dates.due - cycle.dates.opens).days + 1
        shared = sharing.share(len(waiting), store.readers(conn, route.unit), days)
        given = [(task.id, to) for task, to in zip(waiting, shared, strict=True) if to is not None]
        store.assign_tasks(conn, id_, [task for task, _ in given], [to for _, to in given])
        counts: dict[str, int] = {}
        for to in shared:
            counts[to or ""] = counts.get(to or "", 0) + 1
        audit.record(
            conn, at=now, actor=actor, action="cycles.share", entity="cycle", entity_id=str(id_),
            after=counts,
        )  # fmt: skip
    return counts


def give(
    db: Database, id_: CycleId, tasks: Sequence[TaskId], to: ReaderId, *, actor: str, now: datetime
) -> int:
    """Give tasks to one reader; return how many could still be given. Raises: UNKNOWN_READER."""
    with db.transaction() as conn:
        if to not in {reader.id for reader in store.readers(conn)}:
            raise RefusedError(
                Refusal.UNKNOWN_READER, f"there is no reader {to!r}", fix="add the reader first"
            )
        given = store.assign_tasks(conn, id_, tasks, [to] * len(tasks))
        audit.record(
            conn, at=now, actor=actor, action="cycles.give", entity="cycle", entity_id=str(id_),
            after={"reader": to, "points": given},
        )  # fmt: skip
    return given


def known_cycle(conn: Connection, id_: CycleId, *, lock: bool = False) -> Cycle:
    """Return a cycle. Raises: RefusedError UNKNOWN_CYCLE."""
    cycle = store.cycle(conn, id_, lock=lock)
    if cycle is None:
        raise RefusedError(
            Refusal.UNKNOWN_CYCLE, f"there is no cycle {id_}",
            fix="list cycles with: meterloop cycle list",
        )  # fmt: skip
    return cycle


def cycles(
    conn: Connection,
    *,
    route: RouteId | None = None,
    state: CycleState | None = None,
    limit: int = 100,
) -> list[Cycle]:
    """Return cycles, newest first."""
    return store.cycles(conn, route=route, state=state, limit=limit)


def route_of(conn: Connection, id_: RouteId) -> Route:
    """Return a route. Raises: RefusedError UNKNOWN_ROUTE."""
    found = store.routes(conn, [id_])
    if not found:
        raise RefusedError(
            Refusal.UNKNOWN_ROUTE, f"there is no route {id_!r}", fix="add it: meterloop cycle route"
        )
    return found[0]


def readers(conn: Connection) -> list[Reader]:
    """Return every reader."""
    return store.readers(conn)


def tasks(
    conn: Connection,
    id_: CycleId,
    *,
    reader: ReaderId | None = None,
    states: Sequence[TaskState] | None = None,
) -> list[Task]:
    """Return a cycle's list in walking order."""
    return store.tasks(conn, id_, reader=reader, states=states)


def last_moment(conn: Connection, cycle: Cycle) -> datetime:
    """Return the end of a cycle's last reading day in its route's zone."""
    zone = ZoneInfo(route_of(conn, cycle.route).zone)
    return local_day(cycle.dates.due, zone).end


def _write_list(conn: Connection, cycle: Cycle, now: datetime) -> int:
    """One task a point that has a meter now, with the figure that the last cycle ended on."""
    points = store.points_of_route(conn, cycle.route)
    installed = {
        item.usage_point.id: item
        for item in assets.installations_at(conn, points)
        if item.installation.removed_at is None
    }
    walked = [point for point in points if point in installed]
    since = _since(conn, cycle, now)
    last = usage.registers_at_each(conn, walked, [since] * len(walked))
    columns: dict[str, list[object]] = {
        name: []
        for name in ("position", "usage_point", "meter", "concentrator", "last_at", "last_wh",
                     "daily_wh")
    }  # fmt: skip
    for position, (point, register) in enumerate(zip(walked, last, strict=True), start=1):
        item = installed[point]
        # a meter that told nothing before the cycle is measured from the first that it told
        at, wh = _last_figure(item, register or usage.first_register(conn, point))
        row = (position, point, item.meter.id, item.concentrator, at, wh,
               usage.average_daily_wh(conn, point, now, days=60))  # fmt: skip
        for name, value in zip(columns, row, strict=True):
            columns[name].append(value)
    return store.insert_tasks(conn, cycle.id, columns)


def _since(conn: Connection, cycle: Cycle, now: datetime) -> datetime:
    """Return the moment whose figures the cycle continues: the end of the one before it."""
    before = [
        one
        for one in store.cycles(conn, route=cycle.route, state=CycleState.CLOSED, limit=12)
        if one.dates.opens < cycle.dates.opens
    ]
    if before:
        return min(last_moment(conn, before[0]), now)
    zone = ZoneInfo(route_of(conn, cycle.route).zone)
    return min(local_day(cycle.dates.opens, zone).start, now - timedelta(seconds=1))


def _last_figure(
    item: Installed, register: UsageRegister | None
) -> tuple[datetime | None, int | None]:
    """Return what this meter showed last, or what it showed when it was hung."""
    if register is not None and register.meter == item.meter.id:
        return register.at, register.meter_wh
    if item.installation.initial_wh is not None:
        return item.installation.installed_at, item.installation.initial_wh
    return None, None
