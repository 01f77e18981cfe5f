"""A peer's file against our book: booked by itself where that is safe, else by two people."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from billing.customers.model import AccountId
from billing.payments import rules
from billing.payments.model import (
    Difference,
    DifferenceKind,
    FileRow,
    Outcome,
    PaymentOrder,
    PaymentState,
    Reconciled,
    Refusal,
    StatementRow,
)
from billing.payments.rules import comparing
from billing.payments.service import core, two_people
from billing.payments.store import holds, rows, settling
from cloud.store import audit
from cloud.store.db import Connection, Database
from protocols.errors import RefusedError
from protocols.timeline import Interval

_AT_ONCE = 5_000


def reconcile(
    db: Database,
    channel: str,
    span: Interval,
    theirs: Sequence[FileRow],
    *,
    actor: str,
    now: datetime,
) -> Reconciled:
    """
    Compare a settlement file with our book and settle what needs nobody's judgement (H9).

    The same file of the same span again returns what it said the first time. What only the peer
    has is booked: it holds the customer's money. Raises: RefusedError `payments.file`.
    """
    digest = comparing.file_hash(theirs)
    with db.transaction() as conn:
        ours = _ours(conn, channel, span, [row.peer_txn_id for row in theirs])
        comparing.check_file(theirs, {row.peer_txn_id: row.currency for row in ours})
        matched, found = comparing.compare(ours, theirs, channel=holds.channel(conn, channel))
        sums = (
            sum(row.net_micros for row in ours if span.start <= row.peer_time < span.end),
            sum(row.amount_micros for row in theirs),
        )
        number = settling.insert_reconciliation(
            conn, channel, span, file_hash=digest, matched=matched, sums=sums, actor=actor, now=now
        )
        if number is None:
            return _again(conn, channel, span, digest)
        by_id = {row.peer_txn_id: row for row in theirs}
        settled = [_settle(conn, channel, each, by_id, actor=actor, now=now) for each in found]
        settling.insert_differences(conn, number, settled, now)
        settling.settle_found_later(conn, channel, number, list(by_id), now)
        audit.record(
            conn, at=now, actor=actor, action="payments.reconciled", entity="channel",
            entity_id=channel,
            after={"reconciliation": number, "matched": matched, "ours_micros": sums[0],
                   "theirs_micros": sums[1], "differences": len(settled)},
        )  # fmt: skip
    return Reconciled(
        id=number, matched=matched, ours_micros=sums[0], theirs_micros=sums[1],
        differences=tuple(settled), replayed=False,
    )  # fmt: skip


def resolve(
    db: Database,
    number: int,
    peer_txn_id: str,
    outcome: Outcome,
    *,
    actors: tuple[str, str],
    reason: str,
    now: datetime,
) -> None:
    """
    Settle one open difference by two people: correct our book to the peer's, or keep ours.

    Raises: RefusedError `payments.two_people`, `payments.settled_already`, `payments.outcome`.
    """
    rules.check_people(actors)
    with db.transaction() as conn:
        channel = settling.reconciliation_channel(conn, number)
        difference = settling.lock_difference(conn, number, peer_txn_id)
        if channel is None or difference is None:
            raise RefusedError(
                Refusal.UNKNOWN, f"reconciliation {number} has no difference at {peer_txn_id!r}",
                fix="look at the reconciliation again",
            )  # fmt: skip
        comparing.check_settled(difference, outcome)
        if outcome is Outcome.CORRECTED:
            _correct(conn, channel, number, difference, actors=actors, reason=reason, now=now)
        settling.settle_difference(
            conn, number, peer_txn_id, outcome=outcome, reason=reason, actors=actors, now=now
        )
        audit.record(
            conn, at=now, actor=actors[0], on_behalf=actors[1], action="payments.resolved",
            entity="channel", entity_id=channel, reason=reason,
            after={"reconciliation": number, "peer_txn_id": peer_txn_id, "outcome": outcome.value},
        )  # fmt: skip


def differences(conn: Connection, number: int) -> list[Difference]:
    """Return the differences of a reconciliation as they stand."""
    return settling.differences(conn, number)


def _ours(
    conn: Connection, channel: str, span: Interval, named: Sequence[str]
) -> list[StatementRow]:
    """Return our payments of the span and those outside it that the file names."""
    found, after = list[StatementRow](), None
    while page := settling.statement_rows(conn, channel, span, after=after, limit=_AT_ONCE):
        found += page
        after = page[-1].place
    inside = {row.peer_txn_id for row in found}
    outside = [txn for txn in named if txn not in inside]
    return found + (settling.statement_by_ids(conn, channel, outside) if outside else [])


def _settle(
    conn: Connection,
    channel: str,
    difference: Difference,
    theirs: dict[str, FileRow],
    *,
    actor: str,
    now: datetime,
) -> Difference:
    if difference.kind is DifferenceKind.DATE:
        return replace(difference, outcome=Outcome.NOTED)
    if difference.kind is not DifferenceKind.THEIRS_ONLY:
        return difference
    row = theirs[difference.peer_txn_id]
    announced = holds.hold(conn, channel, row.peer_txn_id, lock=True)
    if announced is not None and announced.amount_micros != row.amount_micros:
        return difference
    order = PaymentOrder(
        channel=channel, peer_txn_id=row.peer_txn_id, amount_micros=row.amount_micros,
        account=announced.account if announced else AccountId(row.account),
        currency=announced.currency if announced else row.currency, peer_time=row.peer_time,
        actor=actor, already_collected=True,
    )  # fmt: skip
    receipt, _ = core.paid(conn, order, now=now, settling_file=True)
    return replace(difference, outcome=Outcome.BOOKED) if receipt else difference


def _correct(
    conn: Connection,
    channel: str,
    number: int,
    difference: Difference,
    *,
    actors: tuple[str, str],
    reason: str,
    now: datetime,
) -> None:
    txn = difference.peer_txn_id
    holds.hold(conn, channel, txn, lock=True)
    payment = rows.payment_by_peer(conn, channel, txn)
    if payment is None:
        raise RefusedError(
            Refusal.OUTCOME, f"{txn} was announced with another amount and never posted",
            fix="let the peer pay it back, and keep",
        )  # fmt: skip
    standing = settling.statement_by_ids(conn, channel, [txn])[0]
    delta = (difference.theirs_micros or 0) - standing.net_micros
    if delta == 0:
        return
    if payment.state is not PaymentState.SUSPENSE:
        two_people.correct(
            conn, payment, delta, key=f"{number}:{channel}:{txn}", actors=actors, reason=reason,
            now=now,
        )  # fmt: skip
    elif difference.theirs_micros is None:
        two_people.send_back(conn, payment, actors=actors, reason=reason, now=now)
    else:
        raise RefusedError(
            Refusal.OUTCOME, f"{payment.receipt_no} waits in suspense with another amount",
            fix="assign or return it first",
        )  # fmt: skip


def _again(conn: Connection, channel: str, span: Interval, digest: bytes) -> Reconciled:
    known = settling.reconciliation(conn, channel, span, digest)
    assert known is not None, "a reconciliation that stands cannot be found"
    return Reconciled(
        id=known[0], matched=known[1], ours_micros=known[2], theirs_micros=known[3],
        differences=tuple(settling.differences(conn, known[0])), replayed=True,
    )  # fmt: skip
