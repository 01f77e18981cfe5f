"""SQL of validation's findings."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cloud.store.db import Connection
from cloud.store.sql import Queries
from cloud.vee.model import ExceptionKind, VeeException
from cloud.vee.rules import Coverage
from protocols.identity import MeterId, UsagePointId
from protocols.timeline import Interval, from_ms

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


def coverage_of(conn: Connection, meters: Sequence[MeterId]) -> dict[Series, Coverage]:
    """Return how far intervals reach, without what is missing."""
    return {
        (MeterId(meter), channel): Coverage(first=first, newest=newest, step=seconds * 1000)
        for meter, channel, first, newest, seconds in conn.execute(
            _SQL["coverage_of"], {"meters": list(meters)}
        )
    }


def upsert_coverage(conn: Connection, found: dict[Series, Coverage]) -> None:
    """Write how far intervals reach."""
    conn.execute(
        _SQL["upsert_coverage"],
        {
            "meter": [meter for meter, _ in found],
            "channel": [channel for _, channel in found],
            "first_ms": [item.first for item in found.values()],
            "newest_ms": [item.newest for item in found.values()],
            "seconds": [item.step // 1000 for item in found.values()],
        },
    )


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


def resize_gap(conn: Connection, id_: int, start: int, end: int) -> None:
    """Let an open gap cover another range."""
    conn.execute(
        _SQL["resize_gap"],
        {"id": id_, "range_start": from_ms(start), "range_end": from_ms(end)},
    )


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
