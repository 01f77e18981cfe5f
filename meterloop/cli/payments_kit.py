"""What the verbs of payments share: the books of an installation, days and amounts as typed."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from billing.money import parse_micros
from cloud.store.clock import Clock
from cloud.store.db import Database
from meterloop.cli.answer import installation_from
from meterloop.config import ConfigError, Installation
from meterloop.stack import address_of_database
from protocols.timeline import Interval, TimeScale, local_date, local_day

Since = Annotated[datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First day.")]
Until = Annotated[
    datetime | None,
    typer.Option("--to", formats=["%Y-%m-%d"], help="Last day; today, if left out."),
]
Zone = Annotated[str, typer.Option(help="The zone that days are cut in.")]
Reason = Annotated[str, typer.Option(help="Why; kept beside the act and in the audit log.")]
Channel = Annotated[str, typer.Option(help="The channel, such as bank.")]
SHANGHAI = "Asia/Shanghai"


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """The database of an installation, its present instant, and the zone that days are cut in."""

    installation: Installation
    db: Database
    zone: ZoneInfo
    now: datetime
    wall_now: datetime

    @property
    def today(self) -> date:
        """Return the present local day."""
        return local_date(self.now, self.zone)


@contextmanager
def books(config: Path | None, zone: str = SHANGHAI) -> Iterator[Books]:
    """Open the books. Raises: ConfigError for a zone that there is not."""
    try:
        civil = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ConfigError("--zone", [f"{zone!r} is no time zone, such as Asia/Shanghai"]) from error
    installation = installation_from(config)
    clock = Clock(scale=TimeScale.parse(installation.time.scale))
    with Database(address_of_database(installation), application="meterloop-cli", size=2) as db:
        yield Books(installation=installation, db=db, zone=civil, now=clock.now(),
                    wall_now=clock.wall_now())  # fmt: skip


def span_of(
    start: datetime | None, end: datetime | None, zone: ZoneInfo, today: date, *, days: int = 1
) -> Interval:
    """Return whole local days from --from to --to, both counted: by default the last `days`."""
    last = end.date() if end else today
    first = start.date() if start else last - timedelta(days=days - 1)
    if last < first:
        raise ConfigError("--from", [f"{first} comes after {last}; name the earlier day first"])
    return Interval(start=local_day(first, zone).start, end=local_day(last, zone).end)


def moment_of(text: str, found: Books) -> datetime:
    """Return a moment as typed: an ISO instant with its offset, or without one in the zone."""
    if not text:
        return found.now
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        fault = f"{text!r} is no moment, such as 2026-03-10T18:00 or 2026-03-10"
        raise ConfigError("--at", [fault]) from error
    if len(text) == len("2026-03-10"):
        return min(found.now, local_day(moment.date(), found.zone).end - timedelta(milliseconds=1))
    return (moment if moment.tzinfo else moment.replace(tzinfo=found.zone)).astimezone(UTC)


def amount_of(text: str) -> int:
    """Return an amount in micros. Raises: ConfigError."""
    try:
        return parse_micros(text)
    except ValueError as error:
        raise ConfigError("--amount", [f"{text!r} is no amount, such as 12.34"]) from error


def text_of(file: Path) -> str:
    """Return a file's text; `-` is standard input. Raises: ConfigError."""
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(file), [f"cannot be read as UTF-8 text ({error})"]) from error


def bar(*, quiet: bool) -> Progress:
    """Return a progress bar on the error output."""
    return Progress(
        SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn(),
        console=Console(stderr=True), transient=True, disable=quiet,
    )  # fmt: skip
