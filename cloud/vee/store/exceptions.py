"""SQL of validation's findings."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from cloud.store.db import Connection
from cloud.store.sql import Queries
from cloud.vee.model import ExceptionKind, VeeException
from cloud.vee.rules.grid import Int
from protocols.identity import MeterId, UsagePointId
from protocols.timeline import Interval

_SQL = Queries(Path(__file__).parents[1] / "sql")

Series = tuple[MeterId, int]
"""Meter and channel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenGap:
    """An open gap. *Units*: ms."""

    id: int
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewException:
    """A finding to write down. *Units*: ms."""

    kind: ExceptionKind
    meter: MeterId
    usage_point: UsagePointId
    channel: int
    start: int
    end: int
    detail: str = ""


def coverage_of(
    conn: Connection, meters: Sequence[MeterId], channels: Sequence[int]
) -> tuple[Int, Int, Int, Int]:
    """
    Return how far the intervals of each (meter, channel) reach: first, newest, step and whether.

    *Shape*: as long as the lists; 0 where nothing is known. *Units*: ms.
    """
    rows = conn.execute(
        _SQL["coverage_of"], {"meter": list(meters), "channel": list(channels)}
    ).fetchall()
    table = np.zeros((4, len(meters)), dtype=np.int64)
    if rows:
        place, first, newest, seconds = np.array(rows, dtype=np.int64).T
        table[:, place] = first, newest, seconds * 1000, np.ones(len(place), dtype=np.int64)
    return table[0], table[1], table[2], table[3]


def upsert_coverage(
    conn: Connection,
    meters: Sequence[MeterId],
    channels: Sequence[int],
    *,
    first: Int,
    newest: Int,
    step: Int,
) -> None:
    """Write how far the intervals of each (meter, channel) reach. *Units*: ms."""
    conn.execute(
        _SQL["upsert_coverage"],
        {
            "meter": list(meters), "channel": list(channels), "first_ms": first.tolist(),
            "newest_ms": newest.tolist(), "seconds": (step // 1000).tolist(),
        },
    )  # fmt: skip


def open_gaps(conn: Connection, meters: Sequence[MeterId]) -> dict[Series, list[OpenGap]]:
    """Return open gaps by meter and channel, in order."""
    found: dict[Series, list[OpenGap]] = {}
    for id_, meter, channel, start, end in conn.execute(
        _SQL["open_gaps"], {"meters": list(meters)}
    ):
        found.setdefault((MeterId(meter), channel), []).append(
            OpenGap(id=id_, start=start, end=end)
        )
    return found


def insert_exceptions(conn: Connection, found: Sequence[NewException], now: datetime) -> None:
    """Write findings down; what is open already is left alone."""
    conn.execute(
        _SQL["insert_exceptions"],
        {
            "kind": [item.kind.value for item in found],
            "meter": [item.meter for item in found],
            "usage_point": [item.usage_point for item in found],
            "channel": [item.channel for item in found],
            "start_ms": [item.start for item in found],
            "end_ms": [item.end for item in found],
            "detail": [item.detail for item in found],
            "opened_at": now,
        },
    )


def resize_gaps(conn: Connection, gaps: Sequence[tuple[int, int, int]]) -> None:
    """Let open gaps (number, start, end) cover other ranges. *Units*: ms."""
    conn.execute(
        _SQL["resize_gaps"],
        {
            "id": [id_ for id_, _, _ in gaps], "start_ms": [start for _, start, _ in gaps],
            "end_ms": [end for _, _, end in gaps],
        },
    )  # fmt: skip


def close_exceptions(conn: Connection, ids: Sequence[int], now: datetime) -> None:
    """End findings."""
    conn.execute(_SQL["close_exceptions"], {"ids": list(ids), "closed_at": now})


def open_exceptions(
    conn: Connection, kind: ExceptionKind | None, usage_point: UsagePointId | None
) -> list[VeeException]:
    """Return open findings, oldest first."""
    rows = conn.execute(
        _SQL["open_exceptions"],
        {"kind": None if kind is None else kind.value, "usage_point": usage_point},
    )
    return [exception_of(row) for row in rows]


def exceptions_opened(conn: Connection, span: Interval) -> list[VeeException]:
    """Return findings opened in `span`, oldest first."""
    rows = conn.execute(_SQL["exceptions_opened"], {"start": span.start, "end": span.end})
    return [exception_of(row) for row in rows]


def slot_totals(conn: Connection) -> tuple[int, int]:
    """Return interval slots expected and slots in open gaps, over all meters."""
    row = conn.execute(_SQL["slot_totals"]).fetchone()
    assert row is not None
    return row[0], row[1]


def exception_of(row: Sequence[Any]) -> VeeException:
    """Return an exception from the columns of a block that reads it whole."""
    (id_, kind, meter, usage_point, channel, start, end, detail, opened_at, closed_at, severity,
     day, places, value, allowed, unit, rule_set, parameters, assigned_to, closed_by, close_reason,
     reopened) = row  # fmt: skip
    return VeeException(
        id=id_, kind=ExceptionKind(kind), meter=MeterId(meter),
        usage_point=UsagePointId(usage_point), channel=channel, range_start=start, range_end=end,
        detail=detail, opened_at=opened_at, closed_at=closed_at, severity=severity, day=day,
        places=places, value=value, allowed=allowed, unit=unit, rule_set=rule_set,
        parameters=parameters, assigned_to=assigned_to, closed_by=closed_by,
        close_reason=close_reason, reopened=reopened,
    )  # fmt: skip
