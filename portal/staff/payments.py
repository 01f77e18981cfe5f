"""Payments in the office: money in suspense, a channel's file against our book, two people."""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import Response

from billing.payments import service as payments
from billing.payments.model import ChangeOutcome
from billing.payments.service import proposals
from billing.payments.service.proposals import End, Proposal
from portal.auth.guard import allowed, need_step_up, sends
from portal.auth.model import AccessRefusal, Permission, SignedIn
from portal.fmt import plain_digits
from portal.site import go, page, site_of
from portal.staff import gather, settlement
from protocols.errors import RefusedError
from protocols.timeline import Interval, local_date, local_day

router = APIRouter()
Viewer = Annotated[SignedIn, Depends(allowed(Permission.PAYMENT_VIEW))]
Settler = Annotated[SignedIn, Depends(sends(Permission.PAYMENT_SETTLE))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Channels:
    """What one channel brought in one currency, by state."""

    channel: str
    currency: str
    state: str
    count: int
    micros: int


@router.get("/payments")
def payment_page(request: Request, person: Viewer) -> Response:
    """Show what waits in suspense, what differs from peers' files, and sums by channel."""
    site = site_of(request)
    now = site.clock.now()
    with site.db.transaction() as conn:
        zone = gather.office_zone(conn)
        waiting = payments.suspense(conn, now=now)
        differences = proposals.open_differences(conn)
        subjects = [proposals.suspense_subject(item.receipt_no) for item in waiting]
        subjects += [one.subject for one in differences]
        proposed = proposals.proposals_of(conn, subjects)
        sums = [Channels(channel=row[0], currency=row[1], state=row[2], count=row[3],
                         micros=row[4]) for row in payments.totals(conn)]  # fmt: skip
        compared = proposals.comparisons(conn)
        limits = payments.limits_of(conn, now=now)
        changes = [one for one in payments.changes(conn) if one.outcome is ChangeOutcome.WAITS]
    return page(
        request, "payments.html", zone=zone, waiting=waiting, differences=differences,
        proposed=proposed, sums=sums, compared=compared, mine=person.actor,
        of_suspense=proposals.suspense_subject, columns=",".join(settlement.COLUMNS),
        channels=sorted({row.channel for row in sums}),
        today=local_date(now, ZoneInfo(zone)), limits=limits, changes=changes,
        currencies=sorted({row.currency for row in sums}),
    )  # fmt: skip


@router.post("/payments/propose")
def propose(
    request: Request,
    person: Settler,
    *,
    subject: Annotated[str, Form(max_length=200)],
    end: Annotated[End, Form()],
    reason: Annotated[str, Form(max_length=200)] = "",
    account: Annotated[str, Form(max_length=64)] = "",
) -> Response:
    """Propose how a matter ends; nothing moves until another person agrees."""
    site = site_of(request)
    now = site.clock.now()
    given = plain_digits(account.strip()) if end is End.ASSIGNED else ""
    wish = Proposal(
        subject=subject, end=end, account=given, reason=reason, actor=person.actor, at=now
    )
    proposals.propose(site.db, wish, now=now)
    return go("/payments", flash="flash.proposed")


@router.post("/payments/agree")
def agree(
    request: Request,
    person: Settler,
    subject: Annotated[str, Form(max_length=200)],
    seen: Annotated[int, Form()],
) -> Response:
    """Agree to what another person proposed; the password must be fresh."""
    site = site_of(request)
    need_step_up(request, person)
    proposals.agree(site.db, subject, seen=seen, actor=person.actor, now=site.clock.now())
    return go("/payments", flash="flash.settled")


@router.post("/payments/reconcile")
def reconcile(
    request: Request,
    person: Settler,
    *,
    channel: Annotated[str, Form(max_length=64)],
    first: Annotated[str, Form()],
    last: Annotated[str, Form()],
    file: Annotated[str, Form(max_length=3_000_000)],
) -> Response:
    """Compare a channel's file of whole local days with our book."""
    site = site_of(request)
    with site.db.transaction() as conn:
        zone = ZoneInfo(gather.office_zone(conn))
    try:
        days = (date.fromisoformat(plain_digits(first)), date.fromisoformat(plain_digits(last)))
    except ValueError as error:
        raise RefusedError(AccessRefusal.BAD_INPUT, "a day is like 2026-11-18") from error
    if not timedelta() <= days[1] - days[0] <= timedelta(days=31):
        raise RefusedError(AccessRefusal.BAD_INPUT, "name at most 31 days in order")
    span = Interval(start=local_day(days[0], zone).start, end=local_day(days[1], zone).end)
    payments.reconcile(
        site.db, channel, span, settlement.rows_of(file), actor=person.actor,
        now=site.clock.now(),
    )  # fmt: skip
    return go("/payments", flash="flash.reconciled")
