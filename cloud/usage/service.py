"""The one door to consumption: registers, intervals, days, averages of a usage point."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from cloud.assets import service as assets
from cloud.assets.model import Installed
from cloud.ingest import service as ingest
from cloud.ingest.model import RawSeries, Stored
from cloud.ingest.service import Derive
from cloud.store.db import Connection, Database
from cloud.usage import rules, store
from cloud.usage.model import DayUsage, IntervalUsage, LatestRegisters, UsageRegister
from cloud.vee import rules as vee_rules
from cloud.vee import service as vee
from protocols.identity import MeterId, UsagePointId
from protocols.mqtt.live import LiveReading
from protocols.reading import Channel
from protocols.timeline import Interval, from_ms, local_date, local_day, to_ms

Int = NDArray[np.int64]

_IMPORT = int(Channel.IMPORT_WH)
_IMPORT_INTERVAL = int(Channel.IMPORT_INTERVAL_WH)


def register_at(conn: Connection, usage_point: UsagePointId, at: datetime) -> UsageRegister | None:
    """Return the newest register at or before `at`, or None."""
    return store.register_at(conn, usage_point, at)


def first_register(conn: Connection, usage_point: UsagePointId) -> UsageRegister | None:
    """Return the oldest register, or None."""
    return store.first_register(conn, usage_point)


def registers(conn: Connection, usage_point: UsagePointId, span: Interval) -> list[UsageRegister]:
    """Return every register read in `span`, oldest first."""
    return store.registers_in(conn, usage_point, span)


def registers_at_each(
    conn: Connection, usage_points: Sequence[UsagePointId], at: Sequence[datetime]
) -> list[UsageRegister | None]:
    """Return for each (usage point, instant) the newest register at or before it, in one query."""
    return store.registers_at_each(conn, usage_points, at)


def latest_registers(conn: Connection) -> LatestRegisters:
    """Return the newest register of every customer usage point that has one."""
    rows = store.newest_registers(conn, assets.usage_point_ids(conn))
    return LatestRegisters(
        usage_points=[row[0] for row in rows],
        at_ms=np.array([row[1] for row in rows], dtype=np.int64),
        cumulative_wh=np.array([row[2] for row in rows], dtype=np.int64),
        quality=np.array([row[3] for row in rows], dtype=np.str_),
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


def derive(
    conn: Connection, stored: Stored, now: datetime, wall_now: datetime
) -> tuple[LiveReading, ...]:
    """
    Derive gaps, usage intervals and usage registers from new raw rows, in their transaction.

    Returns the newest live reading of every usage point of which anything was heard.
    """
    vee.note_intervals(conn, stored, now)
    _derive_intervals(conn, stored)
    _derive_registers(conn, stored)
    return _live(conn, stored, wall_now)


def rebuild(conn: Connection, usage_point: UsagePointId) -> int:
    """
    Derive every register of a usage point anew from its raw rows; return how many there are.

    A function of raw rows and installations alone: the result never depends on order of arrival.
    """
    installed = assets.installations_at(conn, [usage_point])
    series = [_within(ingest.raw_registers(conn, item.meter.id), item) for item in installed]
    walked = rules.accumulate(
        [
            rules.Segment(
                wh=raw.wh,
                rollover_wh=item.meter.rollover_wh or 0,
                initial_wh=item.installation.initial_wh,
                final_wh=item.installation.final_wh,
            )
            for raw, item in zip(series, installed, strict=True)
        ]
    )
    # the old meter's last and the new meter's first reading may share an instant: the new one stays
    rows: dict[int, tuple[MeterId, int, int, str]] = {}
    for raw, item, cumulative in zip(series, installed, walked, strict=True):
        quality = vee_rules.quality_of(vee_rules.doubtful_status(raw.status))
        for at, wh, total, word in zip(
            raw.at_ms.tolist(), raw.wh.tolist(), cumulative.tolist(), quality, strict=True
        ):
            rows[at] = (item.meter.id, wh, total, word)
    store.delete_registers(conn, usage_point)
    if rows:
        store.insert_registers(
            conn,
            {
                "usage_point": [usage_point] * len(rows),
                "at_ms": list(rows),
                "meter": [row[0] for row in rows.values()],
                "wh": [row[1] for row in rows.values()],
                "cumulative_wh": [row[2] for row in rows.values()],
                "quality": [row[3] for row in rows.values()],
            },
        )
    return len(rows)


def redrive(
    db: Database,
    quarantine_id: int,
    *,
    actor: str,
    now: datetime,
    wall_now: datetime,
    derive: Derive = derive,
) -> int:
    """
    Judge a quarantined row or payload once more and derive usage from it; return rows stored.

    `derive` is what follows from the rows in their transaction.

    Raises: RefusedError with the cause that still stands, or when it is settled or unknown.
    """
    account = ingest.redrive(
        db, quarantine_id, actor=actor, now=now, wall_now=wall_now, derive=derive
    )
    return account.stored


def _derive_intervals(conn: Connection, stored: Stored) -> None:
    fresh = stored.intervals
    columns: dict[str, list[Any]] = {
        "usage_point": [], "start_ms": [], "seconds": [], "wh": [], "quality": [],
    }  # fmt: skip
    for item, rows in _by_installation(stored, fresh.meter, fresh.channel, _IMPORT_INTERVAL):
        start, seconds, wh = fresh.start_ms[rows], fresh.seconds[rows], fresh.wh[rows]
        since, until = _bounds(item)
        inside = (start >= since) & (start + seconds * 1000 <= until)
        capacity = np.full(len(start), item.usage_point.capacity_w or 0, dtype=np.int64)
        doubtful = vee_rules.doubtful_status(fresh.status[rows])
        doubtful |= vee_rules.over_capacity(wh, seconds, capacity)
        columns["usage_point"] += [item.usage_point.id] * int(np.count_nonzero(inside))
        columns["start_ms"] += start[inside].tolist()
        columns["seconds"] += seconds[inside].tolist()
        columns["wh"] += wh[inside].tolist()
        columns["quality"] += vee_rules.quality_of(doubtful[inside])
    if columns["usage_point"]:
        store.insert_intervals(conn, columns)


def _derive_registers(conn: Connection, stored: Stored) -> None:
    fresh = stored.registers
    touched = [
        (item, rows) for item, rows in _by_installation(stored, fresh.meter, fresh.channel, _IMPORT)
    ]
    if not touched:
        return
    points = sorted({item.usage_point.id for item, _ in touched})
    newest = {row[0]: row for row in store.newest_registers(conn, points)}
    settled = Counter(item.usage_point.id for item in assets.installations_at(conn, points))
    columns: dict[str, list[Any]] = {
        "usage_point": [], "at_ms": [], "meter": [], "wh": [], "cumulative_wh": [], "quality": [],
    }  # fmt: skip
    anew: set[UsagePointId] = set()
    for item, rows in touched:
        point, rollover = item.usage_point.id, item.meter.rollover_wh or 0
        at, wh = fresh.at_ms[rows], fresh.wh[rows]
        since, until = _bounds(item)
        inside = (at >= since) & (at <= until)
        at, wh, status = at[inside], wh[inside], fresh.status[rows][inside]
        if not len(at):
            continue
        last = newest.get(point)
        if rollover == 0 and settled[point] == 1:
            total = wh
        elif last is not None and last[4] == item.meter.id and int(at[0]) > last[1]:
            walk = rules.steps(np.concatenate(([last[5]], wh)), rollover)
            total = last[2] + np.cumsum(walk)
        else:
            anew.add(point)
            continue
        columns["usage_point"] += [point] * len(at)
        columns["at_ms"] += at.tolist()
        columns["meter"] += [item.meter.id] * len(at)
        columns["wh"] += wh.tolist()
        columns["cumulative_wh"] += total.tolist()
        columns["quality"] += vee_rules.quality_of(vee_rules.doubtful_status(status))
    if columns["usage_point"]:
        store.insert_registers(conn, columns)
    for point in sorted(anew):
        rebuild(conn, point)


def _live(conn: Connection, stored: Stored, wall_now: datetime) -> tuple[LiveReading, ...]:
    hanging = {
        item.usage_point.id: item
        for item in stored.installed
        if item.installation.removed_at is None and item.meter.id in stored.heard
    }
    newest = store.newest_registers(conn, sorted(hanging))
    if not newest:
        return ()
    points = [row[0] for row in newest]
    midnights = [_midnight(from_ms(row[1]), hanging[row[0]].usage_point.zone) for row in newest]
    opening = store.registers_at_each(conn, points, midnights)
    oldest = store.oldest_registers(conn, points)
    momentary = ingest.momentary_of(conn, [hanging[point].meter.id for point in points])
    wall_ms = to_ms(wall_now)
    readings = []
    for (point, at_ms, total, quality, _, _), before in zip(newest, opening, strict=True):
        known = momentary.get(hanging[point].meter.id)
        values: Mapping[int, int] = known.values if known else {}
        readings.append(
            LiveReading(
                usage_point=point,
                at_ms=at_ms,
                wall_ms=wall_ms,
                quality=quality,
                register_wh=total,
                today_wh=total - (before.cumulative_wh if before else oldest[point]),
                power_w=values.get(Channel.POWER_W),
                voltage_mv=values.get(Channel.VOLTAGE_L1_MV),
                current_ma=values.get(Channel.CURRENT_L1_MA),
            )
        )
    return tuple(readings)


def _by_installation(
    stored: Stored, meter: Int, channel: Int, wanted: int
) -> list[tuple[Installed, NDArray[np.intp]]]:
    """Return per installation the rows of its meter in the wanted channel; rows are in order."""
    place = {id_: n for n, id_ in enumerate(stored.meters)}
    rows = np.flatnonzero(channel == wanted)
    ordered = meter[rows]
    found = []
    for item in stored.installed:
        n = place[item.meter.id]
        mine = rows[np.searchsorted(ordered, n) : np.searchsorted(ordered, n, side="right")]
        if len(mine):
            found.append((item, mine))
    return found


def _within(raw: RawSeries, item: Installed) -> RawSeries:
    since, until = _bounds(item)
    inside = (raw.at_ms >= since) & (raw.at_ms <= until)
    return RawSeries(at_ms=raw.at_ms[inside], wh=raw.wh[inside], status=raw.status[inside])


def _bounds(item: Installed) -> tuple[int, int]:
    removed = item.installation.removed_at
    since = to_ms(item.installation.installed_at)
    return since, to_ms(removed) if removed else np.iinfo(np.int64).max


def _midnight(at: datetime, zone: str) -> datetime:
    place = ZoneInfo(zone)
    return local_day(local_date(at, place), place).start
