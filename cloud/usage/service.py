"""The one door to consumption: registers, intervals, days, averages of a usage point."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from cloud.assets import service as assets
from cloud.store.db import Connection
from cloud.usage import rules, store
from cloud.usage.model import DayUsage, IntervalUsage, LatestRegisters, UsageRegister
from protocols.identity import UsagePointId
from protocols.reading import Quality
from protocols.timeline import Interval, to_ms


def register_at(conn: Connection, usage_point: UsagePointId, at: datetime) -> UsageRegister | None:
    """Return the newest register at or before `at`, or None."""
    return store.register_at(conn, usage_point, at)


def first_register(conn: Connection, usage_point: UsagePointId) -> UsageRegister | None:
    """Return the oldest register, or None."""
    return store.first_register(conn, usage_point)


def registers(conn: Connection, usage_point: UsagePointId, span: Interval) -> list[UsageRegister]:
    """Return every register read in `span`, oldest first."""
    return store.registers_in(conn, usage_point, span)


def latest_registers(conn: Connection) -> LatestRegisters:
    """Return the newest register of every customer usage point that has one."""
    rows = store.newest_registers(conn, assets.usage_point_ids(conn))
    return LatestRegisters(
        usage_points=[row[0] for row in rows],
        at_ms=np.array([row[1] for row in rows], dtype=np.int64),
        cumulative_wh=np.array([row[2] for row in rows], dtype=np.int64),
        trusted=np.array([row[3] != Quality.QUESTIONABLE for row in rows], dtype=np.bool_),
    )


def intervals(conn: Connection, usage_point: UsagePointId, span: Interval) -> list[IntervalUsage]:
    """Return the intervals that start in `span`, oldest first; what is missing is absent."""
    return store.intervals_in(conn, usage_point, span)


def daily(
    conn: Connection, usage_point: UsagePointId, span: Interval, zone: ZoneInfo
) -> list[DayUsage]:
    """Return the usage of every civil day in `zone` that `span` touches, oldest first."""
    days = rules.days_of(span, zone)
    bounds = rules.midnights(days, zone)
    at_bounds = store.registers_at_each(conn, [usage_point] * len(bounds), bounds)
    first = store.first_register(conn, usage_point)
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
    conn: Connection, usage_point: UsagePointId, now: datetime, *, days: int = 7
) -> int | None:
    """
    Return the average Wh a day over the last `days`, or over what there is; None without two reads.

    Normalised by the time between the two registers used, so a late read does not bias it.
    """
    latest = store.register_at(conn, usage_point, now)
    opening = store.register_at(conn, usage_point, now - timedelta(days=days))
    opening = opening or store.first_register(conn, usage_point)
    if latest is None or opening is None or latest.at <= opening.at:
        return None
    return rules.daily_average(
        latest.cumulative_wh - opening.cumulative_wh, to_ms(latest.at) - to_ms(opening.at)
    )
