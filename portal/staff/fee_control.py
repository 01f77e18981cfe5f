"""Fee control as a whole: statistics, the watch, old debt by two people, policies."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import Response

from billing.prepaid.service import credit, overview, policies, watch
from billing.prepaid.store.credit import Source
from portal.amounts import micros_of
from portal.auth.guard import allowed, need_step_up, sends
from portal.auth.model import Permission, SignedIn
from portal.fmt import plain_digits
from portal.site import go, page, reader_of, site_of
from portal.staff import gather

router = APIRouter()
Viewer = Annotated[SignedIn, Depends(allowed(Permission.CUT_VIEW))]
Settler = Annotated[SignedIn, Depends(sends(Permission.PAYMENT_SETTLE))]
_DAYS = (1, 7, 30)
_LINES = ("reminder", "zero", "cut", "restored", "tier")


@router.get("/fee-control")
def fee_control(request: Request, person: Viewer, days: int = 7) -> Response:
    """Show who stands where, what was passed in some days, and what waits for a person."""
    site = site_of(request)
    span = days if days in _DAYS else 7
    with site.db.transaction() as conn:
        zone = gather.office_zone(conn)
        whole = overview.overview(conn, days=span, now=site.clock.now())
        watched = watch.watched(conn)
        debts = credit.old_debts_open(conn)
        parts = policies.policies(conn)
    return page(
        request, "fee_control.html", zone=zone, whole=whole, watched=watched, debts=debts,
        parts=parts, days=span, spans=_DAYS, lines=_LINES, sides=overview.SIDES,
        mine=person.actor,
    )  # fmt: skip


@router.post("/customers/{usage_point}/credit")
def lend(request: Request, person: Settler, usage_point: str) -> Response:
    """Lend what the policy offers to a customer who asks by phone or at the counter."""
    site = site_of(request)
    given = credit.take_emergency(site.db, usage_point, actor=person.actor, now=site.clock.now())
    return go(
        f"/customers/{given.usage_point}", flash="flash.credit_taken",
        amount=reader_of(request).money_exact(given.amount_micros, given.currency),
    )  # fmt: skip


@router.post("/fee-control/debts")
def propose(
    request: Request,
    person: Settler,
    *,
    account: Annotated[str, Form(max_length=64)],
    amount: Annotated[str, Form(max_length=40)],
    reason: Annotated[str, Form(min_length=3, max_length=200)],
    source: Annotated[Source, Form()] = Source.BALANCE,
) -> Response:
    """Propose that debt leaves a balance; nothing moves until another person agrees."""
    site = site_of(request)
    credit.propose_old_debt(
        site.db, plain_digits(account.strip()), source=source, amount_micros=micros_of(amount),
        reason=reason, actor=person.actor, now=site.clock.now(),
    )  # fmt: skip
    return go("/fee-control", flash="flash.debt_proposed")


@router.post("/fee-control/debts/{number}/approve")
def approve(request: Request, person: Settler, number: int) -> Response:
    """Agree to what another person proposed; the password must be fresh."""
    site = site_of(request)
    need_step_up(request, person)
    credit.approve_old_debt(site.db, number, actor=person.actor, now=site.clock.now())
    return go("/fee-control", flash="flash.debt_set_aside")


@router.post("/fee-control/debts/{number}/withdraw")
def withdraw(request: Request, person: Settler, number: int) -> Response:
    """Take a proposal back."""
    site = site_of(request)
    credit.withdraw_old_debt(site.db, number, actor=person.actor, now=site.clock.now())
    return go("/fee-control", flash="flash.debt_withdrawn")


@router.post("/fee-control/watch/{number}")
def seen(
    request: Request,
    person: Settler,
    number: int,
    note: Annotated[str, Form(min_length=3, max_length=200)],
) -> Response:
    """Note that somebody looked after a customer, and what was found."""
    site = site_of(request)
    watch.note_seen(site.db, number, note=note, actor=person.actor, now=site.clock.now())
    return go("/fee-control", flash="flash.watch_seen")
