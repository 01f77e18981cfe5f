"""
A tariff version as its file says it: numbers come as decimal text and go straight to integers.

What the engine cannot do is not in these types, so a file that asks for it is refused at the door
instead of being ignored.
"""

import re
from datetime import date
from enum import StrEnum
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from billing.money import Rounding, RoundMode, parse_micros
from protocols.quantities import WH_PER_KWH


class Refusal(StrEnum):
    """Why a tariff file or version was not taken."""

    SHAPE = "tariffs.shape"
    STEPS = "tariffs.steps"
    ROUNDING = "tariffs.rounding"
    BOUND = "tariffs.bound"
    CASE = "tariffs.case"
    VALIDITY = "tariffs.validity"
    CHANGED = "tariffs.changed"
    UNKNOWN = "tariffs.unknown"


_KWH = re.compile(r"(\d{1,12})(?:\.(\d{1,3}))?")


def _wh_of_kwh(text: Any) -> int:
    """Return Wh of a kWh text such as `"2400"` or `"0.5"`; finer than a Wh is refused."""
    found = _KWH.fullmatch(text) if isinstance(text, str) else None
    if not found:
        raise ValueError("energy is kWh as text with at most three decimals, such as '2400'")
    return int(found[1]) * WH_PER_KWH + int((found[2] or "").ljust(3, "0"))


def _micros_of_text(text: Any) -> int:
    """Return micros of a decimal text; numbers are refused because JSON makes them floats."""
    if not isinstance(text, str):
        raise ValueError("money and prices are decimal text, such as '0.5200'")  # noqa: TRY004
    return parse_micros(text)


KwhText = Annotated[int, BeforeValidator(_wh_of_kwh)]
MoneyText = Annotated[int, BeforeValidator(_micros_of_text)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Round(_Part):
    """A stated rounding: step in major units as text, and mode."""

    step: MoneyText = Field(gt=0)
    mode: RoundMode

    @property
    def rounding(self) -> Rounding:
        """Return it in micros; mode `none` has the step of one micro."""
        return Rounding(step=1 if self.mode is RoundMode.NONE else self.step, mode=self.mode)


class PriceStep(_Part):
    """Use above `over` up to and including `upto` (Wh once read; open on the last) has `price`."""

    over_wh: KwhText = Field(alias="over_kwh")
    upto_wh: KwhText | None = Field(alias="upto_kwh")
    price: MoneyText = Field(ge=0)


class Scope(_Part):
    """How step widths scale and when the ladder starts again; only what the kernel can do."""

    widths: Literal["fixed"]
    reset: Literal["calendar_year"]
    mode: Literal["marginal"]


class EnergyLine(_Part):
    """Energy priced through steps."""

    kind: Literal["energy"]
    id: str = Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")
    label: dict[str, str]
    ledger_code: Literal["revenue_energy"]
    scope: Scope
    steps: tuple[PriceStep, ...] = Field(min_length=1)
    round: Round


class PercentLine(_Part):
    """A share of the rounded amounts of earlier lines: a tax, a levy, a discount."""

    kind: Literal["percent"]
    id: str = Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")
    label: dict[str, str]
    ledger_code: Literal["revenue_energy"]
    percent: MoneyText
    base: tuple[str, ...] = Field(min_length=1)
    round: Round


Line = Annotated[EnergyLine | PercentLine, Field(discriminator="kind")]


class Case(_Part):
    """A worked example: between two year counters the fee is `total`, to the last micro."""

    name: str
    from_wh: KwhText = Field(alias="from_kwh")
    to_wh: KwhText = Field(alias="to_kwh")
    total: MoneyText


class Tariff(_Part):
    """
    One immutable version.

    `largest_year_wh` is the largest use in a ladder year that the agreements of this class can
    have; the compiler proves that nothing overflows up to there and the kernel refuses more.
    """

    code: str = Field(pattern=r"^[a-z][a-z0-9-]{0,47}$")
    version: int = Field(ge=1)
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    minor_units: int = Field(ge=0, le=6)
    zone: str
    valid_from: date
    valid_to: date | None = None
    largest_year_wh: KwhText = Field(alias="largest_year_kwh", gt=0)
    vat_included: bool
    legal_ref: str
    sources: tuple[str, ...] = Field(min_length=1)
    lines: tuple[Line, ...] = Field(min_length=1)
    total_round: Round
    test_cases: tuple[Case, ...] = Field(min_length=1)

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

    @property
    def zone_info(self) -> ZoneInfo:
        """Return the zone in which its days and years are cut."""
        return ZoneInfo(self.zone)
