"""
Each kind of line over one chunk of columns: the plain twin, right for any tariff.

`Sheet` is a bill in the making: amounts of the lines so far, and the quantities of energy lines,
which a credit looks back to.
"""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from billing.money import IntArray, Rounding, RoundMode
from billing.rating.model import (
    CompiledCredit,
    CompiledEnergy,
    CompiledLine,
    CompiledPercent,
    CompiledPf,
    CompiledPower,
    CompiledTariff,
    CompiledValue,
    Ladder,
)
from billing.rating.rules.arithmetic import clipped, ratio_rounded, rounded
from billing.rating.rules.columns import Chunk
from billing.rating.rules.predicates import Truth, holds, width_factor
from billing.tariffs.model import Width
from billing.tariffs.model.numbers import DAY_PARTS, MONTH_PARTS, PERCENT_UNIT

EXACT = Rounding(step=1, mode=RoundMode.NONE)


@dataclass(slots=True)
class Sheet:
    """The lines of one chunk, filled from the first to the last."""

    tariff: CompiledTariff
    chunk: Chunk
    amounts: list[IntArray] = field(default_factory=list)
    quantities: dict[int, IntArray] = field(default_factory=dict)

    def base(self, rows: tuple[int, ...]) -> IntArray:
        """Return the sum of earlier lines."""
        found = self.chunk.constant(0)
        for row in rows:
            found = found + self.amounts[row]
        return found


def active(sheet: Sheet, line: CompiledLine) -> Truth | None:
    """Return for whom a line is charged, None for all."""
    head = line.head
    found = None if head.when is None else holds(sheet.tariff, sheet.chunk, head.when)
    if head.at_close and sheet.chunk.use.closing is not None:
        closes = sheet.chunk.column("closing") == 1
        found = closes if found is None else found & closes
    return found


def amount(sheet: Sheet, row: int, line: CompiledLine) -> IntArray:
    """Return a line's amounts, 0 where it is not charged; notes the quantity of energy lines."""
    on = active(sheet, line)
    match line:
        case CompiledEnergy():
            quantity = energy_quantity(sheet.chunk, line)
            sheet.quantities[row] = quantity if on is None else np.where(on, quantity, 0)
            product = sheet.chunk.constant(0)
            for price, part in energy_steps(sheet.chunk, line, quantity):
                product = product + part * price
            found = line.sign * ratio_rounded(product, 1, 1000, line.head.rounding)
        case CompiledPower():
            product = sheet.chunk.constant(0)
            for price, part in ladder_parts(line.ladder, power_quantity(sheet.chunk, line)):
                product = product + part * price
            times, parts = time_factor(sheet.chunk, line.per, at_close=line.head.at_close)
            found = ratio_rounded(product, times, 1000 * parts, line.head.rounding)
        case CompiledValue():
            found = _valued(sheet, line)
        case CompiledCredit():
            free = np.minimum(credit_limit(sheet.chunk, line), credited(sheet, line))
            found = -ratio_rounded(free * line.price, 1, 1000, line.head.rounding)
        case CompiledPercent():
            size = sheet.base(line.base) * (-1 if line.numerator < 0 else 1)
            found = ratio_rounded(size, abs(line.numerator), line.denominator, line.head.rounding)
        case CompiledPf():
            percent = pf_percent(sheet, line)
            size = sheet.base(line.base) * np.where(percent < 0, -1, 1)
            times = np.abs(percent.astype(object) if sheet.chunk.wide else percent)
            found = ratio_rounded(size, times, PERCENT_UNIT, line.head.rounding)
    return found if on is None else np.where(on, found, 0)


def energy_quantity(chunk: Chunk, line: CompiledEnergy) -> IntArray:
    """Return what an energy or export line prices, in Wh or varh."""
    match line.qty:
        case "EXPORT":
            quantity = chunk.export(line.periods, whole=line.whole)
        case "REACTIVE":
            quantity = chunk.column("reactive_varh")
        case _:
            quantity = chunk.energy(line.periods, whole=line.whole)
    if line.free_micros and line.qty_rounding:
        every = tuple(range(chunk.use.energy_wh.shape[0]))
        free = chunk.energy(every, whole=True) * line.free_micros
        over = np.maximum(quantity * PERCENT_UNIT - free, 0)
        return ratio_rounded(over, 1, PERCENT_UNIT, line.qty_rounding)
    return rounded(quantity, line.qty_rounding)


def energy_steps(
    chunk: Chunk, line: CompiledEnergy, quantity: IntArray
) -> list[tuple[int, IntArray]]:
    """
    Return price and quantity of every step of every ladder of the line, in order.

    Steps that an account does not reach have the quantity 0; together they are `quantity`.
    """
    every = tuple(range(chunk.use.energy_wh.shape[0]))
    climbing = chunk.energy(every, whole=True) if line.pro_rata else quantity
    before = chunk.constant(0)
    if not line.from_zero:
        periods = every if line.pro_rata else line.periods
        before = chunk.before(line.reset, periods, whole=line.pro_rata or line.whole)
    chosen = _reached(_edges(chunk, line, line.switch.tolist()), before + climbing)
    found: list[tuple[int, IntArray]] = []
    for number, ladder in enumerate(line.ladders):
        edges = _edges(chunk, line, ladder.hi[:-1].tolist())
        if line.mode == "whole_band":
            reached = _reached(edges, before + climbing)
            parts = [np.where(reached == n, quantity, 0) for n in range(len(ladder.price))]
        elif line.pro_rata:
            assert line.edge_rounding is not None
            below = [clipped(edge - before, 0, climbing) for edge in edges]
            parts = _shares(below, quantity, climbing, line.edge_rounding)
        else:
            marks = [clipped(edge, before, before + quantity) for edge in edges]
            parts = _between([before, *marks, before + quantity])
        if len(line.ladders) > 1:
            parts = [np.where(chosen == number, part, 0) for part in parts]
        found.extend(zip(ladder.price.tolist(), parts, strict=True))
    return found


def step_reached(chunk: Chunk, line: CompiledEnergy) -> IntArray:
    """Return the step that each account's energy has come to on the line's ladder, from 1."""
    every = tuple(range(chunk.use.energy_wh.shape[0]))
    quantity = energy_quantity(chunk, line)
    climbing = chunk.energy(every, whole=True) if line.pro_rata else quantity
    before = chunk.constant(0)
    if not line.from_zero:
        periods = every if line.pro_rata else line.periods
        before = chunk.before(line.reset, periods, whole=line.pro_rata or line.whole)
    return _reached(_edges(chunk, line, line.hi[:-1].tolist()), before + climbing) + 1


def _edges(chunk: Chunk, line: CompiledEnergy, edges: list[int]) -> list[IntArray]:
    """Return the finite edges of a ladder, scaled."""
    return [scaled(chunk, edge, line.widths, line.width_rounding) for edge in edges]


def scaled(
    chunk: Chunk, edge: int, widths: tuple[Width, ...], rounding: Rounding | None
) -> IntArray:
    """Return an edge times its widths."""
    if widths == (Width.FIXED,):
        return chunk.constant(edge)
    times, divisor = width_factor(chunk, widths)
    return ratio_rounded(edge * times, 1, divisor, rounding or EXACT)


def _reached(edges: list[IntArray], counter: IntArray) -> IntArray:
    """Return the number of the step that a counter lies in, counted from 0."""
    found = np.zeros(counter.shape, dtype=np.int64)
    for edge in edges:
        found += counter > edge
    return found


def _shares(
    below: list[IntArray], quantity: IntArray, whole: IntArray, rounding: Rounding
) -> list[IntArray]:
    """Return a line's part of each step that all energy climbs."""
    divisor = np.maximum(whole, 1)
    marks = []
    for part in below:
        share = np.minimum(ratio_rounded(part * quantity, 1, divisor, rounding), quantity)
        marks.append(np.where(part == whole, quantity, share))
    return _between([quantity * 0, *marks, quantity])


def _between(marks: list[IntArray]) -> list[IntArray]:
    return [high - low for low, high in pairwise(marks)]


def ladder_parts(ladder: Ladder, quantity: IntArray) -> list[tuple[int, IntArray]]:
    """Return price and quantity of every step of a ladder that starts at 0."""
    marks = [np.minimum(quantity, edge) for edge in ladder.hi[:-1].tolist()]
    return list(zip(ladder.price.tolist(), _between([quantity * 0, *marks, quantity]), strict=True))


def power_quantity(chunk: Chunk, line: CompiledPower) -> IntArray:
    """Return the billed W or VA of a demand or capacity line."""
    match line.qty:
        case "DEMAND_MAX":
            power = chunk.demand(line.periods)
        case "CONTRACT_KW":
            power = chunk.column("contract_w")
        case _:
            power = chunk.column("capacity_va")
    ratchet = line.ratchet
    if ratchet is not None:
        rounding = ratchet.round.rounding
        past = chunk.constant(0)
        for ago in range(1, ratchet.lookback_months + 1):
            past = np.maximum(past, chunk.past(ago, line.ratchet_periods, ratchet.months))
        power = np.maximum(power, ratio_rounded(past, ratchet.percent, PERCENT_UNIT, rounding))
        contract = chunk.column("contract_w")
        floor = ratio_rounded(contract, ratchet.floor_contract_percent, PERCENT_UNIT, rounding)
        power = np.maximum(np.maximum(power, floor), ratchet.floor_w)
    if line.above_micros is not None and line.qty_rounding:
        over = power * PERCENT_UNIT - chunk.column("contract_w") * line.above_micros
        return ratio_rounded(np.maximum(over, 0), 1, PERCENT_UNIT, line.qty_rounding)
    return rounded(power, line.qty_rounding)


def time_factor(chunk: Chunk, per: str, *, at_close: bool) -> tuple[IntArray | int, int]:
    """Return the time a price is multiplied by, and how many parts of it are one."""
    if per == "period":
        return 1, 1
    name, parts = ("days", DAY_PARTS) if per == "day" else ("months", MONTH_PARTS)
    return chunk.column(f"whole_{name}" if at_close else name), parts


_SIZES = {"CONTRACT_KW": "contract_w", "CAPACITY_KVA": "capacity_va", "CUSTOMERS": "customers"}


def value_of(chunk: Chunk, line: CompiledValue) -> tuple[IntArray, IntArray | int, int]:
    """Return product, times and divisor of a value line: price and size, time, and their units."""
    size, unit = chunk.constant(1), 1
    if line.qty in _SIZES:
        size = chunk.column(_SIZES[line.qty])
        unit = 1 if line.qty == "CUSTOMERS" else 1000
    times, parts = time_factor(chunk, line.per, at_close=line.head.at_close)
    return size * line.price, times, unit * parts


def _valued(sheet: Sheet, line: CompiledValue) -> IntArray:
    product, times, divisor = value_of(sheet.chunk, line)
    value = ratio_rounded(product, times, divisor, line.head.rounding)
    base = sheet.base(line.base)
    match line.head.kind:
        case "minimum":
            value = np.maximum(value - base, 0)
        case "maximum":
            value = np.minimum(value - base, 0)
        case "subsidy":
            value = -(np.minimum(value, np.maximum(base, 0)) if line.base else value)
    return value


def credit_limit(chunk: Chunk, line: CompiledCredit) -> IntArray:
    """Return the energy that is free."""
    return scaled(chunk, line.free_wh, line.widths, line.width_rounding)


def credited(sheet: Sheet, line: CompiledCredit) -> IntArray:
    """Return the energy that the base lines price."""
    found = sheet.chunk.constant(0)
    for row in line.base:
        found = found + sheet.quantities[row]
    return found


def pf_percent(sheet: Sheet, line: CompiledPf) -> IntArray:
    """Return each account's adjustment in micros of a percent; none without any energy."""
    every = tuple(range(len(sheet.tariff.periods)))
    some = sheet.chunk.energy(every, whole=True) + sheet.chunk.column("reactive_varh") > 0
    return np.where(some, line.percent[factors(sheet)], 0)


def factors(sheet: Sheet) -> IntArray:
    """
    Return the power factor of each account in hundredths; 100 where there is no energy at all.

    In Python integers: squares of Wh do not fit 64 bits. The loop halves the range 0 to 100.
    """
    every = tuple(range(len(sheet.tariff.periods)))
    active_wh = sheet.chunk.energy(every, whole=True).astype(object)
    square, apparent = active_wh**2, active_wh**2 + sheet.chunk.column("reactive_varh") ** 2
    low = np.zeros(sheet.chunk.accounts, dtype=np.int64)
    high = np.full(sheet.chunk.accounts, 100, dtype=np.int64)
    for _ in range(7):
        middle = (low + high + 1) // 2
        odd = (2 * middle - 1).astype(object)
        fits = (square * 40000 >= odd**2 * apparent).astype(np.bool_)
        low, high = np.where(fits, middle, low), np.where(fits, high, middle - 1)
    return low
