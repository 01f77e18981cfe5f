"""
The balance under a tariff of billing periods: a stretch of use, and what it costs so far.

A stretch lies inside one calendar month of the tariff's zone under one version and one shape of the
agreement. Its fee is the kernel's price of the use since it began, by days begun, without what is
charged at the close alone; minimum, demand and lines of the whole period come with the bill.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np

from billing.money import IntArray
from billing.prepaid.model import Segment
from billing.rating.model import CompiledEnergy, CompiledTariff, PeriodUse, UseColumns
from billing.rating.rules import kernel, lines
from billing.rating.rules.columns import RESETS, Chunk
from billing.tariffs.model import (
    DemandLine,
    EnergyLine,
    ExportLine,
    Limits,
    PfTableLine,
    Tariff,
)
from billing.tariffs.model import Refusal as TariffRefusal
from billing.tariffs.rules.calendar import days_between, ladder_start, months_between
from protocols.errors import RefusedError

Counters = Mapping[str, tuple[int, ...]]
"""Wh before a stretch by TouPeriod, by reset; one not named is 0."""

_USUAL = {"contract_w": 0, "capacity_va": 0, "households": 1}
"""What the attributes of a size are where an agreement states none."""

_TRUE = ("true", "yes", "1")


class UnfitError(Exception):
    """A version that no balance can be kept under, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenUse:
    """
    The open stretch of one agreement on a tariff of periods. *Units*: Wh by TouPeriod.

    `energy_wh` and `upto` are what the stored fee was computed from; `day_wh` is the energy when
    the open day began, `opening_wh` what a first stretch had before its first whole interval.
    """

    hourly: bool
    """Energy is known by intervals; else one register tells it."""
    start: date
    shape: str
    before: Counters
    opened_at: datetime
    opening_wh: tuple[int, ...]
    day_at: datetime
    day_wh: tuple[int, ...]
    upto: date
    energy_wh: tuple[int, ...]


def pinned_use(segment: Segment) -> OpenUse:
    """Return a segment's stretch as it was pinned, nothing used yet."""
    assert segment.start is not None
    assert segment.shape is not None
    return OpenUse(
        hourly=False, start=segment.start, shape=segment.shape, before=segment.before or {},
        opened_at=segment.started_at, opening_wh=(), day_at=segment.started_at, day_wh=(),
        upto=segment.start, energy_wh=(),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Uses:
    """Uses to be priced, as columns; `row` says to which state each belongs."""

    row: IntArray
    open: Sequence[OpenUse]
    energy: Sequence[tuple[int, ...]]
    upto: Sequence[date]
    """The day after the last one whose share is charged."""

    def rows(self, keep: Sequence[int]) -> "Uses":
        """Return some of them."""
        return Uses(
            row=self.row[list(keep)], open=[self.open[n] for n in keep],
            energy=[self.energy[n] for n in keep], upto=[self.upto[n] for n in keep],
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodFigures:
    """What the kernel says of uses; columns like them."""

    fee: IntArray
    tier: IntArray
    beyond: IntArray
    """1 where a quantity is past the proven bound: nothing was computed."""


def shape_of(attributes: Mapping[str, str]) -> str:
    """Return the one spelling of an agreement's attributes, as a stretch pins them."""
    return json.dumps(dict(attributes), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def month_of(day: date) -> date:
    """Return the first day of the billing period a day belongs to: its calendar month."""
    return day.replace(day=1)


def month_after(day: date) -> date:
    """Return the first day after the billing period a day belongs to."""
    return month_of(month_of(day) + timedelta(days=32))


def is_hourly(tariff: Tariff) -> bool:
    """Tell whether one register cannot tell what a version prices while a period goes on."""
    return len(tariff.period_names) > 1


def check_fit(tariff: Tariff, compiled: CompiledTariff, shape: str) -> None:
    """
    Refuse a version that prices what no register of energy tells, or asks what nobody stated.

    Raises: UnfitError.
    """
    if tariff.basis == "ladder_year":
        return
    for line in tariff.lines:
        if (
            isinstance(line, ExportLine | PfTableLine)
            or (isinstance(line, EnergyLine) and line.qty == "REACTIVE")
            or (isinstance(line, DemandLine) and line.ratchet is not None)
        ):
            raise UnfitError(f"line {line.id} prices what registers of energy do not tell")
    try:
        attribute_columns(compiled, [shape])
        sizes = sizes_of(compiled.limits, shape)
    except RefusedError as error:
        raise UnfitError(error.message) from error
    except ValueError as error:
        raise UnfitError(f"a size of the agreement is no whole number: {error}") from error
    for name, size in sizes.items():
        if size > getattr(compiled.limits, name):
            raise UnfitError(f"{name} {size} is beyond the limits of {compiled.code}")


def attribute_columns(tariff: CompiledTariff, shapes: Sequence[str]) -> dict[str, IntArray]:
    """
    Return the attributes a version asks for, as its columns hold them.

    Raises: RefusedError `usage.attribute` when one is missing or no value of it.
    """
    stated = {shape: json.loads(shape) for shape in set(shapes)}
    found: dict[str, IntArray] = {}
    for name in tariff.attributes:
        each = {shape: _coded(tariff, name, told.get(name)) for shape, told in stated.items()}
        found[name] = np.array([each[shape] for shape in shapes], dtype=np.int64)
    return found


def _coded(tariff: CompiledTariff, name: str, text: str | None) -> int:
    known = tariff.attributes[name]
    if text is None:
        if known.default is None:
            raise _attribute(name, "is not stated", "state it in the agreement's attributes")
        return known.default
    if known.kind == "bool":
        return int(text.lower() in _TRUE)
    if known.kind == "int":
        try:
            return int(text)
        except ValueError as error:
            raise _attribute(name, f"is {text!r}", "state a whole number") from error
    if text not in known.values:
        raise _attribute(name, f"is {text!r}", f"use one of {', '.join(known.values)}")
    return known.values.index(text)


def _attribute(name: str, wrong: str, fix: str) -> RefusedError:
    return RefusedError(TariffRefusal.ATTRIBUTE, f"attribute {name} {wrong}", fix=fix)


def columns_of(tariff: CompiledTariff, uses: Uses) -> UseColumns:
    """Return uses under one version as the kernel's columns."""
    shapes = [each.shape for each in uses.open]
    spans = [(each.start, upto) for each, upto in zip(uses.open, uses.upto, strict=True)]
    shares = {
        span: (days_between(*span), months_between(*span), (span[1] - timedelta(days=1)).month)
        for span in set(spans)
    }
    days, months, end_month = (
        np.array([shares[span][n] for span in spans], dtype=np.int64) for n in range(3)
    )
    sizes = {shape: sizes_of(tariff.limits, shape) for shape in set(shapes)}
    plain = {
        name: np.array([sizes[shape][name] for shape in shapes], dtype=np.int64) for name in _USUAL
    }
    zeros = (0,) * len(tariff.periods)
    named = [reset for reset in RESETS if any(reset in each.before for each in uses.open)]
    return UseColumns(
        energy_wh=_by_period(uses.energy, len(tariff.periods)),
        days=days, months=months, whole_days=days, whole_months=months, end_month=end_month,
        before_wh={
            reset: _by_period([each.before.get(reset, zeros) for each in uses.open], len(zeros))
            for reset in named
        },
        attributes=attribute_columns(tariff, shapes), **plain,
    )  # fmt: skip


def sizes_of(limits: Limits, shape: str) -> dict[str, int]:
    """Return the sizes a version prices; one it has no limit for, it does not look at."""
    told = json.loads(shape)
    return {
        name: int(told.get(name, usual)) if getattr(limits, name) else 0
        for name, usual in _USUAL.items()
    }


def _by_period(rows: Sequence[tuple[int, ...]], periods: int) -> IntArray:
    found = np.array(rows, dtype=np.int64).reshape(len(rows), periods)
    return np.ascontiguousarray(found.T)


def period_use(tariff: CompiledTariff | Tariff, uses: Uses, number: int) -> PeriodUse:
    """Return one use as tracing and the oracle ask for it."""
    use, energy, upto = uses.open[number], uses.energy[number], uses.upto[number]
    days, months = days_between(use.start, upto), months_between(use.start, upto)
    limits = tariff.bounds if isinstance(tariff, Tariff) else tariff.limits
    told, sizes = json.loads(use.shape), sizes_of(limits, use.shape)
    return PeriodUse(
        start=use.start, end=upto, days=days, months=months, whole_days=days, whole_months=months,
        energy_wh=tuple(energy), quality="actual", closing=False, before_wh=use.before,
        contract_w=sizes["contract_w"], capacity_va=sizes["capacity_va"],
        households=sizes["households"],
        attributes={
            name: _typed(known.kind, told[name])
            for name, known in tariff.attributes.items()
            if name in told
        },
    )  # fmt: skip


def price_uses(tariff: CompiledTariff, uses: Uses) -> PeriodFigures:
    """Return what uses under one version cost so far, and how far they climbed."""
    return price_columns(tariff, columns_of(tariff, uses))


def price_columns(tariff: CompiledTariff, every: UseColumns) -> PeriodFigures:
    """Return what `price_uses` does of uses that are columns already."""
    beyond = _beyond(tariff, every)
    fee = np.zeros(every.accounts, dtype=np.int64)
    tier = np.ones(every.accounts, dtype=np.int64)
    inside = np.flatnonzero(~beyond)
    if inside.size:
        columns = every if inside.size == len(beyond) else _rows(every, inside)
        fee[inside] = kernel.price_open(tariff, columns).total
        told = told_ladder(tariff)
        chunk = Chunk(columns, 0, columns.accounts, wide=False)
        tier[inside] = lines.step_reached(chunk, told)
    return PeriodFigures(fee=fee, tier=tier, beyond=beyond)


def _rows(every: UseColumns, rows: IntArray) -> UseColumns:
    """Return some accounts of columns as they are made here."""
    plain = {
        name: None if column is None else column[rows]
        for name in ("days", "months", "whole_days", "whole_months", "end_month", *_USUAL)
        for column in (getattr(every, name),)
    }
    return UseColumns(
        energy_wh=np.ascontiguousarray(every.energy_wh[:, rows]), **plain,
        before_wh={
            reset: np.ascontiguousarray(counter[:, rows])
            for reset, counter in every.before_wh.items()
        },
        attributes={name: column[rows] for name, column in every.attributes.items()},
    )  # fmt: skip


def _beyond(tariff: CompiledTariff, use: UseColumns) -> IntArray:
    limits = tariff.limits
    found: IntArray = use.energy_wh.sum(axis=0) > limits.energy_wh
    for reset, counter in use.before_wh.items():
        most = limits.energy_wh if reset == "period" else limits.counter_wh
        found = found | (counter.sum(axis=0) > most)
    for name in (*_USUAL, "days", "months"):
        found = found | (getattr(use, name) > getattr(limits, name))
    return found


def told_ladder(tariff: CompiledTariff) -> CompiledEnergy:
    """Return the line whose steps a customer is told of: the first that has several."""
    priced = [
        line for line in tariff.lines
        if isinstance(line, CompiledEnergy) and line.qty == "ENERGY" and line.sign > 0
    ]  # fmt: skip
    return next((line for line in priced if len(line.price) > 1), priced[0])


def marginal_price(tariff: CompiledTariff, uses: Uses, number: int, period: int) -> int:
    """Return the price of the next kWh of one use in a TouPeriod, in micros, before taxes."""
    columns = columns_of(tariff, uses.rows([number]))
    chunk = Chunk(columns, 0, 1, wide=False)
    return sum(
        int(line.price[int(lines.step_reached(chunk, line)[0]) - 1])
        for line in tariff.lines
        if isinstance(line, CompiledEnergy) and line.qty == "ENERGY" and period in line.periods
    )


def first_counters(tariff: Tariff, start: date, year_wh: int) -> dict[str, tuple[int, ...]]:
    """
    Return the counters an agreement starts with: the use of the year before it.

    Raises: UnfitError when a ladder needs more than that number.
    """
    found = {}
    for reset in _resets(tariff):
        began = ladder_start(tariff, reset, start)
        if year_wh and began < start:
            if began != date(start.year, 1, 1):
                raise UnfitError(f"use since {began} is not known")
            found[reset] = _single(tariff, reset, year_wh)
    return found


def carried(
    former: Tariff, before: Counters, used: Sequence[int], began_on: date, *,
    tariff: Tariff, start: date, year_wh: int,
) -> dict[str, tuple[int, ...]]:  # fmt: skip
    """
    Return the counters of a stretch that follows another; what was reset since begins at 0.

    `year_wh` is the calendar year's counter at `start`, which every version hands on, a
    `ladder_year` one no other. Raises: UnfitError when TouPeriods differ and a counter is needed by
    them, or a ladder began inside the stretch before.
    """
    found: dict[str, tuple[int, ...]] = {}
    new_year = date(start.year, 1, 1)
    same = former.basis == tariff.basis and former.period_names == tariff.period_names
    for reset in ("period", *_resets(tariff)):
        reset_on = month_of(start) if reset == "period" else ladder_start(tariff, reset, start)
        # the period of a tariff that was none before begins with it
        if reset_on == start or (reset == "period" and former.basis == "ladder_year"):
            continue
        if same and began_on >= reset_on and (reset == "period" or reset in _resets(former)):
            known = before.get(reset, (0,) * len(used))
            found[reset] = tuple(one + other for one, other in zip(known, used, strict=True))
        elif reset == "period":
            wh = sum(before.get(reset, ())) + sum(used)
            found[reset] = _single(tariff, reset, wh)
        elif reset_on == new_year:
            found[reset] = _single(tariff, reset, year_wh)
        else:
            raise UnfitError(f"use since {reset_on} is not known")
    return {reset: wh for reset, wh in found.items() if any(wh)}


def _resets(tariff: Tariff) -> list[str]:
    """Return the counters that run on over billing periods, in the kernel's order."""
    asked = {
        str(line.scope.reset) for line in tariff.lines if isinstance(line, EnergyLine | ExportLine)
    }
    if tariff.basis == "ladder_year":
        return []
    return [reset for reset in RESETS if reset in asked and reset != "period"]


def _single(tariff: Tariff, reset: str, wh: int) -> tuple[int, ...]:
    """Return a counter that is known as one number, where every line of it takes it so."""
    names = tariff.period_names
    for line in tariff.lines:
        if (
            wh and len(names) > 1 and isinstance(line, EnergyLine) and line.scope.reset == reset
            and line.periods and set(line.periods) != set(names) and line.share != "pro_rata"
        ):  # fmt: skip
            raise UnfitError(f"line {line.id} climbs by TouPeriod, and use before is one number")
    return (wh, *(0,) * (len(names) - 1))


def use_file(tariff: Tariff, use: OpenUse, energy: Sequence[int], upto: date) -> dict[str, Any]:
    """Return a stretch as the usage file that its bill is priced from; demand is not in it."""
    told, names = json.loads(use.shape), tariff.period_names
    sizes = sizes_of(tariff.bounds, use.shape)
    return {
        "period": {"start": use.start.isoformat(), "end": upto.isoformat()},
        "kwh": {name: _kwh(wh) for name, wh in zip(names, energy, strict=True)},
        "before_kwh": {
            reset: {name: _kwh(wh) for name, wh in zip(names, counter, strict=True)}
            for reset, counter in use.before.items()
        },
        "contract_kw": _kwh(sizes["contract_w"]), "capacity_kva": _kwh(sizes["capacity_va"]),
        "households": sizes["households"],
        "attributes": {
            name: _typed(tariff.attributes[name].kind, told[name])
            for name in tariff.attributes
            if name in told
        },
    }  # fmt: skip


def _typed(kind: str, text: str) -> bool | int | str:
    if kind == "bool":
        return text.lower() in _TRUE
    return int(text) if kind == "int" else text


def _kwh(wh: int) -> str:
    whole, part = divmod(wh, 1000)
    return f"{whole}.{part:03}" if part else str(whole)
