"""
What usage makes of new raw rows in their own transaction: no row per reading.

New intervals need nothing: usage refers to them. New registers move the newest register of their
usage point, by one array statement a transaction; only where a register rolled over, came late
where that can matter, or is the first of an installation are the segments of its point made anew.
What stands of each meter is remembered from wave to wave (`remembering`).
"""

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from cloud.ingest.model import LiveColumns, Stored
from cloud.ingest.service import Lives
from cloud.store.db import Connection
from cloud.usage import store
from cloud.usage.model import MISSING, QUALITIES, QUESTIONABLE, VALID, Int
from cloud.usage.rules.moving import (
    OURS,
    SAME_METER,
    Bool,
    Moved,
    moved_to,
    sorted_out,
    wave_of,
)
from cloud.usage.rules.walking import FOREVER_MS
from cloud.usage.service import segments
from cloud.usage.service.remembering import ROW, Recalled
from cloud.vee import rules as vee_rules
from cloud.vee import service as vee
from protocols.identity import ConcentratorId, MeterId
from protocols.reading import Channel
from protocols.timeline import to_ms

_IMPORT = int(Channel.IMPORT_WH)
_IMPORT_INTERVAL = int(Channel.IMPORT_INTERVAL_WH)
_WORDS = np.array([quality.value for quality in QUALITIES], dtype=object)


def derive(conn: Connection, stored: Stored, now: datetime, wall_now: datetime) -> Lives:
    """
    Note gaps and keep segments and newest registers right for new raw rows, in their transaction.

    The caller holds the locks of the concentrators. Returns the newest live reading of every usage
    point of which anything was heard.
    """
    vee.note_intervals(conn, stored, now)
    touched = _touched(stored)
    if not (touched | stored.heard).any():
        return {}
    recalled = Recalled(conn, stored, touched)
    stays = recalled.stays
    if not len(stays):
        return {}
    if touched.any():
        wave = wave_of(stored.registers, stays, len(stored.meters))
        anew, again, moved = sorted_out(stays, wave)
        _move(conn, recalled, stored.meters, moved_to(stays, wave, moved))
        _look_again(conn, recalled, stored, (anew, again), now)
    live = _live(conn, recalled, to_ms(wall_now))
    recalled.let_go()
    return live


def _touched(stored: Stored) -> Bool:
    """Tell of which meters registers or intervals of import came."""
    touched = np.zeros(len(stored.meters), dtype=np.bool_)
    for rows, wanted in ((stored.registers, _IMPORT), (stored.intervals, _IMPORT_INTERVAL)):
        touched[rows.meter[rows.channel == wanted]] = True
    return touched


def _move(conn: Connection, recalled: Recalled, meters: Sequence[MeterId], moved: Moved) -> None:
    """Write the newest registers of those that came in order, and remember them."""
    if not len(moved.rows):
        return
    stays = recalled.stays
    doubt = vee_rules.doubtful_status(moved.status)
    quality = np.where(doubt, QUESTIONABLE, VALID)
    columns = {
        "point": stays["point"][moved.rows], "at_ms": moved.at_ms,
        "cumulative_wh": moved.cumulative_wh, "quality": quality, "wh": moved.wh,
        "day_ms": moved.day_ms, "opening_wh": moved.opening_wh,
    }  # fmt: skip
    same = stays.has(SAME_METER)[moved.rows]
    store.move_newest(conn, {name: column[same] for name, column in columns.items()})
    if not same.all():
        # the very first register: the row does not name its meter yet
        first = moved.rows[~same]
        names = [meters[n] for n in stays.meter[first].tolist()]
        store.begin_newest(conn, {name: column[~same] for name, column in columns.items()}, names)
    for name, column in columns.items():
        stays.known[ROW[name], moved.rows] = column
    stays.known[ROW["flags"], moved.rows] |= SAME_METER
    recalled.keep(stays)


def _look_again(
    conn: Connection, recalled: Recalled, stored: Stored, which: tuple[Bool, Bool], now: datetime
) -> None:
    """Make segments anew, look newest registers up, and ask anew for what is known of them."""
    anew, again = which
    changed = np.flatnonzero(anew | again).tolist()
    if not changed:
        return
    points = recalled.points
    held = frozenset(part.concentrator for part in stored.hung)
    segments.rebuild_many(conn, [points[n] for n in changed if anew[n]], now=now, held=held)
    segments.refresh(conn, [points[n] for n in changed if not anew[n]], held=held)
    recalled.forget([points[n] for n in changed])
    recalled.asked(conn)


def _live(conn: Connection, recalled: Recalled, wall_ms: int) -> Lives:
    stays, points = recalled.stays, recalled.points
    shown = stays.heard & (stays["until_ms"] == FOREVER_MS)
    state = np.stack([stays[name] for name in ("at_ms", "cumulative_wh", "quality", "opening_wh")])
    # what stands may be of another meter, or of where this one hung before
    _fill(conn, recalled, state, np.flatnonzero(shown & ~stays.has(OURS)))
    shown &= state[0] != MISSING
    lives: dict[ConcentratorId, LiveColumns] = {}
    for part, rows in recalled.by_concentrator():
        some = np.flatnonzero(shown[rows]) + rows.start
        if len(some):
            at_ms, total, quality, opening = state[:, some]
            lives[part.concentrator] = LiveColumns(
                usage_points=[points[n] for n in some.tolist()], wall_ms=wall_ms,
                quality=_WORDS[quality].tolist(), at_ms=at_ms, register_wh=total,
                today_wh=total - opening, power_w=stays["power"][some],
                voltage_mv=stays["voltage"][some], current_ma=stays["current"][some],
            )  # fmt: skip
    return lives


def _fill(conn: Connection, recalled: Recalled, state: Int, rows: Int) -> None:
    """Look up the newest registers of a few stays."""
    state[0, rows] = MISSING
    if not len(rows):
        return
    place = {recalled.points[n]: n for n in rows.tolist()}
    for point, at_ms, total, quality, _, opening in store.newest_registers(conn, sorted(place)):
        state[:, place[point]] = at_ms, total, quality, opening
