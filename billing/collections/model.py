"""
Facts of collections, and the one state machine of a case.

    (opened by a crossing)
    reminder -> REMINDED -zero-> OVERDUE -notice-> NOTICE -still_due-> CUT_CANDIDATE
                                   ^                 ^ <-held-             |
                                   |                 +---------------------+
                                   |                              requested|   protected
                                   +--cancelled-- REQUESTED <--------------+--> PROTECTED
                                   +--lifted----- PROTECTED
    REQUESTED -cut-> CUT -paid-> RECONNECT_DUE -restored-> RESTORED   (zero again: OVERDUE)
    REQUESTED, CUT_CANDIDATE -failed-> FIELD -cut-> CUT
    every state before CUT: -paid-> PAID, -planned-> INSTALMENT, and every state: -ended-> CLOSED
    INSTALMENT -plan_paid-> PAID, -plan_lost-> OVERDUE (zero again: OVERDUE)

| state / event | zero | notice | still_due | requested | held | protected | lifted | failed | cut | cancelled | paid | restored | planned | plan_lost | plan_paid | ended |
|---------------|------|--------|-----------|-----------|------|-----------|--------|--------|-----|-----------|------|----------|---------|-----------|-----------|-------|
| reminded      | overdue | | | | | | | | | | paid | | instalment | | | closed |
| overdue       | | notice | | | | | | | cut | | paid | | instalment | | | closed |
| notice        | | | cut_candidate | | | | | | cut | | paid | | instalment | | | closed |
| cut_candidate | | | | requested | notice | protected | | field | cut | | paid | | instalment | | | closed |
| requested     | | | | | | protected | | field | cut | overdue | paid | | instalment | | | closed |
| protected     | | | | | | | overdue | | | | paid | | instalment | | | closed |
| field         | | | | | | protected | | | cut | overdue | paid | | instalment | | | closed |
| instalment    | overdue | | | | | | | | cut | | | | | overdue | paid | closed |
| cut           | | | | | | | | | | | reconnect_due | restored | | | | closed |
| reconnect_due | overdue | | | | | | | | | | | restored | | | | closed |

PAID, RESTORED and CLOSED (its agreement ended) end a case. A pair that is not in the table changes nothing.
Case never commands a switch: REQUESTED is a wish, which two people and control's gate judge.
"""  # noqa: E501

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from billing.customers.model import AccountId, AgreementId
from protocols.identity import UsagePointId

RULE_VERSION = "collections.v1"
"""Named in the figures of every request, so that one can say later by which rules it was made."""


class Refusal(StrEnum):
    """Why a step by hand was refused."""

    NO_CASE = "collections.no_case"
    NOT_OVERDUE = "collections.not_overdue"


class CaseState(StrEnum):
    """Where a case stands on the road to a cut."""

    REMINDED = "reminded"
    OVERDUE = "overdue"
    NOTICE = "notice"
    CUT_CANDIDATE = "cut_candidate"
    REQUESTED = "requested"
    PROTECTED = "protected"
    FIELD = "field"
    CUT = "cut"
    RECONNECT_DUE = "reconnect_due"
    INSTALMENT = "instalment"
    """The debt is in a plan that is kept."""
    PAID = "paid"
    RESTORED = "restored"
    CLOSED = "closed"


class CaseEvent(StrEnum):
    """What happens to a case."""

    REMINDER = "reminder"
    """Only opens a case; it moves none."""
    ZERO = "zero"
    NOTICE = "notice"
    STILL_DUE = "still_due"
    REQUESTED = "requested"
    HELD = "held"
    PROTECTED = "protected"
    LIFTED = "lifted"
    FAILED = "failed"
    CUT = "cut"
    CANCELLED = "cancelled"
    PAID = "paid"
    RESTORED = "restored"
    PLANNED = "planned"
    PLAN_LOST = "plan_lost"
    """Its plan was broken or taken back: the debt is due again."""
    PLAN_PAID = "plan_paid"
    ENDED = "ended"
    """The agreement ended."""


ENDS = frozenset({CaseState.PAID, CaseState.RESTORED, CaseState.CLOSED})

_S, _E = CaseState, CaseEvent
MOVES: Mapping[tuple[CaseState, CaseEvent], CaseState] = {
    (_S.REMINDED, _E.ZERO): _S.OVERDUE,
    (_S.REMINDED, _E.PAID): _S.PAID,
    (_S.OVERDUE, _E.NOTICE): _S.NOTICE,
    (_S.OVERDUE, _E.CUT): _S.CUT,
    (_S.OVERDUE, _E.PAID): _S.PAID,
    (_S.NOTICE, _E.STILL_DUE): _S.CUT_CANDIDATE,
    (_S.NOTICE, _E.CUT): _S.CUT,
    (_S.NOTICE, _E.PAID): _S.PAID,
    (_S.CUT_CANDIDATE, _E.REQUESTED): _S.REQUESTED,
    (_S.CUT_CANDIDATE, _E.HELD): _S.NOTICE,
    (_S.CUT_CANDIDATE, _E.PROTECTED): _S.PROTECTED,
    (_S.CUT_CANDIDATE, _E.FAILED): _S.FIELD,
    (_S.CUT_CANDIDATE, _E.CUT): _S.CUT,
    (_S.CUT_CANDIDATE, _E.PAID): _S.PAID,
    (_S.REQUESTED, _E.PROTECTED): _S.PROTECTED,
    (_S.REQUESTED, _E.FAILED): _S.FIELD,
    (_S.REQUESTED, _E.CUT): _S.CUT,
    (_S.REQUESTED, _E.CANCELLED): _S.OVERDUE,
    (_S.REQUESTED, _E.PAID): _S.PAID,
    (_S.PROTECTED, _E.LIFTED): _S.OVERDUE,
    (_S.PROTECTED, _E.PAID): _S.PAID,
    (_S.FIELD, _E.PROTECTED): _S.PROTECTED,
    (_S.FIELD, _E.CUT): _S.CUT,
    (_S.FIELD, _E.CANCELLED): _S.OVERDUE,
    (_S.FIELD, _E.PAID): _S.PAID,
    (_S.CUT, _E.PAID): _S.RECONNECT_DUE,
    (_S.CUT, _E.RESTORED): _S.RESTORED,
    (_S.RECONNECT_DUE, _E.ZERO): _S.OVERDUE,
    (_S.RECONNECT_DUE, _E.RESTORED): _S.RESTORED,
    (_S.REMINDED, _E.PLANNED): _S.INSTALMENT,
    (_S.OVERDUE, _E.PLANNED): _S.INSTALMENT,
    (_S.NOTICE, _E.PLANNED): _S.INSTALMENT,
    (_S.CUT_CANDIDATE, _E.PLANNED): _S.INSTALMENT,
    (_S.REQUESTED, _E.PLANNED): _S.INSTALMENT,
    (_S.PROTECTED, _E.PLANNED): _S.INSTALMENT,
    (_S.FIELD, _E.PLANNED): _S.INSTALMENT,
    (_S.INSTALMENT, _E.ZERO): _S.OVERDUE,
    (_S.INSTALMENT, _E.CUT): _S.CUT,
    (_S.INSTALMENT, _E.PLAN_LOST): _S.OVERDUE,
    (_S.INSTALMENT, _E.PLAN_PAID): _S.PAID,
    **{(state, _E.ENDED): _S.CLOSED for state in CaseState if state not in ENDS},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One open or ended walk of an agreement towards a cut."""

    id: int
    agreement: AgreementId
    account: AccountId
    usage_point: UsagePointId
    state: CaseState
    opened_at: datetime
    dunned_at: datetime | None
    notice_ends_at: datetime | None
    request_id: str
    reason: str
    changed_at: datetime
    closed_at: datetime | None
    steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A move to be written: what happened, who did it, and the figures it was decided on."""

    event: CaseEvent
    actor: str = "system:billing"
    reason: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)
    dunned_at: datetime | None = None
    notice_ends_at: datetime | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One written move of a case."""

    at: datetime
    was: str
    event: str
    became: str
    actor: str
    reason: str
    figures: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Debtor:
    """One line of the list of debtors (I2), by transformer area (I5)."""

    case: Case
    transformer: str
    name: str
    available_micros: int
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stepped:
    """How many cases moved and how many rechecks were answered in one step."""

    moved: int
    rechecked: int
