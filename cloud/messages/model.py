"""
Facts of messages.

    queued -> sent -> delivered          (sms)
       |         +--> failed             (the centre said so, or tries ran out)
    paper -> printed                     (no usable number, or the customer wants paper)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NewType

MessageId = NewType("MessageId", str)


class Language(StrEnum):
    """The five languages, equal in rank."""

    FA = "fa"
    ZH = "zh"
    UZ = "uz"
    RU = "ru"
    EN = "en"


class Kind(StrEnum):
    """What a message is about; each has one template per language."""

    REMINDER = "reminder"
    DUNNING = "dunning"
    CUT_NOTICE = "cut_notice"
    TIER_REACHED = "tier_reached"
    PAYMENT_RECEIVED = "payment_received"
    SUPPLY_CUT = "supply_cut"
    SUPPLY_RESTORED = "supply_restored"
    SUPPLY_ARMED = "supply_armed"
    """Power is allowed again: the customer closes the switch by hand."""
    WORK_ORDER = "work_order"
    BILL_ISSUED = "bill_issued"
    BILL_DEBITED = "bill_debited"
    """A bill whose money the bank will take: nothing is left to do."""
    INSTALMENT_DUE = "instalment_due"
    BALANCE_CORRECTED = "balance_corrected"
    """An earlier reading was wrong: what was said of the balance no longer holds."""
    CREDIT_GIVEN = "credit_given"
    """Emergency credit was lent; the next payment repays it first."""
    CARE_LOOK = "care_look"
    """Somebody may be without power unseen: the care desk is asked to look."""


REQUIRED: Mapping[Kind, frozenset[str]] = {
    Kind.REMINDER: frozenset({"available_micros", "currency"}),
    Kind.DUNNING: frozenset({"available_micros", "currency"}),
    Kind.CUT_NOTICE: frozenset({"available_micros", "currency", "deadline_at"}),
    Kind.TIER_REACHED: frozenset({"tier", "year_wh", "price_micros", "currency"}),
    Kind.PAYMENT_RECEIVED: frozenset({"amount_micros", "available_micros", "currency", "receipt"}),
    Kind.SUPPLY_CUT: frozenset({"usage_point"}),
    Kind.SUPPLY_RESTORED: frozenset({"usage_point"}),
    Kind.SUPPLY_ARMED: frozenset({"usage_point"}),
    Kind.WORK_ORDER: frozenset({"order", "usage_point", "kind_code"}),
    Kind.BILL_ISSUED: frozenset({"number", "amount_micros", "currency", "due_at"}),
    Kind.BILL_DEBITED: frozenset({"number", "amount_micros", "currency", "due_at"}),
    Kind.INSTALMENT_DUE: frozenset({"number", "amount_micros", "currency", "due_at"}),
    Kind.BALANCE_CORRECTED: frozenset({"available_micros", "currency"}),
    Kind.CREDIT_GIVEN: frozenset({"amount_micros", "available_micros", "currency"}),
    Kind.CARE_LOOK: frozenset({"usage_point", "days"}),
}
"""Variables that a message of each kind must bring; every template uses all of them."""


class Mode(StrEnum):
    """How a customer wants to be told (F7)."""

    SMS = "sms"
    PAPER = "paper"


class MessageState(StrEnum):
    """How far a message has come."""

    QUEUED = "queued"
    SENT = "sent"
    DELIVERED = "delivered"
    FAILED = "failed"
    PAPER = "paper"
    PRINTED = "printed"


class MessageEvent(StrEnum):
    """What may happen to a message."""

    ACCEPTED = "accepted"
    DELIVERED = "delivered"
    FAILED = "failed"
    PRINTED = "printed"


MESSAGE_MOVES: Mapping[tuple[MessageState, MessageEvent], MessageState] = {
    (MessageState.QUEUED, MessageEvent.ACCEPTED): MessageState.SENT,
    (MessageState.QUEUED, MessageEvent.DELIVERED): MessageState.DELIVERED,
    (MessageState.QUEUED, MessageEvent.FAILED): MessageState.FAILED,
    (MessageState.SENT, MessageEvent.DELIVERED): MessageState.DELIVERED,
    (MessageState.SENT, MessageEvent.FAILED): MessageState.FAILED,
    (MessageState.PAPER, MessageEvent.PRINTED): MessageState.PRINTED,
}
"""Every move there is; a report that fits none is a repeat or comes out of order."""


class PhoneProblem(StrEnum):
    """Why a number cannot be used (F11)."""

    EMPTY = "empty"
    LETTERS = "letters"
    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    NO_COUNTRY = "no_country"
    IMPOSSIBLE = "impossible"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """How one subject is reached."""

    subject: str
    phone: str
    language: Language
    mode: Mode
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message and what became of it."""

    id: MessageId
    number: int
    kind: Kind
    subject: str
    phone: str
    language: Language
    text: str
    channel: Mode
    state: MessageState
    cause: str
    segments: int
    enqueued_at: datetime
    sent_at: datetime | None
    delivered_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A message before it is stored."""

    dedupe_key: str
    kind: Kind
    subject: str
    phone: str
    language: Language
    variables: Mapping[str, Any]
    text: str
    channel: Mode
    state: MessageState
    cause: str
    segments: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One of many messages to enqueue; fields as `enqueue` takes them."""

    dedupe_key: str
    kind: Kind
    subject: str
    variables: Mapping[str, Any]
    phone: str | None = None
    language: str | None = None
