"""Validated usage: what a usage point has consumed, by instant and by interval."""

from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
from numpy.typing import NDArray

from protocols.identity import MeterId, UsagePointId
from protocols.reading import Quality


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
