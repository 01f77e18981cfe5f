"""Use cases of segments: make them anew from raw registers, keep the newest register right."""

import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np

from cloud.assets import service as assets
from cloud.assets.model import Installed, Ratio
from cloud.ingest import service as ingest
from cloud.store.db import Connection, Database
from cloud.usage import store
from cloud.usage.model import MISSING, Int, Refusal
from cloud.usage.rules.moving import midnights
from cloud.usage.rules.walking import FOREVER_MS, Factor, Line, Stay, lines_of
from cloud.usage.service import reading
from cloud.usage.service.instants import AtInstants, at_instants
from cloud.vee import service as vee
from protocols.errors import RefusedError
from protocols.identity import ConcentratorId, MeterId, UsagePointId
from protocols.reading import Channel
from protocols.timeline import to_ms

_NEVER_MS = to_ms(reading.everything().end)


def rebuild(conn: Connection, usage_point: UsagePointId, *, now: datetime) -> int:
    """
    Make the segments of a usage point anew from its raw registers; return how many registers stand.

    A function of raw rows, installations and factors alone: the result never depends on order of
    arrival. What changed is known from `now` on, what stood before answers for before.
    """
    rebuild_many(conn, [usage_point], now=now)
    return len(reading.register_columns(conn, [usage_point], reading.everything()))


def rebuild_many(
    conn: Connection,
    usage_points: Sequence[UsagePointId],
    *,
    now: datetime,
    held: frozenset[ConcentratorId] = frozenset(),
) -> None:
    """Make the segments of usage points anew, and their newest registers; `held` as of `hold`."""
    points = sorted(set(usage_points))
    if not points:
        return
    hold(conn, points, held=held)
    anew = derived(conn, points)
    before: dict[int, list[tuple[Any, ...]]] = {}
    for row in store.segments(conn, points, None):
        before.setdefault(row[0], []).append(tuple(row[1:]))
    changed: list[UsagePointId] = []
    columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    for n, point in enumerate(points):
        rows = anew[point]
        if sorted(rows) == sorted(before.get(n, [])):
            continue
        changed.append(point)
        for row in rows:
            for name, value in zip(_COLUMNS, (point, *row, len(rows) == 1), strict=True):
                columns[name].append(value)
    if changed:
        store.replace_segments(conn, changed, columns, now)
    _refresh(conn, points)


def derived(
    conn: Connection, usage_points: Sequence[UsagePointId]
) -> dict[UsagePointId, list[tuple[Any, ...]]]:
    """
    Return the segments of usage points as their raw registers say, and write nothing.

    Rows are meter, since, until, offset, numerator, denominator, capacity. *Units*: ms, Wh, W.
    """
    installed: dict[UsagePointId, list[Installed]] = {point: [] for point in usage_points}
    for item in assets.installations_at(conn, usage_points):
        installed[item.usage_point.id].append(item)
    factors: dict[UsagePointId, list[Factor]] = {}
    for ratio in assets.ratios(conn, usage_points):
        factors.setdefault(ratio.usage_point, []).append(_factor(ratio))
    figures = _figures(conn, [item for items in installed.values() for item in items])
    return {
        point: _rows(items, tuple(factors.get(point, ())), figures)
        for point, items in installed.items()
    }


def hold(
    conn: Connection,
    usage_points: Sequence[UsagePointId],
    *,
    held: frozenset[ConcentratorId] = frozenset(),
) -> None:
    """
    Keep everybody else from changing segments and newest registers of usage points until commit.

    Readings of their meters wait meanwhile, and workers ask anew for what they remember of the
    concentrators. `held` are those whose lock the caller has and whose memories it keeps right.
    """
    others = sorted(set(assets.concentrators_of(conn, usage_points)) - held)
    if others:
        ingest.hold_concentrators(conn, others)
        # a number that nobody, and no restored database, can have seen before
        store.turn(conn, others, [secrets.randbits(62) for _ in others])
    store.lock_points(conn, usage_points)


def refresh(
    conn: Connection,
    usage_points: Sequence[UsagePointId],
    *,
    held: frozenset[ConcentratorId] = frozenset(),
) -> None:
    """
    Look up the newest register of usage points anew: after segments changed, a late reading, or
    something said over registers. `held` as of `hold`.
    """
    points = sorted(set(usage_points))
    if points:
        hold(conn, points, held=held)
        _refresh(conn, points)


def _refresh(conn: Connection, points: list[UsagePointId]) -> None:
    """Look up the newest registers of points that are held."""
    zones = {item.id: item.zone for item in assets.usage_points(conn, points)}
    newest = at_instants(conn, points, np.full(len(points), _NEVER_MS))
    there = newest.at_ms != MISSING
    names = sorted(set(zones.values()) | {"UTC"})
    place = {name: n for n, name in enumerate(names)}
    zone = np.array([place[zones.get(point, "UTC")] for point in points], dtype=np.int64)
    midnight = midnights(newest.at_ms, zone, names)
    opening = openings(conn, points, np.where(there, midnight, 0))
    said = vee.register_overlay(conn, points, reading.everything())
    store.write_newest(
        conn,
        {
            "usage_point": points,
            "at_ms": newest.at_ms.tolist(),
            "cumulative_wh": newest.wh.tolist(),
            "quality": newest.quality.tolist(),
            "meter": _meters(newest),
            "wh": newest.meter_wh.tolist(),
            "day_ms": np.where(there, midnight, MISSING).tolist(),
            "opening_wh": np.where(there, opening, 0).tolist(),
            "overlaid": np.isin(np.arange(len(points)), said.point).tolist(),
        },
    )


def openings(conn: Connection, usage_points: Sequence[UsagePointId], midnight_ms: Int) -> Int:
    """Return per usage point the register at or before its midnight, else its first; else 0."""
    found = at_instants(conn, usage_points, midnight_ms)
    opening = found.wh.copy()
    lacking = np.flatnonzero(found.at_ms == MISSING)
    if len(lacking):
        few = [usage_points[n] for n in lacking.tolist()]
        first = at_instants(conn, few, np.zeros(len(few), dtype=np.int64), before=False)
        opening[lacking] = first.wh
    return opening


def change_ratio(db: Database, ratio: Ratio, *, actor: str, reason: str, now: datetime) -> None:
    """
    Let the figures of a usage point be multiplied by another factor from an instant on.

    Raises: RefusedError UNKNOWN, DIFFERS, or `usage.ratio_register` where the figure noted does not
    lie between the registers read around that instant.
    """
    with db.transaction() as conn:
        apply_ratio(conn, ratio, actor=actor, reason=reason, now=now)


def apply_ratio(conn: Connection, ratio: Ratio, *, actor: str, reason: str, now: datetime) -> None:
    """Do what `change_ratio` does, in the caller's transaction. Raises: the same."""
    hold(conn, [ratio.usage_point])
    check_ratio(conn, ratio)
    assets.put_ratio(conn, ratio, actor=actor, reason=reason, now=now)
    rebuild_many(conn, [ratio.usage_point], now=now)


_COLUMNS = ("usage_point", "meter", "since_ms", "until_ms", "offset_wh", "numerator",
            "denominator", "capacity_w", "lone")  # fmt: skip


def check_ratio(conn: Connection, ratio: Ratio) -> None:
    """
    Refuse a factor whose figure at the change does not lie between the registers around it.

    Raises: RefusedError `usage.ratio_register`.
    """
    if ratio.register_wh is None:
        return
    points, at = [ratio.usage_point], np.array([to_ms(ratio.valid_from)])
    before = at_instants(conn, points, at)
    after = at_instants(conn, points, at, before=False)
    low = int(before.meter_wh[0]) if before.at_ms[0] != MISSING else None
    high = int(after.meter_wh[0]) if after.at_ms[0] != MISSING else None
    turned = low is not None and high is not None and high < low
    if turned or ((low is None or low <= ratio.register_wh) and (
        high is None or ratio.register_wh <= high
    )):  # fmt: skip
        return
    raise RefusedError(
        Refusal.RATIO_REGISTER,
        f"the meter cannot have shown {ratio.register_wh} Wh then: it was read at {low} Wh before"
        f" and {high} Wh after",
        fix="read the note of the fitter again, or leave the figure out",
    )


def _factor(ratio: Ratio) -> Factor:
    return Factor(
        since_ms=to_ms(ratio.valid_from), numerator=ratio.numerator,
        denominator=ratio.denominator, register_wh=ratio.register_wh,
    )  # fmt: skip


def _figures(conn: Connection, installed: Sequence[Installed]) -> dict[MeterId, tuple[Int, Int]]:
    """Return instants and figures of every register of the meters."""
    meters = sorted({item.meter.id for item in installed})
    raw = ingest.raw_columns(conn, meters, Channel.IMPORT_WH, since_ms=0, until_ms=_NEVER_MS)
    edges = np.searchsorted(raw.meter, np.arange(len(meters) + 1)).tolist()
    return {
        meter: (raw.at_ms[edges[n] : edges[n + 1]], raw.wh[edges[n] : edges[n + 1]])
        for n, meter in enumerate(meters)
    }


def _rows(
    installed: Sequence[Installed],
    factors: tuple[Factor, ...],
    figures: dict[MeterId, tuple[Int, Int]],
) -> list[tuple[Any, ...]]:
    """Return the segments of one usage point as rows."""
    stays = []
    for item in installed:
        since, until = bounds(item)
        at_ms, wh = figures[item.meter.id]
        inside = (at_ms >= since) & (at_ms <= until)
        stays.append(
            Stay(
                since_ms=since, until_ms=until, at_ms=at_ms[inside], wh=wh[inside],
                rollover_wh=item.meter.rollover_wh or 0,
                initial_wh=item.installation.initial_wh, final_wh=item.installation.final_wh,
                factors=factors,
            )
        )  # fmt: skip
    return [_row(line, installed[line.stay]) for line in lines_of(stays)]


def _row(line: Line, item: Installed) -> tuple[Any, ...]:
    return (
        item.meter.id, line.since_ms, line.until_ms, line.offset_wh, line.numerator,
        line.denominator, item.usage_point.capacity_w or 0,
    )  # fmt: skip


def bounds(item: Installed) -> tuple[int, int]:
    """Return when an installation begins and ends. *Units*: ms; FOREVER_MS while it lasts."""
    removed = item.installation.removed_at
    return to_ms(item.installation.installed_at), to_ms(removed) if removed else FOREVER_MS


def _meters(found: AtInstants) -> list[str]:
    there = (found.at_ms != MISSING).tolist()
    names = found.lines.meters
    places = found.lines.meter
    return [
        str(names[int(places[line])]) if known else ""
        for known, line in zip(there, found.line.tolist(), strict=True)
    ]
