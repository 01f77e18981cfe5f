"""
Open stretches of many balances as columns, and what they cost so far: no row is looked at alone.

Twins of `periods.columns_of` and `periods.price_uses`, to the last micro; who has a name and a
dataclass for each row uses those.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date, timedelta

import numpy as np

from billing.money import IntArray
from billing.prepaid.rules.periods import (
    PeriodFigures,
    attribute_columns,
    price_columns,
    sizes_of,
)
from billing.rating.model import CompiledTariff, UseColumns
from billing.rating.rules.columns import RESETS
from billing.tariffs.rules.calendar import days_between, months_between

HEAD = 4
"""Numbers of a stretch before its counters: point, first day, shape, start of the open day."""

_DAYS = 2**24
"""More than any day's ordinal: two days are one number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretches:
    """
    Open stretches under versions of as many TouPeriods. *Units*: ordinals of days, ms, Wh.

    *Shape*: (rows,); `before_wh` (resets, TouPeriods, rows) in the kernel's order of resets and
    `day_wh` (TouPeriods, rows).
    """

    point: IntArray
    start_day: IntArray
    shape_no: IntArray
    day_ms: IntArray
    before_wh: IntArray
    day_wh: IntArray

    def rows(self, at: IntArray) -> "Stretches":
        """Return the rows named, in that order."""
        return Stretches(**{each.name: getattr(self, each.name)[..., at] for each in fields(self)})


def stretches_of(numbers: IntArray, periods: int) -> Stretches:
    """Return stretches from rows of whole numbers: head, counters by reset, energy of the day."""
    columns = np.ascontiguousarray(numbers.T)
    counters = HEAD + len(RESETS) * periods
    return Stretches(
        point=columns[0], start_day=columns[1], shape_no=columns[2], day_ms=columns[3],
        before_wh=columns[HEAD:counters].reshape(len(RESETS), periods, -1),
        day_wh=columns[counters:],
    )  # fmt: skip


def width_of(periods: int) -> int:
    """Return how many numbers one stretch is."""
    return HEAD + (len(RESETS) + 1) * periods


def price_stretches(
    tariff: CompiledTariff, found: Stretches, energy_wh: IntArray, open_day: IntArray,
    shapes: Mapping[int, str],
) -> PeriodFigures:  # fmt: skip
    """
    Return what stretches under one version cost with the days up to the open one, and their steps.

    *Shape*: `energy_wh` (TouPeriods, rows), `open_day` (rows,) as ordinals. Raises: RefusedError
    `usage.attribute` when a shape states an attribute wrongly.
    """
    return price_columns(tariff, _columns(tariff, found, energy_wh, open_day, shapes))


def _columns(
    tariff: CompiledTariff, found: Stretches, energy_wh: IntArray, open_day: IntArray,
    shapes: Mapping[int, str],
) -> UseColumns:  # fmt: skip
    days, months, end_month = _shares(found.start_day, open_day)
    numbers, shape = np.unique(found.shape_no, return_inverse=True)
    texts = [shapes[number] for number in numbers.tolist()]
    sizes = [sizes_of(tariff.limits, text) for text in texts]
    by_shape = {name: np.array([each[name] for each in sizes], dtype=np.int64) for name in sizes[0]}
    return UseColumns(
        energy_wh=energy_wh, days=days, months=months, whole_days=days, whole_months=months,
        end_month=end_month,
        # a counter of zeros for all is as none
        before_wh={
            reset: found.before_wh[n] for n, reset in enumerate(RESETS) if found.before_wh[n].any()
        },
        attributes={
            name: column[shape] for name, column in attribute_columns(tariff, texts).items()
        },
        **{name: column[shape] for name, column in by_shape.items()},
    )  # fmt: skip


def _shares(start_day: IntArray, open_day: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Return days, months and last calendar month of each span; few differ."""
    spans, at = np.unique(start_day * _DAYS + open_day, return_inverse=True)
    known = []
    for span in spans.tolist():
        first, last = (date.fromordinal(day) for day in divmod(span, _DAYS))
        after = last + timedelta(days=1)
        known.append((days_between(first, after), months_between(first, after), last.month))
    columns = np.array(known, dtype=np.int64).reshape(-1, 3)[at]
    return columns[:, 0].copy(), columns[:, 1].copy(), columns[:, 2].copy()
