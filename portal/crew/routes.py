"""The crew's phone: the list of orders, one order, the report of a visit."""

import secrets
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import Response

from billing.customers import service as customers
from cloud.control import service as control
from cloud.store.db import Connection
from cloud.work import service as work
from cloud.work.model import Order, OrderId
from portal.amounts import wh_of
from portal.auth.guard import allowed, sends
from portal.auth.model import AccessRefusal, Permission, SignedIn
from portal.errors import status_of
from portal.site import go, is_part, page, reader_of, site_of
from protocols.errors import RefusedError

router = APIRouter()
Crew = Annotated[SignedIn, Depends(allowed(Permission.WORK_REPORT))]
Reporter = Annotated[SignedIn, Depends(sends(Permission.WORK_REPORT))]
_CUT = 5
_VISIT = tuple(range(1, 12))
_RESTORED = 12


@router.get("/crew")
def my_orders(request: Request, person: Crew) -> Response:
    """Show the orders of this crew, open ones first."""
    site = site_of(request)
    with site.db.transaction() as conn:
        orders = work.orders(conn, crew=person.actor)
        zone = control.policy(conn).zone
    shown = sorted(orders, key=lambda order: order.state not in {"raised", "assigned"})
    template = "orders_part.html" if is_part(request) else "orders.html"
    return page(request, template, zone=zone, orders=shown)


@router.get("/crew/{id_}")
def order_page(request: Request, person: Crew, id_: str) -> Response:
    """Show one order with the form of the report."""
    return _order_page(request, person, id_)


@router.post("/crew/{id_}")
def report(  # noqa: PLR0917 - a form's fields arrive by name
    request: Request,
    person: Reporter,
    id_: str,
    outcome: Annotated[int, Form(ge=1, le=12)],
    key: Annotated[str, Form(min_length=8, max_length=64)],
    shown: Annotated[str, Form(alias="register_kwh")] = "",
    note: Annotated[str, Form(max_length=500)] = "",
    no_voltage: Annotated[str, Form()] = "",
) -> Response:
    """Take the report of a visit; the key drawn with the form makes a repeat harmless."""
    site = site_of(request)
    try:
        if outcome == _CUT and not no_voltage:
            raise RefusedError(AccessRefusal.NO_VOLTAGE_UNCONFIRMED, "test for voltage first")
        read = wh_of(shown) if shown.strip() else None
        work.report(
            site.db, OrderId(id_), outcome=outcome, register_wh=read,
            note=f"{note.strip()} (no voltage left)".strip() if no_voltage else note.strip(),
            actor=person.actor, idempotency_key=key, now=site.clock.now(),
        )  # fmt: skip
    except RefusedError as error:
        return _order_page(request, person, id_, error=error, chosen=outcome, typed=shown[:20])
    return go("/crew", flash="flash.reported")


def _order_page(
    request: Request,
    person: SignedIn,
    id_: str,
    *,
    error: RefusedError | None = None,
    chosen: int = 0,
    typed: str = "",
) -> Response:
    site, reader = site_of(request), reader_of(request)
    with site.db.transaction() as conn:
        order = _mine(conn, person, id_)
        customer = customers.card_of(conn, order.usage_point)
        zone = control.policy(conn).zone
    said = reader.words.of_code("refusal", error.refusal.value, error.message) if error else ""
    outcomes = (_RESTORED, *_VISIT) if order.kind == "restore_failure" else _VISIT
    return page(
        request, "order.html", zone=zone, status=status_of(error) if error else 200, order=order,
        customer=customer, outcomes=outcomes, chosen=chosen, typed=typed, error=said,
        key=secrets.token_urlsafe(18),
    )  # fmt: skip


def _mine(conn: Connection, person: SignedIn, id_: str) -> Order:
    order = work.order_of(conn, OrderId(id_))
    if order is None or order.crew != person.actor:
        raise RefusedError(AccessRefusal.NOT_FOUND, "this order is not yours")
    return order
