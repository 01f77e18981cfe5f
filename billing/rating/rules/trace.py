"""
Why a bill is what it is: every line of one use, step by step, adding up to the total exactly.

The rows come from the kernel's own quantities, in Python integers. A step's amount is the
difference of the line's rounded cumulative at the step's two ends, so steps add up to their line.
"""

from itertools import pairwise

from billing.money import IntArray, Rounding, RoundMode, round_ratio
from billing.rating.model import (
    ChargeLine,
    CompiledCredit,
    CompiledEnergy,
    CompiledLine,
    CompiledPercent,
    CompiledPf,
    CompiledPower,
    CompiledTariff,
    CompiledValue,
    LineHead,
    PeriodUse,
    TraceLine,
)
from billing.rating.rules import kernel, lines
from billing.rating.rules.columns import Chunk, check_columns, columns_of
from billing.rating.rules.lines import Sheet
from billing.tariffs.model.numbers import PERCENT_UNIT

Step = tuple[int, int, int]
"""Number, quantity and price of a step."""

_UNITS = {"ENERGY": "Wh", "EXPORT": "Wh", "REACTIVE": "varh", "CAPACITY_KVA": "VA"}


def trace_of(tariff: CompiledTariff, use: PeriodUse) -> list[TraceLine]:
    """
    Return the rows of one use in the order of the bill; those that count add up to its total.

    Raises: ValueError as `kernel.price`, RefusedError `usage.attribute`.
    """
    if tariff.basis == "ladder_year":
        before = sum(use.before_wh.get("calendar_year", ()))
        rows = kernel.trace(tariff, before, before + sum(use.energy_wh))
        return [_of_ladder_year(tariff, row) for row in rows]
    columns = columns_of(tariff, [use])
    check_columns(tariff, columns)
    sheet = Sheet(tariff, Chunk(columns, 0, 1, wide=True))
    found: list[TraceLine] = []
    for row, line in enumerate(tariff.lines):
        on = lines.active(sheet, line)
        sheet.amounts.append(lines.amount(sheet, row, line))
        if on is None or bool(on[0]):
            found.extend(_rows(sheet, row, line))
    counted = sum(row.amount_micros for row in found if row.counts)
    total = int(kernel.price(tariff, columns).total[0])
    if total != counted:
        found.append(_rounding_row(tariff.total, total, counted))
    return found


def _rows(sheet: Sheet, row: int, line: CompiledLine) -> list[TraceLine]:
    amount = int(sheet.amounts[row][0])
    match line:
        case CompiledEnergy():
            quantity = sheet.quantities[row]
            steps = lines.energy_steps(sheet.chunk, line, quantity)
            reached = _reached([(price, int(part[0])) for price, part in steps])
            return _stepped(line.head, reached, _UNITS[line.qty], line.sign, (1, 1))
        case CompiledPower():
            power = lines.power_quantity(sheet.chunk, line)
            steps = lines.ladder_parts(line.ladder, power)
            times, parts = lines.time_factor(sheet.chunk, line.per, at_close=line.head.at_close)
            reached = _reached([(price, int(part[0])) for price, part in steps])
            ratio = (_scalar(times), parts)
            return _stepped(line.head, reached, _UNITS.get(line.qty, "W"), 1, ratio)
        case CompiledValue():
            return [_value_row(sheet, line, amount)]
        case CompiledCredit():
            limit = lines.credit_limit(sheet.chunk, line)
            free = min(int(limit[0]), int(lines.credited(sheet, line)[0]))
            exact = (-free * line.price, 1000)
            return [_row(line.head, amount, free, "Wh", exact, price=line.price)]
        case CompiledPercent():
            base = int(sheet.base(line.base)[0])
            exact = (base * line.numerator, line.denominator)
            found = _row(line.head, amount, base, "micros", exact, base=base, percent=line.percent)
            return [found]
        case CompiledPf():
            base = int(sheet.base(line.base)[0])
            percent = int(lines.pf_percent(sheet, line)[0])
            exact = (base * percent, PERCENT_UNIT)
            factor = int(lines.factors(sheet)[0])
            return [_row(line.head, amount, factor, "pf", exact, base=base, percent=percent)]


def _reached(steps: list[tuple[int, int]]) -> list[Step]:
    """Return the steps that have a quantity; the first when none has."""
    found = [(n, part, price) for n, (price, part) in enumerate(steps, start=1) if part]
    return found or [(1, 0, steps[0][0])]


def _stepped(
    head: LineHead, steps: list[Step], unit: str, sign: int, times: tuple[int, int]
) -> list[TraceLine]:
    products = [0]
    for _, part, price in steps:
        products.append(products[-1] + part * price)
    marks = [
        round_ratio(product * times[0], 1000 * times[1], head.rounding) for product in products
    ]
    return [
        _row(
            head, sign * (high - low), part, unit,
            (sign * part * price * times[0], 1000 * times[1]),
            step=number, price=price, times=times,
        )
        for (number, part, price), (low, high) in zip(steps, pairwise(marks), strict=True)
    ]  # fmt: skip


def _value_row(sheet: Sheet, line: CompiledValue, amount: int) -> TraceLine:
    product, times, divisor = lines.value_of(sheet.chunk, line)
    size = int(product[0]) // line.price if line.price else 0
    unit = {"CONTRACT_KW": "W", "CAPACITY_KVA": "VA", "CUSTOMERS": "customers"}
    parts = divisor // (1000 if line.qty in ("CONTRACT_KW", "CAPACITY_KVA") else 1)
    base = int(sheet.base(line.base)[0]) if line.base else None
    exact = (int(product[0]) * _scalar(times), divisor)
    return _row(
        line.head, amount, size, unit.get(line.qty, ""), exact, price=line.price, base=base,
        times=(_scalar(times), parts),
    )  # fmt: skip


def _scalar(times: int | IntArray) -> int:
    return times if isinstance(times, int) else int(times[0])


def _row(
    head: LineHead, amount: int, quantity: int, unit: str, exact: tuple[int, int], *,
    step: int = 0, price: int | None = None, percent: int | None = None, base: int | None = None,
    times: tuple[int, int] = (1, 1),
) -> TraceLine:  # fmt: skip
    return TraceLine(
        line=head.id, label=head.label, kind=head.kind, ledger_code=head.ledger_code,
        vat_code=head.vat_code, step=step, quantity=quantity, unit=unit, times=times,
        price_micros=price, percent_micros=percent, base_micros=base, exact_micros=exact,
        amount_micros=amount, counts=head.kind != "sum",
    )  # fmt: skip


def _rounding_row(rounding: Rounding, total: int, counted: int) -> TraceLine:
    head = LineHead(
        id="rounding", kind="rounding", label={}, ledger_code="revenue_rounding", vat_code=None,
        when=None, at_close=False, rounding=rounding,
    )  # fmt: skip
    return _row(head, total - counted, counted, "micros", (total - counted, 1), base=counted)


def _of_ladder_year(tariff: CompiledTariff, row: ChargeLine) -> TraceLine:
    if row.line == "rounding":
        exact = Rounding(step=1, mode=RoundMode.NONE)
        return _rounding_row(exact, row.amount_micros, 0)
    line = next(each for each in tariff.lines if each.head.id == row.line)
    used, price = row.upto_wh - row.from_wh, row.price_micros_per_kwh
    if price is None:
        assert isinstance(line, CompiledPercent)
        return _row(
            line.head, row.amount_micros, used, "Wh", (row.amount_micros, 1), percent=line.percent
        )
    return _row(
        line.head, row.amount_micros, used, "Wh", (used * price, 1000), step=row.step, price=price
    )
