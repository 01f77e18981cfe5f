"""Pure decisions about a case: may it move, is it still due, what control's word means for it."""

from datetime import datetime
from typing import Any

from billing.collections.model import MOVES, RULE_VERSION, CaseEvent, CaseState
from billing.prepaid.model import Balance, BalanceQuality
from cloud.control.model import Refusal, RequestState


def move(state: CaseState, event: CaseEvent) -> CaseState | None:
    """Return where an event takes a case, or None when it means nothing there."""
    return MOVES.get((state, event))


def still_due(balance: Balance) -> bool | None:
    """
    Tell whether a cut may be asked for on this balance; None when nobody can tell yet.

    Below the cut line and below zero, on a register that is there: a balance behind missing
    registers is an interval, and nobody is cut on its lower end (C11, D5).
    """
    if balance.quality is BalanceQuality.MISSING:
        return None
    return balance.available_micros < min(balance.cut_micros, 0)


def is_paid(
    state: CaseState, *, available_micros: int, below_reminder: bool, below_zero: bool
) -> bool:
    """
    Tell whether a case has lost its ground.

    A reminder ends above the reminder line, a debt at zero or more; power comes back only for a
    balance above zero (D15).
    """
    if state is CaseState.REMINDED:
        return not below_reminder
    if state is CaseState.INSTALMENT:
        return False  # its plan says when it is
    if state is CaseState.CUT:
        return available_micros > 0
    return not below_zero


def event_of_request(state: RequestState, cause: str) -> CaseEvent | None:
    """Return what the state of our request in control means for the case; None while it runs."""
    match state:
        case RequestState.CUT:
            return CaseEvent.CUT
        case RequestState.FAILED:
            return CaseEvent.FAILED
        case RequestState.REFUSED | RequestState.CANCELLED:
            protected = cause == Refusal.PROTECTED_CUSTOMER.value
            return CaseEvent.PROTECTED if protected else CaseEvent.CANCELLED
        case _:
            return None


def event_of_refusal(refusal: str) -> CaseEvent | None:
    """Return what it means that control did not take our request; None is a reason to ask later."""
    match refusal:
        case Refusal.PROTECTED_CUSTOMER:
            return CaseEvent.PROTECTED
        case Refusal.ALREADY_CUT:
            return CaseEvent.CUT
        case Refusal.NO_SWITCH | Refusal.UNKNOWN_SUPPLY:
            return CaseEvent.FAILED
        case Refusal.ON_HOLD:
            return CaseEvent.HELD
        case _:
            return None


def event_of_debt(event: str) -> CaseEvent | None:
    """Return what happened to a plan, or to an agreement, means for the case; None: nothing."""
    match event:
        case "plan_signed" | "plan_reopened":
            return CaseEvent.PLANNED
        case "plan_broken" | "plan_cancelled":
            return CaseEvent.PLAN_LOST
        case "plan_paid":
            return CaseEvent.PLAN_PAID
        case "agreement_ended":
            return CaseEvent.ENDED
        case _:
            return None


def figures_of(balance: Balance, *, computed_at: datetime) -> dict[str, Any]:
    """Return what two people compare before they approve, as plain JSON values."""
    return {
        "available_micros": balance.available_micros,
        "posted_micros": balance.posted_micros,
        "fee_micros": balance.fee_micros,
        "drawn_micros": balance.drawn_micros,
        "cut_micros": balance.cut_micros,
        "currency": balance.currency,
        "register_wh": balance.as_of_register_wh,
        "register_at": balance.as_of_register_at.isoformat(),
        "ledger_entry": balance.as_of_ledger,
        "year_wh": balance.year_wh,
        "quality": balance.quality.value,
        "tariff_code": balance.tariff_code,
        "tariff_hash": balance.tariff_hash,
        "rule": RULE_VERSION,
        "computed_at": computed_at.isoformat(),
    }
