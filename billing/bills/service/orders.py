"""
What staff order of a run at a page, and the billing process that carries it out.

A page never moves a run itself: a run of a whole city takes minutes, and posting belongs to the
process that posts. An order has no end until it is carried out; a process that dies leaves it so,
and the next one does it again: every act of a run may come twice.
"""

from datetime import datetime

from billing.bills.model import (
    Progress,
    Refusal,
    Run,
    RunAct,
    RunId,
    RunOrder,
    RunOutcome,
    Stage,
)
from billing.bills.service import run as runs
from billing.bills.store import orders as store
from cloud.store import audit
from cloud.store.db import Connection, Database
from protocols.errors import RefusedError


def order(db: Database, run: int, act: RunAct, *, actor: str, now: datetime) -> RunOrder:
    """
    Ask that a run is moved on, taken from its freeze again, or closed.

    Nobody closes the run that they opened. Raises: RefusedError `bills.run_unknown`,
    `bills.run_closed`, `bills.same_person`, `bills.run_ordered` while an order waits.
    """
    with db.transaction() as conn:
        found = runs.run_of(conn, run)
        _check(conn, found, act, actor)
        number = store.insert_order(conn, found, act, actor=actor, now=now)
        audit.record(
            conn, at=now, actor=actor, action=f"bills.order_{act.value}", entity="bill_run",
            entity_id=str(run), after={"order": number, "stage": found.stage.value},
        )  # fmt: skip
        return next(one for one in store.orders_of(conn, found.id, 1) if one.id == number)


def orders_of(conn: Connection, run: RunId, *, limit: int = 8) -> list[RunOrder]:
    """Return the newest orders of a run, with what became of each."""
    return store.orders_of(conn, run, limit)


def carry_out(db: Database, *, now: datetime, progress: Progress | None = None) -> RunOrder | None:
    """
    Carry out the oldest order that waits and note its end; None when none waits.

    What a rule refuses ends as refused, with its code; the run stands where it stood.
    """
    with db.transaction() as conn:
        found = store.oldest_order(conn)
    if found is None:
        return None
    code, detail = "", ""
    try:
        outcome = _act(db, found, now=now, progress=progress)
    except RefusedError as error:
        outcome, code, detail = RunOutcome.REFUSED, error.refusal.value, error.message
    with db.transaction() as conn:
        store.end_order(conn, found.id, outcome, code=code, detail=detail, now=now)
        return next(one for one in store.orders_of(conn, found.run, 50) if one.id == found.id)


def _act(db: Database, found: RunOrder, *, now: datetime, progress: Progress | None) -> RunOutcome:
    if found.act is RunAct.CLOSE:
        runs.close(db, found.run, actor=found.actor, now=now)
        return RunOutcome.DONE
    if found.act is RunAct.REFREEZE:
        runs.reopen(db, found.run, actor=found.actor, now=now)
    if progress is None:
        moved = runs.advance(db, found.run, now=now)
    else:
        moved = runs.advance(db, found.run, now=now, progress=progress)
    return RunOutcome.WAITS if moved.waiting else RunOutcome.DONE


def _check(conn: Connection, found: Run, act: RunAct, actor: str) -> None:
    if found.stage is Stage.CLOSED:
        raise RefusedError(
            Refusal.RUN_CLOSED, f"run {found.id} is closed", fix="open the period again"
        )
    if act is RunAct.CLOSE and actor == found.opened_by:
        raise RefusedError(
            Refusal.SAME_PERSON, f"{actor} opened run {found.id}", fix="let another person close it"
        )
    waiting = [one for one in store.orders_of(conn, found.id, 1) if one.outcome is None]
    if waiting:
        raise RefusedError(
            Refusal.RUN_ORDERED, f"order {waiting[0].id} of run {found.id} waits",
            fix="wait until it is carried out",
        )  # fmt: skip
