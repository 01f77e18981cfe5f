"""
Parameters of every check, as integers whose unit stands in the name.

Values never stand here: they come from a rule set (`rule_sets`), each with its source. `permille`
is a share in thousandths (1800 = 180 %).
"""

from dataclasses import dataclass

from cloud.vee.model import ExceptionKind


@dataclass(frozen=True, slots=True, kw_only=True)
class SpikeDaily:
    """Largest peak of a day against the third largest."""

    threshold_permille: int
    least_wh: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SpikeRobust:
    """A value against the median of its window (Hampel)."""

    side_slots: int
    times_permille: int
    floor_wh: int
    least_values: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SumCheck:
    """Sum of intervals against the advance of the register."""

    tolerance_permille: int
    floor_wh: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TouSum:
    """Sum of rate registers against the total register."""

    tolerance_permille: int
    floor_wh: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HighLow:
    """Average daily use now against history."""

    window_days: int
    least_history_days: int
    low_permille: int
    high_permille: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaPercent:
    """Use per time between reads against that before, in shares of the present use."""

    threshold_permille: int
    least_wh: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoricalMax:
    """Peak of a window against the peak of the window before."""

    window_days: int
    threshold_permille: int
    least_coverage_permille: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DemandStep:
    """A value against the last valid one."""

    threshold_permille: int
    least_wh: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Missing slots in a row."""

    allowed_slots: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ZeroRun:
    """Zeros in a row."""

    least_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleRun:
    """The same value, not zero, in a row."""

    least_slots: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Negative:
    """Energy below zero."""

    least_wh: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Future:
    """An interval that ends later than now."""

    slack_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate:
    """The same interval twice; `difference_wh` is forgiven."""

    difference_wh: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalSize:
    """A length that is not the profile's, or a start off its grid."""

    slack_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """The unit a row must say: code of IEC 61968-9, for active and for reactive energy."""

    active_code: int
    reactive_code: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Multiplier:
    """The factor of a row against that of the asset; `difference` is forgiven."""

    difference: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceInactive:
    """Energy outside the installation."""

    least_wh: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SiblingMissing:
    """One series of a meter is missing where another came."""

    least_slots: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimatedTooLong:
    """Estimates in a row."""

    longest_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """Energy above contract power times time; `margin_permille` 1000 is the contract itself."""

    margin_permille: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReactiveWithoutActive:
    """Reactive energy while active energy is zero."""

    least_varh: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFlags:
    """Status bits with which the meter doubts itself."""

    mask: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockTolerance:
    """How far the meter's clock may be off."""

    tolerance_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Replacement:
    """What a new value needs to take the place of one that stands."""

    least_change_permille: int
    least_change_wh: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterStep:
    """A register between two reads; `margin_permille` widens the contract's power."""

    margin_permille: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BillingGate:
    """Share of slots that were not simply measured, above which no bill is made."""

    most_permille: int


Parameters = (
    SpikeDaily | SpikeRobust | SumCheck | TouSum | HighLow | DeltaPercent | HistoricalMax
    | DemandStep | Gap | ZeroRun | StaleRun | Negative | Future | Duplicate | IntervalSize | Unit
    | Multiplier | DeviceInactive | SiblingMissing | EstimatedTooLong | Capacity
    | ReactiveWithoutActive | DeviceFlags | ClockTolerance | Replacement | RegisterStep
    | BillingGate
)  # fmt: skip

PARAMETERS: dict[ExceptionKind, type[Parameters]] = {
    ExceptionKind.SPIKE_DAILY: SpikeDaily,
    ExceptionKind.SPIKE_ROBUST: SpikeRobust,
    ExceptionKind.SUM_CHECK: SumCheck,
    ExceptionKind.TOU_SUM: TouSum,
    ExceptionKind.HIGH_LOW: HighLow,
    ExceptionKind.DELTA_PERCENT: DeltaPercent,
    ExceptionKind.HISTORICAL_MAX: HistoricalMax,
    ExceptionKind.DEMAND_STEP: DemandStep,
    ExceptionKind.GAP: Gap,
    ExceptionKind.ZERO_RUN: ZeroRun,
    ExceptionKind.STALE_RUN: StaleRun,
    ExceptionKind.NEGATIVE: Negative,
    ExceptionKind.FUTURE: Future,
    ExceptionKind.DUPLICATE: Duplicate,
    ExceptionKind.INTERVAL_SIZE: IntervalSize,
    ExceptionKind.UNIT: Unit,
    ExceptionKind.MULTIPLIER: Multiplier,
    ExceptionKind.DEVICE_INACTIVE: DeviceInactive,
    ExceptionKind.SIBLING_MISSING: SiblingMissing,
    ExceptionKind.ESTIMATED_TOO_LONG: EstimatedTooLong,
    ExceptionKind.CAPACITY: Capacity,
    ExceptionKind.REACTIVE_WITHOUT_ACTIVE: ReactiveWithoutActive,
    ExceptionKind.DEVICE_FLAGS: DeviceFlags,
    ExceptionKind.CLOCK_TOLERANCE: ClockTolerance,
    ExceptionKind.REPLACEMENT: Replacement,
    ExceptionKind.REGISTER_STEP: RegisterStep,
    ExceptionKind.BILLING_GATE: BillingGate,
}
"""What each check is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimateParameters:
    """
    How estimates are made; methods are tried in their order.

    `with_register` are those for gaps whose total is known, `without_register` the others.
    """

    with_register: tuple[str, ...]
    without_register: tuple[str, ...]
    linear_longest_seconds: int
    like_days: int
    like_search_days: int
    history_days: int
    context_seconds: int
    longest_gap_seconds: int
    band_permille: int
    load_profile: tuple[int, ...] = ()
    """Wh of each hour of a standard day, 24 values, or nothing."""
