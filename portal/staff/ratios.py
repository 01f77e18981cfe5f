"""A change of CT/PT ratio of a usage point: proposed, shown with what it changes, verified."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import gcd
from typing import Annotated
from urllib.parse import quote
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import Response

from billing.bills.service import dependents
from cloud.assets import service as assets
from cloud.assets.model import Ratio, RatioProposal, UsagePoint
from cloud.rollups.service import ratios
from cloud.rollups.service.ratios import Preview
from cloud.store.db import Connection
from portal.auth.guard import allowed, need_step_up, sends
from portal.auth.model import AccessRefusal, Permission, SignedIn
from portal.fmt import plain_digits
from portal.site import go, page, site_of
from portal.staff import gather
from portal.staff.interval_edits import wh_of
from protocols.errors import RefusedError
from protocols.identity import UsagePointId

router = APIRouter()
Viewer = Annotated[SignedIn, Depends(allowed(Permission.STREAM_VIEW))]
Keeper = Annotated[SignedIn, Depends(sends(Permission.READING_MANAGE))]
_FACTOR = re.compile(r"(\d{1,7})(?:/(\d{1,7}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class RatioPage:
    """The factors of a usage point, what waits, and what that would change."""

    point: UsagePoint
    held: Sequence[Ratio]
    proposals: Sequence[RatioProposal]
    seen: dict[int, Preview]


@router.get("/stream/points/{usage_point}/ratio")
def ratio(request: Request, person: Viewer, usage_point: str) -> Response:
    """Show the factors of a usage point, and of each that waits what it would change."""
    site, now = site_of(request), site_of(request).clock.now()
    with site.db.transaction() as conn:
        point = _point(conn, usage_point)
        held = assets.ratios(conn, [point.id])
        proposals = assets.ratio_proposals(conn, usage_point=point.id, limit=20)
        name = gather.names_at(conn, [point.id]).get(point.id, "")
    seen = {
        each.id: ratios.preview_ratio(
            site.db, each.ratio, dependents.find, actor=person.actor, now=now
        )
        for each in proposals
        if each.verified is None
    }
    view = RatioPage(point=point, held=held, proposals=proposals, seen=seen)
    return page(
        request, "ratio.html", zone=point.zone, view=view, name=name, mine=person.actor,
        at=now.astimezone(ZoneInfo(point.zone)).strftime("%Y-%m-%dT%H:%M"),
    )  # fmt: skip


@router.post("/stream/points/{usage_point}/ratio")
def propose(
    request: Request,
    person: Keeper,
    usage_point: str,
    *,
    factor: Annotated[str, Form(max_length=20)],
    since: Annotated[str, Form(max_length=40)],
    reason: Annotated[str, Form(max_length=200)] = "",
    figure: Annotated[str, Form(max_length=40)] = "",
) -> Response:
    """Propose a factor from an instant of the point's own clock on."""
    site = site_of(request)
    with site.db.transaction() as conn:
        point = _point(conn, usage_point)
    top, bottom = factor_of(factor)
    wish = Ratio(
        usage_point=point.id, valid_from=_instant(since, ZoneInfo(point.zone)), numerator=top,
        denominator=bottom, register_wh=wh_of(figure) if figure.strip() else None,
    )  # fmt: skip
    ratios.propose_ratio(site.db, wish, reason=reason, actor=person.actor, now=site.clock.now())
    return _back(usage_point, flash="flash.proposed")


@router.post("/stream/points/{usage_point}/ratio/{number}")
def decide(
    request: Request,
    person: Keeper,
    usage_point: str,
    number: int,
    *,
    accept: Annotated[bool, Form()],
    reason: Annotated[str, Form(max_length=200)] = "",
) -> Response:
    """Let a proposed factor hold, as somebody else whose password is fresh, or refuse it."""
    site = site_of(request)
    now = site.clock.now()
    if accept:
        need_step_up(request, person)
        ratios.verify_ratio(site.db, number, actor=person.actor, now=now)
    else:
        ratios.refuse_ratio(site.db, number, reason=reason, actor=person.actor, now=now)
    return _back(usage_point, flash="flash.decided")


def factor_of(text: str) -> tuple[int, int]:
    """Return a factor as typed, in any digits, in lowest terms. Raises: RefusedError."""
    found = _FACTOR.fullmatch(plain_digits(text).replace(" ", ""))
    top, bottom = (int(found[1]), int(found[2] or 1)) if found else (0, 0)
    if not top or not bottom:
        raise RefusedError(AccessRefusal.BAD_INPUT, "a factor is like 40 or 200/5")
    common = gcd(top, bottom)
    return top // common, bottom // common


def _instant(text: str, zone: ZoneInfo) -> datetime:
    try:
        return datetime.fromisoformat(plain_digits(text)).replace(tzinfo=zone)
    except ValueError as error:
        fault = "an instant is like 2026-03-05T12:00"
        raise RefusedError(AccessRefusal.BAD_INPUT, fault) from error


def _point(conn: Connection, usage_point: str) -> UsagePoint:
    point = assets.usage_point(conn, UsagePointId(usage_point))
    if point is None:
        raise RefusedError(AccessRefusal.NOT_FOUND, f"no usage point is called {usage_point}")
    return point


def _back(usage_point: str, *, flash: str) -> Response:
    return go(f"/stream/points/{quote(usage_point, safe='')}/ratio", flash=flash)
