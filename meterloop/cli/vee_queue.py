"""Verbs of validation in an installation: run it, the exception queue, values by hand."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn

from cloud.rollups import service as rollups
from cloud.store.clock import Clock
from cloud.store.db import Database
from cloud.usage import service as usage
from cloud.usage.agent import RawSupply
from cloud.vee import service as vee
from cloud.vee.model import Edit, EditState, ExceptionKind, Validated, VeeException
from cloud.vee.rules.findings import Severity
from meterloop.cli.answer import (
    ConfigFile,
    JsonFlag,
    failures_told,
    installation_from,
    say,
    who_types,
)
from meterloop.config import ConfigError
from meterloop.stack import address_of_database
from protocols.identity import UsagePointId
from protocols.timeline import TimeScale, from_ms

Number = Annotated[int, typer.Argument(metavar="ID", help="Its number.")]
Point = Annotated[str, typer.Argument(metavar="USAGE_POINT", help="The usage point.")]
Reason = Annotated[str, typer.Option(help="Why; people read it.")]


def register(group: typer.Typer) -> None:
    """Add the verbs to those of files."""
    for name, verb in (
        ("run", run), ("queue", queue), ("assign", assign), ("close", close), ("edit", edit),
        ("edits", edits), ("verify", verify), ("refuse", refuse), ("history", history),
        ("registers", registers),
    ):  # fmt: skip
        group.command(name)(verb)


def run(
    *,
    point: Annotated[str, typer.Option(help="Look again at days of this usage point.")] = "",
    day: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The civil day (with --point).")
    ] = None,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Look at all complete days that wait, or at one day of one usage point."""
    with failures_told(as_json=as_json):
        if bool(point) != (day is not None):
            raise ConfigError("command line", ["--point and --day go together"])
        with _opened(config) as (db, clock), _turning(as_json=as_json) as tell:
            done = _validated(db, clock, point, day.date() if day else None, tell)
            with db.transaction() as conn:
                rounds, days = vee.waiting(conn)
        say(
            {**asdict(done), "rounds_waiting": rounds, "days_waiting": days}, as_json=as_json,
            text=f"days: {done.days}, changed: {done.changed}, findings: {done.findings}, slots "
            f"estimated: {done.estimated}, missing: {done.missing}; waiting: {rounds} rounds, "
            f"{days} days",
        )  # fmt: skip


def queue(
    *,
    severity: Annotated[Severity | None, typer.Option(help="Only this severity.")] = None,
    kind: Annotated[ExceptionKind | None, typer.Option(help="Only this kind.")] = None,
    unit: Annotated[str, typer.Option(help="Only usage points of this unit.")] = "",
    point: Annotated[str, typer.Option(help="Only this usage point.")] = "",
    assigned: Annotated[str, typer.Option(help="Only what this person has.")] = "",
    older_hours: Annotated[int, typer.Option(min=0, help="Only what is open longer.")] = 0,
    closed: Annotated[bool, typer.Option("--closed", help="What is closed instead.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 200,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """List exceptions, gravest first, then oldest, and how many of each kind are open."""
    with failures_told(as_json=as_json), _opened(config) as (db, clock), db.transaction() as conn:
        before = clock.now() - timedelta(hours=older_hours) if older_hours else None
        found = vee.queue(
            conn, kind=kind, severity=severity.value if severity else None, unit=unit or None,
            usage_points=[UsagePointId(point)] if point else None, opened_before=before,
            assigned_to=assigned or None, closed=closed, limit=limit,
        )  # fmt: skip
        counts = [asdict(each) for each in vee.queue_counts(conn)]
        say(
            {"exceptions": [asdict(each) for each in found], "open": counts}, as_json=as_json,
            text="\n".join([_line(each) for each in found] or ["nothing waits"]),
        )  # fmt: skip


def assign(
    id_: Number,
    *,
    to: Annotated[str, typer.Option(help="Who takes it, such as user:anna.")],
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Give an open exception to somebody."""
    with failures_told(as_json=as_json), _opened(config) as (db, clock):
        vee.assign_exception(db, id_, to=to, actor=who_types(), now=clock.now())
        say({"id": id_, "assigned_to": to}, as_json=as_json, text=f"{id_}: {to}")


def close(
    id_: Number, *, reason: Reason, config: ConfigFile = None, as_json: JsonFlag = False
) -> None:
    """Settle a finding; it stays closed while the same is found."""
    with failures_told(as_json=as_json), _opened(config) as (db, clock):
        vee.close_exception(db, id_, reason=reason, actor=who_types(), now=clock.now())
        say({"id": id_, "state": "closed"}, as_json=as_json, text=f"{id_}: closed")


def edit(
    point: Point,
    *,
    value: Annotated[
        list[str],
        typer.Option(help="START=WH or START=cancel, such as 2026-03-01T00:15:00Z=120; repeat."),
    ],
    reason: Reason,
    seconds: Annotated[int, typer.Option(min=0, help="Interval length; 0: registers.")] = 900,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Propose values by hand; they stand once somebody else has verified them."""
    with failures_told(as_json=as_json):
        values = dict(_value(each) for each in value)
        with _opened(config) as (db, clock):
            id_ = vee.propose_edit(
                db, UsagePointId(point), seconds=seconds, values=values, reason=reason,
                actor=who_types(), now=clock.now(),
            )  # fmt: skip
        say({"edit": id_, "state": "proposed"}, as_json=as_json,
            text=f"edit {id_} proposed; somebody else: meterloop vee verify {id_}")  # fmt: skip


def edits(
    *,
    state: Annotated[EditState | None, typer.Option(help="Only this state.")] = EditState.PROPOSED,
    every: Annotated[bool, typer.Option("--all", help="Every state.")] = False,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """List proposed values, newest first."""
    with failures_told(as_json=as_json), _opened(config) as (db, _), db.transaction() as conn:
        found = vee.edits(conn, state=None if every else state)
        say({"edits": [asdict(each) for each in found]}, as_json=as_json,
            text="\n".join(map(_edit_line, found)) or "none")  # fmt: skip


def verify(id_: Number, *, config: ConfigFile = None, as_json: JsonFlag = False) -> None:
    """Let values that somebody else proposed stand."""
    with failures_told(as_json=as_json), _opened(config) as (db, clock):
        vee.verify_edit(
            db, id_, actor=who_types(), now=clock.now(), changed=rollups.want,
            refresh=usage.refresh,
        )  # fmt: skip
        say({"edit": id_, "state": "verified"}, as_json=as_json, text=f"edit {id_}: verified")


def refuse(
    id_: Number, *, reason: Reason, config: ConfigFile = None, as_json: JsonFlag = False
) -> None:
    """Refuse or take back proposed values."""
    with failures_told(as_json=as_json), _opened(config) as (db, clock):
        vee.refuse_edit(db, id_, reason=reason, actor=who_types(), now=clock.now())
        say({"edit": id_, "state": "refused"}, as_json=as_json, text=f"edit {id_}: refused")


def history(
    point: Point,
    start: Annotated[datetime, typer.Argument(help="When the interval begins, in UTC.")],
    *,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Show everything that was ever said over one interval, and every look at its day."""
    with failures_told(as_json=as_json), _opened(config) as (db, _), db.transaction() as conn:
        found = vee.slot_history(conn, UsagePointId(point), start.replace(tzinfo=UTC))
        lines = [
            f"{each.created_at:%Y-%m-%d %H:%M} {each.kind.name.lower():9} {each.wh:>9} Wh "
            f"{each.method or each.actor} {each.reason}"
            for each in found.said
        ]
        say(asdict(found), as_json=as_json, text="\n".join(lines) or "nothing was said over it")


def registers(
    point: Point,
    first: Annotated[datetime, typer.Argument(formats=["%Y-%m-%d"], help="The first civil day.")],
    last: Annotated[datetime, typer.Argument(formats=["%Y-%m-%d"], help="The last civil day.")],
    *,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Show what was said over the registers of some days, and why a midnight stays without one."""
    with failures_told(as_json=as_json), _opened(config) as (db, _), db.transaction() as conn:
        found = vee.register_history(conn, UsagePointId(point), first.date(), last.date())
        lines = [
            f"{each.at:%Y-%m-%d %H:%M} {each.kind.name.lower():9} {each.wh:>12} Wh "
            f"{each.method or each.actor} {each.reason}"
            for each in found.said
        ]
        lines += [
            f"{day.day} refused: {one['reason']}" for day in found.days for one in day.refused
        ]
        say(asdict(found), as_json=as_json, text="\n".join(lines) or "nothing was said over them")


def _validated(
    db: Database, clock: Clock, point: str, day: date | None, tell: Any
) -> Validated:  # fmt: skip
    supply = RawSupply()
    if day is not None:
        return vee.validate_days(
            db, supply, [(UsagePointId(point), day)], now=clock.now(), changed=rollups.want
        )
    vee.advance(db, now=clock.now())
    total = Validated()
    while True:
        done = vee.work_once(db, supply, now=clock.now(), changed=rollups.want)
        if done is None:
            return total
        total = vee.summed(total, done)
        tell(f"days looked at: {total.days}")


@contextmanager
def _turning(*, as_json: bool) -> Iterator[Any]:
    """Show on a terminal that work goes on, and how far it is."""
    if as_json:
        with nullcontext():
            yield lambda _: None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("days looked at: 0", total=None)
        yield lambda words: progress.update(task, description=words)


@contextmanager
def _opened(config: Path | None) -> Iterator[tuple[Database, Clock]]:
    installation = installation_from(config)
    clock = Clock(scale=TimeScale.parse(installation.time.scale))
    with Database(address_of_database(installation), application="meterloop-vee", size=1) as db:
        yield db, clock


def _value(text: str) -> tuple[datetime, int | None]:
    start, _, wh = text.rpartition("=")
    try:
        at = datetime.fromisoformat(start)
        return at.replace(tzinfo=at.tzinfo or UTC), None if wh == "cancel" else int(wh)
    except ValueError as error:
        fault = f"--value {text!r}: write START=WH, such as 2026-03-01T00:15:00Z=120"
        raise ConfigError("command line", [fault]) from error


def _line(each: VeeException) -> str:
    where = f"{each.usage_point} {each.day or each.range_start.isoformat(timespec='minutes')}"
    found = f"{each.value} {each.unit}, allowed {each.allowed}" if each.value is not None else ""
    taken = f" [{each.assigned_to}]" if each.assigned_to else ""
    return f"{each.id:>6} {each.severity:8} {each.kind:18} {where} {found}{each.detail}{taken}"


def _edit_line(each: Edit) -> str:
    first = from_ms(each.start_ms[0]).isoformat(timespec="minutes")
    return (
        f"{each.id:>6} {each.state:8} {each.usage_point} {first} +{len(each.wh)} "
        f"{each.proposed_by}: {each.reason}"
    )
