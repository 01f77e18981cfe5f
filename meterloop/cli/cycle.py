"""Verbs of reading cycles: routes, planning, lists for handhelds and back, review, closing."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from cloud.cycles.model import (
    Cycle,
    CycleId,
    CycleState,
    HighLow,
    Reader,
    ReaderId,
    Refusal,
    Route,
    RouteId,
    Statistics,
    Task,
    TaskId,
    TaskState,
    Timetable,
)
from cloud.cycles.rules import handheld
from cloud.cycles.rules.handheld import Form, kwh_of
from cloud.cycles.service import closing, delivering, entering, planning, reports
from cloud.store.clock import Clock
from cloud.store.db import Database
from meterloop.cli.answer import (
    ConfigFile,
    JsonFlag,
    failures_told,
    installation_from,
    say,
    who_types,
)
from meterloop.cli.people import who_leads_readings
from meterloop.stack import address_of_database
from protocols.errors import RefusedError
from protocols.identity import UsagePointId
from protocols.timeline import TimeScale

Number = Annotated[int, typer.Argument(metavar="CYCLE", help="The number of `cycle list`.")]


class _Books(NamedTuple):
    db: Database
    clock: Clock

    @property
    def now(self) -> datetime:
        return self.clock.now()


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    cycle = typer.Typer(no_args_is_help=True, help="Reading cycles: plan, read, review, close.")
    cycle.command("route")(route)
    cycle.command("reader")(reader)
    cycle.command("plan")(plan)
    cycle.command("list")(list_)
    cycle.command("open")(open_)
    cycle.command("share")(share)
    cycle.command("export")(export)
    cycle.command("import")(import_)
    cycle.command("machine")(machine)
    cycle.command("show")(show)
    cycle.command("review")(review)
    cycle.command("close")(close)
    cycle.command("trace")(trace)
    app.add_typer(cycle, name="cycle")


def route(
    id_: Annotated[str, typer.Argument(metavar="ROUTE")],
    *,
    unit: Annotated[str, typer.Option(help="The section that looks after it.")],
    zone: Annotated[str, typer.Option(help="IANA zone of its days.")],
    points: Annotated[Path, typer.Option(help="Usage points in walking order, one a line.")],
    name: Annotated[str, typer.Option(help="For people.")] = "",
    opens_day: Annotated[int, typer.Option(help="Day of the month, 1 to 28.")] = 1,
    reading_days: Annotated[int, typer.Option(help="How long reading may take.")] = 5,
    sales_after: Annotated[int, typer.Option(help="Days from reading to bills.")] = 2,
    collection_after: Annotated[int, typer.Option(help="Days from reading to collection.")] = 10,
    every_months: Annotated[int, typer.Option(help="1, 2, 3, 4, 6 or 12.")] = 1,
    from_month: Annotated[int, typer.Option(help="The first month of the rhythm.")] = 1,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Write a route: its timetable and the points in the order in which they are walked."""
    with failures_told(as_json=as_json), _opened(config) as books:
        walked = [UsagePointId(line) for line in _lines(points)]
        planning.set_route(
            books.db,
            Route(
                id=RouteId(id_), unit=unit, name=name or id_, zone=zone,
                timetable=Timetable(
                    opens_day=opens_day, reading_days=reading_days, sales_after=sales_after,
                    collection_after=collection_after, every_months=every_months,
                    from_month=from_month,
                ),
            ),
            walked, actor=who_types(), now=books.now,
        )  # fmt: skip
        say({"route": id_, "points": len(walked)}, as_json=as_json,
            text=f"route {id_}: {len(walked)} points")  # fmt: skip


def reader(
    id_: Annotated[str, typer.Argument(metavar="READER")],
    *,
    unit: Annotated[str, typer.Option(help="The section.")],
    login: Annotated[str, typer.Option(help="Who signs in on the phone: user:NAME.")],
    name: Annotated[str, typer.Option(help="For people.")] = "",
    daily: Annotated[int, typer.Option(help="Points a day.")] = 100,
    on_duty: Annotated[bool, typer.Option(help="Whether there is work for them.")] = True,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Write who reads, and how much a day."""
    with failures_told(as_json=as_json), _opened(config) as books:
        who = Reader(
            id=ReaderId(id_), name=name or id_, login=login, unit=unit, daily=daily, on_duty=on_duty
        )
        planning.set_reader(books.db, who)
        say(asdict(who), as_json=as_json, text=f"reader {id_}: {daily} points a day")


def plan(
    year: Annotated[int, typer.Argument(min=2000, max=2200)],
    *,
    weekend: Annotated[str, typer.Option(help="ISO weekdays without work: 6,7 or 5.")] = "6,7",
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Plan the cycles of a year for every route; those planned already stay as they are."""
    with failures_told(as_json=as_json), _opened(config) as books:
        days = frozenset(int(day) for day in weekend.split(",") if day.strip() in set("1234567"))
        made = planning.plan_year(books.db, year, weekend=days, actor=who_types(), now=books.now)
        say({"planned": made}, as_json=as_json, text=f"{made} cycles planned")


def list_(
    *,
    state: Annotated[CycleState | None, typer.Option(help="Which state.")] = None,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """List cycles, newest first."""
    with failures_told(as_json=as_json), _opened(config) as books, books.db.transaction() as conn:
        found = planning.cycles(conn, state=state)
        say(
            {"cycles": [_cycle(one) for one in found]}, as_json=as_json,
            text="\n".join(
                f"{one.id:>6}  {one.route:<12} {one.dates.period}  {one.dates.opens} .. "
                f"{one.dates.due}  {one.state.value}" for one in found
            ) or "no cycle is planned: meterloop cycle plan YEAR",
        )  # fmt: skip


def open_(number: Number, *, config: ConfigFile = None, as_json: JsonFlag = False) -> None:
    """Open a planned cycle: its list is written, each point with the figure it ended on."""
    with failures_told(as_json=as_json), _opened(config) as books:
        points = planning.open_cycle(books.db, CycleId(number), actor=who_types(), now=books.now)
        say({"cycle": number, "points": points}, as_json=as_json,
            text=f"cycle {number} reads {points} points")  # fmt: skip


def share(number: Number, *, config: ConfigFile = None, as_json: JsonFlag = False) -> None:
    """Share the points that wait among the readers, by what each manages."""
    with failures_told(as_json=as_json), _opened(config) as books:
        shared = planning.share_out(books.db, CycleId(number), actor=who_types(), now=books.now)
        say(
            {"cycle": number, "shared": shared}, as_json=as_json,
            text="\n".join(f"{who or 'nobody':<16} {n}" for who, n in shared.items()),
        )  # fmt: skip


def export(
    number: Number,
    *,
    out: Annotated[Path, typer.Option(help="The file for the handheld.")],
    form: Annotated[Form, typer.Option("--format", help="What the device reads.")] = Form.CSV,
    who: Annotated[str, typer.Option("--reader", help="Of one reader; default: all.")] = "",
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Write the list of what is still to be read, in walking order, for a handheld."""
    with failures_told(as_json=as_json), _opened(config) as books:
        with books.db.transaction() as conn:
            cycle = planning.known_cycle(conn, CycleId(number))
            listed = planning.tasks(
                conn, cycle.id, reader=ReaderId(who) if who else None,
                states=(TaskState.LISTED, TaskState.ASSIGNED, TaskState.UNREAD),
            )  # fmt: skip
            due = planning.last_moment(conn, cycle)
        out.write_text(handheld.written(listed, form, HighLow(), due=due), encoding="utf-8")
        say({"tasks": len(listed), "file": str(out)}, as_json=as_json,
            text=f"{len(listed)} points written to {out}")  # fmt: skip


def import_(
    number: Number,
    file: Annotated[Path, typer.Argument(help="What the handheld wrote.")],
    *,
    form: Annotated[
        Form | None, typer.Option("--format", help="Default: by the file's name.")
    ] = None,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Load what a handheld brought; the same file again changes nothing, a wrong line is told."""
    with failures_told(as_json=as_json), _opened(config) as books:
        wanted = form or (Form.JSON if file.suffix.lower() == ".json" else Form.CSV)
        found, wrong = handheld.parsed(_text(file), wanted)
        with _bar(shown=not as_json) as bar:
            task = bar.add_task("entries", total=len(found))
            loaded = entering.load(
                books.db, CycleId(number), found, wrong, actor=who_types(), now=books.now,
                progress=lambda done, of: bar.update(task, completed=done, total=of),
            )  # fmt: skip
        delivering.deliver(books.db, books.clock)
        told = [f"line {one.row}: {one.why}" for one in loaded.wrong]
        say(
            asdict(loaded), as_json=as_json,
            text="\n".join([
                f"{loaded.taken} taken, {loaded.repeated} known already, {loaded.doubted} to be "
                f"looked at, {len(loaded.wrong)} wrong", *told,
            ]),
        )  # fmt: skip


def machine(number: Number, *, config: ConfigFile = None, as_json: JsonFlag = False) -> None:
    """Settle every point whose meter told its register by itself at the reading date."""
    with failures_told(as_json=as_json), _opened(config) as books:
        settled = entering.take_machine(books.db, CycleId(number), now=books.now)
        say({"cycle": number, "settled": settled}, as_json=as_json,
            text=f"{settled} points read by machine")  # fmt: skip


def show(number: Number, *, config: ConfigFile = None, as_json: JsonFlag = False) -> None:
    """Show a cycle: how far it is, the work of each reader, the list."""
    with failures_told(as_json=as_json), _opened(config) as books, books.db.transaction() as conn:
        cycle = planning.known_cycle(conn, CycleId(number))
        found = closing.statistics(conn, cycle.id)
        listed = planning.tasks(conn, cycle.id)
        work = reports.work(conn, cycle.id)
        say(
            {**_cycle(cycle), "statistics": asdict(found), "work": [asdict(one) for one in work],
             "tasks": [asdict(task) for task in listed]},
            as_json=as_json, text=_page(cycle, found, listed),
        )  # fmt: skip


def review(
    task: Annotated[int, typer.Argument(metavar="TASK", help="The number in the cycle's list.")],
    *,
    accept: Annotated[bool, typer.Option("--accept/--reject", help="Is the figure right?")],
    reason: Annotated[str, typer.Option(help="Why.")],
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Decide on a doubted figure; whoever entered it does not judge it."""
    with failures_told(as_json=as_json), _opened(config) as books:
        after = entering.review(
            books.db, TaskId(task), accept=accept, reason=reason,
            actor=who_leads_readings(books.db), now=books.now,
        )  # fmt: skip
        delivering.deliver(books.db, books.clock)
        say({"task": task, "state": after.state.value}, as_json=as_json,
            text=f"{task}: {after.state.value}")  # fmt: skip


def close(number: Number, *, config: ConfigFile = None, as_json: JsonFlag = False) -> None:
    """Close a cycle whose points all have a figure or a reason; tell what accounting gets."""
    with failures_told(as_json=as_json), _opened(config) as books:
        delivering.deliver(books.db, books.clock)
        found = closing.close_cycle(books.db, CycleId(number), actor=who_types(), now=books.now)
        say({"cycle": number, "statistics": asdict(found)}, as_json=as_json,
            text=_counts(found))  # fmt: skip


def trace(
    point: Annotated[str, typer.Argument(metavar="USAGE_POINT")],
    *,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Tell where the figures of a usage point came from: who, when, what was decided, its batch."""
    with failures_told(as_json=as_json), _opened(config) as books, books.db.transaction() as conn:
        found = reports.trace(conn, UsagePointId(point))
        history = [
            {
                "task": asdict(one.task),
                "entries": [
                    {**asdict(step.kept.entry), "doubts": list(step.kept.doubts),
                     "actor": step.kept.actor, "entered_at": step.kept.entered_at,
                     "batch": step.batch, "believed": step.believed}
                    for step in one.steps
                ],
                "decisions": [asdict(decided) for decided in one.decisions],
            }
            for one in found
        ]  # fmt: skip
        lines = [
            f"cycle {one.task.cycle}: {one.task.state.value}\n" + "\n".join(
                f"  {step.kept.entered_at:%Y-%m-%d %H:%M}Z  {step.kept.actor:<14} "
                f"{kwh_of(step.kept.entry.wh) or step.kept.entry.miss}  "
                f"{' '.join(step.kept.doubts)} {step.batch}" for step in one.steps
            ) for one in found
        ]  # fmt: skip
        say({"usage_point": point, "history": history}, as_json=as_json,
            text="\n".join(lines) or "no cycle has read this point")  # fmt: skip


@contextmanager
def _opened(config: Path | None) -> Iterator[_Books]:
    installation = installation_from(config)
    clock = Clock(scale=TimeScale.parse(installation.time.scale))
    with Database(address_of_database(installation), application="meterloop-cycle", size=2) as db:
        yield _Books(db, clock)


@contextmanager
def _bar(*, shown: bool) -> Iterator[Progress]:
    console = Console(file=sys.stderr)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, disable=not (shown and console.is_terminal)) as bar:
        yield bar


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RefusedError(
            Refusal.FILE, f"{file.name} cannot be read: {error}", fix="name a file in UTF-8"
        ) from error


def _lines(file: Path) -> list[str]:
    return [line.strip() for line in _text(file).splitlines() if line.strip()]


def _cycle(one: Cycle) -> dict[str, Any]:
    return {
        "cycle": one.id, "route": one.route, **asdict(one.dates), "state": one.state.value,
        "opened_by": one.opened_by, "closed_by": one.closed_by, "closed_at": one.closed_at,
    }  # fmt: skip


def _counts(found: Statistics) -> str:
    done = 40 * (found.read + found.unread) // max(1, found.points)
    misses = "".join(f"\n  {miss.value}: {count}" for miss, count in found.misses.items())
    return (
        f"{'█' * done}{'░' * (40 - done)}  {found.read} read ({found.by_machine} by machine, "
        f"{found.by_hand} by hand), {found.unread} unread, {found.in_review} in review of "
        f"{found.points}; {kwh_of(found.use_wh)} kWh{misses}"
    )


def _page(cycle: Cycle, found: Statistics, listed: list[Task]) -> str:
    lines = [
        f"{task.position:>5}  {task.id:>8}  {task.usage_point:<14} {task.state.value:<10} "
        f"{kwh_of(task.last_wh):>12} {kwh_of(task.read_wh):>12}  "
        f"{task.miss or ' '.join(task.doubts)}".rstrip()
        for task in listed
    ]
    head = f"cycle {cycle.id}, route {cycle.route}, {cycle.dates.period}: {cycle.state.value}"
    return "\n".join([head, _counts(found), *lines])
