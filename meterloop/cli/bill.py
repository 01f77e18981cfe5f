"""Verbs of bills: run a cycle, look at it, decide what waits, correct, print, replay."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from billing.bills import store
from billing.bills.model import (
    MAIN_BOOK,
    Bill,
    BillKind,
    CancelKind,
    Decision,
    Doubt,
    Item,
    Run,
    RunId,
    Sheet,
)
from billing.bills.service import corrections, documents, replay, review
from billing.bills.service import run as runs
from billing.bills.service.corrections import Order
from billing.money import to_text
from cloud.store.clock import Clock
from cloud.store.db import Database
from meterloop.cli import bill_company, bill_extra, bill_final, bill_penalty
from meterloop.cli.answer import (
    FAILED,
    ConfigFile,
    JsonFlag,
    failures_told,
    installation_from,
    say,
    who_types,
)
from meterloop.cli.people import Actor, Approver, two, who_bills
from meterloop.config import ConfigError
from meterloop.stack import address_of_database
from protocols.timeline import TimeScale

Day = Annotated[datetime, typer.Option(formats=["%Y-%m-%d"])]
BillNo = Annotated[int, typer.Argument(help="The bill, as `bill show --account` lists it.")]
Reason = Annotated[str, typer.Option(help="Why; kept in the audit log and on the bill.")]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    bill = typer.Typer(no_args_is_help=True, help="Bills: run, show, decide, correct, replay.")
    for verb in (run, show, decide, correct, cancel, print_page, again):
        bill.command({"print_page": "print", "again": "replay"}.get(verb.__name__))(verb)
    bill_penalty.register(bill)
    bill_company.register(bill)
    bill_extra.register(bill)
    bill_final.register(bill)
    app.add_typer(bill, name="bill")


def run(
    *,
    start: Day,
    end: Day,
    book: Annotated[str, typer.Option(help="The book that is billed.")] = MAIN_BOOK,
    zone: Annotated[str, typer.Option(help="The zone that days are cut in.")] = "Asia/Shanghai",
    refreeze: Annotated[
        bool, typer.Option("--refreeze", help="Take parked and forgotten accounts in again.")
    ] = False,
    close: Annotated[
        bool, typer.Option("--close", help="Close the run when its totals are the ledger's.")
    ] = False,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Move the run of a book and period on: from --start up to the day before --end."""
    with failures_told(as_json=as_json), _books(config) as (db, now):
        found = runs.open_run(
            db, start=start.date(), end=end.date(), zone=_zone(zone), actor=who_types(), now=now,
            book=book,
        )  # fmt: skip
        if refreeze:
            runs.reopen(db, found.id, actor=who_types(), now=now)
        with _bar(quiet=as_json) as bar:
            tasks: dict[str, Any] = {}

            def told(stage: str, done: int, of: int) -> None:
                task = tasks.setdefault(stage, bar.add_task(stage, total=of))
                bar.update(task, completed=done, total=of)

            moved = runs.advance(db, found.id, now=now, progress=told)
        closed = close and not moved.waiting
        if closed:
            runs.close(db, found.id, actor=who_types(), now=now)
        with db.transaction() as conn:
            after = runs.run_of(conn, found.id)
            sheet = runs.sheet_of(conn, after)
            stopped = [i for i in review.queue(conn, after.id) if Doubt.BLOCKED in i.reasons]
        answer = {
            **_run(after), "waiting": moved.waiting, "blocked": [_item(item) for item in stopped],
            **_sheet(sheet),
        }  # fmt: skip
        text = "\n".join([_sheet_text(after, sheet, moved.waiting), *_blocked_text(stopped)])
        say(answer, as_json=as_json, text=text)


def show(
    *,
    bill: Annotated[int | None, typer.Option(help="One bill with its trace.")] = None,
    account: Annotated[str | None, typer.Option(help="The bills of one account.")] = None,
    run_id: Annotated[int | None, typer.Option("--run", help="One run's totals.")] = None,
    queue: Annotated[
        bool, typer.Option("--queue", help="With --run: what waits and what is parked.")
    ] = False,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Show a bill, an account's bills, a run, or the newest runs."""
    with failures_told(as_json=as_json), _books(config) as (db, _), db.transaction() as conn:
        if bill is not None:
            found = replay.bill_of(conn, bill)
            rows = [asdict(row) for row in replay.trace(conn, found)]
            text = "\n".join([_bill_text(found), *(_line_text(line) for line in found.lines)])
            say({**_bill(found), "trace": rows}, as_json=as_json, text=text)
        elif account is not None:
            bills = store.bills_of_account(conn, account, 100)
            text = "\n".join(_bill_text(each) for each in bills) or "no bills"
            say({"bills": [_bill(each) for each in bills]}, as_json=as_json, text=text)
        elif run_id is not None:
            named = runs.run_of(conn, run_id)
            if queue:
                items = review.queue(conn, run_id) + review.parked(conn, run_id)
                text = "\n".join(_item_text(item) for item in items) or "nothing waits"
                say({"items": [_item(item) for item in items]}, as_json=as_json, text=text)
            else:
                sheet = runs.sheet_of(conn, named)
                say(
                    {**_run(named), **_sheet(sheet)}, as_json=as_json,
                    text=_sheet_text(named, sheet, ""),
                )  # fmt: skip
        else:
            listed = store.newest_runs(conn, 20)
            text = "\n".join(_run_text(each) for each in listed) or "no runs"
            say({"runs": [_run(each) for each in listed]}, as_json=as_json, text=text)


def decide(
    run_id: Annotated[int, typer.Argument(help="The run.")],
    agreement: Annotated[str, typer.Argument(help="The agreement, such as SA-000042.")],
    what: Annotated[str, typer.Argument(help="accept, estimate, park, or approve an amount.")],
    *,
    reason: Reason = "",
    actor: Actor = "",
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """
    Settle what a run holds: doubtful use, or an amount that two people must agree to.

    Two people also accept what validation blocks, each under a name of their own.
    """
    with failures_told(as_json=as_json), _books(config) as (db, now):
        person = who_bills(db, actor)
        if what == "approve":
            item = review.approve(db, RunId(run_id), agreement, actor=person, now=now)
        elif what in list(Decision):
            item = review.decide(
                db, RunId(run_id), agreement, Decision(what), actor=person, reason=reason, now=now
            )
        else:
            raise ConfigError("command line", [f"{what!r} is not accept, estimate, park, approve"])
        say(_item(item), as_json=as_json, text=_item_text(item))


def correct(
    bill: BillNo,
    *,
    register_wh: Annotated[
        int | None, typer.Option(help="Reading error: the right register at the end, in Wh.")
    ] = None,
    energy_wh: Annotated[
        int | None, typer.Option(help="Meter error: the right energy, in Wh.")
    ] = None,
    reason: Reason = "",
    approver: Approver = "",
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Bill a period anew for a reading or a meter error, with every later bill it changes."""
    with failures_told(as_json=as_json), _books(config) as (db, now):
        if (register_wh is None) == (energy_wh is None):
            raise ConfigError("command line", ["state one of --register-wh and --energy-wh"])
        by_reading = register_wh is not None
        kind = BillKind.CORRECTIVE_READING if by_reading else BillKind.CORRECTIVE_METER
        made = corrections.correct(
            db, bill, kind=kind, wh=(register_wh if by_reading else energy_wh) or 0,
            order=_order(db, reason, approver), now=now,
        )  # fmt: skip
        with db.transaction() as conn:
            bills = store.bills_by_id(conn, made)
        text = "\n".join(_bill_text(each) for each in bills)
        say({"bills": [_bill(each) for each in bills]}, as_json=as_json, text=text)


def cancel(
    bill: BillNo,
    *,
    special: Annotated[bool, typer.Option("--special", help="By two people.")] = False,
    reason: Reason = "",
    approver: Approver = "",
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Take the newest bill of an account back."""
    with failures_told(as_json=as_json), _books(config) as (db, now):
        kind = CancelKind.SPECIAL if special else CancelKind.ORDINARY
        corrections.cancel(db, bill, kind=kind, order=_order(db, reason, approver), now=now)
        say({"bill": bill, "cancelled": kind.value}, as_json=as_json)


def print_page(
    bill: BillNo,
    *,
    out: Annotated[Path, typer.Option(help="The PDF file to write.")],
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Print a bill again: the same octets each time; who asked is noted."""
    with failures_told(as_json=as_json), _books(config) as (db, now):
        octets = documents.duplicate(db, bill, actor=who_types(), now=now)
        out.write_bytes(octets)
        say({"bill": bill, "file": str(out), "bytes": len(octets)}, as_json=as_json)


def again(
    bill: Annotated[int | None, typer.Argument(help="One bill; all of a run with --run.")] = None,
    *,
    run_id: Annotated[int | None, typer.Option("--run", help="Every bill of a run.")] = None,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Price the pinned input of old bills again; any difference is named and fails."""
    with failures_told(as_json=as_json), _books(config) as (db, _):
        if (bill is None) == (run_id is None):
            raise ConfigError("command line", ["name a bill, or a run with --run"])
        count, wrong = 0, list[str]()
        with db.transaction() as conn, _bar(quiet=as_json) as bar:
            task = bar.add_task("replay", total=None)
            for number in _bills_to_replay(conn, bill, run_id):
                found = replay.replay(conn, number)
                count += 1
                wrong += [f"bill {number}: {each}" for each in found.differences]
                bar.update(task, completed=count)
        text = "\n".join(wrong) or f"{count} bills, the same to the last micro"
        say({"replayed": count, "differences": wrong}, as_json=as_json, text=text)
    if wrong:
        raise typer.Exit(FAILED)


def _bills_to_replay(conn: Any, bill: int | None, run_id: int | None) -> Iterator[int]:
    if bill is not None:
        yield bill
        return
    assert run_id is not None
    after = 0
    while page := store.bills_of_run(conn, run_id, after=after, limit=1_000):
        yield from (each.id for each in page)
        after = page[-1].id


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


def _order(db: Database, reason: str, approver: str) -> Order:
    return Order(reason=reason, **two(who_bills, db, "", approver))


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ConfigError("--zone", [f"{name!r} is no time zone, such as Asia/Shanghai"]) from error


def _run(found: Run) -> dict[str, Any]:
    return {
        "run": found.id, "book": found.book, "start": found.period_start.isoformat(),
        "end": found.period_end.isoformat(), "seq": found.seq, "stage": found.stage.value,
    }  # fmt: skip


def _run_text(found: Run) -> str:
    span = f"{found.period_start} to {found.period_end}"
    return f"run {found.id}  {found.book}  {span}  no. {found.seq}  {found.stage.value}"


def _sheet(sheet: Sheet) -> dict[str, Any]:
    return {
        "states": sheet.states, "lines": [asdict(line) for line in sheet.lines],
        "billed": sheet.billed, "ledger": sheet.ledger, "equal": sheet.equal,
        "uncovered": sheet.uncovered_count,
    }  # fmt: skip


def _sheet_text(found: Run, sheet: Sheet, waiting: str) -> str:
    rows = [_run_text(found), "  ".join(f"{name} {n}" for name, n in sheet.states.items())]
    rows += [
        f"  {line.tariff[:8]} {line.line:<16} {line.accounts:>9} accounts "
        f"{to_text(line.energy_wh * 1000, 3):>16} kWh {to_text(line.amount_micros):>18} "
        f"{line.currency}"
        for line in sheet.lines
    ]
    rows.append("bills and ledger agree" if sheet.equal else "bills and ledger DIFFER")
    if waiting:
        rows.append(f"waits for people: bill show --run {found.id} --queue")
    return "\n".join(rows)


def _bill(found: Bill) -> dict[str, Any]:
    plain: Mapping[str, Any] = asdict(found)
    return {**plain, "input_hash": found.input_hash.hex(), "number": found.number}


def _bill_text(found: Bill) -> str:
    state = f"  cancelled ({found.cancelled})" if found.cancelled else ""
    span = f"{found.period_start} to {found.period_end}"
    return (
        f"{found.id}  {found.number}  {found.kind.value}  {span}  {to_text(found.energy_wh * 1000)}"
        f" kWh  {to_text(found.total_micros)} {found.currency}{state}"
    )


def _line_text(line: Any) -> str:
    return f"  {line.line:<18} {to_text(line.amount_micros):>16}  {line.ledger_code}"


def _item(item: Item) -> dict[str, Any]:
    return {
        "agreement": item.agreement, "account": item.account, "state": item.state.value,
        "reasons": list(item.reasons), "detail": item.detail, "energy_wh": item.energy_wh,
        "usage_point": item.usage_point,
        "total_micros": item.total_micros,
    }  # fmt: skip


def _item_text(item: Item) -> str:
    why = ", ".join(item.reasons)
    said = f"  ({item.detail})" if item.detail else ""
    return (
        f"{item.agreement}  {item.state.value}  {to_text(item.energy_wh * 1000)} kWh  {why}{said}"
    )


def _blocked_text(items: list[Item]) -> list[str]:
    """Say of what validation blocks why, and what can be done."""
    if not items:
        return []
    return [
        f"{len(items)} held because too little of their use was measured:",
        *(f"  {item.agreement} at {item.usage_point}: {item.detail}" for item in items[:20]),
        "  look at a day again: vee run --point UP --day DAY; edit values: vee edit UP ...; or two",
        "  people let it pass: bill decide RUN AGREEMENT accept|estimate; then run it again",
    ]
