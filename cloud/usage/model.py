"""Validated usage: what a usage point has consumed, by instant and by interval."""

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from protocols.identity import MeterId, UsagePointId
from protocols.reading import Quality

Int = NDArray[np.int64]


class Refusal(StrEnum):
    """Why a change of what usage rests on is refused."""

    RATIO_REGISTER = "usage.ratio_register"
    """The figure noted at a change of transformers cannot be what the meter showed."""


QUALITIES = tuple(Quality)
"""Qualities by their code in columns: raw, valid, estimated, edited, questionable."""
MISSING = -1
"""Code and value where nothing stands."""
RAW, VALID, ESTIMATED, EDITED, QUESTIONABLE = range(5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """
    Which meter speaks for a usage point in `[since, until)`; None is for ever.

    Usage of an interval is its figure x `numerator` / `denominator`; the cumulative register is
    that of the figure, plus `offset_wh`. *Units*: Wh.
    """

    usage_point: UsagePointId
    meter: MeterId
    since: datetime
    until: datetime | None
    offset_wh: int
    numerator: int = 1
    denominator: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Slots:
    """
    Intervals of many usage points, by point and start. *Shape*: equal columns.

    `point` indexes the usage points asked for. *Units*: ms, s, Wh; `quality` is a code.
    """

    point: Int
    start_ms: Int
    seconds: Int
    wh: Int
    quality: Int

    def __len__(self) -> int:
        """Return the number of intervals."""
        return len(self.point)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.intp] | Int) -> "Slots":
        """Return some of the intervals."""
        return Slots(
            point=self.point[rows], start_ms=self.start_ms[rows], seconds=self.seconds[rows],
            wh=self.wh[rows], quality=self.quality[rows],
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Registers:
    """
    Cumulative registers of many usage points, by point and instant. *Shape*: equal columns.

    `meter` indexes `meters`; `meter_wh` is what that meter showed, or would have shown where the
    value was edited or estimated. *Units*: ms, Wh; `quality` is a code.
    """

    meters: tuple[MeterId, ...]
    point: Int
    at_ms: Int
    wh: Int
    quality: Int
    meter: Int
    meter_wh: Int

    def __len__(self) -> int:
        """Return the number of registers."""
        return len(self.point)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.intp] | Int) -> "Registers":
        """Return some of the registers."""
        return Registers(
            meters=self.meters, point=self.point[rows], at_ms=self.at_ms[rows], wh=self.wh[rows],
            quality=self.quality[rows], meter=self.meter[rows], meter_wh=self.meter_wh[rows],
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotMatrix:
    """
    Usage of many points over the slots of a span. *Units*: Wh, ms; codes of quality.

    *Shape*: `wh` and `quality` are (points, slots), MISSING where nothing stands; slot k starts at
    `start_ms` + 1000 k `seconds`. `bounds_ms` are the UTC midnights within the span and its two
    ends; `before` and `after` hold per (point, bound) the newest register at or before the bound
    and the oldest after it, instants MISSING where there is none.
    """

    usage_points: tuple[UsagePointId, ...]
    start_ms: int
    seconds: int
    wh: Int
    quality: NDArray[np.int8]
    bounds_ms: Int
    before_ms: Int
    before_wh: Int
    after_ms: Int
    after_wh: Int


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRegister:
    """
    Cumulative import of a usage point at one instant, across meter exchange and rollover.

    *Units*: Wh. `meter` is the meter that was read, `meter_wh` what it showed.
    """

    usage_point: UsagePointId
    at: datetime
    cumulative_wh: int
    quality: Quality
    meter: MeterId
    meter_wh: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LatestRegisters:
    """
    The newest register of every customer usage point that has one.

    *Shape*: four equally long columns, ordered by usage point. *Units*: int64 ms and Wh.
    `quality` holds the words of `Quality`.
    """

    usage_points: list[UsagePointId]
    at_ms: NDArray[np.int64]
    cumulative_wh: NDArray[np.int64]
    quality: NDArray[np.str_]

    def __len__(self) -> int:
        """Return the number of usage points."""
        return len(self.usage_points)


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalUsage:
    """Import in `[start, start + seconds)`. *Units*: Wh."""

    usage_point: UsagePointId
    start: datetime
    seconds: int
    wh: int
    quality: Quality


@dataclass(frozen=True, slots=True, kw_only=True)
class DayUsage:
    """
    Import of one civil day, from the registers at or before its two midnights.

    `wh` is None where no two registers bound the day. `from_at` and `to_at` are when those
    registers were read; nothing is interpolated. Quality is questionable where a bounding register
    is, where the day's first midnight has no register before it, or where the day has no register.
    """

    usage_point: UsagePointId
    day: date
    wh: int | None
    from_at: datetime | None
    to_at: datetime | None
    quality: Quality
