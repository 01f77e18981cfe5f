"""Facts of the whole: what was collected, what is owed at a moment, where books do not agree."""

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum


class Refusal(StrEnum):
    """Why a question was not answered or an exception not moved."""

    MOMENT = "accounting.moment"
    STEP = "accounting.step"
    UNKNOWN = "accounting.exception_unknown"
    REASON = "accounting.reason"


class CollectedBy(StrEnum):
    """By what collections are summed."""

    CHANNEL = "channel"
    OFFICE = "office"
    UNIT = "unit"
    KIND = "kind"
    DAY = "day"


class OwedBy(StrEnum):
    """By what arrears are summed."""

    KIND = "kind"
    UNIT = "unit"
    TRANSFORMER = "transformer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """
    Payments of one group and currency in a span, as they stood at a moment.

    *Units*: micros. `net_micros` is what is left after what was voided or corrected by then.
    """

    group: str
    currency: str
    payments: int
    paid_micros: int
    voided: int
    net_micros: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """
    Arrears of one group and currency at a moment.

    *Units*: micros. `overdue_micros` is the part whose bills are past their due day: money pays
    the bill that fell due first. `planned_micros` stands in instalments that are not asked for yet
    and is no arrears.
    """

    group: str
    currency: str
    accounts: int
    households: int
    owed_micros: int
    overdue_micros: int
    planned_micros: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OwedAccount:
    """One account in arrears at a moment; its prepayment is taken off `owed_micros`."""

    account: str
    name: str
    kind: str
    usage_point: str
    unit: str
    transformer: str
    currency: str
    energy_micros: int
    penalty_micros: int
    other_micros: int
    prepaid_micros: int
    owed_micros: int
    overdue_micros: int
    planned_micros: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tie:
    """
    What two books say of one day: documents on one side, the ledger on the other.

    `documents` counts the first. *Units*: micros.
    """

    day: date
    kind: str
    currency: str
    documents: int
    ours_micros: int
    booked_micros: int

    @property
    def off_micros(self) -> int:
        """Return by how much they differ; zero when they agree."""
        return self.ours_micros - self.booked_micros


@dataclass(frozen=True, slots=True, kw_only=True)
class Untied:
    """One document or entry that has not its like in the other book."""

    kind: str
    subject: str
    account: str
    ours_micros: int
    booked_micros: int


class Source(StrEnum):
    """Where an exception was found."""

    CALCULATION = "calculation"
    BILL = "bill"
    SUSPENSE = "suspense"
    DIFFERENCE = "difference"
    BOOK = "book"


class State(StrEnum):
    """Where an exception stands."""

    OPEN = "open"
    TAKEN = "taken"
    SETTLED = "settled"
    DISMISSED = "dismissed"
    GONE = "gone"


class Event(StrEnum):
    """What may happen to an exception: the first two are found, the rest are people's."""

    FOUND = "found"
    MISSING = "missing"
    TAKE = "take"
    SETTLE = "settle"
    DISMISS = "dismiss"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a source says stands now; (source, subject, kind) names it for ever."""

    source: Source
    subject: str
    kind: str
    account: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FeeException:
    """One exception of fee accounting as it stands."""

    id: int
    finding: Finding
    state: State
    owner: str
    found_at: datetime
    moved_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What somebody did about an exception, and why."""

    seq: int
    event: Event
    state: State
    actor: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """What a look at the sources changed."""

    standing: int
    opened: int
    reopened: int
    gone: int
