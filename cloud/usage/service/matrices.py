"""Whole matrices of usage: points by slots, with the registers that bound its days."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from cloud.store.db import Connection
from cloud.usage.model import MISSING, Int, SlotMatrix
from cloud.usage.service.instants import at_instants
from cloud.usage.service.reading import interval_columns
from protocols.identity import UsagePointId
from protocols.timeline import Interval, to_ms

_DAY_MS = 86_400_000


def matrix(
    conn: Connection,
    usage_points: Sequence[UsagePointId],
    span: Interval,
    seconds: int,
    *,
    as_of: datetime | None = None,
) -> SlotMatrix:
    """
    Return the usage of the slots of `seconds` in `span`; an interval of another length is left out.

    No usage point may be named twice. Raises: ValueError where slots do not fill the span.
    """
    start, end, step = to_ms(span.start), to_ms(span.end), seconds * 1000
    if (end - start) % step:
        raise ValueError(f"{span.length} is no whole number of slots of {seconds} s")
    found = interval_columns(conn, usage_points, span, as_of=as_of)
    offset = found.start_ms - start
    fits = (found.seconds == seconds) & (offset % step == 0)
    row, slot = found.point[fits], offset[fits] // step
    shape = len(usage_points), (end - start) // step
    wh = np.full(shape, MISSING, dtype=np.int64)
    quality = np.full(shape, MISSING, dtype=np.int8)
    wh[row, slot], quality[row, slot] = found.wh[fits], found.quality[fits]
    bounds = np.unique([start, *range(-(-start // _DAY_MS) * _DAY_MS, end, _DAY_MS), end]).astype(
        np.int64
    )
    before_ms, before_wh = _beside(conn, usage_points, bounds, before=True, as_of=as_of)
    after_ms, after_wh = _beside(conn, usage_points, bounds, before=False, as_of=as_of)
    return SlotMatrix(
        usage_points=tuple(usage_points), start_ms=start, seconds=seconds, wh=wh, quality=quality,
        bounds_ms=bounds, before_ms=before_ms, before_wh=before_wh, after_ms=after_ms,
        after_wh=after_wh,
    )  # fmt: skip


def _beside(
    conn: Connection,
    usage_points: Sequence[UsagePointId],
    bounds_ms: Int,
    *,
    before: bool,
    as_of: datetime | None,
) -> tuple[Int, Int]:
    """Return instants and registers per (point, bound): at or before it, or after it."""
    shape = len(usage_points), len(bounds_ms)
    asked = [point for point in usage_points for _ in range(shape[1])]
    at_ms = np.tile(bounds_ms, shape[0]) + (0 if before else 1)
    found = at_instants(conn, asked, at_ms, before=before, as_of=as_of)
    return found.at_ms.reshape(shape), found.wh.reshape(shape)
