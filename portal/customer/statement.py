"""The statement of a month: money before, in and out by kind, after; and what was used."""

import csv
import io
from datetime import date, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from billing.prepaid import service as prepaid
from billing.prepaid.service.statement import statement_of
from portal.auth.guard import allowed
from portal.auth.model import Permission, SignedIn
from portal.customer.gather import card_of, zone_of
from portal.customer.routes import own_point
from portal.customer.spans import span_of
from portal.site import page, reader_of, site_of
from protocols.errors import RefusedError
from protocols.timeline import local_date

router = APIRouter()
Customer = Annotated[SignedIn, Depends(allowed(Permission.HOME_VIEW))]
Office = Annotated[SignedIn, Depends(allowed(Permission.CUSTOMER_VIEW))]


@router.get("/home/statement")
def own_statement(request: Request, person: Customer, on: str = "") -> Response:
    """Show a customer the statement of a month."""
    return _page(request, own_point(person), home="/home", on=on)


@router.get("/customers/{usage_point}/statement")
def office_statement(request: Request, _: Office, usage_point: str, on: str = "") -> Response:
    """Show the office what the customer sees."""
    return _page(request, usage_point, home=f"/customers/{usage_point}", on=on)


@router.get("/home/statement.csv")
def own_file(request: Request, person: Customer, first: date, last: date) -> Response:
    """Return the same entries as a file."""
    return _file(request, own_point(person), first, last)


@router.get("/customers/{usage_point}/statement.csv")
def office_file(request: Request, _: Office, usage_point: str, first: date, last: date) -> Response:
    """Return the customer's file to the office."""
    return _file(request, usage_point, first, last)


def _page(request: Request, point: str, *, home: str, on: str) -> Response:
    site = site_of(request)
    now: datetime = site.clock.now()
    with site.db.transaction() as conn:
        card, zone = card_of(conn, point), zone_of(conn, point)
        reader = reader_of(request, zone)
        span = span_of("month", on, today=local_date(now, reader.zone), calendar=reader.calendar)
        found = statement_of(conn, card.account, first=span.first, last=span.last)
        try:
            used = prepaid.reckoning_of(
                conn, card.usage_point, first=span.first, last=span.last, now=now
            )
        except RefusedError:
            used = None  # nothing was read yet: the money stands for itself
    return page(
        request, "statement.html", zone=zone, card=card, home=home, span=span, found=found,
        used=used,
        file=f"{home}/statement.csv?first={span.first.isoformat()}&last={span.last.isoformat()}",
    )  # fmt: skip


def _file(request: Request, point: str, first: date, last: date) -> Response:
    with site_of(request).db.transaction() as conn:
        card = card_of(conn, point)
        found = statement_of(conn, card.account, first=first, last=last)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("row", "day", "kind", "amount_micros", "currency", "reason"))
    writer.writerow(("opening", first, "", found.opening_micros, card.currency, ""))
    writer.writerows(
        ("entry", line.value_date, line.kind, line.amount_micros, card.currency, line.reason)
        for line in found.lines
    )
    writer.writerow(("closing", last, "", found.closing_micros, card.currency, ""))
    name = f"statement-{first.isoformat()}-{last.isoformat()}"
    return Response(
        text.getvalue(), media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}.csv"'},
    )  # fmt: skip
