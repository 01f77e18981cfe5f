"""Billing runs: how far each has come, what waits for people, and totals beside the ledger's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import Response

from billing.bills.model import (
    MAIN_BOOK,
    STAGES,
    Decision,
    Doubt,
    Item,
    ItemState,
    Run,
    RunAct,
    RunId,
    RunOrder,
    Sheet,
    Stage,
)
from billing.bills.service import asking, blocked, orders, review
from billing.bills.service import run as runs
from billing.customers import service as customers
from cloud.store.db import Connection
from cloud.vee import service as vee
from cloud.vee.model import Block
from portal.auth.guard import allowed, need_step_up, sends
from portal.auth.model import AccessRefusal, Permission, SignedIn
from portal.fmt import plain_digits
from portal.site import go, is_part, page, site_of
from portal.staff import gather
from protocols.errors import RefusedError
from protocols.timeline import local_date

router = APIRouter()
Viewer = Annotated[SignedIn, Depends(allowed(Permission.BILL_VIEW))]
Reviewer = Annotated[SignedIn, Depends(sends(Permission.BILL_REVIEW))]
Runner = Annotated[SignedIn, Depends(sends(Permission.BILL_RUN))]
_SHOWN = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPage:
    """One run for one viewer; `locked` names the items this person may not agree to again."""

    run: Run
    sheet: Sheet
    held: Sequence[Item]
    approvals: Sequence[Item]
    parked: Sequence[Item]
    names: Mapping[str, str]
    blocks: Mapping[str, Block]
    """What keeps held items from being billed, by agreement."""
    accepted: Mapping[str, Mapping[str, Sequence[str]]]
    """Who let those pass already, by agreement and decision."""
    agreed: Mapping[str, Sequence[str]]
    orders: Sequence[RunOrder]
    acts: Sequence[RunAct]
    """What may be ordered of it as it stands."""

    @property
    def ordered(self) -> bool:
        """Tell whether an order has not been carried out yet."""
        return any(one.outcome is None for one in self.orders)


@router.get("/runs")
def run_list(request: Request, _: Viewer) -> Response:
    """Show the newest runs and how far they have come."""
    with site_of(request).db.transaction() as conn:
        found, zone = asking.newest_runs(conn), gather.office_zone(conn)
    today = local_date(site_of(request).clock.now(), ZoneInfo(zone))
    this = today.replace(day=1)
    first = found[0].period_end if found else _month(this, -1)
    return page(
        request, "runs.html", zone=zone, runs=found, stages=STAGES, book=MAIN_BOOK,
        first=first, until=min(this, _month(first, 1)),
    )  # fmt: skip


@router.post("/runs")
def open_run(
    request: Request,
    person: Runner,
    first: Annotated[str, Form(max_length=10)],
    until: Annotated[str, Form(max_length=10)],
    book: Annotated[str, Form(min_length=1, max_length=64)],
) -> Response:
    """Open the run of a book and period; the billing process moves it on."""
    site = site_of(request)
    need_step_up(request, person)
    now = site.clock.now()
    with site.db.transaction() as conn:
        zone = ZoneInfo(gather.office_zone(conn))
    try:
        days = (date.fromisoformat(plain_digits(first)), date.fromisoformat(plain_digits(until)))
    except ValueError as error:
        raise RefusedError(AccessRefusal.BAD_INPUT, "a day is like 2026-11-18") from error
    run = runs.open_run(
        site.db, start=days[0], end=days[1], zone=zone, actor=person.actor, now=now,
        book=book.strip(),
    )  # fmt: skip
    return go(f"/runs/{run.id}", flash="flash.run_opened")


@router.post("/runs/{number}/order")
def order(
    request: Request, person: Runner, number: int, act: Annotated[RunAct, Form()]
) -> Response:
    """Have a run moved on, frozen again or closed; the password must be fresh."""
    site = site_of(request)
    need_step_up(request, person)
    orders.order(site.db, number, act, actor=person.actor, now=site.clock.now())
    return go(f"/runs/{number}", flash="flash.ordered")


@router.get("/runs/{number}")
def run_page(request: Request, person: Viewer, number: int) -> Response:
    """Show one run: stages, totals, what waits for people, what was left out."""
    with site_of(request).db.transaction() as conn:
        view, zone = _page(conn, number), gather.office_zone(conn)
    return page(
        request, "run_part.html" if is_part(request) else "run.html", zone=zone, view=view,
        stages=STAGES, at=STAGES.index(view.run.stage), decisions=tuple(Decision),
        mine=person.actor,
    )  # fmt: skip


@router.post("/runs/{number}/decide")
def decide(
    request: Request,
    person: Reviewer,
    number: int,
    *,
    agreement: Annotated[str, Form()],
    decision: Annotated[Decision, Form()],
    reason: Annotated[str, Form(max_length=200)] = "",
) -> Response:
    """Say of held use that it is so, that an estimate is billed, or that it is left out."""
    site = site_of(request)
    review.decide(
        site.db, RunId(number), agreement, decision, actor=person.actor, reason=reason,
        now=site.clock.now(),
    )  # fmt: skip
    return go(f"/runs/{number}", flash="flash.decided")


@router.post("/runs/{number}/look-again")
def look_again(
    request: Request, person: Reviewer, number: int, agreement: Annotated[str, Form()]
) -> Response:
    """Have the days that keep an item from being billed validated again."""
    site = site_of(request)
    with site.db.transaction() as conn:
        block = review.block_of(conn, RunId(number), agreement)
    if block is not None:
        vee.look_again(
            site.db, block.usage_point, block.days, actor=person.actor, now=site.clock.now()
        )
    return go(f"/runs/{number}", flash="flash.looked_at_again")


@router.post("/runs/{number}/approve")
def approve(
    request: Request, person: Reviewer, number: int, agreement: Annotated[str, Form()]
) -> Response:
    """Agree to a large amount; the password must be fresh, and two people are needed."""
    site = site_of(request)
    need_step_up(request, person)
    review.approve(
        site.db, RunId(number), agreement, actor=person.actor, now=site.clock.now()
    )  # fmt: skip
    return go(f"/runs/{number}", flash="flash.agreed")


def _page(conn: Connection, number: int) -> RunPage:
    run = runs.run_of(conn, number)
    waiting = review.queue(conn, number, limit=_SHOWN)
    parked = review.parked(conn, number, limit=_SHOWN)
    accounts = sorted({item.account for item in (*waiting, *parked)})
    cards = customers.cards_of(conn, accounts)
    held = [item for item in waiting if item.state is ItemState.HELD]
    stopped = [item for item in held if Doubt.BLOCKED in item.reasons]
    blocks = blocked.blocks_of(conn, stopped)
    approvals = [item for item in waiting if item.state is ItemState.APPROVAL]
    return RunPage(
        run=run, sheet=runs.sheet_of(conn, run),
        held=held, approvals=approvals,
        blocks={
            item.agreement: block
            for item, block in zip(stopped, blocks, strict=True) if block is not None
        },
        accepted={
            item.agreement: {
                one.value: asking.approvers_of(conn, item, one.value)
                for one in (Decision.ACCEPT, Decision.ESTIMATE)
            }
            for item in stopped
        },
        parked=parked, names={account: card.name for account, card in cards.items()},
        agreed={item.agreement: asking.approvers_of(conn, item) for item in approvals},
        orders=orders.orders_of(conn, run.id), acts=_acts(run.stage),
    )  # fmt: skip


def _acts(stage: Stage) -> tuple[RunAct, ...]:
    if stage is Stage.CLOSED:
        return ()
    if stage is Stage.TOTALLED:
        return (RunAct.CLOSE, RunAct.REFREEZE)
    return (RunAct.ADVANCE, RunAct.REFREEZE)


def _month(day: date, further: int) -> date:
    """Return the first day of the month that lies so many months from `day`."""
    year, month = divmod(day.year * 12 + day.month - 1 + further, 12)
    return date(year, month + 1, 1)
