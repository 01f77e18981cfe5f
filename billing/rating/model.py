"""Compiled tariffs and what pricing answers: arrays of integers, and a trace a person can read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from zoneinfo import ZoneInfo

from billing.money import IntArray, Rounding


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledEnergy:
    """
    One energy line: step `i` prices use above `lo[i]` up to and including `hi[i]`.

    *Units*: Wh and micros per kWh. The last `hi` is the tariff's proven bound.
    """

    id: str
    label: Mapping[str, str]
    lo: IntArray
    hi: IntArray
    price: IntArray
    rounding: Rounding


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledPercent:
    """One share of earlier lines: `sum(base) * numerator / denominator`, rounded."""

    id: str
    label: Mapping[str, str]
    base: tuple[int, ...]
    numerator: int
    denominator: int
    rounding: Rounding


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledTariff:
    """One version ready for the kernel; `largest_wh` is how far no product can overflow."""

    code: str
    version: int
    digest: str
    currency: str
    zone: ZoneInfo
    largest_wh: int
    lines: tuple[CompiledEnergy | CompiledPercent, ...]
    total: Rounding

    @property
    def ladder(self) -> CompiledEnergy:
        """Return the line whose steps a customer is told of: the first that prices energy."""
        return next(line for line in self.lines if isinstance(line, CompiledEnergy))


@dataclass(frozen=True, slots=True, kw_only=True)
class Charges:
    """
    The cumulative since the ladder's start, of each line and of all.

    *Shape*: `lines` is (lines, points), `total` is (points,). *Units*: micros.
    """

    lines: IntArray
    total: IntArray


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargeLine:
    """Use of one step of one line between two year counters, and its share of the fee."""

    line: str
    label: Mapping[str, str]
    step: int
    """Counts from 1; 0 where the line has no steps (a percent, the total's rounding)."""
    from_wh: int
    upto_wh: int
    price_micros_per_kwh: int | None
    amount_micros: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """A stretch of a ladder year under one tariff version, by the year's counter in Wh."""

    digest: str
    from_wh: int
    to_wh: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PastDemand:
    """The peaks of one earlier month, by TouPeriod; `months_ago` is 1 for the month before."""

    month: int
    months_ago: int
    demand_w: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodUse:
    """
    What one account used in a period, or in a part of one: the scalar input of pricing.

    Tuples are by TouPeriod, in the tariff's order. *Units*: Wh, varh, W, VA; days in `DAY_PARTS`,
    months in `MONTH_PARTS`. Ratios and losses are in the figures already.
    """

    start: date
    end: date
    """Local days `[start, end)`."""
    days: int
    months: int
    energy_wh: tuple[int, ...]
    quality: str
    whole_days: int
    """Days of the whole period, which lines with `prorate: none` are charged for."""
    whole_months: int
    closing: bool = True
    before_wh: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Counters before this use, by reset; one not named is 0."""
    export_wh: tuple[int, ...] = ()
    reactive_varh: int = 0
    """Imported plus exported, both absolute."""
    demand_w: tuple[int, ...] = ()
    past_demand: tuple[PastDemand, ...] = ()
    contract_w: int = 0
    capacity_va: int = 0
    customers: int = 1
    households: int = 1
    meters: int = 1
    attributes: Mapping[str, bool | int | str] = field(default_factory=dict)
