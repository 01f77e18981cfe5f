"""
Exceptions found in fee accounting, whoever found them, in one queue with who and why (G7).

Sources are asked what stands: calculation (C11), bills that wait or were parked, money in suspense,
differences from peers' files, documents that the ledger does not bear out.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from billing.accounting import rules, store
from billing.accounting.model import (
    Event,
    FeeException,
    Finding,
    Gathered,
    Refusal,
    Source,
    State,
    Step,
)
from billing.accounting.service.reports import untied
from billing.money import to_text
from billing.payments import service as payments
from billing.payments.service import proposals
from billing.prepaid import service as prepaid
from cloud.store import audit
from cloud.store.db import Connection, Database
from protocols.errors import RefusedError
from protocols.timeline import local_date

_MOST = 10_000
_Move = tuple[FeeException, State, str, str]
BOOK_DAYS = 31
"""How far back books are compared; a difference found once stays until it is gone from there."""


def gather(db: Database, *, actor: str, zone: ZoneInfo, now: datetime) -> Gathered:
    """Ask every source what stands and bring the queue up to it; again, nothing changes."""
    with db.transaction() as conn:
        store.lock_gathering(conn)
        found = {(each.source, each.subject, each.kind): each for each in _found(conn, zone, now)}
        known = {
            (each.finding.source, each.finding.subject, each.finding.kind): each
            for each in store.known_exceptions(conn, list(found.values()))
        }
        fresh = [finding for key, finding in found.items() if key not in known]
        again: list[_Move] = []
        gone: list[_Move] = []
        for key, each in known.items():
            event = Event.FOUND if key in found else Event.MISSING
            to = rules.next_state(each.state, event)
            if to is not each.state:
                detail = found[key].detail if key in found else each.finding.detail
                (again if key in found else gone).append((each, to, "", detail))
        if fresh:
            store.insert_exceptions(conn, fresh, actor=actor, now=now)
        for event, moves in ((Event.FOUND, again), (Event.MISSING, gone)):
            if moves:
                store.move_exceptions(conn, moves, event=event, actor=actor, reason="", now=now)
    return Gathered(standing=len(found), opened=len(fresh), reopened=len(again), gone=len(gone))


def act(
    db: Database, number: int, event: Event, *, actor: str, reason: str, now: datetime
) -> State:
    """
    Take an exception, settle it or dismiss it; return where it stands.

    Raises: RefusedError `accounting.exception_unknown`, `accounting.step`, `accounting.reason`.
    """
    with db.transaction() as conn:
        found = store.exception_for_update(conn, number)
        if found is None:
            raise RefusedError(
                Refusal.UNKNOWN, f"there is no exception {number}", fix="list the exceptions"
            )
        to = rules.check_act(found.state, found.owner, event, actor=actor, reason=reason)
        moves = [(found, to, actor, found.finding.detail)]
        store.move_exceptions(conn, moves, event=event, actor=actor, reason=reason.strip(), now=now)
        audit.record(
            conn, at=now, actor=actor, action=f"accounting.{event.value}",
            entity="fee_exception", entity_id=str(number), reason=reason.strip(),
            before={"state": found.state.value, "owner": found.owner},
            after={"state": to.value, "subject": found.finding.subject},
        )  # fmt: skip
        return to


def exceptions(
    conn: Connection, states: Sequence[State] = (State.OPEN, State.TAKEN), *, after: int = 0,
    limit: int = 200,
) -> list[FeeException]:  # fmt: skip
    """Return exceptions in some states, oldest first."""
    return store.exceptions_in(conn, states, after=after, limit=limit)


def counts(conn: Connection) -> list[tuple[str, str, int]]:
    """Return how many exceptions there are of each source and state."""
    return store.exception_counts(conn)


def steps_of(conn: Connection, number: int) -> list[Step]:
    """Return what was done about one exception, and why."""
    return store.steps_of(conn, number)


def _found(conn: Connection, zone: ZoneInfo, now: datetime) -> list[Finding]:
    found = store.bills_waiting(conn)
    for each in prepaid.exceptions(conn):
        found.append(
            Finding(
                source=Source.CALCULATION, subject=each.agreement, kind=each.kind.value,
                account="", detail=each.detail,
            )
        )  # fmt: skip
    for item in payments.suspense(conn, now=now):
        found.append(
            Finding(
                source=Source.SUSPENSE, subject=item.receipt_no, kind="suspense",
                account=item.account, detail=f"{to_text(item.amount_micros)} {item.currency}",
            )
        )  # fmt: skip
    for one in proposals.open_differences(conn, limit=_MOST):
        found.append(
            Finding(
                source=Source.DIFFERENCE, subject=f"{one.reconciliation}:{one.peer_txn_id}",
                kind=one.kind.value, account="", detail=one.channel,
            )
        )  # fmt: skip
    today = local_date(now, zone)
    for gap in untied(conn, today - timedelta(days=BOOK_DAYS), today, zone=zone, limit=_MOST):
        found.append(
            Finding(
                source=Source.BOOK, subject=gap.subject, kind=gap.kind, account=gap.account,
                detail=f"{to_text(gap.ours_micros)} / {to_text(gap.booked_micros)}",
            )
        )  # fmt: skip
    return found
