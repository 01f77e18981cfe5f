"""A tariff version as arrays of whole numbers, ready for the kernel."""

from collections.abc import Mapping
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from billing.money import IntArray, Rounding
from billing.tariffs.model import Limits, Predicate, Ratchet, Width


@dataclass(frozen=True, slots=True, kw_only=True)
class LineHead:
    """What every compiled line has."""

    id: str
    kind: str
    label: Mapping[str, str]
    ledger_code: str
    vat_code: str | None
    when: Predicate | None
    at_close: bool
    """Charged once, by the use that closes its period."""
    rounding: Rounding


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """
    Steps: step `i` prices what lies above `lo[i]` up to and including `hi[i]`.

    *Units*: Wh, varh, W or VA; micros per thousand of them, coefficient already in. The last `hi`
    is the tariff's proven bound, not scaled.
    """

    lo: IntArray
    hi: IntArray
    price: IntArray


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledEnergy:
    """An energy or export line; `sign` is -1 for export."""

    head: LineHead
    qty: str
    sign: int
    periods: tuple[int, ...]
    """Indexes of the TouPeriods it prices."""
    whole: bool
    """Whether those are all TouPeriods."""
    pro_rata: bool
    edge_rounding: Rounding | None
    qty_rounding: Rounding | None
    free_micros: int
    """Percent of all energy that is free, in micros of a percent."""
    widths: tuple[Width, ...]
    width_rounding: Rounding | None
    reset: str
    from_zero: bool
    """The ladder starts at 0 whatever the counter: its edges scale with time, or varh."""
    mode: str
    ladders: tuple[Ladder, ...]
    """One, or one for each schedule."""
    switch: IntArray
    """Upper edges of the schedules but the last."""

    @property
    def id(self) -> str:
        """Return the line's id."""
        return self.head.id

    @property
    def label(self) -> Mapping[str, str]:
        """Return the line's labels."""
        return self.head.label

    @property
    def lo(self) -> IntArray:
        """Return the lower edges of its first ladder."""
        return self.ladders[0].lo

    @property
    def hi(self) -> IntArray:
        """Return the upper edges of its first ladder."""
        return self.ladders[0].hi

    @property
    def price(self) -> IntArray:
        """Return the prices of its first ladder."""
        return self.ladders[0].price


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledPower:
    """A demand or capacity line."""

    head: LineHead
    qty: str
    periods: tuple[int, ...]
    per: str
    ladder: Ladder
    ratchet: Ratchet | None
    ratchet_periods: tuple[int, ...]
    above_micros: int | None
    qty_rounding: Rounding | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledValue:
    """A price times size and time: fixed, minimum, maximum or subsidy, and the base it looks at."""

    head: LineHead
    qty: str
    per: str
    price: int
    base: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledCredit:
    """Free energy of earlier energy lines."""

    head: LineHead
    free_wh: int
    widths: tuple[Width, ...]
    width_rounding: Rounding | None
    price: int
    base: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledPercent:
    """A share of earlier lines: `sum(base) x numerator / denominator`; a sum has the share 1."""

    head: LineHead
    base: tuple[int, ...]
    numerator: int
    denominator: int
    percent: int
    """As the file says it, in micros of a percent, for the trace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledPf:
    """A power-factor adjustment: the percent, in micros of one, for each factor 0.00 to 1.00."""

    head: LineHead
    base: tuple[int, ...]
    percent: IntArray


CompiledLine = (
    CompiledEnergy | CompiledPower | CompiledValue | CompiledCredit | CompiledPercent | CompiledPf
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledAttribute:
    """How an attribute becomes a whole number; `default` None: every use states it."""

    kind: str
    values: tuple[str, ...]
    default: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledTariff:
    """
    One version ready for the kernel.

    `limits` is how far no amount can overflow. `wide`: some product may not fit 64 bits, so the
    kernel works in Python integers.
    """

    code: str
    version: int
    digest: str
    currency: str
    zone: ZoneInfo
    basis: str
    periods: tuple[str, ...]
    limits: Limits
    attributes: Mapping[str, CompiledAttribute]
    lines: tuple[CompiledLine, ...]
    counted: tuple[int, ...]
    """Indexes of the lines that the total adds."""
    total: Rounding
    largest: tuple[int, ...]
    """The largest amount of each line, in micros."""
    wide: bool

    @property
    def largest_wh(self) -> int:
        """Return the largest energy of one use."""
        return self.limits.energy_wh

    @property
    def ladder(self) -> CompiledEnergy:
        """Return the line whose steps a customer is told of: the first that prices energy."""
        return next(line for line in self.lines if isinstance(line, CompiledEnergy))
