"""What is said over raw values: the reading side, which usage is built on."""

from collections.abc import Sequence
from datetime import datetime

from cloud.store.db import Connection
from cloud.vee.model import OverlayColumns, RegisterOverlayColumns
from cloud.vee.store import overlays as store
from protocols.identity import UsagePointId
from protocols.timeline import Interval


def overlay(
    conn: Connection,
    usage_points: Sequence[UsagePointId],
    span: Interval,
    *,
    as_of: datetime | None = None,
) -> OverlayColumns:
    """
    Return what stood at `as_of` (None: what stands) over the slots that start in `span`.

    Per slot at most one edit or cancel, one estimate and one suspect.
    """
    return store.overlay(conn, usage_points, span, as_of)


def register_overlay(
    conn: Connection,
    usage_points: Sequence[UsagePointId],
    span: Interval,
    *,
    as_of: datetime | None = None,
) -> RegisterOverlayColumns:
    """Return what stood at `as_of` over the registers at instants in `span`, in the same sense."""
    return store.register_overlay(conn, usage_points, span, as_of)
