"""Predicates of lines over columns: which accounts a line is for."""

from typing import Any

import numpy as np
import numpy.typing as npt

from billing.money import IntArray
from billing.rating.model import CompiledTariff
from billing.rating.rules.columns import Chunk
from billing.tariffs.model import (
    AllOf,
    AnyOf,
    Compare,
    Equals,
    InMonths,
    Member,
    Not,
    Predicate,
    UseBand,
    Width,
)
from billing.tariffs.model.numbers import DAY_PARTS, MONTH_PARTS

Truth = npt.NDArray[np.bool_]


def holds(tariff: CompiledTariff, chunk: Chunk, asked: Predicate) -> Truth:
    """Return for each account of the chunk whether the predicate holds."""
    match asked:
        case AllOf():
            return _all([holds(tariff, chunk, part) for part in asked.all_of])
        case AnyOf():
            return ~_all([~holds(tariff, chunk, part) for part in asked.any_of])
        case Not():
            return ~holds(tariff, chunk, asked.negated)
        case InMonths():
            months: Truth = np.isin(chunk.column("end_month").astype(np.int64), asked.months)
            return months
        case UseBand():
            return _band(tariff, chunk, asked)
        case Equals():
            code = _code(tariff, asked.attr, asked.eq)
            return np.equal(_attribute(tariff, chunk, asked.attr), code)
        case Member():
            codes = [_code(tariff, asked.attr, each) for each in asked.any_of]
            return np.isin(_attribute(tariff, chunk, asked.attr), codes)
        case Compare():
            return _compare(_attribute(tariff, chunk, asked.attr), asked)


def _all(parts: list[Truth]) -> Truth:
    found: Truth = np.logical_and.reduce(parts)
    return found


def _compare(column: IntArray, asked: Compare) -> Truth:
    found = np.ones(column.shape, dtype=np.bool_)
    if asked.lt is not None:
        found &= column < asked.lt
    if asked.le is not None:
        found &= column <= asked.le
    if asked.gt is not None:
        found &= column > asked.gt
    if asked.ge is not None:
        found &= column >= asked.ge
    return found


def _attribute(tariff: CompiledTariff, chunk: Chunk, name: str) -> IntArray:
    column = chunk.attribute(name)
    if column is not None:
        return column
    default = tariff.attributes[name].default
    assert default is not None, "check_columns saw to it"
    return np.full(chunk.accounts, default, dtype=np.int64)


def _code(tariff: CompiledTariff, name: str, value: bool | int | str) -> int:
    return tariff.attributes[name].values.index(value) if isinstance(value, str) else int(value)


def _band(tariff: CompiledTariff, chunk: Chunk, asked: UseBand) -> Truth:
    every = tuple(range(len(tariff.periods)))
    match asked.qty:
        case "ENERGY":
            quantity = chunk.energy(every, whole=True)
        case "DEMAND_MAX":
            quantity = chunk.demand(every)
        case "CONTRACT_KW":
            quantity = chunk.column("contract_w")
        case "CAPACITY_KVA":
            quantity = chunk.column("capacity_va")
    times, divisor = width_factor(chunk, asked.widths)
    # Python integers: a quantity times the parts of a year may not fit 64 bits
    wide: Any = quantity.astype(object) * divisor
    found = (wide > asked.over * times) if asked.over else np.ones(chunk.accounts, dtype=np.bool_)
    if asked.upto is not None:
        found = found & (wide <= asked.upto * times)
    return found.astype(np.bool_)


def width_factor(chunk: Chunk, widths: tuple[Width, ...]) -> tuple[IntArray, int]:
    """Return what edges are multiplied by, and divided by."""
    times, divisor = chunk.constant(1), 1
    for width in widths:
        match width:
            case Width.FIXED:
                pass
            case Width.PER_DAY:
                times, divisor = times * chunk.column("days"), DAY_PARTS
            case Width.PER_30D:
                times, divisor = times * chunk.column("days"), DAY_PARTS * 30
            case Width.PER_MONTH:
                times, divisor = times * chunk.column("months"), MONTH_PARTS
            case Width.PER_HOUSEHOLD:
                times = times * chunk.column("households")
            case Width.PER_METER:
                times = times * chunk.column("meters")
    return times, divisor
