"""What must be looked at again: noted in the transaction that changed it, by one row."""

from collections.abc import Sequence
from datetime import date, datetime

import numpy as np
from numpy.typing import NDArray

from cloud.ingest.model import Intervals, Registers, Stored
from cloud.ingest.service import Lives
from cloud.rollups.model import Cause, Mark, Refusal, Touched
from cloud.rollups.rules.touching import Stay, Times, only_today, touched_days
from cloud.rollups.store import queue
from cloud.store import audit
from cloud.store.db import Connection, Database
from cloud.usage import service as usage
from protocols.errors import RefusedError
from protocols.identity import MeterId, UsagePointId
from protocols.reading import Channel
from protocols.timeline import to_ms

_ZONES = "rollups.zones"
"""Under which the zones of a concentrator's meters are kept beside its book."""


def derive(conn: Connection, stored: Stored, now: datetime, wall_now: datetime) -> Lives:
    """Derive usage from new raw rows, and note the days that had ended before they came."""
    found = usage.derive(conn, stored, now, wall_now)
    note(conn, stored, now)
    return found


def note(conn: Connection, stored: Stored, now: datetime) -> None:
    """
    Note which ended days new readings of import touch, in the transaction that adds them.

    Days that are still open are not noted: they get their first version when they have ended.
    """
    registers, intervals = stored.registers, stored.intervals
    columns = [
        _times(registers, registers.at_ms, Channel.IMPORT_WH),
        _times(intervals, intervals.start_ms, Channel.IMPORT_INTERVAL_WH),
    ]
    if only_today(columns, _zones(stored), now):
        return
    touched = touched_days(_stays(stored), columns, to_ms(now))
    queue.insert_touched(conn, Mark(cause=Cause.READING, noted_at=now), touched)


def want(
    conn: Connection,
    usage_points: Sequence[UsagePointId],
    days: Sequence[date],
    *,
    cause: str,
    reference: str,
    actor: str,
    now: datetime,
) -> None:
    """
    Note that (usage point, day), pairwise, is to be looked at again.

    `cause` is a `Cause` that somebody tells: validation, edit, assets or request.
    """
    nothing = [0] * len(usage_points)
    queue.insert_touched(
        conn,
        Mark(cause=Cause(cause), reference=reference, actor=actor, noted_at=now),
        Touched(
            usage_points=list(usage_points), days=list(days), readings=nothing, first_ms=nothing,
            last_ms=nothing,
        ),
    )  # fmt: skip


def request(
    db: Database,
    usage_points: Sequence[UsagePointId],
    days: Sequence[date],
    *,
    reason: str,
    actor: str,
    now: datetime,
) -> None:
    """
    Have every one of `days` of every one of the points looked at again, as a person asks.

    Raises: RefusedError `rollups.reason` where none is given.
    """
    if not reason.strip():
        raise RefusedError(
            Refusal.REASON, "why is not said", fix="name a reason; it stands beside what changes"
        )
    with db.transaction() as conn:
        want(
            conn, [point for point in usage_points for _ in days], list(days) * len(usage_points),
            cause=Cause.REQUEST.value, reference=reason, actor=actor, now=now,
        )  # fmt: skip
        audit.record(
            conn, at=now, actor=actor, action="rollups.request", entity="rollups",
            entity_id=usage_points[0] if len(usage_points) == 1 else f"{len(usage_points)} points",
            after={"from": min(days).isoformat(), "to": max(days).isoformat()}, reason=reason,
        )  # fmt: skip


def _zones(stored: Stored) -> set[str]:
    """Return the zones of all meters that came."""
    zones: set[str] = set()
    for part in stored.hung:
        if _ZONES not in part.kept:
            part.kept[_ZONES] = frozenset(
                item.usage_point.zone for items in part.installed for item in items
            )
        zones |= part.kept[_ZONES]
    return zones


def _times(fresh: Registers | Intervals, at_ms: NDArray[np.int64], channel: Channel) -> Times:
    rows = fresh.channel == int(channel)
    return Times(meter=fresh.meter[rows], at_ms=at_ms[rows], registers=channel is Channel.IMPORT_WH)


def _stays(stored: Stored) -> list[list[Stay]]:
    found: dict[MeterId, list[Stay]] = {meter: [] for meter in stored.meters}
    for item in stored.installed:
        removed = item.installation.removed_at
        found[item.meter.id].append(
            Stay(
                usage_point=item.usage_point.id, zone=item.usage_point.zone,
                since_ms=to_ms(item.installation.installed_at),
                until_ms=None if removed is None else to_ms(removed),
            )
        )  # fmt: skip
    return [found[meter] for meter in stored.meters]
