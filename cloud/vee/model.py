"""What validation finds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import IntEnum, StrEnum

import numpy as np
from numpy.typing import NDArray

from protocols.identity import MeterId, UsagePointId


class Refusal(StrEnum):
    """Why an act on exceptions or edits is refused."""

    UNKNOWN = "vee.unknown"
    SETTLED = "vee.settled"
    """It is closed or decided already."""
    CLOSES_ITSELF = "vee.closes_itself"
    """It ends when what is missing comes, and not before."""
    BLOCKS = "vee.blocks_bills"
    """No one person lets a bill be made of what was not measured."""
    REASON_MISSING = "vee.reason_missing"
    SAME_PERSON = "vee.same_person"
    """Whoever proposed does not verify."""
    EDIT_SHAPE = "vee.edit_shape"
    """Instants twice, off their grid, too many, in the future, or where no meter hangs."""


class OverlayKind(IntEnum):
    """What is said over a slot or a register. Codes stand in tables and are never reused."""

    ESTIMATE = 1
    EDIT = 2
    CANCEL = 3
    """There is no value, whatever was said or measured before."""
    SUSPECT = 4
    """The raw value stands, but is doubted."""
    WITHDRAWN = 5
    """Of a register alone: the machine says nothing of it any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlayColumns:
    """
    What stands over slots, sorted by point, start and length. *Shape*: equal columns.

    `point` indexes the usage points asked for; `wh` of a cancellation is 0, of a suspect the raw
    value. *Units*: ms, s, Wh; `kind` is an `OverlayKind`.
    """

    point: NDArray[np.int64]
    start_ms: NDArray[np.int64]
    seconds: NDArray[np.int64]
    wh: NDArray[np.int64]
    kind: NDArray[np.int8]
    created_ms: NDArray[np.int64]
    version: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of slots spoken of."""
        return len(self.point)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterOverlayColumns:
    """
    What stands over registers, sorted by point and instant. *Shape*: equal columns.

    `wh` is the cumulative register of the usage point. *Units*: ms, Wh.
    """

    point: NDArray[np.int64]
    at_ms: NDArray[np.int64]
    wh: NDArray[np.int64]
    kind: NDArray[np.int8]
    created_ms: NDArray[np.int64]
    version: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of registers spoken of."""
        return len(self.point)


class ExceptionKind(StrEnum):
    """
    Kind of finding. The words are stable: they stand in tables and files.

    Those of which a rule set tells severity and parameters are checks (`rules.checks.CHECKS`); the
    stream finds the others by itself.
    """

    GAP = "gap"
    """Intervals are missing before the newest one."""
    SILENT = "silent"
    """Nothing at all came from an installed meter for too long."""
    MISSING_REGISTERS = "missing_registers"
    """No register came for the configured number of consecutive days: raise a work order (E1)."""
    NOT_ESTIMATED = "not_estimated"
    """Slots of a day stay missing because no estimate could be made."""
    SPIKE_DAILY = "spike_daily"
    SPIKE_ROBUST = "spike_robust"
    SUM_CHECK = "sum_check"
    TOU_SUM = "tou_sum"
    HIGH_LOW = "high_low"
    DELTA_PERCENT = "delta_percent"
    HISTORICAL_MAX = "historical_max"
    DEMAND_STEP = "demand_step"
    ZERO_RUN = "zero_run"
    STALE_RUN = "stale_run"
    NEGATIVE = "negative"
    FUTURE = "future"
    DUPLICATE = "duplicate"
    INTERVAL_SIZE = "interval_size"
    UNIT = "unit"
    MULTIPLIER = "multiplier"
    DEVICE_INACTIVE = "device_inactive"
    SIBLING_MISSING = "sibling_missing"
    ESTIMATED_TOO_LONG = "estimated_too_long"
    CAPACITY = "capacity"
    REACTIVE_WITHOUT_ACTIVE = "reactive_without_active"
    DEVICE_FLAGS = "device_flags"
    CLOCK_TOLERANCE = "clock_tolerance"
    REPLACEMENT = "replacement"
    REGISTER_STEP = "register_step"
    BILLING_GATE = "billing_gate"


WATCHED = frozenset({ExceptionKind.GAP, ExceptionKind.SILENT, ExceptionKind.MISSING_REGISTERS})
"""What the stream itself opens and closes; nobody closes these by hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VeeException:
    """
    One finding about `[range_start, range_end)`; `channel` is 0 where it is about the whole meter.

    `closed_at` is set when what was missing has come, what was found is found no longer, or a
    person has settled it. Findings of checks have a civil `day` and tell how many `places` of it
    were found, the gravest `value` and what was `allowed`, both in `unit`.
    """

    id: int
    kind: ExceptionKind
    meter: MeterId
    usage_point: UsagePointId
    channel: int
    range_start: datetime
    range_end: datetime
    detail: str
    opened_at: datetime
    closed_at: datetime | None
    severity: str = "error"
    day: date | None = None
    places: int = 1
    value: int | None = None
    allowed: int | None = None
    unit: str = ""
    rule_set: str = ""
    parameters: Mapping[str, int] = field(default_factory=dict)
    assigned_to: str | None = None
    closed_by: str | None = None
    close_reason: str = ""
    reopened: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistic:
    """How many findings of a kind were opened in a unit on a (UTC) day, and how many are open."""

    unit: str
    day: date
    kind: ExceptionKind
    opened: int
    still_open: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquisition:
    """
    Coverage (installed meters heard of in time) and success (interval slots that came).

    *Units*: thousandths, rounded down.
    """

    installed: int
    heard: int
    coverage_permille: int
    slots_expected: int
    slots_present: int
    success_permille: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchPolicy:
    """
    When missing things become findings.

    `silent_after` is business time (the caller converts from wall seconds).
    """

    silent_after_ms: int
    missing_days: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Supplied:
    """
    Raw values of usage points as whoever knows the meters hands them in: nothing is said over them.

    Energy is that of the usage point, transformer factors applied; registers are its cumulative
    one across exchange and rollover. *Shape*: four equal columns of intervals, in any order, then
    four of registers. `point` indexes the usage points asked for. *Units*: ms, Wh, status bits.
    """

    point: NDArray[np.int64]
    start_ms: NDArray[np.int64]
    wh: NDArray[np.int64]
    status: NDArray[np.int64]
    read_point: NDArray[np.int64]
    read_at_ms: NDArray[np.int64]
    read_wh: NDArray[np.int64]
    read_status: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class DayPolicy:
    """
    When a day is looked at and what is told. *Units*: `wait_ms` is business time.

    A day is complete `wait_ms` after its end, once anything newer than its end was heard of. At
    most `at_once` usage points are looked at in one transaction. Findings below `queue_from` are
    counted with the day, but stand in no queue. Checks that need weeks look at each usage point
    every `long_every` days.
    """

    wait_ms: int = 3_600_000
    at_once: int = 500
    queue_from: str = "error"
    customer_class: str = "household"
    long_every: int = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedDay:
    """
    What one look at one civil day of a usage point came to. *Units*: slots.

    `expected = present + estimated + missing`. `findings` counts places by code, `refused` tells
    why slots stay missing. `reads_from` .. `reads_to` are the days on which the estimates rest.
    """

    usage_point: UsagePointId
    day: date
    seconds: int
    version: int
    since: datetime
    until: datetime
    checked_at: datetime
    rule_set: str
    rule_hash: str
    expected: int
    present: int
    edited: int
    suspect: int
    estimated: int
    missing: int
    findings: Mapping[str, int]
    refused: Sequence[Mapping[str, str | int]]
    reads_from: date
    reads_to: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Validated:
    """What a run of validation did: days looked at, versions written, findings, slots."""

    days: int = 0
    changed: int = 0
    findings: int = 0
    estimated: int = 0
    missing: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DayFinding:
    """All places of one day of a usage point at which one check says no. *Units*: ms."""

    usage_point: UsagePointId
    meter: str
    kind: str
    severity: str
    start_ms: int
    end_ms: int
    places: int
    value: int
    allowed: int
    unit: str
    parameters: Mapping[str, int]
    detail: str = ""


class EditState(StrEnum):
    """How far a proposed edit has come; only a verified one is ever used."""

    PROPOSED = "proposed"
    VERIFIED = "verified"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """
    Values that one person proposes and another decides on; None cancels a value.

    `seconds` 0: cumulative registers of the usage point at the instants. *Units*: ms, Wh.
    """

    id: int
    usage_point: UsagePointId
    seconds: int
    start_ms: Sequence[int]
    wh: Sequence[int | None]
    reason: str
    proposed_by: str
    proposed_at: datetime
    state: EditState
    decided_by: str | None
    decided_at: datetime | None
    decision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueCount:
    """Open exceptions of a severity and kind, and since when the oldest is open."""

    severity: str
    kind: ExceptionKind
    open: int
    oldest: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """
    Why a usage point is not to be billed for some days: blocking findings are open on `days`.

    *Units*: permille of the time in which a meter hung there, rounded up. `share_permille` of it is
    missing, estimated or doubted; `allowed_permille` may be.
    """

    usage_point: UsagePointId
    kinds: tuple[ExceptionKind, ...]
    days: tuple[date, ...]
    share_permille: int
    allowed_permille: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SaidOver:
    """
    One thing that was said over one slot at some time. *Units*: Wh.

    An estimate names its method, reason and rule set, an edit who proposed, who verified and why.
    """

    kind: OverlayKind
    version: int
    created_at: datetime
    wh: int
    low_wh: int
    high_wh: int
    method: str
    reason: str
    rule_set: str
    rule_hash: str
    actor: str
    verified_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SaidOfRegister:
    """
    One thing that was said over one cumulative register at some time. *Units*: Wh.

    An estimate rests on so many `references`, the oldest of `rests_from`.
    """

    at: datetime
    layer: str
    version: int
    created_at: datetime
    kind: OverlayKind
    wh: int
    method: str
    reason: str
    rule_set: str
    references: int
    rests_from: datetime | None
    actor: str
    verified_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterHistory:
    """All that was said over registers of some days, and the looks at those days, oldest first."""

    said: tuple[SaidOfRegister, ...]
    days: tuple[CheckedDay, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotHistory:
    """All that was ever said over one slot, and every look at its day, oldest first."""

    said: tuple[SaidOver, ...]
    days: tuple[CheckedDay, ...]
