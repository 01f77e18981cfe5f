"""A version that somebody proposes: it prices nothing until another person agrees."""

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum


class ProposalEnd(StrEnum):
    """How a proposal ends: withdrawn by its author, the others by another person."""

    PUBLISHED = "published"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """One that waits; `document` is canonical JSON."""

    id: int
    digest: str
    code: str
    number: int
    currency: str
    valid_from: date
    document: str
    reason: str
    asked_by: str
    asked_at: datetime
