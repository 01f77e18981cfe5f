"""Days beside their newest versions: what differs is written, and the days it moves with it."""

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta

import numpy as np

from cloud.ingest.service import retention
from cloud.rollups.model import DayRollup, Mark
from cloud.rollups.rules import carrying, table
from cloud.rollups.service.measuring import Days, Measured, days_of, measure
from cloud.rollups.service.terms import Policy
from cloud.rollups.store import columns, recomputes, versions
from cloud.rollups.store.queue import Key
from cloud.store.db import Connection
from protocols.timeline import to_ms

_ONE = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """
    Days that have another version now.

    `zones` has the zone of each, `closings` whether the register that ends it moved, and `again`
    of those that had a version before: why, that version, and the new one.
    """

    zones: dict[Key, str]
    closings: dict[Key, bool]
    again: dict[Key, tuple[Mark, DayRollup, DayRollup]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    """Days that are looked at together, sorted, with what holds of them and what should."""

    keys: list[Key]
    days: Days
    version: table.Int
    before: table.DayTable
    seen: Measured
    after: table.DayTable
    kept: table.Int
    """Days whose intervals were let go: they keep their version."""


def roll_up(conn: Connection, taken: dict[Key, Mark], now: datetime, policy: Policy) -> Changes:
    """
    Write a version of each day that differs, and of those behind it that moved with it.

    Days of which intervals were let go keep their version; that they were to be looked at is
    written down.
    """
    kept_from = retention.kept_from(conn)
    found = Changes(zones={}, closings={}, again={})
    pending, width = dict(taken), 1
    seen: set[Key] = set()
    while pending:
        block = _look(conn, sorted(pending), kept_from)
        seen.update(block.keys)
        if kept_from is not None:
            told = [(block.keys[n], int(block.version[n])) for n in block.kept.tolist()]
            recomputes.insert_kept(
                conn, [(*each, pending[each[0]]) for each in told], kept_from, now
            )
        rows = _differing(block, pending, found)
        if not len(rows):
            break
        fresh = _fresh(block, rows)
        columns.insert_days(conn, fresh, now)
        _remember(conn, block, rows, pending, found)
        pending = {
            **_behind(block, rows, pending, found, seen, width=width, until=now - policy.rest),
            **_ahead(conn, block, rows, pending, seen),
        }
        width *= 2
    return found


def _look(conn: Connection, keys: list[Key], kept_from: date | None) -> _Block:
    days = days_of(keys)
    newest = columns.newest(conn, days.names, days.point, days.day)
    version = np.zeros(len(keys), dtype=np.int64)
    version[newest.at] = newest.version
    before = table.nothing(len(keys))
    before.cells[:, newest.at] = newest.table.cells
    seen = measure(conn, days)
    after = table.nothing(len(keys))
    after.cells[:, seen.there] = seen.table.cells[:, seen.there]
    first = -1 if kept_from is None else to_ms(datetime.combine(kept_from, time(), UTC))
    kept = np.flatnonzero((seen.start_ms < first) & (seen.zone >= 0))
    after.cells[:, kept] = before.cells[:, kept]
    return _Block(
        keys=keys, days=days, version=version, before=before, seen=seen, after=after, kept=kept
    )


def _differing(block: _Block, pending: dict[Key, Mark], found: Changes) -> table.Int:
    """Return the days that have their own reason to change; what was carried must have moved."""
    rows = np.flatnonzero(~block.after.same(block.before))
    moved = ~block.after.same(block.before, table.CLOSING)
    kept = []
    # in order: the day before one that is carried is decided first
    for n in rows.tolist():
        key = block.keys[n]
        source = pending[key].carried_from
        if source is None or found.closings.get((key[0], source), False):
            kept.append(n)
            found.closings[key] = bool(moved[n])
    return np.array(kept, dtype=np.int64)


def _fresh(block: _Block, rows: table.Int) -> columns.Fresh:
    # a meter hung once wherever there is anything to tell
    assert (block.seen.zone[rows] >= 0).all()
    return columns.Fresh(
        names=block.days.names, point=block.days.point[rows], day=block.days.day[rows],
        version=block.version[rows] + 1, zones=block.seen.zones, zone=block.seen.zone[rows],
        table=block.after.take(rows),
    )  # fmt: skip


def _remember(
    conn: Connection,
    block: _Block,
    rows: table.Int,
    pending: dict[Key, Mark],
    found: Changes,
) -> None:
    """Keep what changed, plainly where there was a version before."""
    for n, zone in zip(rows.tolist(), block.seen.zone[rows].tolist(), strict=True):
        found.zones[block.keys[n]] = block.seen.zones[zone]
    again = [block.keys[n] for n in rows[block.version[rows] > 0].tolist()]
    if not again:
        return
    told = versions.days_named(
        conn, [(*block.keys[n], int(block.version[n]) + m) for n in rows.tolist() for m in (0, 1)]
    )
    for key in again:
        before, after = sorted(told[key], key=lambda each: each.version)
        found.again[key] = pending[key], before, after


def _behind(
    block: _Block,
    rows: table.Int,
    pending: dict[Key, Mark],
    found: Changes,
    seen: set[Key],
    *,
    width: int,
    until: datetime,
) -> dict[Key, Mark]:
    """Return the days behind those whose last register moved, as carried."""
    # where the day behind has not begun by then, it has not ended either
    rows = rows[block.seen.end_ms[rows] < to_ms(until)]
    moved = {
        block.keys[n]: (pending[block.keys[n]], block.seen.zones[int(block.seen.zone[n])])
        for n in rows.tolist()
        if found.closings[block.keys[n]]
    }
    return carrying.behind(moved, seen, width=width, until=until)


def _ahead(
    conn: Connection, block: _Block, rows: table.Int, pending: dict[Key, Mark], seen: set[Key]
) -> dict[Key, Mark]:
    """
    Return the days before changed ones that end with another register than those begin with.

    A register that is edited or estimated at midnight is told of the day it begins; both days read
    it. A day whose first register is read after its midnight begins the series and has none ahead.
    """
    kept = columns.newest(conn, block.days.names, block.days.point[rows], block.days.day[rows] - 1)
    after, start_ms = block.after.take(rows[kept.at]), block.seen.start_ms[rows[kept.at]]
    parted = np.logical_or.reduce(
        [
            kept.table[last] != after[own]
            for last, own in zip(table.CLOSING, table.OPENING, strict=True)
        ]
    )
    parted &= ~after.opened() | (after[table.Cell.FROM_MS] <= start_ms)
    wanted: dict[Key, Mark] = {}
    for n in rows[kept.at[parted]].tolist():
        point, day = block.keys[n]
        if (point, day - _ONE) not in seen:
            wanted[point, day - _ONE] = replace(pending[point, day], carried_from=None)
    return wanted
