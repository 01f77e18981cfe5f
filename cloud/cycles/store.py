"""SQL of reading cycles."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from cloud.cycles.model import (
    Cycle,
    CycleId,
    CycleState,
    Dates,
    Doubt,
    Entry,
    MissCode,
    Observation,
    Reader,
    ReaderId,
    ReadSpan,
    Route,
    RouteId,
    Source,
    Task,
    TaskEvent,
    TaskId,
    TaskState,
    Timetable,
    Work,
)
from cloud.store.db import Connection
from cloud.store.sql import Queries
from protocols.identity import ConcentratorId, MeterId, UsagePointId
from protocols.timeline import Interval

_SQL = Queries(Path(__file__).parent / "sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """An entry as it is kept: with what spoke against it, who entered it, and when."""

    entry: Entry
    doubts: tuple[Doubt, ...]
    actor: str
    entered_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A believed figure on its way to ingest. *Units*: Wh."""

    concentrator: ConcentratorId
    seq: int
    task: TaskId
    key: str
    queued_at: datetime
    meter: MeterId
    at: datetime
    wh: int


def upsert_route(conn: Connection, route: Route) -> None:
    """Insert or replace a route."""
    values = {"id": route.id, "unit": route.unit, "name": route.name, "zone": route.zone}
    conn.execute(_SQL["upsert_route"], {**values, **asdict(route.timetable)})


def routes(conn: Connection, ids: Sequence[RouteId] | None = None) -> list[Route]:
    """Return every route, or those named."""
    rows = conn.execute(_SQL["routes"], {"ids": None if ids is None else list(ids)})
    return [
        Route(
            id=RouteId(row[0]), unit=row[1], name=row[2], zone=row[3],
            timetable=Timetable(
                opens_day=row[4], reading_days=row[5], sales_after=row[6], collection_after=row[7],
                every_months=row[8], from_month=row[9],
            ),
        )
        for row in rows
    ]  # fmt: skip


def place_points(conn: Connection, route: RouteId, points: Sequence[UsagePointId]) -> None:
    """Write the walking order of a route anew."""
    conn.execute(_SQL["leave_route"], {"route": route})
    conn.execute(_SQL["place_points"], {"route": route, "usage_points": list(points)})


def points_of_route(conn: Connection, route: RouteId) -> list[UsagePointId]:
    """Return the points of a route in walking order."""
    return [UsagePointId(p) for (p,) in conn.execute(_SQL["points_of_route"], {"route": route})]


def upsert_reader(conn: Connection, reader: Reader) -> None:
    """Insert or replace a reader."""
    conn.execute(_SQL["upsert_reader"], asdict(reader))


def readers(conn: Connection, unit: str | None = None) -> list[Reader]:
    """Return the readers of a unit, or all."""
    return [
        Reader(id=ReaderId(row[0]), name=row[1], login=row[2], unit=row[3], daily=row[4],
               on_duty=row[5])
        for row in conn.execute(_SQL["readers"], {"unit": unit})
    ]  # fmt: skip


def set_holidays(conn: Connection, unit: str, days: Mapping[date, str]) -> None:
    """Write days of a unit on which nobody works."""
    values = {"unit": unit, "days": list(days), "names": list(days.values())}
    conn.execute(_SQL["set_holidays"], values)


def holidays(conn: Connection, unit: str) -> set[date]:
    """Return the days of a unit on which nobody works."""
    return {day for (day,) in conn.execute(_SQL["holidays"], {"unit": unit})}


def plan_cycles(conn: Connection, route: RouteId, dates: Sequence[Dates]) -> int:
    """Write planned cycles; return how many are new."""
    columns = {name: [getattr(one, name) for one in dates] for name in Dates.__slots__}
    return conn.execute(_SQL["plan_cycles"], {"route": route, **columns}).rowcount


def cycles(
    conn: Connection, *, route: RouteId | None, state: CycleState | None, limit: int
) -> list[Cycle]:
    """Return cycles, newest first."""
    values = {"route": route, "state": state.value if state else None, "limit": limit}
    return [_cycle(row) for row in conn.execute(_SQL["cycles"], values)]


def cycle(conn: Connection, id_: CycleId, *, lock: bool = False) -> Cycle | None:
    """Return a cycle, or None; locked if asked so."""
    if lock:
        conn.execute(_SQL["lock_cycle"], {"cycle": id_})
    row = conn.execute(_SQL["cycle"], {"cycle": id_}).fetchone()
    return None if row is None else _cycle(row)


def move_cycle(
    conn: Connection, id_: CycleId, state: CycleState, *, actor: str, now: datetime
) -> None:
    """Move a locked cycle."""
    values = {"cycle": id_, "state": state.value, "actor": actor, "now": now}
    conn.execute(_SQL["move_cycle"], values)


def insert_tasks(conn: Connection, id_: CycleId, columns: Mapping[str, list[Any]]) -> int:
    """Write a list: position usage_point meter concentrator last_at last_wh daily_wh."""
    return conn.execute(_SQL["insert_tasks"], {"cycle": id_, **columns}).rowcount


def assign_tasks(
    conn: Connection, id_: CycleId, tasks: Sequence[TaskId], to: Sequence[ReaderId]
) -> int:
    """Give tasks that are not read to readers; return how many took one."""
    values = {"cycle": id_, "task": list(tasks), "reader": list(to)}
    return conn.execute(_SQL["assign_tasks"], values).rowcount


def tasks(
    conn: Connection,
    id_: CycleId,
    *,
    reader: ReaderId | None = None,
    states: Sequence[TaskState] | None = None,
    limit: int = 1_000_000,
) -> list[Task]:
    """Return a list in walking order."""
    wanted = None if states is None else [state.value for state in states]
    values = {"cycle": id_, "reader": reader, "states": wanted, "limit": limit}
    return [_task(row) for row in conn.execute(_SQL["tasks"], values)]


def tasks_of_login(conn: Connection, login: str, limit: int) -> list[Task]:
    """Return what one person has to read in open cycles."""
    rows = conn.execute(_SQL["tasks_of_login"], {"login": login, "limit": limit})
    return [_task(row) for row in rows]


def tasks_of_point(conn: Connection, point: UsagePointId) -> list[Task]:
    """Return the tasks of one usage point, newest first."""
    return [_task(row) for row in conn.execute(_SQL["tasks_of_point"], {"usage_point": point})]


def task(conn: Connection, id_: TaskId, *, lock: bool = False) -> Task | None:
    """Return a task, or None; locked (and its cycle kept from closing) if asked so."""
    if lock:
        conn.execute(_SQL["lock_task"], {"task": id_})
    row = conn.execute(_SQL["task"], {"task": id_}).fetchone()
    return None if row is None else _task(row)


def lock_task_alone(conn: Connection, id_: TaskId) -> Task | None:
    """Return a task with its lock taken, and nobody else's."""
    conn.execute(_SQL["lock_task_alone"], {"task": id_})
    return task(conn, id_)


def put_task(conn: Connection, task: Task) -> None:
    """Write what changed of a locked task."""
    conn.execute(
        _SQL["put_task"],
        {
            "task": task.id, "state": task.state.value, "read_at": task.read_at,
            "read_wh": task.read_wh, "source": task.source.value if task.source else None,
            "miss": task.miss.value if task.miss else None,
            "doubts": [doubt.value for doubt in task.doubts],
        },
    )  # fmt: skip


def insert_entry(
    conn: Connection, entry: Entry, doubts: Sequence[Doubt], *, actor: str, now: datetime
) -> None:
    """Keep what came for a task."""
    conn.execute(
        _SQL["insert_entry"],
        {
            "task": entry.task, "key": entry.key, "source": entry.source.value,
            "read_at": entry.at, "meter": entry.meter, "wh": entry.wh,
            "miss": entry.miss.value if entry.miss else None,
            "observations": [seen.value for seen in entry.observations],
            "note": entry.note.replace("\x00", ""), "photo": entry.photo,
            "doubts": [doubt.value for doubt in doubts], "actor": actor, "now": now,
        },
    )  # fmt: skip


def entries_of_task(conn: Connection, id_: TaskId) -> list[Kept]:
    """Return what came for a task, oldest first."""
    return [
        Kept(
            entry=Entry(
                key=row[0], task=TaskId(row[1]), source=Source(row[2]), at=row[3],
                meter=MeterId(row[4]) if row[4] is not None else None, wh=row[5],
                miss=MissCode(row[6]) if row[6] else None,
                observations=tuple(Observation(seen) for seen in row[7]), note=row[8],
                photo=row[9],
            ),
            doubts=tuple(Doubt(doubt) for doubt in row[10]), actor=row[11], entered_at=row[12],
        )
        for row in conn.execute(_SQL["entries_of_task"], {"task": id_})
    ]  # fmt: skip


def insert_decision(
    conn: Connection, id_: TaskId, event: TaskEvent, *, reason: str, actor: str, now: datetime
) -> None:
    """Keep what was decided."""
    values = {"task": id_, "event": event.value, "reason": reason, "actor": actor, "now": now}
    conn.execute(_SQL["insert_decision"], values)


def decisions_of_task(conn: Connection, id_: TaskId) -> list[tuple[str, str, str, datetime]]:
    """Return (event, reason, actor, at), oldest first."""
    return list(conn.execute(_SQL["decisions_of_task"], {"task": id_}))


def queue_delivery(conn: Connection, task: Task, key: str, *, now: datetime) -> None:
    """Number a believed figure for ingest, once."""
    conn.execute(_SQL["lock_concentrator_queue"], {"concentrator": task.concentrator})
    values = {"concentrator": task.concentrator, "task": task.id, "key": key, "now": now}
    conn.execute(_SQL["queue_delivery"], values)


def deliveries_waiting(conn: Connection, limit: int) -> list[Delivery]:
    """Return figures that ingest has not got, oldest first."""
    return [
        Delivery(concentrator=ConcentratorId(row[0]), seq=row[1], task=TaskId(row[2]), key=row[3],
                 queued_at=row[4], meter=MeterId(row[5]), at=row[6], wh=row[7])
        for row in conn.execute(_SQL["deliveries_waiting"], {"limit": limit})
    ]  # fmt: skip


def waiting_of_cycle(conn: Connection, id_: CycleId) -> int:
    """Return how many believed figures of a cycle ingest has not got."""
    row = conn.execute(_SQL["waiting_of_cycle"], {"cycle": id_}).fetchone()
    assert row is not None
    return int(row[0])


def delivered(conn: Connection, one: Delivery, *, believed: bool, now: datetime) -> bool:
    """Note that ingest got a figure; False when that was noted before."""
    values = {
        "concentrator": one.concentrator, "seq": one.seq, "believed": believed, "now": now,
    }  # fmt: skip
    return conn.execute(_SQL["delivered"], values).rowcount == 1


def delivery_of_entry(
    conn: Connection, task: TaskId, key: str
) -> tuple[str, int, datetime | None, bool | None] | None:
    """Return (concentrator, seq, delivered at, believed) of a figure, or None."""
    values = {"task": task, "key": key}
    return conn.execute(_SQL["delivery_of_entry"], values).fetchone()


def states_of_cycle(conn: Connection, id_: CycleId) -> dict[TaskState, int]:
    """Return how many tasks stand in each state."""
    rows = conn.execute(_SQL["states_of_cycle"], {"cycle": id_})
    return {TaskState(state): count for state, count in rows}


def work_of_cycle(conn: Connection, id_: CycleId, due: datetime) -> list[Work]:
    """Return what each reader did; read before `due` is in time."""
    return [
        Work(reader=ReaderId(row[0]) if row[0] is not None else None, assigned=row[1], read=row[2],
             in_time=row[3], unread=row[4], in_review=row[5], doubted=row[6], rejected=row[7],
             with_photo=row[8])
        for row in conn.execute(_SQL["work_of_cycle"], {"cycle": id_, "due": due})
    ]  # fmt: skip


def misses_of_cycle(conn: Connection, id_: CycleId) -> dict[MissCode, int]:
    """Return why tasks are unread."""
    rows = conn.execute(_SQL["misses_of_cycle"], {"cycle": id_})
    return {MissCode(miss): count for miss, count in rows}


def figures_of_cycle(conn: Connection, id_: CycleId) -> list[tuple[str, int | None, int, MeterId]]:
    """Return (source, Wh before, Wh, meter) of every task that is read."""
    return list(conn.execute(_SQL["figures_of_cycle"], {"cycle": id_}))


def read_spans(
    conn: Connection,
    points: Sequence[UsagePointId] | None,
    cycles: Sequence[CycleId] | None,
    around: Interval | None,
) -> list[ReadSpan]:
    """Return from which figure to which the points, cycles and time named (None: any) were read."""
    rows = conn.execute(
        _SQL["read_spans"],
        {"usage_points": None if points is None else list(points),
         "cycles": None if cycles is None else list(cycles),
         "since": None if around is None else around.start,
         "until": None if around is None else around.end},
    )  # fmt: skip
    return [
        ReadSpan(usage_point=UsagePointId(point), cycle=CycleId(id_), since=since, until=until)
        for point, id_, since, until in rows
    ]


def _cycle(row: Sequence[Any]) -> Cycle:
    id_, route, period, opens, due, sales, collection, state, opened_by, closed_by, closed_at = row
    return Cycle(
        id=CycleId(id_), route=RouteId(route),
        dates=Dates(period=period, opens=opens, due=due, sales=sales, collection=collection),
        state=CycleState(state), opened_by=opened_by, closed_by=closed_by, closed_at=closed_at,
    )  # fmt: skip


def _task(row: Sequence[Any]) -> Task:
    (id_, cycle_, position, point, meter, concentrator, reader, state, last_at, last_wh, daily_wh,
     read_at, read_wh, source, miss, doubts) = row  # fmt: skip
    return Task(
        id=TaskId(id_), cycle=CycleId(cycle_), position=position, usage_point=UsagePointId(point),
        meter=MeterId(meter), concentrator=ConcentratorId(concentrator),
        reader=None if reader is None else ReaderId(reader), state=TaskState(state),
        last_at=last_at, last_wh=last_wh, daily_wh=daily_wh, read_at=read_at, read_wh=read_wh,
        source=Source(source) if source else None, miss=MissCode(miss) if miss else None,
        doubts=tuple(Doubt(doubt) for doubt in doubts),
    )  # fmt: skip
