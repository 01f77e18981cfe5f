"""Verbs that look after an installation: doctor, migrate, audit."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from cloud.ingest.model import Keeper
from cloud.store.migrate import migrate as apply_migrations
from meterloop.cli.answer import (
    FAILED,
    ConfigFile,
    JsonFlag,
    failures_told,
    installation_from,
    say,
)
from meterloop.cli.keeper import in_words, told
from meterloop.config import Installation
from meterloop.embedded.postgres import EmbeddedPostgres
from meterloop.stack import address_of_database, cluster_of

_MARKS = {"ok": "✔", "warn": "!", "fail": "✘"}


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command("doctor")(doctor)
    app.command("migrate")(migrate)
    app.command("audit")(audit)


def doctor(*, config: ConfigFile = None, as_json: JsonFlag = False) -> None:
    """Look at disk, clock, database, broker, meters; say how to mend what is wrong."""
    from meterloop.doctor import Verdict, examine

    with failures_told(as_json=as_json):
        installation = installation_from(config) if config else _installation_or_default()
        findings = examine(installation)
        wrong = [found for found in findings if found.verdict is Verdict.WRONG]
        lines = []
        for found in findings:
            lines.append(f"{_MARKS[found.verdict.value]} {found.check}: {found.found}")
            if found.fix:
                lines.append(f"    fix: {found.fix}")
        rows = [
            {
                "check": found.check,
                "verdict": found.verdict.value,
                "found": found.found,
                "fix": found.fix,
            }
            for found in findings
        ]
        answer = {"ok": not wrong, "findings": rows}
        say(answer, as_json=as_json, text="\n".join(lines))
        if wrong:
            raise typer.Exit(FAILED)


def _installation_or_default() -> Installation:
    from meterloop.config import default_data_folder

    file = default_data_folder() / "installation.toml"
    return installation_from(file) if file.exists() else Installation(data=default_data_folder())


def _migrated(dsn: str, *, hypertable: bool) -> tuple[list[str], Keeper]:
    """Return the migrations applied now, and what keeps the readings of open days."""
    from cloud.ingest import service as ingest
    from cloud.store.db import Database

    applied = apply_migrations(dsn, hypertable=hypertable)
    with Database(dsn, application="meterloop-migrate", size=1) as db, db.transaction() as conn:
        return applied, ingest.kept_by(conn)


def migrate(*, config: ConfigFile = None, as_json: JsonFlag = False) -> None:
    """Bring the database to the newest schema and say what keeps its readings."""
    with failures_told(as_json=as_json):
        installation = installation_from(config)
        wanted = installation.database.hypertable
        embedded = not installation.database.address()
        cluster = cluster_of(installation) if embedded else None
        if cluster is not None and not cluster.is_ready():
            with EmbeddedPostgres(cluster) as server:
                applied, keeper = _migrated(server.dsn, hypertable=wanted)
        else:
            applied, keeper = _migrated(address_of_database(installation), hypertable=wanted)
        readings = told(keeper, wanted=wanted)
        text = "\n".join(f"applied {name}" for name in applied) or "nothing to apply"
        text += f"\n{in_words(readings)}"
        say({"applied": applied, "readings": readings}, as_json=as_json, text=text)


def audit(
    *,
    config: ConfigFile = None,
    truth: Annotated[
        Path | None, typer.Option(help="Truth file of a simulator, to compare with.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Count the violations of every invariant, in the database and against a truth file."""
    with failures_told(as_json=as_json):
        installation = installation_from(config)
        from meterloop.audit.service import audit as count_violations
        from meterloop.audit.service import evidence_of

        report = count_violations(evidence_of(installation, truth=truth))
        say(report.as_json(), as_json=as_json, text=report.as_text())
        sys.stdout.flush()
        if report.total:
            raise typer.Exit(FAILED)
