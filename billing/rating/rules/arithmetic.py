"""
Exact arithmetic on columns: int64 where the compiler proved it, Python integers else.

Each function takes arrays of either kind. *Raises*: ValueError where mode `none` meets a part.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from billing.money import IntArray, Rounding, RoundMode

Column = npt.NDArray[Any]
"""int64, or objects that are Python integers."""


def ratio_rounded(
    product: IntArray, times: IntArray | int, divisor: IntArray | int, rounding: Rounding
) -> IntArray:
    """
    Return `product x times / divisor` rounded to the step, without ever forming the product.

    `times` is 0 or more and `divisor` 1 or more. What must fit: `product`, `divisor x times`,
    the result, and four times `step x divisor`.
    """
    size: IntArray = np.abs(product)
    if isinstance(times, int) and times == 1:
        plain = _in_units(size, divisor * rounding.step, rounding)
        return np.where(product < 0, -plain, plain)
    rest: IntArray = (size % divisor) * times
    whole: IntArray = (size // divisor) * times + rest // divisor
    found: IntArray = _to_step(whole, rest % divisor, divisor, rounding)
    return np.where(product < 0, -found, found)


def _to_step(
    whole: IntArray, rest: IntArray, divisor: IntArray | int, rounding: Rounding
) -> IntArray:
    """Return `whole + rest / divisor`, 0 or more, rounded to the step."""
    steps = whole // rounding.step
    over = (whole - steps * rounding.step) * divisor + rest
    return _settled(steps, over, rounding.step * divisor, rounding)


def _in_units(size: IntArray, unit: IntArray | int, rounding: Rounding) -> IntArray:
    """Return `size / unit` rounded to a whole number, x step."""
    steps = size // unit
    return _settled(steps, size - steps * unit, unit, rounding)


def _settled(steps: IntArray, over: IntArray, unit: IntArray | int, rounding: Rounding) -> IntArray:
    """Return whole steps, one more where the part left over asks for it, x step."""
    match rounding.mode:
        case RoundMode.HALF_UP:
            steps = steps + (2 * over >= unit)
        case RoundMode.HALF_EVEN:
            steps = steps + ((2 * over > unit) | ((2 * over == unit) & (steps % 2 == 1)))
        case RoundMode.UP:
            steps = steps + (over > 0)
        case RoundMode.DOWN:
            pass
        case RoundMode.NONE:
            if bool(np.any(over != 0)):
                raise ValueError("a value is not a whole step; state a rounding")
    return steps * rounding.step


def rounded(amount: IntArray, rounding: Rounding | None) -> IntArray:
    """Return whole numbers rounded to the step; unchanged without one."""
    if rounding is None or rounding.step == 1:
        return amount
    return ratio_rounded(amount, 1, 1, rounding)


def clipped(column: IntArray, low: IntArray | int, high: IntArray | int) -> IntArray:
    """Return each element brought within `[low, high]`."""
    found: IntArray = np.minimum(np.maximum(column, low), high)
    return found
