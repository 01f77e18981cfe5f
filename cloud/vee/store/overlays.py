"""SQL of the overlay: what is said over raw values, read as columns."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from cloud.store.db import Connection
from cloud.store.sql import Queries
from cloud.vee.model import OverlayColumns, RegisterOverlayColumns
from cloud.vee.rules.overlay import Said, standing
from protocols.identity import UsagePointId
from protocols.timeline import Interval

_SQL = Queries(Path(__file__).parents[1] / "sql")
_FARTHEST = timedelta(days=1, hours=15)
"""No civil day begins farther from the UTC midnight of its date, nor lasts longer after it."""


def overlay(
    conn: Connection, usage_points: Sequence[UsagePointId], span: Interval, as_of: datetime | None
) -> OverlayColumns:
    """Return what stands at `as_of` of every slot that starts in `span`."""
    rows = conn.execute(
        _SQL["overlay_rows"],
        {
            "usage_points": list(usage_points), "as_of": as_of,
            "first": (span.start - _FARTHEST).astimezone(UTC).date(),
            "last": (span.end + _FARTHEST).astimezone(UTC).date(),
        },
    )  # fmt: skip
    said = [
        Said(
            point=point, person=layer == "person", since_ms=since, seconds=seconds,
            version=version, created_ms=created, offset_s=offset, kind=kind, wh=wh,
        )
        for point, layer, since, seconds, version, created, offset, kind, wh in rows
    ]  # fmt: skip
    return standing(said, span)


def register_overlay(
    conn: Connection, usage_points: Sequence[UsagePointId], span: Interval, as_of: datetime | None
) -> RegisterOverlayColumns:
    """Return what stands at `as_of` of every register at an instant in `span`."""
    rows = conn.execute(
        _SQL["register_overlay_rows"],
        {
            "usage_points": list(usage_points), "as_of": as_of,
            "start": span.start, "end": span.end,
        },
    ).fetchall()  # fmt: skip
    table = np.array(rows, dtype=np.int64).reshape(-1, 6)
    return RegisterOverlayColumns(
        point=table[:, 0], at_ms=table[:, 1], wh=table[:, 2],
        kind=table[:, 3].astype(np.int8), created_ms=table[:, 4], version=table[:, 5],
    )  # fmt: skip
