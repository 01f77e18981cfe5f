"""Verbs of deposits: demand, show, drop, refund, decide."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from billing.bills.rules.deposits import DepositEvent
from billing.bills.service import deposits
from billing.bills.store.deposits import Deposit
from billing.money import to_text
from meterloop.cli.answer import ConfigFile, JsonFlag, failures_told, say
from meterloop.cli.payments_kit import Channel, Reason, books
from meterloop.cli.people import Actor, who_bills
from meterloop.config import ConfigError

Account = Annotated[str, typer.Argument(help="The account, such as AC-000042.")]
Number = Annotated[int, typer.Argument(help="The deposit, as `deposit show` lists it.")]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    deposit = typer.Typer(no_args_is_help=True, help="Deposits that customers leave.")
    for verb in (demand, show, drop, refund, decide):
        deposit.command()(verb)
    app.add_typer(deposit, name="deposit")


def demand(
    account: Account, *, reason: Reason = "", actor: Actor = "", config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """Ask a customer for the deposit of its class."""
    with failures_told(as_json=as_json), books(config) as found:
        made = deposits.demand(
            found.db, account, reason=reason, actor=who_bills(found.db, actor), now=found.now
        )
        say(_plain(made), as_json=as_json, text=_text(made))


def show(
    account: Annotated[str, typer.Argument(help="One account; what waits without it.")] = "",
    *,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Show an account's deposits, or those whose return waits for a second person."""
    with failures_told(as_json=as_json), books(config) as found, found.db.transaction() as conn:
        listed = deposits.deposits_of(conn, account) if account else deposits.waiting(conn)
        text = "\n".join(_text(each) for each in listed) or "no deposits"
        say({"deposits": [_plain(each) for each in listed]}, as_json=as_json, text=text)


def drop(
    number: Number, *, reason: Reason = "", actor: Actor = "", config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """Take back a demand that is not paid in full; what was paid becomes prepayment."""
    with failures_told(as_json=as_json), books(config) as found:
        done = deposits.drop(
            found.db, number, reason=reason, actor=who_bills(found.db, actor), now=found.now
        )
        say(_plain(done), as_json=as_json, text=_text(done))


def refund(
    number: Number, *, channel: Channel, reason: Reason = "", actor: Actor = "",
    config: ConfigFile = None, as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """Propose to pay a deposit back with its interest; another person agrees."""
    with failures_told(as_json=as_json), books(config) as found:
        done = deposits.propose_return(
            found.db, number, channel=channel, reason=reason, actor=who_bills(found.db, actor),
            now=found.now,
        )  # fmt: skip
        say(_plain(done), as_json=as_json, text=_text(done))


def decide(
    number: Number,
    what: Annotated[str, typer.Argument(help="approve or refuse.")],
    *,
    actor: Actor = "",
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Agree, as the second person, that a deposit is paid back, or refuse it."""
    with failures_told(as_json=as_json), books(config) as found:
        if what not in (DepositEvent.APPROVE, DepositEvent.REFUSE):
            raise ConfigError("command line", [f"{what!r} is not approve or refuse"])
        done = deposits.decide_return(
            found.db, number, DepositEvent(what), actor=who_bills(found.db, actor), now=found.now
        )
        say(_plain(done), as_json=as_json, text=_text(done))


def _plain(found: Deposit) -> dict[str, Any]:
    return asdict(found)


def _text(found: Deposit) -> str:
    bore = f"  interest {to_text(found.interest_micros)}" if found.interest_micros else ""
    return (
        f"deposit {found.id}  {found.account}  {to_text(found.amount_micros)} {found.currency}"
        f"{bore}  {found.state}  due {found.due_on}"
    )
