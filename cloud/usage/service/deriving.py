"""
What usage makes of new raw rows in their own transaction: no row per reading.

New intervals need nothing: usage refers to them. New registers move the newest register of their
usage point, by one array statement a transaction; only where a register rolled over, came late
where that can matter, or is the first of an installation are the segments of its point made anew.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from cloud.assets.model import Installed
from cloud.ingest import service as ingest
from cloud.ingest.model import Stored
from cloud.store.db import Connection
from cloud.usage import store
from cloud.usage.model import MISSING, QUALITIES, QUESTIONABLE, VALID, Int
from cloud.usage.rules.walking import FOREVER_MS
from cloud.usage.service import segments
from cloud.vee import rules as vee_rules
from cloud.vee import service as vee
from protocols.identity import MeterId, UsagePointId
from protocols.mqtt.live import LiveReading
from protocols.reading import Channel
from protocols.timeline import to_ms

_IMPORT = int(Channel.IMPORT_WH)
_IMPORT_INTERVAL = int(Channel.IMPORT_INTERVAL_WH)
_LONE, _SAME_METER, _OVERLAID = 1, 2, 4
_WH_MS = 3_600_000
"""A watt counts a watt-hour in so many milliseconds."""
_REMEMBERED = 2_000_000
_NOTHING: Mapping[int, int] = {}


def derive(
    conn: Connection, stored: Stored, now: datetime, wall_now: datetime
) -> tuple[LiveReading, ...]:
    """
    Note gaps and keep segments and newest registers right for new raw rows, in their transaction.

    Returns the newest live reading of every usage point of which anything was heard.
    """
    vee.note_intervals(conn, stored, now)
    stays = _stays(stored)
    if not len(stays.meter):
        return ()
    state = store.standing(conn, stays.meters)
    known = np.zeros(len(stays.meter), dtype=np.bool_)
    known[state["meter"]] = True
    aligned = {name: _spread(column, state["meter"], len(known)) for name, column in state.items()}
    wave = _wave(stored, stays)
    anew, again, moved = _sorted_out(stays, aligned, known, wave)
    _move(conn, stays, aligned, wave, moved)
    points = stays.points
    segments.rebuild_many(conn, [points[n] for n in np.flatnonzero(anew).tolist()], now=now)
    segments.refresh(conn, [points[n] for n in np.flatnonzero(again & ~anew).tolist()])
    return _live(conn, stays, to_ms(wall_now))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stays:
    """
    The last installation of every meter of which something came. *Shape*: equal columns.

    `meter` indexes the meters of `Stored`. *Units*: ms, Wh, W.
    """

    meter: Int
    meters: list[MeterId]
    points: list[UsagePointId]
    zones: list[str]
    since_ms: Int
    until_ms: Int
    rollover_wh: Int
    capacity_w: Int
    max_w: Int
    touched: Any
    heard: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wave:
    """
    New registers by stay: the first and last that came, and whether they came in order.

    *Shape*: a place per stay; `size` 0 where none came. `outside`: some lie before the last
    installation. `opening_wh` is the figure of the last one at or before the last one's midnight,
    `opened` tells whether there is one.
    """

    size: Int
    first_ms: Int
    first_wh: Int
    last_ms: Int
    last_wh: Int
    last_status: Int
    falls: Any
    outside: Any
    midnight_ms: Int
    opened: Any
    opening_wh: Int


def _stays(stored: Stored) -> _Stays:
    size = len(stored.meters)
    touched = np.zeros(size, dtype=np.bool_)
    for rows, wanted in ((stored.registers, _IMPORT), (stored.intervals, _IMPORT_INTERVAL)):
        touched[rows.meter[rows.channel == wanted]] = True
    heard = np.fromiter((meter in stored.heard for meter in stored.meters), np.bool_, size)
    last = {item.meter.id: item for item in stored.installed}
    items = [last.get(meter) for meter in stored.meters]
    there = np.fromiter((item is not None for item in items), np.bool_, size)
    chosen = np.flatnonzero(there & (touched | heard))
    found = [_facts(items[n]) for n in chosen.tolist()]
    table = np.array([each[2:] for each in found], dtype=np.int64).reshape(-1, 5)
    return _Stays(
        meter=chosen, meters=[stored.meters[n] for n in chosen.tolist()],
        points=[each[0] for each in found], zones=[each[1] for each in found],
        since_ms=table[:, 0], until_ms=table[:, 1], rollover_wh=table[:, 2],
        capacity_w=table[:, 3], max_w=table[:, 4], touched=touched[chosen], heard=heard[chosen],
    )  # fmt: skip


_Facts = tuple[UsagePointId, str, int, int, int, int, int]
_REMEMBER: OrderedDict[int, tuple[Installed, _Facts]] = OrderedDict()


def _facts(item: Installed | None) -> _Facts:
    """Return what is asked of an installation; books keep the same objects from batch to batch."""
    assert item is not None
    kept = _REMEMBER.get(id(item))
    if kept is not None and kept[0] is item:
        return kept[1]
    since, until = segments.bounds(item)
    facts = (
        item.usage_point.id, item.usage_point.zone, since, until, item.meter.rollover_wh or 0,
        item.usage_point.capacity_w or 0, item.meter.max_w,
    )  # fmt: skip
    _REMEMBER[id(item)] = item, facts
    if len(_REMEMBER) > _REMEMBERED:
        _REMEMBER.clear()
    return facts


def _wave(stored: Stored, stays: _Stays) -> _Wave:
    fresh, count = stored.registers, len(stays.meter)
    rows = np.flatnonzero(fresh.channel == _IMPORT)
    # rows come by meter, channel and instant
    place = np.full(len(stored.meters), -1, dtype=np.int64)
    place[stays.meter] = np.arange(count)
    stay = place[fresh.meter[rows]]
    rows, stay = rows[stay >= 0], stay[stay >= 0]
    at, wh = fresh.at_ms[rows], fresh.wh[rows]
    first = np.searchsorted(stay, np.arange(count))
    size = np.searchsorted(stay, np.arange(count), side="right") - first
    last = first + size - 1
    some = np.flatnonzero(size)

    def picked(column: Int, places: Int) -> Int:
        found = np.full(count, MISSING, dtype=np.int64)
        found[some] = column[places[some]]
        return found

    falls, outside = np.zeros(count, dtype=np.bool_), np.zeros(count, dtype=np.bool_)
    inner = (stay[1:] == stay[:-1]) & (wh[1:] < wh[:-1])
    falls[stay[1:][inner]] = True
    outside[stay[(at < stays.since_ms[stay]) | (at > stays.until_ms[stay])]] = True
    last_ms = picked(at, last)
    midnight = segments.midnights(last_ms, stays.zones)
    early = np.flatnonzero(at <= midnight[stay])
    opening, opened = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.bool_)
    opening[stay[early]], opened[stay[early]] = wh[early], True
    return _Wave(
        size=size, first_ms=picked(at, first), first_wh=picked(wh, first), last_ms=last_ms,
        last_wh=picked(wh, last), last_status=picked(fresh.status[rows], last), falls=falls,
        outside=outside, midnight_ms=midnight, opened=opened, opening_wh=opening,
    )  # fmt: skip


def _sorted_out(
    stays: _Stays, state: dict[str, Int], known: Any, wave: _Wave
) -> tuple[Any, Any, Any]:
    """Return which stays need segments anew, which their newest register, which are just moved."""
    lone = (state["flags"] & _LONE) != 0
    # what the assets say must be what the segment rests on
    sound = known & (state["until_ms"] == stays.until_ms) & (stays.since_ms <= state["since_ms"])
    sound &= state["capacity_w"] == stays.capacity_w
    sound &= ~lone | (stays.since_ms == state["since_ms"])
    came = wave.size > 0
    newest = np.where((state["flags"] & _SAME_METER) != 0, state["at_ms"], MISSING)
    unread = state["at_ms"] == MISSING
    late = came & (wave.first_ms <= state["at_ms"])
    ordered = came & ~late & ((newest != MISSING) | (unread & lone))
    rolls = stays.rollover_wh > 0
    fell = wave.falls | ((newest != MISSING) & (wave.first_wh < state["wh"]))
    # figures that came late tell of no turn where none exceeds the newest, and where a whole turn
    # since the installation is more than the meter can count
    steady = late & ~wave.falls & (wave.last_ms <= state["at_ms"]) & (wave.last_wh <= state["wh"])
    counted = stays.max_w * np.maximum(state["at_ms"] - stays.since_ms, 0)
    steady &= counted < stays.rollover_wh * _WH_MS
    plain = lone & (~rolls | steady | (ordered & ~fell))
    going_on = ordered & ~lone & (~rolls | ~fell) & (wave.first_ms >= state["since_ms"])
    overlaid = (state["flags"] & _OVERLAID) != 0
    anew = stays.touched & (~sound | wave.outside)
    anew |= came & ~(plain | going_on)
    moved = came & ~anew & ordered & ~overlaid
    return anew, came & ~anew & ~moved, moved


def _move(conn: Connection, stays: _Stays, state: dict[str, Int], wave: _Wave, moved: Any) -> None:
    """Write the newest registers of those that came in order."""
    rows = np.flatnonzero(moved)
    if not len(rows):
        return
    rows = rows[np.argsort(np.array([stays.points[n] for n in rows.tolist()]), kind="stable")]
    top, bottom, add = (state[name][rows] for name in ("numerator", "denominator", "offset_wh"))

    def total(wh: Int) -> Int:
        scaled: Int = wh * top // bottom + add
        return scaled

    cumulative = total(wave.last_wh[rows])
    midnight, before = wave.midnight_ms[rows], state["at_ms"][rows]
    # the newest one before stood at midnight, where the day has changed since and nothing came
    # between; the very first register opens its own day
    opening = np.where(state["day_ms"][rows] == midnight, state["opening_wh"][rows],
                       state["cumulative_wh"][rows])  # fmt: skip
    opening = np.where(before == MISSING, total(wave.first_wh[rows]), opening)
    opening = np.where(wave.opened[rows], total(wave.opening_wh[rows]), opening)
    doubt = vee_rules.doubtful_status(wave.last_status[rows])
    store.move_newest(
        conn,
        {
            "usage_point": [stays.points[n] for n in rows.tolist()],
            "at_ms": wave.last_ms[rows].tolist(),
            "cumulative_wh": cumulative.tolist(),
            "quality": np.where(doubt, QUESTIONABLE, VALID).tolist(),
            "meter": [stays.meters[n] for n in rows.tolist()],
            "wh": wave.last_wh[rows].tolist(),
            "day_ms": midnight.tolist(),
            "opening_wh": opening.tolist(),
            "overlaid": [False] * len(rows),
        },
    )


def _live(conn: Connection, stays: _Stays, wall_ms: int) -> tuple[LiveReading, ...]:
    here = np.flatnonzero(stays.heard & (stays.until_ms == FOREVER_MS)).tolist()
    meters = {stays.points[n]: stays.meters[n] for n in here}
    newest = store.newest_registers(conn, sorted(meters))
    if not newest:
        return ()
    momentary = ingest.momentary_of(conn, [meters[row[0]] for row in newest])
    readings = []
    for point, at_ms, total, quality, _, opening in newest:
        known = momentary.get(meters[point])
        values = known.values if known else _NOTHING
        readings.append(
            LiveReading(
                usage_point=point,
                at_ms=at_ms,
                wall_ms=wall_ms,
                quality=QUALITIES[quality].value,
                register_wh=total,
                today_wh=total - opening,
                power_w=values.get(Channel.POWER_W),
                voltage_mv=values.get(Channel.VOLTAGE_L1_MV),
                current_ma=values.get(Channel.CURRENT_L1_MA),
            )
        )
    return tuple(readings)


def _spread(column: Int, places: Int, size: int) -> Int:
    """Return a column with a place per stay, MISSING where nothing is known."""
    found = np.full(size, MISSING, dtype=np.int64)
    found[places] = column
    return found
