"""`/api/v1`: why days cost what they cost, the customer's page as JSON with exact integers."""

from datetime import date, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request

from billing.prepaid import service as prepaid
from billing.prepaid.service import Reckoning
from portal.auth.guard import api_caller
from portal.auth.model import AccessRefusal, ApiCaller
from portal.customer.gather import card_of
from portal.site import site_of
from protocols.errors import RefusedError

router = APIRouter(prefix="/api/v1")
Looker = Annotated[ApiCaller, Depends(api_caller("readings"))]
_MOST = timedelta(days=400)


@router.get("/usage-points/{usage_point}/why")
def why(
    request: Request,
    _: Looker,
    usage_point: str,
    first: Annotated[date, Query(description="First local day.")],
    last: Annotated[date, Query(description="Last local day, included.")],
) -> dict[str, Any]:
    """Return lines, days and what the ledger took; each of the three adds up to the amount."""
    if not timedelta() <= last - first <= _MOST:
        raise RefusedError(
            AccessRefusal.BAD_INPUT, "first must not be after last, nor 400 days before it"
        )
    site = site_of(request)
    with site.db.transaction() as conn:
        card_of(conn, usage_point)
        found = prepaid.reckoning_of(
            conn, usage_point, first=first, last=last, now=site.clock.now()
        )
    return _told(found)


def _told(found: Reckoning) -> dict[str, Any]:
    return {
        "usage_point": found.usage_point, "currency": found.currency, "tz": found.zone,
        "first": found.first.isoformat(), "last": found.last.isoformat(), "wh": found.wh,
        "amount_micros": found.amount_micros, "taken_micros": found.taken_micros,
        "running_micros": found.running_micros, "adds_up": found.adds_up,
        "as_of": found.as_of.isoformat() if found.as_of else None,
        "lines": [
            {"line": line.line, "label": dict(line.label), "tariff_hash": line.tariff_hash,
             "step": line.step, "from_wh": line.from_wh, "upto_wh": line.upto_wh, "wh": line.wh,
             "price_micros_per_kwh": line.price_micros_per_kwh,
             "amount_micros": line.amount_micros}
            for line in found.lines
        ],
        "days": [
            {"day": day.day.isoformat(), "wh": day.wh, "amount_micros": day.amount_micros,
             "drawn": day.drawn}
            for day in found.days
        ],
    }  # fmt: skip
