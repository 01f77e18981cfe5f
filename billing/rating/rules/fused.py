"""
The hot lines in one pass over memory, compiled by numba where that is installed.

Twins of `lines`, to the last micro; whatever is not simple is left to those. Small chunks are left
too, since compiling takes a second or two. The functions release the interpreter's lock, so a
caller may price slices in threads.

Division is by reciprocal: a double has 53 bits and every quotient here is below 2**50, so the guess
is wrong by one at most, and the exact remainder puts it right.
"""

from typing import Any

import numpy as np

from billing.money import IntArray, Rounding, RoundMode
from billing.rating.model import CompiledCredit, CompiledEnergy, CompiledLine, CompiledPercent
from billing.rating.rules import lines as plain
from billing.rating.rules.lines import Sheet
from billing.tariffs.model import Width

try:
    import numba  # type: ignore[import-not-found,import-untyped,unused-ignore]
except ImportError:
    numba = None

SMALLEST = 8_192
"""Accounts in a chunk below which the plain twin is as good."""

_MODES = {RoundMode.HALF_UP: 0, RoundMode.HALF_EVEN: 1, RoundMode.UP: 2, RoundMode.DOWN: 3}
_LARGEST_QUOTIENT = 2**50


def price_line(sheet: Sheet, row: int, line: CompiledLine, out: IntArray) -> bool:
    """Price a line into `out` and tell so; False when the plain twin has to."""
    if not _worth_it(sheet) or line.head.rounding.mode not in _MODES:
        return False
    match line:
        case CompiledEnergy():
            if not _simple(sheet, row, line):
                return False
            _ladder(sheet, line, out)
        case CompiledPercent():
            if line.denominator > _LARGEST_QUOTIENT:
                return False
            base = sheet.amounts[line.base[0]] if len(line.base) == 1 else sheet.base(line.base)
            _PERCENT(base, line.numerator, line.denominator, *_stated(line.head.rounding), out)
        case _:
            return False
    on = plain.active(sheet, line)
    if on is not None:
        out[~on] = 0
    return True


def price_total(sheet: Sheet, out: IntArray) -> bool:
    """Add and round the lines that count into `out`; False when the plain twin has to."""
    rounding = sheet.tariff.total
    if not _worth_it(sheet) or rounding.mode not in _MODES:
        return False
    out[:] = 0
    for row in sheet.tariff.counted:
        np.add(out, sheet.amounts[row], out=out)
    if rounding.step > 1:
        _PERCENT(out, 1, 1, *_stated(rounding), out)
    return True


def _worth_it(sheet: Sheet) -> bool:
    return numba is not None and not sheet.tariff.wide and sheet.chunk.accounts >= SMALLEST


def _simple(sheet: Sheet, row: int, line: CompiledEnergy) -> bool:
    if any(isinstance(each, CompiledCredit) and row in each.base for each in sheet.tariff.lines):
        return False
    return (
        line.mode == "marginal" and line.qty == "ENERGY" and line.qty_rounding is None
        and sheet.tariff.limits.energy_wh < 2**40
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
    stated = _stated(line.head.rounding)
    if line.pro_rata:
        assert line.edge_rounding is not None
        _PRO_RATA(
            quantity,
            climbing,
            before,
            edges,
            line.price,
            *_stated(line.edge_rounding),
            *stated,
            out,
        )
    else:
        _OWN(quantity, before, edges, line.price, *stated, out)


def _stated(rounding: Rounding) -> tuple[int, int]:
    return rounding.step, _MODES[rounding.mode]


def _floor(size: Any, unit: Any, inverse: Any) -> Any:
    """Return `size // unit` for a size of 0 or more."""
    found = np.int64(size * inverse)
    rest = size - found * unit
    if rest < 0:
        return found - 1
    if rest >= unit:
        return found + 1
    return found


def _settle(size: Any, unit: Any, inverse: Any, mode: Any) -> Any:
    """Return `size / unit` rounded to a whole number, sign-safe."""
    sign = 1
    if size < 0:
        sign, size = -1, -size
    whole = _floor(size, unit, inverse)
    rest = size - whole * unit
    if mode == 0:
        whole += 2 * rest >= unit
    elif mode == 1:
        whole += (2 * rest > unit) or (2 * rest == unit and whole % 2 == 1)
    elif mode == 2:
        whole += rest > 0
    return sign * whole


def _own(  # noqa: PLR0917
    quantity: Any, before: Any, edges: Any, price: Any, step: Any, mode: Any, out: Any
) -> None:
    """Price each quantity through a ladder that climbs on it."""
    unit = 1000 * step
    inverse = 1.0 / unit
    wide = edges.shape[1] > 1
    started = before.size > 1
    last = price.size - 1
    for n in range(quantity.size):
        low = before[n] if started else 0
        top = low + quantity[n]
        product = 0
        for s in range(last):
            edge = min(max(edges[s, n if wide else 0], low), top)
            product += (edge - low) * price[s]
            low = edge
        product += (top - low) * price[last]
        out[n] = _settle(product, unit, inverse, mode) * step


def _pro_rata(  # noqa: PLR0917
    quantity: Any, climbing: Any, before: Any, edges: Any, price: Any, edge_step: Any,
    edge_mode: Any, step: Any, mode: Any, out: Any,
) -> None:  # fmt: skip
    """Price each quantity's shares of a ladder that all energy climbs."""
    unit = 1000 * step
    inverse = 1.0 / unit
    wide = edges.shape[1] > 1
    started = before.size > 1
    last = price.size - 1
    for n in range(quantity.size):
        mine, whole = quantity[n], climbing[n]
        start = before[n] if started else 0
        divisor = max(whole, 1) * edge_step
        share = 1.0 / divisor
        product = 0
        done = 0
        for s in range(last):
            below = min(max(edges[s, n if wide else 0] - start, 0), whole)
            if below == whole:
                mark = mine
            else:
                mark = min(_settle(below * mine, divisor, share, edge_mode) * edge_step, mine)
            product += (mark - done) * price[s]
            done = mark
        product += (mine - done) * price[last]
        out[n] = _settle(product, unit, inverse, mode) * step


def _percent(  # noqa: PLR0917
    base: Any, numerator: Any, denominator: Any, step: Any, mode: Any, out: Any
) -> None:
    """Write `base x numerator / denominator`, rounded."""
    inverse = 1.0 / denominator
    by_step = 1.0 / step
    unit = step * denominator
    for n in range(base.size):
        size = base[n]
        sign = 1
        if size < 0:
            sign, size = -1, -size
        times = numerator
        if times < 0:
            sign, times = -sign, -times
        quotient = _floor(size, denominator, inverse)
        rest = (size - quotient * denominator) * times
        carried = _floor(rest, denominator, inverse)
        whole = quotient * times + carried
        rest -= carried * denominator
        steps = _floor(whole, step, by_step)
        over = (whole - steps * step) * denominator + rest
        if mode == 0:
            steps += 2 * over >= unit
        elif mode == 1:
            steps += (2 * over > unit) or (2 * over == unit and steps % 2 == 1)
        elif mode == 2:
            steps += over > 0
        out[n] = sign * steps * step


def _compiled(function: Any) -> Any:
    return function if numba is None else numba.njit(nogil=True, error_model="numpy")(function)


_floor = _compiled(_floor)
_settle = _compiled(_settle)
_OWN, _PRO_RATA, _PERCENT = _compiled(_own), _compiled(_pro_rata), _compiled(_percent)
