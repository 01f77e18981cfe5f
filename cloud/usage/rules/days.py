"""Civil days of a usage point and averages, from its registers."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from cloud.usage.model import DayUsage, UsageRegister
from protocols.identity import UsagePointId
from protocols.reading import Quality
from protocols.timeline import Interval, local_date, local_day

DAY_MS = 86_400_000


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
