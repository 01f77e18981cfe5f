"""Facts about who pays: customers, accounts, service agreements, and the lines that warn them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import NewType

from protocols.identity import UsagePointId

CustomerId = NewType("CustomerId", str)
AccountId = NewType("AccountId", str)
AgreementId = NewType("AgreementId", str)

LANGUAGES = ("fa", "zh", "uz", "ru", "en")


class Refusal(StrEnum):
    """Why a customer's record was not taken."""

    UNKNOWN_AGREEMENT = "customers.agreement_unknown"
    CHANGED_RECORD = "customers.record_differs"
    BAD_RECORD = "customers.record_bad"
    BAD_THRESHOLD = "customers.threshold_bad"
    BAD_TERMS = "customers.terms_bad"
    TERMS_STATE = "customers.terms_decided"
    TERMS_PERSON = "customers.terms_same_person"
    POINT_TAKEN = "customers.usage_point_taken"
    ACCOUNT_TAKEN = "customers.account_taken"
    CUSTOMER_DIFFERS = "customers.customer_differs"
    COLLECTIVE = "customers.collective"
    COLLECTIVE_UNKNOWN = "customers.collective_unknown"
    DISCOUNT = "customers.discount"
    SAME_PERSON = "customers.same_person"


class CustomerKind(StrEnum):
    """Household or legal entity."""

    HOUSEHOLD = "household"
    LEGAL = "legal"


class Notification(StrEnum):
    """How a customer is told: short message, or paper where the customer wants or needs it."""

    SMS = "sms"
    PAPER = "paper"


class ThresholdLevel(StrEnum):
    """Where a line is set; the nearest to the customer wins."""

    DEFAULT = "default"
    """Target is a currency."""
    TRANSFORMER = "transformer"
    AGREEMENT = "agreement"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCustomer:
    """
    One customer with one account and one agreement at one usage point, as taken over or joined.

    `opening_year_wh` is what the usage point used in the tariff's year before `started_at`, so
    that a ladder goes on where the former system stopped. `opening_register_wh` is the take-over
    reading; without it the first register that arrives is.
    """

    customer: CustomerId
    name: str
    language: str
    account: AccountId
    agreement: AgreementId
    usage_point: UsagePointId
    tariff_code: str
    currency: str
    started_at: datetime
    phone: str = ""
    kind: CustomerKind = CustomerKind.HOUSEHOLD
    opening_register_wh: int | None = None
    opening_year_wh: int = 0
    opening_balance_micros: int = 0
    reminder_micros: int | None = None
    cut_micros: int | None = None
    notification: Notification | None = None
    protection: str = ""
    """The reason of a standing protection of this usage point; empty means none."""
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A file of customers taken in by one actor."""

    customers: tuple[NewCustomer, ...]
    actor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """How many records were new, and how many stood there already with the same content."""

    added: int
    unchanged: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerCard:
    """What messages, pages and cases need to know of an agreement's customer."""

    customer: CustomerId
    name: str
    kind: CustomerKind
    language: str
    phone: str
    account: AccountId
    currency: str
    agreement: AgreementId
    usage_point: UsagePointId
    tariff_code: str
    pinned_hash: str | None
    started_at: datetime
    ended_at: datetime | None
    opening_register_wh: int | None
    opening_year_wh: int
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementTerms:
    """
    What an agreement says of its price from a day on; of a change, what it changes alone.

    In a change a code or hash that is None stays, and an attribute that is None is taken away.
    """

    from_day: date
    tariff_code: str | None
    pinned_hash: str | None
    attributes: Mapping[str, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TermsOnDay:
    """What an agreement says of its price on one day."""

    tariff_code: str
    pinned_hash: str | None
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTermsChange:
    """A change of tariff or attributes that somebody wants; an attribute of None is taken away."""

    agreement: AgreementId
    from_day: date
    reason: str
    tariff_code: str | None = None
    attributes: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TermsChange:
    """A change of terms: `proposed`, then `approved` or `refused`; backdated takes two people."""

    id: int
    agreement: AgreementId
    from_day: date
    tariff_code: str | None
    attributes: Mapping[str, str | None]
    reason: str
    state: str
    backdated: bool
    proposed_by: str
    proposed_at: datetime
    decided_by: str | None
    decided_at: datetime | None
    applied_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """
    Lines and switches at one level; None is inherited from the level above.

    Units: micros of the account's currency. A balance *below* a line has crossed it.
    """

    level: ThresholdLevel
    target: str
    reminder_micros: int | None = None
    cut_micros: int | None = None
    notification: Notification | None = None
    auto_remind: bool | None = None
    auto_dun: bool | None = None
    auto_restore: bool | None = None
    notice_hours: int | None = None
    """Business hours between the dunning message and the earliest cut (D3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The effective lines and switches of one agreement, every level applied."""

    reminder_micros: int
    cut_micros: int
    notification: Notification
    auto_remind: bool
    auto_dun: bool
    auto_restore: bool
    notice_hours: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Occupied:
    """What stands already among the records asked about: each id with whom it belongs to."""

    usage_points: Mapping[str, str]
    """Usage point to its open agreement."""
    accounts: Mapping[str, str]
    """Account to its open agreement."""
    customers: Mapping[str, tuple[str, str]]
    """Customer to name and kind."""
    contents: Mapping[str, bytes]
    """Agreement to the hash of what it was registered with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collective:
    """
    A company's supplies that are billed and paid together (G22).

    `accounts` are in the order in which debts are paid; what is left goes to the first.
    """

    id: str
    customer: CustomerId
    name: str
    language: str
    currency: str
    accounts: tuple[AccountId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDiscount:
    """
    A discount that somebody asks for: an attribute of the agreement, from a day until a day.

    `evidence` names what shows the right to it, such as a licence and its number.
    """

    agreement: AgreementId
    attribute: str
    value: str
    evidence: str
    from_day: date
    until_day: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Discount(NewDiscount):
    """A discount as it stands; `granted` is None until another person decides."""

    id: int
    asked_by: str
    asked_at: datetime
    granted: bool | None
    decided_by: str
    reason: str
