"""Use by named hours of the local clock, asked of the intervals themselves (local TOU frames)."""

from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from cloud.assets import service as assets
from cloud.rollups.model import mask_of
from cloud.rollups.rules.days import days_between, slot_starts
from cloud.rollups.rules.hours import Frame, HoursUse, by_window, windows_of
from cloud.rollups.service.measuring import owed, profiles
from cloud.store.db import Connection
from cloud.usage import service as usage
from protocols.identity import UsagePointId
from protocols.timeline import local_day, to_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class DayHours:
    """One civil day by windows; together they are the day's intervals."""

    day: date
    windows: tuple[HoursUse, ...]


def hours(
    conn: Connection,
    usage_point: UsagePointId,
    days: tuple[date, date],
    frame: Frame,
    *,
    as_of: datetime | None = None,
) -> list[DayHours]:
    """
    Return the days `[days)` by the frame's windows; days without a load profile are absent.

    A slot is in the window in which it begins. Slots that a meter owes and that are not there are
    told as missing, so that a sum over a gap never looks whole.
    """
    items = assets.installations_at(conn, [usage_point])
    if not items:
        return []
    zone = ZoneInfo(items[-1].usage_point.zone)
    found = []
    for day in days_between(*days):
        span = local_day(day, zone)
        wanted: set[int] = set()
        for seconds, item in profiles(items, span):
            starts = slot_starts(span, seconds)
            wanted |= set(starts[owed(item, starts, seconds)].tolist())
        if not wanted:
            continue
        read = {
            to_ms(each.start): (each.wh, mask_of([each.quality]))
            for each in usage.intervals(conn, usage_point, span, as_of=as_of)
        }
        every = sorted(wanted | read.keys())
        names = windows_of(frame, every, zone)
        slots = [read.get(start) for start in every]
        found.append(DayHours(day=day, windows=tuple(by_window(frame, names, slots))))
    return found
