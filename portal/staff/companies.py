"""Companies with several supplies: one bill, one payment; and discounts that two people grant."""

import secrets
from datetime import date
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import Response

from billing.bills.service import collective as company_bills
from billing.customers import service as customers
from billing.customers.model import AccountId, AgreementId, NewDiscount
from billing.payments.model import PaymentOrder
from billing.payments.service import collective as company_payments
from portal.amounts import micros_of
from portal.auth.guard import allowed, need_step_up, sends
from portal.auth.model import AccessRefusal, Permission, SignedIn
from portal.fmt import plain_digits
from portal.site import go, page, reader_of, site_of
from portal.staff import gather
from protocols.errors import RefusedError

router = APIRouter()
Viewer = Annotated[SignedIn, Depends(allowed(Permission.CUSTOMER_VIEW))]
Changer = Annotated[SignedIn, Depends(sends(Permission.CUSTOMER_CHANGE))]
Biller = Annotated[SignedIn, Depends(sends(Permission.BILL_RUN))]
Teller = Annotated[SignedIn, Depends(sends(Permission.PAYMENT_TAKE))]


@router.get("/companies")
def company_list(request: Request, _: Viewer, q: str = "") -> Response:
    """Show companies that are billed and paid together."""
    query = plain_digits(q.strip())[:80]
    with site_of(request).db.transaction() as conn:
        found, zone = customers.collectives(conn, query), gather.office_zone(conn)
    return page(request, "companies.html", zone=zone, companies=found, query=query)


@router.post("/companies")
def found_company(
    request: Request,
    person: Changer,
    *,
    collective: Annotated[str, Form(max_length=64)],
    customer: Annotated[str, Form(max_length=64)],
    currency: Annotated[str, Form(min_length=3, max_length=3)],
    accounts: Annotated[str, Form(max_length=20_000)],
) -> Response:
    """Join accounts of a company, in the order in which debts are paid."""
    site = site_of(request)
    named = plain_digits(accounts).replace(",", " ").split()
    found = customers.found_collective(
        site.db, plain_digits(collective.strip()), plain_digits(customer.strip()), currency,
        named, actor=person.actor, now=site.clock.now(),
    )  # fmt: skip
    return go(f"/companies/{found.id}", flash="flash.company")


@router.get("/companies/{collective}")
def company(request: Request, _: Viewer, collective: str) -> Response:
    """Show a company's supplies with what each lacks, its bills and its payments."""
    with site_of(request).db.transaction() as conn:
        found, zone = customers.collective_of(conn, collective), gather.office_zone(conn)
        cards = customers.cards_of(conn, found.accounts)
        debts = company_payments.debts_of(conn, found.accounts)
        bills = company_bills.bills_of(conn, collective)
        paid = company_payments.payments_of(conn, collective)
    return page(
        request, "company.html", zone=zone, company=found, bills=bills, paid=paid,
        members=[(cards[account], debt) for account, debt in zip(found.accounts, debts,
                 strict=True)],
        owed=sum(debts), key=secrets.token_urlsafe(18),
    )  # fmt: skip


@router.post("/companies/{collective}/bill")
def issue(
    request: Request,
    person: Biller,
    collective: str,
    first: Annotated[str, Form(max_length=10)],
    until: Annotated[str, Form(max_length=10)],
) -> Response:
    """Issue one bill over all supplies; again, the same one."""
    site = site_of(request)
    bill = company_bills.issue(
        site.db, collective, start=_day(first), end=_day(until), actor=person.actor,
        now=site.clock.now(),
    )  # fmt: skip
    return go(f"/companies/{collective}", flash="flash.company_billed", number=bill.number)


@router.get("/companies/{collective}/bills/{number}/pdf")
def bill_page(request: Request, _: Viewer, collective: str, number: int) -> Response:
    """Print a company's bill: the same octets each time."""
    with site_of(request).db.transaction() as conn:
        octets = company_bills.pdf_of(conn, collective, number)
    return Response(
        octets, media_type="application/pdf",
        headers={"Content-Disposition": f'inline; filename="bill-{collective}-{number}.pdf"'},
    )  # fmt: skip


@router.post("/companies/{collective}/payment")
def pay(
    request: Request,
    person: Teller,
    collective: str,
    amount: Annotated[str, Form(max_length=24)],
    key: Annotated[str, Form(min_length=8, max_length=32)],
) -> Response:
    """Take one payment for all supplies; debts first, in the company's order."""
    site = site_of(request)
    now = site.clock.now()
    with site.db.transaction() as conn:
        found = customers.collective_of(conn, collective)
    receipts = company_payments.pay(
        site.db,
        PaymentOrder(
            channel="counter", peer_txn_id=f"{person.login}:{key}", account=AccountId(found.id),
            amount_micros=micros_of(amount), currency=found.currency, peer_time=now,
            actor=person.actor,
        ),
        now=now,
    )  # fmt: skip
    return go(
        f"/companies/{collective}", flash="flash.company_paid", n=str(len(receipts)),
        amount=reader_of(request).money_exact(micros_of(amount), found.currency),
    )  # fmt: skip


@router.get("/discounts")
def discount_page(request: Request, person: Viewer) -> Response:
    """Show discounts that wait, and the newest that were decided."""
    with site_of(request).db.transaction() as conn:
        found, zone = customers.discounts(conn), gather.office_zone(conn)
    return page(
        request, "discounts.html", zone=zone, mine=person.actor,
        waiting=[one for one in found if one.granted is None],
        decided=[one for one in found if one.granted is not None][:60],
    )  # fmt: skip


@router.post("/discounts")
def ask_discount(
    request: Request,
    person: Changer,
    *,
    agreement: Annotated[str, Form(max_length=64)],
    attribute: Annotated[str, Form(max_length=48)],
    value: Annotated[str, Form(max_length=48)],
    evidence: Annotated[str, Form(max_length=300)],
    first: Annotated[str, Form(max_length=10)],
    until: Annotated[str, Form(max_length=10)],
) -> Response:
    """Ask for a discount with what shows the right to it."""
    site = site_of(request)
    wish = NewDiscount(
        agreement=AgreementId(plain_digits(agreement.strip())), attribute=attribute.strip(),
        value=value.strip(), evidence=evidence.strip(), from_day=_day(first),
        until_day=_day(until),
    )  # fmt: skip
    customers.ask_discount(site.db, wish, actor=person.actor, now=site.clock.now())
    return go("/discounts", flash="flash.proposed")


@router.post("/discounts/{number}/decide")
def decide_discount(
    request: Request,
    person: Changer,
    number: int,
    granted: Annotated[bool, Form()],
    reason: Annotated[str, Form(max_length=300)] = "",
) -> Response:
    """Grant or refuse what another person asked for; the password must be fresh."""
    site = site_of(request)
    need_step_up(request, person)
    with site.db.transaction() as conn:
        customers.decide_discount(
            conn, number, granted=granted, actor=person.actor, reason=reason,
            now=site.clock.now(),
        )  # fmt: skip
    return go("/discounts", flash="flash.decided")


def _day(text: str) -> date:
    try:
        return date.fromisoformat(plain_digits(text))
    except ValueError as error:
        raise RefusedError(AccessRefusal.BAD_INPUT, "a day is like 2026-11-18") from error
