"""Decisions about field work."""

from typing import NamedTuple

from cloud.control.model import Outcome
from cloud.work.model import (
    NEEDS_NOTE,
    NEEDS_REGISTER,
    ORDER_MOVES,
    Order,
    OrderEvent,
    OrderKind,
    OrderState,
    Refusal,
    Report,
)


class Job(NamedTuple):
    """What an outcome of control asks a crew to do; `key` names its cause, so it is raised once."""

    kind: OrderKind
    key: str
    summary: str


def job_for(outcome: Outcome) -> Job | None:
    """
    Return the job that follows from an outcome of control, or None.

    A cut that failed for good (D14, E3), a reconnect that failed, a restoration that takes too
    long (E6), a customer who closed the switch alone.
    """
    where = outcome.usage_point
    if outcome.verb == "alarm":
        if outcome.cause == "self_reconnected":
            return Job(OrderKind.EXCEPTION, f"self:{outcome.seq}", "self_reconnected")
        key = f"restore:{where}:{outcome.seq}"
        return Job(OrderKind.RESTORE_FAILURE, key, outcome.cause or "overdue")
    bad = outcome.result in {"failed", "refused", "expired"}
    if outcome.verb == "disconnect" and bad and outcome.request_state == "failed":
        cause = outcome.cause or outcome.result
        return Job(OrderKind.CUT_FAILURE, f"cut:{outcome.request}", cause)
    if outcome.verb == "reconnect" and outcome.result in {"failed", "refused"}:
        cause = outcome.cause or outcome.result
        return Job(OrderKind.RESTORE_FAILURE, f"reconnect:{outcome.command}", cause)
    return None


def missing_key(exception: int) -> str:
    """Return the cause of an order for registers that are missing, by the exception's number."""
    return f"missing:{exception}"


def move_order(state: OrderState, event: OrderEvent) -> OrderState | None:
    """Return the state after `event`, or None where the table has no such move."""
    return ORDER_MOVES.get((state, event))


def refuse_report(order: Order, report: Report) -> Refusal | None:
    """Return the first reason not to take a crew's report, or None."""
    if order.crew is not None and order.crew != report.actor:
        return Refusal.NOT_YOURS
    if move_order(order.state, OrderEvent.REPORT) is None:
        return Refusal.WRONG_STATE
    if report.register_wh is not None and report.register_wh < 0:
        return Refusal.REGISTER_NEGATIVE
    if report.outcome in NEEDS_REGISTER and report.register_wh is None:
        return Refusal.REGISTER_MISSING
    if report.outcome in NEEDS_NOTE and not report.note.strip():
        return Refusal.NOTE_MISSING
    return None


def refuse_verify(order: Order, actor: str) -> Refusal | None:
    """Return why `actor` may not close a job: whoever did it does not judge it."""
    if move_order(order.state, OrderEvent.VERIFY) is None:
        return Refusal.WRONG_STATE
    return Refusal.SAME_PERSON if order.crew == actor else None
