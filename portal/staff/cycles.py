"""Reading cycles for the office: what is planned and open, who read how well, what is in doubt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import Response

from cloud.cycles.model import Cycle, CycleId, Reader, Statistics, Task, TaskId, TaskState, Work
from cloud.cycles.service import closing, entering, planning, reports
from cloud.store.db import Connection
from portal.auth.guard import allowed, sends
from portal.auth.model import Permission, SignedIn
from portal.site import go, page, site_of
from portal.staff import gather

router = APIRouter()
Viewer = Annotated[SignedIn, Depends(allowed(Permission.READING_VIEW))]
Leader = Annotated[SignedIn, Depends(sends(Permission.READING_MANAGE))]
_SHOWN = 60


class Step(StrEnum):
    """What may be done to a whole cycle from its page."""

    OPEN = "open"
    SHARE = "share"
    MACHINE = "machine"
    CLOSE = "close"


@dataclass(frozen=True, slots=True, kw_only=True)
class CyclePage:
    """One cycle for one viewer; `left` is cut to what fits a page."""

    cycle: Cycle
    found: Statistics
    work: Sequence[Work]
    doubted: Sequence[Task]
    left: Sequence[Task]
    readers: Mapping[str, Reader]
    names: Mapping[str, str]


@router.get("/cycles")
def cycle_list(request: Request, _: Viewer) -> Response:
    """Show cycles, newest first."""
    with site_of(request).db.transaction() as conn:
        found, zone = planning.cycles(conn), gather.office_zone(conn)
    return page(request, "cycles.html", zone=zone, cycles=found)


@router.get("/cycles/{number}")
def cycle_page(request: Request, person: Viewer, number: int) -> Response:
    """Show one cycle: how far it is, who read, what is in doubt, what is left."""
    with site_of(request).db.transaction() as conn:
        view, zone = _page(conn, number), gather.office_zone(conn)
    return page(request, "cycle.html", zone=zone, view=view, mine=person.actor)


@router.post("/cycles/{number}")
def step(request: Request, person: Leader, number: int, what: Annotated[Step, Form()]) -> Response:
    """Open, share, settle by machine or close."""
    site, id_ = site_of(request), CycleId(number)
    now = site.clock.now()
    match what:
        case Step.OPEN:
            planning.open_cycle(site.db, id_, actor=person.actor, now=now)
        case Step.SHARE:
            planning.share_out(site.db, id_, actor=person.actor, now=now)
        case Step.MACHINE:
            entering.take_machine(site.db, id_, now=now)
        case Step.CLOSE:
            closing.close_cycle(site.db, id_, actor=person.actor, now=now)
    return go(f"/cycles/{number}", flash="flash.decided")


@router.post("/cycles/{number}/review")
def decide(
    request: Request,
    person: Leader,
    number: int,
    *,
    task: Annotated[int, Form()],
    accept: Annotated[bool, Form()],
    reason: Annotated[str, Form(max_length=200)] = "",
) -> Response:
    """Decide on a doubted figure; whoever entered it does not judge it."""
    site = site_of(request)
    entering.review(
        site.db, TaskId(task), accept=accept, reason=reason, actor=person.actor,
        now=site.clock.now(),
    )  # fmt: skip
    return go(f"/cycles/{number}", flash="flash.decided")


def _page(conn: Connection, number: int) -> CyclePage:
    cycle = planning.known_cycle(conn, CycleId(number))
    waiting = (TaskState.LISTED, TaskState.ASSIGNED, TaskState.UNREAD)
    doubted = planning.tasks(conn, cycle.id, states=(TaskState.IN_REVIEW,))[:_SHOWN]
    left = planning.tasks(conn, cycle.id, states=waiting)[:_SHOWN]
    return CyclePage(
        cycle=cycle,
        found=closing.statistics(conn, cycle.id),
        work=reports.work(conn, cycle.id),
        doubted=doubted,
        left=left,
        readers={reader.id: reader for reader in planning.readers(conn)},
        names=gather.names_at(conn, [task.usage_point for task in (*doubted, *left)]),
    )
