"""Verbs of late-payment penalties: accrue, show, waive, defer, refund, dispute, decide."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from billing.bills.rules.penalty_documents import Paper, PaperAct, PenaltyKind, Proposal
from billing.bills.service import penalty
from billing.bills.service.penalty import Quote
from billing.money import parse_micros, to_text
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
from meterloop.cli.people import Actor, who_bills
from meterloop.config import ConfigError
from meterloop.stack import address_of_database
from protocols.timeline import TimeScale

Bill = Annotated[int, typer.Argument(help="The bill, as `bill penalty show` lists it.")]
Amount = Annotated[str, typer.Option(help="How much, such as 12.34.")]
Day = Annotated[datetime, typer.Option(formats=["%Y-%m-%d"])]
MaybeDay = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"])]
Reason = Annotated[str, typer.Option(help="Why; kept on the document and in the audit log.")]
Zone = Annotated[str, typer.Option(help="The zone that days are cut in.")]


def register(bill: typer.Typer) -> None:
    """Add the verbs under `bill penalty`."""
    verbs = typer.Typer(no_args_is_help=True, help="Late-payment penalties and their documents.")
    for verb in (accrue, show, waive, defer, refund, dispute, decide):
        verbs.command()(verb)
    bill.add_typer(verbs, name="penalty")


def accrue(
    *,
    upto: MaybeDay = None,
    zone: Zone = "Asia/Shanghai",
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Charge every late bill up to a day that is over: yesterday, if left out."""
    with failures_told(as_json=as_json), _books(config, zone) as (db, today, now):
        last = upto.date() if upto else today - timedelta(days=1)
        with _bar(quiet=as_json) as bar:
            task = bar.add_task("accrue", total=None)

            def told(_: str, done: int, __: int) -> None:
                bar.update(task, completed=done)

            done = penalty.accrue(
                db, upto=last, today=today, actor=who_types(), now=now, progress=told
            )
        text = (
            f"{done.bills} bills of {done.accounts} late accounts charged"
            f" {to_text(done.charged_micros)} up to {last}; {done.without_terms} have no terms"
        )
        say({"upto": last.isoformat(), **asdict(done)}, as_json=as_json, text=text)


def show(
    account: Annotated[str, typer.Argument(help="The account, such as AC-000042.")],
    *,
    zone: Zone = "Asia/Shanghai",
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Show what an account owes for lateness if it pays today, bill by bill, and its documents."""
    with (
        failures_told(as_json=as_json), _books(config, zone) as (db, today, _),
        db.transaction() as conn,
    ):  # fmt: skip
        found = penalty.quote(conn, account, as_of=today)
        say(_quote(found), as_json=as_json, text=_quote_text(found))


def waive(
    bill: Bill, *, amount: Amount, reason: Reason = "", actor: Actor = "",
    zone: Zone = "Asia/Shanghai", config: ConfigFile = None, as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """Propose to forgive a part of what was charged and not paid."""
    _propose(
        as_json, config, zone, actor, bill=bill, kind=PenaltyKind.WAIVER, amount=amount,
        reason=reason,
    )  # fmt: skip


def refund(
    bill: Bill, *, amount: Amount, reason: Reason = "", actor: Actor = "",
    zone: Zone = "Asia/Shanghai", config: ConfigFile = None, as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """Propose to give back what was charged beyond what is due."""
    _propose(
        as_json, config, zone, actor, bill=bill, kind=PenaltyKind.REFUND, amount=amount,
        reason=reason,
    )  # fmt: skip


def defer(
    bill: Bill, *, until: Day, start: MaybeDay = None, reason: Reason = "", actor: Actor = "",
    zone: Zone = "Asia/Shanghai", config: ConfigFile = None, as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """Propose that the clock of a bill stands, from --start (today) to --until, both counted."""
    _propose(
        as_json, config, zone, actor, bill=bill, kind=PenaltyKind.DEFERRAL, reason=reason,
        start=start, until=until,
    )  # fmt: skip


def dispute(
    bill: Bill, *, amount: Amount, until: Day, start: MaybeDay = None, reason: Reason = "",
    actor: Actor = "", zone: Zone = "Asia/Shanghai", config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """Propose that a disputed sum bears no penalty, from --start (today) to --until."""
    _propose(
        as_json, config, zone, actor, bill=bill, kind=PenaltyKind.DISPUTE, amount=amount,
        reason=reason, start=start, until=until,
    )  # fmt: skip


def decide(
    document: Annotated[int, typer.Argument(help="The document, as `bill penalty show` lists it.")],
    what: Annotated[PaperAct, typer.Argument(help="approve, refuse or withdraw.")],
    *,
    actor: Actor = "",
    zone: Zone = "Asia/Shanghai",
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Approve or refuse what another person proposed, or withdraw what you proposed."""
    with failures_told(as_json=as_json), _books(config, zone) as (db, today, now):
        paper = penalty.decide(db, document, what, actor=who_bills(db, actor), today=today, now=now)
        say(asdict(paper), as_json=as_json, text=_paper_text(paper))


def _propose(
    as_json: bool, config: Path | None, zone: str, actor: str, *, bill: int, kind: PenaltyKind,
    reason: str, amount: str | None = None, start: datetime | None = None,
    until: datetime | None = None,
) -> None:  # fmt: skip
    with failures_told(as_json=as_json), _books(config, zone) as (db, today, now):
        first = (start.date() if start else today) if until else None
        proposal = Proposal(
            bill=bill, kind=kind, amount_micros=_micros(amount), reason=reason, from_on=first,
            until_on=until.date() if until else None, actor=who_bills(db, actor),
        )  # fmt: skip
        paper = penalty.propose(db, proposal, today=today, now=now)
        say(asdict(paper), as_json=as_json, text=_paper_text(paper))


def _micros(amount: str | None) -> int | None:
    if amount is None:
        return None
    try:
        return parse_micros(amount)
    except ValueError as error:
        raise ConfigError("--amount", [f"{amount!r} is no amount, such as 12.34"]) from error


@contextmanager
def _books(config: Path | None, zone: str) -> Iterator[tuple[Database, date, datetime]]:
    try:
        civil = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ConfigError("--zone", [f"{zone!r} is no time zone, such as Asia/Shanghai"]) from error
    installation = installation_from(config)
    now = Clock(scale=TimeScale.parse(installation.time.scale)).now()
    with Database(address_of_database(installation), application="meterloop-cli", size=2) as db:
        yield db, now.astimezone(civil).date(), now


def _bar(*, quiet: bool) -> Progress:
    return Progress(
        SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn(),
        console=Console(stderr=True), transient=True, disable=quiet,
    )  # fmt: skip


def _quote(found: Quote) -> dict[str, Any]:
    return {
        "account": found.account, "currency": found.currency, "as_of": found.as_of.isoformat(),
        "due_micros": found.due_micros, "booked_micros": found.booked_micros,
        "bills": [
            {
                **asdict(each), "to_charge_micros": each.to_charge_micros,
                "over_micros": each.over_micros,
            }
            for each in found.bills
        ],
        "documents": [asdict(paper) for paper in found.papers],
    }  # fmt: skip


def _quote_text(found: Quote) -> str:
    rows = [f"{found.account} as of {found.as_of}: {to_text(found.due_micros)} {found.currency}"]
    rows += [
        f"  bill {each.bill}  due {each.due_on or 'cancelled'}  open {to_text(each.open_micros)}"
        f"  {each.days} days  penalty {to_text(each.penalty_micros)}"
        f"  charged {to_text(each.charged_micros)}  waived {to_text(each.waived_micros)}"
        f"  to give back {to_text(each.over_micros)}"
        for each in found.bills
    ]
    return "\n".join([*rows, *(f"  {_paper_text(paper)}" for paper in found.papers)])


def _paper_text(paper: Paper) -> str:
    amount = "" if paper.amount_micros is None else f"  {to_text(paper.amount_micros)}"
    days = f"  {paper.from_on} to {paper.until_on}" if paper.from_on else ""
    return f"document {paper.id}  {paper.kind} of bill {paper.bill}{amount}{days}  {paper.state}"
