"""Verbs of the book: prove all of it, and write it for other programs."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from billing.ledger import service as ledger
from billing.ledger.model import BookAudit, Refusal, Root
from billing.ledger.rules import chain
from cloud.store.clock import Clock
from cloud.store.db import Database
from meterloop.cli.answer import (
    FAILED,
    ConfigFile,
    JsonFlag,
    failures_told,
    installation_from,
    say,
)
from meterloop.stack import address_of_database
from protocols.errors import RefusedError
from protocols.timeline import TimeScale

_DAY = ["%Y-%m-%d"]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    book = typer.Typer(no_args_is_help=True, help="Prove the ledger, or write it out.")
    book.command("audit")(audit)
    book.command("export")(export)
    app.add_typer(book, name="ledger")


def audit(
    *,
    root_file: Annotated[
        Path | None, typer.Option(help="Compare the roots in this file, then add the new ones.")
    ] = None,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Prove sums, balances and the hash chain of every entry; fail when anything is wrong."""
    with failures_told(as_json=as_json):
        installation = installation_from(config)
        kept = _roots_in(root_file)
        now = Clock(scale=TimeScale.parse(installation.time.scale)).now()
        dsn = address_of_database(installation)
        with Database(dsn, application="meterloop-ledger", size=1) as db:
            sealed = ledger.seal(db, now=now)
            with _bar("entries proved", shown=not as_json) as told:
                report = ledger.audit_book(db, kept_roots=kept, progress=told)
        added = _keep_roots(root_file, report, kept) if root_file and not report.violations else 0
        answer = {**_plain(report), "sealed_now": sealed, "roots_added": added}
        say({"ok": not report.violations, **answer}, as_json=as_json, text=_text(report))
        if report.violations:
            raise typer.Exit(FAILED)


def export(
    *,
    form: Annotated[str, typer.Option("--format", help="beancount or csv")],
    out: Annotated[Path, typer.Option(help="The file to write.")],
    start: Annotated[
        datetime | None, typer.Option("--from", formats=_DAY, help="First value date.")
    ] = None,
    end: Annotated[
        datetime | None, typer.Option("--to", formats=_DAY, help="The day after the last one.")
    ] = None,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Write the book, or the part of it between two value dates."""
    with failures_told(as_json=as_json):
        if form not in list(ledger.ExportFormat):
            raise RefusedError(
                Refusal.FORMAT, f"there is no format {form!r}", fix="use beancount or csv"
            )
        dsn = address_of_database(installation_from(config))
        part = out.with_name(out.name + ".part")
        with (
            Database(dsn, application="meterloop-ledger", size=1) as db,
            part.open("w", encoding="utf-8") as file,
            _bar("entries", shown=not as_json) as told,
        ):
            count = ledger.export(
                db, file.write, form=ledger.ExportFormat(form), progress=told,
                start=start.date() if start else None, end=end.date() if end else None,
            )  # fmt: skip
        part.replace(out)
        say({"entries": count, "file": str(out)}, as_json=as_json,
            text=f"{count} entries written to {out}")  # fmt: skip


@contextmanager
def _bar(words: str, *, shown: bool) -> Iterator[Callable[[int, int], None]]:
    """Yield a function that moves a progress bar on the error output."""
    console = Console(file=sys.stderr)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=console, disable=not (shown and console.is_terminal)) as bar:
        task = bar.add_task(words, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _roots_in(file: Path | None) -> list[Root]:
    if file is None or not file.exists():
        return []
    return chain.parse_roots(file.read_text(encoding="utf-8"))


def _keep_roots(file: Path, report: BookAudit, kept: list[Root]) -> int:
    """Add the day roots that the file lacks; nothing in it is ever changed."""
    known = {root.position for root in kept}
    fresh = [root for root in report.roots if root.position not in known]
    with file.open("a", encoding="utf-8") as out:
        out.writelines(chain.root_line(root) + "\n" for root in fresh)
    return len(fresh)


def _plain(report: BookAudit) -> dict[str, Any]:
    newest = report.roots[-1] if report.roots else None
    return {
        "entries": report.entries,
        "linked": report.linked,
        "violations": report.violations,
        "proofs": {
            name: {"violations": found.count, "examples": list(found.examples)}
            for name, found in report.findings.items()
        },
        "root": {
            "day": newest.day.isoformat(),
            "position": newest.position,
            "digest": newest.digest.hex(),
        }
        if newest
        else None,
    }


def _text(report: BookAudit) -> str:
    lines = [f"{report.entries} entries, {report.linked} in the chain"]
    for name, found in report.findings.items():
        mark = "✘" if found.count else "✔"
        lines.append(f"{mark} {name.replace('_', ' ')}: {found.count} violations")
        lines += [f"    {example}" for example in found.examples]
    if report.roots:
        newest = report.roots[-1]
        lines.append(f"root of {newest.day} at link {newest.position}: {newest.digest.hex()}")
    return "\n".join(lines)
