"""Facts of double entry: the chart, a draft of legs, the entry it became, lines, links, sums."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import IntEnum, StrEnum


class Refusal(StrEnum):
    """Why an entry was not booked."""

    CONFLICT = "ledger.conflict"
    UNBALANCED = "ledger.unbalanced"
    REVERSED = "ledger.reversed_already"
    NO_ENTRY = "ledger.entry_unknown"
    NO_RULE = "ledger.rule_unknown"
    RULE_UNFIT = "ledger.rule_unfit"
    FLOOR = "ledger.floor"
    FORMAT = "ledger.format_unknown"
    ROOT_FILE = "ledger.root_file"


class Side(IntEnum):
    """Debit +1, credit -1: the sum over an entry's side x amount is zero."""

    DEBIT = 1
    CREDIT = -1

    @property
    def other(self) -> "Side":
        """Return the opposite side."""
        return Side.CREDIT if self is Side.DEBIT else Side.DEBIT


class AccountKind(StrEnum):
    """
    The chart of accounts.

    What belongs to one customer or one agent keeps a balance; hot accounts (bank, revenue, taxes)
    are summed when asked, never updated.
    """

    AR_ENERGY = "ar_energy"
    AR_PENALTY = "ar_penalty"
    AR_CONNECTION = "ar_connection"
    AR_PLAN = "ar_plan"
    """What an instalment plan took over and has not asked for yet."""
    AR_INSTALMENT = "ar_instalment"
    """What a plan asks for now."""
    AR_DEPOSIT = "ar_deposit"
    AR_EMERGENCY = "ar_emergency"
    """A loan to go on with; the next money repays it first."""
    AR_OLD_DEBT = "ar_old_debt"
    """Debt set aside, recovered as a share of each top-up."""
    UNBILLED = "unbilled_revenue"
    CUSTOMER = "customer_prepayment"
    DEPOSIT = "deposit"
    DEPOSIT_DEMANDED = "deposit_demanded"
    INTEREST = "interest_paid"
    VAT = "vat_payable"
    LEVY = "levy_payable"
    SUBSIDY = "subsidy_receivable"
    BANK = "bank_clearing"
    FLOAT = "agent_float"
    SUSPENSE = "suspense"
    ROUNDING = "rounding_carry"
    BAD_DEBT = "bad_debt"
    THEFT = "theft_penalty"
    REVENUE = "revenue_energy"
    REVENUE_PENALTY = "revenue_penalty"
    REVENUE_CONNECTION = "revenue_connection"
    OPENING = "opening_balance"
    ADJUSTMENT = "adjustment"

    @property
    def normal(self) -> Side:
        """Return the side on which this kind grows."""
        return Side.DEBIT if self in _GROW_BY_DEBIT else Side.CREDIT

    @property
    def kept(self) -> bool:
        """Tell whether a balance is kept on the account's row."""
        return self in _KEPT

    @property
    def floor(self) -> int | None:
        """Return the smallest balance the database lets it fall to, or None for no floor."""
        return 0 if self in {AccountKind.FLOAT, AccountKind.DEPOSIT} else None

    def code_of(self, owner: str = "") -> str:
        """Return the code of an account of this kind; a customer's own is the customer's number."""
        if self is AccountKind.CUSTOMER:
            return owner
        return f"{self.value}:{owner}" if owner else self.value


_GROW_BY_DEBIT = frozenset({
    AccountKind.AR_ENERGY, AccountKind.AR_PENALTY, AccountKind.AR_CONNECTION,
    AccountKind.UNBILLED, AccountKind.SUBSIDY, AccountKind.BANK, AccountKind.BAD_DEBT,
    AccountKind.AR_PLAN, AccountKind.AR_INSTALMENT, AccountKind.AR_DEPOSIT, AccountKind.INTEREST,
    AccountKind.AR_EMERGENCY, AccountKind.AR_OLD_DEBT,
})  # fmt: skip
_KEPT = frozenset({
    AccountKind.CUSTOMER, AccountKind.AR_ENERGY, AccountKind.AR_PENALTY,
    AccountKind.AR_CONNECTION, AccountKind.DEPOSIT, AccountKind.FLOAT, AccountKind.AR_PLAN,
    AccountKind.AR_INSTALMENT, AccountKind.AR_DEPOSIT, AccountKind.AR_EMERGENCY,
    AccountKind.AR_OLD_DEBT,
})  # fmt: skip


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


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleLeg:
    """One leg of a posting rule: `owner` and `amount` name what the event must bring."""

    side: Side
    kind: AccountKind
    owner: str
    amount: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PostingRule:
    """How one kind of event is booked."""

    kind: str
    legs: tuple[RuleLeg, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """
    What happened, in the words of its posting rule.

    `owners` says whose accounts (account, channel, authority, agent), `amounts` how much, in
    micros; an amount of zero leaves its leg out, a negative one turns its leg around.
    """

    kind: str
    key: str
    value_date: date
    actor: str
    currency: str
    owners: Mapping[str, str]
    amounts: Mapping[str, int]
    reason: str = ""
    source_ref: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BookedLeg:
    """One leg as it stands in the book."""

    seq: int
    code: str
    kind: AccountKind
    side: Side
    amount_micros: int
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BookedEntry:
    """One entry as it stands in the book, with all its legs in order."""

    entry_id: int
    key: str
    req_hash: bytes
    kind: str
    value_date: date
    booked_at: datetime
    actor: str
    reason: str
    reverses: int | None
    source_ref: str
    legs: tuple[BookedLeg, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One link of the chain of evidence."""

    position: int
    entry_id: int
    day: date
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """The digest that stands for a day and everything before it."""

    day: date
    position: int
    entries: int
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountSum:
    """Debits and credits of one ledger account; no bigint holds a country's total."""

    code: str
    kind: AccountKind
    currency: str
    dr: int
    cr: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BookAudit:
    """What an audit of the whole book found, by name of the proof."""

    entries: int
    linked: int
    findings: Mapping[str, Findings]
    roots: tuple[Root, ...]

    @property
    def violations(self) -> int:
        """Return how much is wrong in all."""
        return sum(found.count for found in self.findings.values())
