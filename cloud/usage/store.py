"""SQL of usage: segments, and the newest register of every usage point."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from cloud.store.db import Connection
from cloud.store.sql import Queries
from cloud.usage.model import Int
from cloud.usage.rules.placing import Row
from protocols.identity import ConcentratorId, MeterId, UsagePointId

_SQL = Queries(Path(__file__).parent / "sql")

STANDING = ("meter", "segment_ms", "segment_until_ms", "offset_wh", "numerator", "denominator",
            "segment_w", "flags", "point", "at_ms", "cumulative_wh", "wh", "quality", "day_ms",
            "opening_wh")  # fmt: skip
"""Columns of `standing`; flags as in `rules.moving`."""


def segments(
    conn: Connection, usage_points: Sequence[UsagePointId], as_of: datetime | None
) -> list[Row]:
    """Return the segments that stood at `as_of` (None: that stand) of the usage points."""
    block = "segments" if as_of is None else "segments_then"
    asked: dict[str, Any] = {"usage_points": list(usage_points), "as_of": as_of}
    return conn.execute(_SQL[block], asked).fetchall()


def points_with_segments(conn: Connection) -> list[UsagePointId]:
    """Return the usage points of which a segment stands, in order."""
    return [UsagePointId(point) for (point,) in conn.execute(_SQL["points_with_segments"])]


def replace_segments(
    conn: Connection,
    usage_points: Sequence[UsagePointId],
    columns: Mapping[str, list[Any]],
    now: datetime,
) -> None:
    """Void what stands of the usage points and write other segments in its place."""
    conn.execute(_SQL["void_segments"], {"usage_points": list(usage_points), "now": now})
    conn.execute(_SQL["insert_segments"], {**columns, "now": now})


def lock_points(conn: Connection, usage_points: Sequence[UsagePointId]) -> None:
    """Keep others from making segments of the usage points, and their newest registers still."""
    asked = {"usage_points": sorted(usage_points)}
    conn.execute(_SQL["lock_points"], asked)
    conn.execute(_SQL["lock_newest"], asked)


def turns(conn: Connection, concentrators: Sequence[ConcentratorId]) -> dict[str, int]:
    """Return the stamps of concentrators of whose points somebody changed what is remembered."""
    rows = conn.execute(_SQL["turns"], {"concentrators": list(concentrators)})
    return dict(rows.fetchall())


def turn(conn: Connection, concentrators: Sequence[ConcentratorId], stamps: Sequence[int]) -> None:
    """Have workers ask anew what they remember of concentrators; the caller holds their locks."""
    conn.execute(_SQL["turn"], {"concentrator": list(concentrators), "stamp": list(stamps)})


def standing(
    conn: Connection, meters: Sequence[MeterId], usage_points: Sequence[UsagePointId]
) -> dict[str, Int]:
    """
    Return STANDING of the newest segment of each meter that has one; `meter` by place.

    *Shape*: `usage_points` says where each meter hangs.
    """
    asked = {"meters": list(meters), "points": list(usage_points)}
    with conn.cursor(binary=True) as cursor:
        row = cursor.execute(_SQL["standing"], asked).fetchone()
    assert row is not None
    octets = row if row[0] is not None else (b"",) * len(STANDING)
    found = {
        name: np.frombuffer(column, dtype=">i8").astype(np.int64)
        for name, column in zip(STANDING, octets, strict=True)
    }
    meter = found["meter"]
    last = np.append(meter[1:] != meter[:-1], np.ones(min(1, len(meter)), dtype=np.bool_))
    return {name: column[last] for name, column in found.items()}


def move_newest(conn: Connection, columns: Mapping[str, Int]) -> None:
    """
    Move newest registers on that are of the same meter as before; the caller holds the points.

    Columns point at_ms cumulative_wh quality wh day_ms opening_wh, no point twice.
    """
    if len(columns["point"]):
        conn.execute(_SQL["move_newest"], dict(columns))


def begin_newest(conn: Connection, columns: Mapping[str, Int], meters: Sequence[MeterId]) -> None:
    """As `move_newest`, of points that had no register; `meters` are their meters."""
    conn.execute(_SQL["begin_newest"], {**columns, "meter": list(meters)})


def write_newest(conn: Connection, columns: Mapping[str, list[Any]]) -> None:
    """Write newest registers of points that may have no row yet, in the order given."""
    if columns["usage_point"]:
        conn.execute(_SQL["rewrite_newest"], dict(columns))
        conn.execute(_SQL["write_newest"], dict(columns))


def newest_registers(
    conn: Connection, usage_points: Sequence[UsagePointId]
) -> list[tuple[UsagePointId, int, int, int, int, int]]:
    """Return (point, at ms, Wh, quality code, day ms, opening Wh) of each that has a register."""
    return conn.execute(_SQL["newest_registers"], {"usage_points": list(usage_points)}).fetchall()
