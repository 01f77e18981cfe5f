"""From a tariff version to arrays, with the proof that no product of them overflows int64."""

from fractions import Fraction

import numpy as np

from billing.money import INT64_LIMIT, MICROS_PER_UNIT, Rounding, RoundMode
from billing.rating.model import CompiledEnergy, CompiledPercent, CompiledTariff
from billing.tariffs.model import EnergyLine, PercentLine, Refusal, Tariff
from protocols.errors import RefusedError
from protocols.quantities import WH_PER_KWH

_PERCENT = 100 * MICROS_PER_UNIT
"""A percent is read as micros of a percent: 13 % is 13_000_000 of this denominator."""


def compile_tariff(tariff: Tariff, digest: str) -> CompiledTariff:
    """
    Return the version as arrays.

    Raises: RefusedError `tariffs.bound` when a product could overflow for the largest use the
    version allows, `tariffs.rounding` when a line without rounding has parts of a micro.
    """
    lines: list[CompiledEnergy | CompiledPercent] = []
    largest: list[int] = []
    for line in tariff.lines:
        if isinstance(line, EnergyLine):
            compiled: CompiledEnergy | CompiledPercent = _energy(line, tariff.largest_year_wh)
            bound = _prove_energy(line, tariff.largest_year_wh)
        elif isinstance(line, PercentLine):
            order = [earlier.id for earlier in lines]
            compiled = _percent(line, order)
            bound = _prove_percent(line, sum(largest[n] for n in compiled.base))
        else:
            raise RefusedError(Refusal.UNSUPPORTED, f"line {line.id}: {line.kind}", fix="wait")
        lines.append(compiled)
        largest.append(bound)
    total = tariff.total_round.rounding
    _prove(f"total of {tariff.code}", 2 * sum(largest) + total.step)
    return CompiledTariff(
        code=tariff.code, version=tariff.version, digest=digest, currency=tariff.currency,
        zone=tariff.zone_info, largest_wh=tariff.largest_year_wh, lines=tuple(lines), total=total,
    )  # fmt: skip


def _energy(line: EnergyLine, largest_wh: int) -> CompiledEnergy:
    if line.steps[-1].over_wh >= largest_wh:
        raise RefusedError(
            Refusal.BOUND,
            f"line {line.id}: its last step starts beyond largest_year_kwh",
            fix="raise largest_year_kwh",
        )
    if line.round.mode is RoundMode.NONE and any(step.price % WH_PER_KWH for step in line.steps):
        raise RefusedError(
            Refusal.ROUNDING,
            f"line {line.id}: a price gives parts of a micro and no rounding is stated",
            fix="state step and mode",
        )
    return CompiledEnergy(
        id=line.id,
        label=line.label,
        lo=np.array([step.over_wh for step in line.steps], dtype=np.int64),
        hi=np.array(
            [largest_wh if step.upto_wh is None else step.upto_wh for step in line.steps],
            dtype=np.int64,
        ),
        price=np.array([step.price for step in line.steps], dtype=np.int64),
        rounding=line.round.rounding,
    )


def _percent(line: PercentLine, order: list[str]) -> CompiledPercent:
    share = Fraction(line.percent, _PERCENT)
    if line.round.mode is RoundMode.NONE and share.denominator != 1:
        raise RefusedError(
            Refusal.ROUNDING,
            f"line {line.id}: a share gives parts of a micro and no rounding is stated",
            fix="state step and mode",
        )
    return CompiledPercent(
        id=line.id,
        label=line.label,
        base=tuple(order.index(base) for base in line.base),
        numerator=share.numerator,
        denominator=share.denominator,
        rounding=line.round.rounding,
    )


def _prove_energy(line: EnergyLine, largest_wh: int) -> int:
    """Return the largest amount of the line in micros, having proved the products under it."""
    product = largest_wh * max(step.price for step in line.steps)
    rounding = line.round.rounding
    _prove(f"line {line.id}", 2 * product + WH_PER_KWH * rounding.step)
    return _rounded_up(product, WH_PER_KWH, rounding)


def _prove_percent(line: PercentLine, base_micros: int) -> int:
    share = abs(Fraction(line.percent, _PERCENT))
    rounding = line.round.rounding
    product = base_micros * share.numerator
    _prove(f"line {line.id}", 2 * product + share.denominator * rounding.step)
    return _rounded_up(product, share.denominator, rounding)


def _rounded_up(numerator: int, denominator: int, rounding: Rounding) -> int:
    return numerator // denominator + rounding.step


def _prove(what: str, value: int) -> None:
    if value >= INT64_LIMIT:
        raise RefusedError(
            Refusal.BOUND,
            f"{what} may reach {value}, beyond what 64-bit integers hold",
            fix="lower largest_year_kwh to what this class of agreements can use",
        )
