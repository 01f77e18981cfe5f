"""Facts of roll-ups: what a day, a month or a cycle used, which version says so, and why."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from enum import IntEnum, StrEnum

from protocols.identity import UsagePointId
from protocols.reading import Quality

_BITS = {quality: 1 << place for place, quality in enumerate(Quality)}


class Refusal(StrEnum):
    """Why a question or a request about roll-ups is refused."""

    SPAN = "rollups.span"
    FRAME = "rollups.frame"
    REASON = "rollups.reason"


def mask_of(qualities: Iterable[Quality]) -> int:
    """Return a set of qualities as the bits that are stored: 1 raw, 2 valid, 4 estimated, .."""
    mask = 0
    for quality in qualities:
        mask |= _BITS[quality]
    return mask


def qualities_of(mask: int) -> frozenset[Quality]:
    """Return the set of qualities that bits stand for."""
    return frozenset(quality for quality, bit in _BITS.items() if mask & bit)


class Basis(IntEnum):
    """What the energy of a day follows from."""

    UNKNOWN = 0
    REGISTERS = 1
    INTERVALS = 2


class PeriodKind(StrEnum):
    """What several days are rolled up to."""

    MONTH = "month"
    CYCLE = "cycle"


class Cause(StrEnum):
    """Why a day is looked at."""

    END = "end"
    """It ended."""
    READING = "reading"
    """A reading of it came after its end."""
    VALIDATION = "validation"
    EDIT = "edit"
    ASSETS = "assets"
    """What hangs at the point, or by what factor it counts, was told otherwise."""
    REQUEST = "request"
    CARRIED = "carried"
    """The register at its first midnight moved, for the day before it changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A register at or before a midnight. *Units*: cumulative Wh of the usage point."""

    at: datetime
    wh: int
    qualities: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DayFigures:
    """
    What is known of one civil day.

    *Units*: Wh. `slots` are the intervals that the meters of the day owe (92, 96 or 100 quarter
    hours of a whole day), `missing` those that are absent. `interval_wh` sums what is there, None
    where nothing is. `slot_qualities` is the set of what the intervals are, as `mask_of` says it.
    """

    slots: int
    missing: int
    interval_wh: int | None
    slot_qualities: int
    opening: Bound | None
    closing: Bound | None

    @property
    def basis(self) -> Basis:
        """Return what `wh` follows from: registers, else intervals."""
        if self.opening is not None and self.closing is not None:
            return Basis.REGISTERS
        return Basis.UNKNOWN if self.interval_wh is None else Basis.INTERVALS

    @property
    def wh(self) -> int | None:
        """
        Return the energy of the day, None where it is not known.

        Between registers it telescopes: neighbouring days share a register, so that days always add
        up to the register's own advance. Intervals stand in only where no two registers do.
        """
        if self.opening is not None and self.closing is not None:
            return self.closing.wh - self.opening.wh
        return self.interval_wh

    @property
    def qualities(self) -> frozenset[Quality]:
        """Return the union of the qualities of all that the figures are made of."""
        bounds = [each.qualities for each in (self.opening, self.closing) if each is not None]
        return qualities_of(self.slot_qualities).union(*map(qualities_of, bounds))


@dataclass(frozen=True, slots=True, kw_only=True)
class DayRollup:
    """One version of one day. `known_at` is when it was made."""

    usage_point: UsagePointId
    day: date
    zone: str
    version: int
    known_at: datetime
    figures: DayFigures


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodFigures:
    """
    Days `[first_day, until_day)` together: every number is the sum of the days', sets are unions.

    *Units*: Wh. `days_told` of `days` have a known energy; `wh` is None where none has. `bases` is
    the set of bases, bit 1 registers, bit 2 intervals.
    """

    first_day: date
    until_day: date
    days_told: int
    slots: int
    missing: int
    slot_qualities: int
    register_qualities: int
    bases: int
    interval_wh: int | None
    opening: Bound | None
    closing: Bound | None
    wh: int | None

    @property
    def days(self) -> int:
        """Return how many days there are."""
        return (self.until_day - self.first_day).days

    @property
    def qualities(self) -> frozenset[Quality]:
        """Return the union of the qualities of all that the figures are made of."""
        return qualities_of(self.slot_qualities | self.register_qualities)


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodRollup:
    """One version of one month (`2026-03`) or one reading cycle (its number)."""

    usage_point: UsagePointId
    kind: PeriodKind
    name: str
    version: int
    known_at: datetime
    figures: PeriodFigures


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """
    Why a day is looked at, and by what.

    `reference` names what did it (a batch has none of its own here), `actor` who. Of readings the
    count and the first and last instant are kept, in ms since 1970.
    """

    cause: Cause
    reference: str = ""
    actor: str = ""
    noted_at: datetime
    readings: int = 0
    first_ms: int = 0
    last_ms: int = 0
    carried_from: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Touched:
    """
    Days that something touched. *Shape*: equally long columns, one entry a (usage point, day).

    *Units*: ms since 1970 of the first and last reading, 0 where it was none.
    """

    usage_points: list[UsagePointId]
    days: list[date]
    readings: list[int]
    first_ms: list[int]
    last_ms: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodChange:
    """How a month or cycle changed with a day. *Units*: Wh."""

    kind: PeriodKind
    name: str
    version: int
    wh_before: int | None
    wh_after: int | None


class DependentKind(StrEnum):
    """What in billing used a day."""

    DRAWN_DAY = "drawn_day"
    """A day's fee that was taken from a prepaid account."""
    BALANCE = "balance"
    """What an account has left; the energy of days that are drawn comes back in a later one."""
    BILL_ITEM = "bill_item"
    """A charge of a run that is not billed yet."""
    BILL = "bill"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependent:
    """
    One thing that had used the day, and by how much it would differ now.

    *Units*: Wh and micros; None where it cannot be told. `state` says in a word what becomes of it.
    """

    kind: DependentKind
    reference: str
    account: str
    state: str
    wh_before: int | None
    wh_after: int | None
    currency: str
    micros_before: int | None
    micros_after: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a finder of dependents is told: a day before and after."""

    usage_point: UsagePointId
    day: date
    zone: str
    before: DayFigures | None
    after: DayFigures
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Recompute:
    """Why a day has another version, and all that changed with it."""

    id: int
    mark: Mark
    before: DayRollup | None
    after: DayRollup
    periods: tuple[PeriodChange, ...]
    dependents: tuple[Dependent, ...]
    looked: bool
    """Whether billing was asked already."""

    @property
    def difference_wh(self) -> int | None:
        """Return by how much the day's energy changed, None where it was or is not known."""
        old = None if self.before is None else self.before.figures.wh
        new = self.after.figures.wh
        return None if old is None or new is None else new - old


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptDay:
    """
    A day that was to be looked at again after intervals of it were let go: it keeps its version.

    `version` is 0 where it has none, `kept_from` the first UTC day of which intervals were there.
    """

    usage_point: UsagePointId
    day: date
    version: int
    mark: Mark
    kept_from: date
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What one turn of the roll-ups did."""

    looked_at: int = 0
    days: int = 0
    periods: int = 0
    recomputes: int = 0
