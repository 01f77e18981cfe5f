"""What channels may take a day and what floats hold: proposed by one person, decided by another."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import Response

from billing.payments import service as payments
from billing.payments.model import ChangeKind, ChangeOutcome, ChannelChange
from portal.amounts import micros_of
from portal.auth.guard import need_step_up, sends
from portal.auth.model import Permission, SignedIn
from portal.site import go, site_of

router = APIRouter()
Settler = Annotated[SignedIn, Depends(sends(Permission.PAYMENT_SETTLE))]


@router.post("/payments/limits")
def propose(
    request: Request,
    person: Settler,
    *,
    channel: Annotated[str, Form(max_length=64)],
    currency: Annotated[str, Form(max_length=3)],
    kind: Annotated[ChangeKind, Form()],
    reason: Annotated[str, Form(max_length=200)],
    amount: Annotated[str, Form(max_length=24)] = "",
) -> Response:
    """Propose a limit a day (an empty one ends it) or money to a float; nothing changes yet."""
    site = site_of(request)
    now = site.clock.now()
    wish = ChannelChange(
        id=0, channel=channel.strip(), currency=currency.strip(), kind=kind, reason=reason,
        amount_micros=micros_of(amount) if amount.strip() else None, proposed_by=person.actor,
        proposed_at=now,
    )  # fmt: skip
    payments.propose_change(site.db, wish, now=now)
    return go("/payments", flash="flash.proposed")


@router.post("/payments/limits/{change}")
def decide(
    request: Request,
    person: Settler,
    change: int,
    outcome: Annotated[ChangeOutcome, Form()],
) -> Response:
    """Approve or refuse what another proposed, or take back one's own; the password is fresh."""
    site = site_of(request)
    if outcome is ChangeOutcome.APPROVED:
        need_step_up(request, person)
    payments.decide_change(site.db, change, outcome, actor=person.actor, now=site.clock.now())
    told = "flash.withdrawn" if outcome is ChangeOutcome.WITHDRAWN else "flash.decided"
    return go("/payments", flash=told)
