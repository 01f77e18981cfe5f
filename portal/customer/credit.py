"""A customer's balance taken apart: own money, the loan, old debt; and the button that lends."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from billing.prepaid import service as prepaid
from billing.prepaid.service import credit
from billing.prepaid.service.credit import CreditView
from cloud.store.db import Connection
from portal.auth.guard import allowed, sends
from portal.auth.model import Permission, SignedIn
from portal.customer.gather import card_of, zone_of
from portal.customer.routes import own_point
from portal.errors import status_of
from portal.site import go, page, reader_of, site_of
from protocols.errors import RefusedError

router = APIRouter()
Customer = Annotated[SignedIn, Depends(allowed(Permission.HOME_VIEW))]
Payer = Annotated[SignedIn, Depends(sends(Permission.HOME_VIEW))]


@router.get("/home/credit")
def credit_page(request: Request, person: Customer) -> Response:
    """Show what is the customer's own, what is lent, what is old debt."""
    return _page(request, person)


@router.post("/home/credit")
def take(request: Request, person: Payer) -> Response:
    """Lend what the policy offers; a second click finds the loan standing."""
    site, point = site_of(request), own_point(person)
    try:
        given = credit.take_emergency(site.db, point, actor=person.actor, now=site.clock.now())
    except RefusedError as error:
        return _page(request, person, error=error)
    return go(
        "/home/credit", flash="flash.credit_taken",
        amount=reader_of(request).money_exact(given.amount_micros, given.currency),
    )  # fmt: skip


def _page(request: Request, person: SignedIn, *, error: RefusedError | None = None) -> Response:
    site, point = site_of(request), own_point(person)
    words = reader_of(request).words
    with site.db.transaction() as conn:
        card, zone = card_of(conn, point), zone_of(conn, point)
        view = _view(conn, point, now=site.clock.now())
    refusal = error or (view.refusal if view else None)
    said = words.of_code("refusal", refusal.refusal.value, refusal.message) if refusal else ""
    return page(
        request, "credit.html", zone=zone, status=status_of(error) if error else 200, card=card,
        view=view, said=said, failed=error is not None,
    )  # fmt: skip


def _view(conn: Connection, point: str, *, now: datetime) -> CreditView | None:
    card = card_of(conn, point)
    try:
        balance = prepaid.balance_of(conn, point, now)
    except RefusedError:
        return None
    return credit.credit_of(conn, card, balance, now)
