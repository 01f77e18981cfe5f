"""Verbs of stored readings: days that are packed, months that are exported, released, let go."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from billing.bills.service import needs as billing_needs
from cloud.ingest import service as ingest
from cloud.ingest.rules.retention import MonthPart, RetentionPolicy
from cloud.ingest.service import retention
from cloud.rollups import service as rollups
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
from meterloop.config import ConfigError, Installation
from meterloop.exports import month_written
from meterloop.stack import address_of_database
from protocols.timeline import TimeScale

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
_ASKED = (rollups.needed, billing_needs.needed)
"""Who may still need the intervals of a month."""
_KEYS = ("rows_days", "packed_months", "floor_months")


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    kept = typer.Typer(no_args_is_help=True, help="Stored readings: packed days, old months.")
    kept.command("close-days")(close_days)
    kept.command("release")(release)
    kept.command("retain")(retain)
    app.add_typer(kept, name="readings")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    db: Database
    clock: Clock
    policy: RetentionPolicy


def close_days(
    *, dry_run: DryRun = False, config: ConfigFile = None, as_json: JsonFlag = False
) -> None:
    """Pack every open day older than `ingest.rows_days` and drop its rows."""
    with failures_told(as_json=as_json), _opened(config) as here:
        now, keep = here.clock.now(), timedelta(days=here.policy.rows_days)
        with here.db.transaction() as conn:
            past = [day for day in ingest.days_open(conn) if day < (now - keep).date()]
        closed: dict[date, int] = {}
        if not dry_run:
            with _bar(as_json=as_json) as bar:
                for day in bar.track(past, description="packing days"):
                    closed[day] = ingest.close_day(here.db, day, now=now)
        answer = {
            "dry_run": dry_run, "past": [str(day) for day in past],
            "closed": {str(day): rows for day, rows in closed.items()},
        }  # fmt: skip
        lines = [f"{day}: {closed[day]} rows packed" if day in closed else f"{day}: would be packed"
                 for day in past]  # fmt: skip
        say(answer, as_json=as_json, text="\n".join(lines) or "no open day is past")


def release(
    month: Annotated[str, typer.Argument(help="YYYY-MM.")],
    *,
    export: Annotated[
        Path | None, typer.Option(help="Write its intervals to this new Parquet file.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Or say why nobody needs them.")] = "",
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Say that the intervals of a month may go: they are exported, or needless for a reason."""
    with failures_told(as_json=as_json), _opened(config) as here:
        first = _month(month)
        if (export is None) == (not reason.strip()):
            raise ConfigError("command", ["give either --export FILE or --reason WHY"])
        with here.db.transaction() as conn:
            if export is None:
                how, evidence = "declared", reason.strip()
                count = retention.count_month(conn, first).readings
            else:
                parts = retention.parts_of_month(conn, first)
                how, (count, digest) = "exported", _written(export, parts)
                evidence = f"{export.name} sha256 {digest}"
            retention.release(
                conn, first, how=how, evidence=evidence, readings=count, actor=who_types(),
                now=here.clock.now(),
            )  # fmt: skip
        answer = {"month": month, "how": how, "evidence": evidence, "readings": count}
        say(answer, as_json=as_json, text=f"{month}: {how}, {count} readings; {evidence}")


def retain(
    *, dry_run: DryRun = False, config: ConfigFile = None, as_json: JsonFlag = False
) -> None:
    """Let go of the intervals of months past `ingest.packed_months` that are released."""
    with failures_told(as_json=as_json), _opened(config) as here:
        with here.db.transaction() as conn:
            found = retention.due(conn, here.policy)
            now = here.clock.now()
            needs = retention.needed(conn, found.due[0], _ASKED, now=now) if found.due else []
        gone = {}
        if not dry_run:
            gone = retention.retain(
                here.db, here.policy, actor=who_types(), now=now, asked=_ASKED
            )  # fmt: skip
        answer = {
            "dry_run": dry_run, "packed_months": here.policy.packed_months,
            "reached": str(found.reached or ""), "keep_from": str(found.keep_from or ""),
            "months": [
                {"month": f"{each.month:%Y-%m}", "due": each.month in found.due, "how": each.how,
                 "evidence": each.evidence}
                for each in found.kept
            ],
            "waiting": [f"{each:%Y-%m}" for each in found.waiting],
            "needed": [asdict(each) for each in needs],
            "dropped": {f"{each:%Y-%m}": asdict(count) for each, count in gone.items()},
        }  # fmt: skip
        say(answer, as_json=as_json, text=_retained(answer))


def _retained(answer: dict[str, Any]) -> str:
    months = answer["packed_months"]
    lines = [f"packed intervals are kept {f'{months} months' if months else 'for ever'}"]
    for each in answer["months"]:
        went = answer["dropped"].get(each["month"])
        if went:
            what = f"dropped: {went['readings']} readings, {went['octets']} octets"
        elif each["due"]:
            what = f"due, {each['how']}" if each["how"] else "due; neither exported nor declared"
        else:
            what = "kept"
        lines.append(f"{each['month']}: {what}")
    lines += [
        f"{each['who']} still needs it: {each['count']} {each['what']} from {each['first_day']} on,"
        f" such as {each['example']}"
        for each in answer["needed"]
    ]
    if answer["waiting"]:
        lines.append(f"fix: meterloop readings release {answer['waiting'][0]} --export FILE")
    return "\n".join(lines)


@contextmanager
def _opened(config: Any) -> Iterator[_Opened]:
    installation = installation_from(config)
    policy = _policy(installation)
    clock = Clock(scale=TimeScale.parse(installation.time.scale))
    with Database(
        address_of_database(installation), application="meterloop-readings", size=1
    ) as db:
        yield _Opened(db=db, clock=clock, policy=policy)


def _policy(installation: Installation) -> RetentionPolicy:
    """Return the policy of the process that stores readings. Raises: ConfigError."""
    kind = "worker" if "worker" in installation.services else "ingest"
    section: dict[str, Any] = getattr(installation, kind)
    given = {key: section[key] for key in _KEYS if key in section}
    wrong = [f"{kind}.{key}: must be a whole number" for key, value in given.items()
             if type(value) is not int]  # fmt: skip
    if wrong:
        raise ConfigError("installation", wrong)
    try:
        return RetentionPolicy(**given)
    except ValueError as error:
        raise ConfigError("installation", [f"{kind}: {error}"]) from None


def _written(file: Path, parts: Iterator[list[MonthPart]]) -> tuple[int, str]:
    try:
        return month_written(file, parts)
    except OSError as error:
        raise ConfigError("command", [f"--export {file}: {error.strerror or error}"]) from error


def _month(text: str) -> date:
    try:
        return date.fromisoformat(f"{text}-01")
    except ValueError:
        raise ConfigError("command", [f"{text!r} is no month; write it as 2026-03"]) from None


def _bar(*, as_json: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(),
        console=Console(file=sys.stderr), disable=as_json or not sys.stderr.isatty(),
    )  # fmt: skip
