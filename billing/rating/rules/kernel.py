"""
The one pricing kernel: use x a compiled tariff -> rounded micros of every line and in total.

The sweep, the drawdown, the bill run, the page and the command line all call `price`. The functions
on year counters are the special case of one cumulative ladder: there a charge is the difference of
two cumulatives, so that roundings cancel and parts add up to the whole, exactly.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from billing.money import IntArray
from billing.rating.model import (
    ChargeLine,
    Charges,
    CompiledEnergy,
    CompiledLine,
    CompiledTariff,
    PeriodUse,
    Use,
    UseColumns,
)
from billing.rating.rules import fused
from billing.rating.rules.arithmetic import ratio_rounded
from billing.rating.rules.columns import Chunk, check_columns, columns_of
from billing.rating.rules.lines import Sheet, amount

CHUNK = 32_768
"""Accounts at a time: a column of them stays in the cache."""

VERSION = 2
"""Raised when the kernel itself would price the same use otherwise; stands in every bill."""


def price(tariff: CompiledTariff, use: UseColumns) -> Charges:
    """
    Return what each account is charged, line by line and in total.

    *Shape*: (lines, accounts) and (accounts,). Raises: ValueError when a column is beyond what the
    compiler proved; the caller parks such accounts first.
    """
    check_columns(tariff, use)
    charges = empty_charges(tariff, use)
    price_into(tariff, use, 0, use.accounts, charges)
    return charges


def empty_charges(tariff: CompiledTariff, use: UseColumns) -> Charges:
    """Return room for the charges of all accounts, nothing in it yet."""
    return Charges(
        lines=np.empty((len(tariff.lines), use.accounts), dtype=np.int64),
        total=np.empty(use.accounts, dtype=np.int64),
    )


def price_into(
    tariff: CompiledTariff, use: UseColumns, first: int, end: int, charges: Charges
) -> None:
    """Price the accounts `[first, end)` of columns that were checked, into their own places."""
    for start in range(first, end, CHUNK):
        stop = min(start + CHUNK, end)
        sheet = Sheet(tariff, Chunk(use, start, stop, tariff.wide))
        lines = charges.lines[:, start:stop]
        for row, line in enumerate(tariff.lines):
            if fused.price_line(sheet, row, line, charges.lines):
                sheet.amounts.append(lines[row])
            else:
                sheet.amounts.append(amount(sheet, row, line))
                lines[row] = sheet.amounts[row]
        total = charges.total[start:stop]
        if not fused.price_total(sheet, charges.lines, total):
            total[:] = ratio_rounded(sheet.base(tariff.counted), 1, 1, tariff.total)


def price_uses(tariff: CompiledTariff, uses: Sequence[PeriodUse]) -> Charges:
    """
    Return what uses are charged, of either basis; a ladder year's as differences of cumulatives.

    Raises: ValueError as `price`, RefusedError `usage.attribute`.
    """
    if tariff.basis == "period":
        return price(tariff, columns_of(tariff, uses))
    start = [sum(use.before_wh.get("calendar_year", ())) for use in uses]
    end = [before + sum(use.energy_wh) for before, use in zip(start, uses, strict=True)]
    first = charges_at(tariff, np.array(start, dtype=np.int64))
    last = charges_at(tariff, np.array(end, dtype=np.int64))
    return Charges(lines=last.lines - first.lines, total=last.total - first.total)


def price_closed_and_open(
    tariff: CompiledTariff, uses: Sequence[PeriodUse]
) -> tuple[Charges, IntArray]:
    """
    Return what uses are charged, and their totals were none of them the close of its period.

    Raises: as `price_uses`.
    """
    if tariff.basis != "period" or not any(map(ends_a_period, tariff.lines)):
        charges = price_uses(tariff, uses)
        return charges, charges.total
    columns = columns_of(tariff, uses)
    return price(tariff, columns), price_open(tariff, columns).total


def price_open(tariff: CompiledTariff, use: UseColumns) -> Charges:
    """
    Return what accounts are charged so far in a period that goes on: no line of its end.

    What the close adds is `price` less this: minimum charges, demand, and what is charged once for
    the whole period. *Shape* and errors as `price`.
    """
    still = replace(use, closing=np.zeros(use.accounts, dtype=np.int64))
    return price(open_twin(tariff), still)


def open_twin(tariff: CompiledTariff) -> CompiledTariff:
    """Return the version as it prices a use that does not close its period."""
    if tariff.digest not in _OPEN:
        _OPEN[tariff.digest] = replace(
            tariff,
            lines=tuple(
                replace(line, head=replace(line.head, at_close=True)) if ends_a_period(line)
                else line
                for line in tariff.lines
            ),
        )  # fmt: skip
    return _OPEN[tariff.digest]


def ends_a_period(line: CompiledLine) -> bool:
    """Tell whether a line is charged at the close alone: what is measured of a whole period."""
    return line.head.at_close or line.head.kind in ("minimum", "demand")


_OPEN: dict[str, CompiledTariff] = {}
"""Twins of versions while their periods go on; named by content, so never stale."""


def charges_at(tariff: CompiledTariff, year_wh: IntArray) -> Charges:
    """
    Return the cumulative charge of each year counter since the ladder's start.

    *Shape*: (points,) in, (lines, points) and (points,) out. Raises: ValueError when a counter is
    negative or beyond the bound that the compiler proved; the caller parks such accounts first.
    """
    _check_ladder_year(tariff)
    if year_wh.size and (int(year_wh.min()) < 0 or int(year_wh.max()) > tariff.largest_wh):
        raise ValueError(f"a year counter is outside 0..{tariff.largest_wh} Wh of {tariff.code}")
    return price(tariff, UseColumns(energy_wh=year_wh.reshape(1, -1)))


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
            found.extend(_steps(tariff, row, line, from_wh, to_wh))
        else:
            amount_micros = int(both.lines[row, 1] - both.lines[row, 0])
            found.append(_flat(line.head.id, line.head.label, from_wh, to_wh, amount_micros))
    rest = int(both.total[1] - both.total[0]) - sum(line.amount_micros for line in found)
    if rest:
        found.append(_flat("rounding", {}, from_wh, to_wh, rest))
    return found


def _check_ladder_year(tariff: CompiledTariff) -> None:
    if tariff.basis != "ladder_year":
        raise ValueError(f"{tariff.code} prices periods, not a cumulative year; call price")


def _steps(
    tariff: CompiledTariff, row: int, line: CompiledEnergy, from_wh: int, to_wh: int
) -> list[ChargeLine]:
    found = []
    edges = zip(line.lo.tolist(), line.hi.tolist(), line.price.tolist(), strict=True)
    for number, (lo, hi, price_micros) in enumerate(edges, start=1):
        start, end = max(from_wh, lo), min(to_wh, hi)
        if start < end:
            ends = charges_at(tariff, np.array([start, end], dtype=np.int64)).lines[row]
            found.append(
                ChargeLine(
                    line=line.id, label=line.label, step=number, from_wh=start, upto_wh=end,
                    price_micros_per_kwh=price_micros, amount_micros=int(ends[1] - ends[0]),
                )
            )  # fmt: skip
    return found


def _flat(line: str, label: Mapping[str, str], from_wh: int, to_wh: int, amount: int) -> ChargeLine:
    return ChargeLine(
        line=line, label=label, step=0, from_wh=from_wh, upto_wh=to_wh,
        price_micros_per_kwh=None, amount_micros=amount,
    )  # fmt: skip
