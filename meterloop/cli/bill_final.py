"""Verbs of an agreement's end: the final bill, its correction, what is left paid out by two."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer

from billing.bills.rules.ending import EndEvent
from billing.bills.service import ending
from billing.bills.service.corrections import Order
from billing.bills.store.ending import Ending
from billing.money import to_text
from meterloop.cli.answer import ConfigFile, JsonFlag, failures_told, say
from meterloop.cli.payments_kit import Channel, Reason, books
from meterloop.cli.people import Actor, Approver, two, who_bills
from meterloop.config import ConfigError

Agreement = Annotated[str, typer.Argument(help="The agreement, such as SA-000042.")]


def register(bill: typer.Typer) -> None:
    """Add the verbs under `bill final`."""
    verbs = typer.Typer(no_args_is_help=True, help="The end of an agreement and its final bill.")
    for verb in (close, show, correct, refund, decide):
        verbs.command()(verb)
    bill.add_typer(verbs, name="final")


def close(
    agreement: Agreement,
    *,
    end: Annotated[
        datetime,
        typer.Option(formats=["%Y-%m-%d"], help="The first day that is no longer its customer's."),
    ],
    register_wh: Annotated[
        int | None, typer.Option(help="The register as handed over, in Wh; else the one read.")
    ] = None,
    reason: Reason = "",
    approver: Approver = "",
    actor: Actor = "",
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """End an agreement: final bill, plan and deposit settled, what is left given or asked."""
    with failures_told(as_json=as_json), books(config) as found:
        order = Order(reason=reason, **two(who_bills, found.db, actor, approver))
        done = ending.close(
            found.db, agreement, end=end.date(), register_wh=register_wh, order=order,
            now=found.now,
        )  # fmt: skip
        say(_plain(done), as_json=as_json, text=_text(done))


def show(
    account: Annotated[
        str, typer.Argument(help="One account; all that is unsettled without.")
    ] = "",
    *,
    late: Annotated[
        bool, typer.Option("--late", help="Ends whose register is another than was known.")
    ] = False,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Show ends: an account's, what is unsettled, or those a late register would change."""
    with failures_told(as_json=as_json), books(config) as found, found.db.transaction() as conn:
        if late:
            ends = ending.late_registers(conn)
            rows = [{**_plain(each), "read_wh": wh} for each, wh in ends]
            text = "\n".join(f"{_text(each)}  read {wh} Wh" for each, wh in ends)
        else:
            listed = ending.endings_of(conn, account) if account else ending.unsettled(conn)
            rows = [_plain(each) for each in listed]
            text = "\n".join(_text(each) for each in listed)
        say({"ends": rows}, as_json=as_json, text=text or "nothing")


def correct(
    agreement: Agreement,
    *,
    register_wh: Annotated[int, typer.Option(help="The right register at the end, in Wh.")],
    reason: Reason = "",
    approver: Approver = "",
    actor: Actor = "",
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Correct a final bill by a register that came late, and settle what that changes."""
    with failures_told(as_json=as_json), books(config) as found:
        order = Order(reason=reason, **two(who_bills, found.db, actor, approver))
        done = ending.correct(
            found.db, agreement, register_wh=register_wh, order=order, now=found.now
        )
        say(_plain(done), as_json=as_json, text=_text(done))


def refund(
    agreement: Agreement, *, channel: Channel, reason: Reason = "", actor: Actor = "",
    config: ConfigFile = None, as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """Propose to pay out what is left through a channel; another person agrees."""
    with failures_told(as_json=as_json), books(config) as found:
        done = ending.propose_refund(
            found.db, agreement, channel=channel, reason=reason, actor=who_bills(found.db, actor),
            now=found.now,
        )  # fmt: skip
        say(_plain(done), as_json=as_json, text=_text(done))


def decide(
    agreement: Agreement,
    what: Annotated[str, typer.Argument(help="approve or refuse.")],
    *,
    actor: Actor = "",
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Agree, as the second person, that what is left is paid out, or refuse it."""
    with failures_told(as_json=as_json), books(config) as found:
        if what not in (EndEvent.APPROVE, EndEvent.REFUSE):
            raise ConfigError("command line", [f"{what!r} is not approve or refuse"])
        done = ending.decide_refund(
            found.db, agreement, EndEvent(what), actor=who_bills(found.db, actor), now=found.now
        )
        say(_plain(done), as_json=as_json, text=_text(done))


def _plain(found: Ending) -> dict[str, Any]:
    return asdict(found)


def _text(found: Ending) -> str:
    return (
        f"{found.agreement}  {found.account}  ended {found.ended_on} at {found.register_wh} Wh"
        f"  bill {found.bill}  deposit {to_text(found.deposit_micros)}"
        f"  left {to_text(found.left_micros)} {found.currency}  {found.state}"
    )
