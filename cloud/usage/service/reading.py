"""Reads of usage: raw figures by segment, and over them what validation or a person says."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np

from cloud.ingest import service as ingest
from cloud.ingest.model import RawColumns
from cloud.store.db import Connection
from cloud.usage import store
from cloud.usage.model import (
    QUALITIES,
    Int,
    IntervalUsage,
    Registers,
    Segment,
    Slots,
    UsageRegister,
)
from cloud.usage.rules import placing
from cloud.usage.rules.placing import Figures, Lines
from cloud.usage.rules.walking import FOREVER_MS
from cloud.vee import rules as vee_rules
from cloud.vee import service as vee
from protocols.identity import UsagePointId
from protocols.reading import Channel
from protocols.timeline import EPOCH, Interval, from_ms, to_ms

_DAY_MS = 86_400_000
_ALL_MS = (0, to_ms(datetime(9000, 1, 1, tzinfo=EPOCH.tzinfo)))


def lines(
    conn: Connection, usage_points: Sequence[UsagePointId], as_of: datetime | None = None
) -> Lines:
    """Return the segments of the usage points as columns."""
    return placing.lines_from(store.segments(conn, usage_points, as_of))


def segments_of(
    conn: Connection, usage_points: Sequence[UsagePointId], *, as_of: datetime | None = None
) -> list[Segment]:
    """Return which meter speaks for each usage point when, oldest first for each."""
    found = lines(conn, usage_points, as_of)
    order = np.lexsort((found.since_ms, found.point))
    return [
        Segment(
            usage_point=usage_points[int(found.point[n])],
            meter=found.meters[int(found.meter[n])],
            since=from_ms(int(found.since_ms[n])),
            until=None if found.until_ms[n] == FOREVER_MS else from_ms(int(found.until_ms[n])),
            offset_wh=int(found.offset_wh[n]),
            numerator=int(found.numerator[n]),
            denominator=int(found.denominator[n]),
        )
        for n in order.tolist()
    ]


def raw_slots(
    conn: Connection,
    usage_points: Sequence[UsagePointId],
    span: Interval,
    *,
    as_of: datetime | None = None,
) -> tuple[Slots, Int, Int]:
    """
    Return the intervals that start in `span` as meters told them, in Wh of the usage point.

    Beside them: status bits and the contract's power (0 unknown). Nothing is said over them yet.
    """
    found = lines(conn, usage_points, as_of)
    return _raw_slots(conn, found, to_ms(span.start), to_ms(span.end), as_of)


def raw_registers(
    conn: Connection,
    usage_points: Sequence[UsagePointId],
    span: Interval,
    *,
    as_of: datetime | None = None,
) -> tuple[Registers, Int]:
    """Return the cumulative registers in `span` as meters told them, and status bits."""
    found = lines(conn, usage_points, as_of)
    return _raw_registers(conn, found, to_ms(span.start), to_ms(span.end), as_of)


def interval_columns(
    conn: Connection,
    usage_points: Sequence[UsagePointId],
    span: Interval,
    *,
    as_of: datetime | None = None,
) -> Slots:
    """Return what stands of the intervals that start in `span`; what is missing is absent."""
    slots, status, capacity = raw_slots(conn, usage_points, span, as_of=as_of)
    doubtful = vee_rules.doubtful_status(status)
    doubtful |= vee_rules.over_capacity(slots.wh, slots.seconds, capacity)
    judged = Slots(
        point=slots.point, start_ms=slots.start_ms, seconds=slots.seconds, wh=slots.wh,
        quality=placing.doubted(slots.quality, doubtful),
    )  # fmt: skip
    return placing.slots_said(judged, vee.overlay(conn, usage_points, span, as_of=as_of))


def register_columns(
    conn: Connection,
    usage_points: Sequence[UsagePointId],
    span: Interval,
    *,
    as_of: datetime | None = None,
) -> Registers:
    """Return what stands of the cumulative registers at instants in `span`."""
    found = lines(conn, usage_points, as_of)
    raw, status = _raw_registers(conn, found, to_ms(span.start), to_ms(span.end), as_of)
    said = vee.register_overlay(conn, usage_points, span, as_of=as_of)
    return placing.registers_said(_judged(raw, status), said, found)


def intervals(
    conn: Connection, usage_point: UsagePointId, span: Interval, *, as_of: datetime | None = None
) -> list[IntervalUsage]:
    """Return the intervals that start in `span`, oldest first; what is missing is absent."""
    found = interval_columns(conn, [usage_point], span, as_of=as_of)
    return [
        IntervalUsage(
            usage_point=usage_point, start=from_ms(start), seconds=seconds, wh=wh,
            quality=QUALITIES[quality],
        )
        for start, seconds, wh, quality in zip(
            found.start_ms.tolist(), found.seconds.tolist(), found.wh.tolist(),
            found.quality.tolist(), strict=True,
        )
    ]  # fmt: skip


def registers(
    conn: Connection, usage_point: UsagePointId, span: Interval, *, as_of: datetime | None = None
) -> list[UsageRegister]:
    """Return every register read in `span`, oldest first."""
    found = register_columns(conn, [usage_point], span, as_of=as_of)
    return [register for register in plain(found, [usage_point]) if register is not None]


def plain(found: Registers, usage_points: Sequence[UsagePointId]) -> list[UsageRegister]:
    """Return registers one by one."""
    return [
        UsageRegister(
            usage_point=usage_points[point], at=from_ms(at), cumulative_wh=wh,
            quality=QUALITIES[quality], meter=found.meters[meter], meter_wh=figure,
        )
        for point, at, wh, quality, meter, figure in zip(
            found.point.tolist(), found.at_ms.tolist(), found.wh.tolist(),
            found.quality.tolist(), found.meter.tolist(), found.meter_wh.tolist(), strict=True,
        )
    ]  # fmt: skip


def everything(until_ms: int = _ALL_MS[1]) -> Interval:
    """Return all time up to an instant, that instant not among it."""
    return Interval(start=EPOCH, end=max(from_ms(min(until_ms, _ALL_MS[1])), EPOCH + _MS))


_MS = timedelta(milliseconds=1)


def _raw_slots(
    conn: Connection, found: Lines, since_ms: int, until_ms: int, as_of: datetime | None
) -> tuple[Slots, Int, Int]:
    broken = bool((found.denominator != 1).any())
    # a remainder is carried through a UTC day from its first interval on
    first = since_ms // _DAY_MS * _DAY_MS if broken else since_ms
    raw = ingest.raw_columns(
        conn, found.meters, Channel.IMPORT_INTERVAL_WH, since_ms=first, until_ms=until_ms,
        as_of=as_of,
    )  # fmt: skip
    slots, status, capacity = placing.slots_of(found, _figures(found, raw))
    if broken:
        inside = slots.start_ms >= since_ms
        return slots.take(inside), status[inside], capacity[inside]
    return slots, status, capacity


def _raw_registers(
    conn: Connection, found: Lines, since_ms: int, until_ms: int, as_of: datetime | None
) -> tuple[Registers, Int]:
    raw = ingest.raw_columns(
        conn, found.meters, Channel.IMPORT_WH, since_ms=since_ms, until_ms=until_ms, as_of=as_of
    )
    return placing.registers_of(found, _figures(found, raw))


def _figures(found: Lines, raw: RawColumns) -> Figures:
    return placing.figures_of(
        found, meter=raw.meter, at_ms=raw.at_ms, seconds=raw.seconds, wh=raw.wh, status=raw.status
    )


def _judged(raw: Registers, status: Int) -> Registers:
    return Registers(
        meters=raw.meters, point=raw.point, at_ms=raw.at_ms, wh=raw.wh,
        quality=placing.doubted(raw.quality, vee_rules.doubtful_status(status)),
        meter=raw.meter, meter_wh=raw.meter_wh,
    )  # fmt: skip
