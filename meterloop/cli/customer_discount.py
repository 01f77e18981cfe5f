"""Verbs of discounts: ask with evidence, list, decide by another person."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from billing.customers import service as customers
from billing.customers.model import AgreementId, Discount, NewDiscount
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

Day = Annotated[datetime, typer.Option(formats=["%Y-%m-%d"])]


def register(customer: typer.Typer) -> None:
    """Add the verbs to those of customers."""
    customer.command("ask-discount")(ask)
    customer.command("discounts")(discounts)
    customer.command("decide-discount")(decide)


def ask(
    agreement: Annotated[str, typer.Argument(help="The agreement, such as SA-000042.")],
    *,
    attribute: Annotated[str, typer.Option(help="What the tariff's line asks for.")] = "industry",
    value: Annotated[str, typer.Option()] = "true",
    evidence: Annotated[str, typer.Option(help="What shows the right, such as a licence.")],
    first: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"])],
    until: Annotated[datetime, typer.Option("--until", formats=["%Y-%m-%d"])],
    actor: Actor = "",
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Ask for a discount from the first of a month until the first of another."""
    with failures_told(as_json=as_json), _books(config) as (db, now):
        wish = NewDiscount(
            agreement=AgreementId(agreement), attribute=attribute, value=value,
            evidence=evidence, from_day=first.date(), until_day=until.date(),
        )  # fmt: skip
        found = customers.ask_discount(db, wish, actor=who_serves(db, actor), now=now)
        say(asdict(found), as_json=as_json, text=_text(found))


def discounts(
    *,
    agreement: Annotated[str | None, typer.Option(help="Of one agreement; else all.")] = None,
    waiting: Annotated[bool, typer.Option("--waiting", help="Only undecided ones.")] = False,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """List discounts, newest first."""
    with failures_told(as_json=as_json), _books(config) as (db, _), db.transaction() as conn:
        found = customers.discounts(conn, agreement=agreement, waiting=waiting)
        say(
            {"discounts": [asdict(one) for one in found]}, as_json=as_json,
            text="\n".join(_text(one) for one in found) or "none",
        )  # fmt: skip


def decide(
    discount: Annotated[int, typer.Argument(help="Its number, as `customer discounts` lists it.")],
    what: Annotated[str, typer.Argument(help="grant or refuse.")],
    *,
    reason: Annotated[str, typer.Option(help="Why.")] = "",
    actor: Actor = "",
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Grant or refuse what another person asked for."""
    with failures_told(as_json=as_json), _books(config) as (db, now):
        if what not in ("grant", "refuse"):
            raise ConfigError("command line", [f"{what!r} is not grant or refuse"])
        with db.transaction() as conn:
            found = customers.decide_discount(
                conn, discount, granted=what == "grant", actor=who_serves(db, actor),
                reason=reason, now=now,
            )  # fmt: skip
        say(asdict(found), as_json=as_json, text=_text(found))


@contextmanager
def _books(config: Path | None) -> Iterator[tuple[Database, datetime]]:
    installation = installation_from(config)
    now = Clock(scale=TimeScale.parse(installation.time.scale)).now()
    with Database(address_of_database(installation), application="meterloop-cli", size=2) as db:
        yield db, now


def _text(found: Discount) -> str:
    state = {None: "waits", True: "granted", False: "refused"}[found.granted]
    return (
        f"{found.id}  {found.agreement}  {found.attribute}={found.value}  {found.from_day} until "
        f"{found.until_day}  {state}  {found.evidence}"
    )
