"""Pure derivation of usage from raw registers: cumulation over rollover and exchange, averages."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from cloud.usage.model import DayUsage, UsageRegister
from protocols.identity import UsagePointId
from protocols.reading import Quality
from protocols.timeline import Interval, local_date, local_day

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """
    The registers of one installation, oldest first. *Units*: Wh; `rollover_wh` 0 means none.

    `initial_wh` and `final_wh` are the fitter's figures, None where nobody wrote them down.
    """

    wh: NDArray[np.int64]
    rollover_wh: int = 0
    initial_wh: int | None = None
    final_wh: int | None = None


def steps(wh: NDArray[np.int64], rollover_wh: int) -> NDArray[np.int64]:
    """Return the energy between neighbours; a register that fell has rolled over once."""
    difference = np.diff(wh)
    return difference % rollover_wh if rollover_wh else difference


def accumulate(segments: Sequence[Segment]) -> list[NDArray[np.int64]]:
    """
    Return per segment the cumulative register of the usage point, a function of the set alone.

    The first segment counts as its meter shows. Each next one starts where the one before ended:
    from its initial figure (else its first register) on top of the final figure (else the last
    register) before it. *Shape*: one array per segment, as long as its `wh`.
    """
    results: list[NDArray[np.int64]] = []
    base: int | None = None
    for segment in segments:
        if not len(segment.wh):
            results.append(segment.wh)
            # energy that a meter counted unseen is known only when the fitter wrote both figures
            if segment.initial_wh is not None and segment.final_wh is not None:
                walked = _step(segment.initial_wh, segment.final_wh, segment.rollover_wh)
                base = segment.final_wh if base is None else base + walked
            continue
        first, last = int(segment.wh[0]), int(segment.wh[-1])
        if base is None:
            start = first
        elif segment.initial_wh is None:
            start = base
        else:
            start = base + _step(segment.initial_wh, first, segment.rollover_wh)
        walk = np.concatenate(([0], np.cumsum(steps(segment.wh, segment.rollover_wh))))
        cumulative = start + walk.astype(np.int64)
        results.append(cumulative)
        base = int(cumulative[-1])
        if segment.final_wh is not None:
            base += _step(last, segment.final_wh, segment.rollover_wh)
    return results


def _step(before: int, after: int, rollover_wh: int) -> int:
    return (after - before) % rollover_wh if rollover_wh else after - before


def days_of(span: Interval, zone: ZoneInfo) -> list[date]:
    """Return the civil days that `span` touches."""
    day, last = local_date(span.start, zone), local_date(span.end - timedelta(milliseconds=1), zone)
    found = []
    while day <= last:
        found.append(day)
        day += timedelta(days=1)
    return found


def midnights(days: Sequence[date], zone: ZoneInfo) -> list[datetime]:
    """Return the instants that bound the days: one more than there are days."""
    starts = [local_day(day, zone).start for day in days]
    return [*starts, local_day(days[-1], zone).end] if days else []


def day_usage(
    usage_point: UsagePointId,
    day: date,
    *,
    before: UsageRegister | None,
    at_end: UsageRegister | None,
    first: UsageRegister | None,
    start: datetime,
) -> DayUsage:
    """
    Return the usage of one day from the registers at or before its two midnights.

    `first` is the usage point's first register ever: the day in which it lies counts from there.
    """
    opening = before
    if opening is None and first is not None and at_end is not None and first.at <= at_end.at:
        opening = first
    if opening is None or at_end is None:
        return DayUsage(
            usage_point=usage_point, day=day, wh=None, from_at=None, to_at=None,
            quality=Quality.QUESTIONABLE,
        )  # fmt: skip
    sound = (
        before is not None
        and at_end.at > start
        and Quality.QUESTIONABLE not in {opening.quality, at_end.quality}
    )
    return DayUsage(
        usage_point=usage_point,
        day=day,
        wh=at_end.cumulative_wh - opening.cumulative_wh,
        from_at=opening.at,
        to_at=at_end.at,
        quality=Quality.VALID if sound else Quality.QUESTIONABLE,
    )


def daily_average(wh: int, elapsed_ms: int) -> int:
    """Return Wh a day from Wh over a time, rounded half up. Raises ValueError on no time."""
    if elapsed_ms <= 0:
        raise ValueError("an average needs time to pass")
    return (2 * wh * DAY_MS + elapsed_ms) // (2 * elapsed_ms)
