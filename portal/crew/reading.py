"""The reader's phone: what is left to walk, one meter, its figure or why there is none."""

import secrets
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import Response

from billing.customers import service as customers
from cloud.cycles.model import (
    Doubt,
    Entry,
    MissCode,
    Observation,
    Source,
    Task,
    TaskId,
    TaskState,
)
from cloud.cycles.service import entering
from cloud.store.db import Connection
from portal.amounts import wh_of
from portal.auth.guard import allowed, sends
from portal.auth.model import AccessRefusal, Permission, SignedIn
from portal.errors import status_of
from portal.site import go, page, reader_of, site_of
from portal.staff import gather
from protocols.errors import RefusedError

router = APIRouter()
Walker = Annotated[SignedIn, Depends(allowed(Permission.READING_ENTER))]
Sender = Annotated[SignedIn, Depends(sends(Permission.READING_ENTER))]
_SHOWN = 60
_LEFT = (TaskState.ASSIGNED, TaskState.UNREAD)


@router.get("/reading")
def my_walk(request: Request, person: Walker) -> Response:
    """Show what this person still has to read, in walking order, and how much is done."""
    with site_of(request).db.transaction() as conn:
        found, zone = entering.mine(conn, person.actor), gather.office_zone(conn)
        left = [task for task in found if task.state in _LEFT]
        names = gather.names_at(conn, [task.usage_point for task in left[:_SHOWN]])
    return page(
        request, "reading.html", zone=zone, left=left[:_SHOWN], done=len(found) - len(left),
        all=len(found), names=names,
    )  # fmt: skip


@router.get("/reading/{number}")
def meter_page(request: Request, person: Walker, number: int) -> Response:
    """Show one meter with the form of its figure."""
    return _meter_page(request, person, number)


@router.post("/reading/{number}")
def enter(  # noqa: PLR0917 - a form's fields arrive by name
    request: Request,
    person: Sender,
    number: int,
    key: Annotated[str, Form(min_length=8, max_length=64)],
    shown: Annotated[str, Form(alias="register_kwh", max_length=20)] = "",
    miss: Annotated[str, Form()] = "",
    seen: Annotated[list[Observation] | None, Form()] = None,
    note: Annotated[str, Form(max_length=500)] = "",
    sure: Annotated[str, Form()] = "",
) -> Response:
    """Take a figure; one that is doubted is asked for twice before a second person looks at it."""
    site = site_of(request)
    now = site.clock.now()
    try:
        entry = Entry(
            key=key, task=TaskId(number), source=Source.HANDHELD, at=now,
            wh=wh_of(shown) if shown.strip() else None, miss=MissCode(miss) if miss else None,
            observations=tuple(seen or ()), note=note.strip(),
        )  # fmt: skip
        with site.db.transaction() as conn:
            _mine(conn, person, number)
            doubts = entering.weigh(conn, entry, now=now)
        if doubts and sure != shown:
            return _meter_page(request, person, number, doubts=doubts, typed=shown, key=key)
        entering.enter(site.db, entry, actor=person.actor, now=now)
    except ValueError:
        raise RefusedError(AccessRefusal.BAD_INPUT, "no such code", fix="choose again") from None
    except RefusedError as error:
        return _meter_page(request, person, number, error=error, typed=shown, key=key)
    return go("/reading", flash="flash.read")


def _meter_page(
    request: Request,
    person: SignedIn,
    number: int,
    *,
    error: RefusedError | None = None,
    doubts: tuple[Doubt, ...] = (),
    typed: str = "",
    key: str = "",
) -> Response:
    reader = reader_of(request)
    with site_of(request).db.transaction() as conn:
        task = _mine(conn, person, number)
        zone = gather.office_zone(conn)
        customer = customers.card_of(conn, task.usage_point)
    said = reader.words.of_code("refusal", error.refusal.value, error.message) if error else ""
    return page(
        request, "meter.html", zone=zone, status=status_of(error) if error else 200, job=task,
        customer=customer, misses=tuple(MissCode), seen=tuple(Observation), error=said,
        why=error.message if error else "", doubts=doubts, typed=typed,
        key=key or secrets.token_urlsafe(18), open=task.state in _LEFT,
    )  # fmt: skip


def _mine(conn: Connection, person: SignedIn, number: int) -> Task:
    for task in entering.mine(conn, person.actor):
        if task.id == number:
            return task
    raise RefusedError(AccessRefusal.NOT_FOUND, "this meter is not on your list")
