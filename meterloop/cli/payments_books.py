"""Verbs over all books: arrears of any moment, collections, days compared, exceptions, messages."""

import csv
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from billing.accounting import service as accounting
from billing.accounting.model import (
    CollectedBy,
    Event,
    FeeException,
    OwedAccount,
    OwedBy,
    State,
)
from billing.money import to_text
from billing.payments.service import messages
from meterloop.cli.answer import (
    FAILED,
    ConfigFile,
    JsonFlag,
    failures_told,
    say,
    who_types,
)
from meterloop.cli.payments_kit import (
    SHANGHAI,
    Channel,
    Reason,
    Since,
    Until,
    Zone,
    bar,
    books,
    moment_of,
    span_of,
)
from meterloop.cli.people import Actor, who_settles
from meterloop.config import ConfigError
from portal.api.peers_file import ring_of
from protocols.timeline import local_date

At = Annotated[str, typer.Option(help="A past moment, such as 2026-03-10T18:00; now, if left out.")]
Out = Annotated[Path | None, typer.Option(help="Write the detail as CSV into this file.")]
Number = Annotated[int, typer.Argument(help="The exception, as `exceptions list` shows it.")]


def register(payments: typer.Typer) -> None:
    """Add the verbs under `payments`."""
    payments.command("arrears")(arrears)
    payments.command("collected")(collected)
    payments.command("audit")(audit)
    queue = typer.Typer(no_args_is_help=True, help="What does not fit in fee accounting.")
    for name, verb in (("list", queued), ("show", shown), ("take", take), ("settle", settle),
                       ("dismiss", dismiss)):  # fmt: skip
        queue.command(name)(verb)
    payments.add_typer(queue, name="exceptions")
    kept = typer.Typer(no_args_is_help=True, help="What peers said and heard, sealed.")
    kept.command("list")(listed)
    kept.command("read")(read)
    payments.add_typer(kept, name="messages")


def arrears(
    *,
    at: At = "",
    by: Annotated[OwedBy, typer.Option(help="kind, unit or transformer")] = OwedBy.KIND,
    unit: Annotated[str, typer.Option(help="Of this unit alone, in the detail.")] = "",
    out: Out = None,
    zone: Zone = SHANGHAI,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Tell what was owed at a moment, by how many accounts and households, with detail as CSV."""
    with (
        failures_told(as_json=as_json), books(config, zone) as found, bar(quiet=as_json) as told,
        found.db.transaction() as conn,
    ):  # fmt: skip
        moment = moment_of(at, found)
        groups = accounting.owed(conn, by, moment=moment, zone=found.zone, now=found.now)
        written = 0
        if out is not None:
            task = told.add_task("accounts", total=sum(group.accounts for group in groups))
            rows = accounting.owed_accounts(
                conn, moment=moment, zone=found.zone, now=found.now, unit=unit
            )
            written = _written(out, _moving(rows, lambda: told.advance(task)))
    lines = [f"owed at {moment.isoformat()}"]
    lines += [
        f"  {group.group or '-'}  {group.accounts} accounts, {group.households} households"
        f"  {to_text(group.owed_micros)} {group.currency}"
        f"  overdue {to_text(group.overdue_micros)}  in plans {to_text(group.planned_micros)}"
        for group in groups
    ]
    lines += [f"{written} accounts written to {out}"] if out is not None else []
    answer = {"at": moment.isoformat(), "by": by.value, "rows_written": written,
              "groups": [asdict(group) for group in groups]}  # fmt: skip
    say(answer, as_json=as_json, text="\n".join(lines))


def collected(
    *,
    start: Since = None,
    end: Until = None,
    by: Annotated[
        CollectedBy, typer.Option(help="channel, office, unit, kind or day")
    ] = CollectedBy.CHANNEL,
    at: At = "",
    channel: Annotated[str, typer.Option(help="This channel alone.")] = "",
    unit: Annotated[str, typer.Option(help="This unit alone.")] = "",
    zone: Zone = SHANGHAI,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Sum payments of some days, as the books stand or stood at a moment."""
    with (
        failures_told(as_json=as_json), books(config, zone) as found,
        found.db.transaction() as conn,
    ):  # fmt: skip
        moment = moment_of(at, found)
        rows = accounting.collected(
            conn, span_of(start, end, found.zone, found.today), by, moment=moment,
            zone=found.zone, now=found.now, channel=channel, unit=unit,
        )  # fmt: skip
    lines = [
        f"{row.group or '-'}  {row.payments} payments  {to_text(row.net_micros)} {row.currency}"
        f"  ({to_text(row.paid_micros)} paid, {row.voided} voided or corrected)"
        for row in rows
    ]
    say({"at": moment.isoformat(), "by": by.value, "groups": [asdict(row) for row in rows]},
        as_json=as_json, text="\n".join(lines) or "nothing was collected")  # fmt: skip


def audit(
    *,
    start: Since = None,
    end: Until = None,
    zone: Zone = SHANGHAI,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Compare bills, drawdowns and receipts of each day with the ledger; fail when one differs."""
    with (
        failures_told(as_json=as_json), books(config, zone) as found,
        found.db.transaction() as conn,
    ):  # fmt: skip
        span = span_of(start, end, found.zone, found.today, days=7)
        first = local_date(span.start, found.zone)
        last = end.date() if end else found.today
        ties = accounting.ties(conn, first, last, zone=found.zone)
        gaps = accounting.untied(conn, first, last, zone=found.zone)
    ok = not gaps and all(tie.off_micros == 0 for tie in ties)
    lines = [
        f"{'✔' if tie.off_micros == 0 else '✘'} {tie.day}  {tie.kind}  {tie.documents}"
        f"  {to_text(tie.ours_micros)}  ledger {to_text(tie.booked_micros)} {tie.currency}"
        for tie in ties
    ]
    lines += [
        f"✘ {gap.subject} {gap.account}: {to_text(gap.ours_micros)}"
        f" against {to_text(gap.booked_micros)}"
        for gap in gaps
    ]
    answer = {
        "ok": ok, "days": [{**asdict(tie), "off_micros": tie.off_micros} for tie in ties],
        "untied": [asdict(gap) for gap in gaps],
    }  # fmt: skip
    say(answer, as_json=as_json, text="\n".join(lines) or "nothing was billed or paid")
    if not ok:
        raise typer.Exit(FAILED)


def queued(
    *,
    every: Annotated[bool, typer.Option("--all", help="Ended ones too.")] = False,
    zone: Zone = SHANGHAI,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Ask every source what does not fit, and list what waits for people."""
    states = tuple(State) if every else (State.OPEN, State.TAKEN)
    with failures_told(as_json=as_json), books(config, zone) as found:
        told = accounting.gather(found.db, actor=who_types(), zone=found.zone, now=found.now)
        with found.db.transaction() as conn:
            rows = accounting.exceptions(conn, states, limit=1_000)
            sums = accounting.counts(conn)
    counts = [{"source": source, "state": state, "count": number} for source, state, number in sums]
    answer = {
        "gathered": asdict(told),
        "counts": counts,
        "exceptions": [_plain(row) for row in rows],
    }
    say(answer, as_json=as_json, text="\n".join(map(_line, rows)) or "everything fits")


def shown(number: Number, *, config: ConfigFile = None, as_json: JsonFlag = False) -> None:
    """Tell who did what about one exception, and why."""
    with (
        failures_told(as_json=as_json), books(config) as found, found.db.transaction() as conn,
    ):  # fmt: skip
        steps = accounting.steps_of(conn, number)
    lines = [
        f"{step.at.isoformat()}  {step.event} -> {step.state}  {step.actor}  {step.reason}".rstrip()
        for step in steps
    ]
    say({"exception": number, "steps": [asdict(step) for step in steps]}, as_json=as_json,
        text="\n".join(lines) or f"there is no exception {number}")  # fmt: skip


def take(
    number: Number, *, reason: Reason = "", actor: Actor = "", config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """Look after an exception from now on; another's needs a reason."""
    _act(number, Event.TAKE, reason, actor=actor, config=config, as_json=as_json)


def settle(
    number: Number, *, reason: Reason, actor: Actor = "", config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """Say that its cause is gone; found again, it opens again."""
    _act(number, Event.SETTLE, reason, actor=actor, config=config, as_json=as_json)


def dismiss(
    number: Number, *, reason: Reason, actor: Actor = "", config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """Say that it may stay as it is, and why."""
    _act(number, Event.DISMISS, reason, actor=actor, config=config, as_json=as_json)


def listed(
    *,
    channel: Channel,
    txn: Annotated[str, typer.Option(help="Of this payment alone.")] = "",
    start: Since = None,
    end: Until = None,
    zone: Zone = SHANGHAI,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """List which messages of a channel are kept, on the wall's days, without their words."""
    with (
        failures_told(as_json=as_json), books(config, zone) as found,
        found.db.transaction() as conn,
    ):  # fmt: skip
        span = span_of(start, end, found.zone, local_date(found.wall_now, found.zone))
        rows = messages.kept(conn, channel, span, peer_txn_id=txn)
    lines = [
        f"{row.id}  {row.at_wall.isoformat()}  {row.direction}  {row.peer_txn_id or '-'}"
        f"  {row.octets} octets  key {row.key_id}"
        for row in rows
    ]
    say({"messages": [asdict(row) for row in rows]}, as_json=as_json,
        text="\n".join(lines) or "none are kept")  # fmt: skip


def read(
    number: Annotated[int, typer.Argument(help="The message, as `messages list` shows it.")],
    *,
    reason: Reason,
    keys: Annotated[
        Path | None, typer.Option(help="The key file; the portal's, if left out.")
    ] = None,
    actor: Actor = "",
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Open one kept message; who reads it and why is written down."""
    with failures_told(as_json=as_json), books(config) as found:
        file = str(keys or found.installation.portal.get("messages_key_file", ""))
        try:
            ring = ring_of(file)
        except (OSError, ValueError) as error:
            raise ConfigError("--keys", [str(error)]) from error
        if ring is None:
            raise ConfigError("--keys", ["name the key file; the portal's section has none"])
        message, words = messages.read(
            found.db, ring, number, actor=who_settles(found.db, actor), reason=reason, now=found.now
        )
    text = words.decode("utf-8", errors="backslashreplace")
    say({**asdict(message), "words": text}, as_json=as_json, text=text)


def _act(
    number: int, event: Event, reason: str, *, actor: str, config: Path | None, as_json: bool
) -> None:
    with failures_told(as_json=as_json), books(config) as found:
        state = accounting.act(
            found.db,
            number,
            event,
            actor=who_settles(found.db, actor),
            reason=reason,
            now=found.now,
        )
    say({"exception": number, "state": state.value}, as_json=as_json,
        text=f"exception {number} is {state.value}")  # fmt: skip


def _written(out: Path, rows: Iterable[OwedAccount]) -> int:
    """Write accounts as CSV, whole or not at all; return how many. Amounts are exact."""
    names = [field.name for field in fields(OwedAccount)]
    part, count = out.with_name(out.name + ".part"), 0
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([name.removesuffix("_micros") for name in names])
            for row in rows:
                count += 1
                writer.writerow([
                    to_text(getattr(row, name), 6) if name.endswith("_micros")
                    else getattr(row, name)
                    for name in names
                ])  # fmt: skip
    except OSError as error:
        raise ConfigError("--out", [f"{out} cannot be written ({error.strerror})"]) from error
    part.replace(out)
    return count


def _moving(rows: Iterable[OwedAccount], step: Any) -> Iterable[OwedAccount]:
    for row in rows:
        step()
        yield row


def _plain(row: FeeException) -> dict[str, Any]:
    found = asdict(row)
    return {**found.pop("finding"), **found}


def _line(row: FeeException) -> str:
    finding = row.finding
    return (
        f"{row.id}  {row.state}  {finding.source} {finding.subject}  {finding.kind}"
        f"  {finding.detail}  {row.owner}"
    ).rstrip()
