"""Rows as octets of a binary COPY, from and to arrays. *Source*: PostgreSQL manual, COPY."""

from collections.abc import Sequence
from datetime import date

import numpy as np
from numpy.typing import NDArray

from cloud.ingest.rules.packing import Int, Octets, Readings

HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TAIL = b"\xff\xff"
_ORDINAL_1970 = date(1970, 1, 1).toordinal()
_EPOCH_MS = 946_684_800_000
"""2000-01-01, from which PostgreSQL counts microseconds and days."""
_EPOCH_DAY = 10_957

_FIELDS = (("series", ">i4"), ("at", ">i8"), ("wh", ">i8"), ("status", ">i8"),
           ("received", ">i8"), ("batch", ">i8"))  # fmt: skip
READING = np.dtype(
    [("fields", ">i2"), *(pair for name, kind in _FIELDS
                          for pair in ((f"{name}_size", ">i4"), (name, kind)))]
)  # fmt: skip
"""A row of `ingest.reading` on the wire: every column is there, so all rows are equally long."""


def day_number(day: date) -> int:
    """Return days since 1970."""
    return day.toordinal() - _ORDINAL_1970


def date_of(number: int) -> date:
    """Return the day so many days after 1970."""
    return date.fromordinal(number + _ORDINAL_1970)


def reading_rows(series: Int, readings: Readings) -> memoryview:
    """Return rows of `ingest.reading`; instants in ms since 1970."""
    rows = np.empty(len(readings), dtype=READING)
    rows["fields"] = len(_FIELDS)
    for name, kind in _FIELDS:
        rows[f"{name}_size"] = np.dtype(kind).itemsize
    rows["series"] = series
    rows["at"] = (readings.at_ms - _EPOCH_MS) * 1000
    rows["wh"], rows["status"] = readings.wh, readings.status
    rows["received"] = (readings.received_ms - _EPOCH_MS) * 1000
    rows["batch"] = readings.batch
    return rows.view(np.uint8).data


def readings_of_rows(octets: bytes) -> tuple[Int, Readings]:
    """Return series and readings of a whole binary COPY of `ingest.reading`."""
    body = octets[len(HEAD) : len(octets) - len(TAIL)]
    rows = np.frombuffer(body, dtype=READING)
    return rows["series"].astype(np.int64), Readings(
        at_ms=rows["at"].astype(np.int64) // 1000 + _EPOCH_MS,
        wh=rows["wh"].astype(np.int64),
        status=rows["status"].astype(np.int64),
        received_ms=rows["received"].astype(np.int64) // 1000 + _EPOCH_MS,
        batch=rows["batch"].astype(np.int64),
    )


def day_rows(series: Int, day: Int, bodies: Octets) -> memoryview:
    """Return rows of `ingest.day` whose bodies are equally long; `day` since 1970."""
    parts: Sequence[NDArray[np.uint8]] = (
        _equal(3, ">i2", len(series)),
        _equal(4, ">i4", len(series)),
        _numbers(series),
        _equal(4, ">i4", len(series)),
        _numbers(day - _EPOCH_DAY),
        _equal(bodies.shape[1], ">i4", len(series)),
        bodies,
    )
    return np.concatenate(parts, axis=1).reshape(-1).data


def _equal(number: int, kind: str, rows: int) -> Octets:
    octets = np.array([number], dtype=kind).view(np.uint8)
    return np.broadcast_to(octets, (rows, len(octets)))


def _numbers(values: Int) -> Octets:
    return np.ascontiguousarray(values.astype(">i4")).view(np.uint8).reshape(len(values), 4)
