"""Pages of a customer: home, usage, pay."""

import csv
import io
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import Response

from billing.payments import service as payments
from billing.payments.model import PaymentOrder
from billing.prepaid import service as prepaid
from billing.prepaid.model import Balance, DayCost
from cloud.store.db import Connection
from cloud.usage import service as usage
from portal.amounts import micros_of
from portal.auth.guard import allowed, sends
from portal.auth.model import AccessRefusal, Permission, SignedIn
from portal.customer.gather import card_of, supply_page, zone_of
from portal.errors import status_of
from portal.site import Site, go, page, reader_of, site_of
from protocols.errors import RefusedError
from protocols.identity import UsagePointId
from protocols.timeline import Interval, local_date

router = APIRouter()
Customer = Annotated[SignedIn, Depends(allowed(Permission.HOME_VIEW))]
Payer = Annotated[SignedIn, Depends(sends(Permission.HOME_VIEW))]
_PARTS = {"notice": "notice.html", "rows": "rows.html", "activity": "activity.html"}
_DAYS = timedelta(days=62)
_OFFERS = (20, 50, 100)


def own_point(person: SignedIn) -> str:
    """Return the supply of a customer. Raises: RefusedError when none is assigned."""
    if not person.usage_points:
        raise RefusedError(AccessRefusal.FORBIDDEN, "no supply is assigned to you")
    return person.usage_points[0]


@router.get("/home")
def home(request: Request, person: Customer, part: str = "") -> Response:
    """Show what is happening now, and what it costs; `part` asks for one section anew."""
    site, point = site_of(request), own_point(person)
    with site.db.transaction() as conn:
        zone = zone_of(conn, point)
        view = supply_page(
            conn, card_of(conn, point), clock=site.clock, reader=reader_of(request, zone)
        )
    template = _PARTS.get(part, "home.html")
    return page(request, template, zone=zone, view=view, part="/home")


@router.get("/home/usage")
def usage_days(request: Request, person: Customer) -> Response:
    """Show day by day what was used and what it cost."""
    site, point = site_of(request), own_point(person)
    now = site.clock.now()
    with site.db.transaction() as conn:
        card, zone = card_of(conn, point), zone_of(conn, point)
        try:
            days = _days(conn, point, zone, now)[::-1]
        except RefusedError:
            days = []
    return page(request, "usage.html", zone=zone, days=days, currency=card.currency, point=point)


@router.get("/home/usage.csv")
def usage_csv(request: Request, person: Customer) -> Response:
    """Return the same days as a file, figures exact."""
    site, point = site_of(request), own_point(person)
    now = site.clock.now()
    with site.db.transaction() as conn:
        card, zone = card_of(conn, point), zone_of(conn, point)
        days = _days(conn, point, zone, now)
    rows = [(day.day.isoformat(), day.wh, day.amount_micros, card.currency) for day in days]
    return _csv("days", ("day", "wh", "amount_micros", "currency"), rows)


@router.get("/home/intervals.csv")
def intervals_csv(request: Request, person: Customer) -> Response:
    """Return every interval of the last two months as a file."""
    site, point = site_of(request), own_point(person)
    now = site.clock.now()
    with site.db.transaction() as conn:
        span = Interval(start=now - _DAYS, end=now)
        found = usage.intervals(conn, UsagePointId(point), span)
    rows = [(row.start.isoformat(), row.seconds, row.wh, row.quality.value) for row in found]
    return _csv("intervals", ("start_utc", "seconds", "wh", "quality"), rows)


@router.get("/home/pay")
def pay_page(request: Request, person: Customer) -> Response:
    """Show the balance and offer amounts."""
    return _pay_page(request, person)


@router.post("/home/pay")
def pay(
    request: Request,
    person: Payer,
    key: Annotated[str, Form(min_length=8, max_length=64)],
    amount: Annotated[str, Form()] = "",
    offer: Annotated[str, Form()] = "",
) -> Response:
    """Take one payment; the key drawn with the page makes a second click harmless."""
    site, point = site_of(request), own_point(person)
    typed = amount.strip() or offer
    with site.db.transaction() as conn:
        card = card_of(conn, point)
    now = site.clock.now()
    try:
        receipt = payments.pay(
            site.db,
            PaymentOrder(
                channel="web", peer_txn_id=f"{person.login}:{key}", account=card.account,
                amount_micros=micros_of(typed), currency=card.currency, peer_time=now,
                actor=person.actor,
            ),
            now=now,
        )  # fmt: skip
    except RefusedError as error:
        return _pay_page(request, person, error=error, typed=amount[:20])
    reader = reader_of(request)
    return go(
        "/home", flash="flash.paid", receipt=receipt.receipt_no,
        amount=reader.money_exact(receipt.amount_micros, receipt.currency),
    )  # fmt: skip


def _pay_page(
    request: Request, person: SignedIn, *, error: RefusedError | None = None, typed: str = ""
) -> Response:
    site, point = site_of(request), own_point(person)
    reader = reader_of(request)
    with site.db.transaction() as conn:
        card, zone = card_of(conn, point), zone_of(conn, point)
        balance = _balance(site, conn, point)
    said = reader.words.of_code("refusal", error.refusal.value, error.message) if error else ""
    return page(
        request, "pay.html", zone=zone, status=status_of(error) if error else 200, card=card,
        balance=balance, due_micros=max(0, -balance.available_micros) if balance else 0,
        error=said, typed=typed, offers=_OFFERS, key=secrets.token_urlsafe(18),
    )  # fmt: skip


def _balance(site: Site, conn: Connection, point: str) -> Balance | None:
    try:
        return prepaid.balance_of(conn, point, site.clock.now())
    except RefusedError:
        return None


def _days(conn: Connection, point: str, zone: str, now: datetime) -> Sequence[DayCost]:
    """Return the last two months as the page of reasons tells them."""
    today = local_date(now, ZoneInfo(zone))
    return prepaid.reckoning_of(conn, point, first=today - _DAYS, last=today, now=now).days


def _csv(name: str, head: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> Response:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(head)
    writer.writerows(rows)
    return Response(
        text.getvalue(), media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}.csv"'},
    )  # fmt: skip
