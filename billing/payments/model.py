"""Facts about money in: what a channel reports, what we answer, and why we may not take it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from billing.customers.model import AccountId


class Refusal(StrEnum):
    """Why a payment or adjustment was not taken; stable codes for peers and people."""

    CONFLICT = "payments.conflict"
    AMOUNT = "payments.amount"
    CURRENCY = "payments.currency"
    UNKNOWN_ACCOUNT = "payments.account_unknown"
    BAD_ID = "payments.peer_id"
    TWO_PEOPLE = "payments.two_people"


class PaymentState(StrEnum):
    """Where the money stands."""

    POSTED = "posted"
    SUSPENSE = "suspense"
    """Taken by the peer for an account we do not know: kept, waiting for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentOrder:
    """
    One payment as a channel reports it; (channel, peer_txn_id) names it for ever.

    `already_collected` says that the peer holds the customer's money: then an unknown account is
    no reason to refuse, the money goes to suspense.
    """

    channel: str
    peer_txn_id: str
    account: AccountId
    amount_micros: int
    currency: str
    peer_time: datetime
    actor: str
    already_collected: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentReceipt:
    """
    Our answer; a repeated order gets the same one with `replayed`.

    `available_micros` is the balance right after this payment; None in suspense.
    """

    receipt_no: str
    state: PaymentState
    account: AccountId
    usage_point: str
    amount_micros: int
    currency: str
    available_micros: int | None
    received_at: datetime
    replayed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """One stored payment."""

    receipt_no: str
    channel: str
    peer_txn_id: str
    body_hash: bytes
    state: PaymentState
    account: AccountId
    usage_point: str
    amount_micros: int
    currency: str
    peer_time: datetime
    received_at: datetime
    actor: str
    entry_id: int
    available_micros: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What a channel shows before it takes money: a masked name and what is due now."""

    account: AccountId
    masked_name: str
    currency: str
    available_micros: int
    due_micros: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjustment:
    """A signed change of a balance that two people stand for (G14)."""

    key: str
    account: AccountId
    amount_micros: int
    reason: str
    actors: tuple[str, str]
