"""Facts about the real-time balance: figures with what they are as of, crossings, explanations."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from billing.customers.model import AccountId, AgreementId
from billing.money import IntArray
from protocols.identity import UsagePointId
from protocols.mqtt.live import LiveBalance

BoolArray = npt.NDArray[np.bool_]


class Refusal(StrEnum):
    """Why no balance can be told, or terms not be changed."""

    NO_AGREEMENT = "prepaid.no_agreement"
    NO_REGISTER = "prepaid.no_register"
    TERMS_UNFIT = "prepaid.terms_unfit"
    TERMS_TOO_EARLY = "prepaid.terms_too_early"
    TERMS_HOURS = "prepaid.terms_hours"
    TERMS_BILLED = "prepaid.terms_billed"


class BalanceQuality(StrEnum):
    """What stands behind a balance."""

    ACTUAL = "actual"
    ESTIMATED = "estimated"
    MISSING = "missing"
    """No register for too long: the balance is an interval, and nobody is cut on it."""


class CrossingKind(StrEnum):
    """A line a balance went through, or a step that use reached."""

    REMINDER = "reminder"
    ZERO = "zero"
    CUT = "cut"
    TIER = "tier"
    RESTORED = "restored"


class ExceptionKind(StrEnum):
    """A calculation that could not be made or trusted (C11)."""

    MISSING_REGISTER = "missing_register"
    BEYOND_BOUND = "beyond_bound"
    BELOW_OPENING = "below_opening"
    NO_TARIFF = "no_tariff"
    """No version holds, or one whose fee is no cumulative of one register."""
    UNFIT_TARIFF = "unfit_tariff"
    """Such a version follows: the one before goes on until another does."""
    MISSING_INTERVALS = "missing_intervals"
    """The meter was read, but not by hours: what its energy costs is not known yet."""
    INTERVALS_DIFFER = "intervals_differ"
    """Hours and register do not say the same; the day is not drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """
    What a customer has left, and everything it is as of.

    Units: micros of `currency`, Wh. `available = posted - (fee - drawn)`; `fee` is the kernel's
    cumulative since the agreement started, `drawn` what the ledger already took of it.
    `lower_micros` is what could be left if the missing registers hide the largest plausible use.
    """

    usage_point: UsagePointId
    account: AccountId
    agreement: AgreementId
    currency: str
    available_micros: int
    lower_micros: int
    posted_micros: int
    fee_micros: int
    drawn_micros: int
    cost_today_micros: int
    today_wh: int
    year_wh: int
    tier: int
    """Counts from 1."""
    next_tier_wh: int | None
    """Year use above which the next step begins; None on the last."""
    price_micros_per_kwh: int
    reminder_micros: int
    cut_micros: int
    as_of_register_wh: int
    as_of_register_at: datetime
    as_of_ledger: int
    """Newest ledger entry in the posted balance."""
    tariff_code: str
    tariff_hash: str
    quality: BalanceQuality


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """One line passed, once: unique by (account, kind, level, period, crossing_no)."""

    id: int
    agreement: AgreementId
    account: AccountId
    usage_point: UsagePointId
    kind: CrossingKind
    level: int
    period: date
    crossing_no: int
    at: datetime
    available_micros: int
    register_wh: int
    register_at: datetime
    tariff_hash: str
    ledger_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedLine:
    """One row of "why is it this much": use of one step, its price, its share of the fee."""

    line: str
    label: Mapping[str, str]
    tariff_hash: str
    step: int
    from_wh: int
    upto_wh: int
    wh: int
    price_micros_per_kwh: int | None
    amount_micros: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """
    Lines whose amounts sum exactly to `fee_micros`, between two registers.

    Each amount is a difference of the rounded cumulative at the step's ends, so nothing is left.
    """

    usage_point: UsagePointId
    currency: str
    from_at: datetime
    to_at: datetime
    from_register_wh: int
    to_register_wh: int
    fee_micros: int
    lines: tuple[ExplainedLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DayCost:
    """What one local day used and cost; `drawn` when the ledger has taken it."""

    day: date
    wh: int
    amount_micros: int
    drawn: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """On which side of its lines an agreement stands, as last written."""

    available_micros: int
    below_reminder: bool
    below_zero: bool
    below_cut: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenException:
    """A calculation exception that still stands."""

    agreement: AgreementId
    usage_point: UsagePointId
    kind: ExceptionKind
    since: datetime
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PastException:
    """A calculation exception from its beginning, ended or not."""

    agreement: AgreementId
    usage_point: UsagePointId
    kind: ExceptionKind
    since: datetime
    closed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExceptionCount:
    """How many calculation exceptions of a kind began on a day in a unit's reading section."""

    unit: str
    """Who looks after the usage point."""
    section: str
    """The concentrator that reads it; empty when no meter hangs there."""
    day: date
    kind: ExceptionKind
    began: int
    standing: int
    """How many of them have not ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadow:
    """What a second opinion on a random share of accounts said; kernel against oracle."""

    at: datetime
    seed: int
    checked: int
    differing: int
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What one sweep saw and did."""

    points: int
    changed: tuple[LiveBalance, ...]
    crossings: int
    drawdowns: int
    exceptions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class States:
    """
    The sweep's view of every agreement, as columns.

    *Shape*: equally long, ordered by agreement. *Units*: int64 micros, Wh, ms. `posted` and
    `version` come from the ledger in the same statement as the rest, so that `posted` and `drawn`
    always belong together.
    """

    agreement: list[AgreementId]
    account: list[AccountId]
    usage_point: list[UsagePointId]
    currency: list[str]
    tariff_code: list[str]
    pinned_hash: list[str | None]
    tariff_hash: list[str]
    period: list[date]
    open_day: list[date]
    quality: list[str]
    contract_w: IntArray
    segment_seq: IntArray
    segment_register: IntArray
    segment_year: IntArray
    segment_before: IntArray
    register: IntArray
    register_ms: IntArray
    fee: IntArray
    drawn: IntArray
    day_ends_ms: IntArray
    day_register: IntArray
    tier: IntArray
    available: IntArray
    below_reminder: BoolArray
    below_zero: BoolArray
    below_cut: BoolArray
    reminders: IntArray
    zeros: IntArray
    cuts: IntArray
    restores: IntArray
    posted: IntArray
    version: IntArray

    def __len__(self) -> int:
        """Return the number of agreements."""
        return len(self.agreement)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What the kernel says of registers under the states' segments, as columns like `States`."""

    fee: IntArray
    year_wh: IntArray
    tier: IntArray
    beyond: BoolArray
    """The counter is past the tariff's proven bound: parked, the last fee stands."""
    below_opening: BoolArray
    """The register is under the segment's opening: no use is charged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """
    States of many agreements without a name among them, for a sweep of millions.

    *Shape*: equally long, in no order. *Units*: int64 micros, Wh, ms. `newest_ms` is -1 where no
    register has come; `quality` is 0 actual, 1 estimated, 2 missing.
    """

    point: IntArray
    ledger_account_id: IntArray
    tariff_no: IntArray
    segment_register: IntArray
    segment_year: IntArray
    segment_before: IntArray
    register: IntArray
    register_ms: IntArray
    fee: IntArray
    drawn: IntArray
    available: IntArray
    tier: IntArray
    below_reminder: BoolArray
    below_zero: BoolArray
    below_cut: BoolArray
    quality: IntArray
    open_day: IntArray
    """Its ordinal: the first of January of the year 1 is 1."""
    newest: IntArray
    newest_ms: IntArray
    doubt: IntArray
    """1 where the newest register is questionable."""
    posted: IntArray


@dataclass(frozen=True, slots=True, kw_only=True)
class FeeBlock:
    """Fees of points at registers, as a large sweep keeps them; equally long columns."""

    point: IntArray
    register_wh: IntArray
    register_ms: IntArray
    fee_micros: IntArray
    tariff_no: IntArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Screened:
    """What the kernel says of `Columns`: new figures, and masks of what they mean."""

    rows: int
    """How many were priced, those that say nothing too."""
    fees: FeeBlock
    crossed: BoolArray
    """A line, a step or the quality changed: the state has to be written."""
    moved: BoolArray
    """Some figure is not what the state says."""
    missing: BoolArray
    beyond: BoolArray
    below_opening: BoolArray
    no_hours: BoolArray
    """The register is ahead of the hours that are known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """Which lines were passed now, as masks over the same rows."""

    reminder: BoolArray
    zero: BoolArray
    cut: BoolArray
    restored: BoolArray
    below_reminder: BoolArray
    below_zero: BoolArray
    below_cut: BoolArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A stretch of use under one tariff version within one ladder year."""

    agreement: AgreementId
    seq: int
    period: date
    started_at: datetime
    register_wh: int
    year_wh: int
    fee_before_micros: int
    tariff_hash: str
    start: date | None = None
    """The first day whose share is charged; None under a tariff of ladder years."""
    previous: int | None = None
    """The segment whose end this one begins at; None for the first."""
    shape: str | None = None
    """The agreement's attributes as they were pinned; None under a tariff of ladder years."""
    before: Mapping[str, tuple[int, ...]] | None = None
    """Counters before it by TouPeriod, by reset."""
    previous_wh: tuple[int, ...] | None = None
    """What the segment before had used in the end, by TouPeriod."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawdown:
    """
    What one business day took from an account, and the figures it was computed from.

    `seq` counts the corrections of a day that was drawn before; the first drawdown is 0.
    """

    agreement: AgreementId
    account: AccountId
    day: date
    segment_seq: int
    from_register_wh: int
    register_wh: int
    register_at: datetime
    fee_micros: int
    amount_micros: int
    tariff_hash: str
    entry_id: int | None
    seq: int = 0
    energy_wh: tuple[int, ...] | None = None
    """By TouPeriod since the segment began; None under a tariff of ladder years."""
