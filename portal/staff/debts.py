"""Debts in the office: plans that wait, deposits on their way back, ends that are not settled."""

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import Response

from billing.bills.rules.deposits import DepositEvent
from billing.bills.rules.ending import EndEvent
from billing.bills.service import deposits, ending, plans
from billing.customers import service as customers
from cloud.store.db import Connection
from portal.auth.guard import allowed, need_step_up, sends
from portal.auth.model import AccessRefusal, Permission, SignedIn
from portal.site import go, page, site_of
from portal.staff import gather
from protocols.errors import RefusedError

router = APIRouter()
Viewer = Annotated[SignedIn, Depends(allowed(Permission.BILL_VIEW))]
Clerk = Annotated[SignedIn, Depends(sends(Permission.BILL_REVIEW))]
CHANNELS = ("bank", "counter")
"""Ways by which money goes back."""


@router.get("/debts")
def debts(request: Request, person: Viewer) -> Response:
    """Show what of plans, deposits and ends waits for somebody."""
    with site_of(request).db.transaction() as conn:
        zone = gather.office_zone(conn)
        waiting, back = plans.waiting(conn), deposits.waiting(conn)
        ends = ending.unsettled(conn)
        late = {one.agreement: wh for one, wh in ending.late_registers(conn)}
        accounts = {one.account for one in waiting} | {one.account for one in back}
        named = _names(conn, sorted(accounts | {one.account for one in ends}))
    return page(
        request, "office_debts.html", zone=zone, plans=waiting, deposits=back, ends=ends,
        late=late, names=named, channels=CHANNELS, mine=person.actor,
    )  # fmt: skip


@router.post("/debts/ends/propose")
def propose_refund(
    request: Request,
    person: Clerk,
    agreement: Annotated[str, Form(max_length=64)],
    channel: Annotated[str, Form(max_length=64)],
    reason: Annotated[str, Form(max_length=200)] = "",
) -> Response:
    """Propose to pay out what is left of an ended agreement."""
    site = site_of(request)
    _check_channel(channel)
    ending.propose_refund(
        site.db, agreement, channel=channel, reason=reason, actor=person.actor,
        now=site.clock.now(),
    )  # fmt: skip
    return go("/debts", flash="flash.proposed")


@router.post("/debts/ends/decide")
def decide_refund(
    request: Request,
    person: Clerk,
    agreement: Annotated[str, Form(max_length=64)],
    act: Annotated[EndEvent, Form()],
) -> Response:
    """Agree to a refund as the second person, or refuse it; the password must be fresh."""
    site = site_of(request)
    if act not in (EndEvent.APPROVE, EndEvent.REFUSE):
        raise RefusedError(AccessRefusal.BAD_INPUT, "a refund is approved or refused here")
    need_step_up(request, person)
    ending.decide_refund(site.db, agreement, act, actor=person.actor, now=site.clock.now())
    return go("/debts", flash="flash.decided")


@router.post("/debts/deposits/propose")
def propose_return(
    request: Request,
    person: Clerk,
    deposit: Annotated[int, Form()],
    channel: Annotated[str, Form(max_length=64)],
    reason: Annotated[str, Form(max_length=200)] = "",
) -> Response:
    """Propose to pay a deposit back."""
    site = site_of(request)
    _check_channel(channel)
    deposits.propose_return(
        site.db, deposit, channel=channel, reason=reason, actor=person.actor,
        now=site.clock.now(),
    )  # fmt: skip
    return go("/debts", flash="flash.proposed")


@router.post("/debts/deposits/decide")
def decide_return(
    request: Request,
    person: Clerk,
    deposit: Annotated[int, Form()],
    act: Annotated[DepositEvent, Form()],
) -> Response:
    """Agree to give a deposit back as the second person, or refuse it."""
    site = site_of(request)
    if act not in (DepositEvent.APPROVE, DepositEvent.REFUSE):
        raise RefusedError(AccessRefusal.BAD_INPUT, "a return is approved or refused here")
    need_step_up(request, person)
    deposits.decide_return(site.db, deposit, act, actor=person.actor, now=site.clock.now())
    return go("/debts", flash="flash.decided")


def _names(conn: Connection, accounts: list[str]) -> Mapping[str, str]:
    return {account: card.name for account, card in customers.cards_of(conn, accounts).items()}


def _check_channel(channel: str) -> None:
    if channel not in CHANNELS:
        raise RefusedError(AccessRefusal.BAD_INPUT, f"money does not go back through {channel!r}")
