"""
Lines of a tariff in the order of the bill: what each one charges, exactly.

Every line gives one amount in micros, rounded by its `round`; an inactive line (its `when` does not
hold, or it is not due yet) gives 0. The total is the sum of all lines but `sum`, rounded by
`total_round`. `base` names earlier lines only and means the sum of their rounded amounts.

`prorate` of energy, export and credit lines says how use is cut where a version changes:
`by_reading` (a register read then, else profile, else days), `by_profile` (else days), `days`.
Of all other lines: `days` accrues with the days and months of the use at hand; `none` is charged
once, when the use closes its period, for the days and months of that whole period.
Lines that only follow others (percent, pf_table, sum) are always charged on what these gave.

*Source*: handbook, billing.md 4.1 and 4.2.
"""

from typing import Annotated, Literal, get_args

from pydantic import Field

from billing.tariffs.model.calendar import NAME
from billing.tariffs.model.numbers import (
    FactorText,
    KwhText,
    MoneyText,
    Part,
    PercentText,
    QtyRound,
    Round,
)
from billing.tariffs.model.parts import (
    Coef,
    Per,
    PowerStep,
    Predicate,
    PriceStep,
    Ratchet,
    Schedule,
    Scope,
    ShareCoef,
    Widths,
)

Language = Annotated[str, Field(pattern="^(fa|zh|uz|ru|en)$")]
EnergyProrate = Literal["by_reading", "by_profile", "days"]
TimeProrate = Literal["days", "none"]


class LineBase(Part):
    """What every line has."""

    id: str = Field(pattern=NAME)
    label: dict[Language, str]
    ledger_code: str = Field(pattern=r"^(revenue|payable|receivable)_[a-z0-9_]{1,40}$")
    vat_code: str | None = Field(default=None, pattern=r"^[A-Z0-9_]{1,16}$")
    when: Predicate | None = None
    round: Round


class EnergyLine(LineBase):
    """
    Energy priced through steps: `round(sum(step quantity x price x coef) / 1000)`.

    The quantity is the energy of `periods` (none named: all), rounded by `qty_round`. REACTIVE is
    imported plus exported varh, both absolute, less `free_percent` of all energy, never below 0
    (rounded once, by `qty_round`, which `free_percent` needs), and knows no TouPeriods.
    With `share: own` the ladder climbs on the quantity itself. With `pro_rata` it climbs on all
    energy, and of each edge the line takes the share
    `edge_round(part of the use below the edge x quantity / all energy)`, never more than the
    quantity, and all of it at an edge that all energy stays below; the step of whole_band and the
    schedule are then chosen by all energy. The counter before the use is `before[reset]`, of the
    line's periods when `own`, of all when `pro_rata`; it is 0 for REACTIVE.
    """

    kind: Literal["energy"]
    qty: Literal["ENERGY", "REACTIVE"] = "ENERGY"
    periods: tuple[str, ...] = ()
    share: Literal["own", "pro_rata"] = "own"
    edge_round: QtyRound | None = None
    scope: Scope
    steps: tuple[PriceStep, ...] = Field(default=(), min_length=1)
    schedules: tuple[Schedule, ...] = Field(default=(), min_length=1)
    coef: Coef | None = None
    qty_round: QtyRound | None = None
    free_percent: PercentText | None = Field(default=None, ge=0)
    prorate: EnergyProrate = "by_reading"


class ExportLine(LineBase):
    """Energy delivered to the grid, credited through marginal steps: the negative of its price."""

    kind: Literal["export"]
    qty: Literal["EXPORT"] = "EXPORT"
    periods: tuple[str, ...] = ()
    scope: Scope
    steps: tuple[PriceStep, ...] = Field(min_length=1)
    coef: Coef | None = None
    qty_round: QtyRound | None = None
    prorate: EnergyProrate = "by_reading"


class DemandLine(LineBase):
    """
    Power priced through marginal steps, per day, month or period.

    `round(sum(step W x price x coef) / 1000 x days or months)`. DEMAND_MAX is the largest of the
    line's TouPeriods (none named: of all); the ratchet lifts it; of it only what lies above
    `above_contract_percent` of the contracted power is taken (rounded once, by `qty_round`, which
    it needs); `qty_round` comes last. A step of power starts at 0 and its edges never scale.
    """

    kind: Literal["demand"]
    qty: Literal["DEMAND_MAX", "CONTRACT_KW"] = "DEMAND_MAX"
    periods: tuple[str, ...] = ()
    per: Per
    steps: tuple[PowerStep, ...] = Field(min_length=1)
    coef: Coef | None = None
    ratchet: Ratchet | None = None
    above_contract_percent: PercentText | None = Field(default=None, ge=0)
    qty_round: QtyRound | None = None
    prorate: TimeProrate


class CapacityLine(LineBase):
    """Installed capacity priced through marginal steps, per day, month or period."""

    kind: Literal["capacity"]
    qty: Literal["CAPACITY_KVA", "CONTRACT_KW"] = "CAPACITY_KVA"
    per: Per
    steps: tuple[PowerStep, ...] = Field(min_length=1)
    coef: Coef | None = None
    qty_round: QtyRound | None = None
    prorate: TimeProrate


ValueQty = Literal["DAYS", "MONTHS", "CUSTOMERS", "CONTRACT_KW", "CAPACITY_KVA"]


class ValueLine(LineBase):
    """
    A price times time and size, `round(price x coef x size x time)`: fixed, minimum and their like.

    DAYS: time is days. MONTHS: time is months. CUSTOMERS, CONTRACT_KW and CAPACITY_KVA are sizes
    (kW and kVA as thousandths), and `per` gives the time; it is stated for these alone.
    """

    qty: ValueQty
    per: Per | None = None
    price: MoneyText = Field(ge=0)
    coef: Coef | None = None
    prorate: TimeProrate


class FixedLine(ValueLine):
    """A standing charge."""

    kind: Literal["fixed"]


class MinimumLine(ValueLine):
    """What lifts the base up to the rounded value: `max(0, value - base)`, not rounded again."""

    kind: Literal["minimum"]
    base: tuple[str, ...] = Field(min_length=1)


class MaximumLine(ValueLine):
    """What lowers the base to the rounded value: `min(0, value - base)`, not rounded again."""

    kind: Literal["maximum"]
    base: tuple[str, ...] = Field(min_length=1)


class SubsidyLine(ValueLine):
    """A credit of the rounded value, never more than a base that is named: `-min(value, base)`."""

    kind: Literal["subsidy"]
    base: tuple[str, ...] = ()


class CreditKwhLine(LineBase):
    """
    Free energy: `-round(min(kwh x widths, quantity of the base lines) x price x coef / 1000)`.

    The base are energy lines, and their quantity is what they price in Wh, after `qty_round`; 0 of
    a line whose `when` does not hold.
    """

    kind: Literal["credit_kwh"]
    kwh: KwhText = Field(gt=0)
    widths: Widths
    width_round: QtyRound | None = None
    price: MoneyText = Field(ge=0)
    coef: Coef | None = None
    base: tuple[str, ...] = Field(min_length=1)
    prorate: EnergyProrate = "by_reading"


class PercentLine(LineBase):
    """A share of earlier lines: `round(base x percent x a/b)`: a tax, a levy, a discount."""

    kind: Literal["percent"]
    percent: PercentText
    coef: ShareCoef | None = None
    base: tuple[str, ...] = Field(min_length=1)


class PfBand(Part):
    """From factor `from` up to `to`, both included: `percent` at `from`, then `per_point` more."""

    from_factor: FactorText = Field(alias="from")
    to_factor: FactorText = Field(alias="to")
    percent: PercentText
    per_point: PercentText = 0


class PfTableLine(LineBase):
    """
    The power-factor adjustment: `round(base x percent of the factor)`.

    The factor is k/100 with the largest integer k for which P x P x 40000 is at least
    (2k - 1) x (2k - 1) x (P x P + Q x Q); P is all energy, Q all reactive energy of the use.
    Without either there is no adjustment.
    """

    kind: Literal["pf_table"]
    standard: FactorText
    bands: tuple[PfBand, ...] = Field(min_length=1)
    base: tuple[str, ...] = Field(min_length=1)


class SumLine(LineBase):
    """A subtotal: the rounded sum of its base, shown and usable as a base, never added again."""

    kind: Literal["sum"]
    base: tuple[str, ...] = Field(min_length=1)


Line = Annotated[
    EnergyLine
    | ExportLine
    | DemandLine
    | CapacityLine
    | FixedLine
    | MinimumLine
    | MaximumLine
    | SubsidyLine
    | CreditKwhLine
    | PercentLine
    | PfTableLine
    | SumLine,
    Field(discriminator="kind"),
]
BASED = tuple(kind for kind in get_args(get_args(Line)[0]) if "base" in kind.model_fields)
"""The kinds of line that name others."""
