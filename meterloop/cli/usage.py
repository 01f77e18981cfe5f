"""Verbs of consumption: what a usage point used, and files of it for other programs."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from typer.core import TyperGroup

from cloud.assets import service as assets
from cloud.store.db import Connection
from cloud.usage import service as usage
from cloud.usage.model import DayUsage, IntervalUsage, UsageRegister
from meterloop.cli import rollups
from meterloop.cli.answer import ConfigFile, JsonFlag, failures_told, say
from meterloop.cli.usage_kit import From, Refusal, To, opened, zone_of
from meterloop.exports import Format, written
from protocols.cim.readings import Series
from protocols.errors import RefusedError
from protocols.identity import UsagePointId
from protocols.reading import Channel
from protocols.timeline import Interval, local_date, local_day, to_ms

_BAR = 40


class By(StrEnum):
    """How consumption is told."""

    DAY = "day"
    INTERVAL = "interval"
    REGISTER = "register"


class PointOrVerb(TyperGroup):
    """Verbs of which the first is meant where a usage point stands in their place."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `show` before what names no verb."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["show", *args]
        return super().parse_args(ctx, args)


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    verbs = typer.Typer(
        cls=PointOrVerb, no_args_is_help=True,
        help="What a usage point used (usage USAGE_POINT), its roll-ups, and why they changed.",
    )  # fmt: skip
    verbs.command("show")(tell)
    rollups.register(verbs)
    app.add_typer(verbs, name="usage")
    app.command("export")(export)


def tell(
    point: Annotated[str, typer.Argument(metavar="USAGE_POINT", help="Where supply is metered.")],
    *,
    start: From = None,
    end: To = None,
    by: Annotated[By, typer.Option(help="Days, intervals, or registers as they were read.")] = (
        By.DAY
    ),
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Tell what a usage point used, day by day (the last seven, unless told), with its quality."""
    with failures_told(as_json=as_json), opened(config) as (db, now):
        id_ = UsagePointId(point)
        with db.transaction() as conn:
            zone = zone_of(conn, id_)
            span = _span(start, end, zone, now, days=7)
            rows = _rows(conn, id_, span, zone, by)
            average = usage.average_daily_wh(conn, id_, now)
        say(
            {
                "usage_point": point, "zone": zone.key, "from": span.start, "to": span.end,
                "by": by.value, "rows": rows, "average_daily_wh": average,
            },
            as_json=as_json, text=_picture(rows, by, zone),
        )  # fmt: skip


def export(
    *,
    form: Annotated[Format, typer.Option("--format", help="What the file is to be.")],
    out: Annotated[Path, typer.Option(help="The file to write.")],
    point: Annotated[
        list[str] | None, typer.Option(help="A usage point; may be given many times. Default: all.")
    ] = None,
    start: From = None,
    end: To = None,
    by: Annotated[By, typer.Option(help="Intervals, or registers as they were read.")] = (
        By.INTERVAL
    ),
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Write usage to a file: CSV, Parquet, or IEC 61968-9 MeterReadings as XML or JSON."""
    with failures_told(as_json=as_json), opened(config) as (db, now):
        if by is By.DAY:
            raise RefusedError(
                Refusal.SPAN, "files hold intervals or registers", fix="use --by interval"
            )
        with db.transaction() as conn, _bar(shown=not as_json) as bar:
            named = [UsagePointId(id_) for id_ in point or assets.usage_point_ids(conn)]
            series = []
            for id_ in bar.track(named, description="usage points"):
                zone = zone_of(conn, id_)
                span = _span(start, end, zone, now, days=1)
                series += _series(conn, id_, span, by)
        part = out.with_name(out.name + ".part")
        part.write_bytes(written(series, form))
        part.replace(out)
        values = sum(len(one.at_ms) for one in series)
        say(
            {"file": str(out), "format": form.value, "usage_points": len(named), "values": values},
            as_json=as_json, text=f"{values} values of {len(named)} usage points written to {out}",
        )  # fmt: skip


@contextmanager
def _bar(*, shown: bool) -> Iterator[Progress]:
    console = Console(file=sys.stderr)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, disable=not (shown and console.is_terminal)) as bar:
        yield bar


def _span(
    start: datetime | None, end: datetime | None, zone: ZoneInfo, now: datetime, *, days: int
) -> Interval:
    """Return whole civil days of the point: 23, 24 or 25 hours each."""
    today = local_date(now, zone)
    last: date = end.date() if end else today + timedelta(days=1)
    first: date = start.date() if start else last - timedelta(days=days)
    if last <= first:
        raise RefusedError(
            Refusal.SPAN, f"{first} .. {last} holds no day", fix="--to is the day after the last"
        )
    return Interval(start=local_day(first, zone).start, end=local_day(last, zone).start)


def _rows(
    conn: Connection, id_: UsagePointId, span: Interval, zone: ZoneInfo, by: By
) -> list[dict[str, Any]]:
    match by:
        case By.DAY:
            return [_day(row) for row in usage.daily(conn, id_, span, zone)]
        case By.INTERVAL:
            return [_interval(row) for row in usage.intervals(conn, id_, span)]
        case By.REGISTER:
            return [_register(row) for row in usage.registers(conn, id_, span)]


def _day(row: DayUsage) -> dict[str, Any]:
    return {
        "day": row.day, "wh": row.wh, "quality": row.quality.value, "from_register": row.from_at,
        "to_register": row.to_at,
    }  # fmt: skip


def _interval(row: IntervalUsage) -> dict[str, Any]:
    return {
        "start": row.start, "seconds": row.seconds, "wh": row.wh, "quality": row.quality.value,
    }  # fmt: skip


def _register(row: UsageRegister) -> dict[str, Any]:
    return {
        "at": row.at, "wh": row.cumulative_wh, "quality": row.quality.value, "meter": row.meter,
        "meter_wh": row.meter_wh,
    }  # fmt: skip


def _picture(rows: Sequence[dict[str, Any]], by: By, zone: ZoneInfo) -> str:
    """Return one line a row, with a bar as long as its share of the largest."""
    if not rows:
        return "nothing was read in that time"
    most = max(row["wh"] or 0 for row in rows)
    lines = []
    for row in rows:
        when = row.get("day") or (row.get("start") or row["at"]).astimezone(zone)
        told = f"{when:%Y-%m-%d}" if by is By.DAY else f"{when:%Y-%m-%d %H:%M:%S}"
        if row["wh"] is None:
            lines.append(f"{told}  not known          {row['quality']}")
            continue
        kwh = f"{row['wh'] // 1000}.{row['wh'] % 1000:03d} kWh"
        bar = "" if by is By.REGISTER else "█" * (_BAR * row["wh"] // most if most > 0 else 0)
        lines.append(f"{told}  {kwh:>16}  {row['quality']:<12} {bar}".rstrip())
    return "\n".join(lines)


def _series(conn: Connection, id_: UsagePointId, span: Interval, by: By) -> list[Series]:
    """Return the columns of one point; one series per interval length."""
    if by is By.REGISTER:
        read = usage.registers(conn, id_, span)
        if not read:
            return []
        return [
            Series(
                usage_point=id_, channel=Channel.IMPORT_WH,
                at_ms=np.array([to_ms(row.at) for row in read], dtype=np.int64),
                value=np.array([row.cumulative_wh for row in read], dtype=np.int64),
                quality=tuple(row.quality for row in read),
            )
        ]  # fmt: skip
    found = usage.intervals(conn, id_, span)
    return [
        Series(
            usage_point=id_, channel=Channel.IMPORT_INTERVAL_WH, seconds=seconds,
            at_ms=np.array([to_ms(row.start) for row in mine], dtype=np.int64),
            value=np.array([row.wh for row in mine], dtype=np.int64),
            quality=tuple(row.quality for row in mine),
        )
        for seconds in sorted({row.seconds for row in found})
        if (mine := [row for row in found if row.seconds == seconds])
    ]  # fmt: skip
