"""Fees as a whole: arrears of any past moment, days of the books compared, what does not fit."""

import csv
import io
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import Response, StreamingResponse

from billing.accounting import service as accounting
from billing.accounting.model import CollectedBy, Event, OwedAccount, OwedBy
from billing.money import to_text
from portal.auth.guard import allowed, sends
from portal.auth.model import AccessRefusal, Permission, SignedIn
from portal.fmt import plain_digits
from portal.site import Site, go, page, site_of
from portal.staff import gather
from protocols.errors import RefusedError
from protocols.timeline import Interval, local_date, local_day

router = APIRouter()
Viewer = Annotated[SignedIn, Depends(allowed(Permission.PAYMENT_VIEW))]
Settler = Annotated[SignedIn, Depends(sends(Permission.PAYMENT_SETTLE))]
_SHOWN = 60
_DAYS = 14
_MONTH = 30


@router.get("/arrears")
def arrears(
    request: Request,
    _: Viewer,
    at: str = "",
    by: OwedBy = OwedBy.KIND,
    collected: CollectedBy = CollectedBy.CHANNEL,
) -> Response:
    """Show what was owed and what had been collected in thirty days, now or at a past moment."""
    site = site_of(request)
    now = site.clock.now()
    with site.db.transaction() as conn:
        zone = ZoneInfo(gather.office_zone(conn))
        moment = _moment(at, zone, now)
        owed = accounting.owed(conn, by, moment=moment, zone=zone, now=now)
        some = list(accounting.owed_accounts(conn, moment=moment, zone=zone, now=now, limit=_SHOWN))
        last = local_date(moment, zone)
        span = Interval(
            start=local_day(last - timedelta(days=_MONTH - 1), zone).start,
            end=local_day(last, zone).end,
        )
        received = accounting.collected(conn, span, collected, moment=moment, zone=zone, now=now)
    local = moment.astimezone(zone)
    return page(
        request, "arrears.html", zone=zone.key, owed=owed, some=some, received=received, by=by,
        collected=collected, moment=moment, at=f"{local:%Y-%m-%dT%H:%M}" if at else "",
        owed_by=list(OwedBy), collected_by=list(CollectedBy), days=_MONTH,
        total=sum(group.accounts for group in owed),
    )  # fmt: skip


@router.get("/arrears.csv")
def arrears_csv(request: Request, _: Viewer, at: str = "") -> Response:
    """Send every account in arrears at a moment, amounts exact."""
    site = site_of(request)
    now = site.clock.now()
    with site.db.transaction() as conn:
        zone = ZoneInfo(gather.office_zone(conn))
    moment = _moment(at, zone, now)
    name = f"arrears-{moment.astimezone(zone):%Y-%m-%d-%H%M}.csv"
    return StreamingResponse(
        _lines(site, moment, zone, now), media_type="text/csv; charset=utf-8",
        headers={"content-disposition": f'attachment; filename="{name}"'},
    )  # fmt: skip


@router.get("/audit")
def audit(request: Request, person: Viewer) -> Response:
    """Show the last days of bills, drawdowns and receipts beside the ledger, and the exceptions."""
    site = site_of(request)
    now = site.clock.now()
    with site.db.transaction() as conn:
        zone = ZoneInfo(gather.office_zone(conn))
        last = local_date(now, zone)
        first = last - timedelta(days=_DAYS - 1)
        ties = accounting.ties(conn, first, last, zone=zone)
        gaps = accounting.untied(conn, first, last, zone=zone)
        queue = accounting.exceptions(conn, limit=_SHOWN)
        steps = {one.id: accounting.steps_of(conn, one.id) for one in queue}
        counts = accounting.counts(conn)
    return page(
        request, "audit.html", zone=zone.key, ties=ties, gaps=gaps, queue=queue, steps=steps,
        counts=counts, mine=person.actor, days=_DAYS,
    )  # fmt: skip


@router.post("/audit/look")
def look(request: Request, person: Settler) -> Response:
    """Ask every source what does not fit, and bring the queue up to it."""
    site = site_of(request)
    with site.db.transaction() as conn:
        zone = ZoneInfo(gather.office_zone(conn))
    told = accounting.gather(site.db, actor=person.actor, zone=zone, now=site.clock.now())
    return go("/audit", flash="flash.gathered", n=str(told.standing))


@router.post("/audit/{exception}")
def act(
    request: Request,
    person: Settler,
    exception: int,
    event: Annotated[Event, Form()],
    reason: Annotated[str, Form(max_length=200)] = "",
) -> Response:
    """Take an exception, settle it or dismiss it."""
    if event not in (Event.TAKE, Event.SETTLE, Event.DISMISS):
        raise RefusedError(AccessRefusal.BAD_INPUT, f"nobody does {event.value}")
    site = site_of(request)
    accounting.act(
        site.db, exception, event, actor=person.actor, reason=reason, now=site.clock.now()
    )
    return go("/audit", flash="flash.exception_moved")


def _moment(text: str, zone: ZoneInfo, now: datetime) -> datetime:
    """Return a moment as the page's field gives it, in the office's zone; now, when empty."""
    if not text:
        return now
    try:
        found = datetime.fromisoformat(plain_digits(text))
    except ValueError as error:
        raise RefusedError(
            AccessRefusal.BAD_INPUT, "a moment is like 2026-11-18T16:30"
        ) from error  # fmt: skip
    return (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC)


def _lines(site: Site, moment: datetime, zone: ZoneInfo, now: datetime) -> Iterator[str]:
    names = [field.name for field in fields(OwedAccount)]
    yield _line([name.removesuffix("_micros") for name in names])
    with site.db.transaction() as conn:
        for row in accounting.owed_accounts(conn, moment=moment, zone=zone, now=now):
            yield _line([
                to_text(getattr(row, name), 6) if name.endswith("_micros") else getattr(row, name)
                for name in names
            ])  # fmt: skip


def _line(cells: list[str]) -> str:
    out = io.StringIO()
    csv.writer(out).writerow(cells)
    return out.getvalue()
