"""Which ended civil days readings touch, for whole columns of readings at once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import zip_longest
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from cloud.rollups.model import Touched
from cloud.rollups.rules.days import days_between
from protocols.identity import UsagePointId
from protocols.timeline import from_ms, local_date, local_day, to_ms

Int = NDArray[np.int64]

_NEVER = np.iinfo(np.int64).max
_ONE = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stay:
    """Where a meter hung over `[since_ms, until_ms)`; `until_ms` None: it still does."""

    usage_point: UsagePointId
    zone: str
    since_ms: int
    until_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """When a meter was read. *Shape*: equal columns. `meter` numbers the meters; *units*: ms."""

    meter: Int
    at_ms: Int
    registers: bool


def only_today(columns: Sequence[Times], zones: Iterable[str], now: datetime) -> bool:
    """Tell whether all was read after the last midnight in every zone, as most is."""
    first = min((int(times.at_ms.min()) for times in columns if len(times.at_ms)), default=None)
    if first is None:
        return True
    infos = [ZoneInfo(name) for name in zones]
    # a register at midnight itself touches the day that ended
    return all(first > to_ms(local_day(local_date(now, zone), zone).start) for zone in infos)


def touched_days(stays: Sequence[Sequence[Stay]], columns: Sequence[Times], now_ms: int) -> Touched:
    """
    Return the days that had ended by `now_ms` and that readings touch, by usage point and day.

    `stays` are those of each meter by its number. An interval touches the day in which it starts; a
    register its own day and, where read at midnight, the one that ends there.
    """
    zones = {stay.usage_point: stay.zone for each in stays for stay in each}
    points = sorted(zones)
    place = {point: n for n, point in enumerate(points)}
    touched = Touched(usage_points=[], days=[], readings=[], first_ms=[], last_ms=[])
    rows = [_at_points(stays, place, times) for times in columns if len(times.meter)]
    if not points or not rows:
        return touched
    point, at_ms, registers = (np.concatenate(each) for each in zip(*rows, strict=True))
    for zone in sorted(set(zones.values())):
        within = np.array([zones[each] == zone for each in points], dtype=np.bool_)[point]
        if within.any():
            _count(touched, points, ZoneInfo(zone), now_ms,
                   (point[within], at_ms[within], registers[within]))  # fmt: skip
    return touched


def _at_points(
    stays: Sequence[Sequence[Stay]], place: dict[UsagePointId, int], times: Times
) -> tuple[Int, Int, NDArray[np.bool_]]:
    """Return usage point and instant of the readings that fall into a stay of their meter."""
    points, at_ms = [], []
    # the first stay of every meter, then the second of those that have one, ..
    for layer in zip_longest(*stays):
        at = np.array([place[one.usage_point] if one else -1 for one in layer], dtype=np.int64)
        since = np.array([one.since_ms if one else 0 for one in layer], dtype=np.int64)
        until = np.array(
            [_NEVER if one is None or one.until_ms is None else one.until_ms for one in layer],
            dtype=np.int64,
        )
        inside = (
            (at[times.meter] >= 0)
            & (times.at_ms >= since[times.meter])
            & (times.at_ms <= until[times.meter])
        )
        points.append(at[times.meter][inside])
        at_ms.append(times.at_ms[inside])
    point = np.concatenate(points)
    return point, np.concatenate(at_ms), np.full(len(point), times.registers)


def _count(
    touched: Touched,
    points: Sequence[UsagePointId],
    zone: ZoneInfo,
    now_ms: int,
    rows: tuple[Int, Int, NDArray[np.bool_]],
) -> None:
    """Add the ended days of one zone to `touched`."""
    point, at_ms, registers = rows
    first = local_date(from_ms(int(at_ms.min())), zone) - _ONE
    last = local_date(from_ms(int(at_ms.max())), zone) + _ONE
    days = days_between(first, last)
    midnights = np.array([to_ms(local_day(day, zone).start) for day in days], dtype=np.int64)
    ends = np.append(midnights[1:], to_ms(local_day(days[-1], zone).end))
    day = np.searchsorted(midnights, at_ms, side="right") - 1
    bounding = registers & (midnights[day] == at_ms)
    point = np.concatenate((point, point[bounding]))
    at_ms = np.concatenate((at_ms, at_ms[bounding]))
    day = np.concatenate((day, day[bounding] - 1))
    ended = ends[day] <= now_ms
    if not ended.any():
        return
    point, at_ms, day = point[ended], at_ms[ended], day[ended]
    # rows come in runs that are in order already, which a stable sort only merges
    key = point * len(days) + day
    order = np.argsort(key, kind="stable")
    key, at_ms = key[order], at_ms[order]
    begins = np.flatnonzero(np.append(True, np.diff(key) != 0))
    counts = np.diff(np.append(begins, len(key)))
    point, day = key[begins] // len(days), key[begins] % len(days)
    touched.usage_points.extend(points[n] for n in point.tolist())
    touched.days.extend(days[n] for n in day.tolist())
    touched.readings.extend(counts.tolist())
    touched.first_ms.extend(np.minimum.reduceat(at_ms, begins).tolist())
    touched.last_ms.extend(np.maximum.reduceat(at_ms, begins).tolist())
