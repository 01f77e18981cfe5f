"""Office pages: inbox, customers, cut board, work orders, messages, quarantine."""

import secrets
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import Response

from billing.customers import service as customers
from billing.payments import service as payments
from billing.payments.model import PaymentOrder
from cloud.control import service as control
from cloud.control.model import RequestId
from cloud.messages import service as messages
from cloud.work import service as work
from cloud.work.model import OrderId
from portal.amounts import micros_of
from portal.auth.guard import allowed, need_step_up, sends
from portal.auth.model import Permission, SignedIn
from portal.customer.gather import card_of, supply_page, zone_of
from portal.fmt import plain_digits
from portal.site import go, is_part, page, reader_of, site_of
from portal.staff import gather
from protocols.identity import UsagePointId

router = APIRouter()
_PARTS = {"case": "customer_case.html", "rows": "rows.html", "activity": "activity.html"}

CutViewer = Annotated[SignedIn, Depends(allowed(Permission.CUT_VIEW))]
CustomerViewer = Annotated[SignedIn, Depends(allowed(Permission.CUSTOMER_VIEW))]
Approver = Annotated[SignedIn, Depends(sends(Permission.CUT_APPROVE))]
Requester = Annotated[SignedIn, Depends(sends(Permission.CUT_REQUEST))]
Withdrawer = Annotated[SignedIn, Depends(sends(Permission.CUT_WITHDRAW))]
Halter = Annotated[SignedIn, Depends(sends(Permission.CUT_HALT))]
Reconnecter = Annotated[SignedIn, Depends(sends(Permission.SUPPLY_RECONNECT))]
Teller = Annotated[SignedIn, Depends(sends(Permission.PAYMENT_TAKE))]
WorkViewer = Annotated[SignedIn, Depends(allowed(Permission.WORK_VIEW))]
Assigner = Annotated[SignedIn, Depends(sends(Permission.WORK_ASSIGN))]
Verifier = Annotated[SignedIn, Depends(sends(Permission.WORK_VERIFY))]
MessageViewer = Annotated[SignedIn, Depends(allowed(Permission.MESSAGE_VIEW))]
QuarantineViewer = Annotated[SignedIn, Depends(allowed(Permission.QUARANTINE_VIEW))]


@router.get("/inbox")
def inbox(request: Request, _: CutViewer) -> Response:
    """Show what waits for a person."""
    site = site_of(request)
    with site.db.transaction() as conn:
        view = gather.inbox(conn)
        zone = gather.office_zone(conn)
    template = "inbox_part.html" if is_part(request) else "inbox.html"
    return page(request, template, zone=zone, view=view)


@router.get("/customers")
def find_customers(request: Request, _: CustomerViewer, q: str = "") -> Response:
    """Search by any id or a part of the name, in any digits."""
    site, query = site_of(request), plain_digits(q.strip())[:80]
    with site.db.transaction() as conn:
        cards, zone = customers.find(conn, query, limit=30), gather.office_zone(conn)
    return page(request, "customers.html", zone=zone, query=query, cards=cards)


@router.get("/customers/{usage_point}")
def customer(request: Request, _: CustomerViewer, usage_point: str, part: str = "") -> Response:
    """Show one customer's state today on one screen."""
    site = site_of(request)
    with site.db.transaction() as conn:
        zone = zone_of(conn, usage_point)
        view = supply_page(
            conn, card_of(conn, usage_point), clock=site.clock, reader=reader_of(request, zone),
            office=True,
        )  # fmt: skip
    return page(
        request, _PARTS.get(part, "customer.html"), zone=zone, view=view,
        part=f"/customers/{view.card.usage_point}", key=secrets.token_urlsafe(18),
    )  # fmt: skip


@router.post("/customers/{usage_point}/payment")
def take_payment(
    request: Request,
    person: Teller,
    usage_point: str,
    amount: Annotated[str, Form()],
    key: Annotated[str, Form(min_length=8, max_length=64)],
) -> Response:
    """Take money at the counter."""
    site, now = site_of(request), site_of(request).clock.now()
    with site.db.transaction() as conn:
        card = card_of(conn, usage_point)
    receipt = payments.pay(
        site.db,
        PaymentOrder(
            channel="counter", peer_txn_id=f"{person.login}:{key}", account=card.account,
            amount_micros=micros_of(amount), currency=card.currency, peer_time=now,
            actor=person.actor,
        ),
        now=now,
    )  # fmt: skip
    return go(
        f"/customers/{card.usage_point}", flash="flash.paid", receipt=receipt.receipt_no,
        amount=reader_of(request).money_exact(receipt.amount_micros, receipt.currency),
    )  # fmt: skip


@router.post("/supplies/{usage_point}/reconnect")
def reconnect(
    request: Request, person: Reconnecter, usage_point: str, reason: Annotated[str, Form()] = ""
) -> Response:
    """Order power back by hand."""
    site = site_of(request)
    control.request_reconnect(
        site.db, UsagePointId(usage_point), actor=person.actor, reason=reason[:200],
        now=site.clock.now(),
    )  # fmt: skip
    return go(f"/customers/{usage_point}", flash="flash.reconnect")


@router.get("/cuts")
def cut_board(request: Request, person: CutViewer) -> Response:
    """Show every wish to cut, how far it has come, and what locks it."""
    site = site_of(request)
    with site.db.transaction() as conn:
        board = gather.board(conn, person, now=site.clock.now())
        zone = gather.office_zone(conn)
    template = "cuts_part.html" if is_part(request) else "cuts.html"
    return page(
        request, template, zone=zone, open=board.open, past=board.past, halt=board.halt,
        names=board.names, interlocks=board.interlocks, stages=gather.STAGES,
    )  # fmt: skip


@router.post("/cuts")
def request_cut(
    request: Request,
    person: Requester,
    usage_point: Annotated[str, Form()],
    reason: Annotated[str, Form(min_length=3, max_length=200)],
) -> Response:
    """Ask for a cut, with the figures of this moment."""
    site = site_of(request)
    now = site.clock.now()
    with site.db.transaction() as conn:
        figures = gather.figures(conn, card_of(conn, usage_point), now=now)
    control.request_disconnect(
        site.db, usage_point=UsagePointId(usage_point), requested_by=person.actor,
        reason=reason.strip(), figures=figures, now=now,
    )  # fmt: skip
    return go("/cuts", flash="flash.requested")


@router.post("/cuts/halt")
def halt(request: Request, person: Halter) -> Response:
    """Stop every cut at once."""
    site = site_of(request)
    control.halt(site.db, actor=person.actor, reason="portal", now=site.clock.now())
    return go("/cuts", flash="flash.halted")


@router.post("/cuts/resume")
def resume(request: Request, person: Halter) -> Response:
    """Allow cuts again; the password is asked once more."""
    site = site_of(request)
    need_step_up(request, person)
    control.resume(site.db, actor=person.actor, reason="portal", now=site.clock.now())
    return go("/cuts", flash="flash.resumed")


@router.post("/cuts/{id_}/approve")
def approve(request: Request, person: Approver, id_: str) -> Response:
    """Give one of the two approvals; the password must be fresh."""
    site = site_of(request)
    need_step_up(request, person)
    control.approve(site.db, RequestId(id_), actor=person.actor, now=site.clock.now())
    return go("/cuts", flash="flash.approved")


@router.post("/cuts/{id_}/withdraw")
def withdraw(
    request: Request, person: Withdrawer, id_: str, reason: Annotated[str, Form()] = "withdrawn"
) -> Response:
    """Take a request back."""
    site = site_of(request)
    control.withdraw(
        site.db, RequestId(id_), actor=person.actor, reason=reason[:200], now=site.clock.now()
    )
    return go("/cuts", flash="flash.withdrawn")


@router.get("/work")
def orders(request: Request, _: WorkViewer) -> Response:
    """Show every work order on one page (E7)."""
    site = site_of(request)
    with site.db.transaction() as conn:
        found, zone, crews = work.orders(conn), gather.office_zone(conn), work.crews(conn)
    template = "work_part.html" if is_part(request) else "work.html"
    return page(request, template, zone=zone, orders=found, crews=crews)


@router.post("/work/{id_}/assign")
def assign(request: Request, person: Assigner, id_: str, crew: Annotated[str, Form()]) -> Response:
    """Give an order to a crew."""
    site = site_of(request)
    work.assign(site.db, OrderId(id_), crew=crew, actor=person.actor, now=site.clock.now())
    return go("/work", flash="flash.assigned")


@router.post("/work/{id_}/verify")
def verify(request: Request, person: Verifier, id_: str) -> Response:
    """Close an order that is done."""
    site = site_of(request)
    work.verify(site.db, OrderId(id_), actor=person.actor, now=site.clock.now())
    return go("/work", flash="flash.verified")


@router.get("/messages")
def message_list(request: Request, _: MessageViewer) -> Response:
    """Show the newest messages and what became of them."""
    site = site_of(request)
    with site.db.transaction() as conn:
        rows, zone = messages.outbox(conn, limit=60), gather.office_zone(conn)
    return page(request, "messages.html", zone=zone, rows=rows)


@router.get("/quarantine")
def quarantine(request: Request, _: QuarantineViewer) -> Response:
    """Show what could not be believed, with its cause."""
    site = site_of(request)
    with site.db.transaction() as conn:
        rows, zone = gather.quarantine(conn), gather.office_zone(conn)
    return page(request, "quarantine.html", zone=zone, rows=rows)
