"""SQL of readings as columns: many series over a span, or one beside each of many instants."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from cloud.ingest.model import Beside, RawColumns
from cloud.ingest.rules.packing import DAY_MS, Int, decode
from cloud.ingest.rules.unpacking import decode_many
from cloud.ingest.store.binary import date_of
from cloud.store.db import Connection
from cloud.store.sql import Queries
from protocols.identity import MeterId
from protocols.timeline import from_ms, to_ms

_SQL = Queries(Path(__file__).parents[1] / "sql")
_SHIFT = 43
"""More bits than an instant in ms needs: a meter's place and an instant in one sortable number."""
_FIRST_MS, _LAST_MS = 0, to_ms(datetime(9000, 1, 1, tzinfo=UTC))


def series_among(conn: Connection, meters: Sequence[MeterId], channel: int) -> tuple[Int, Int, Int]:
    """Return (place of the meter in the list, number, seconds) of every series of a channel."""
    rows = conn.execute(_SQL["series_among"], {"meters": list(meters), "channel": channel})
    table = np.array(rows.fetchall(), dtype=np.int64).reshape(-1, 3)
    return table[:, 0], table[:, 1], table[:, 2]


def between(
    conn: Connection,
    meters: Sequence[MeterId],
    channel: int,
    *,
    since_ms: int,
    until_ms: int,
    batches: bool = True,
) -> RawColumns:
    """
    Return the readings of a channel in `[since, until)`, by meter and instant.

    Without `batches` the numbers of batches are 0: nobody asks which brought a reading.
    """
    since_ms, until_ms = max(since_ms, _FIRST_MS), min(until_ms, _LAST_MS)
    meter, number, seconds = series_among(conn, meters, channel)
    parts: list[tuple[Int, ...]] = []
    if len(number) and until_ms > since_ms:
        asked = {
            "series": number.tolist(), "since": from_ms(since_ms), "until": from_ms(until_ms),
            "first": date_of(since_ms // DAY_MS), "last": date_of((until_ms - 1) // DAY_MS),
        }  # fmt: skip
        with conn.cursor(binary=True) as cursor:
            row = cursor.execute(_SQL["rows_between"], asked).fetchone()
            if row is not None and row[0] is not None:
                parts.append(tuple(_numbers(octets) for octets in row))
            packed = cursor.execute(_SQL["days_between"], asked).fetchall()
        parts += _unpacked(packed, (since_ms, until_ms), batches=batches)
    whole = [np.concatenate(column) for column in zip(*parts, strict=True)] or [_none()] * 5
    place = whole[0]
    if not len(place):
        return RawColumns(
            meter=place, at_ms=place, wh=place, status=place, seconds=place, batch=place
        )
    whole[0], lengths = meter[place], seconds[place]
    keys = (whole[0] << _SHIFT) + whole[1]
    if (keys[1:] < keys[:-1]).any():
        # days of many meters come in runs that are in order already, which a stable sort merges
        order = np.argsort(keys, kind="stable")
        whole, lengths = [column[order] for column in whole], lengths[order]
    return RawColumns(
        meter=whole[0], at_ms=whole[1], wh=whole[2], status=whole[3], seconds=lengths,
        batch=whole[4],
    )  # fmt: skip


def _unpacked(
    packed: Sequence[tuple[int, int, bytes]], span: tuple[int, int], *, batches: bool
) -> list[tuple[Int, ...]]:
    """Return place, instant, Wh, status, batch of the readings of packed days within a span."""
    since_ms, until_ms = span
    place = np.fromiter((row[0] for row in packed), np.int64, len(packed))
    day_ms = np.fromiter((row[1] for row in packed), np.int64, len(packed)) * DAY_MS
    parts: list[tuple[Int, ...]] = []
    for found in decode_many([row[2] for row in packed], batches=batches):
        shape = found.wh.shape
        at = found.at_ms + day_ms[found.rows][:, None]
        nothing = np.broadcast_to(np.zeros(1, dtype=np.int64), shape)
        columns = (
            np.broadcast_to(place[found.rows][:, None], shape), at, found.wh,
            nothing if found.status is None else found.status,
            nothing if found.batch is None else np.broadcast_to(found.batch, shape),
        )  # fmt: skip
        if at.size and (at.min() < since_ms or at.max() >= until_ms):
            inside = (at >= since_ms) & (at < until_ms)
            parts.append(tuple(column[inside] for column in columns))
        else:
            parts.append(tuple(column.reshape(-1) for column in columns))
    return parts


def beside(
    conn: Connection, meters: Sequence[MeterId], channel: int, at_ms: Int, *, before: bool
) -> Beside:
    """
    Return for each (meter, instant) the reading nearest to it, at it or on one side of it.

    *Shape*: `meters` and `at_ms` equally long.
    """
    size = len(meters)
    names = list(dict.fromkeys(meters))
    place = {meter: n for n, meter in enumerate(names)}
    owner, number, _ = series_among(conn, names, channel)
    # a channel of registers is one series; were there several, the newest number speaks last
    of_meter = np.full(len(names), -1, dtype=np.int64)
    of_meter[owner] = number
    wanted = of_meter[np.fromiter((place[meter] for meter in meters), np.int64, size)]
    asked = np.flatnonzero(wanted >= 0)
    found = Beside(
        there=np.zeros(size, dtype=np.bool_), at_ms=np.zeros(size, dtype=np.int64),
        wh=np.zeros(size, dtype=np.int64), status=np.zeros(size, dtype=np.int64),
    )  # fmt: skip
    if not len(asked):
        return found
    question = _Asked(
        place=asked, series=wanted[asked], at_ms=np.clip(at_ms[asked], _FIRST_MS, _LAST_MS),
        before=before,
    )  # fmt: skip
    _rows(conn, found, question)
    _packed(conn, found, question)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """Questions that a series can answer. *Shape*: equal columns; `place` is where it was asked."""

    place: Int
    series: Int
    at_ms: Int
    before: bool


def batch_times(conn: Connection, numbers: Sequence[int]) -> dict[int, int]:
    """Return when each batch named came, in ms."""
    return dict(conn.execute(_SQL["batch_times"], {"numbers": list(numbers)}).fetchall())


def _rows(conn: Connection, found: Beside, asked: _Asked) -> None:
    block = "row_at_or_before" if asked.before else "row_at_or_after"
    at = [from_ms(ms) for ms in asked.at_ms.tolist()]
    rows = conn.execute(_SQL[block], {"series": asked.series.tolist(), "at": at}).fetchall()
    table = np.array(rows, dtype=np.int64).reshape(-1, 4)
    places = asked.place[table[:, 0]]
    found.there[places] = True
    found.at_ms[places], found.wh[places] = table[:, 1], table[:, 2]
    found.status[places] = table[:, 3]


def _packed(conn: Connection, found: Beside, asked: _Asked) -> None:
    """Look into packed days, where they can hold something nearer than the row that was found."""
    before, there = asked.before, found.there[asked.place]
    # a series and day has one home: of the day of the row that was found nothing is packed
    bound = np.where(there, found.at_ms[asked.place], _FIRST_MS if before else _LAST_MS) // DAY_MS
    bound += np.where(there, 1 if before else -1, 0)
    day = asked.at_ms // DAY_MS
    open_ = np.flatnonzero(day >= bound if before else day <= bound)
    if not len(open_):
        return
    block = "days_at_or_before" if before else "days_at_or_after"
    parameters: dict[str, list[Any]] = {
        "series": asked.series[open_].tolist(),
        "day": [date_of(each) for each in day[open_].tolist()],
        "bound": [date_of(each) for each in bound[open_].tolist()],
    }
    done: set[int] = set()
    with conn.cursor(binary=True) as cursor:
        for n, number, body in cursor.execute(_SQL[block], parameters):
            if n in done:
                continue
            k = int(open_[n])
            readings = decode(bytes(body))
            limit = int(asked.at_ms[k]) - number * DAY_MS
            # before: the last at or before the limit; else the first at or after it
            place = int(np.searchsorted(readings.at_ms, limit + before)) - before
            if not 0 <= place < len(readings):
                continue
            done.add(n)
            m = int(asked.place[k])
            found.there[m] = True
            found.at_ms[m] = int(readings.at_ms[place]) + number * DAY_MS
            found.wh[m], found.status[m] = readings.wh[place], readings.status[place]


def _numbers(octets: bytes) -> Int:
    return np.frombuffer(octets, dtype=">i8").astype(np.int64)


def _none() -> Int:
    return np.zeros(0, dtype=np.int64)
