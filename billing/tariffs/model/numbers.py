"""
Numbers of tariff and usage files: decimal text, parsed straight to integers, never through floats.

*Units* once read: energy Wh, reactive energy varh, power W and VA, money micros, prices micros per
kWh, kvarh, kW, kVA, day or month, percents micros of a percent (13 % is 13_000_000), days in
`DAY_PARTS`, months in `MONTH_PARTS`.
"""

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from billing.money import Rounding, RoundMode, parse_micros

DAY_PARTS = 1440
"""A day is counted in minutes, so that an average month (365/12 days) is a whole number too."""

MONTH_PARTS = 377_580
"""The least number that 28, 29, 30 and 31 all divide: any day is a whole share of its month."""

PERCENT_UNIT = 100_000_000
"""What a percent, read as micros, is divided by to be a share."""

_THOUSANDTHS = re.compile(r"(\d{1,12})(?:\.(\d{1,3}))?")
_RATIO = re.compile(r"(\d{1,9})(?:\.(\d{1,6}))?(?:/(\d{1,6}))?")


class Part(BaseModel):
    """A piece of a file: frozen, and with no room for what the engine does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=False)


def _thousandths(text: Any) -> int:
    """Return Wh of a kWh text such as `"2400"` or `"0.5"` (or W of kW ..); finer is refused."""
    found = _THOUSANDTHS.fullmatch(text) if isinstance(text, str) else None
    if not found:
        raise ValueError("energy is kWh as text with at most three decimals, such as '2400'")
    return int(found[1]) * 1000 + int((found[2] or "").ljust(3, "0"))


def _micros(text: Any) -> int:
    """Return micros of a decimal text; numbers are refused because JSON makes them floats."""
    if not isinstance(text, str):
        raise ValueError("money and prices are decimal text, such as '0.5200'")  # noqa: TRY004
    return parse_micros(text)


def _parts(text: Any, parts: int, what: str) -> int:
    found = _RATIO.fullmatch(text) if isinstance(text, str) else None
    if not found or (found[3] and not int(found[3])):
        raise ValueError(f"{what} are text such as '30' or '10/31'")
    numerator = parts * int(found[1] + (found[2] or ""))
    whole: int
    whole, rest = divmod(numerator, 10 ** len(found[2] or "") * int(found[3] or 1))
    if rest:
        raise ValueError(f"{text!r} {what} are not a whole number of 1/{parts}")
    return whole


def _day_parts(text: Any) -> int:
    return _parts(text, DAY_PARTS, "days")


def _month_parts(text: Any) -> int:
    return _parts(text, MONTH_PARTS, "months")


def _hundredths(text: Any) -> int:
    """Return hundredths of a power factor written as `"0.90"`."""
    if not isinstance(text, str) or not re.fullmatch(r"0\.\d\d|1\.00", text):
        raise ValueError("a power factor is text with two decimals, such as '0.90'")
    return int(text.replace(".", ""))


KwhText = Annotated[int, BeforeValidator(_thousandths)]
KwText = Annotated[int, BeforeValidator(_thousandths)]
MoneyText = Annotated[int, BeforeValidator(_micros)]
PercentText = Annotated[int, BeforeValidator(_micros)]
DaysText = Annotated[int, BeforeValidator(_day_parts)]
MonthsText = Annotated[int, BeforeValidator(_month_parts)]
FactorText = Annotated[int, BeforeValidator(_hundredths)]


class Round(Part):
    """A stated rounding of money: step in major units as text, and mode."""

    step: MoneyText = Field(gt=0)
    mode: RoundMode

    @property
    def rounding(self) -> Rounding:
        """Return it in micros; mode `none` has the step of one micro."""
        return Rounding(step=1 if self.mode is RoundMode.NONE else self.step, mode=self.mode)


class QtyRound(Part):
    """A stated rounding of a quantity: step in kWh, kvarh, kW or kVA as text, and mode."""

    step: KwhText = Field(gt=0)
    mode: RoundMode

    @property
    def rounding(self) -> Rounding:
        """Return it in Wh, varh, W or VA; mode `none` has the step of one."""
        return Rounding(step=1 if self.mode is RoundMode.NONE else self.step, mode=self.mode)
