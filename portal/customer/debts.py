"""Debts of one account: plans of instalments, deposits, how it pays and gets its bills."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import Response

from billing.bills.rules.means import Choice, Delivery, Means
from billing.bills.rules.plans import PlanEvent, PlanRefusal, PlanState
from billing.bills.service import deposits, means, plans
from billing.bills.service.plans import ALL_KINDS, Wish
from billing.customers.model import CustomerCard
from cloud.store.db import Connection
from portal.amounts import micros_of
from portal.auth.guard import allowed, need_step_up, sends
from portal.auth.model import AccessRefusal, Permission, SignedIn
from portal.customer.gather import card_of, zone_of
from portal.customer.routes import own_point
from portal.fmt import plain_digits
from portal.site import go, page, site_of
from protocols.errors import RefusedError

router = APIRouter()
Customer = Annotated[SignedIn, Depends(allowed(Permission.HOME_VIEW))]
Signer = Annotated[SignedIn, Depends(sends(Permission.HOME_VIEW))]
Office = Annotated[SignedIn, Depends(allowed(Permission.CUSTOMER_VIEW))]
Clerk = Annotated[SignedIn, Depends(sends(Permission.BILL_REVIEW))]


@router.get("/home/debts")
def own_debts(request: Request, person: Customer) -> Response:
    """Show a customer its plans, deposits and how it pays."""
    return _page(request, own_point(person), home="/home", office=False)


@router.get("/customers/{usage_point}/debts")
def office_debts(request: Request, _: Office, usage_point: str) -> Response:
    """Show the office what the customer sees, with what may be done about it."""
    return _page(request, usage_point, home=f"/customers/{usage_point}", office=True)


@router.post("/home/debts/sign")
def sign_own(request: Request, person: Signer, plan: Annotated[int, Form()]) -> Response:
    """Agree to a plan: its debt is shared from now on."""
    site, point = site_of(request), own_point(person)
    with site.db.transaction() as conn:
        _theirs(conn, plan, card_of(conn, point))
    plans.sign(site.db, plan, actor=person.actor, now=site.clock.now())
    return go("/home/debts", flash="flash.plan_signed")


@router.post("/home/debts/delivery")
def choose_own(request: Request, person: Signer, delivery: Annotated[Delivery, Form()]) -> Response:
    """Choose how bills come; how they are paid is changed at the office."""
    site, point = site_of(request), own_point(person)
    with site.db.transaction() as conn:
        card = card_of(conn, point)
        standing = means.choice_of(conn, card.account)
    choice = Choice(means=standing.means, delivery=delivery, mandate=standing.mandate)
    means.choose(site.db, card.account, choice, actor=person.actor, now=site.clock.now())
    return go("/home/debts", flash="flash.means_set")


@router.post("/customers/{usage_point}/debts/propose")
def propose(
    request: Request,
    person: Clerk,
    usage_point: str,
    *,
    first: Annotated[str, Form(max_length=30)],
    instalments: Annotated[str, Form(max_length=4)],
    reason: Annotated[str, Form(max_length=200)] = "",
) -> Response:
    """Propose to share what the account owes today."""
    site, count = site_of(request), plain_digits(instalments.strip())
    if not count.isdigit():
        raise RefusedError(AccessRefusal.BAD_INPUT, "the number of shares is like 6")
    with site.db.transaction() as conn:
        card = card_of(conn, usage_point)
    wish = Wish(
        account=card.account, first_micros=micros_of(first), instalments=int(count),
        kinds=ALL_KINDS, reason=reason, actor=person.actor,
    )  # fmt: skip
    plans.propose(site.db, wish, now=site.clock.now())
    return go(f"/customers/{usage_point}/debts", flash="flash.plan_proposed")


@router.post("/customers/{usage_point}/debts/decide")
def decide(
    request: Request,
    person: Clerk,
    usage_point: str,
    *,
    plan: Annotated[int, Form()],
    act: Annotated[PlanEvent, Form()],
    reason: Annotated[str, Form(max_length=200)] = "",
) -> Response:
    """Approve or refuse a plan as the second person, or withdraw it; approval needs step-up."""
    site = site_of(request)
    if act not in (PlanEvent.APPROVE, PlanEvent.REFUSE, PlanEvent.WITHDRAW):
        raise RefusedError(AccessRefusal.BAD_INPUT, "a plan is approved, refused or withdrawn here")
    if act is PlanEvent.APPROVE:
        need_step_up(request, person)
    with site.db.transaction() as conn:
        _theirs(conn, plan, card_of(conn, usage_point))
    plans.decide(
        site.db, plan, act, actor=person.actor, reason=reason, now=site.clock.now()
    )  # fmt: skip
    return go(f"/customers/{usage_point}/debts", flash="flash.plan_decided")


@router.post("/customers/{usage_point}/debts/demand")
def demand(
    request: Request, person: Clerk, usage_point: str,
    reason: Annotated[str, Form(max_length=200)] = "",
) -> Response:  # fmt: skip
    """Ask for the deposit of the customer's class."""
    site = site_of(request)
    with site.db.transaction() as conn:
        card = card_of(conn, usage_point)
    deposits.demand(
        site.db, card.account, reason=reason, actor=person.actor, now=site.clock.now()
    )  # fmt: skip
    return go(f"/customers/{usage_point}/debts", flash="flash.deposit_demanded")


@router.post("/customers/{usage_point}/debts/means")
def choose(
    request: Request,
    person: Clerk,
    usage_point: str,
    *,
    how: Annotated[Means, Form()],
    delivery: Annotated[Delivery, Form()],
    mandate: Annotated[str, Form(max_length=64)] = "",
) -> Response:
    """Set how the account pays and gets its bills; an empty mandate keeps the one that stands."""
    site = site_of(request)
    with site.db.transaction() as conn:
        card = card_of(conn, usage_point)
        standing = means.choice_of(conn, card.account)
    kept = standing.mandate if how is Means.BANK_DEBIT else ""
    choice = Choice(means=how, delivery=delivery, mandate=plain_digits(mandate.strip()) or kept)
    means.choose(site.db, card.account, choice, actor=person.actor, now=site.clock.now())
    return go(f"/customers/{usage_point}/debts", flash="flash.means_set")


def _page(request: Request, point: str, *, home: str, office: bool) -> Response:
    site = site_of(request)
    now = site.clock.now()
    with site.db.transaction() as conn:
        card, zone = card_of(conn, point), zone_of(conn, point)
        found, kept = plans.pages_of(conn, card.account), deposits.deposits_of(conn, card.account)
        choice, debt = means.choice_of(conn, card.account), plans.debt_of(conn, card, now=now)
    may_share = not any(
        each.plan.state in (PlanState.PROPOSED, PlanState.APPROVED, PlanState.ACTIVE)
        for each in found
    )
    return page(
        request, "debts.html", zone=zone, card=card, home=home, office=office, plans=found,
        deposits=kept, choice=choice, owed=debt.total, may_share=may_share and debt.total > 0,
        means=tuple(Means), deliveries=tuple(Delivery),
    )  # fmt: skip


def _theirs(conn: Connection, number: int, card: CustomerCard) -> None:
    """Refuse a plan of somebody else, as if there were none."""
    if all(each.plan.id != number for each in plans.pages_of(conn, card.account)):
        raise RefusedError(PlanRefusal.UNKNOWN, f"no plan {number} of this account")
