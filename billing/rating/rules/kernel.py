"""
The one pricing kernel: year counters in Wh x a compiled tariff -> rounded cumulative micros.

The sweep, the drawdown, the bill and the page all call these functions. A charge is always the
difference of two cumulatives: rounding then cancels and parts add up to the whole, exactly.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from billing.money import IntArray, round_ratio_array
from billing.rating.model import (
    ChargeLine,
    Charges,
    CompiledEnergy,
    CompiledPercent,
    CompiledTariff,
    Use,
)
from protocols.quantities import WH_PER_KWH


def charges_at(tariff: CompiledTariff, year_wh: IntArray) -> Charges:
    """
    Return the cumulative charge of each year counter since the ladder's start.

    *Shape*: (points,) in, (lines, points) and (points,) out. Raises: ValueError when a counter is
    negative or beyond the bound that the compiler proved; the caller parks such accounts first.
    """
    if year_wh.size and (int(year_wh.min()) < 0 or int(year_wh.max()) > tariff.largest_wh):
        raise ValueError(f"a year counter is outside 0..{tariff.largest_wh} Wh of {tariff.code}")
    lines = np.zeros((len(tariff.lines), year_wh.size), dtype=np.int64)
    for row, line in enumerate(tariff.lines):
        if isinstance(line, CompiledEnergy):
            lines[row] = _energy(line, year_wh)
        else:
            lines[row] = _percent(line, lines)
    total = round_ratio_array(lines.sum(axis=0, dtype=np.int64), 1, tariff.total)
    return Charges(lines=lines, total=total)


def fee_at(tariff: CompiledTariff, year_wh: IntArray) -> IntArray:
    """Return the cumulative fee at each year counter; the total of `charges_at`."""
    return charges_at(tariff, year_wh).total


def fee_between(tariff: CompiledTariff, from_wh: int, to_wh: int) -> int:
    """Return what the use between two year counters costs: a difference of cumulatives."""
    first, last = fee_at(tariff, np.array([from_wh, to_wh], dtype=np.int64))
    return int(last) - int(first)


def tier_at(tariff: CompiledTariff, year_wh: IntArray) -> IntArray:
    """Return the ladder step each year counter has reached, counted from 1."""
    reached = np.searchsorted(tariff.ladder.hi[:-1], year_wh, side="left")
    tiers: IntArray = reached.astype(np.int64) + 1
    return tiers


def bill(tariffs: Mapping[str, CompiledTariff], uses: Sequence[Use]) -> int:
    """Return the bill of a period, given its stretches; what drawdowns must add up to (C7)."""
    return sum(fee_between(tariffs[use.digest], use.from_wh, use.to_wh) for use in uses)


def trace(tariff: CompiledTariff, from_wh: int, to_wh: int) -> list[ChargeLine]:
    """
    Return the lines that make up `fee_between`; their amounts sum to it exactly.

    A step's amount is the difference of the line's rounded cumulative at the step's two ends.
    """
    both = charges_at(tariff, np.array([from_wh, to_wh], dtype=np.int64))
    found: list[ChargeLine] = []
    for row, line in enumerate(tariff.lines):
        if isinstance(line, CompiledEnergy):
            found.extend(_steps(line, from_wh, to_wh))
        else:
            amount = int(both.lines[row, 1] - both.lines[row, 0])
            found.append(_flat(line.id, line.label, from_wh, to_wh, amount))
    rest = int(both.total[1] - both.total[0]) - sum(line.amount_micros for line in found)
    if rest:
        found.append(_flat("rounding", {}, from_wh, to_wh, rest))
    return found


def _energy(line: CompiledEnergy, year_wh: IntArray) -> IntArray:
    product = np.zeros(year_wh.size, dtype=np.int64)
    for lo, hi, price in zip(line.lo, line.hi, line.price, strict=True):
        product += (np.clip(year_wh, lo, hi) - lo) * price
    return round_ratio_array(product, WH_PER_KWH, line.rounding)


def _percent(line: CompiledPercent, lines: IntArray) -> IntArray:
    base = lines[list(line.base)].sum(axis=0, dtype=np.int64)
    return round_ratio_array(base * np.int64(line.numerator), line.denominator, line.rounding)


def _steps(line: CompiledEnergy, from_wh: int, to_wh: int) -> list[ChargeLine]:
    found = []
    for number, (lo, hi, price) in enumerate(
        zip(line.lo.tolist(), line.hi.tolist(), line.price.tolist(), strict=True), start=1
    ):
        start, end = max(from_wh, lo), min(to_wh, hi)
        if start < end:
            ends = _energy(line, np.array([start, end], dtype=np.int64))
            found.append(
                ChargeLine(
                    line=line.id, label=line.label, step=number, from_wh=start, upto_wh=end,
                    price_micros_per_kwh=price, amount_micros=int(ends[1] - ends[0]),
                )
            )  # fmt: skip
    return found


def _flat(line: str, label: Mapping[str, str], from_wh: int, to_wh: int, amount: int) -> ChargeLine:
    return ChargeLine(
        line=line, label=label, step=0, from_wh=from_wh, upto_wh=to_wh,
        price_micros_per_kwh=None, amount_micros=amount,
    )  # fmt: skip
