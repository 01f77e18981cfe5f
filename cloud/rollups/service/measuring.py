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
from cloud.usage.model import UsageRegister
from protocols.identity import UsagePointId
from protocols.timeline import Interval, local_day, to_ms

_NEVER = np.iinfo(np.int64).max

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
    unopened = {point for (point, _), span in spans.items() if at[point, span.start] is None}
    first = {point: usage.first_register(conn, point) for point in sorted(unopened)}
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
    groups: dict[tuple[date, Interval, int], dict[UsagePointId, list[Installed]]] = {}
    for (point, day), span in spans.items():
        for seconds, item in profiles(hung[point], span):
            groups.setdefault((day, span, seconds), {}).setdefault(point, []).append(item)
    found: dict[Key, list[Part]] = {key: [] for key in spans}
    for (day, span, seconds), items in groups.items():
        points = sorted(items)
        starts = rules.slot_starts(span, seconds)
        wh = np.zeros((len(points), len(starts)), dtype=np.int64)
        codes = np.full(wh.shape, -1, dtype=np.int8)
        expected = np.zeros(wh.shape, dtype=np.bool_)
        for n, point in enumerate(points):
            for item in items[point]:
                expected[n] |= owed(item, starts, seconds)
            for each in usage.intervals(conn, point, span):
                if each.seconds == seconds:
                    place = np.searchsorted(starts, to_ms(each.start))
                    wh[n, place], codes[n, place] = each.wh, rules.CODES[each.quality]
        counts = rules.count_slots(wh, codes, expected)
        for n, point in enumerate(points):
            found[point, day].append((counts, n))
    return found


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
