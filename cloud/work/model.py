"""
Facts of field work.

    raised -> assigned -> done -> verified
                 ^          |
                 +--- reopened (the report did not settle it)

    raised, assigned -> verified   settled: the cause has gone by itself, nobody was there
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import NewType

from cloud.control.model import RelayPosition
from protocols.identity import UsagePointId

OrderId = NewType("OrderId", str)


class OrderKind(StrEnum):
    """What a crew is sent for."""

    CUT_FAILURE = "cut_failure"
    RESTORE_FAILURE = "restore_failure"
    METER_SILENT = "meter_silent"
    EXCEPTION = "exception"


class OrderState(StrEnum):
    """How far a job has come."""

    RAISED = "raised"
    ASSIGNED = "assigned"
    DONE = "done"
    VERIFIED = "verified"


class OrderEvent(StrEnum):
    """What may happen to a job."""

    ASSIGN = "assign"
    REPORT = "report"
    VERIFY = "verify"
    REOPEN = "reopen"
    SETTLE = "settle"
    """Its cause has gone by itself."""


ORDER_MOVES: Mapping[tuple[OrderState, OrderEvent], OrderState] = {
    (OrderState.RAISED, OrderEvent.ASSIGN): OrderState.ASSIGNED,
    (OrderState.ASSIGNED, OrderEvent.ASSIGN): OrderState.ASSIGNED,
    (OrderState.ASSIGNED, OrderEvent.REPORT): OrderState.DONE,
    (OrderState.RAISED, OrderEvent.SETTLE): OrderState.VERIFIED,
    (OrderState.ASSIGNED, OrderEvent.SETTLE): OrderState.VERIFIED,
    (OrderState.DONE, OrderEvent.VERIFY): OrderState.VERIFIED,
    (OrderState.DONE, OrderEvent.REOPEN): OrderState.ASSIGNED,
}
"""Every move there is; a pair that is not here is refused with `WRONG_STATE`."""


class VisitOutcome(IntEnum):
    """
    What came of a visit: the eleven codes of D20, and ours for a supply restored on site (E6).

    *Source*: requirements D20, NAB L130-141.
    """

    WARNED = 1
    PAID = 2
    DEADLINE_GRANTED = 3
    INSTALMENTS = 4
    CUT = 5
    SELF_RECONNECTED = 6
    IDLE = 7
    ALREADY_CUT = 8
    REMOVAL_WARNING = 9
    HARD_TO_COLLECT = 10
    NOT_CUT = 11
    RESTORED = 12


POSITION_AFTER: Mapping[VisitOutcome, RelayPosition] = {
    VisitOutcome.CUT: RelayPosition.DISCONNECTED,
    VisitOutcome.ALREADY_CUT: RelayPosition.DISCONNECTED,
    VisitOutcome.SELF_RECONNECTED: RelayPosition.CONNECTED,
    VisitOutcome.NOT_CUT: RelayPosition.CONNECTED,
    VisitOutcome.RESTORED: RelayPosition.CONNECTED,
}
"""Where the switch stands after a visit; other outcomes say nothing about it."""

NEEDS_REGISTER = frozenset({VisitOutcome.CUT, VisitOutcome.ALREADY_CUT})
NEEDS_NOTE = frozenset({VisitOutcome.NOT_CUT})


class Refusal(StrEnum):
    """Why something about a job was refused."""

    UNKNOWN_ORDER = "unknown_order"
    UNKNOWN_CREW = "unknown_crew"
    WRONG_STATE = "wrong_state"
    NOT_YOURS = "not_yours"
    REGISTER_MISSING = "register_missing"
    REGISTER_NEGATIVE = "register_negative"
    NOTE_MISSING = "note_missing"
    SAME_PERSON = "same_person"
    OTHER_REPORT = "other_report_under_this_key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One job. *Units*: `register_wh` is what the crew read off the meter, watt-hours."""

    id: OrderId
    kind: OrderKind
    usage_point: UsagePointId
    cause_key: str
    summary: str
    state: OrderState
    crew: str | None
    raised_at: datetime
    assigned_at: datetime | None
    done_at: datetime | None
    verified_at: datetime | None
    verified_by: str | None
    outcome: VisitOutcome | None
    register_wh: int | None
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a crew says it did; the same key again is the same report."""

    outcome: VisitOutcome
    register_wh: int | None
    note: str
    actor: str
    idempotency_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """Who goes out. `login` is the actor string, `user:aziz`."""

    login: str
    phone: str
    language: str
    on_duty: bool
    open_orders: int = 0
