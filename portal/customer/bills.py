"""Bills: the list, one bill with every reason, its page to print; for customer and office alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from billing.bills.model import Bill
from billing.bills.rules.plans import PlanState
from billing.bills.service import asking, documents, means, plans
from billing.bills.service.asking import Reason
from billing.customers.model import CustomerCard
from billing.rating.model import CompiledEnergy, TraceLine
from billing.tariffs.model import Width
from portal import drawing
from portal.api.routes import Looker
from portal.auth.guard import allowed
from portal.auth.model import AccessRefusal, Permission, SignedIn
from portal.customer.gather import card_of, zone_of
from portal.customer.routes import own_point
from portal.site import page, site_of
from portal.staff.tariffs import DayStrip, strips_of
from protocols.errors import RefusedError

router = APIRouter()
api = APIRouter(prefix="/api/v1")
Customer = Annotated[SignedIn, Depends(allowed(Permission.HOME_VIEW))]
Office = Annotated[SignedIn, Depends(allowed(Permission.CUSTOMER_VIEW))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One tariff version's part of a bill with its pictures."""

    reason: Reason
    names: Sequence[str]
    hours: Sequence[drawing.Box]
    strips: Sequence[DayStrip]
    ladder: Sequence[drawing.Box]


@router.get("/home/bills")
def own_bills(request: Request, person: Customer) -> Response:
    """Show a customer's bills."""
    return _list(request, own_point(person), home="/home")


@router.get("/customers/{usage_point}/bills")
def office_bills(request: Request, _: Office, usage_point: str) -> Response:
    """Show a customer's bills to the office."""
    return _list(request, usage_point, home=f"/customers/{usage_point}")


@router.get("/home/bills/{number}")
def own_bill(request: Request, person: Customer, number: int) -> Response:
    """Show one bill and why it is what it is; the first look is noted (G21)."""
    shown = _bill(request, own_point(person), number, home="/home")
    site = site_of(request)
    means.opened(site.db, number, actor=person.actor, now=site.clock.now())
    return shown


@router.get("/customers/{usage_point}/bills/{number}")
def office_bill(request: Request, _: Office, usage_point: str, number: int) -> Response:
    """Show the office what the customer sees."""
    return _bill(request, usage_point, number, home=f"/customers/{usage_point}")


@router.get("/home/bills/{number}/pdf")
def own_pdf(request: Request, person: Customer, number: int) -> Response:
    """Return the page of a bill, the same octets each time; the first look is noted."""
    site = site_of(request)
    with site.db.transaction() as conn:
        _theirs(asking.bill_of(conn, number), card_of(conn, own_point(person)))
        octets = documents.pdf_of(conn, number)
    means.opened(site.db, number, actor=person.actor, now=site.clock.now())
    return _pdf(number, octets)


@router.get("/customers/{usage_point}/bills/{number}/pdf")
def office_pdf(request: Request, person: Office, usage_point: str, number: int) -> Response:
    """Print a bill again at the counter; who asked is noted."""
    site = site_of(request)
    with site.db.transaction() as conn:
        _theirs(asking.bill_of(conn, number), card_of(conn, usage_point))
    octets = documents.duplicate(site.db, number, actor=person.actor, now=site.clock.now())
    return _pdf(number, octets)


@api.get("/usage-points/{usage_point}/bills/{number}")
def bill_as_json(request: Request, _: Looker, usage_point: str, number: int) -> dict[str, Any]:
    """Return a bill with its lines and rows; rows that count add up to the total."""
    with site_of(request).db.transaction() as conn:
        bill = asking.bill_of(conn, number)
        _theirs(bill, card_of(conn, usage_point))
        reasons = asking.reasons_of(conn, bill)
    return {
        "bill": bill.id, "usage_point": bill.usage_point, "account": bill.account,
        "kind": bill.kind.value, "currency": bill.currency, "wh": bill.energy_wh,
        "period_start": bill.period_start.isoformat(), "period_end": bill.period_end.isoformat(),
        "quality": bill.quality, "due_on": bill.due_on.isoformat(),
        "total_micros": bill.total_micros, "posted_micros": bill.posted_micros,
        "cancelled": bill.cancelled or None,
        "lines": [
            {"line": line.line, "tariff": line.tariff, "amount_micros": line.amount_micros}
            for line in bill.lines
        ],
        "rows": [_told(row) for reason in reasons for row in reason.rows],
    }  # fmt: skip


def _told(row: TraceLine) -> dict[str, Any]:
    return {
        "line": row.line, "kind": row.kind, "step": row.step, "quantity": row.quantity,
        "unit": row.unit, "price_micros": row.price_micros, "percent_micros": row.percent_micros,
        "base_micros": row.base_micros, "amount_micros": row.amount_micros, "counts": row.counts,
    }  # fmt: skip


def _list(request: Request, point: str, *, home: str) -> Response:
    with site_of(request).db.transaction() as conn:
        card, zone = card_of(conn, point), zone_of(conn, point)
        bills = asking.bills_of(conn, card.account)
        plan = next((each for each in plans.pages_of(conn, card.account)
                     if each.plan.state is PlanState.ACTIVE), None)  # fmt: skip
    standing = [bill for bill in bills[::-1] if not bill.cancelled][-24:]
    return page(
        request, "bills.html", zone=zone, card=card, home=home, bills=bills,
        boxes=drawing.bars([(bill.total_micros, "bar", str(bill.id)) for bill in standing]),
        standing=standing, plan=plan,
    )  # fmt: skip


def _bill(request: Request, point: str, number: int, *, home: str) -> Response:
    with site_of(request).db.transaction() as conn:
        card, zone = card_of(conn, point), zone_of(conn, point)
        bill = asking.bill_of(conn, number)
        _theirs(bill, card)
        parts = [part_of(reason) for reason in asking.reasons_of(conn, bill)]
        printed, sent = asking.has_document(conn, number), means.sent_of(conn, number)
    return page(
        request, "bill.html", zone=zone, card=card, home=home, bill=bill, parts=parts,
        printed=printed, sent=sent,
    )  # fmt: skip


def _theirs(bill: Bill, card: CustomerCard) -> None:
    """Refuse a bill of somebody else, as if there were none."""
    if bill.account != card.account:
        raise RefusedError(AccessRefusal.NOT_FOUND, f"no bill {bill.id} of this account")


def part_of(reason: Reason) -> Part:
    """Return a part of a bill with its pictures: hours of a TOU tariff, ladder of the year."""
    tariff, use = reason.tariff, reason.use
    names = tariff.period_names
    many = len(tariff.touperiods) > 1
    return Part(
        reason=reason, names=names, strips=strips_of(tariff),
        hours=drawing.bars(
            [(wh, f"band-{n % 6}", names[n]) for n, wh in enumerate(use.energy_wh)]
        ) if many else [],
        ladder=_ladder(reason),
    )  # fmt: skip


def _ladder(reason: Reason) -> list[drawing.Box]:
    """Return the ladder that runs through the year; edges that scale are told by rows alone."""
    for line in reason.compiled.lines:
        if not isinstance(line, CompiledEnergy) or len(line.lo) < 2:
            continue
        fixed = not line.from_zero and set(line.widths) <= {Width.FIXED}
        if not fixed or line.reset == "period" or line.mode != "marginal" or not line.whole:
            continue
        highs = [*line.hi.tolist()[:-1], None]
        steps = [
            drawing.Step(over=low, upto=high, price=price)
            for low, high, price in zip(line.lo.tolist(), highs, line.price.tolist(), strict=True)
        ]
        before = sum(reason.use.before_wh.get(line.reset, ()))
        return drawing.ladder(steps, since=before, now=before + sum(reason.use.energy_wh))
    return []


def _pdf(number: int, octets: bytes) -> Response:
    return Response(
        octets, media_type="application/pdf",
        headers={"Content-Disposition": f'attachment; filename="bill-{number}.pdf"'},
    )  # fmt: skip
