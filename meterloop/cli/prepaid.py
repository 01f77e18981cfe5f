"""Verbs of the balance: sweep now, tell one balance, list calculation exceptions, look twice."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from billing.money import to_text
from billing.prepaid import service
from billing.tariffs import service as tariffs
from cloud.store.clock import Clock
from cloud.store.db import Database
from meterloop.cli import prepaid_control, prepaid_terms
from meterloop.cli.answer import ConfigFile, JsonFlag, failures_told, installation_from, say
from meterloop.config import ConfigError
from meterloop.stack import address_of_database
from protocols.timeline import Interval, TimeScale

_CONNECTIONS = 4
"""A sweep reads on two besides the one that it writes on."""


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    prepaid = typer.Typer(no_args_is_help=True, help="Balances paid ahead: sweep, tell, check.")
    prepaid.command("sweep")(sweep)
    prepaid.command("balance")(balance)
    prepaid.command("exceptions")(exceptions)
    prepaid.command("shadow")(shadow)
    prepaid.command("lift-freeze")(lift_freeze)
    prepaid_control.register(prepaid)
    prepaid_terms.register(prepaid)
    app.add_typer(prepaid, name="prepaid")


def sweep(
    *,
    moved_only: Annotated[
        bool, typer.Option("--moved-only", help="Only accounts with a new register.")
    ] = False,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Price every account at its newest register now; cross lines, draw days, tell customers."""
    with failures_told(as_json=as_json), _books(config) as (db, now):
        with _bar(quiet=as_json) as bar:
            task = bar.add_task("pricing", total=None)
            swept = service.sweep(
                db, now=now, moved_only=moved_only,
                progress=lambda done, of: bar.update(task, completed=done, total=of),
            )  # fmt: skip
        say(
            {
                "priced": swept.points, "changed": len(swept.changed),
                "crossings": swept.crossings, "days_drawn": swept.drawdowns,
                "exceptions": swept.exceptions,
            },
            as_json=as_json,
        )  # fmt: skip


def balance(
    usage_point: Annotated[str, typer.Argument(help="The usage point, such as UP-000042.")],
    *,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Tell what a customer has left, and which register, money and tariff that is as of."""
    with failures_told(as_json=as_json), _books(config) as (db, now):
        with db.transaction() as conn:
            found = service.balance_of(conn, usage_point, now)
        left, lower = to_text(found.available_micros), to_text(found.lower_micros)
        at = found.as_of_register_at.isoformat()
        say(
            asdict(found), as_json=as_json,
            text=f"{usage_point}: {left} {found.currency} (at least {lower}), {found.quality.value}"
            f"\nregister {found.as_of_register_wh} Wh of {at}, tariff {found.tariff_code}"
            f" {found.tariff_hash[:12]}, ledger entry {found.as_of_ledger}",
        )  # fmt: skip


def exceptions(
    *,
    days: Annotated[int, typer.Option(min=1, max=3660, help="How many days back.")] = 30,
    zone: Annotated[str, typer.Option(help="The zone that days are cut in.")] = "Asia/Shanghai",
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Count calculations that failed or are doubtful by unit, day, reading section and kind."""
    with failures_told(as_json=as_json), _books(config) as (db, now):
        # half open: what was found at this very instant belongs to it
        span = Interval(start=now - timedelta(days=days), end=now + timedelta(seconds=1))
        with db.transaction() as conn:
            counts = service.exception_counts(conn, span, _zone(zone))
            standing = service.exceptions(conn)
        rows = [asdict(each) for each in counts]
        text = "\n".join(
            f"{_day(each.day)}  {each.unit or '-':<12} {each.section or '-':<12}"
            f" {each.kind.value:<18} {each.began:>8} began {each.standing:>8} standing"
            for each in counts
        )
        say(
            {"counts": rows, "standing": len(standing)}, as_json=as_json,
            text=text or f"none in {days} days",
        )  # fmt: skip


def shadow(
    *,
    percent: Annotated[int, typer.Option(min=1, max=100, help="The share of accounts.")] = 1,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Price a random share of accounts by the second engine too; a difference stops publishing."""
    with failures_told(as_json=as_json), _books(config) as (db, now):
        found = service.shadow_check(db, now=now, per_10000=percent * 100)
        say(asdict(found), as_json=as_json)
    if found.differing:
        raise typer.Exit(1)


def lift_freeze(
    *,
    reason: Annotated[str, typer.Option(help="What was found; kept in the audit log.")],
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Allow publishing of tariffs again after a difference was understood."""
    with failures_told(as_json=as_json), _books(config) as (db, now):
        actor = f"user:{os.environ.get('SUDO_USER') or os.environ.get('USER') or 'operator'}"
        tariffs.lift_freeze(db, actor=actor, reason=reason, now=now)
        say({"frozen": False, "actor": actor, "reason": reason}, as_json=as_json)


@contextmanager
def _books(config: Path | None) -> Iterator[tuple[Database, datetime]]:
    installation = installation_from(config)
    now = Clock(scale=TimeScale.parse(installation.time.scale)).now()
    dsn = address_of_database(installation)
    with Database(dsn, application="meterloop-cli", size=_CONNECTIONS) as db:
        yield db, now


def _bar(*, quiet: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(), console=Console(stderr=True), transient=True, disable=quiet,
    )  # fmt: skip


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ConfigError("--zone", [f"{name!r} is no time zone, such as Asia/Shanghai"]) from error


def _day(day: date) -> str:
    return day.isoformat()
