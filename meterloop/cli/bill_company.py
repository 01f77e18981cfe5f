"""Verbs of a company's one bill: issue it, list, print."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from billing.bills.rules.collective import CollectiveBill
from billing.bills.service import collective
from billing.money import to_text
from cloud.store.clock import Clock
from cloud.store.db import Database
from meterloop.cli.answer import (
    ConfigFile,
    JsonFlag,
    failures_told,
    installation_from,
    say,
)
from meterloop.cli.people import Actor, who_runs_bills
from meterloop.stack import address_of_database
from protocols.timeline import TimeScale

Company = Annotated[str, typer.Argument(help="The collective, such as CO-000001.")]


def register(bill: typer.Typer) -> None:
    """Add the verbs to those of bills."""
    company = typer.Typer(no_args_is_help=True, help="One bill for all supplies of a company.")
    company.command("issue")(issue)
    company.command("show")(show)
    company.command("print")(print_page)
    bill.add_typer(company, name="company")


def issue(
    company: Company,
    *,
    start: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"])],
    end: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"])],
    actor: Actor = "",
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Issue one bill over those of every member up to the day before --end; once."""
    with failures_told(as_json=as_json), _books(config) as (db, now):
        found = collective.issue(
            db,
            company,
            start=start.date(),
            end=end.date(),
            actor=who_runs_bills(db, actor),
            now=now,
        )
        say(_plain(found), as_json=as_json, text=_text(found))


def show(company: Company, *, config: ConfigFile = None, as_json: JsonFlag = False) -> None:
    """List a company's bills, newest first."""
    with failures_told(as_json=as_json), _books(config) as (db, _), db.transaction() as conn:
        found = collective.bills_of(conn, company)
        text = "\n".join(_text(one) for one in found) or "none"
        say({"bills": [_plain(one) for one in found]}, as_json=as_json, text=text)


def print_page(
    company: Company,
    bill: Annotated[int, typer.Argument(help="Its number, as `bill company show` lists it.")],
    *,
    out: Annotated[Path, typer.Option(help="The PDF file to write.")],
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Print a company's bill: the same octets each time."""
    with failures_told(as_json=as_json), _books(config) as (db, _), db.transaction() as conn:
        octets = collective.pdf_of(conn, company, bill)
        out.write_bytes(octets)
        say({"bill": bill, "file": str(out), "bytes": len(octets)}, as_json=as_json)


@contextmanager
def _books(config: Path | None) -> Iterator[tuple[Database, datetime]]:
    installation = installation_from(config)
    now = Clock(scale=TimeScale.parse(installation.time.scale)).now()
    with Database(address_of_database(installation), application="meterloop-cli", size=2) as db:
        yield db, now


def _plain(found: CollectiveBill) -> dict[str, Any]:
    return {**asdict(found), "number": found.number}


def _text(found: CollectiveBill) -> str:
    return (
        f"{found.id}  {found.number}  {len(found.bills)} bills  {to_text(found.total_micros)} "
        f"{found.currency}  to pay {to_text(found.posted_micros)}"
    )
