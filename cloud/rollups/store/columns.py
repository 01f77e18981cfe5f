"""SQL of the versions of days as columns, and their rows as octets of a binary COPY."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from cloud.rollups.rules.table import NONE, Bool, Cell, DayTable, Int
from cloud.rollups.store.queue import SQL
from cloud.store.db import Connection
from protocols.identity import UsagePointId
from protocols.timeline import to_ms

_HEAD, _TAIL = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
"""*Source*: PostgreSQL manual, COPY, binary format."""
_EPOCH_MS = 946_684_800_000
"""2000-01-01, from which PostgreSQL counts microseconds."""
_EPOCH_ORDINAL = 730_120
"""2000-01-01, from which PostgreSQL counts days, as an ordinal."""
_CHUNK = 1 << 20

_CELLS = (Cell.SLOTS, Cell.MISSING, Cell.INTERVAL_WH, Cell.SLOT_QUALITIES, Cell.FROM_MS,
          Cell.FROM_WH, Cell.FROM_QUALITY, Cell.TO_MS, Cell.TO_WH, Cell.TO_QUALITY)  # fmt: skip
"""The order in which the blocks tell them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Versions of days. *Shape*: equal columns; `at` is the question's place, `day` an ordinal."""

    at: Int
    day: Int
    version: Int
    table: DayTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Fresh:
    """New versions. *Shape*: equal columns; `point` and `zone` are places in their names."""

    names: Sequence[UsagePointId]
    point: Int
    day: Int
    version: Int
    zones: Sequence[str]
    zone: Int
    table: DayTable

    def take(self, rows: Int | Bool) -> "Fresh":
        """Return some of the versions."""
        return Fresh(
            names=self.names, point=self.point[rows], day=self.day[rows],
            version=self.version[rows], zones=self.zones, zone=self.zone[rows],
            table=self.table.take(rows),
        )  # fmt: skip


def newest(conn: Connection, names: Sequence[UsagePointId], point: Int, day: Int) -> Kept:
    """Return the newest version of each day that has one; `at` is its place in `point`, `day`."""
    asked = {"names": [names[n] for n in point.tolist()], "days": day.tolist()}
    return _kept(conn, "days_newest", asked)


def within(conn: Connection, names: Sequence[UsagePointId], first: int, until: int) -> Kept:
    """Return the newest versions of the days `[first, until)` by point, which is `at`, and day."""
    return _kept(conn, "days_within", {"names": list(names), "first": first, "until": until})


def insert_days(conn: Connection, fresh: Fresh, now: datetime) -> None:
    """Write versions, known from `now`; rows of one layout are one matrix of octets."""
    if not len(fresh.point):
        return
    names = [name.encode() for name in fresh.names]
    zones = [zone.encode() for zone in fresh.zones]
    lengths = np.fromiter(map(len, names), np.int64, len(names))[fresh.point]
    absent = (
        (fresh.table[Cell.INTERVAL_WH] == NONE) + 2 * ~fresh.table.opened()
        + 4 * ~fresh.table.closed() + 8 * (fresh.table.wh() == NONE)
    )  # fmt: skip
    layout = (lengths * 16 + absent) * len(zones) + fresh.zone
    with conn.cursor().copy(SQL["copy_days"]) as copy:
        copy.write(_HEAD)
        for one in np.unique(layout).tolist():
            rows = np.flatnonzero(layout == one)
            some = fresh.take(rows) if len(rows) < len(layout) else fresh
            octets = _rows(some, names, zones, int(lengths[rows[0]]), now)
            for start in range(0, len(octets), _CHUNK):
                copy.write(octets[start : start + _CHUNK])
        copy.write(_TAIL)


def _rows(
    fresh: Fresh, names: Sequence[bytes], zones: Sequence[bytes], length: int, now: datetime
) -> memoryview:
    """Return rows that share a length of name, a zone, and what is absent."""
    table = fresh.table
    zone = zones[int(fresh.zone[0])]
    plain = [
        ("name", f"S{length}", np.array(names, dtype=f"S{length}")[fresh.point]),
        ("day", ">i4", fresh.day - _EPOCH_ORDINAL),
        ("version", ">i4", fresh.version),
        ("known_at", ">i8", (to_ms(now) - _EPOCH_MS) * 1000 + now.microsecond % 1000),
        ("zone", f"S{len(zone)}", zone),
        ("slots", ">i2", table[Cell.SLOTS]),
        ("missing", ">i2", table[Cell.MISSING]),
        ("slot_qualities", ">i2", table[Cell.SLOT_QUALITIES]),
        ("from_quality", ">i2", table[Cell.FROM_QUALITY]),
        ("to_quality", ">i2", table[Cell.TO_QUALITY]),
        ("basis", ">i2", table.basis()),
        ("interval_wh", ">i8", table[Cell.INTERVAL_WH]),
        ("from_at", ">i8", _micros(table[Cell.FROM_MS])),
        ("from_wh", ">i8", table[Cell.FROM_WH]),
        ("to_at", ">i8", _micros(table[Cell.TO_MS])),
        ("to_wh", ">i8", table[Cell.TO_WH]),
        ("wh", ">i8", table.wh()),
    ]
    there = [name for name, _, column in plain if not _is_none(column)]
    fields = [("fields", ">i2")]
    for name, kind, _ in plain:
        fields.append((f"{name}_size", ">i4"))
        if name in there:
            fields.append((name, kind))
    rows = np.zeros(len(fresh.point), dtype=np.dtype(fields))
    rows["fields"] = len(plain)
    for name, kind, column in plain:
        rows[f"{name}_size"] = np.dtype(kind).itemsize if name in there else -1
        if name in there:
            rows[name] = column
    return rows.view(np.uint8).data


def _is_none(column: object) -> bool:
    return isinstance(column, np.ndarray) and column.dtype == np.int64 and int(column[0]) == NONE


def _micros(at_ms: Int) -> Int:
    return np.where(at_ms == NONE, NONE, (at_ms - _EPOCH_MS) * 1000)


def _kept(conn: Connection, block: str, asked: dict[str, object]) -> Kept:
    with conn.cursor(binary=True) as cursor:
        row = cursor.execute(SQL[block], asked).fetchone()
    octets = row if row is not None and row[0] is not None else (b"",) * (3 + len(_CELLS))
    at, day, version, *told = (
        np.frombuffer(column, dtype=">i8").astype(np.int64) for column in octets
    )
    cells = np.zeros((len(Cell), len(at)), dtype=np.int64)
    for cell, column in zip(_CELLS, told, strict=True):
        cells[cell] = column
    for cell in (Cell.FROM_MS, Cell.TO_MS):
        micros = cells[cell]
        cells[cell] = np.where(micros == NONE, NONE, micros // 1000 + _EPOCH_MS)
    return Kept(at=at - 1, day=day + _EPOCH_ORDINAL, version=version, table=DayTable(cells))
