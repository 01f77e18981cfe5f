"""
The second opinion on every price: scalar, in exact fractions, from the tariff file itself.

Written apart from the kernel and sharing none of its code: it reads steps, not arrays, and rounds
by its own rule. Used by tests, by publishing and by the audit, never to charge anybody.
"""

import math
from fractions import Fraction

from billing.tariffs.model import EnergyLine, PercentLine, Round, Tariff

_HALF = Fraction(1, 2)


def oracle_fee(tariff: Tariff, year_wh: int) -> int:
    """Return the cumulative fee in micros at a year counter in Wh."""
    amounts: dict[str, Fraction] = {}
    for line in tariff.lines:
        if isinstance(line, EnergyLine):
            exact = Fraction(0)
            for step in line.steps:
                top = year_wh if step.upto_wh is None else min(year_wh, step.upto_wh)
                if top > step.over_wh:
                    exact += Fraction(top - step.over_wh, 1000) * step.price
        elif isinstance(line, PercentLine):
            base = sum((amounts[name] for name in line.base), Fraction(0))
            exact = base * Fraction(line.percent, 1_000_000) / 100
        else:
            raise TypeError(f"{line.kind} is not priced yet")
        amounts[line.id] = _rounded(exact, line.round)
    total = _rounded(sum(amounts.values(), Fraction(0)), tariff.total_round)
    if total.denominator != 1:
        raise ValueError(f"{tariff.code} leaves parts of a micro; it should not be published")
    return int(total)


def oracle_between(tariff: Tariff, from_wh: int, to_wh: int) -> int:
    """Return what use between two year counters costs."""
    return oracle_fee(tariff, to_wh) - oracle_fee(tariff, from_wh)


def _rounded(amount: Fraction, rule: Round) -> Fraction:
    if rule.mode.value == "none":
        return amount
    steps = abs(amount) / rule.step
    floor = math.floor(steps)
    part = steps - floor
    if rule.mode.value == "up":
        floor += part > 0
    elif rule.mode.value == "half_up":
        floor += part >= _HALF
    elif rule.mode.value == "half_even":
        floor += part > _HALF or (part == _HALF and floor % 2 == 1)
    return Fraction(floor * rule.step) * (-1 if amount < 0 else 1)
