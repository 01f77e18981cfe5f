"""
Documents about a penalty: one person proposes, another approves.

    proposed --approve--> approved
    proposed --refuse--> refused
    proposed --withdraw--> withdrawn

Approved, refused and withdrawn are ends. Only another person approves or refuses, only the one who
proposed withdraws. A waiver forgives what is due, a refund gives back what was charged beyond it,
a deferral lets the clock stand for some days, a dispute takes a sum out of the base for some days.
"""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from protocols.errors import RefusedError


class PenaltyRefusal(StrEnum):
    """Why a document about a penalty is not taken."""

    UNKNOWN = "penalty.document_unknown"
    STATE = "penalty.document_state"
    PERSON = "penalty.same_person"
    NOT_YOURS = "penalty.not_the_proposer"
    REASON = "penalty.reason_missing"
    AMOUNT = "penalty.amount_bad"
    DAYS = "penalty.days_bad"
    BILL = "penalty.bill_not_owed"
    NO_TERMS = "penalty.terms_missing"
    DAY_OPEN = "penalty.day_not_over"


class PenaltyKind(StrEnum):
    """What a document does."""

    WAIVER = "waiver"
    DEFERRAL = "deferral"
    REFUND = "refund"
    DISPUTE = "dispute"


class PaperState(StrEnum):
    """Where a document stands."""

    PROPOSED = "proposed"
    APPROVED = "approved"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"


class PaperAct(StrEnum):
    """What a person does with it."""

    APPROVE = "approve"
    REFUSE = "refuse"
    WITHDRAW = "withdraw"


MOVES = {
    (PaperState.PROPOSED, PaperAct.APPROVE): PaperState.APPROVED,
    (PaperState.PROPOSED, PaperAct.REFUSE): PaperState.REFUSED,
    (PaperState.PROPOSED, PaperAct.WITHDRAW): PaperState.WITHDRAWN,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What one person asks for; a deferral has days, waiver and refund a sum, a dispute both."""

    bill: int
    kind: PenaltyKind
    amount_micros: int | None = None
    from_on: date | None = None
    until_on: date | None = None
    reason: str
    actor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper(Proposal):
    """A document as it stands; `actor` proposed it."""

    id: int
    account: str
    state: PaperState
    decided_by: str
    entry_id: int | None


def check(proposal: Proposal) -> None:
    """
    Refuse a proposal that says too little, too much, or nonsense.

    Raises: RefusedError `penalty.reason_missing`, `penalty.amount_bad`, `penalty.days_bad`.
    """
    if not proposal.reason.strip():
        raise RefusedError(PenaltyRefusal.REASON, "a document needs a reason", fix="say why")
    summed = proposal.kind is not PenaltyKind.DEFERRAL
    amount = proposal.amount_micros
    if summed != (amount is not None) or (amount is not None and amount <= 0):
        raise RefusedError(
            PenaltyRefusal.AMOUNT, f"{amount} micros on a {proposal.kind}",
            fix="state a positive amount, and none on a deferral",
        )  # fmt: skip
    dated = proposal.kind in (PenaltyKind.DEFERRAL, PenaltyKind.DISPUTE)
    first, last = proposal.from_on, proposal.until_on
    misplaced = dated in (first is None, last is None)
    if misplaced or (first is not None and last is not None and first > last):
        raise RefusedError(
            PenaltyRefusal.DAYS, f"days from {first} to {last} on a {proposal.kind}",
            fix="state first and last day in order, on a deferral or dispute alone",
        )  # fmt: skip


def moved(paper: Paper, act: PaperAct, actor: str) -> PaperState:
    """
    Return the state to which a person's act takes a document.

    Raises: RefusedError `penalty.document_state`, `penalty.same_person`,
    `penalty.not_the_proposer`.
    """
    after = MOVES.get((paper.state, act))
    if after is None:
        raise RefusedError(
            PenaltyRefusal.STATE, f"document {paper.id} is {paper.state}",
            fix="propose another document",
        )  # fmt: skip
    if act is PaperAct.WITHDRAW and actor != paper.actor:
        raise RefusedError(
            PenaltyRefusal.NOT_YOURS, f"{paper.actor} proposed document {paper.id}",
            fix="refuse it instead",
        )  # fmt: skip
    if act is not PaperAct.WITHDRAW and actor in ("", paper.actor):
        raise RefusedError(
            PenaltyRefusal.PERSON, f"{actor or 'nobody'} cannot {act} this document alone",
            fix="let another person decide",
        )  # fmt: skip
    return after
