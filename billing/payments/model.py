"""Facts about money in: what a channel reports, what we answer, and why we may not take it."""

from dataclasses import dataclass
from datetime import date, datetime, time
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
    UNKNOWN = "payments.transaction_unknown"
    EXPIRED = "payments.expired"
    ENDED = "payments.ended"
    SPENT = "payments.spent"
    DAY_CLOSED = "payments.day_closed"
    QUOTE = "payments.quote"
    POLICY = "payments.policy"
    FILE = "payments.file"
    SETTLED = "payments.settled_already"
    OUTCOME = "payments.outcome"
    DAY_LIMIT = "payments.day_limit"
    FLOAT = "payments.float"
    CHANGE = "payments.change"
    SEALED = "payments.sealed"


class PaymentState(StrEnum):
    """Where the money stands."""

    POSTED = "posted"
    SUSPENSE = "suspense"
    """Taken by the peer for an account we do not know: kept, waiting for a person."""
    REVERSED = "reversed"
    """Posted and then voided; told to who asks, never stored on the payment itself."""


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
    office: str = ""


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


class HoldState(StrEnum):
    """Where an announced payment stands, from its hold to its end."""

    HELD = "held"
    POSTED = "posted"
    SUSPENSE = "suspense"
    RELEASED = "released"
    EXPIRED = "expired"
    REVERSED = "reversed"


class HoldEvent(StrEnum):
    """What may happen to an announced payment."""

    POST = "post"
    TAKEN = "taken"
    """The peer says that it has the money already."""
    VOID = "void"
    EXPIRE = "expire"


class Policy(StrEnum):
    """Which amounts a channel may take against a quote."""

    ANY = "any"
    EXACT = "exact"
    EXACT_UP = "exact_up"
    EXACT_DOWN = "exact_down"


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """The terms of one channel. `cutover` is the peer's end of day in its own `zone`."""

    channel: str
    zone: str = "UTC"
    cutover: time = time(0)
    hold_seconds: int = 43_200
    quote_seconds: int = 900
    policy: Policy = Policy.ANY
    min_micros: int = 1
    max_micros: int = 10_000_000_000_000_000
    by_agent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DueLine:
    """One thing that is due: a receivable's kind, or `balance` for a prepaid balance below zero."""

    code: str
    amount_micros: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """
    What a channel shows before it takes money: a masked name and what is due now.

    `branch` is the unit that supplies the account.
    """

    id: int
    channel: str
    account: AccountId
    masked_name: str
    currency: str
    available_micros: int
    due_micros: int
    lines: tuple[DueLine, ...]
    policy: Policy
    min_micros: int
    max_micros: int
    expires_at: datetime
    branch: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """One announced payment as it stands; `id` is ours, (channel, peer_txn_id) the peer's."""

    id: int
    channel: str
    peer_txn_id: str
    body_hash: bytes
    state: HoldState
    account: AccountId
    amount_micros: int
    currency: str
    peer_time: datetime
    held_at: datetime
    expires_at: datetime
    posted_at: datetime | None
    ended_at: datetime | None
    reason: str
    actor: str
    counted_on: date | None = None
    """The channel's day that its amount counts in; None where no limit stood."""
    reserves: bool = False
    """While it is held it keeps a part of the agent's float."""
    office: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementRow:
    """One payment of a channel as it counts now: `net_micros` is what is left of it."""

    receipt_no: str
    peer_txn_id: str
    account: AccountId
    state: HoldState
    amount_micros: int
    net_micros: int
    currency: str
    peer_time: datetime
    received_at: datetime

    @property
    def place(self) -> tuple[datetime, str]:
        """Return where the next page continues."""
        return self.peer_time, self.receipt_no


@dataclass(frozen=True, slots=True, kw_only=True)
class SuspenseItem:
    """Money that waits for its owner, and for how many whole days."""

    receipt_no: str
    channel: str
    peer_txn_id: str
    account: str
    amount_micros: int
    currency: str
    received_at: datetime
    age_days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRow:
    """One payment as a peer's settlement file names it; `account` may be empty."""

    peer_txn_id: str
    account: str
    amount_micros: int
    currency: str
    peer_time: datetime


class DifferenceKind(StrEnum):
    """How a row of a file and ours may disagree."""

    OURS_ONLY = "ours_only"
    THEIRS_ONLY = "theirs_only"
    AMOUNT = "amount_differs"
    DATE = "date_differs"


class Outcome(StrEnum):
    """What became of a difference; all but the last two come by themselves."""

    OPEN = "open"
    BOOKED = "booked"
    NOTED = "noted"
    FOUND_LATER = "found_later"
    CORRECTED = "corrected"
    KEPT = "kept"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One disagreement; None stands for no row, or none that counts."""

    peer_txn_id: str
    kind: DifferenceKind
    ours_micros: int | None
    theirs_micros: int | None
    outcome: Outcome = Outcome.OPEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled:
    """What one file said against our book, and what is still open of it."""

    id: int
    matched: int
    ours_micros: int
    theirs_micros: int
    differences: tuple[Difference, ...]
    replayed: bool

    @property
    def open(self) -> tuple[Difference, ...]:
        """Return the differences that wait for two people or for a later file."""
        return tuple(each for each in self.differences if each.outcome is Outcome.OPEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjustment:
    """A signed change of a balance that two people stand for (G14)."""

    key: str
    account: AccountId
    amount_micros: int
    reason: str
    actors: tuple[str, str]


class ChangeKind(StrEnum):
    """What two people may change of a channel."""

    DAY_LIMIT = "day_limit"
    FLOAT = "float"


class ChangeOutcome(StrEnum):
    """Where a proposed change stands; only `waits` goes on."""

    WAITS = "waits"
    APPROVED = "approved"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelChange:
    """
    One proposed change: the most a channel takes in a day (None: no limit), or money to its float.

    *Units*: micros; a negative amount takes money out of the float.
    """

    id: int
    channel: str
    currency: str
    kind: ChangeKind
    amount_micros: int | None
    reason: str
    proposed_by: str
    proposed_at: datetime
    outcome: ChangeOutcome = ChangeOutcome.WAITS
    decided_by: str = ""
    decided_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelLimits:
    """What a channel may still take: its day, what counts in it, its float, what is kept of it."""

    channel: str
    currency: str
    day: date
    day_limit_micros: int | None
    taken_micros: int
    by_agent: bool
    float_micros: int
    reserved_micros: int

    @property
    def left_micros(self) -> int | None:
        """Return what may still be taken today, or None without a limit."""
        if self.day_limit_micros is None:
            return None
        return max(0, self.day_limit_micros - self.taken_micros)


class Direction(StrEnum):
    """Whose words a kept message holds."""

    ASKED = "asked"
    ANSWERED = "answered"


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerMessage:
    """One kept message without its words. Wall time; `octets` as it lies, sealed."""

    id: int
    channel: str
    peer_txn_id: str
    direction: Direction
    at_wall: datetime
    kept_until_wall: datetime
    key_id: str
    octets: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedMessage:
    """A kept message as it lies: AES-256-GCM under the key named, bound to what names it."""

    message: PeerMessage
    nonce: bytes
    sealed: bytes
