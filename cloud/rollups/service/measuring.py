"""What days are made of, asked of usage for many days at once."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from zoneinfo import ZoneInfo

import numpy as np

from cloud.assets import service as assets
from cloud.assets.model import Installed
from cloud.rollups.model import Bound, DayFigures, mask_of
from cloud.rollups.rules import days as rules
from cloud.rollups.rules.days import SlotCounts
from cloud.rollups.store.queue import Key
from cloud.store.db import Connection
from cloud.usage import service as usage
from cloud.usage.model import Slots, UsageRegister
from protocols.identity import UsagePointId
from protocols.timeline import Interval, local_day, to_ms

_NEVER = np.iinfo(np.int64).max
_SPREAD = 1 << 40
"""More seconds than there are since 1970: a point and an instant in one sortable number."""
_SPARSE = 4
"""Days are asked together while at most three of four are fetched in vain."""

Part = tuple[SlotCounts, int]
"""Counts of many days and the row of one of them."""


def measure(conn: Connection, wanted: Sequence[Key]) -> dict[Key, tuple[str, DayFigures]]:
    """
    Return zone and figures of the days, as usage tells them now.

    A day is absent where no meter hung at the point and no register bounds it.
    """
    hung: dict[UsagePointId, list[Installed]] = defaultdict(list)
    for item in assets.installations_at(conn, sorted({point for point, _ in wanted})):
        hung[item.usage_point.id].append(item)
    zones = {point: items[-1].usage_point.zone for point, items in hung.items()}
    spans = {
        (point, day): local_day(day, ZoneInfo(zones[point]))
        for point, day in wanted
        if point in zones
    }
    bounds = _bounds(conn, spans)
    parts = _parts(conn, spans, hung)
    found = {}
    for key, (opening, closing) in bounds.items():
        if parts[key] or closing is not None:
            found[key] = (zones[key[0]], rules.figures_of(parts[key], opening, closing))
    return found


def _bounds(
    conn: Connection, spans: Mapping[Key, Interval]
) -> dict[Key, tuple[Bound | None, Bound | None]]:
    """Return the registers at or before both midnights; before any, the first there is."""
    asked = sorted(
        {(point, at) for (point, _), span in spans.items() for at in (span.start, span.end)}
    )
    read = usage.registers_at_each(conn, [each[0] for each in asked], [each[1] for each in asked])
    at = dict(zip(asked, read, strict=True))
    unopened = sorted(
        {point for (point, _), span in spans.items() if at[point, span.start] is None}
    )
    never = np.zeros(len(unopened), dtype=np.int64)
    oldest = usage.at_instants(conn, unopened, never, before=False).plain(unopened)
    first = dict(zip(unopened, oldest, strict=True))
    found = {}
    for (point, day), span in spans.items():
        closing = at[point, span.end]
        opening = at[point, span.start] or (first[point] if closing is not None else None)
        found[point, day] = (_bound(opening), _bound(closing))
    return found


def _bound(register: UsageRegister | None) -> Bound | None:
    if register is None:
        return None
    return Bound(at=register.at, wh=register.cumulative_wh, qualities=mask_of([register.quality]))


def _parts(
    conn: Connection,
    spans: Mapping[Key, Interval],
    hung: Mapping[UsagePointId, Sequence[Installed]],
) -> dict[Key, list[Part]]:
    """Return the counts of slots of each day, by the interval lengths of its meters."""
    found: dict[Key, list[Part]] = {key: [] for key in spans}
    for keys in _asked_together(list(spans)):
        groups: dict[int, dict[Key, list[Installed]]] = {}
        for key in keys:
            for seconds, item in profiles(hung[key[0]], spans[key]):
                groups.setdefault(seconds, {}).setdefault(key, []).append(item)
        if not groups:
            continue
        points = sorted({point for group in groups.values() for point, _ in group})
        around = Interval(
            start=min(spans[key].start for key in keys), end=max(spans[key].end for key in keys)
        )
        slots = usage.interval_columns(conn, points, around)
        for seconds, items in groups.items():
            counts = _counts(slots, points, {key: spans[key] for key in items}, items, seconds)
            for n, key in enumerate(items):
                found[key].append((counts, n))
    return found


def _asked_together(keys: Sequence[Key]) -> list[list[Key]]:
    """Return keys in lots for one question each: many points of a day, or many days of a point."""
    days = sorted({day for _, day in keys})
    points = {point for point, _ in keys}
    if days and len(keys) * _SPARSE >= len(points) * ((days[-1] - days[0]).days + 1):
        return [list(keys)]
    by_day = defaultdict[date, list[Key]](list)
    for key in keys:
        by_day[key[1]].append(key)
    return list(by_day.values())


def _counts(
    slots: Slots,
    points: Sequence[UsagePointId],
    spans: Mapping[Key, Interval],
    items: Mapping[Key, Sequence[Installed]],
    seconds: int,
) -> SlotCounts:
    """Return the counts of one interval length, a row a day in the order of `spans`."""
    step = seconds * 1000
    starts = [rules.slot_starts(span, seconds) for span in spans.values()]
    width = max(len(each) for each in starts)
    first = np.array([int(each[0]) for each in starts], dtype=np.int64)
    wh = np.zeros((len(starts), width), dtype=np.int64)
    codes = np.full(wh.shape, -1, dtype=np.int8)
    expected = np.zeros(wh.shape, dtype=np.bool_)
    for n, key in enumerate(spans):
        for item in items[key]:
            expected[n, : len(starts[n])] |= owed(item, starts[n], seconds)
    place = {point: n for n, point in enumerate(points)}
    own = slots.take(slots.seconds == seconds)
    # rows of a point stand in order of their days: a search finds the day that holds a start
    order = np.array([place[point] for point, _ in spans], dtype=np.int64)
    ends = first + np.array([len(each) for each in starts], dtype=np.int64) * step
    ranked = np.lexsort((first, order))
    begin = np.searchsorted(
        order[ranked] * _SPREAD + first[ranked] // 1000,
        own.point * _SPREAD + own.start_ms // 1000, side="right",
    ) - 1  # fmt: skip
    row = ranked[np.maximum(begin, 0)]
    inside = (
        (begin >= 0)
        & (order[row] == own.point)
        & (own.start_ms >= first[row])
        & (own.start_ms < ends[row])
    )
    at = (own.start_ms[inside] - first[row][inside]) // step
    wh[row[inside], at] = own.wh[inside]
    codes[row[inside], at] = own.quality[inside]
    return rules.count_slots(wh, codes, expected)


def profiles(hung: Sequence[Installed], span: Interval) -> list[tuple[int, Installed]]:
    """Return interval length and installation of the meters with a profile that hung in `span`."""
    found = []
    for item in hung:
        seconds, removed = item.meter.interval_seconds, item.installation.removed_at
        begun = item.installation.installed_at < span.end
        if seconds is not None and begun and (removed is None or removed > span.start):
            found.append((seconds, item))
    return found


def owed(item: Installed, starts: rules.Int, seconds: int) -> rules.Bools:
    """Tell which slots the meter of an installation owes."""
    removed = item.installation.removed_at
    since = to_ms(item.installation.installed_at)
    return rules.owed(starts, seconds, since, _NEVER if removed is None else to_ms(removed))
