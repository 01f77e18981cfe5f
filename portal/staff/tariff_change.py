"""New prices at a page: one person changes figures from a day on, another puts them in force."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import Response

from billing.rating.service import proposals
from billing.tariffs.model.proposed import ProposalEnd
from billing.tariffs.rules.parameters import examples_of, next_version, parameters_of
from portal.auth.guard import allowed, need_step_up, sends
from portal.auth.model import AccessRefusal, Permission, SignedIn
from portal.fmt import plain_digits
from portal.site import go, page, site_of
from portal.staff import gather
from portal.staff.tariffs import file_of, files_of
from protocols.errors import RefusedError
from protocols.timeline import local_date

router = APIRouter()
Changer = Annotated[SignedIn, Depends(allowed(Permission.TARIFF_CHANGE))]
Proposer = Annotated[SignedIn, Depends(sends(Permission.TARIFF_CHANGE))]
_FIGURE, _TOTAL = "figure:", "total:"


async def _all_fields(request: Request) -> dict[str, str]:
    """Return every field of the form: a tariff has as many figures as it has."""
    return {key: value for key, value in (await request.form()).items() if isinstance(value, str)}


AllFields = Annotated[dict[str, str], Depends(_all_fields)]


@router.get("/tariffs/{ref}/change")
def change_page(request: Request, _: Changer, ref: str, day: str = "") -> Response:
    """Show every figure of a version, and its examples, to be stated anew from a day on."""
    site = site_of(request)
    with site.db.transaction() as conn:
        files, zone = files_of(conn), gather.office_zone(conn)
    file = file_of(files, ref)
    tomorrow = local_date(site.clock.now(), ZoneInfo(zone)) + timedelta(days=1)
    first = _day(day) if day else _next_month(tomorrow)
    labels = {line["id"]: line["label"] for line in file.document["lines"]}
    return page(
        request, "tariff_change.html", zone=zone, file=file, labels=labels, first=first,
        least=tomorrow, parameters=parameters_of(file.document),
        examples=examples_of(file.document, first),
    )  # fmt: skip


@router.post("/tariffs/{ref}/propose")
def propose(
    request: Request,
    person: Proposer,
    ref: str,
    *,
    fields: AllFields,
    day: Annotated[str, Form(max_length=10)],
    legal: Annotated[str, Form(max_length=300)],
    source: Annotated[str, Form(max_length=300)],
    reason: Annotated[str, Form(max_length=300)] = "",
) -> Response:
    """Make the next version of the figures stated, prove it, and let another person decide."""
    site = site_of(request)
    need_step_up(request, person)
    with site.db.transaction() as conn:
        file = file_of(files_of(conn), ref)
    document = next_version(
        file.document, valid_from=_day(day), values=_given(fields, _FIGURE),
        totals={int(key): value for key, value in _given(fields, _TOTAL).items() if key.isdigit()},
        legal_ref=legal, source=source,
    )  # fmt: skip
    found = proposals.propose(
        site.db, document, reason=reason, actor=person.actor, now=site.clock.now()
    )
    return go(f"/tariffs/p{found.id}", flash="flash.tariff_proposed")


@router.post("/tariffs/propose")
def propose_file(
    request: Request,
    person: Proposer,
    *,
    document: Annotated[str, Form(max_length=1_000_000)],
    reason: Annotated[str, Form(max_length=300)] = "",
) -> Response:
    """Prove a whole file and let another person decide."""
    site = site_of(request)
    need_step_up(request, person)
    found = proposals.propose(
        site.db, document.encode(), reason=reason, actor=person.actor, now=site.clock.now()
    )
    return go(f"/tariffs/p{found.id}", flash="flash.tariff_proposed")


@router.post("/tariffs/proposals/{number}/end")
def end(
    request: Request,
    person: Proposer,
    number: int,
    *,
    how: Annotated[ProposalEnd, Form()],
    reason: Annotated[str, Form(max_length=300)] = "",
) -> Response:
    """Put a proposed version in force, refuse it, or withdraw one's own."""
    site = site_of(request)
    need_step_up(request, person)
    proposals.decide(site.db, number, how, actor=person.actor, reason=reason, now=site.clock.now())
    return go("/tariffs", flash=f"flash.tariff_{how.value}")


def _given(fields: Mapping[str, str], kind: str) -> dict[str, str]:
    return {
        key.removeprefix(kind): plain_digits(value.strip())
        for key, value in fields.items()
        if key.startswith(kind) and value.strip()
    }


def _day(text: str) -> date:
    try:
        return date.fromisoformat(plain_digits(text))
    except ValueError as error:
        raise RefusedError(AccessRefusal.BAD_INPUT, "a day is like 2026-11-18") from error


def _next_month(day: date) -> date:
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)
