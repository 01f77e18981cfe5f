"""Intervals of many agreements' usage points at once, as usage tells them."""

from collections.abc import Sequence

import numpy as np

from billing.money import IntArray
from billing.prepaid.rules.hours import Intervals
from cloud.store.db import Connection
from cloud.usage import service as usage
from cloud.usage.model import QUESTIONABLE
from protocols.identity import UsagePointId
from protocols.timeline import Interval, from_ms

_LAST_MS = 253_000_000_000_000
"""The year 9987: later there is nothing to ask for."""


def intervals_since(
    conn: Connection, usage_points: Sequence[str], since_ms: IntArray, until_ms: IntArray
) -> Intervals:
    """Return the whole intervals of usage points, each from an instant to another."""
    ends = np.minimum(until_ms, _LAST_MS)
    rows = np.flatnonzero(ends > since_ms)
    empty = np.zeros(0, dtype=np.int64)
    if not len(rows):
        return Intervals(row=empty, start_ms=empty, seconds=empty, wh=empty, doubt=empty)
    span = Interval(start=from_ms(int(since_ms[rows].min())), end=from_ms(int(ends[rows].max())))
    points = [UsagePointId(usage_points[n]) for n in rows.tolist()]
    found = usage.interval_columns(conn, points, span)
    row = rows[found.point]
    whole = found.start_ms >= since_ms[row]
    whole &= found.start_ms + found.seconds * 1000 <= ends[row]
    found = found.take(whole)
    return Intervals(
        row=row[whole], start_ms=found.start_ms, seconds=found.seconds, wh=found.wh,
        doubt=(found.quality == QUESTIONABLE).astype(np.int64),
    )  # fmt: skip
