"""
The second opinion on every price: scalar, in exact fractions, from the tariff file itself.

Written apart from the kernel and sharing none of its code: it reads steps, not arrays, and rounds
by its own rule. Used by tests, by publishing and by the audit, never to charge anybody.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from fractions import Fraction

from billing.rating.model import PeriodUse
from billing.rating.rules.oracle_lines import charged, exact_amount
from billing.rating.rules.oracle_parts import holds, rounded
from billing.tariffs.model import (
    DemandLine,
    MaximumLine,
    MinimumLine,
    SubsidyLine,
    SumLine,
    Tariff,
)
from billing.tariffs.model.numbers import DAY_PARTS, MONTH_PARTS


@dataclass(frozen=True, slots=True, kw_only=True)
class OracleCharges:
    """The amount of every line by its id, subtotals too, and the total. *Units*: micros."""

    lines: Mapping[str, int]
    total: int


def oracle_charges(tariff: Tariff, use: PeriodUse) -> OracleCharges:
    """
    Return what each line and all of them charge for a use under one tariff version.

    A `ladder_year` tariff charges the difference of two cumulatives of the calendar year's counter.
    """
    if tariff.basis == "period":
        return _charges(tariff, use)
    counter = sum(use.before_wh.get("calendar_year", ()))
    last = _cumulative(tariff, counter + sum(use.energy_wh), use)
    first = _cumulative(tariff, counter, use)
    return OracleCharges(
        lines={name: amount - first.lines[name] for name, amount in last.lines.items()},
        total=last.total - first.total,
    )


def oracle_open(tariff: Tariff, use: PeriodUse) -> OracleCharges:
    """
    Return what a use of a `period` tariff charges while its period goes on.

    Minimum charges and demand are known at the end of the period only, and what is not shared by
    days is charged then.
    """
    return _charges(tariff, replace(use, closing=False), at_end=(MinimumLine, DemandLine))


def oracle_fee(tariff: Tariff, year_wh: int) -> int:
    """Return the cumulative fee in micros of a `ladder_year` tariff at a year counter in Wh."""
    day = PeriodUse(
        start=tariff.valid_from,
        end=tariff.valid_from + timedelta(days=1),
        days=DAY_PARTS,
        months=MONTH_PARTS,
        energy_wh=(0,),
        quality="actual",
        whole_days=DAY_PARTS,
        whole_months=MONTH_PARTS,
    )
    return _cumulative(tariff, year_wh, day).total


def oracle_between(tariff: Tariff, from_wh: int, to_wh: int) -> int:
    """Return what use between two year counters costs."""
    return oracle_fee(tariff, to_wh) - oracle_fee(tariff, from_wh)


def _cumulative(tariff: Tariff, year_wh: int, use: PeriodUse) -> OracleCharges:
    return _charges(tariff, replace(use, energy_wh=(year_wh,), before_wh={}))


def _charges(tariff: Tariff, use: PeriodUse, *, at_end: tuple[type, ...] = ()) -> OracleCharges:
    amounts: dict[str, Fraction] = {}
    for line in tariff.lines:
        due = charged(line, use) and holds(tariff, line.when, use)
        due = due and not isinstance(line, at_end)
        exact = exact_amount(tariff, line, use, amounts) if due else Fraction(0)
        # what lifts or lowers a base is a difference of rounded figures, itself not rounded again
        follows = isinstance(line, MinimumLine | MaximumLine | SubsidyLine)
        amounts[line.id] = exact if follows else rounded(exact, line.round)
    added = [amounts[line.id] for line in tariff.lines if not isinstance(line, SumLine)]
    total = rounded(sum(added, Fraction(0)), tariff.total_round)
    if any(amount.denominator != 1 for amount in (*amounts.values(), total)):
        raise ValueError(f"{tariff.code} leaves parts of a micro; it should not be published")
    return OracleCharges(
        lines={name: int(amount) for name, amount in amounts.items()}, total=int(total)
    )
