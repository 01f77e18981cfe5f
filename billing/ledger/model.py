"""Facts of double entry: a draft of legs, the entry it became, the lines of a statement."""

from dataclasses import dataclass
from datetime import date, datetime
from enum import IntEnum, StrEnum


class Refusal(StrEnum):
    """Why an entry was not booked."""

    CONFLICT = "ledger.conflict"
    UNBALANCED = "ledger.unbalanced"
    REVERSED = "ledger.reversed_already"
    NO_ENTRY = "ledger.entry_unknown"


class Side(IntEnum):
    """Debit +1, credit -1: the sum over an entry's side x amount is zero."""

    DEBIT = 1
    CREDIT = -1

    @property
    def other(self) -> "Side":
        """Return the opposite side."""
        return Side.CREDIT if self is Side.DEBIT else Side.DEBIT


class AccountKind(StrEnum):
    """The chart. Only customers' accounts keep a balance; the rest are summed when asked."""

    CUSTOMER = "customer_prepayment"
    BANK = "bank_clearing"
    REVENUE = "revenue_energy"
    SUSPENSE = "suspense"
    OPENING = "opening_balance"
    ADJUSTMENT = "adjustment"
    ROUNDING = "rounding_carry"

    @property
    def normal(self) -> Side:
        """Return the side on which this kind grows."""
        return Side.DEBIT if self is AccountKind.BANK else Side.CREDIT

    @property
    def kept(self) -> bool:
        """Tell whether a balance is kept on the account's row."""
        return self is AccountKind.CUSTOMER


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """One side of an entry; `amount_micros` is positive."""

    code: str
    kind: AccountKind
    side: Side
    amount_micros: int
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """
    An entry to be booked once under `key`.

    The same key with the same content is the same entry; with other content it is a conflict.
    """

    key: str
    kind: str
    value_date: date
    actor: str
    legs: tuple[Leg, ...]
    reason: str = ""
    source_ref: str = ""
    reverses: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """The entry a draft became, now or before."""

    entry_id: int
    replayed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementLine:
    """One entry as its customer sees it: positive is money to the customer's good."""

    entry_id: int
    kind: str
    value_date: date
    booked_at: datetime
    amount_micros: int
    balance_micros: int
    reason: str
    source_ref: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What an audit found: how many violations, and a few of them by name."""

    count: int
    examples: tuple[str, ...] = ()
