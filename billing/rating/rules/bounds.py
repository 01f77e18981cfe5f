"""
The proof that no number overflows, from the largest use that a version allows.

Amounts must fit 64 bits or the version is refused. Where only a product on the way may not, the
version is marked `wide` and priced in Python integers; a ladder year, which the sweep prices by
the million, is refused instead.
"""

from dataclasses import replace

from billing.money import INT64_LIMIT, Rounding
from billing.rating.model import (
    CompiledCredit,
    CompiledEnergy,
    CompiledLine,
    CompiledPercent,
    CompiledPf,
    CompiledPower,
    CompiledTariff,
    CompiledValue,
)
from billing.tariffs.model import Limits, Refusal, Width
from billing.tariffs.model.numbers import DAY_PARTS, MONTH_PARTS, PERCENT_UNIT
from protocols.errors import RefusedError


def prove(compiled: CompiledTariff) -> CompiledTariff:
    """
    Return the tariff, marked wide where a product needs it.

    Raises: RefusedError `tariffs.bound`.
    """
    _check_limits(compiled)
    largest: list[int] = []
    peak = 0
    for line in compiled.lines:
        size, way = _largest(compiled, line, largest)
        if size >= INT64_LIMIT:
            raise _beyond(compiled, f"line {line.head.id} may reach {size} micros")
        largest.append(size)
        peak = max(peak, way)
        if compiled.basis == "ladder_year" and way >= INT64_LIMIT:
            raise _beyond(compiled, f"line {line.head.id} may reach {way}")
    total = sum(largest)
    if 2 * total + compiled.total.step >= INT64_LIMIT:
        raise _beyond(compiled, f"the total may reach {total} micros")
    return replace(compiled, largest=tuple(largest), wide=peak >= INT64_LIMIT)


def _largest(compiled: CompiledTariff, line: CompiledLine, earlier: list[int]) -> tuple[int, int]:
    """Return the largest amount of a line, and the largest number on the way to it."""
    limits = compiled.limits
    match line:
        case CompiledEnergy():
            return _energy(compiled, line)
        case CompiledPower():
            size = 3 * max(limits.demand_w, limits.contract_w, limits.capacity_va)
            if line.ratchet:
                size = max(size, size * line.ratchet.percent // PERCENT_UNIT + 1)
                size += line.ratchet.floor_w
            product = size * max(abs(price) for price in line.ladder.price.tolist())
            amount, way = _timed(limits, line.per, product, 1000, line.head.rounding)
            return amount, max(way, 4 * size * PERCENT_UNIT)
        case CompiledValue():
            size, unit = value_size(limits, line.qty)
            amount, way = _timed(limits, line.per, line.price * size, unit, line.head.rounding)
            base = sum(earlier[row] for row in line.base)
            return (amount + base if line.base else amount), way
        case CompiledCredit():
            amount, way = _ratio(limits.energy_wh * line.price, 1, 1000, line.head.rounding)
            return amount, max(way, _scaled(limits, line.free_wh, line.widths, line.width_rounding))
        case CompiledPercent():
            base = sum(earlier[row] for row in line.base)
            return _ratio(base, abs(line.numerator), line.denominator, line.head.rounding)
        case CompiledPf():
            base = sum(earlier[row] for row in line.base)
            percent = max(abs(each) for each in line.percent.tolist())
            return _ratio(base, percent, PERCENT_UNIT, line.head.rounding)


def _energy(compiled: CompiledTariff, line: CompiledEnergy) -> tuple[int, int]:
    limits = compiled.limits
    largest = {
        "ENERGY": limits.energy_wh, "REACTIVE": limits.reactive_varh, "EXPORT": limits.export_wh
    }[line.qty]  # fmt: skip
    if line.qty_rounding:
        largest += line.qty_rounding.step
    price = max(abs(each) for ladder in line.ladders for each in ladder.price.tolist())
    amount, way = _ratio(largest * price, 1, 1000, line.head.rounding)
    if line.pro_rata:
        way = max(way, 4 * largest * largest)
    if line.free_micros:
        way = max(way, 4 * PERCENT_UNIT * largest, 4 * line.free_micros * limits.energy_wh)
    edges = [int(edge) for ladder in line.ladders for edge in ladder.hi[:-1]]
    for edge in edges + line.switch.tolist():
        way = max(way, _scaled(limits, edge, line.widths, line.width_rounding))
    return amount, way


def _timed(
    limits: Limits, per: str, product: int, unit: int, rounding: Rounding
) -> tuple[int, int]:
    times, parts = {
        "day": (limits.days, DAY_PARTS), "month": (limits.months, MONTH_PARTS), "period": (1, 1)
    }[per]  # fmt: skip
    return _ratio(product, times, parts * unit, rounding)


def _ratio(product: int, times: int, divisor: int, rounding: Rounding) -> tuple[int, int]:
    """Return the largest `round(product x times / divisor)` and the largest number on the way."""
    amount = product * times // divisor + 1 + rounding.step
    way = max(product, divisor * times, (product // divisor + 1) * times, amount)
    return amount, max(2 * way, 4 * rounding.step * divisor)


def _scaled(limits: Limits, edge: int, widths: tuple[Width, ...], rounding: Rounding | None) -> int:
    """Return the largest number on the way to a scaled edge."""
    found, divisor = edge, 1
    for width in widths:
        if width in (Width.PER_DAY, Width.PER_30D):
            found, divisor = found * limits.days, DAY_PARTS * 30
        elif width is Width.PER_MONTH:
            found, divisor = found * limits.months, MONTH_PARTS
        elif width is Width.PER_HOUSEHOLD:
            found *= limits.households
        elif width is Width.PER_METER:
            found *= limits.meters
    return 4 * (found + divisor * (rounding.step if rounding else 1))


def value_size(limits: Limits, qty: str) -> tuple[int, int]:
    """Return the largest size of a value line, and how many of it the price is for."""
    return {
        "CUSTOMERS": (limits.customers, 1),
        "CONTRACT_KW": (limits.contract_w, 1000),
        "CAPACITY_KVA": (limits.capacity_va, 1000),
    }.get(qty, (1, 1))


def _check_limits(compiled: CompiledTariff) -> None:
    """Refuse lines that price a quantity whose limit is not stated."""
    limits = compiled.limits
    stated = {
        "EXPORT": ("export_kwh", limits.export_wh),
        "REACTIVE": ("reactive_kvarh", limits.reactive_varh),
        "DEMAND_MAX": ("demand_kw", limits.demand_w),
        "CONTRACT_KW": ("contract_kw", limits.contract_w),
        "CAPACITY_KVA": ("capacity_kva", limits.capacity_va),
    }
    for line in compiled.lines:
        asked = [getattr(line, "qty", "REACTIVE" if isinstance(line, CompiledPf) else "")]
        if isinstance(line, CompiledPower) and (
            line.above_micros is not None
            or (line.ratchet is not None and line.ratchet.floor_contract_percent)
        ):
            asked.append("CONTRACT_KW")
        for qty in asked:
            name, limit = stated.get(qty, ("", 1))
            if not limit:
                raise RefusedError(
                    Refusal.BOUND,
                    f"line {line.head.id} prices {qty} and limits.{name} is not stated",
                    fix=f"state limits.{name}: the largest that this class of agreements can have",
                )
        if isinstance(line, CompiledEnergy):
            _check_ladder(compiled, line)


def _check_ladder(compiled: CompiledTariff, line: CompiledEnergy) -> None:
    limits = compiled.limits
    if compiled.basis == "ladder_year":
        if line.lo[-1] >= limits.energy_wh:
            raise RefusedError(
                Refusal.BOUND,
                f"line {line.head.id}: its last step starts beyond largest_year_kwh",
                fix="raise largest_year_kwh",
            )
    elif line.reset != "period" and not line.from_zero and not limits.counter_wh:
        raise RefusedError(
            Refusal.BOUND,
            f"line {line.head.id} climbs over {line.reset} and limits.counter_kwh is not stated",
            fix="state limits.counter_kwh: the largest counter before a use",
        )


def _beyond(compiled: CompiledTariff, what: str) -> RefusedError:
    field = "largest_year_kwh" if compiled.basis == "ladder_year" else "limits"
    return RefusedError(
        Refusal.BOUND,
        f"{what}, beyond what 64-bit integers hold",
        fix=f"lower {field} to what this class of agreements can use",
    )
