"""A cycle from its plan to its close on a real database: by machine, by hand, by file."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cloud.cycles.model import (
    CycleId,
    CycleState,
    Doubt,
    Entry,
    MissCode,
    Reader,
    ReaderId,
    Route,
    RouteId,
    Source,
    Task,
    TaskId,
    TaskState,
    Timetable,
)
from cloud.cycles.rules import handheld
from cloud.cycles.rules.handheld import Form
from cloud.cycles.service import closing, delivering, entering, planning, reports
from cloud.ingest import service as ingest
from cloud.org import service as org
from cloud.org.model import Company, Unit, UnitKind
from cloud.store.clock import Clock
from cloud.store.db import Database
from cloud.usage import service as usage
from meterloop.cli import app
from protocols.errors import RefusedError
from protocols.timeline import TimeScale
from tests.integration.ingest_kit import (
    M1,
    M2,
    ORIGIN,
    UP1,
    UP2,
    UP3,
    a_batch,
    build_network,
    registers,
    send,
)

ROUTE = Route(
    id=RouteId("R-1"), unit="S-1", name="North bank", zone="Asia/Shanghai",
    timetable=Timetable(opens_day=10, reading_days=3, sales_after=2, collection_after=10),
)  # fmt: skip
REZA, LIN = "user:reza", "user:lin"
OPENED = datetime(2026, 4, 10, 1, tzinfo=UTC)
READ = OPENED + timedelta(hours=5)


@pytest.fixture(autouse=True)
def _street(db: Database) -> None:
    build_network(db)
    org.register(
        db, companies=[Company(id="C", name="Grid")],
        units=[Unit(id="S-1", company="C", parent=None, kind=UnitKind.SECTION, name="North",
                    zone="Asia/Shanghai")],
    )  # fmt: skip
    # thirty days of some 8 kWh a day at the first point, nothing from the second and third
    send(db, a_batch(1, registers(M1, {24.0 * day: 1_000_000 + 8_000 * day for day in range(40)})))
    planning.set_route(db, ROUTE, [UP3, UP1, UP2], actor=REZA, now=ORIGIN)
    for n, daily in ((1, 1), (2, 1)):
        planning.set_reader(
            db, Reader(id=ReaderId(f"r{n}"), name=f"R {n}", login=f"user:r{n}", unit="S-1",
                       daily=daily),
        )  # fmt: skip


def opened(db: Database) -> CycleId:
    planning.plan_year(db, 2026, actor=REZA, now=ORIGIN)
    with db.transaction() as conn:
        [april] = [one for one in planning.cycles(conn) if one.dates.period == "2026-04"]
    planning.open_cycle(db, april.id, actor=REZA, now=OPENED)
    return april.id


def tasks_of(db: Database, cycle: CycleId) -> dict[str, Task]:
    with db.transaction() as conn:
        return {task.usage_point: task for task in planning.tasks(conn, cycle)}


def enter(db: Database, task: TaskId, key: str, **fields: Any) -> Any:
    actor = fields.pop("actor", "user:r1")
    at = fields.pop("at", READ)
    entry = Entry(key=f"key-{key}", task=task, source=Source.HANDHELD, at=at, **fields)
    return entering.enter(db, entry, actor=actor, now=at + timedelta(minutes=1))


def deliver(db: Database, now: datetime = READ) -> int:
    """Bring figures to ingest at a business time near the reading."""
    wall = datetime.now(UTC)
    return delivering.deliver(db, Clock(scale=TimeScale(wall_origin=wall, origin=now)))


@pytest.mark.req("B1", "B2", "B3", "B7", "B8")
def test_a_year_is_planned_a_list_made_and_shared(db: Database) -> None:
    planning.set_holidays(db, "S-1", {datetime(2026, 4, 10, tzinfo=UTC).date(): "founding day"})
    assert planning.plan_year(db, 2026, actor=REZA, now=ORIGIN) == 12
    assert planning.plan_year(db, 2026, actor=REZA, now=ORIGIN) == 0, "planning again adds nothing"
    with db.transaction() as conn:
        april = next(one for one in planning.cycles(conn) if one.dates.period == "2026-04")
    assert april.dates.opens.isoformat() == "2026-04-13", "Friday is a holiday, then the weekend"
    assert planning.open_cycle(db, april.id, actor=REZA, now=OPENED) == 3
    with pytest.raises(RefusedError, match="cycles.wrong_state"):
        planning.open_cycle(db, april.id, actor=REZA, now=OPENED)
    with db.transaction() as conn:
        listed = planning.tasks(conn, april.id)
    assert [task.usage_point for task in listed] == [UP3, UP1, UP2], "the order of the walk"
    assert listed[1].last_wh == 1_000_000 + 39 * 8_000
    assert listed[1].daily_wh == 8_000
    shared = planning.share_out(db, april.id, actor=REZA, now=OPENED)
    assert shared == {"r1": 2, "r2": 1}
    with db.transaction() as conn:
        assert [task.usage_point for task in entering.mine(conn, "user:r1")] == [UP3, UP1]
    planning.give(db, april.id, [listed[0].id], ReaderId("r2"), actor=REZA, now=OPENED)
    with db.transaction() as conn:
        assert [task.usage_point for task in entering.mine(conn, "user:r2")] == [UP3, UP2]


@pytest.mark.req("B4", "B10", "B11", "B14")
def test_a_figure_by_hand_takes_the_road_of_every_reading(db: Database) -> None:
    cycle = opened(db)
    task = tasks_of(db, cycle)[UP1]
    answer = enter(db, task.id, "00001", wh=1_320_000)
    assert (answer.task.state, answer.doubts) == (TaskState.READ, ())
    again = enter(db, task.id, "00001", wh=1_320_000)
    assert again.repeated
    with pytest.raises(RefusedError, match="cycles.other_entry"):
        enter(db, task.id, "00001", wh=1_320_001)
    assert deliver(db) == 1
    assert deliver(db) == 0
    with db.transaction() as conn:
        stored = usage.register_at(conn, UP1, READ)
        [history] = reports.trace(conn, UP1)
        assert not ingest.missing_batches(conn)
    assert stored is not None
    assert (stored.at, stored.meter_wh) == (READ, 1_320_000)
    assert (history.steps[0].batch, history.steps[0].believed) == ("C-01/0/1", True)


@pytest.mark.req("B5", "B11", "B12")
def test_a_doubted_figure_waits_for_somebody_else(db: Database) -> None:
    cycle = opened(db)
    task = tasks_of(db, cycle)[UP1]
    answer = enter(db, task.id, "00001", wh=1_900_000)
    assert (answer.task.state, answer.doubts) == (TaskState.IN_REVIEW, (Doubt.HIGH,))
    assert deliver(db) == 0, "nothing doubted is stored"
    with pytest.raises(RefusedError, match="cycles.same_person"):
        entering.review(db, task.id, accept=True, reason="seen", actor="user:r1", now=READ)
    with pytest.raises(RefusedError, match="cycles.reason"):
        entering.review(db, task.id, accept=True, reason=" ", actor=LIN, now=READ)
    rejected = entering.review(db, task.id, accept=False, reason="blurred", actor=LIN, now=READ)
    assert (rejected.state, rejected.read_wh) == (TaskState.ASSIGNED, None)
    enter(db, task.id, "00002", wh=1_910_000, at=READ + timedelta(hours=1))
    taken = entering.review(
        db, task.id, accept=True, reason="a workshop opened", actor=LIN,
        now=READ + timedelta(hours=2),
    )  # fmt: skip
    assert taken.state is TaskState.READ
    assert deliver(db, READ + timedelta(hours=3)) == 1
    with db.transaction() as conn:
        [history] = reports.trace(conn, UP1)
    assert [one.event for one in history.decisions] == ["reject", "accept"]
    assert [step.believed for step in history.steps] == [None, True]


def test_a_second_figure_is_looked_at_and_the_first_stays_when_it_is_rejected(
    db: Database,
) -> None:
    cycle = opened(db)
    task = tasks_of(db, cycle)[UP1]
    enter(db, task.id, "00001", wh=1_320_000)
    deliver(db)
    second = enter(db, task.id, "00002", wh=1_330_000, at=READ + timedelta(hours=1))
    assert second.doubts == (Doubt.SECOND_FIGURE,)
    kept = entering.review(db, task.id, accept=False, reason="typing", actor=LIN, now=READ)
    assert (kept.state, kept.read_wh, kept.read_at) == (TaskState.READ, 1_320_000, READ)


def test_what_ingest_does_not_believe_comes_back_to_review(db: Database) -> None:
    cycle = opened(db)
    task = tasks_of(db, cycle)[UP2]
    enter(db, task.id, "00001", wh=90_000)
    # the meter itself told otherwise before the figure came through
    send(db, a_batch(2, registers(M2, {966.0: 50_000})))
    deliver(db)
    back = tasks_of(db, cycle)[UP2]
    assert (back.state, back.doubts[-1]) == (TaskState.IN_REVIEW, Doubt.NOT_STORED)
    with pytest.raises(RefusedError, match="cycles.not_stored"):
        entering.review(db, task.id, accept=True, reason="sure", actor=LIN, now=READ)
    with db.transaction() as conn:
        [item] = ingest.quarantined(conn)
    assert item.boot == 0


@pytest.mark.req("B3", "B6", "B10", "B13", "B18")
def test_a_cycle_closes_when_every_point_has_a_figure_or_a_reason(db: Database) -> None:
    cycle = opened(db)
    send(db, a_batch(2, registers(M1, {24.0 * 40: 1_318_000, 24.0 * 40 + 3: 1_319_000})))
    due = datetime(2026, 4, 14, 16, tzinfo=UTC)
    with pytest.raises(RefusedError, match="3 listed"):
        closing.close_cycle(db, cycle, actor=REZA, now=due)
    settled = entering.take_machine(db, cycle, now=datetime(2026, 4, 11, tzinfo=UTC))
    assert settled == 1
    tasks = tasks_of(db, cycle)
    planning.give(db, cycle, [tasks[UP2].id, tasks[UP3].id], ReaderId("r2"), actor=REZA, now=OPENED)
    enter(db, tasks[UP2].id, "00001", wh=64_000, photo="ab" * 32, actor="user:r2")
    enter(db, tasks[UP3].id, "00001", miss=MissCode.NO_ACCESS, actor="user:r2")
    with pytest.raises(RefusedError, match="on their way"):
        closing.close_cycle(db, cycle, actor=REZA, now=due)
    deliver(db)
    found = closing.close_cycle(db, cycle, actor=REZA, now=due)
    assert (found.points, found.by_machine, found.by_hand, found.unread) == (3, 1, 1, 1)
    assert found.use_wh == 1_319_000 - 1_312_000
    assert found.without_last == 1
    assert found.misses == {MissCode.NO_ACCESS: 1}
    with db.transaction() as conn:
        [closed] = planning.cycles(conn, state=CycleState.CLOSED)
        told = {one.reader: one for one in reports.work(conn, cycle)}
    assert (closed.closed_by, closed.closed_at) == (REZA, due)
    mine = told[ReaderId("r2")]
    assert (mine.assigned, mine.read, mine.in_time, mine.unread, mine.with_photo) == (2, 1, 1, 1, 1)
    with pytest.raises(RefusedError, match="cycles.not_open"):
        enter(db, tasks[UP3].id, "00002", wh=1)


def test_the_next_cycle_goes_on_from_the_figure_before(db: Database) -> None:
    cycle = opened(db)
    tasks = tasks_of(db, cycle)
    enter(db, tasks[UP1].id, "00001", wh=1_320_000)
    enter(db, tasks[UP2].id, "00001", wh=64_000)
    enter(db, tasks[UP3].id, "00001", miss=MissCode.DANGER)
    deliver(db)
    closing.close_cycle(db, cycle, actor=REZA, now=READ + timedelta(days=1))
    with db.transaction() as conn:
        may = next(one for one in planning.cycles(conn) if one.dates.period == "2026-05")
    planning.open_cycle(db, may.id, actor=REZA, now=OPENED + timedelta(days=31))
    after = tasks_of(db, may.id)
    assert (after[UP1].last_wh, after[UP1].last_at) == (1_320_000, READ)
    assert (after[UP2].last_wh, after[UP3].last_wh) == (64_000, None)


@pytest.mark.req("B4", "B9")
def test_a_handheld_comes_back_and_may_be_loaded_twice(
    db: Database, database_dsn: str, tmp_path: Path
) -> None:
    config = tmp_path / "installation.toml"
    config.write_text(f'data = "{tmp_path}"\n[database]\ndsn = "{database_dsn}"\n')

    def cli(*words: str, good: bool = True) -> dict[str, Any]:
        result = CliRunner().invoke(
            app, ["cycle", *words, "--config", str(config), "--json"], catch_exceptions=False
        )
        told: dict[str, Any] = json.loads(result.stdout)
        assert told["ok"] == good == (result.exit_code == 0), result.output
        return told

    cycle = str(opened(db))
    assert cli("share", cycle)["shared"] == {"r1": 2, "r2": 1}
    out = tmp_path / "list.csv"
    assert cli("export", cycle, "--out", str(out))["tasks"] == 3
    lines = out.read_text().splitlines()
    assert lines[0] == ",".join(handheld.OUT)
    tasks = tasks_of(db, CycleId(int(cycle)))
    back = tmp_path / "back.csv"
    back.write_text(
        "key,task,read_at,register_kwh,miss,note\n"
        f"dev-0000001,{tasks[UP1].id},2026-04-10T14:00:00+08:00,1320,,\n"
        f"dev-0000002,{tasks[UP2].id},2026-04-10T14:05:00+08:00,64.0,,\n"
        f"dev-0000003,{tasks[UP3].id},2026-04-10T14:10:00+08:00,,other,\n"
        f"dev-0000004,{tasks[UP3].id},2026-04-10T14:10:00+08:00,,danger,dog\n"
        "dev-0000005,999999,2026-04-10T14:10:00+08:00,1,,\n"
    )
    told = cli("import", cycle, str(back))
    assert (told["taken"], told["repeated"], len(told["wrong"])) == (3, 0, 2)
    assert "note" in told["wrong"][0]["why"]
    again = cli("import", cycle, str(back))
    assert (again["taken"], again["repeated"]) == (0, 3)
    shown = cli("show", cycle)
    assert shown["statistics"]["read"] == 2
    assert [one["state"] for one in shown["tasks"]] == ["unread", "read", "read"]
    assert cli("trace", UP1)["history"][0]["entries"][0]["believed"] is True
    assert cli("close", cycle)["statistics"]["unread"] == 1
    assert [one["state"] for one in cli("list", "--state", "closed")["cycles"]] == ["closed"]
    refused = cli("open", cycle, good=False)
    assert refused["error"]["code"] == "cycles.wrong_state"
    assert refused["error"]["fix"]


def test_the_role_of_ingest_may_deliver_and_the_portal_may_enter(
    db: Database, database_dsn: str
) -> None:
    with Database(database_dsn, user="meterloop_portal") as portal:
        cycle = opened(portal)
        enter(portal, tasks_of(portal, cycle)[UP1].id, "00001", wh=1_320_000)
    with Database(database_dsn, user="meterloop_ingest") as brought:
        assert deliver(brought) == 1


@pytest.mark.parametrize(
    ("points", "code"), [([UP1, UP1], "cycles.unknown_point"), (["UP-9"], "cycles.unknown_point")]
)
def test_a_route_names_each_point_once_and_only_real_ones(
    db: Database, points: list[Any], code: str
) -> None:
    with pytest.raises(RefusedError, match=code):
        planning.set_route(db, ROUTE, points, actor=REZA, now=ORIGIN)


def test_lists_of_a_handheld_in_json_carry_the_same(db: Database) -> None:
    cycle = opened(db)
    with db.transaction() as conn:
        listed = planning.tasks(conn, cycle)
        due = planning.last_moment(conn, planning.known_cycle(conn, cycle))
    plain = json.loads(handheld.written(listed, Form.JSON, entering.HighLow(), due=due))
    assert [row["usage_point"] for row in plain["tasks"]] == [UP3, UP1, UP2]
