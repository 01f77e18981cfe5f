"""Billing runs: how far each has come, what waits for people, and totals beside the ledger's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import Response

from billing.bills.model import STAGES, Decision, Item, ItemState, Run, RunId, Sheet
from billing.bills.service import asking, review
from billing.bills.service import run as runs
from billing.customers import service as customers
from cloud.store.db import Connection
from portal.auth.guard import allowed, need_step_up, sends
from portal.auth.model import Permission, SignedIn
from portal.site import go, is_part, page, site_of
from portal.staff import gather

router = APIRouter()
Viewer = Annotated[SignedIn, Depends(allowed(Permission.BILL_VIEW))]
Reviewer = Annotated[SignedIn, Depends(sends(Permission.BILL_REVIEW))]
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
    agreed: Mapping[str, Sequence[str]]


@router.get("/runs")
def run_list(request: Request, _: Viewer) -> Response:
    """Show the newest runs and how far they have come."""
    with site_of(request).db.transaction() as conn:
        found, zone = asking.newest_runs(conn), gather.office_zone(conn)
    return page(request, "runs.html", zone=zone, runs=found, stages=STAGES)


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
    approvals = [item for item in waiting if item.state is ItemState.APPROVAL]
    return RunPage(
        run=run, sheet=runs.sheet_of(conn, run),
        held=[item for item in waiting if item.state is ItemState.HELD], approvals=approvals,
        parked=parked, names={account: card.name for account, card in cards.items()},
        agreed={item.agreement: asking.approvers_of(conn, item) for item in approvals},
    )  # fmt: skip
