"""
A usage file: what one account used in one billing period, as the command line and cases take it.

Maps are by TouPeriod name, `all` where the tariff has none. Exactly one of `kwh`, `readings` and
`intervals` states the energy. Everything is checked against the tariff in `billing.rating`.
"""

from datetime import date, datetime
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from billing.tariffs.model.calendar import NAME
from billing.tariffs.model.numbers import DaysText, KwhText, KwText, MonthsText, Part

ByPeriod = dict[Annotated[str, Field(pattern=NAME)], KwhText]
Reset = Literal["period", "calendar_year", "tariff_year", "purchase_month"]


class Span(Part):
    """
    Local days `[start, end)` of the tariff's zone.

    `days` and `months` are what the utility counts; unsaid they follow from the calendar: a month
    for each step from a day to the same day of the next month, else each day 1/28 to 1/31.
    """

    start: date
    end: date
    days: DaysText | None = None
    months: MonthsText | None = None

    @model_validator(mode="after")
    def _is_not_empty(self) -> Self:
        if self.end <= self.start:
            raise ValueError("a period ends after it starts")
        return self


class Reading(Part):
    """Registers as they stood at the start of a local day."""

    at: date
    kwh: ByPeriod


class Intervals(Part):
    """Energy of intervals that follow one another: `start` with its offset, Wh as integers."""

    start: datetime
    seconds: int = Field(gt=0, le=86_400)
    wh: tuple[int | None, ...] = Field(min_length=1, max_length=400_000)
    """None is a missing interval: the file is then refused."""


class Reactive(Part):
    """Reactive energy imported and exported, each absolute."""

    import_kvarh: KwhText = 0
    export_kvarh: KwhText = 0


class PastPeak(Part):
    """The largest power of an earlier month."""

    month: str = Field(pattern=r"^\d{4}-(0[1-9]|1[0-2])$")
    kw: ByPeriod


class UsageFile(Part):
    """One account, one period."""

    account: str = ""
    currency: str | None = Field(default=None, pattern=r"^[A-Z]{3}$")
    period: Span
    quality: Literal["actual", "estimated"]
    kwh: ByPeriod | None = None
    readings: tuple[Reading, ...] | None = None
    intervals: Intervals | None = None
    ct_ratio: int = Field(default=1, ge=1, le=100_000)
    pt_ratio: int = Field(default=1, ge=1, le=100_000)
    ratio_applied: bool = True
    """False: readings, kWh, intervals, kvarh, export and demand are still to be multiplied."""
    loss_kwh: ByPeriod = Field(default_factory=dict)
    """Added to the energy after the ratio."""
    profile: tuple[int, ...] | None = None
    """A weight for each day of the period: where use is cut when no register was read."""
    reactive: Reactive = Reactive()
    export_kwh: ByPeriod = Field(default_factory=dict)
    demand_kw: ByPeriod = Field(default_factory=dict)
    past_peaks: tuple[PastPeak, ...] = ()
    contract_kw: KwText = 0
    capacity_kva: KwText = 0
    before_kwh: dict[Reset, ByPeriod] = Field(default_factory=dict)
    customers: int = Field(default=1, ge=0)
    households: int = Field(default=1, ge=1)
    meters: int = Field(default=1, ge=1)
    attributes: dict[Annotated[str, Field(pattern=NAME)], bool | int | str] = Field(
        default_factory=dict
    )
    closing: bool = True
    """Whether this use ends its billing period: lines with `prorate: none` are charged then."""

    @model_validator(mode="after")
    def _states_its_energy_once(self) -> Self:
        if sum(each is not None for each in (self.kwh, self.readings, self.intervals)) != 1:
            raise ValueError("state one of kwh, readings and intervals")
        return self
