"""Verbs of terms: change an agreement's tariff or attributes from a day, list, decide."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from billing.customers import service as customers
from billing.customers.model import AgreementId, NewTermsChange, TermsChange
from billing.prepaid import service
from cloud.store.clock import Clock
from cloud.store.db import Database
from meterloop.cli.answer import (
    ConfigFile,
    JsonFlag,
    failures_told,
    installation_from,
    say,
)
from meterloop.cli.people import Actor, who_serves
from meterloop.config import ConfigError
from meterloop.stack import address_of_database
from protocols.timeline import TimeScale


def register(prepaid: typer.Typer) -> None:
    """Add the verbs to those of balances."""
    prepaid.command("change-terms")(change)
    prepaid.command("terms")(terms)
    prepaid.command("decide-terms")(decide)


def change(
    agreement: Annotated[str, typer.Argument(help="The agreement, such as SA-000042.")],
    *,
    first: Annotated[
        datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="The first day it holds.")
    ],
    reason: Annotated[str, typer.Option(help="Why; kept with the change.")],
    tariff: Annotated[str | None, typer.Option(help="The code of another tariff.")] = None,
    attribute: Annotated[
        list[str] | None, typer.Option("--set", help="An attribute, such as veteran=true.")
    ] = None,
    unset: Annotated[
        list[str] | None, typer.Option("--unset", help="An attribute that is taken away.")
    ] = None,
    actor: Actor = "",
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Change a tariff or attributes from a day on; for days past another person decides."""
    with failures_told(as_json=as_json), _books(config) as (db, now):
        wish = NewTermsChange(
            agreement=AgreementId(agreement), from_day=first.date(), reason=reason,
            tariff_code=tariff,
            attributes={**_pairs(attribute or []), **dict.fromkeys(unset or [])},
        )  # fmt: skip
        found = service.change_terms(db, wish, actor=who_serves(db, actor), now=now)
        say(asdict(found), as_json=as_json, text=_text(found))


def terms(
    agreement: Annotated[str | None, typer.Argument(help="One agreement; else all.")] = None,
    *,
    waiting: Annotated[bool, typer.Option("--waiting", help="Only what is undecided.")] = False,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """List changes of terms, newest first."""
    with failures_told(as_json=as_json), _books(config) as (db, _):
        with db.transaction() as conn:
            found = customers.terms_changes(conn, agreement=agreement, waiting=waiting)
        say(
            {"changes": [asdict(each) for each in found]}, as_json=as_json,
            text="\n".join(_text(each) for each in found) or "none",
        )  # fmt: skip


def decide(
    number: Annotated[int, typer.Argument(metavar="CHANGE")],
    decision: Annotated[str, typer.Argument(help="approve or refuse")],
    *,
    actor: Actor = "",
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Agree to a change of days past, or refuse it; the next sweep brings the balance to it."""
    with failures_told(as_json=as_json), _books(config) as (db, now):
        if decision not in ("approve", "refuse"):
            raise ConfigError("decision", [f"{decision!r}: say approve or refuse"])
        found = customers.decide_terms(
            db, number, approve=decision == "approve", actor=who_serves(db, actor), now=now
        )
        say(asdict(found), as_json=as_json, text=_text(found))


def _pairs(stated: list[str]) -> dict[str, str]:
    wrong = [each for each in stated if "=" not in each]
    if wrong:
        raise ConfigError("--set", [f"{wrong[0]!r} is not name=value"])
    return dict(each.split("=", 1) for each in stated)


def _text(found: TermsChange) -> str:
    what = [found.tariff_code] if found.tariff_code else []
    what += [f"{name}={value or '-'}" for name, value in sorted(found.attributes.items())]
    done = f", done {found.applied_at:%Y-%m-%d %H:%M}" if found.applied_at else ""
    return (
        f"{found.id}  {found.agreement}  from {found.from_day}: {' '.join(what)}  {found.state}"
        f" ({found.proposed_by}{', ' + found.decided_by if found.decided_by else ''}){done}"
    )


@contextmanager
def _books(config: Path | None) -> Iterator[tuple[Database, datetime]]:
    installation = installation_from(config)
    now = Clock(scale=TimeScale.parse(installation.time.scale)).now()
    with Database(address_of_database(installation), application="meterloop-cli") as db:
        yield db, now
