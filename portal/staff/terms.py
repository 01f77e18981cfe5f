"""Terms of an agreement at a page: another tariff or attribute from a day on, decided by two."""

from datetime import date
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import Response

from billing.customers import service as customers
from billing.customers.model import NewTermsChange
from billing.customers.rules import terms_on
from billing.prepaid import service as prepaid
from billing.tariffs import service as tariffs
from portal.auth.guard import allowed, need_step_up, sends
from portal.auth.model import AccessRefusal, Permission, SignedIn
from portal.customer.gather import card_of, zone_of
from portal.fmt import plain_digits
from portal.site import go, page, site_of
from protocols.errors import RefusedError
from protocols.timeline import local_date

router = APIRouter()
Office = Annotated[SignedIn, Depends(allowed(Permission.CUSTOMER_CHANGE))]
Changer = Annotated[SignedIn, Depends(sends(Permission.CUSTOMER_CHANGE))]


@router.get("/customers/{usage_point}/terms")
def terms_page(request: Request, _: Office, usage_point: str) -> Response:
    """Show what an agreement says today, what was changed and what waits for a decision."""
    site = site_of(request)
    with site.db.transaction() as conn:
        card, zone = card_of(conn, usage_point), zone_of(conn, usage_point)
        today = local_date(site.clock.now(), ZoneInfo(zone))
        known = customers.terms_of_agreements(conn, [card.agreement])[card.agreement]
        changes = customers.terms_changes(conn, agreement=card.agreement)
        codes = sorted({row.code for row in tariffs.published(conn)})
    return page(
        request, "customer_terms.html", zone=zone, card=card, today=today, codes=codes,
        present=terms_on(known, today), changes=changes,
    )  # fmt: skip


@router.post("/customers/{usage_point}/terms")
def propose(
    request: Request,
    person: Changer,
    usage_point: str,
    *,
    day: Annotated[str, Form(max_length=10)],
    reason: Annotated[str, Form(max_length=300)],
    tariff: Annotated[str, Form(max_length=64)] = "",
    name: Annotated[str, Form(max_length=64)] = "",
    value: Annotated[str, Form(max_length=64)] = "",
) -> Response:
    """Change tariff or an attribute from a day on; an empty value takes the attribute away."""
    site = site_of(request)
    need_step_up(request, person)
    with site.db.transaction() as conn:
        card = card_of(conn, usage_point)
    wish = NewTermsChange(
        agreement=card.agreement, from_day=_day(day), reason=reason, tariff_code=tariff or None,
        attributes={name: value or None} if name else {},
    )  # fmt: skip
    found = prepaid.change_terms(site.db, wish, actor=person.actor, now=site.clock.now())
    told = "flash.terms_proposed" if found.state == "proposed" else "flash.terms_agreed"
    return go(f"/customers/{usage_point}/terms", flash=told)


@router.post("/customers/{usage_point}/terms/{change}")
def decide(
    request: Request,
    person: Changer,
    usage_point: str,
    change: int,
    *,
    act: Annotated[str, Form(pattern="^(approve|refuse)$")],
) -> Response:
    """Agree to a change of days past, or refuse it; who asked does not decide."""
    site = site_of(request)
    need_step_up(request, person)
    customers.decide_terms(
        site.db, change, approve=act == "approve", actor=person.actor, now=site.clock.now()
    )
    told = "flash.terms_agreed" if act == "approve" else "flash.terms_refused"
    return go(f"/customers/{usage_point}/terms", flash=told)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(plain_digits(text))
    except ValueError as error:
        raise RefusedError(AccessRefusal.BAD_INPUT, f"{text!r} is no day") from error
