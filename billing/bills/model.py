"""Facts of billing: a run and its stages, an item on its way, a bill that never changes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import NewType
from zoneinfo import ZoneInfo

RunId = NewType("RunId", int)
BillId = NewType("BillId", int)

MAIN_BOOK = "main"
"""The book of every account that was put into none."""

Progress = Callable[[str, int, int], None]
"""Told of each chunk that is done: stage, items done, items in all."""


class Refusal(StrEnum):
    """Why billing said no, or why an account was parked."""

    RUN_UNKNOWN = "bills.run_unknown"
    RUN_CLOSED = "bills.run_closed"
    RUN_PERIOD = "bills.run_period"
    RUN_OPEN = "bills.run_still_open"
    RUN_INCOMPLETE = "bills.run_incomplete"
    RUN_TOTALS = "bills.totals_differ"
    RUN_ORDERED = "bills.run_ordered"
    COLLECTIVE = "bills.collective_incomplete"
    TERMS = "bills.terms_change_inside"
    ITEM_STATE = "bills.item_state"
    SAME_PERSON = "bills.same_person"
    BILL_UNKNOWN = "bills.bill_unknown"
    CANCELLED = "bills.cancelled_already"
    REBILL_OF_REBILL = "bills.rebill_of_rebill"
    NOT_NEWEST = "bills.not_newest"
    ENDED = "bills.agreement_ended"
    OVERLAP = "bills.period_overlaps"
    AMOUNT = "bills.amount_bad"
    REASON = "bills.reason_missing"
    NO_REGISTER = "bills.register_missing"
    NO_TARIFF = "bills.tariff_missing"
    UNMETERED = "bills.quantity_not_metered"
    INTERVALS = "bills.intervals_differ"
    COUNTER = "bills.counter_unknown"
    CROSSES = "bills.crosses_ladder_start"
    NOT_DRAWN = "bills.day_not_drawn"
    DRAWN = "bills.drawn_differs"
    CHANGED = "bills.input_changed"
    GLYPH = "bills.glyph_missing"


class Stage(StrEnum):
    """How far a run has come; each is entered when all of its work is committed."""

    OPENED = "opened"
    FROZEN = "frozen"
    VALIDATED = "validated"
    PRICED = "priced"
    APPROVED = "approved"
    POSTED = "posted"
    DOCUMENTED = "documented"
    TOTALLED = "totalled"
    CLOSED = "closed"


STAGES = tuple(Stage)


class RunAct(StrEnum):
    """What staff order of a run."""

    ADVANCE = "advance"
    REFREEZE = "refreeze"
    """Take parked and forgotten accounts in again, then move on."""
    CLOSE = "close"


class RunOutcome(StrEnum):
    """What became of an order: `waits` moved the run on to where people must decide."""

    DONE = "done"
    WAITS = "waits"
    REFUSED = "refused"


class ItemState(StrEnum):
    """One account of a run: `held` and `approval` wait for people, `parked` is left out."""

    FROZEN = "frozen"
    HELD = "held"
    READY = "ready"
    APPROVAL = "approval"
    PRICED = "priced"
    BILLED = "billed"
    PARKED = "parked"


class BillKind(StrEnum):
    """What a bill is for."""

    CYCLE = "cycle"
    TRUEUP = "trueup"
    """Prices the whole span since the last real reading once; credits the estimates."""
    ADHOC = "adhoc"
    ADHOC_SPECIAL = "adhoc_special"
    CORRECTIVE_METER = "corrective_meter"
    CORRECTIVE_READING = "corrective_reading"
    RERUN = "rerun"
    """A later bill of the same ladder year, priced anew because an earlier one was corrected."""
    REFUND = "refund"
    SUPPLEMENT = "supplement"
    FINAL = "final"
    """Up to the day on which the agreement ended; none follows."""


METERED = (
    BillKind.CYCLE, BillKind.TRUEUP, BillKind.ADHOC, BillKind.CORRECTIVE_METER,
    BillKind.CORRECTIVE_READING, BillKind.RERUN, BillKind.FINAL,
)  # fmt: skip
"""Kinds that together cover an agreement's time without gap or overlap."""


_LETTERS = {
    BillKind.CYCLE: "C", BillKind.TRUEUP: "T", BillKind.ADHOC: "A", BillKind.ADHOC_SPECIAL: "S",
    BillKind.CORRECTIVE_METER: "M", BillKind.CORRECTIVE_READING: "R", BillKind.RERUN: "N",
    BillKind.REFUND: "B", BillKind.SUPPLEMENT: "U", BillKind.FINAL: "F",
}  # fmt: skip


class CancelKind(StrEnum):
    """Why a bill no longer stands; special needs a second person."""

    ORDINARY = "ordinary"
    SPECIAL = "special"
    TRUEUP = "trueup"
    CORRECTIVE = "corrective"


class Doubt(StrEnum):
    """What an item is held for: the hi-low check (B5), or the billing gate of validation."""

    HIGH = "hilow.high"
    LOW = "hilow.low"
    ZERO = "hilow.zero"
    NEGATIVE = "hilow.negative"
    ESTIMATES = "hilow.estimates"
    QUESTIONABLE = "hilow.questionable"
    BLOCKED = "vee.blocked"
    """Too much of the billed time was not measured, or another blocking finding is open: two people
    let it pass."""


class Decision(StrEnum):
    """What a person says of a held item."""

    ACCEPT = "accept"
    ESTIMATE = "estimate"
    PARK = "park"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """
    Limits of the hi-low check and of what one person may agree to; kept with the run.

    Percents compare the daily use with that of up to 12 earlier bills of the same season.
    """

    high_percent: int = 300
    low_percent: int = 25
    least_wh: int = 20_000
    """Use below this is never called high, and past use below it never makes one low."""
    estimates: int = 3
    """Consecutive estimated bills that are allowed (I3)."""
    two_people_micros: int = 10_000_000_000
    """Above this amount two people approve."""
    register_age_hours: int = 26
    """How long before a boundary a register may have been read to count for it."""
    contract_hours: int = 4
    """Hours a day at contract power, when an estimate has nothing else to go by."""
    due_days: int = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A cycle of one book and period; `seq` counts the runs that pick up what was parked."""

    id: RunId
    book: str
    period_start: date
    period_end: date
    seq: int
    zone: ZoneInfo
    stage: Stage
    gate: Gate
    opened_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOrder:
    """What somebody ordered of a run; `outcome` is None until it is carried out."""

    id: int
    run: RunId
    act: RunAct
    actor: str
    at: datetime
    outcome: RunOutcome | None
    code: str
    """Why it was refused; else empty."""
    detail: str
    ended_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """What billing needs to know of one open agreement."""

    agreement: str
    account: str
    usage_point: str
    currency: str
    tariff_code: str
    pinned_hash: str | None
    attributes: Mapping[str, str]
    started_at: datetime
    opening_register_wh: int | None
    opening_year_wh: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a bill under one tariff version, in the tariff's order."""

    tariff: str
    line: str
    ledger_code: str
    energy_wh: int
    """Energy of the part of the period that this version prices."""
    amount_micros: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One account of a run, up to its bill. *Units*: Wh, micros."""

    run: RunId
    agreement: str
    account: str
    usage_point: str
    currency: str
    kind: BillKind
    state: ItemState
    reasons: tuple[str, ...]
    detail: str
    period_start: date
    period_end: date
    usage: str
    """The usage file that is priced, canonical JSON."""
    versions: tuple[str, ...]
    input_hash: bytes | None
    quality: str
    method: str
    """How an estimate was made; empty for a reading."""
    start_wh: int | None
    end_wh: int | None
    energy_wh: int
    credits: tuple[BillId, ...]
    """Estimated bills that a true-up takes the place of."""
    drawn_micros: int | None
    """What prepayment has drawn for the period already; None when the account is not drawn."""
    lines: tuple[Line, ...] = ()
    total_micros: int | None = None
    closing_micros: int | None = None
    """The part of the total that is charged at the close alone."""
    accepted_by: str | None = None
    bill: BillId | None = None
    facts: bytes | None = None
    """Hash of all it was made of; None where it has to be made anew to be compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBill:
    """A bill before it has a number; what is pinned here replays it."""

    run: RunId | None
    agreement: str
    account: str
    usage_point: str
    currency: str
    period_start: date
    period_end: date
    kind: BillKind
    seq: int
    usage: str
    versions: tuple[str, ...]
    input_hash: bytes
    kernel_version: int
    quality: str
    method: str
    start_wh: int | None
    end_wh: int | None
    energy_wh: int
    lines: tuple[Line, ...]
    total_micros: int
    posted_micros: int
    """What the bill moved on the customer's account: the total less what was drawn before."""
    corrects: BillId | None = None
    reason: str = ""
    issued_at: datetime
    due_on: date
    actor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill(NewBill):
    """A bill as it stands."""

    id: BillId
    entry_id: int | None
    cancelled: str
    """The kind of its cancellation; empty while it stands."""

    @property
    def number(self) -> str:
        """Return the number its customer sees: the same however often a run was interrupted."""
        return f"{self.period_end:%Y%m%d}-{self.account}-{_LETTERS[self.kind]}{self.seq}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetLine:
    """One row of the totals sheet: a tariff's line over all bills of the run."""

    tariff: str
    line: str
    ledger_code: str
    currency: str
    accounts: int
    energy_wh: int
    amount_micros: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """The totals of a run beside the ledger's own, by ledger code and currency."""

    lines: tuple[SheetLine, ...]
    billed: dict[str, int]
    ledger: dict[str, int]
    states: dict[str, int]
    uncovered: tuple[str, ...]
    """Active accounts with none of bill, hold, exception; a few of them."""
    uncovered_count: int

    @property
    def equal(self) -> bool:
        """Tell whether bills and ledger agree in every code."""
        return self.billed == self.ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Advanced:
    """Where a run stands after it was moved on, and what it waits for."""

    run: Run
    states: dict[str, int]
    waiting: str
    """Empty, or the state whose items keep the run from going on."""
