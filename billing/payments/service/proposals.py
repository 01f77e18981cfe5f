"""
Two people at two screens: one proposes how a matter ends, another agrees and it ends so.

A matter is money in suspense or an open difference of a reconciliation. A proposal has no state of
its own: it stands while its matter waits, and a newer one takes its place.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from billing.payments.model import DifferenceKind, Outcome, Refusal
from billing.payments.service import two_people
from billing.payments.service.reconcile import resolve
from billing.payments.store import proposals as store
from cloud.store import audit
from cloud.store.db import Connection, Database
from protocols.errors import RefusedError


class End(StrEnum):
    """How a matter may end: the first two for suspense, the last two for a difference."""

    ASSIGNED = "assigned"
    RETURNED = "returned"
    CORRECTED = "corrected"
    KEPT = "kept"


OF_SUSPENSE = (End.ASSIGNED, End.RETURNED)
OF_DIFFERENCE = (End.CORRECTED, End.KEPT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What one person proposes; `account` is whose the money is, of an assignment alone."""

    subject: str
    end: End
    account: str
    reason: str
    actor: str
    at: datetime
    id: int = 0
    """Ours; 0 until it is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenDifference:
    """A difference that waits. *Units*: micros; None where a side has no row."""

    reconciliation: int
    channel: str
    peer_txn_id: str
    kind: DifferenceKind
    ours_micros: int | None
    theirs_micros: int | None

    @property
    def subject(self) -> str:
        """Return the name its proposals have."""
        return difference_subject(self.reconciliation, self.peer_txn_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One reconciliation as it stands now."""

    id: int
    channel: str
    starts_at: datetime
    ends_at: datetime
    matched: int
    ours_micros: int
    theirs_micros: int
    made_at: datetime
    differences: int
    open: int


def suspense_subject(receipt_no: str) -> str:
    """Return the name that proposals about money in suspense have."""
    return f"suspense:{receipt_no}"


def difference_subject(reconciliation: int, peer_txn_id: str) -> str:
    """Return the name that proposals about a difference have."""
    return f"difference:{reconciliation}:{peer_txn_id}"


def propose(db: Database, wish: Proposal, *, now: datetime) -> None:
    """
    Keep what somebody proposes; nothing moves.

    Raises: RefusedError `payments.outcome` when the matter cannot end so or no reason is given.
    """
    kind = wish.subject.partition(":")[0]
    allowed = OF_SUSPENSE if kind == "suspense" else OF_DIFFERENCE
    if wish.end not in allowed or (wish.end is End.ASSIGNED) != bool(wish.account):
        raise RefusedError(
            Refusal.OUTCOME, f"{wish.subject} cannot end {wish.end}",
            fix="assign to an account or return; correct or keep",
        )  # fmt: skip
    if not wish.reason.strip():
        raise RefusedError(Refusal.OUTCOME, "a proposal needs a reason", fix="say why")
    with db.transaction() as conn:
        store.insert_proposal(
            conn, wish.subject, outcome=wish.end.value, account=wish.account,
            reason=wish.reason.strip(), actor=wish.actor, now=now,
        )  # fmt: skip
        audit.record(
            conn, at=now, actor=wish.actor, action="payments.proposed", entity="payment_matter",
            entity_id=wish.subject, reason=wish.reason.strip(),
            after={"outcome": wish.end.value, "account": wish.account},
        )  # fmt: skip


def agree(db: Database, subject: str, *, seen: int, actor: str, now: datetime) -> Proposal:
    """
    End a matter as its newest proposal says, by its proposer and `actor` together.

    `seen` is the proposal that was read. Raises: RefusedError `payments.transaction_unknown`
    without one, `payments.outcome` when a newer one stands, `payments.two_people` when the two
    people are one, and as the act itself.
    """
    with db.transaction() as conn:
        found = proposals_of(conn, [subject]).get(subject)
    if found is None:
        raise RefusedError(Refusal.UNKNOWN, f"nobody proposed anything about {subject}")
    if found.id != seen:
        raise RefusedError(
            Refusal.OUTCOME, f"a newer proposal stands about {subject}", fix="read it first"
        )
    people = (found.actor, actor)
    kind, _, rest = subject.partition(":")
    if kind == "suspense" and found.end is End.ASSIGNED:
        two_people.assign_suspense(
            db, rest, found.account, actors=people, reason=found.reason, now=now
        )
    elif kind == "suspense":
        two_people.return_suspense(db, rest, actors=people, reason=found.reason, now=now)
    else:
        number, _, txn = rest.partition(":")
        resolve(
            db, int(number), txn, Outcome(found.end.value), actors=people, reason=found.reason,
            now=now,
        )  # fmt: skip
    return found


def proposals_of(conn: Connection, subjects: Sequence[str]) -> dict[str, Proposal]:
    """Return the newest proposal of each subject that has one."""
    return {
        row[0]: Proposal(
            subject=row[0],
            end=End(row[1]),
            account=row[2],
            reason=row[3],
            actor=row[4],
            at=row[5],
            id=row[6],
        )
        for row in store.newest_proposals(conn, subjects)
    }


def open_differences(conn: Connection, *, limit: int = 100) -> list[OpenDifference]:
    """Return differences that wait for two people or a later file."""
    return [
        OpenDifference(
            reconciliation=row[0], channel=row[1], peer_txn_id=row[2],
            kind=DifferenceKind(row[3]), ours_micros=row[4], theirs_micros=row[5],
        )
        for row in store.open_differences(conn, limit)
    ]  # fmt: skip


def comparisons(conn: Connection, *, limit: int = 20) -> list[Comparison]:
    """Return reconciliations, newest first."""
    return [
        Comparison(
            id=row[0], channel=row[1], starts_at=row[2], ends_at=row[3], matched=row[4],
            ours_micros=int(row[5]), theirs_micros=int(row[6]), made_at=row[7],
            differences=row[8], open=row[9],
        )
        for row in store.newest_reconciliations(conn, limit)
    ]  # fmt: skip
