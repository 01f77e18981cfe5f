"""
What the oracle's lines are made of: exact roundings, quantities, ladders' edges, predicates.

Fractions throughout, read from the tariff's model itself; nothing here is shared with the kernel.
"""

import math
from collections.abc import Sequence
from datetime import timedelta
from fractions import Fraction
from typing import Protocol

from billing.rating.model import PeriodUse
from billing.tariffs.model import (
    AllOf,
    AnyOf,
    Attribute,
    Compare,
    Equals,
    InMonths,
    Member,
    Not,
    Predicate,
    Tariff,
    UseBand,
    Width,
)
from billing.tariffs.model.numbers import DAY_PARTS, MONTH_PARTS, QtyRound, Round
from billing.tariffs.model.parts import Scalar

_HALF = Fraction(1, 2)


class Edged(Protocol):
    """A stretch of a ladder: above `over` up to and including `upto`, open where that is None."""

    @property
    def over(self) -> int:
        """Return the lower edge."""

    @property
    def upto(self) -> int | None:
        """Return the upper edge."""


def rounded(amount: Fraction, rule: Round | QtyRound | None) -> Fraction:
    """Return `amount` at its stated step and mode, symmetric in sign; unstated leaves it exact."""
    if rule is None or rule.mode.value == "none":
        return amount
    steps = Fraction(abs(amount), rule.step)
    floor = math.floor(steps)
    part = steps - floor
    if rule.mode.value == "up":
        floor += part > 0
    elif rule.mode.value == "half_up":
        floor += part >= _HALF
    elif rule.mode.value == "half_even":
        floor += part > _HALF or (part == _HALF and floor % 2 == 1)
    return Fraction(floor * rule.step) * (-1 if amount < 0 else 1)


def share_of(percent: int) -> Fraction:
    """Return a percent, as the file's micros, as a share: 13 % is 13/100."""
    return Fraction(percent, 100_000_000)


def scale_of(widths: Sequence[Width], use: PeriodUse) -> Fraction:
    """Return what a ladder's edges are multiplied by for this use."""
    scale = Fraction(1)
    for width in widths:
        match width:
            case Width.FIXED:
                pass
            case Width.PER_DAY:
                scale *= Fraction(use.days, DAY_PARTS)
            case Width.PER_30D:
                scale *= Fraction(use.days, 30 * DAY_PARTS)
            case Width.PER_MONTH:
                scale *= Fraction(use.months, MONTH_PARTS)
            case Width.PER_HOUSEHOLD:
                scale *= use.households
            case Width.PER_METER:
                scale *= use.meters
    return scale


def edges_of(
    steps: Sequence[Edged], scale: Fraction, rule: QtyRound | None
) -> list[tuple[Fraction, Fraction | None]]:
    """Return each step's scaled lower and upper edge; the upper one is None where it is open."""
    return [
        (
            rounded(step.over * scale, rule),
            None if step.upto is None else rounded(step.upto * scale, rule),
        )
        for step in steps
    ]


def reached(edges: Sequence[tuple[Fraction, Fraction | None]], counter: Fraction) -> int:
    """Return which stretch a counter lies in; nothing used lies in the first."""
    for place, (_, top) in enumerate(edges):
        if top is None or counter <= top:
            return place
    raise ValueError(f"{counter} lies above the last step")


def within(
    low: Fraction, high: Fraction, edges: Sequence[tuple[Fraction, Fraction | None]]
) -> list[Fraction]:
    """Return how much of the stretch from `low` to `high` lies in each step."""
    found = []
    for bottom, top in edges:
        start = max(low, bottom)
        end = high if top is None else min(high, top)
        found.append(max(end - start, Fraction(0)))
    return found


def of_periods(tariff: Tariff, amounts: Sequence[int], periods: Sequence[str]) -> list[int]:
    """Return the figures of the TouPeriods named, of all where none is; missing figures are 0."""
    filled = list(amounts) or [0] * len(tariff.period_names)
    named = dict(zip(tariff.period_names, filled, strict=True))
    return [named[name] for name in periods or tariff.period_names]


def holds(tariff: Tariff, predicate: Predicate | None, use: PeriodUse) -> bool:
    """Return whether a line is due for this use."""
    match predicate:
        case None:
            return True
        case AllOf():
            return all(holds(tariff, each, use) for each in predicate.all_of)
        case AnyOf():
            return any(holds(tariff, each, use) for each in predicate.any_of)
        case Not():
            return not holds(tariff, predicate.negated, use)
        case InMonths():
            return (use.end - timedelta(days=1)).month in predicate.months
        case UseBand():
            return _in_band(tariff, predicate, use)
        case Equals():
            return _same(_attribute(tariff, predicate.attr, use), predicate.eq)
        case Member():
            value = _attribute(tariff, predicate.attr, use)
            return any(_same(value, each) for each in predicate.any_of)
        case Compare():
            return _compares(predicate, _attribute(tariff, predicate.attr, use))


def _in_band(tariff: Tariff, band: UseBand, use: PeriodUse) -> bool:
    match band.qty:
        case "ENERGY":
            quantity = sum(use.energy_wh)
        case "DEMAND_MAX":
            quantity = max(of_periods(tariff, use.demand_w, ()))
        case "CONTRACT_KW":
            quantity = use.contract_w
        case "CAPACITY_KVA":
            quantity = use.capacity_va
    scale = scale_of(band.widths, use)
    if band.upto is not None and quantity > band.upto * scale:
        return False
    return quantity > band.over * scale or band.over == 0


def _attribute(tariff: Tariff, name: str, use: PeriodUse) -> Scalar:
    found: Attribute = tariff.attributes[name]
    value = use.attributes.get(name, found.default)
    if value is None:
        raise ValueError(f"the use does not state its {name}")
    return value


def _same(value: Scalar, wanted: Scalar) -> bool:
    return type(value) is type(wanted) and value == wanted


def _compares(bounds: Compare, value: Scalar) -> bool:
    if type(value) is not int:
        raise TypeError(f"{bounds.attr} is compared but is not a whole number")
    return (
        (bounds.lt is None or value < bounds.lt)
        and (bounds.le is None or value <= bounds.le)
        and (bounds.gt is None or value > bounds.gt)
        and (bounds.ge is None or value >= bounds.ge)
    )
