"""Verbs of roll-ups: days, months, cycles and named hours of a point, and why they changed."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from cloud.assets import service as assets
from cloud.rollups import service as rollups
from cloud.rollups.model import (
    DayRollup,
    Dependent,
    Kept,
    KeptDay,
    PeriodKind,
    PeriodRollup,
    Recompute,
    Refusal,
    qualities_of,
)
from cloud.rollups.rules.hours import read_frame
from cloud.rollups.service.hours import DayHours
from cloud.store.db import Connection
from meterloop.cli.answer import (
    ConfigFile,
    JsonFlag,
    failures_told,
    say,
    who_types,
)
from meterloop.cli.usage_kit import DAY, From, Point, To, opened, zone_of
from protocols.errors import RefusedError
from protocols.identity import UsagePointId
from protocols.reading import Quality
from protocols.timeline import from_ms, local_date

_ONE = timedelta(days=1)


class By(StrEnum):
    """What days are rolled up to."""

    DAY = "day"
    MONTH = "month"
    CYCLE = "cycle"
    HOURS = "hours"


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command("rollup")(tell)
    app.command("why-changed")(why)
    app.command("recompute")(recompute)


def tell(
    point: Point,
    *,
    by: Annotated[By, typer.Option(help="Days, months, reading cycles, or named hours.")] = By.DAY,
    start: From = None,
    end: To = None,
    as_of: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%dT%H:%M:%S%z"],
            help="What was told at that time: 2026-03-05T12:00:00+08:00. Default: now.",
        ),
    ] = None,
    frame: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="JSON that names hours; for --by hours."),
    ] = None,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Tell a point's roll-ups: energy, slots, what is missing, what it rests on, which version."""
    with failures_told(as_json=as_json), opened(config) as (db, now):
        id_ = UsagePointId(point)
        with db.transaction() as conn:
            zone = zone_of(conn, id_)
            first, until = _span(start, end, local_date(now, zone), by)
            rows = _rows(conn, id_, by, (first, until), as_of=as_of, frame=frame)
        say(
            {"usage_point": point, "zone": zone.key, "by": by.value, "from": first, "to": until,
             "as_of": as_of, "rows": rows},
            as_json=as_json, text="\n".join(map(_line, rows)) or "nothing is rolled up there",
        )  # fmt: skip


def why(
    point: Point,
    *,
    day: Annotated[
        datetime | None, typer.Option(formats=DAY, help="One day; default: the newest changes.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 20,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Tell why days of a point changed after they were rolled up, and what had used them."""
    with failures_told(as_json=as_json), opened(config) as (db, _):
        id_ = UsagePointId(point)
        with db.transaction() as conn:
            zone = zone_of(conn, id_)
            one = day.date() if day else None
            found = rollups.recomputes_of(conn, id_, one, limit=limit)
            kept = rollups.kept_of(conn, id_, one, limit=limit)
        lines = [line for each in found for line in _told(each, zone)]
        lines += [_kept(each) for each in kept]
        say(
            {"usage_point": point, "zone": zone.key, "changes": [_change(each) for each in found],
             "kept": [
                 {"day": each.day, "version": each.version, "cause": each.mark.cause.value,
                  "reference": each.mark.reference, "actor": each.mark.actor,
                  "kept_from": each.kept_from, "at": each.at}
                 for each in kept
             ]},
            as_json=as_json,
            text="\n".join(lines) or "no day of it changed after it was rolled up",
        )  # fmt: skip


def recompute(
    points: Annotated[
        list[str] | None, typer.Argument(metavar="[USAGE_POINT]...", help="Default: all.")
    ] = None,
    *,
    start: Annotated[datetime, typer.Option("--from", formats=DAY, help="First day.")],
    end: Annotated[datetime, typer.Option("--to", formats=DAY, help="The day after the last.")],
    reason: Annotated[str, typer.Option(help="Why; it stands beside what changes.")],
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Look again at days that ended; what differs gets a new version, what does not stays."""
    with failures_told(as_json=as_json), opened(config) as (db, now):
        first, until = start.date(), end.date()
        if until <= first:
            raise _no_day(first, until)
        with db.transaction() as conn:
            named = [UsagePointId(point) for point in points or assets.usage_point_ids(conn)]
            for point in named if points else ():
                zone_of(conn, point)
        days = [first + n * _ONE for n in range((until - first).days)]
        rollups.request(db, named, days, reason=reason, actor=who_types(), now=now)
        with _bar(len(named) * len(days), shown=not as_json) as moved:
            kept = rollups.keep(db, now=now, progress=moved)
        say(
            {"points": len(named), "looked_at": kept.looked_at, "days": kept.days,
             "periods": kept.periods, "recomputes": kept.recomputes},
            as_json=as_json,
            text=f"{kept.looked_at} days looked at: {kept.days} have a new version, "
            f"{kept.recomputes} of them had one before; {kept.periods} months and cycles followed",
        )  # fmt: skip


def _rows(
    conn: Connection,
    id_: UsagePointId,
    by: By,
    span: tuple[date, date],
    *,
    as_of: datetime | None,
    frame: Path | None,
) -> list[dict[str, Any]]:
    first, until = span
    match by:
        case By.DAY:
            return [_day(row) for row in rollups.days(conn, [id_], first, until, as_of=as_of)]
        case By.CYCLE:
            kind = PeriodKind.CYCLE
            return [
                _period(row) for row in rollups.periods(conn, id_, kind, first, until, as_of=as_of)
            ]
        case By.MONTH:
            months = _months(first.replace(day=1), until)
            found = [rollups.month(conn, id_, day, as_of=as_of) for day in months]
            return [_period(row) for row in found if row is not None]
        case By.HOURS:
            if frame is None:
                raise RefusedError(
                    Refusal.FRAME, "no hours are named", fix="name them: --frame FILE"
                )
            stated = read_frame(frame.read_bytes())
            return [_hours(row) for row in rollups.hours(conn, id_, span, stated, as_of=as_of)]


def _months(first: date, until: date) -> list[date]:
    found = []
    while first < until:
        found.append(first)
        first = (first + 31 * _ONE).replace(day=1)
    return found


def _day(row: DayRollup) -> dict[str, Any]:
    one = row.figures
    return {
        "day": row.day, "wh": one.wh, "basis": one.basis.name.lower(), "slots": one.slots,
        "missing": one.missing, "interval_wh": one.interval_wh, "qualities": _words(one.qualities),
        "from_register": one.opening and {"at": one.opening.at, "wh": one.opening.wh},
        "to_register": one.closing and {"at": one.closing.at, "wh": one.closing.wh},
        "version": row.version, "known_at": row.known_at,
    }  # fmt: skip


def _period(row: PeriodRollup) -> dict[str, Any]:
    one = row.figures
    return {
        "name": row.name, "from": one.first_day, "to": one.until_day, "wh": one.wh,
        "days": one.days, "days_told": one.days_told, "slots": one.slots, "missing": one.missing,
        "interval_wh": one.interval_wh, "qualities": _words(one.qualities),
        "from_register": one.opening and {"at": one.opening.at, "wh": one.opening.wh},
        "to_register": one.closing and {"at": one.closing.at, "wh": one.closing.wh},
        "version": row.version, "known_at": row.known_at,
    }  # fmt: skip


def _hours(row: DayHours) -> dict[str, Any]:
    return {
        "day": row.day, "wh": sum(each.wh for each in row.windows),
        "slots": sum(each.slots for each in row.windows),
        "missing": sum(each.missing for each in row.windows),
        "windows": [
            {"name": each.name, "wh": each.wh, "slots": each.slots, "missing": each.missing,
             "qualities": _words(qualities_of(each.qualities))}
            for each in row.windows
        ],
    }  # fmt: skip


def _change(each: Recompute) -> dict[str, Any]:
    mark = each.mark
    return {
        "id": each.id, "day": each.after.day, "cause": mark.cause.value,
        "reference": mark.reference, "actor": mark.actor, "noted_at": mark.noted_at,
        "readings": mark.readings,
        "first_reading": from_ms(mark.first_ms) if mark.readings else None,
        "last_reading": from_ms(mark.last_ms) if mark.readings else None,
        "carried_from": mark.carried_from,
        "before": _day(each.before) if each.before else None, "after": _day(each.after),
        "difference_wh": each.difference_wh,
        "periods": [
            {"kind": one.kind.value, "name": one.name, "version": one.version,
             "wh_before": one.wh_before, "wh_after": one.wh_after}
            for one in each.periods
        ],
        "dependents": [_dependent(one) for one in each.dependents], "asked": each.looked,
    }  # fmt: skip


def _dependent(one: Dependent) -> dict[str, Any]:
    return {
        "kind": one.kind.value, "reference": one.reference, "account": one.account,
        "state": one.state, "wh_before": one.wh_before, "wh_after": one.wh_after,
        "currency": one.currency, "micros_before": one.micros_before,
        "micros_after": one.micros_after,
    }  # fmt: skip


def _words(qualities: frozenset[Quality]) -> list[str]:
    return sorted(quality.value for quality in qualities)


def _line(row: dict[str, Any]) -> str:
    when = row.get("name") or f"{row['day']:%Y-%m-%d}"
    there = f"{row['slots'] - row['missing']}/{row['slots']} slots"
    if "windows" in row:
        parts = "  ".join(f"{each['name']} {_kwh(each['wh'])}" for each in row["windows"])
        return f"{when}  {_kwh(row['wh']):>16}  {there:>14}  {parts}"
    told = ", ".join(row["qualities"]) or "-"
    version = f"v{row['version']}" if row["version"] else "so far"
    return f"{when:<10}  {_kwh(row['wh']):>16}  {there:>14}  {version:>6}  {told}"


def _told(each: Recompute, zone: ZoneInfo) -> Iterator[str]:
    mark = each.mark
    what = {
        "reading": f"{mark.readings} late reading{'s' if mark.readings != 1 else ''}",
        "carried": f"the register at its first midnight moved with {mark.carried_from}",
    }.get(mark.cause.value, f"{mark.cause.value} {mark.reference} {mark.actor}".rstrip())
    noted = mark.noted_at.astimezone(zone)
    before = each.before.figures.wh if each.before else None
    yield (
        f"{each.after.day}  {_kwh(before)} -> {_kwh(each.after.figures.wh)}"
        f"  (v{each.after.version}; {what}, {noted:%Y-%m-%d %H:%M})"
    )
    for one in each.periods:
        yield f"    {one.kind.value} {one.name}: {_kwh(one.wh_before)} -> {_kwh(one.wh_after)}"
    for dependent in each.dependents:
        yield (
            f"    {dependent.kind.value} {dependent.reference}: {dependent.state},"
            f" {_kwh(dependent.wh_before)} -> {_kwh(dependent.wh_after)},"
            f" {_money(dependent.micros_before)} -> {_money(dependent.micros_after)}"
            f" {dependent.currency}"
        )


def _kept(each: KeptDay) -> str:
    stays = f"v{each.version} stays" if each.version else "it has no roll-up"
    return (
        f"{each.day}  {stays}: intervals before {each.kept_from} were let go"
        f"  (asked by {each.mark.cause.value} {each.mark.reference} {each.mark.actor})".rstrip()
    )


def _kwh(wh: int | None) -> str:
    if wh is None:
        return "not known"
    sign = "-" if wh < 0 else ""
    return f"{sign}{abs(wh) // 1000}.{abs(wh) % 1000:03d} kWh"


def _money(micros: int | None) -> str:
    if micros is None:
        return "not known"
    sign = "-" if micros < 0 else ""
    return f"{sign}{abs(micros) // 1_000_000}.{abs(micros) % 1_000_000 // 10_000:02d}"


@contextmanager
def _bar(total: int, *, shown: bool) -> Iterator[Callable[[Kept], None]]:
    console = Console(file=sys.stderr)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, disable=not (shown and console.is_terminal)) as bar:
        task = bar.add_task("days", total=total)

        def moved(kept: Kept) -> None:
            bar.update(task, completed=kept.looked_at)

        yield moved


def _span(start: datetime | None, end: datetime | None, today: date, by: By) -> tuple[date, date]:
    """Return the days asked about: the last seven that ended, or what months hold the last year."""
    until = end.date() if end else today
    back = timedelta(days=365 if by in {By.MONTH, By.CYCLE} else 7)
    first = start.date() if start else until - back
    if until <= first:
        raise _no_day(first, until)
    return first, until


def _no_day(first: date, until: date) -> RefusedError:
    return RefusedError(
        Refusal.SPAN, f"{first} .. {until} holds no day", fix="--to is the day after the last"
    )
