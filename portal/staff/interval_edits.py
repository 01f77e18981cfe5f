"""A value by hand: one person of the office proposes it, another decides."""

import re
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import Response

from cloud.rollups import service as rollups
from cloud.usage import service as usage
from cloud.vee import service as vee
from portal.auth.guard import sends
from portal.auth.model import AccessRefusal, Permission, SignedIn
from portal.fmt import plain_digits
from portal.site import go, site_of
from portal.staff.interval import instant_of
from protocols.errors import RefusedError
from protocols.identity import UsagePointId

router = APIRouter()
Keeper = Annotated[SignedIn, Depends(sends(Permission.READING_MANAGE))]
_KWH = re.compile(r"(\d{1,9})(?:[.,](\d{1,3}))?")


@router.post("/stream/intervals/{usage_point}/edit")
def propose(
    request: Request,
    person: Keeper,
    usage_point: str,
    *,
    at: Annotated[str, Form(max_length=40)],
    seconds: Annotated[int, Form()],
    reason: Annotated[str, Form(max_length=200)] = "",
    energy: Annotated[str, Form(max_length=40)] = "",
    cancel: Annotated[bool, Form()] = False,
) -> Response:
    """Propose a value for one interval, or that it has none."""
    site, start = site_of(request), instant_of(at)
    if start is None:
        raise RefusedError(AccessRefusal.BAD_INPUT, "name the interval by its start")
    vee.propose_edit(
        site.db, UsagePointId(usage_point), seconds=seconds,
        values={start: None if cancel else wh_of(energy)}, reason=reason, actor=person.actor,
        now=site.clock.now(),
    )  # fmt: skip
    return _back(usage_point, start, flash="flash.proposed")


@router.post("/stream/intervals/{usage_point}/edits/{number}")
def decide(
    request: Request,
    person: Keeper,
    usage_point: str,
    number: int,
    *,
    at: Annotated[str, Form(max_length=40)],
    accept: Annotated[bool, Form()],
    reason: Annotated[str, Form(max_length=200)] = "",
) -> Response:
    """Let a proposed value stand, as somebody else, or refuse it with a reason."""
    site, start = site_of(request), instant_of(at)
    now = site.clock.now()
    if accept:
        vee.verify_edit(
            site.db, number, actor=person.actor, now=now, changed=rollups.want,
            refresh=usage.refresh,
        )  # fmt: skip
    else:
        vee.refuse_edit(site.db, number, reason=reason, actor=person.actor, now=now)
    return _back(usage_point, start, flash="flash.decided")


def wh_of(text: str) -> int:
    """Return kilowatt-hours as typed, in any digits, as Wh. Raises: RefusedError `bad_input`."""
    found = _KWH.fullmatch(plain_digits(text).strip())
    if found is None:
        raise RefusedError(AccessRefusal.BAD_INPUT, "energy is like 0.25 kWh, three decimals most")
    return int(found[1]) * 1000 + int((found[2] or "0").ljust(3, "0"))


def _back(usage_point: str, start: datetime | None, *, flash: str) -> Response:
    at = f"?at={start:%Y-%m-%dT%H:%M}Z" if start else ""
    return go(f"/stream/intervals/{usage_point}{at}", flash=flash)
