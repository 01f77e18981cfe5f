"""
Money as integers: one major unit is 1_000_000 micros; the only rounding functions of the product.

Energy is Wh, prices are micros per kWh, a charge is Wh x price / 1000. Rounding is tariff content:
a step and a mode. Every function here is sign-safe: round(-x) == -round(x).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

import numpy as np
import numpy.typing as npt

Micros = NewType("Micros", int)
"""Millionths of a currency's major unit."""

MicrosPerKwh = NewType("MicrosPerKwh", int)
"""A price: micros for each kilowatt-hour."""

Currency = NewType("Currency", str)
"""ISO 4217 code, three capital letters."""

IntArray = npt.NDArray[np.int64]

MICROS_PER_UNIT = 1_000_000
INT64_LIMIT = 9_200_000_000_000_000_000
"""What a product of int64 numbers must stay under; a little less than 2**63."""


class RoundMode(StrEnum):
    """How a quantity between two steps is settled; symmetric in sign."""

    HALF_UP = "half_up"
    HALF_EVEN = "half_even"
    DOWN = "down"
    UP = "up"
    NONE = "none"
    """No rounding: allowed only where the compiler proves that every value is a whole micro."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounding:
    """A step in micros and a mode; `step` is 1 with mode `none`."""

    step: int
    mode: RoundMode

    def __post_init__(self) -> None:
        """Refuse a step that is no step."""
        if self.step < 1:
            raise ValueError(f"a rounding step must be 1 micro or more, not {self.step}")


def round_ratio(numerator: int, denominator: int, rounding: Rounding) -> Micros:
    """
    Return `numerator / denominator` micros rounded to the step, exactly, with Python integers.

    Raises: ValueError when mode is `none` and the ratio is not a whole micro.
    """
    if denominator < 1:
        raise ValueError("a ratio needs a denominator of 1 or more")
    unit = denominator * rounding.step
    sign, size = (-1, -numerator) if numerator < 0 else (1, numerator)
    whole, rest = divmod(size, unit)
    match rounding.mode:
        case RoundMode.HALF_UP:
            whole += 2 * rest >= unit
        case RoundMode.HALF_EVEN:
            whole += 2 * rest > unit or (2 * rest == unit and whole % 2 == 1)
        case RoundMode.UP:
            whole += rest > 0
        case RoundMode.DOWN:
            pass
        case RoundMode.NONE:
            if rest:
                raise ValueError(f"{numerator}/{denominator} is not a whole step; state a rounding")
    return Micros(sign * whole * rounding.step)


def round_ratio_array(numerator: IntArray, denominator: int, rounding: Rounding) -> IntArray:
    """
    Return `round_ratio` of each element; the vector twin used by the kernel.

    The caller has proved that twice every numerator plus `denominator * step` fits int64.
    """
    unit = np.int64(denominator * rounding.step)
    size = np.abs(numerator)
    whole, rest = size // unit, size % unit
    match rounding.mode:
        case RoundMode.HALF_UP:
            whole = whole + (2 * rest >= unit)
        case RoundMode.HALF_EVEN:
            whole = whole + ((2 * rest > unit) | ((2 * rest == unit) & (whole % 2 == 1)))
        case RoundMode.UP:
            whole = whole + (rest > 0)
        case RoundMode.DOWN:
            pass
        case RoundMode.NONE:
            if bool(np.any(rest)):
                raise ValueError("a value is not a whole step; state a rounding")
    rounded: IntArray = np.sign(numerator) * whole * np.int64(rounding.step)
    return rounded


def parse_micros(text: str) -> Micros:
    """
    Return micros of a decimal number written as text (`"12.34"`), straight to an integer.

    Raises: ValueError on anything but digits with at most one point, and on a seventh decimal:
    money is never cut in silence.
    """
    body = text.removeprefix("-")
    whole, _, part = body.partition(".")
    digits = whole + part
    if (
        not whole
        or not digits.isascii()
        or not digits.isdigit()
        or len(part) > 6
        or len(whole) > 12
        or body.endswith(".")
    ):
        raise ValueError(
            f"{text!r} is not an amount; write digits with at most six after the point"
        )
    micros = int(whole) * MICROS_PER_UNIT + int(part.ljust(6, "0"))
    return Micros(-micros if text.startswith("-") else micros)


def to_text(micros: int, decimals: int = 2) -> str:
    """
    Return a plain decimal text for logs, audit and files; people get the portal's formats.

    Digits beyond `decimals` are kept when they are not zero: the text is always exact.
    """
    sign, size = ("-", -micros) if micros < 0 else ("", micros)
    whole, part = divmod(size, MICROS_PER_UNIT)
    fraction = f"{part:06}"
    while len(fraction) > decimals and fraction.endswith("0"):
        fraction = fraction[:-1]
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"
