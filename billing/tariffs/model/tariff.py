"""
A tariff version as its file says it.

What the engine cannot do is not in these types, so a file that asks for it is refused at the door
instead of being ignored.
"""

from datetime import date
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from billing.tariffs.model.calendar import Calendar, TouPeriod
from billing.tariffs.model.lines import EnergyLine, Line, PercentLine
from billing.tariffs.model.numbers import (
    DaysText,
    KwhText,
    KwText,
    MoneyText,
    MonthsText,
    Part,
    Round,
)
from billing.tariffs.model.parts import Attribute, Width
from billing.tariffs.model.usage import UsageFile


class Case(Part):
    """A worked example: between two year counters the fee is `total`, to the last micro."""

    name: str
    from_wh: KwhText = Field(alias="from_kwh")
    to_wh: KwhText = Field(alias="to_kwh")
    total: MoneyText


class UsageCase(Part):
    """A worked example of a period: the amounts of the lines named, and the total."""

    name: str
    usage: UsageFile
    lines: dict[str, MoneyText] = Field(default_factory=dict)
    total: MoneyText


def _sort_of_case(found: Any) -> str:
    return "counters" if isinstance(found, dict) and "usage" not in found else "period"


AnyCase = Annotated[
    Annotated[Case, Tag("counters")] | Annotated[UsageCase, Tag("period")],
    Discriminator(_sort_of_case),
]


class Limits(Part):
    """
    The largest that agreements of this class can have in one period; the base of the bound proof.

    The kernel refuses use beyond them. `counter_kwh` bounds the counter before the use. A quantity
    that a line prices must have its limit; without one it must be 0 in every use.
    """

    energy_wh: KwhText = Field(alias="energy_kwh", gt=0)
    counter_wh: KwhText = Field(alias="counter_kwh", default=0)
    reactive_varh: KwhText = Field(alias="reactive_kvarh", default=0)
    export_wh: KwhText = Field(alias="export_kwh", default=0)
    demand_w: KwText = Field(alias="demand_kw", default=0)
    contract_w: KwText = Field(alias="contract_kw", default=0)
    capacity_va: KwText = Field(alias="capacity_kva", default=0)
    days: DaysText = Field(default=400 * 1440, gt=0)
    months: MonthsText = Field(default=13 * 377_580, gt=0)
    customers: int = Field(default=1, ge=1, le=1_000_000)
    households: int = Field(default=1, ge=1, le=1_000_000)
    meters: int = Field(default=1, ge=1, le=1_000_000)


class Tariff(Part):
    """
    One immutable version.

    `basis` says what its rounded amounts are of. `period`: of the use of one billing period.
    `ladder_year`: of the cumulative since the ladder's start, so that a charge is the difference of
    two amounts; only energy and percent lines, and `largest_year_kwh` is its one limit.
    """

    code: str = Field(pattern=r"^[a-z][a-z0-9-]{0,47}$")
    version: int = Field(ge=1)
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    minor_units: int = Field(ge=0, le=6)
    zone: str
    valid_from: date
    valid_to: date | None = None
    basis: Literal["ladder_year", "period"] = "ladder_year"
    largest_year_wh: KwhText = Field(alias="largest_year_kwh", gt=0, default=0)
    limits: Limits | None = None
    tariff_year_start: str = Field(default="01-01", pattern=r"^(0[1-9]|1[0-2])-(0[1-9]|[12]\d)$")
    vat_included: bool
    legal_ref: str
    sources: tuple[str, ...] = Field(min_length=1)
    attributes: dict[str, Attribute] = Field(default_factory=dict)
    calendar: Calendar = Calendar()
    touperiods: tuple[TouPeriod, ...] = ()
    lines: tuple[Line, ...] = Field(min_length=1)
    total_round: Round
    test_cases: tuple[AnyCase, ...] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _has_the_limits_of_its_basis(cls, file: Any) -> Any:
        if isinstance(file, dict):
            ladder = file.get("basis", "ladder_year") == "ladder_year"
            if ladder == ("limits" in file) or ladder != ("largest_year_kwh" in file):
                raise ValueError(
                    "basis ladder_year has largest_year_kwh, basis period has limits, never both"
                )
        return file

    @field_validator("zone")
    @classmethod
    def _zone_exists(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"{name!r} is not a time zone, such as 'Asia/Shanghai'") from error
        return name

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> Self:
        if self.valid_to is not None and self.valid_to <= self.valid_from:
            raise ValueError("valid_to must be later than valid_from")
        return self

    @model_validator(mode="after")
    def _asks_of_a_ladder_year_what_a_cumulative_can_be(self) -> Self:
        if self.basis == "period":
            return self
        if self.touperiods:
            raise ValueError("touperiods: a ladder_year knows none; use basis period")
        for line in self.lines:
            if isinstance(line, PercentLine) and line.when is None:
                continue
            if not isinstance(line, EnergyLine) or line.when is not None:
                raise ValueError(f"line {line.id}: only energy and percent in a ladder_year")
            scope = line.scope
            if scope.widths != (Width.FIXED,) or scope.reset != "calendar_year":
                raise ValueError(
                    f"line {line.id}: a ladder_year has widths fixed and reset calendar_year"
                )
            if scope.mode != "marginal" or line.qty_round or line.qty != "ENERGY":
                raise ValueError(f"line {line.id}: a ladder_year is marginal, of exact energy")
        return self

    @property
    def zone_info(self) -> ZoneInfo:
        """Return the zone in which its days and years are cut."""
        return ZoneInfo(self.zone)

    @property
    def period_names(self) -> tuple[str, ...]:
        """Return the names of its TouPeriods in order; one period `all` when it has none."""
        return tuple(period.name for period in self.touperiods) or ("all",)

    @property
    def bounds(self) -> Limits:
        """Return what its use is bound by, whatever the basis."""
        if self.limits is not None:
            return self.limits
        most = self.largest_year_wh
        return Limits.model_construct(energy_wh=most, counter_wh=most)
