"""Use cases about a request: ask, approve twice, recheck, withdraw, look at the board."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from cloud.assets import service as assets
from cloud.control import rules
from cloud.control.model import (
    CutRow,
    DisconnectRequest,
    Outcome,
    Recheck,
    Refusal,
    RequestEvent,
    RequestId,
    RequestState,
    Verdict,
)
from cloud.control.service import steps
from cloud.control.store import requests as rows
from cloud.control.store import supply as supply_rows
from cloud.store import audit
from cloud.store.db import Connection, Database
from protocols.errors import RefusedError
from protocols.identity import UsagePointId

_SENTENCES = {
    Refusal.PROTECTED_CUSTOMER: "the supply is protected",
    Refusal.ON_HOLD: "a hold is open on the supply",
    Refusal.NO_SWITCH: "no meter with a switch is installed",
    Refusal.ALREADY_CUT: "the supply is cut already",
    Refusal.REQUEST_OPEN: "a request for this supply is open already",
    Refusal.PAYMENT_REGISTERED: "a payment was registered since the request was made",
    Refusal.REQUEST_EXPIRED: "the request is too old",
    Refusal.SAME_PERSON: "two different people must approve, neither the one who asked",
    Refusal.NOT_A_PERSON: "only a signed-in person may approve",
    Refusal.WRONG_STATE: "the request is not waiting for an approval",
}
_ENDS_REQUEST = frozenset(
    {
        Refusal.PROTECTED_CUSTOMER,
        Refusal.PAYMENT_REGISTERED,
        Refusal.REQUEST_EXPIRED,
        Refusal.ON_HOLD,
    }
)


def request_disconnect(
    db: Database,
    *,
    usage_point: UsagePointId,
    requested_by: str,
    reason: str,
    figures: Mapping[str, Any],
    now: datetime,
) -> RequestId:
    """
    Ask for a cut (D1); `figures` are the balance and readings that a person will compare.

    Raises: RefusedError PROTECTED_CUSTOMER, ON_HOLD, NO_SWITCH, ALREADY_CUT, REQUEST_OPEN,
    UNKNOWN_SUPPLY. A refusal is kept as a refused request with its cause, once per epoch.
    """
    with db.transaction() as conn:
        policy = supply_rows.policy(conn)
        supply = steps.supply_for_gate(conn, usage_point, policy, lock=True, now=now)
        installed = assets.installation_of(conn, usage_point)
        refusal = rules.refuse_request(
            supply,
            has_relay=installed is not None and installed.meter.has_relay,
            has_open_request=rows.open_request(conn, usage_point) is not None,
        )
        fields: dict[str, Any] = {
            "usage_point": usage_point, "requested_by": requested_by, "reason": reason,
            "figures": figures, "epoch": supply.epoch, "now": now,
            "expires_at": now + timedelta(hours=policy.request_valid_hours),
        }  # fmt: skip
        if refusal is None:
            id_ = rows.insert_request(conn, state=RequestState.REQUESTED, cause="", **fields)
        elif refusal is Refusal.REQUEST_OPEN:
            raise _refused(refusal, usage_point)
        else:
            same = rows.same_refusal(
                conn, usage_point, cause=refusal, epoch=supply.epoch, requested_by=requested_by
            )
            id_ = same or rows.insert_request(
                conn, state=RequestState.REFUSED, cause=refusal.value, **fields
            )
            if same is not None:
                raise _refused(refusal, usage_point)
        audit.record(
            conn, at=now, actor=requested_by, entity="request", entity_id=id_,
            action="request.open" if refusal is None else "request.refused",
            after={"usage_point": usage_point, "epoch": supply.epoch,
                   "refusal": refusal.value if refusal else ""},
            reason=reason,
        )  # fmt: skip
    if refusal is not None:
        raise _refused(refusal, usage_point)
    return id_


def approve(db: Database, request: RequestId, *, actor: str, now: datetime) -> RequestState:
    """
    Give one of the two approvals (D2) and return where the request stands.

    Raises: RefusedError SAME_PERSON, NOT_A_PERSON, WRONG_STATE, and those that also end the
    request: PROTECTED_CUSTOMER, PAYMENT_REGISTERED, REQUEST_EXPIRED, ON_HOLD.
    """
    with db.transaction() as conn:
        found, supply = _locked(conn, request, now=now)
        refusal = rules.refuse_approval(found, supply, actor=actor, now=now)
        if refusal is None:
            rows.insert_approval(
                conn, request, position=len(found.approved_by) + 1, actor=actor, now=now
            )
            return steps.move_request(conn, found, RequestEvent.APPROVE, actor=actor, now=now).state
        audit.record(
            conn, at=now, actor=actor, action="request.approval_refused", entity="request",
            entity_id=request, after={"refusal": refusal.value},
        )  # fmt: skip
        if refusal in _ENDS_REQUEST:
            steps.end_request(
                conn, found, RequestEvent.CANCEL, actor=steps.SYSTEM, cause=refusal, now=now
            )
    raise _refused(refusal, found.usage_point)


def withdraw(db: Database, request: RequestId, *, actor: str, reason: str, now: datetime) -> None:
    """
    Take a request back before its cut.

    Raises: RefusedError UNKNOWN_REQUEST; WRONG_STATE when it has ended or the go was given.
    """
    with db.transaction() as conn:
        found, _supply = _locked(conn, request, now=now)
        if rules.move_request(found.state, RequestEvent.CANCEL) is None:
            raise RefusedError(Refusal.WRONG_STATE, f"request {request} is {found.state}")
        too_late = steps.cancel_cut(
            conn, found.usage_point, cause=f"withdrawn: {reason}"[:200], actor=actor, now=now
        )
        if too_late:
            raise RefusedError(
                Refusal.WRONG_STATE, f"the cut of request {request} is being carried out",
                fix="order a reconnect",
            )  # fmt: skip


def pending_rechecks(conn: Connection) -> list[Recheck]:
    """Return what two people approved and billing has to compute anew."""
    return rows.rechecks(conn)


def confirm_recheck(
    db: Database,
    request: RequestId,
    *,
    epoch: int,
    still_due: bool,
    figures: Mapping[str, Any],
    now: datetime,
    until: datetime | None = None,
) -> bool:
    """
    Take billing's answer: computed anew at `epoch`, is the debt still there (D5)?

    Billing may only confirm or cancel. An answer of another epoch than the supply's now is worth
    nothing: the request ends. After `until` a positive answer is stale, as hours in which this
    supply may be cut are billing's to know. Return True when the request may go on to the gate.
    """
    with db.transaction() as conn:
        found, supply = _locked(conn, request, now=now)
        if found.state is not RequestState.APPROVED_2:
            return False
        if epoch != supply.epoch or found.epoch != supply.epoch:
            cause = Refusal.PAYMENT_REGISTERED.value
        elif supply.protected:
            cause = Refusal.PROTECTED_CUSTOMER.value
        elif supply.held:
            cause = Refusal.ON_HOLD.value
        else:
            cause = "" if still_due else "not_due"
        if cause:
            steps.end_request(
                conn, found, RequestEvent.CANCEL, actor="system:billing", cause=cause, now=now
            )
            return False
        rows.set_rechecked(conn, request, figures=figures, until=until, now=now)
        steps.move_request(conn, found, RequestEvent.RECHECK, actor="system:billing", now=now)
        return True


def expire_requests(db: Database, *, now: datetime) -> int:
    """End requests whose validity is over; return how many."""
    with db.transaction() as conn:
        lapsed = rows.requests_lapsed(conn, now=now)
    ended = 0
    for id_, _usage_point in lapsed:
        with db.transaction() as conn:
            found, _supply = _locked(conn, id_, now=now)
            if (
                found.expires_at <= now
                and found.state is not RequestState.ORDERED
                and (rules.move_request(found.state, RequestEvent.CANCEL) is not None)
            ):
                steps.end_request(
                    conn, found, RequestEvent.CANCEL, actor=steps.SYSTEM,
                    cause=Refusal.REQUEST_EXPIRED, now=now,
                )  # fmt: skip
                ended += 1
    return ended


def apply_refusal(
    conn: Connection, request: DisconnectRequest, refusal: Refusal, *, now: datetime
) -> None:
    """Do to a request what the gate's refusal means for it: wait, recheck, cancel or refuse."""
    verdict = rules.verdict_of(refusal)
    if verdict is Verdict.WAIT:
        if rows.set_waits_for(conn, request.id, cause=refusal):
            audit.record(
                conn, at=now, actor=steps.SYSTEM, action="request.waits", entity="request",
                entity_id=request.id, after={"refusal": refusal.value},
            )  # fmt: skip
    elif verdict is Verdict.RECHECK:
        steps.move_request(
            conn, request, RequestEvent.STALE, actor=steps.SYSTEM, cause=refusal, now=now
        )
    else:
        event = RequestEvent.REFUSE if verdict is Verdict.REFUSE else RequestEvent.CANCEL
        steps.end_request(conn, request, event, actor=steps.SYSTEM, cause=refusal, now=now)


def request_of(conn: Connection, request: RequestId) -> DisconnectRequest | None:
    """Return a request with its approvers, or None."""
    return rows.request(conn, request)


def requests_of(conn: Connection, usage_point: UsagePointId) -> list[DisconnectRequest]:
    """Return the requests of one supply, newest first."""
    return rows.requests_of(conn, usage_point)


def cut_board(conn: Connection, *, limit: int = 200) -> list[CutRow]:
    """Return the lines of the cut board: open requests, then the newest ended ones."""
    return rows.cut_board(conn, limit=limit)


def outcomes_after(conn: Connection, seq: int, *, limit: int = 500) -> list[Outcome]:
    """Return ends of commands and requests after `seq`; reading on by seq misses none."""
    return rows.outcomes_after(conn, seq, limit=limit)


def _locked(
    conn: Connection, request: RequestId, *, now: datetime
) -> tuple[DisconnectRequest, Any]:
    """Lock the request's supply and return both as they are then."""
    found = rows.request(conn, request)
    if found is None:
        raise RefusedError(Refusal.UNKNOWN_REQUEST, f"there is no request {request}")
    policy = supply_rows.policy(conn)
    supply = steps.supply_for_gate(conn, found.usage_point, policy, lock=True, now=now)
    found = rows.request(conn, request)
    assert found is not None
    return found, supply


def _refused(refusal: Refusal, usage_point: UsagePointId) -> RefusedError:
    return RefusedError(refusal, f"{usage_point}: {_SENTENCES.get(refusal, refusal.value)}")
