"""Verbs of bills beside a cycle: ad hoc, refund, supplement; how an account pays; debit lists."""

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from billing.bills import store
from billing.bills.model import BillKind
from billing.bills.rules.means import Choice, Delivery, Means
from billing.bills.service import corrections
from billing.bills.service import means as ways
from billing.bills.service.corrections import Order
from billing.money import to_text
from meterloop.cli.answer import ConfigFile, JsonFlag, failures_told, say
from meterloop.cli.payments_kit import SHANGHAI, Books, Reason, Zone, amount_of, books
from meterloop.cli.people import Actor, Approver, two, who_bills
from meterloop.config import ConfigError

Agreement = Annotated[str, typer.Argument(help="The agreement, such as SA-000042.")]
Account = Annotated[str, typer.Argument(help="The account, such as AC-000042.")]
Amount = Annotated[str, typer.Option(help="How much, such as 12.34.")]
Day = Annotated[datetime, typer.Option(formats=["%Y-%m-%d"])]


def register(bill: typer.Typer) -> None:
    """Add the verbs to those of bills."""
    for verb in (adhoc, refund, supplement, means, debits):
        bill.command()(verb)


def adhoc(
    agreement: Agreement,
    *,
    end: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Ordinary: bill up to the day before this one."),
    ] = None,
    usage: Annotated[
        Path | None, typer.Option(help="Special, by two people: bill this usage file.")
    ] = None,
    reason: Reason = "",
    approver: Approver = "",
    actor: Actor = "",
    zone: Zone = SHANGHAI,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Issue a bill outside of a cycle: ordinary from registers, or special from a usage file."""
    with failures_told(as_json=as_json), books(config, zone) as found:
        if (end is None) == (usage is None):
            raise ConfigError("command line", ["state one of --end and --usage"])
        order = Order(reason=reason, **two(who_bills, found.db, actor, approver))
        if end is not None:
            bill = corrections.bill_now(
                found.db, agreement, end=end.date(), zone=found.zone, order=order, now=found.now
            )
        else:
            assert usage is not None
            bill = corrections.bill_usage(
                found.db, agreement, usage=usage.read_bytes(), order=order, now=found.now
            )
        _say_bill(found, bill, as_json=as_json)


def refund(
    agreement: Agreement, *, amount: Amount, start: Day, end: Day, reason: Reason = "",
    approver: Approver = "", actor: Actor = "", config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """Give an amount back by an approved document, for the days it concerns (two people)."""
    _adjust(
        agreement, BillKind.REFUND, amount, span=(start, end), said=(reason, actor, approver),
        config=config, as_json=as_json,
    )  # fmt: skip


def supplement(
    agreement: Agreement, *, amount: Amount, start: Day, end: Day, reason: Reason = "",
    approver: Approver = "", actor: Actor = "", config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """Charge an amount by an approved document, for the days it concerns (two people)."""
    _adjust(
        agreement, BillKind.SUPPLEMENT, amount, span=(start, end), said=(reason, actor, approver),
        config=config, as_json=as_json,
    )  # fmt: skip


def means(
    account: Account,
    *,
    pays: Annotated[Means | None, typer.Option("--pays", help="How it pays from now on.")] = None,
    delivery: Annotated[Delivery | None, typer.Option(help="How it gets its bills.")] = None,
    mandate: Annotated[str, typer.Option(help="With bank_debit: the bank's number.")] = "",
    reason: Reason = "",
    actor: Actor = "",
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Show how an account pays and gets its bills; with --pays or --delivery change it."""
    with failures_told(as_json=as_json), books(config) as found:
        with found.db.transaction() as conn:
            standing = ways.choice_of(conn, account)
        if pays is not None or delivery is not None:
            how = pays or standing.means
            kept = standing.mandate if how is Means.BANK_DEBIT else ""
            standing = Choice(
                means=how, delivery=delivery or standing.delivery, mandate=mandate or kept
            )
            ways.choose(
                found.db, account, standing, actor=who_bills(found.db, actor), reason=reason,
                now=found.now,
            )  # fmt: skip
        text = f"{account} pays by {standing.means}, gets bills by {standing.delivery}"
        say({"account": account, **asdict(standing)}, as_json=as_json, text=text)


def debits(
    *,
    run_id: Annotated[int, typer.Option("--run", help="The run whose bills banks are to take.")],
    out: Annotated[Path | None, typer.Option(help="Write the list to this CSV file.")] = None,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """List a run's bills that banks are to take by mandate, and how its bills went out."""
    with failures_told(as_json=as_json), books(config) as found, found.db.transaction() as conn:
        listed, counts = ways.debits_of(conn, run_id), ways.counts_of(conn, run_id)
        if out is not None:
            out.write_text(ways.debit_file(listed), encoding="utf-8")
        answer = {
            "run": run_id, "debits": [asdict(each) for each in listed],
            "sent": [asdict(each) for each in counts], "file": str(out) if out else None,
        }  # fmt: skip
        rows = [
            f"{each.mandate}  {each.account}  bill {each.bill}  {to_text(each.amount_micros)}"
            f" {each.currency}  due {each.due_on}"
            for each in listed
        ]
        rows += [
            f"{each.means}, {each.delivery}: {each.bills} bills, {each.opened} looked at"
            for each in counts
        ]
        say(answer, as_json=as_json, text="\n".join(rows) or "no bill went out yet")


def _adjust(
    agreement: str, kind: BillKind, amount: str, *, span: tuple[datetime, datetime],
    said: tuple[str, str, str], config: Path | None, as_json: bool,
) -> None:  # fmt: skip
    reason, actor, approver = said
    with failures_told(as_json=as_json), books(config) as found:
        order = Order(reason=reason, **two(who_bills, found.db, actor, approver))
        bill = corrections.adjust(
            found.db, agreement, kind=kind, amount_micros=amount_of(amount),
            start=span[0].date(), end=span[1].date(), order=order, now=found.now,
        )  # fmt: skip
        _say_bill(found, bill, as_json=as_json)


def _say_bill(found: Books, bill: int, *, as_json: bool) -> None:
    with found.db.transaction() as conn:
        issued = store.bills_by_id(conn, [bill])[0]
    answer: dict[str, Any] = {
        "bill": issued.id, "number": issued.number, "kind": issued.kind.value,
        "account": issued.account, "start": issued.period_start.isoformat(),
        "end": issued.period_end.isoformat(), "energy_wh": issued.energy_wh,
        "total_micros": issued.total_micros, "posted_micros": issued.posted_micros,
        "currency": issued.currency,
    }  # fmt: skip
    text = (
        f"bill {issued.id}  {issued.number}  {issued.kind}  {to_text(issued.total_micros)}"
        f" {issued.currency}"
    )
    say(answer, as_json=as_json, text=text)
