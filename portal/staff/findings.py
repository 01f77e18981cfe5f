"""The queue of what validation found: who looks at it, and how it ends."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import Response

from cloud.vee import service as vee
from cloud.vee.model import WATCHED, ExceptionKind, QueueCount, VeeException
from portal.auth.guard import allowed, sends
from portal.auth.model import AccessRefusal, Permission, SignedIn
from portal.site import go, page, site_of
from portal.staff import gather
from protocols.errors import RefusedError
from protocols.identity import is_name

router = APIRouter()
Viewer = Annotated[SignedIn, Depends(allowed(Permission.STREAM_VIEW))]
Keeper = Annotated[SignedIn, Depends(sends(Permission.READING_MANAGE))]
SEVERITIES = ("blocking", "error", "warning")
AGES = (1, 3, 7, 30)
_SHOWN = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is asked of the queue; empty or 0 means any."""

    kind: str = ""
    severity: str = ""
    unit: str = ""
    mine: bool = False
    days: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePage:
    """The queue as asked for, and how much there is of what."""

    wish: Wish
    found: Sequence[VeeException]
    counts: Sequence[QueueCount]
    kinds: Sequence[str]
    names: dict[str, str]
    more: bool


@router.get("/stream/findings")
def findings(
    request: Request,
    person: Viewer,
    *,
    kind: str = "",
    severity: str = "",
    unit: str = "",
    mine: bool = False,
    days: int = 0,
) -> Response:
    """Show what is open, gravest first."""
    site = site_of(request)
    wish = Wish(kind=kind, severity=severity, unit=unit.strip()[:64], mine=mine, days=days)
    if (
        (kind and kind not in list(ExceptionKind))
        or (severity and severity not in SEVERITIES)
        or not 0 <= days <= 3650
    ):
        raise RefusedError(AccessRefusal.BAD_INPUT, "no such kind, severity or age")
    before = site.clock.now() - timedelta(days=days) if days else None
    with site.db.transaction() as conn:
        found = vee.queue(
            conn, kind=ExceptionKind(kind) if kind else None, severity=severity or None,
            unit=wish.unit or None, assigned_to=person.actor if mine else None,
            opened_before=before, limit=_SHOWN + 1,
        )  # fmt: skip
        counts = vee.queue_counts(conn)
        shown = found[:_SHOWN]
        view = QueuePage(
            wish=wish, found=shown, counts=counts, more=len(found) > _SHOWN,
            kinds=sorted({one.kind.value for one in counts} | ({kind} if kind else set())),
            names=gather.names_at(conn, sorted({one.usage_point for one in shown})),
        )  # fmt: skip
        zone = gather.office_zone(conn)
    return page(
        request, "findings.html", zone=zone, view=view, severities=SEVERITIES, ages=AGES,
        watched=WATCHED, mine=person.actor,
    )  # fmt: skip


@router.post("/stream/findings/{number}/assign")
def assign(
    request: Request, person: Keeper, number: int, to: Annotated[str, Form(max_length=64)] = ""
) -> Response:
    """Give a finding to somebody, to oneself where nobody is named."""
    site, name = site_of(request), to.strip()
    if name and not is_name(name):
        raise RefusedError(AccessRefusal.BAD_INPUT, "name somebody by the name of their sign-in")
    vee.assign_exception(
        site.db, number, to=f"user:{name}" if name else person.actor, actor=person.actor,
        now=site.clock.now(),
    )  # fmt: skip
    return go("/stream/findings", flash="flash.finding_given")


@router.post("/stream/findings/{number}/close")
def close(
    request: Request, person: Keeper, number: int, reason: Annotated[str, Form(max_length=200)] = ""
) -> Response:
    """Settle a finding with a reason; what is missing ends by itself when it comes."""
    site = site_of(request)
    vee.close_exception(
        site.db, number, reason=reason, actor=person.actor, now=site.clock.now()
    )  # fmt: skip
    return go("/stream/findings", flash="flash.decided")
