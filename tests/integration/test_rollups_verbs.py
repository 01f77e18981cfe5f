"""Roll-ups from the command line, of months, cycles and named hours, as they were told then."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cloud.cycles.model import Entry, MissCode, Route, RouteId, Source, Timetable
from cloud.cycles.service import closing, delivering, entering, planning
from cloud.org import service as org
from cloud.org.model import Company, Unit, UnitKind
from cloud.rollups import service as rollups
from cloud.rollups.model import PeriodKind
from cloud.store import audit
from cloud.store.clock import Clock
from cloud.store.db import Database
from meterloop.cli import app
from protocols.reading import Quality
from protocols.timeline import TimeScale
from tests.integration.ingest_kit import M1, UP1, UP2, a_batch, build_network, registers, slots
from tests.integration.rollup_kit import LATER, ZONE, deliver

FRAME = {
    "name": "two rates", "otherwise": "day",
    "windows": [{"name": "night", "from": "22:00", "to": "06:00"}],
}  # fmt: skip


@pytest.fixture(autouse=True)
def _network(db: Database) -> None:
    build_network(db)


def cli(folder: Path, dsn: str, *words: str, ok: bool = True) -> dict[str, Any]:
    result = CliRunner().invoke(app, [*words, *_config(folder, dsn), "--json"])
    answer: dict[str, Any] = json.loads(result.stdout)
    assert answer["ok"] == ok == (result.exit_code == 0), result.output
    return answer


def spoken(folder: Path, dsn: str, *words: str) -> str:
    result = CliRunner().invoke(app, [*words, *_config(folder, dsn)])
    assert result.exit_code == 0, result.output
    return result.stdout


def _config(folder: Path, dsn: str) -> list[str]:
    config = folder / "installation.toml"
    config.write_text(f'data = "{folder}"\n[database]\ndsn = "{dsn}"\n')
    return ["--config", str(config)]


@pytest.mark.req("B14", "B16")
def test_roll_ups_and_why_they_changed_are_told(
    db: Database, database_dsn: str, tmp_path: Path
) -> None:
    hours = {16 + 24 * n: 10_000 * (n + 1) for n in range(40)}
    deliver(db, a_batch(1, registers(M1, hours)))
    deliver(db, a_batch(2, slots(M1, {slot: 100 + slot % 3 for slot in range(32, 32 + 48 * 3)})))
    rollups.keep(db, now=LATER)
    span = ("--from", "2026-03-02", "--to", "2026-03-05")
    days = cli(tmp_path, database_dsn, "usage", "rollup", UP1, *span)
    assert [(row["wh"], row["slots"], row["missing"]) for row in days["rows"]] == [
        (10_000, 48, 0)
    ] * 3
    assert days["rows"][0]["qualities"] == [Quality.VALID.value]
    months = cli(
        tmp_path, database_dsn, "usage", "rollup", UP1, "--by", "month", "--from", "2026-03-01",
        "--to", "2026-04-05",
    )  # fmt: skip
    assert [(row["name"], row["wh"], row["version"]) for row in months["rows"]] == [
        ("2026-03", 300_000, 1), ("2026-04", 90_000, 0),
    ]  # fmt: skip
    frame = tmp_path / "frame.json"
    frame.write_text(json.dumps(FRAME))
    named = cli(
        tmp_path, database_dsn, "usage", "rollup", UP1, "--by", "hours", "--frame", str(frame),
        *span,
    )  # fmt: skip
    assert [each["interval_wh"] for each in days["rows"]] == [each["wh"] for each in named["rows"]]
    night, day = named["rows"][0]["windows"]
    assert (night["name"], night["slots"], day["name"], day["slots"]) == ("night", 16, "day", 32)
    # 00:00 to 06:00 are the day's first twelve slots, 22:00 to 24:00 its last four
    assert night["wh"] == sum(100 + slot % 3 for slot in (*range(32, 44), *range(76, 80)))

    late = LATER + timedelta(hours=1)
    deliver(db, a_batch(3, registers(M1, {15.9 + 24 * 2: 29_500})), now=late)
    rollups.keep(db, now=late)
    quiet = cli(tmp_path, database_dsn, "usage", "why-changed", UP1)
    assert quiet["changes"] == []
    deliver(db, a_batch(4, registers(M1, {16 + 24 * 40: 415_000})), now=late)
    rollups.keep(db, now=late)
    changes = cli(tmp_path, database_dsn, "usage", "why-changed", UP1)["changes"]
    # a register at midnight bounds two days; none came after it, so the rest end with it too
    causes = [each["cause"] for each in changes]
    assert causes == ["carried"] * (len(causes) - 2) + ["reading"] * 2
    assert len(causes) > 5
    change = changes[-1]
    assert (change["readings"], change["asked"], change["before"]["version"]) == (1, False, 1)
    told = spoken(tmp_path, database_dsn, "usage", "why-changed", UP1)
    assert "1 late reading" in told
    then = cli(
        tmp_path, database_dsn, "usage", "rollup", UP1, "--as-of",
        f"{LATER:%Y-%m-%dT%H:%M:%S%z}", "--from", change["day"], "--to",
        (date.fromisoformat(change["day"]) + timedelta(days=1)).isoformat(),
    )  # fmt: skip
    assert then["rows"][0]["version"] == 1


def test_what_cannot_be_told_is_refused(db: Database, database_dsn: str, tmp_path: Path) -> None:
    assert db is not None
    for words, code in [
        (("rollup", "UP-9"), "usage.unknown_point"),
        (("rollup", UP1, "--from", "2026-03-05", "--to", "2026-03-05"), "rollups.span"),
        (("rollup", UP1, "--by", "hours"), "rollups.frame"),
        (("why-changed", "UP-9"), "usage.unknown_point"),
        (("recompute", "UP-9", "--from", "2026-03-01", "--to", "2026-03-02", "--reason", "x"),
         "usage.unknown_point"),
        (("recompute", UP1, "--from", "2026-03-01", "--to", "2026-03-02", "--reason", " "),
         "rollups.reason"),
    ]:  # fmt: skip
        assert cli(tmp_path, database_dsn, "usage", *words, ok=False)["error"]["code"] == code


def test_days_are_looked_at_again_when_somebody_asks(
    db: Database, database_dsn: str, tmp_path: Path
) -> None:
    deliver(db, a_batch(1, registers(M1, {16: 1000, 40: 3000})))
    asked = ("--from", "2026-03-01", "--to", "2026-03-03", "--reason", "after a migration")
    first = cli(tmp_path, database_dsn, "usage", "recompute", UP1, *asked)
    # what the readings themselves touched is done by the way
    assert first["days"] >= 2
    with db.transaction() as conn:
        (act,) = audit.history(conn, entity="rollups", entity_id=UP1)
    assert (act.action, act.reason) == ("rollups.request", "after a migration")
    again = cli(tmp_path, database_dsn, "usage", "recompute", *asked)
    assert (again["points"], again["days"], again["recomputes"]) == (3, 4, 0)
    assert "have a new version" in spoken(tmp_path, database_dsn, "usage", "recompute", UP1, *asked)


@pytest.mark.req("B14", "B18")
def test_a_closed_cycle_is_rolled_up_and_follows_its_days(
    db: Database,
) -> None:
    opens = datetime(2026, 4, 10, 1, tzinfo=UTC)
    read_at = opens + timedelta(days=10)
    org.register(
        db, companies=[Company(id="C", name="Grid")],
        units=[Unit(id="S-1", company="C", parent=None, kind=UnitKind.SECTION, name="North",
                    zone=ZONE.key)],
    )  # fmt: skip
    route = Route(
        id=RouteId("R-1"), unit="S-1", name="North bank", zone=ZONE.key,
        timetable=Timetable(opens_day=10, reading_days=12, sales_after=2, collection_after=10),
    )  # fmt: skip
    # one register at noon of every day
    noons = {24.0 * day + 4: 8000 * day for day in range(40)}
    deliver(db, a_batch(1, registers(M1, noons)), now=opens)
    planning.set_route(db, route, [UP1, UP2], actor="user:reza", now=opens)
    planning.plan_year(db, 2026, actor="user:reza", now=opens)
    with db.transaction() as conn:
        (cycle,) = [one for one in planning.cycles(conn) if one.dates.period == "2026-04"]
    planning.open_cycle(db, cycle.id, actor="user:reza", now=opens)
    with db.transaction() as conn:
        tasks = {task.usage_point: task for task in planning.tasks(conn, cycle.id)}
    for key, point, what in (
        ("key-00001", UP1, {"wh": 400_000}), ("key-00002", UP2, {"miss": MissCode.NO_ACCESS}),
    ):  # fmt: skip
        entry = Entry(
            key=key,
            task=tasks[point].id,
            source=Source.HANDHELD,
            at=read_at,
            **what,  # type: ignore[arg-type]
        )
        entering.enter(db, entry, actor="user:lin", now=read_at)
    wall = datetime.now(UTC)
    clock = Clock(scale=TimeScale(wall_origin=wall, origin=read_at))
    assert delivering.deliver(db, clock, derive=rollups.derive) == 1
    rollups.keep(db, now=read_at + timedelta(days=1))
    with db.transaction() as conn:
        assert (
            rollups.periods(conn, UP1, PeriodKind.CYCLE, date(2026, 4, 1), date(2026, 5, 1)) == []
        )
    ended = read_at + timedelta(days=13)
    closing.close_cycle(db, cycle.id, actor="user:reza", now=ended)
    rollups.keep(db, now=ended)
    with db.transaction() as conn:
        (made,) = rollups.periods(conn, UP1, PeriodKind.CYCLE, date(2026, 4, 1), date(2026, 5, 1))
        assert (
            rollups.periods(conn, UP2, PeriodKind.CYCLE, date(2026, 4, 1), date(2026, 5, 1)) == []
        )
        days = rollups.days(conn, [UP1], made.figures.first_day, made.figures.until_day)
    assert (made.name, made.version) == (str(cycle.id), 1)
    assert (made.figures.first_day, made.figures.until_day) == (date(2026, 4, 9), date(2026, 4, 20))
    assert made.figures.wh == sum(each.figures.wh or 0 for each in days)
    # a late figure of a day within it makes another version, and the day's record says so
    late = ended + timedelta(hours=1)
    deliver(db, a_batch(2, registers(M1, {24.0 * 48 + 4: 390_000})), now=late)
    rollups.keep(db, now=late)
    with db.transaction() as conn:
        (again,) = rollups.periods(conn, UP1, PeriodKind.CYCLE, date(2026, 4, 1), date(2026, 5, 1))
        (change,) = rollups.recomputes_of(conn, UP1, date(2026, 4, 18))
    assert again.version == 2
    (told,) = [each for each in change.periods if each.kind is PeriodKind.CYCLE]
    assert (told.name, told.wh_before, told.wh_after) == (
        str(cycle.id), made.figures.wh, again.figures.wh,
    )  # fmt: skip
