"""Civil days of a usage point, and its average use."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from cloud.store.db import Connection
from cloud.usage import rules
from cloud.usage.model import DayUsage
from cloud.usage.service.instants import first_register, registers_at_each
from protocols.identity import UsagePointId
from protocols.timeline import Interval, to_ms


def daily(
    conn: Connection,
    usage_point: UsagePointId,
    span: Interval,
    zone: ZoneInfo,
    *,
    as_of: datetime | None = None,
) -> list[DayUsage]:
    """Return the usage of every civil day in `zone` that `span` touches, oldest first."""
    days = rules.days_of(span, zone)
    bounds = rules.midnights(days, zone)
    at_bounds = registers_at_each(conn, [usage_point] * len(bounds), bounds, as_of=as_of)
    first = first_register(conn, usage_point, as_of=as_of)
    return [
        rules.day_usage(
            usage_point,
            day,
            before=at_bounds[n],
            at_end=at_bounds[n + 1],
            first=first,
            start=bounds[n],
        )
        for n, day in enumerate(days)
    ]


def average_daily_wh(
    conn: Connection,
    usage_point: UsagePointId,
    now: datetime,
    *,
    days: int = 7,
    as_of: datetime | None = None,
) -> int | None:
    """
    Return the average Wh a day over the last `days`, or over what there is; None without two reads.

    Normalised by the time between the two registers used, so a late read does not bias it.
    """
    latest, opening = registers_at_each(
        conn, [usage_point, usage_point], [now, now - timedelta(days=days)], as_of=as_of
    )
    opening = opening or first_register(conn, usage_point, as_of=as_of)
    if latest is None or opening is None or latest.at <= opening.at:
        return None
    return rules.daily_average(
        latest.cumulative_wh - opening.cumulative_wh, to_ms(latest.at) - to_ms(opening.at)
    )
