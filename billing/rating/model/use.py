"""What pricing is asked: one account's use, and the same of many accounts as columns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from billing.money import IntArray


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


@dataclass(frozen=True, slots=True, kw_only=True)
class UseColumns:
    """
    `PeriodUse` of many accounts under one tariff version: the input of the kernel.

    *Shape*: (accounts,) or (periods, accounts), int64, C-ordered. A column left out is 0 for all,
    `customers`, `households` and `meters` 1. Attributes are whole numbers: a bool is 0 or 1, a text
    its place in the tariff's `values`. *Units*: as `PeriodUse`.
    """

    energy_wh: IntArray
    days: IntArray | None = None
    months: IntArray | None = None
    whole_days: IntArray | None = None
    whole_months: IntArray | None = None
    closing: IntArray | None = None
    """1 where the use closes its period; left out it does for all."""
    end_month: IntArray | None = None
    """The calendar month, 1 to 12, of the last day."""
    before_wh: Mapping[str, IntArray] = field(default_factory=dict)
    export_wh: IntArray | None = None
    reactive_varh: IntArray | None = None
    demand_w: IntArray | None = None
    past_w: IntArray | None = None
    """Peaks of earlier months, (months ago - 1, periods, accounts); 0 where unknown."""
    past_month: IntArray | None = None
    """Which calendar month that was, (months ago - 1, accounts); 0 where unknown."""
    contract_w: IntArray | None = None
    capacity_va: IntArray | None = None
    customers: IntArray | None = None
    households: IntArray | None = None
    meters: IntArray | None = None
    attributes: Mapping[str, IntArray] = field(default_factory=dict)

    @property
    def accounts(self) -> int:
        """Return how many accounts there are."""
        return int(self.energy_wh.shape[1])
