"""
The oracle's amount of every kind of line, exact until the one rounding that the line states.

Each function reads its line as the model documents it and answers a signed amount in micros before
rounding, given the rounded amounts of the lines before it.
"""

from collections.abc import Mapping
from fractions import Fraction

from billing.rating.model import PeriodUse
from billing.rating.rules.oracle_parts import (
    edges_of,
    holds,
    of_periods,
    reached,
    rounded,
    scale_of,
    share_of,
    within,
)
from billing.tariffs.model import (
    CapacityLine,
    Coef,
    CreditKwhLine,
    DemandLine,
    EnergyLine,
    ExportLine,
    FixedLine,
    Line,
    MaximumLine,
    MinimumLine,
    Per,
    PercentLine,
    PfTableLine,
    Ratchet,
    SubsidyLine,
    SumLine,
    Tariff,
)
from billing.tariffs.model.numbers import DAY_PARTS, MONTH_PARTS
from billing.tariffs.model.parts import TIMED

_PER_THOUSAND = Fraction(1, 1000)

Timed = DemandLine | CapacityLine | FixedLine | MinimumLine | MaximumLine | SubsidyLine
Valued = FixedLine | MinimumLine | MaximumLine | SubsidyLine


def exact_amount(
    tariff: Tariff, line: Line, use: PeriodUse, before: Mapping[str, Fraction]
) -> Fraction:
    """Return what `line` charges for `use`, not rounded yet; `before` are the earlier amounts."""
    match line:
        case EnergyLine():
            return _energy(tariff, line, use)
        case ExportLine():
            return -_export(tariff, line, use)
        case DemandLine() | CapacityLine():
            return _power(tariff, line, use)
        case FixedLine():
            return _value(line, use)
        case CreditKwhLine():
            return -_free_energy(tariff, line, use)
    base = sum((before[name] for name in line.base), Fraction(0))
    match line:
        case MinimumLine():
            return max(rounded(_value(line, use), line.round) - base, Fraction(0))
        case MaximumLine():
            return min(rounded(_value(line, use), line.round) - base, Fraction(0))
        case SubsidyLine():
            value = rounded(_value(line, use), line.round)
            return -(max(min(value, base), Fraction(0)) if line.base else value)
        case PercentLine():
            factor = Fraction(line.coef.a, line.coef.b) if line.coef else Fraction(1)
            return base * share_of(line.percent) * factor
        case PfTableLine():
            return base * share_of(_pf_percent(line, use))
        case SumLine():
            return base


def charged(line: Line, use: PeriodUse) -> bool:
    """Return whether a line is due yet: some wait for the end of their billing period."""
    return use.closing or not (isinstance(line, Timed) and line.prorate == "none")


def quantity_of(tariff: Tariff, line: EnergyLine | ExportLine, use: PeriodUse) -> Fraction:
    """Return the Wh (or varh) that a line prices."""
    if isinstance(line, ExportLine):
        found = Fraction(sum(of_periods(tariff, use.export_wh, line.periods)))
    elif line.qty == "REACTIVE":
        free = sum(use.energy_wh) * share_of(line.free_percent or 0)
        found = max(use.reactive_varh - free, Fraction(0))
    else:
        found = Fraction(sum(of_periods(tariff, use.energy_wh, line.periods)))
    return rounded(found, line.qty_round)


def _priced(price: int, coef: Coef | None) -> Fraction:
    if coef is None:
        return Fraction(price)
    return rounded(Fraction(price * coef.a, coef.b), coef.round)


def _energy(tariff: Tariff, line: EnergyLine, use: PeriodUse) -> Fraction:
    quantity = quantity_of(tariff, line, use)
    scale, rule = scale_of(line.scope.widths, use), line.scope.width_round
    shared = line.share == "pro_rata"
    before = _counter(tariff, line, use)
    climbed = Fraction(sum(use.energy_wh)) if shared else quantity
    steps = line.steps
    if line.scope.mode == "schedule_switch":
        bands = edges_of(line.schedules, scale, rule)
        steps = line.schedules[reached(bands, before + climbed)].steps
    edges = edges_of(steps, scale, rule)
    if line.scope.mode == "whole_band":
        price = _priced(steps[reached(edges, before + climbed)].price, line.coef)
        return quantity * price * _PER_THOUSAND
    if shared:
        parts = _shares(line, quantity, climbed, before, edges)
    else:
        parts = within(before, before + quantity, edges)
    return sum(
        (
            part * _priced(step.price, line.coef) * _PER_THOUSAND
            for part, step in zip(parts, steps, strict=True)
        ),
        Fraction(0),
    )


def _counter(tariff: Tariff, line: EnergyLine, use: PeriodUse) -> Fraction:
    timed = TIMED.intersection(line.scope.widths) and line.scope.reset == "period"
    if timed or line.qty == "REACTIVE":
        return Fraction(0)
    counters = use.before_wh.get(line.scope.reset, ())
    periods = () if line.share == "pro_rata" else line.periods
    return Fraction(sum(of_periods(tariff, counters, periods)))


def _shares(
    line: EnergyLine,
    quantity: Fraction,
    climbed: Fraction,
    before: Fraction,
    edges: list[tuple[Fraction, Fraction | None]],
) -> list[Fraction]:
    """Return the line's part of each step where all energy climbs the ladder together."""
    if not climbed:
        return [Fraction(0)] * len(edges)
    marks = []
    for _, top in edges:
        below = climbed if top is None else min(max(top - before, Fraction(0)), climbed)
        share = Fraction(below * quantity, climbed)
        mark = quantity if below == climbed else rounded(share, line.edge_round)
        marks.append(min(mark, quantity))
    return [high - low for low, high in zip([Fraction(0), *marks], marks, strict=False)]


def _export(tariff: Tariff, line: ExportLine, use: PeriodUse) -> Fraction:
    quantity = quantity_of(tariff, line, use)
    edges = edges_of(line.steps, scale_of(line.scope.widths, use), line.scope.width_round)
    parts = within(Fraction(0), quantity, edges)
    return sum(
        (
            part * _priced(step.price, line.coef) * _PER_THOUSAND
            for part, step in zip(parts, line.steps, strict=True)
        ),
        Fraction(0),
    )


def _power(tariff: Tariff, line: DemandLine | CapacityLine, use: PeriodUse) -> Fraction:
    if isinstance(line, CapacityLine):
        size = Fraction(use.capacity_va if line.qty == "CAPACITY_KVA" else use.contract_w)
    else:
        size = _demand(tariff, line, use)
    size = rounded(size, line.qty_round)
    parts = within(Fraction(0), size, edges_of(line.steps, Fraction(1), None))
    amount = sum(
        (
            part * _priced(step.price, line.coef) * _PER_THOUSAND
            for part, step in zip(parts, line.steps, strict=True)
        ),
        Fraction(0),
    )
    return amount * _time(line, line.per, use)


def _demand(tariff: Tariff, line: DemandLine, use: PeriodUse) -> Fraction:
    if line.qty == "CONTRACT_KW":
        power = Fraction(use.contract_w)
    else:
        power = Fraction(max(of_periods(tariff, use.demand_w, line.periods)))
    if line.ratchet is not None:
        power = max(power, _lifted(tariff, line, line.ratchet, use))
    if line.above_contract_percent is not None:
        power = max(power - use.contract_w * share_of(line.above_contract_percent), Fraction(0))
    return power


def _lifted(tariff: Tariff, line: DemandLine, ratchet: Ratchet, use: PeriodUse) -> Fraction:
    periods = ratchet.periods or line.periods
    peaks = [
        max(of_periods(tariff, past.demand_w, periods))
        for past in use.past_demand
        if past.months_ago <= ratchet.lookback_months
        and (not ratchet.months or past.month in ratchet.months)
    ]
    return max(
        rounded(max(peaks, default=0) * share_of(ratchet.percent), ratchet.round),
        rounded(use.contract_w * share_of(ratchet.floor_contract_percent), ratchet.round),
        Fraction(ratchet.floor_w),
    )


def _value(line: Valued, use: PeriodUse) -> Fraction:
    price = _priced(line.price, line.coef)
    match line.qty:
        case "DAYS":
            return price * _time(line, Per.DAY, use)
        case "MONTHS":
            return price * _time(line, Per.MONTH, use)
        case "CUSTOMERS":
            size = Fraction(use.customers)
        case "CONTRACT_KW":
            size = use.contract_w * _PER_THOUSAND
        case "CAPACITY_KVA":
            size = use.capacity_va * _PER_THOUSAND
    return price * size * _time(line, line.per or Per.PERIOD, use)


def _time(line: Timed, per: Per, use: PeriodUse) -> Fraction:
    whole = line.prorate == "none"
    match per:
        case Per.DAY:
            return Fraction(use.whole_days if whole else use.days, DAY_PARTS)
        case Per.MONTH:
            return Fraction(use.whole_months if whole else use.months, MONTH_PARTS)
        case Per.PERIOD:
            return Fraction(1)


def _free_energy(tariff: Tariff, line: CreditKwhLine, use: PeriodUse) -> Fraction:
    used = Fraction(0)
    for each in tariff.lines:
        if isinstance(each, EnergyLine) and each.id in line.base and holds(tariff, each.when, use):
            used += quantity_of(tariff, each, use)
    granted = rounded(line.kwh * scale_of(line.widths, use), line.width_round)
    return min(granted, used) * _priced(line.price, line.coef) * _PER_THOUSAND


def _pf_percent(line: PfTableLine, use: PeriodUse) -> int:
    active, reactive = sum(use.energy_wh), use.reactive_varh
    if not active and not reactive:
        return 0
    points = 100
    while points and active**2 * 40_000 < (2 * points - 1) ** 2 * (active**2 + reactive**2):
        points -= 1
    for band in line.bands:
        if band.from_factor <= points <= band.to_factor:
            return band.percent + band.per_point * (points - band.from_factor)
    return 0
