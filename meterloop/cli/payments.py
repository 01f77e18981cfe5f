"""Verbs of channels: compare a peer's file, list payments, end suspense, limits by two people."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from billing.money import to_text
from billing.payments import service as payments
from billing.payments.model import (
    ChangeKind,
    ChangeOutcome,
    ChannelChange,
    Reconciled,
    Refusal,
    StatementRow,
)
from billing.payments.service import proposals
from billing.payments.service.proposals import End, Proposal
from meterloop.cli import payments_books
from meterloop.cli.answer import (
    ConfigFile,
    JsonFlag,
    failures_told,
    say,
)
from meterloop.cli.payments_kit import (
    SHANGHAI,
    Books,
    Channel,
    Reason,
    Since,
    Until,
    Zone,
    amount_of,
    bar,
    books,
    span_of,
    text_of,
)
from meterloop.cli.people import Actor, who_settles
from portal.staff.settlement import rows_of
from protocols.errors import RefusedError

_AT_ONCE = 1_000


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    verbs = typer.Typer(no_args_is_help=True, help="Money in: channels, suspense, limits, books.")
    verbs.command("reconcile")(reconcile)
    verbs.command("statement")(statement)
    for name, text, some in (
        ("suspense", "Money without an owner.", (waiting, assign, give_back, agree_suspense)),
        ("differences", "What differs from peers' files.", (open_ones, correct, keep, agree)),
        ("limits", "What channels may take a day, and floats.",
         (limits, propose, approve, refuse, withdraw)),
    ):  # fmt: skip
        group = typer.Typer(no_args_is_help=True, help=text)
        for verb in some:
            group.command(_NAMES.get(verb.__name__, verb.__name__))(verb)
        verbs.add_typer(group, name=name)
    payments_books.register(verbs)
    app.add_typer(verbs, name="payments")


_NAMES = {"waiting": "list", "open_ones": "list", "limits": "show", "give_back": "return",
          "agree_suspense": "agree"}  # fmt: skip


def reconcile(
    file: Annotated[Path, typer.Argument(help="The peer's file, or - for standard input.")],
    *,
    channel: Channel,
    start: Since = None,
    end: Until = None,
    zone: Zone = SHANGHAI,
    actor: Actor = "",
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Compare a peer's file of whole days with our book; what only the peer has is booked."""
    with failures_told(as_json=as_json), books(config, zone) as found, bar(quiet=as_json) as told:
        task = told.add_task("compare", total=None)
        rows = rows_of(text_of(file))
        told.update(task, completed=0, total=len(rows))
        span = span_of(start, end, found.zone, found.today)
        result = payments.reconcile(
            found.db, channel, span, rows, actor=who_settles(found.db, actor), now=found.now
        )
        told.update(task, completed=len(rows))
    say(_compared(result), as_json=as_json, text=_compared_text(result))


def statement(
    *,
    channel: Channel,
    start: Since = None,
    end: Until = None,
    zone: Zone = SHANGHAI,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """List a channel's payments by the peer's own time, each with what is left of it."""
    with failures_told(as_json=as_json), books(config, zone) as found, bar(quiet=as_json) as told:
        task = told.add_task("payments", total=None)
        span = span_of(start, end, found.zone, found.today)
        rows: list[StatementRow] = []
        with found.db.transaction() as conn:
            while page := payments.statement(
                conn, channel, span, after=rows[-1].place if rows else None, limit=_AT_ONCE
            ):
                rows += page
                told.update(task, completed=len(rows))
    sums: dict[str, int] = {}
    for row in rows:
        sums[row.currency] = sums.get(row.currency, 0) + row.net_micros
    lines = [
        f"{row.peer_time.isoformat()}  {row.receipt_no}  {row.peer_txn_id}  {row.account}"
        f"  {row.state}  {to_text(row.net_micros)} {row.currency}"
        for row in rows
    ]
    lines += [f"{len(rows)} payments, {to_text(total)} {money}" for money, total in sums.items()]
    answer = {"channel": channel, "rows": [asdict(row) for row in rows], "net_micros": sums}
    say(answer, as_json=as_json, text="\n".join(lines) or "no payments")


def waiting(*, config: ConfigFile = None, as_json: JsonFlag = False) -> None:
    """List money that waits for its owner, with its age and what was proposed about it."""
    with (
        failures_told(as_json=as_json), books(config) as found, found.db.transaction() as conn,
    ):  # fmt: skip
        items = payments.suspense(conn, now=found.now)
        subjects = [proposals.suspense_subject(item.receipt_no) for item in items]
        wishes = proposals.proposals_of(conn, subjects)
    rows = [{**asdict(item), "proposal": _wish(wishes.get(subject))}
            for item, subject in zip(items, subjects, strict=True)]  # fmt: skip
    lines = [
        f"{item.receipt_no}  {item.channel} {item.peer_txn_id}  said {item.account}"
        f"  {to_text(item.amount_micros)} {item.currency}  {item.age_days} days"
        f"{_wish_text(wishes.get(subject))}"
        for item, subject in zip(items, subjects, strict=True)
    ]
    say({"suspense": rows}, as_json=as_json, text="\n".join(lines) or "nothing in suspense")


def assign(
    receipt: str, account: str, *, reason: Reason, actor: Actor = "", config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """Propose whose money it is; it moves when another person agrees."""
    subject = proposals.suspense_subject(receipt)
    _propose(subject, End.ASSIGNED, account, reason, actor=actor, config=config, as_json=as_json)


def give_back(
    receipt: str, *, reason: Reason, actor: Actor = "", config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """Propose to give money in suspense back to its channel."""
    subject = proposals.suspense_subject(receipt)
    _propose(subject, End.RETURNED, "", reason, actor=actor, config=config, as_json=as_json)


def agree_suspense(
    receipt: str, *, actor: Actor = "", config: ConfigFile = None, as_json: JsonFlag = False
) -> None:
    """Agree to what another person proposed about money in suspense."""
    _agree(proposals.suspense_subject(receipt), actor=actor, config=config, as_json=as_json)


def open_ones(*, config: ConfigFile = None, as_json: JsonFlag = False) -> None:
    """List differences that wait for two people or a later file."""
    with (
        failures_told(as_json=as_json), books(config) as found, found.db.transaction() as conn,
    ):  # fmt: skip
        items = proposals.open_differences(conn, limit=_AT_ONCE)
        wishes = proposals.proposals_of(conn, [item.subject for item in items])
    rows = [{**asdict(item), "proposal": _wish(wishes.get(item.subject))} for item in items]
    lines = [
        f"{item.reconciliation}  {item.channel} {item.peer_txn_id}  {item.kind}"
        f"  ours {_maybe(item.ours_micros)}  theirs {_maybe(item.theirs_micros)}"
        f"{_wish_text(wishes.get(item.subject))}"
        for item in items
    ]
    say({"differences": rows}, as_json=as_json, text="\n".join(lines) or "no open differences")


def correct(
    reconciliation: int, peer_txn_id: str, *, reason: Reason, actor: Actor = "",
    config: ConfigFile = None, as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """Propose to correct our book to the peer's."""
    subject = proposals.difference_subject(reconciliation, peer_txn_id)
    _propose(subject, End.CORRECTED, "", reason, actor=actor, config=config, as_json=as_json)


def keep(
    reconciliation: int, peer_txn_id: str, *, reason: Reason, actor: Actor = "",
    config: ConfigFile = None, as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """Propose to keep ours as it is."""
    subject = proposals.difference_subject(reconciliation, peer_txn_id)
    _propose(subject, End.KEPT, "", reason, actor=actor, config=config, as_json=as_json)


def agree(
    reconciliation: int, peer_txn_id: str, *, actor: Actor = "", config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """Agree to what another person proposed about a difference."""
    subject = proposals.difference_subject(reconciliation, peer_txn_id)
    _agree(subject, actor=actor, config=config, as_json=as_json)


def limits(*, config: ConfigFile = None, as_json: JsonFlag = False) -> None:
    """Show what each channel has taken of its day and what its float has free, and open changes."""
    with (
        failures_told(as_json=as_json), books(config) as found, found.db.transaction() as conn,
    ):  # fmt: skip
        rows = payments.limits_of(conn, now=found.now)
        changes = payments.changes(conn)
    lines = [
        f"{row.channel}  {row.day}  taken {to_text(row.taken_micros)}"
        f" of {_maybe(row.day_limit_micros, 'no limit')} {row.currency}"
        + (f"  float {to_text(row.float_micros)}, kept {to_text(row.reserved_micros)}"
           if row.by_agent else "")
        for row in rows
    ]  # fmt: skip
    lines += [_change_text(change) for change in changes if change.outcome is ChangeOutcome.WAITS]
    answer = {"channels": [{**asdict(row), "left_micros": row.left_micros} for row in rows],
              "changes": [asdict(change) for change in changes]}  # fmt: skip
    say(answer, as_json=as_json, text="\n".join(lines) or "no channel has taken anything")


def propose(
    channel: str,
    kind: Annotated[ChangeKind, typer.Argument(help="day_limit or float")],
    *,
    amount: Annotated[
        str, typer.Option(help="Such as 50000; none: no limit; a float: with - money leaves it.")
    ],
    currency: Annotated[str, typer.Option(help="Such as CNY.")],
    reason: Reason,
    actor: Actor = "",
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Propose a channel's limit a day, or money to its float."""
    with failures_told(as_json=as_json), books(config) as found:
        wish = ChannelChange(
            id=0, channel=channel, currency=currency, kind=kind, reason=reason,
            amount_micros=None if amount == "none" else amount_of(amount),
            proposed_by=who_settles(found.db, actor), proposed_at=found.now,
        )  # fmt: skip
        number = payments.propose_change(found.db, wish, now=found.now)
    say({"change": number}, as_json=as_json,
        text=f"change {number} waits for another person (payments limits approve)")  # fmt: skip


def approve(
    change: int, *, actor: Actor = "", config: ConfigFile = None, as_json: JsonFlag = False
) -> None:
    """Approve what another person proposed: it holds from now on."""
    _decide(change, ChangeOutcome.APPROVED, actor=actor, config=config, as_json=as_json)


def refuse(
    change: int, *, actor: Actor = "", config: ConfigFile = None, as_json: JsonFlag = False
) -> None:
    """Refuse what another person proposed."""
    _decide(change, ChangeOutcome.REFUSED, actor=actor, config=config, as_json=as_json)


def withdraw(
    change: int, *, actor: Actor = "", config: ConfigFile = None, as_json: JsonFlag = False
) -> None:
    """Take back what you proposed."""
    _decide(change, ChangeOutcome.WITHDRAWN, actor=actor, config=config, as_json=as_json)


def _decide(
    change: int, outcome: ChangeOutcome, *, actor: str, config: Path | None, as_json: bool
) -> None:
    with failures_told(as_json=as_json), books(config) as found:
        decided = payments.decide_change(
            found.db, change, outcome, actor=who_settles(found.db, actor), now=found.now
        )
        say(asdict(decided), as_json=as_json, text=_change_text(decided))


def _propose(
    subject: str, end: End, account: str, reason: str, *, actor: str, config: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    with failures_told(as_json=as_json), books(config) as found:
        _check_waits(found, subject)
        wish = Proposal(
            subject=subject, end=end, account=account, reason=reason,
            actor=who_settles(found.db, actor), at=found.now,
        )  # fmt: skip
        proposals.propose(found.db, wish, now=found.now)
        say({"subject": subject, "end": end.value, "account": account}, as_json=as_json,
            text=f"{subject}: {end.value} {account} waits for another person")  # fmt: skip


def _agree(subject: str, *, actor: str, config: Path | None, as_json: bool) -> None:
    with failures_told(as_json=as_json), books(config) as found:
        with found.db.transaction() as conn:
            wish = proposals.proposals_of(conn, [subject]).get(subject)
        done = proposals.agree(
            found.db, subject, seen=wish.id if wish else 0, actor=who_settles(found.db, actor),
            now=found.now,
        )  # fmt: skip
        say({"subject": subject, "end": done.end.value, "account": done.account}, as_json=as_json,
            text=f"{subject}: {done.end.value} {done.account}".rstrip())  # fmt: skip


def _check_waits(found: Books, subject: str) -> None:
    """Refuse a proposal about nothing that waits: a slip of the finger would stand for ever."""
    with found.db.transaction() as conn:
        subjects = {one.subject for one in proposals.open_differences(conn, limit=100_000)}
        items = payments.suspense(conn, now=found.now)
    subjects |= {proposals.suspense_subject(item.receipt_no) for item in items}
    if subject not in subjects:
        raise RefusedError(
            Refusal.UNKNOWN, f"{subject} does not wait",
            fix="look at `payments suspense list` and `payments differences list`",
        )  # fmt: skip


def _compared(result: Reconciled) -> dict[str, Any]:
    return {
        "reconciliation": result.id, "matched": result.matched, "replayed": result.replayed,
        "ours_micros": result.ours_micros, "theirs_micros": result.theirs_micros,
        "open": len(result.open), "differences": [asdict(each) for each in result.differences],
    }  # fmt: skip


def _compared_text(result: Reconciled) -> str:
    lines = [
        f"reconciliation {result.id}: {result.matched} agree, {len(result.differences)} differ,"
        f" {len(result.open)} wait for two people"
    ]
    lines += [
        f"  {each.peer_txn_id}  {each.kind}  ours {_maybe(each.ours_micros)}"
        f"  theirs {_maybe(each.theirs_micros)}  {each.outcome}"
        for each in result.differences
    ]
    return "\n".join(lines)


def _wish(wish: Proposal | None) -> dict[str, Any] | None:
    return asdict(wish) if wish else None


def _wish_text(wish: Proposal | None) -> str:
    return f"  proposed: {wish.end} {wish.account} by {wish.actor}" if wish else ""


def _change_text(change: ChannelChange) -> str:
    amount = _maybe(change.amount_micros, "no limit")
    return (
        f"change {change.id}  {change.channel} {change.kind} {amount} {change.currency}"
        f"  {change.outcome}  by {change.proposed_by}: {change.reason}"
    )


def _maybe(micros: int | None, otherwise: str = "-") -> str:
    return otherwise if micros is None else to_text(micros)
