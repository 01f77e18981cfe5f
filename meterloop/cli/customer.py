"""Verbs of subscribers: take in one or a file, join a company's supplies, ask for discounts."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from billing.customers import service as customers
from billing.customers.model import (
    AccountId,
    AgreementId,
    Collective,
    CustomerId,
    CustomerKind,
    NewCustomer,
)
from billing.rating.rules.subscribing import Subscription, SupplyKind
from billing.rating.service import subscribing
from cloud.store.clock import Clock
from cloud.store.db import Database
from meterloop.cli import customer_discount
from meterloop.cli.answer import (
    FAILED,
    ConfigFile,
    JsonFlag,
    failures_told,
    installation_from,
    say,
)
from meterloop.cli.people import Actor, who_serves
from meterloop.config import ConfigError
from meterloop.stack import address_of_database
from protocols.identity import UsagePointId
from protocols.timeline import TimeScale

Zone = Annotated[str, typer.Option(help="The zone that days are cut in.")]
_SHOWN = 20


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    customer = typer.Typer(no_args_is_help=True, help="Subscribers, companies, discounts.")
    customer.command("add")(add)
    customer.command("import")(take_file)
    customer.command("find")(find)
    customer.command("company")(company)
    customer.command("companies")(companies)
    customer_discount.register(customer)
    app.add_typer(customer, name="customer")


def add(
    usage_point: Annotated[str, typer.Argument(help="Where it is supplied, such as UP-000042.")],
    *,
    customer: Annotated[str, typer.Option(help="The customer's id; one may have many supplies.")],
    name: Annotated[str, typer.Option(help="The customer's name.")],
    account: Annotated[str, typer.Option(help="The account that pays.")],
    agreement: Annotated[str, typer.Option(help="The agreement.")],
    tariff: Annotated[str, typer.Option(help="The code of a published tariff.")],
    currency: Annotated[str, typer.Option(help="The account's money, such as CNY.")],
    start: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"])],
    supply: Annotated[SupplyKind, typer.Option(help="ordinary, or demand.")] = SupplyKind.ORDINARY,
    kind: Annotated[CustomerKind, typer.Option()] = CustomerKind.HOUSEHOLD,
    language: Annotated[str, typer.Option(help="fa, zh, uz, ru or en.")] = "en",
    phone: Annotated[str, typer.Option()] = "",
    contract_w: Annotated[int, typer.Option(help="Contract power, W.")] = 0,
    capacity_va: Annotated[int, typer.Option(help="Transformer capacity, VA.")] = 0,
    register_wh: Annotated[int | None, typer.Option(help="Register at the start, Wh.")] = None,
    attribute: Annotated[list[str] | None, typer.Option(help="name=value. Repeatable.")] = None,
    zone: Zone = "Asia/Shanghai",
    actor: Actor = "",
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Take in one subscriber, if the tariff can price it; the same again changes nothing."""
    with failures_told(as_json=as_json), _books(config) as (db, now):
        attributes = dict(_pair(text) for text in attribute or ())
        powers = {"contract_w": contract_w, "capacity_va": capacity_va}
        attributes |= {key: str(value) for key, value in powers.items() if value}
        record = NewCustomer(
            customer=CustomerId(customer), name=name, language=language, phone=phone, kind=kind,
            account=AccountId(account), agreement=AgreementId(agreement),
            usage_point=UsagePointId(usage_point), tariff_code=tariff, currency=currency,
            started_at=datetime.combine(start.date(), time(0), ZoneInfo(zone)).astimezone(UTC),
            opening_register_wh=register_wh, attributes=attributes,
        )  # fmt: skip
        new = subscribing.subscribe(
            db, Subscription(record=record, kind=supply), actor=who_serves(db, actor), now=now
        )
        say({"agreement": agreement, "new": new}, as_json=as_json)


def take_file(
    file: Annotated[Path, typer.Argument(help="Comma-separated; the first line names columns.")],
    *,
    zone: Zone = "Asia/Shanghai",
    check: Annotated[bool, typer.Option("--check", help="Judge every line, take none in.")] = False,
    report: Annotated[
        Path | None, typer.Option(help="Write refused lines here, comma-separated.")
    ] = None,
    actor: Actor = "",
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Take in the good lines of a file of subscribers; refused lines are told with their reason."""
    with failures_told(as_json=as_json), _books(config) as (db, now):
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError("command line", [f"{file}: {error}"]) from error
        with _bar(quiet=as_json) as bar:
            task = bar.add_task("lines", total=None)
            taken = subscribing.subscribe_file(
                db, text, zone=ZoneInfo(zone), actor=who_serves(db, actor), now=now,
                only_check=check,
                told=lambda done, of: bar.update(task, completed=done, total=of),
            )  # fmt: skip
        if report is not None:
            report.write_text(subscribing.report_of(taken), encoding="utf-8")
        rows = [f"{taken.added} new, {taken.unchanged} known, {len(taken.refused)} refused"]
        rows += [f"line {one.number}: {one.code} {one.message}" for one in taken.refused[:_SHOWN]]
        if len(taken.refused) > _SHOWN:
            rows.append(f"and {len(taken.refused) - _SHOWN} more: --report FILE writes all")
        answer = {
            "added": taken.added, "unchanged": taken.unchanged,
            "refused": [asdict(one) for one in taken.refused],
        }  # fmt: skip
        say(answer, as_json=as_json, text="\n".join(rows))
    if taken.refused and not as_json:
        raise typer.Exit(FAILED)


def find(
    text: Annotated[str, typer.Argument(help="A part of the name or of any id.")],
    *,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Find open agreements."""
    with failures_told(as_json=as_json), _books(config) as (db, _), db.transaction() as conn:
        found = customers.find(conn, text, limit=100)
        rows = [
            f"{card.usage_point}  {card.agreement}  {card.account}  {card.kind.value}  "
            f"{card.tariff_code}  {card.name}"
            for card in found
        ]
        say(
            {"agreements": [asdict(card) for card in found]}, as_json=as_json,
            text="\n".join(rows) or "nobody",
        )  # fmt: skip


def company(
    collective: Annotated[str, typer.Argument(help="The collective's id, such as CO-000001.")],
    *,
    customer: Annotated[str, typer.Option(help="The company.")],
    account: Annotated[list[str], typer.Option(help="Its accounts in paying order. Repeatable.")],
    currency: Annotated[str, typer.Option()] = "CNY",
    actor: Actor = "",
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Let a company's accounts be billed and paid together; again, it changes the members."""
    with failures_told(as_json=as_json), _books(config) as (db, now):
        found = customers.found_collective(
            db, collective, customer, currency, account, actor=who_serves(db, actor), now=now
        )
        say(asdict(found), as_json=as_json, text=_company_text(found))


def companies(
    text: Annotated[str, typer.Argument(help="A part of an id or name.")] = "",
    *,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """List companies that are billed and paid together."""
    with failures_told(as_json=as_json), _books(config) as (db, _), db.transaction() as conn:
        found = customers.collectives(conn, text)
        say(
            {"companies": [asdict(one) for one in found]}, as_json=as_json,
            text="\n".join(_company_text(one) for one in found) or "none",
        )  # fmt: skip


def _company_text(found: Collective) -> str:
    return f"{found.id}  {found.customer}  {found.name}  {', '.join(found.accounts)}"


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise ConfigError("command line", [f"--attribute {text!r} is not name=value"])
    return name, value


@contextmanager
def _books(config: Path | None) -> Iterator[tuple[Database, datetime]]:
    installation = installation_from(config)
    now = Clock(scale=TimeScale.parse(installation.time.scale)).now()
    with Database(address_of_database(installation), application="meterloop-cli", size=2) as db:
        yield db, now


def _bar(*, quiet: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=Console(stderr=True), transient=True, disable=quiet,
    )  # fmt: skip
