"""
The hot lines in one pass over memory, compiled by numba where that is installed.

Twins of `lines`, to the last micro; whatever is not simple is left to those. Small chunks are left
too, since compiling takes a second or two. The functions release the interpreter's lock, so a
caller may price slices in threads.

Every loop is plain enough for the compiler to work on eight accounts at a time. So nothing
branches: a rounding is a bias before a division that truncates, and a division is by reciprocal.
A double has 53 bits and every quotient here is below 2**50, so the guess is wrong by one at most,
and the exact remainder puts it right.

Narrow loops are the same where the compiler's bounds prove that quantities, prices, units and
quotients fit 31 bits: a product of two such numbers is one instruction, one of two wide ones three.
numba is imported by who first has a chunk that is large enough, not by everybody.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from billing.money import IntArray, Rounding, RoundMode
from billing.rating.model import CompiledCredit, CompiledEnergy, CompiledLine, CompiledPercent
from billing.rating.rules import lines as plain
from billing.rating.rules.lines import Sheet
from billing.tariffs.model import Width

INSTALLED = find_spec("numba") is not None

SMALLEST = 8_192
"""Accounts in a chunk below which the plain twin is as good."""

BLOCK = 2_048
"""Accounts at a time inside a loop: a few columns of them stay in the nearest cache."""

_MODES = (RoundMode.DOWN, RoundMode.HALF_UP, RoundMode.UP)
"""Those that a bias before truncating can do; half_even is left to the plain twin."""

_LARGEST_PRODUCT = 2**62
_LARGEST_QUOTIENT = 2**50
_NARROW = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Loops:
    """The loops, compiled where that can be."""

    own: Callable[..., Any]
    pro_rata: Callable[..., Any]
    pro_rata_narrow: Callable[..., Any]
    share: Callable[..., Any]


@cache
def loops() -> Loops:
    """Return the loops; ask once before threads do, so that they are compiled once."""
    compiled: Callable[..., Any] = _as_it_is
    if INSTALLED:
        compiled = import_module("numba").njit(nogil=True, error_model="numpy")
    # the others are compiled against what stands under this name when they are first called
    globals()["_SETTLE"] = compiled(_settle)
    return Loops(
        own=compiled(_own), pro_rata=compiled(_pro_rata),
        pro_rata_narrow=compiled(_pro_rata_narrow), share=compiled(_share),
    )  # fmt: skip


def _as_it_is(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


def price_line(sheet: Sheet, row: int, line: CompiledLine, lines: IntArray) -> bool:
    """
    Price a line into the chunk's part of its row of `lines` and tell so.

    False when the plain twin has to. `lines` is of all accounts: rows of it lie without gaps, and
    only so can the compiler take several accounts at once.
    """
    if not _worth_it(sheet) or line.head.rounding.mode not in _MODES:
        return False
    start = sheet.chunk.start
    out = lines[row, start : sheet.chunk.stop]
    match line:
        case CompiledEnergy():
            if not _simple(sheet, row, line):
                return False
            _ladder(sheet, line, out)
        case CompiledPercent():
            unit = line.denominator * line.head.rounding.step
            if not _fits(sheet, line.base, line.numerator, unit):
                return False
            rows, rounding = np.array(line.base, dtype=np.int64), line.head.rounding
            narrow = _narrow(sheet, line.base, line.numerator, unit)
            _shared(lines, start, rows, (line.numerator, unit, rounding), out, narrow=narrow)
        case _:
            return False
    on = plain.active(sheet, line)
    if on is not None:
        out[~on] = 0
    return True


def price_total(sheet: Sheet, lines: IntArray, out: IntArray) -> bool:
    """Add and round the lines that count into `out`; False when the plain twin has to."""
    rounding, counted = sheet.tariff.total, sheet.tariff.counted
    if not _worth_it(sheet) or rounding.mode not in _MODES:
        return False
    if not _fits(sheet, counted, 1, rounding.step):
        return False
    rows, start = np.array(counted, dtype=np.int64), sheet.chunk.start
    narrow = _narrow(sheet, counted, 1, rounding.step)
    _shared(lines, start, rows, (1, rounding.step, rounding), out, narrow=narrow)
    return True


def _shared(
    lines: IntArray, start: int, rows: IntArray, asked: tuple[int, int, Rounding], out: IntArray,
    *, narrow: bool,
) -> None:  # fmt: skip
    numerator, unit, rounding = asked
    found, bias = loops(), _bias(rounding, unit)
    found.share(narrow, lines, start, rows, numerator, unit, bias, rounding.step, out)


def _worth_it(sheet: Sheet) -> bool:
    return INSTALLED and not sheet.tariff.wide and sheet.chunk.accounts >= SMALLEST


def _fits(sheet: Sheet, base: tuple[int, ...], numerator: int, unit: int) -> bool:
    product = sum(sheet.tariff.largest[row] for row in base) * abs(numerator)
    return product + unit < _LARGEST_PRODUCT and product // unit < _LARGEST_QUOTIENT


def _narrow(sheet: Sheet, base: tuple[int, ...], numerator: int, unit: int) -> bool:
    """Tell whether unit and quotients fit 31 bits; a step is part of its unit."""
    product = sum(sheet.tariff.largest[row] for row in base) * abs(numerator)
    return (product + unit) // unit < _NARROW and unit < _NARROW


def _narrow_energy(sheet: Sheet, line: CompiledEnergy) -> bool:
    """Tell whether energy, prices, unit and quotients of a line fit 31 bits."""
    dearest = max(abs(price) for price in line.price.tolist())
    product, unit = sheet.tariff.limits.energy_wh * dearest, 1000 * line.head.rounding.step
    largest = max(sheet.tariff.limits.energy_wh, dearest, unit, (product + unit) // unit)
    return bool(largest < _NARROW)


def _simple(sheet: Sheet, row: int, line: CompiledEnergy) -> bool:
    if any(isinstance(each, CompiledCredit) and row in each.base for each in sheet.tariff.lines):
        return False
    limits = sheet.tariff.limits
    product = limits.energy_wh * max(abs(price) for price in line.price.tolist())
    unit = 1000 * line.head.rounding.step
    return (
        line.mode == "marginal" and line.qty == "ENERGY" and line.qty_rounding is None
        and product + unit < _LARGEST_PRODUCT and product // unit < _LARGEST_QUOTIENT
        and limits.energy_wh**2 * 2 < _LARGEST_PRODUCT
        and (line.edge_rounding is None or line.edge_rounding.mode in _MODES)
    )  # fmt: skip


def _ladder(sheet: Sheet, line: CompiledEnergy, out: IntArray) -> None:
    chunk = sheet.chunk
    every = tuple(range(chunk.use.energy_wh.shape[0]))
    quantity = chunk.energy(line.periods, whole=line.whole)
    climbing = chunk.energy(every, whole=True) if line.pro_rata else quantity
    before = np.zeros(1, dtype=np.int64)
    if not line.from_zero and line.reset in chunk.use.before_wh:
        periods = every if line.pro_rata else line.periods
        before = chunk.before(line.reset, periods, whole=line.pro_rata or line.whole)
    finite = line.hi[:-1]
    if line.widths == (Width.FIXED,):
        edges = finite.reshape(-1, 1)
    else:
        rows = [plain.scaled(chunk, e, line.widths, line.width_rounding) for e in finite.tolist()]
        edges = np.array(rows, dtype=np.int64).reshape(len(rows), chunk.accounts)
    rounding = line.head.rounding
    unit = 1000 * rounding.step
    settling = unit, _bias(rounding, unit), rounding.step
    found, narrow = loops(), _narrow_energy(sheet, line)
    if not line.pro_rata:
        found.own(narrow, quantity, before, edges, line.price, *settling, out)
    else:
        assert line.edge_rounding is not None
        step, kind = line.edge_rounding.step, _MODES.index(line.edge_rounding.mode)
        if narrow and step == 1 and before.size == 1 and edges.shape[1:] == (1,):
            found.pro_rata_narrow(
                quantity, climbing, edges[:, 0].copy(), line.price, kind,
                *settling, out,
            )  # fmt: skip
        else:
            found.pro_rata(
                narrow, quantity, climbing, before, edges, line.price, step, kind,
                *settling, out,
            )  # fmt: skip
    if line.sign < 0:
        np.negative(out, out=out)


def _bias(rounding: Rounding, unit: int) -> int:
    """Return what is added before truncating."""
    return {RoundMode.HALF_UP: unit // 2, RoundMode.UP: unit - 1}.get(rounding.mode, 0)


def _own(  # noqa: PLR0917
    narrow: Any, quantity: Any, before: Any, edges: Any, price: Any, unit: Any,
    bias: Any, step: Any, out: Any,
) -> None:  # fmt: skip
    """Price each quantity through a ladder that climbs on it."""
    inverse = 1.0 / unit
    product, low, top = (
        np.empty(BLOCK, np.int64),
        np.empty(BLOCK, np.int64),
        np.empty(BLOCK, np.int64),
    )
    for start in range(0, quantity.size, BLOCK):
        size = min(BLOCK, quantity.size - start)
        if before.size > 1:
            low[:size] = before[start : start + size]
        else:
            low[:size] = 0
        for n in range(size):
            top[n] = low[n] + quantity[start + n]
            product[n] = 0
        for s in range(price.size - 1):
            worth = price[s]
            if edges.shape[1] > 1:
                for n in range(size):
                    mark = min(max(edges[s, start + n], low[n]), top[n])
                    product[n] += (mark - low[n]) * worth
                    low[n] = mark
            else:
                edge = edges[s, 0]
                for n in range(size):
                    mark = min(max(edge, low[n]), top[n])
                    product[n] += (mark - low[n]) * worth
                    low[n] = mark
        worth = price[price.size - 1]
        for n in range(size):
            product[n] += (top[n] - low[n]) * worth
        _SETTLE(product, size, unit, inverse, bias, step, narrow, out[start : start + size])


def _pro_rata(  # noqa: PLR0917
    narrow: Any, quantity: Any, climbing: Any, before: Any, edges: Any, price: Any,
    edge_step: Any, kind: Any, unit: Any, bias: Any, step: Any, out: Any,
) -> None:  # fmt: skip
    """Price each quantity's shares of a ladder that all energy climbs."""
    inverse = 1.0 / unit
    product, done = np.empty(BLOCK, np.int64), np.empty(BLOCK, np.int64)
    divisor, extra, share = (
        np.empty(BLOCK, np.int64), np.empty(BLOCK, np.int64), np.empty(BLOCK, np.float64)
    )  # fmt: skip
    edge = np.empty(BLOCK, np.int64)
    for start in range(0, quantity.size, BLOCK):
        size = min(BLOCK, quantity.size - start)
        mine, whole = quantity[start : start + size], climbing[start : start + size]
        for n in range(size):
            divisor[n] = max(whole[n], 1) * edge_step
            share[n] = 1.0 / divisor[n]
            product[n] = 0
            done[n] = 0
        for n in range(size):
            extra[n] = (divisor[n] >> 1) if kind == 1 else ((divisor[n] - 1) if kind == 2 else 0)
        for s in range(price.size - 1):
            worth = price[s]
            if edges.shape[1] > 1:
                edge[:size] = edges[s, start : start + size]
            else:
                edge[:size] = edges[s, 0]
            if before.size > 1:
                for n in range(size):
                    edge[n] -= before[start + n]
            for n in range(size):
                below = min(max(edge[n], 0), whole[n])
                number = below * mine[n] + extra[n]
                found = np.int64(number * share[n])
                rest = number - found * divisor[n]
                found += np.int64(rest >= divisor[n]) - np.int64(rest < 0)
                mark = min(found * edge_step, mine[n])
                mark = mine[n] if below == whole[n] else mark
                product[n] += (mark - done[n]) * worth
                done[n] = mark
        worth = price[price.size - 1]
        for n in range(size):
            product[n] += (mine[n] - done[n]) * worth
        _SETTLE(product, size, unit, inverse, bias, step, narrow, out[start : start + size])


def _share(  # noqa: PLR0917
    narrow: Any, lines: Any, first: Any, rows: Any, numerator: Any, unit: Any,
    bias: Any, step: Any, out: Any,
) -> None:  # fmt: skip
    """Write the sum of some lines x numerator / unit, rounded, x step."""
    inverse = 1.0 / unit
    product = np.empty(BLOCK, np.int64)
    for start in range(0, out.size, BLOCK):
        size = min(BLOCK, out.size - start)
        product[:size] = 0
        for r in range(rows.size):
            # a slice, since its index is never below zero and the loop need not ask
            row = lines[rows[r], first + start : first + start + size]
            for n in range(size):
                product[n] += row[n]
        for n in range(size):
            product[n] *= numerator
        _SETTLE(product, size, unit, inverse, bias, step, narrow, out[start : start + size])


def _pro_rata_narrow(  # noqa: PLR0917
    quantity: Any, climbing: Any, edges: Any, price: Any, kind: Any, unit: Any,
    bias: Any, step: Any, out: Any,
) -> None:  # fmt: skip
    """
    Do what `_pro_rata` does with fixed edges from zero, shares of whole Wh, and narrow numbers.

    A share below its step is below its quantity, so no rounding takes it above.
    """
    inverse = 1.0 / unit
    product, done = np.empty(BLOCK, np.int64), np.empty(BLOCK, np.int32)
    share = np.empty(BLOCK, np.float64)
    half, up = np.int64(kind == 1), np.int64(kind == 2)
    for start in range(0, quantity.size, BLOCK):
        size = min(BLOCK, quantity.size - start)
        mine, whole = quantity[start : start + size], climbing[start : start + size]
        for n in range(size):
            share[n] = 1.0 / max(whole[n], 1)
            product[n] = 0
            done[n] = 0
        for s in range(price.size - 1):
            worth, edge = np.int32(price[s]), edges[s]
            for n in range(size):
                most, part = np.int32(whole[n]), np.int32(mine[n])
                below = np.int32(min(edge, whole[n]))
                extra = half * (most >> 1) + up * (most - 1)
                number = np.int64(below) * np.int64(part) + extra
                found = np.int32(number * share[n])
                rest = number - np.int64(found) * np.int64(most)
                found = np.int32(found + np.int32(rest >= most) - np.int32(rest < 0))
                mark = part if below == most else found
                product[n] += np.int64(np.int32(mark - done[n])) * np.int64(worth)
                done[n] = mark
        worth = np.int32(price[price.size - 1])
        for n in range(size):
            product[n] += np.int64(np.int32(mine[n] - done[n])) * np.int64(worth)
        _SETTLE(product, size, unit, inverse, bias, step, True, out[start : start + size])  # noqa: FBT003


def _settle(  # noqa: PLR0917
    product: Any, size: Any, unit: Any, inverse: Any, bias: Any, step: Any, narrow: Any, out: Any
) -> None:
    """Write each product / unit, truncated after the bias, sign-safe, x step."""
    if narrow:
        small, each = np.int32(unit), np.int32(step)
        for n in range(size):
            number = abs(product[n]) + bias
            near = np.int32(number * inverse)
            rest = number - np.int64(near) * np.int64(small)
            near = np.int32(near + np.int32(rest >= small) - np.int32(rest < 0))
            amount = np.int64(near) * np.int64(each)
            out[n] = -amount if product[n] < 0 else amount
        return
    for n in range(size):
        number = abs(product[n]) + bias
        found = np.int64(number * inverse)
        rest = number - found * unit
        found += np.int64(rest >= unit) - np.int64(rest < 0)
        amount = found * step
        out[n] = -amount if product[n] < 0 else amount


_SETTLE: Any = _settle
"""Compiled by `loops`."""
