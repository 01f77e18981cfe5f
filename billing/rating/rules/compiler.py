"""From a tariff version to arrays of whole numbers, with the bound of every product proven."""

from collections.abc import Iterable, Sequence
from fractions import Fraction

import numpy as np

from billing.money import IntArray, Rounding, RoundMode, round_ratio
from billing.rating.model import (
    CompiledAttribute,
    CompiledCredit,
    CompiledEnergy,
    CompiledLine,
    CompiledPercent,
    CompiledPf,
    CompiledPower,
    CompiledTariff,
    CompiledValue,
    Ladder,
    LineHead,
)
from billing.rating.rules.bounds import prove
from billing.tariffs.model import (
    Attribute,
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
    PercentLine,
    PfTableLine,
    PowerStep,
    PriceStep,
    Refusal,
    SubsidyLine,
    SumLine,
    Tariff,
)
from billing.tariffs.model.numbers import PERCENT_UNIT, QtyRound
from billing.tariffs.model.parts import TIMED
from protocols.errors import RefusedError

_OPEN = np.iinfo(np.int64).max // 4
"""Where an open step ends: beyond any counter, and a sum of two still fits."""


def compile_tariff(tariff: Tariff, digest: str) -> CompiledTariff:
    """
    Return the version as arrays.

    Raises: RefusedError `tariffs.bound` when an amount could overflow for the largest use the
    version allows, `tariffs.rounding` when a line without rounding has parts of a micro.
    """
    order = [line.id for line in tariff.lines]
    lines = tuple(_line(tariff, line, order) for line in tariff.lines)
    compiled = CompiledTariff(
        code=tariff.code, version=tariff.version, digest=digest, currency=tariff.currency,
        zone=tariff.zone_info, basis=tariff.basis, periods=tariff.period_names,
        limits=tariff.bounds,
        attributes={name: _attribute(each) for name, each in tariff.attributes.items()},
        lines=lines,
        counted=tuple(n for n, line in enumerate(lines) if line.head.kind != "sum"),
        total=tariff.total_round.rounding, largest=(), wide=False,
    )  # fmt: skip
    return prove(compiled)


def _line(tariff: Tariff, line: Line, order: Sequence[str]) -> CompiledLine:
    match line:
        case EnergyLine() | ExportLine():
            return _energy(tariff, line)
        case DemandLine() | CapacityLine():
            return _power(tariff, line)
        case FixedLine() | MinimumLine() | MaximumLine() | SubsidyLine():
            base = () if isinstance(line, FixedLine) else line.base
            return CompiledValue(
                head=_head(line, at_close=line.prorate == "none"), qty=line.qty,
                per={"DAYS": "day", "MONTHS": "month"}.get(line.qty) or str(line.per),
                price=_priced(line.price, line.coef), base=_rows(base, order),
            )  # fmt: skip
        case CreditKwhLine():
            return CompiledCredit(
                head=_head(line), free_wh=line.kwh, widths=line.widths,
                width_rounding=_rounding(line.width_round),
                price=_whole(line, _priced(line.price, line.coef), 1000),
                base=_rows(line.base, order),
            )  # fmt: skip
        case PercentLine():
            share = Fraction(line.percent, PERCENT_UNIT)
            if line.coef is not None:
                share *= Fraction(line.coef.a, line.coef.b)
            _whole(line, share.numerator, share.denominator)
            return CompiledPercent(
                head=_head(line), base=_rows(line.base, order), percent=line.percent,
                numerator=share.numerator, denominator=share.denominator,
            )  # fmt: skip
        case SumLine():
            return CompiledPercent(
                head=_head(line), base=_rows(line.base, order), percent=PERCENT_UNIT,
                numerator=1, denominator=1,
            )  # fmt: skip
        case PfTableLine():
            return CompiledPf(
                head=_head(line), base=_rows(line.base, order), percent=_factors(line)
            )


def _head(line: Line, *, at_close: bool = False) -> LineHead:
    return LineHead(
        id=line.id, kind=line.kind, label=line.label, ledger_code=line.ledger_code,
        vat_code=line.vat_code, when=line.when, at_close=at_close, rounding=line.round.rounding,
    )  # fmt: skip


def _energy(tariff: Tariff, line: EnergyLine | ExportLine) -> CompiledEnergy:
    own = line if isinstance(line, EnergyLine) else None
    names = tariff.period_names
    schedules = own.schedules if own else ()
    top = tariff.largest_year_wh or _OPEN
    ladders = [_ladder(each.steps, line.coef) for each in schedules] or [
        _ladder(line.steps, line.coef, top)
    ]
    for ladder in ladders:
        for price in ladder.price.tolist():
            _whole(line, price, 1000)
    timed = bool(TIMED.intersection(line.scope.widths))
    reactive = line.qty == "REACTIVE"
    return CompiledEnergy(
        head=_head(line), qty=line.qty, sign=1 if own else -1,
        periods=tuple(names.index(name) for name in line.periods) or tuple(range(len(names))),
        whole=len(line.periods) in (0, len(names)),
        pro_rata=own is not None and own.share == "pro_rata",
        edge_rounding=_rounding(own.edge_round) if own else None,
        qty_rounding=_rounding(line.qty_round),
        free_micros=(own.free_percent or 0) if own else 0,
        widths=line.scope.widths, width_rounding=_rounding(line.scope.width_round),
        reset=line.scope.reset,
        from_zero=reactive or own is None or (timed and line.scope.reset == "period"),
        mode=line.scope.mode, ladders=tuple(ladders),
        switch=np.array([each.upto for each in schedules[:-1]], dtype=np.int64),
    )  # fmt: skip


def _power(tariff: Tariff, line: DemandLine | CapacityLine) -> CompiledPower:
    names = tariff.period_names
    demand = line if isinstance(line, DemandLine) else None
    periods = tuple(names.index(n) for n in demand.periods) if demand else ()
    ratchet = demand.ratchet if demand else None
    past = tuple(names.index(n) for n in ratchet.periods) if ratchet else ()
    every = periods or tuple(range(len(names)))
    return CompiledPower(
        head=_head(line, at_close=line.prorate == "none"), qty=line.qty, periods=every,
        per=line.per, ladder=_ladder(line.steps, line.coef), ratchet=ratchet,
        ratchet_periods=past or every,
        above_micros=demand.above_contract_percent if demand else None,
        qty_rounding=_rounding(line.qty_round),
    )  # fmt: skip


def _ladder(steps: Sequence[PriceStep | PowerStep], coef: Coef | None, top: int = _OPEN) -> Ladder:
    return Ladder(
        lo=_array(step.over for step in steps),
        hi=_array(top if step.upto is None else step.upto for step in steps),
        price=_array(_priced(step.price, coef) for step in steps),
    )


def _array(numbers: Iterable[int]) -> IntArray:
    return np.array(list(numbers), dtype=np.int64)


def _priced(price: int, coef: Coef | None) -> int:
    if coef is None:
        return price
    return round_ratio(price * coef.a, coef.b, coef.round.rounding)


def _rounding(stated: QtyRound | None) -> Rounding | None:
    return None if stated is None else stated.rounding


def _rows(base: Sequence[str], order: Sequence[str]) -> tuple[int, ...]:
    return tuple(order.index(name) for name in base)


def _whole(line: Line, numerator: int, denominator: int) -> int:
    """Return the numerator. Raises: RefusedError when parts of a micro have no stated rounding."""
    if line.round.mode is RoundMode.NONE and numerator % denominator:
        raise RefusedError(
            Refusal.ROUNDING,
            f"line {line.id}: a price or share gives parts of a micro and no rounding is stated",
            fix="state step and mode",
        )
    return numerator


def _factors(line: PfTableLine) -> IntArray:
    table = np.zeros(101, dtype=np.int64)
    for band in line.bands:
        for factor in range(band.from_factor, band.to_factor + 1):
            table[factor] = band.percent + (factor - band.from_factor) * band.per_point
    return table


def _attribute(stated: Attribute) -> CompiledAttribute:
    default = stated.default
    if stated.kind == "text" and default is not None:
        default = stated.values.index(str(default))
    return CompiledAttribute(
        kind=stated.kind,
        values=stated.values,
        default=None if default is None else int(default),
    )
