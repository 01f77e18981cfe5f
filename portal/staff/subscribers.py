"""New subscribers at a page: one by a form, many from a file with every refused line told."""

from datetime import UTC, date, datetime, time
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import Response

from billing.customers.model import (
    LANGUAGES,
    AccountId,
    AgreementId,
    CustomerId,
    CustomerKind,
    NewCustomer,
)
from billing.rating.rules.subscriber_file import NEEDED, OPTIONAL
from billing.rating.rules.subscribing import Refusal, Subscription, SupplyKind
from billing.rating.service import subscribing
from billing.tariffs import service as tariffs
from cloud.assets import service as assets
from cloud.store.db import Connection
from portal.amounts import wh_of
from portal.auth.guard import allowed, sends
from portal.auth.model import AccessRefusal, Permission, SignedIn
from portal.fmt import plain_digits
from portal.site import go, page, site_of
from portal.staff import gather
from protocols.errors import RefusedError
from protocols.identity import UsagePointId
from protocols.timeline import local_date

router = APIRouter()
Changer = Annotated[SignedIn, Depends(allowed(Permission.CUSTOMER_CHANGE))]
Taker = Annotated[SignedIn, Depends(sends(Permission.CUSTOMER_CHANGE))]
_SHOWN = 200


@router.get("/subscribers")
def subscriber_page(request: Request, _: Changer) -> Response:
    """Show the form of a new subscriber and the place for a file."""
    return _page(request, None)


@router.post("/subscribers")
def subscribe(
    request: Request,
    person: Taker,
    *,
    usage_point: Annotated[str, Form(max_length=64)],
    customer: Annotated[str, Form(max_length=64)],
    name: Annotated[str, Form(min_length=1, max_length=120)],
    kind: Annotated[CustomerKind, Form()],
    language: Annotated[str, Form(max_length=2)],
    account: Annotated[str, Form(max_length=64)],
    agreement: Annotated[str, Form(max_length=64)],
    tariff: Annotated[str, Form(max_length=48)],
    supply: Annotated[SupplyKind, Form()],
    first: Annotated[str, Form(max_length=10)],
    phone: Annotated[str, Form(max_length=20)] = "",
    contract_kw: Annotated[str, Form(max_length=16)] = "",
    capacity_kva: Annotated[str, Form(max_length=16)] = "",
    register_kwh: Annotated[str, Form(max_length=16)] = "",
) -> Response:
    """Take in one subscriber, if the tariff can price it."""
    site = site_of(request)
    point = plain_digits(usage_point.strip())
    with site.db.transaction() as conn:
        zone = _zone_of(conn, point)
        currency = _currency_of(conn, tariff)
    powers = {"contract_w": contract_kw, "capacity_va": capacity_kva}
    record = NewCustomer(
        customer=CustomerId(plain_digits(customer.strip())), name=name.strip(),
        language=language, kind=kind, phone=plain_digits(phone.strip()),
        account=AccountId(plain_digits(account.strip())),
        agreement=AgreementId(plain_digits(agreement.strip())), usage_point=UsagePointId(point),
        tariff_code=tariff, currency=currency, started_at=_midnight(first, zone),
        opening_register_wh=wh_of(register_kwh) if register_kwh.strip() else None,
        attributes={
            key: str(wh_of(value)) for key, value in powers.items() if value.strip()
        },
    )  # fmt: skip
    subscribing.subscribe(
        site.db, Subscription(record=record, kind=supply), actor=person.actor,
        now=site.clock.now(),
    )  # fmt: skip
    return go(f"/customers/{point}", flash="flash.subscribed")


@router.post("/subscribers/file")
def subscribe_file(
    request: Request,
    person: Taker,
    file: Annotated[str, Form(max_length=3_000_000)],
    check: Annotated[str, Form(max_length=3)] = "",
) -> Response:
    """Take in the good lines of a file, or only judge them; tell of every other line."""
    site = site_of(request)
    with site.db.transaction() as conn:
        zone = ZoneInfo(gather.office_zone(conn))
    taken = subscribing.subscribe_file(
        site.db, file, zone=zone, actor=person.actor, now=site.clock.now(), only_check=bool(check)
    )
    return _page(request, taken, checked=bool(check), text=file)


def _page(
    request: Request, taken: subscribing.Taken | None, *, checked: bool = False, text: str = ""
) -> Response:
    with site_of(request).db.transaction() as conn:
        zone = gather.office_zone(conn)
        codes = sorted({row.code for row in tariffs.published(conn)})
    return page(
        request, "subscribers.html", zone=zone, taken=taken, checked=checked, text=text,
        refused=taken.refused[:_SHOWN] if taken else [], codes=codes, kinds=tuple(CustomerKind),
        supplies=tuple(SupplyKind), tongues=LANGUAGES,
        today=local_date(site_of(request).clock.now(), ZoneInfo(zone)),
        needed=",".join(NEEDED), optional=",".join(OPTIONAL),
    )  # fmt: skip


def _zone_of(conn: Connection, point: str) -> ZoneInfo:
    found = assets.usage_points(conn, [UsagePointId(point)])
    return ZoneInfo(found[0].zone if found else gather.office_zone(conn))


def _currency_of(conn: Connection, code: str) -> str:
    for row in tariffs.published(conn):
        if row.code == code:
            return row.currency
    raise RefusedError(Refusal.TARIFF, f"no tariff {code!r} is in the book")


def _midnight(text: str, zone: ZoneInfo) -> datetime:
    try:
        day = date.fromisoformat(plain_digits(text))
    except ValueError as error:
        raise RefusedError(AccessRefusal.BAD_INPUT, "a day is like 2026-11-18") from error
    return datetime.combine(day, time(0), zone).astimezone(UTC)
