"""Parts that lines are made of: steps, scopes, coefficients, ratchets, predicates."""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from billing.tariffs.model.calendar import NAME, Month
from billing.tariffs.model.numbers import (
    KwhText,
    KwText,
    MoneyText,
    Part,
    PercentText,
    QtyRound,
    Round,
)


class PriceStep(Part):
    """Use above `over` up to and including `upto` (Wh once read; open on the last) has `price`."""

    over_wh: KwhText = Field(alias="over_kwh")
    upto_wh: KwhText | None = Field(alias="upto_kwh")
    price: MoneyText

    @property
    def over(self) -> int:
        """Return the lower edge in base units."""
        return self.over_wh

    @property
    def upto(self) -> int | None:
        """Return the upper edge in base units, None when open."""
        return self.upto_wh


class PowerStep(Part):
    """Power above `over` up to and including `upto` (W or VA once read) has `price` per kW, kVA."""

    over_w: KwText = Field(alias="over_kw")
    upto_w: KwText | None = Field(alias="upto_kw")
    price: MoneyText

    @property
    def over(self) -> int:
        """Return the lower edge in base units."""
        return self.over_w

    @property
    def upto(self) -> int | None:
        """Return the upper edge in base units, None when open."""
        return self.upto_w


class Schedule(Part):
    """A whole ladder that holds while the use lies above `over` up to and including `upto`."""

    over_wh: KwhText = Field(alias="over_kwh")
    upto_wh: KwhText | None = Field(alias="upto_kwh")
    steps: tuple[PriceStep, ...] = Field(min_length=1)

    @property
    def over(self) -> int:
        """Return the lower edge in base units."""
        return self.over_wh

    @property
    def upto(self) -> int | None:
        """Return the upper edge in base units, None when open."""
        return self.upto_wh


class Width(StrEnum):
    """What a ladder's edges are multiplied by."""

    FIXED = "fixed"
    PER_DAY = "per_day"
    PER_30D = "per_30d"
    """Days covered / 30."""
    PER_MONTH = "per_month"
    PER_HOUSEHOLD = "per_household"
    PER_METER = "per_meter"


TIMED = frozenset({Width.PER_DAY, Width.PER_30D, Width.PER_MONTH})


def _as_tuple(found: Any) -> Any:
    return [found] if isinstance(found, str) else found


Widths = Annotated[tuple[Width, ...], BeforeValidator(_as_tuple), Field(min_length=1)]
"""One width or several that are multiplied, such as `["per_month", "per_household"]`."""


class Scope(Part):
    """
    How a ladder's edges scale, when it starts again, and what reaching a step means.

    Each edge is `round(edge x days, months, households, meters)`; `width_round` states that
    rounding and is needed where days or months scale. The counter before this use is that of
    `reset`; a ladder of the `period` whose edges scale with time starts at 0 in every use, since
    a part of the period has its own part of the edges. `marginal`: each part of the use has its
    own step's price. `whole_band`: all use has the price of the step that the counter reaches.
    `schedule_switch`: the counter at the end of the use chooses one of the line's schedules (their
    edges scale too), whose steps are then marginal.
    """

    widths: Widths
    reset: Literal["period", "calendar_year", "tariff_year", "purchase_month"]
    mode: Literal["marginal", "whole_band", "schedule_switch"]
    width_round: QtyRound | None = None


class Coef(Part):
    """A factor `a/b` on every price of a line; `round` states the rounding of the product."""

    a: int = Field(gt=0, le=1_000_000)
    b: int = Field(gt=0, le=1_000_000)
    round: Round


class ShareCoef(Part):
    """A factor `a/b` on a percent; exact, because the line itself is rounded."""

    a: int = Field(gt=0, le=1_000_000)
    b: int = Field(gt=0, le=1_000_000)


class Per(StrEnum):
    """The time a price is for; `period` is once, however long the period."""

    DAY = "day"
    MONTH = "month"
    PERIOD = "period"


class Ratchet(Part):
    """
    Billed power is never less than a part of past peaks, or than a floor.

    Past peaks count when not older than `lookback_months` months and of a calendar month in
    `months` (none named: any), each the largest of `periods` (none named: those of the line).
    `floor_contract_percent` is a part of the contracted power.
    """

    percent: PercentText = Field(ge=0)
    lookback_months: int = Field(ge=0, le=36)
    months: tuple[Month, ...] = ()
    periods: tuple[str, ...] = ()
    floor_w: KwText = Field(alias="floor_kw", default=0)
    floor_contract_percent: PercentText = Field(ge=0, default=0)
    round: QtyRound
    """How a percent of power is rounded."""


class Attribute(Part):
    """
    A property of agreements that predicates ask for.

    `values` are the words a text may be. Without `default`, usage must state it.
    """

    kind: Literal["bool", "int", "text"]
    values: tuple[str, ...] = ()
    default: bool | int | str | None = None


Scalar = bool | int | str


class Equals(Part):
    """Attribute `attr` is `eq`."""

    attr: str = Field(pattern=NAME)
    eq: Scalar


class Member(Part):
    """Attribute `attr` is one of `in`."""

    attr: str = Field(pattern=NAME)
    any_of: tuple[Scalar, ...] = Field(alias="in", min_length=1)


class Compare(Part):
    """Integer attribute `attr` lies within the bounds named, all of them."""

    attr: str = Field(pattern=NAME)
    lt: int | None = None
    le: int | None = None
    gt: int | None = None
    ge: int | None = None


class UseBand(Part):
    """
    A quantity lies above `over` up to and including `upto` (kWh, kW, kVA), edges scaled, exactly.

    Zero lies in the band that starts at "0". ENERGY is all energy of the use, DEMAND_MAX the
    largest of all TouPeriods.
    """

    qty: Literal["ENERGY", "DEMAND_MAX", "CONTRACT_KW", "CAPACITY_KVA"]
    over: KwhText
    upto: KwhText | None
    widths: Widths = (Width.FIXED,)


class InMonths(Part):
    """The last day of the use lies in one of these calendar months."""

    months: tuple[Month, ...] = Field(min_length=1)


class AllOf(Part):
    """Every one holds."""

    all_of: tuple["Predicate", ...] = Field(alias="and", min_length=1)


class AnyOf(Part):
    """One at least holds."""

    any_of: tuple["Predicate", ...] = Field(alias="or", min_length=1)


class Not(Part):
    """It does not hold."""

    negated: "Predicate" = Field(alias="not")


def _form(found: Any) -> str:
    if not isinstance(found, dict):
        return type(found).__name__
    for key in ("and", "or", "not", "months", "qty", "eq", "in"):
        if key in found:
            return key
    return "compare"


Predicate = Annotated[
    Annotated[AllOf, Tag("and")]
    | Annotated[AnyOf, Tag("or")]
    | Annotated[Not, Tag("not")]
    | Annotated[InMonths, Tag("months")]
    | Annotated[UseBand, Tag("qty")]
    | Annotated[Equals, Tag("eq")]
    | Annotated[Member, Tag("in")]
    | Annotated[Compare, Tag("compare")],
    Discriminator(_form),
]
AllOf.model_rebuild()
AnyOf.model_rebuild()
Not.model_rebuild()
