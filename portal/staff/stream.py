"""The page an operator keeps open: is the stream whole, who lags, what waits for a person."""

from dataclasses import dataclass
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from portal.auth.guard import allowed
from portal.auth.model import AccessRefusal, Permission, SignedIn
from portal.fmt import plain_digits
from portal.site import is_part, page, reader_of, site_of
from portal.staff import gather
from portal.staff import stream_view as views
from protocols.errors import RefusedError
from protocols.timeline import local_date

router = APIRouter()
Viewer = Annotated[SignedIn, Depends(allowed(Permission.STREAM_VIEW))]


@dataclass(frozen=True, slots=True, kw_only=True)
class OnePage:
    """One concentrator with its hours; `told` is what it says of itself, name and words."""

    line: views.Line
    hours: list[views.Bar]
    ends: tuple[str, str]
    told: list[tuple[str, str]]


@router.get("/stream")
def stream(request: Request, _: Viewer, q: str = "") -> Response:
    """Show lag, rates, every concentrator's success, quarantine and findings."""
    site, query = site_of(request), plain_digits(q.strip())[:64]
    found, findings = views.look(site.db, site.clock)
    with site.db.transaction() as conn:
        zone = gather.office_zone(conn)
    view = views.page_of(
        found, findings, clock=site.clock, reader=reader_of(request, zone), query=query
    )
    template = "stream_part.html" if is_part(request) else "stream.html"
    today = local_date(site.clock.now(), ZoneInfo(zone))
    return page(request, template, zone=zone, view=view, query=query, today=today)


@router.get("/stream/concentrators/{id_}")
def concentrator(request: Request, _: Viewer, id_: str) -> Response:
    """Show one concentrator: its last day by the hour and what it tells of itself."""
    site = site_of(request)
    found, _findings = views.look(site.db, site.clock)
    flow = next((one for one in found.flows if one.concentrator == id_), None)
    if flow is None:
        raise RefusedError(AccessRefusal.NOT_FOUND, f"no concentrator is called {id_}")
    with site.db.transaction() as conn:
        zone = gather.office_zone(conn)
    reader = reader_of(request, zone)
    line = views.line_of(flow, stream=found, clock=site.clock, reader=reader)
    hours = views.hours_of(flow, stream=found, reader=reader)
    told = dict(flow.presence.told) if flow.presence else {}
    view = OnePage(
        line=line, hours=hours, ends=(hours[0].words[0], hours[-1].words[0]),
        told=[
            (
                name,
                reader.number(value)
                if isinstance(value, int)
                else reader.words.of_code("clock", value),
            )
            for name in ("waiting", "silent", "missing_s", "clock")
            if (value := told.get(name)) is not None
        ],
    )  # fmt: skip
    template = "concentrator_part.html" if is_part(request) else "concentrator.html"
    return page(request, template, zone=zone, view=view)
