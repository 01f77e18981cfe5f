"""
The octets of one series and UTC day: how a packed row of `ingest.day` is written and read.

    octet 0     flags: 1 whole day, 2 grid, 4 statuses, 8 several runs
    octets 1-3  number of readings, little-endian
    grid only   first instant and step, 4 octets each, ms after midnight; whole: 0 and 86400000 / n
    columns     instants (neither whole nor grid), Wh, statuses (flag 4),
                runs: their number in 4 octets and their lengths (flag 8),
                batch of each run, receive instant of each run (ms after midnight)

A column is one octet (width of an offset, 16 x width of the base; 0, 1, 2, 4 or 8 octets), the base
(its least value, signed), then unsigned offsets above the base, all little-endian. A day of 96
intervals below 65,536 Wh that one batch brought is 208 octets. `ingest.unpack` in the migrations
reads the same octets in SQL. DST is no matter here: days are UTC days.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Int = NDArray[np.int64]
Octets = NDArray[np.uint8]
Bool = NDArray[np.bool_]

DAY_MS = 86_400_000
MOST_READINGS = (1 << 24) - 1
"""More of one series in one day cannot be packed; ingest refuses them before."""

_WHOLE, _GRID, _FLAGGED, _RUNS = 1, 2, 4, 8
_HEAD = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """
    Readings of one series on one or more days, oldest first.

    *Shape*: equal columns, or equal matrices with a row per (series, day). *Units*: ms since 1970
    (`Day`s: ms after midnight), Wh, status bits, number of the batch.
    """

    at_ms: Int
    wh: Int
    status: Int
    received_ms: Int
    batch: Int

    def __len__(self) -> int:
        """Return the number of readings, or of rows of a matrix."""
        return len(self.at_ms)

    def take(self, rows: NDArray[np.intp] | Int | NDArray[np.bool_] | slice) -> "Readings":
        """Return some of the readings."""
        return Readings(
            at_ms=self.at_ms[rows], wh=self.wh[rows], status=self.status[rows],
            received_ms=self.received_ms[rows], batch=self.batch[rows],
        )  # fmt: skip

    def shaped(self, size: int) -> "Readings":
        """Return the readings as a matrix of so many a row."""
        return Readings(
            at_ms=self.at_ms.reshape(-1, size), wh=self.wh.reshape(-1, size),
            status=self.status.reshape(-1, size), received_ms=self.received_ms.reshape(-1, size),
            batch=self.batch.reshape(-1, size),
        )  # fmt: skip

    def shifted(self, ms: Int | int) -> "Readings":
        """Return the readings with both instants moved by `ms`."""
        return Readings(
            at_ms=self.at_ms + ms, wh=self.wh, status=self.status,
            received_ms=self.received_ms + ms, batch=self.batch,
        )  # fmt: skip


def joined(parts: Sequence[Readings]) -> Readings:
    """Return the readings of all parts in instant order."""
    whole = Readings(
        at_ms=np.concatenate([part.at_ms for part in parts]),
        wh=np.concatenate([part.wh for part in parts]),
        status=np.concatenate([part.status for part in parts]),
        received_ms=np.concatenate([part.received_ms for part in parts]),
        batch=np.concatenate([part.batch for part in parts]),
    )
    return whole.take(np.argsort(whole.at_ms, kind="stable"))


def encode(readings: Readings) -> bytes:
    """Return the body of one series and day; instants are ms after its midnight, rising."""
    ((_, bodies),) = encode_matrix(
        Readings(
            at_ms=readings.at_ms[None, :], wh=readings.wh[None, :],
            status=readings.status[None, :], received_ms=readings.received_ms[None, :],
            batch=readings.batch[None, :],
        )
    )  # fmt: skip
    return bytes(bodies[0].tobytes())


def encode_ragged(sizes: Int, readings: Readings) -> Iterator[tuple[Int, Octets]]:
    """
    Yield (groups, bodies) for groups of readings that follow one another; every group once.

    *Shape*: `sizes` says how many readings each group has; `bodies` has a row per group named.
    *Units*: ms after midnight of the group's day.
    """
    if len(sizes) and (sizes == sizes[0]).all():
        yield from encode_matrix(readings.shaped(int(sizes[0])))
        return
    starts = np.cumsum(sizes) - sizes
    for size in np.unique(sizes).tolist():
        groups = np.flatnonzero(sizes == size)
        places = starts[groups][:, None] + np.arange(size)
        for rows, bodies in encode_matrix(readings.take(places)):
            yield groups[rows], bodies


def encode_matrix(readings: Readings) -> list[tuple[Int, Octets]]:
    """
    Return (rows, bodies) for a matrix with one (series, day) per row; every row once.

    *Shape*: readings (m, n) with n > 0; each `bodies` is (rows, octets). *Units*: ms after
    midnight.
    """
    size = readings.at_ms.shape[1]
    step = DAY_MS // size
    whole = np.zeros(len(readings), dtype=np.bool_)
    if step * size == DAY_MS:
        whole = (readings.at_ms == np.arange(size) * step).all(axis=1)
    grid = whole & False
    if size > 2 and not whole.all():
        steps = np.diff(readings.at_ms, axis=1)
        grid = ~whole & (steps == steps[:, :1]).all(axis=1)
    flagged = (readings.status != 0).any(axis=1)
    turns = np.diff(readings.batch, axis=1) != 0
    turns |= np.diff(readings.received_ms, axis=1) != 0
    runs = 1 + turns.sum(axis=1)
    flags = whole * _WHOLE + grid * _GRID + flagged * _FLAGGED + (runs > 1) * _RUNS
    found: list[tuple[Int, Octets]] = []
    for kind in np.unique(flags * (size + 1) + runs).tolist():
        rows = np.flatnonzero(flags * (size + 1) + runs == kind)
        flag, count = divmod(kind, size + 1)
        part = readings if len(rows) == len(readings) else readings.take(rows)
        columns = list(_columns(part, turns[rows], flag=flag, runs=count))
        codes = np.zeros(len(rows), dtype=np.int64)
        for column in columns:
            if isinstance(column, _Column):
                # an octet holds every code, and there are six columns at most
                codes = codes * 256 + column.code
        for code in np.unique(codes).tolist():
            same = np.flatnonzero(codes == code)
            head = _head(flag, size, len(same))
            tail = [each.octets(same) if isinstance(each, _Column) else each[same]
                    for each in columns]  # fmt: skip
            found.append((rows[same], np.concatenate((head, *tail), axis=1)))
    return found


def decode(body: bytes) -> Readings:
    """Return the readings of a body; instants are ms after midnight of its day."""
    flags, size = body[0], readings_in(body)
    if flags & _WHOLE:
        at, place = np.arange(size, dtype=np.int64) * (DAY_MS // size), _HEAD
    elif flags & _GRID:
        first, step = (int(x) for x in np.frombuffer(body, dtype="<u4", count=2, offset=_HEAD))
        at, place = first + np.arange(size, dtype=np.int64) * step, _HEAD + 8
    else:
        at, place = read_column(body, _HEAD, size)
    wh, place = read_column(body, place, size)
    status = np.zeros(size, dtype=np.int64)
    if flags & _FLAGGED:
        status, place = read_column(body, place, size)
    runs, counts = 1, np.array([size])
    if flags & _RUNS:
        runs = int(np.frombuffer(body, dtype="<u4", count=1, offset=place)[0])
        counts, place = read_column(body, place + 4, runs)
    batch, place = read_column(body, place, runs)
    received, place = read_column(body, place, runs)
    return Readings(
        at_ms=at, wh=wh, status=status, received_ms=np.repeat(received, counts),
        batch=np.repeat(batch, counts),
    )  # fmt: skip


def readings_in(body: bytes) -> int:
    """Return how many readings a body holds."""
    return int.from_bytes(body[1:4], "little")


def write_column(values: Int) -> bytes:
    """Return one packed column by itself."""
    return bytes(_Column(values[None, :]).octets(np.zeros(1, dtype=np.intp))[0].tobytes())


def read_column(body: bytes, place: int, size: int) -> tuple[Int, int]:
    """Return the values of the column at `place`, and the place after it."""
    width, base_width = body[place] & 15, body[place] >> 4
    place += 1
    base = int.from_bytes(body[place : place + base_width], "little", signed=True)
    place += base_width
    if width == 0:
        return np.full(size, base, dtype=np.int64), place
    offsets = np.frombuffer(body, dtype=f"<u{width}", count=size, offset=place)
    return base + offsets.astype(np.int64), place + size * width


class _Column:
    """A column of many rows on its way to octets. *Shape*: values (m, n)."""

    def __init__(self, values: Int) -> None:
        self._values = values
        if values.shape[1]:
            self._base = values.min(axis=1)
            span = values.max(axis=1) - self._base
        else:
            self._base = span = np.zeros(len(values), dtype=np.int64)
        self._width = _widths(span, signed=False)
        self._base_width = _widths(self._base, signed=True)
        self.code = self._width + 16 * self._base_width

    def octets(self, rows: NDArray[np.intp] | Int) -> Octets:
        """Return the octets of rows that share one code."""
        width, base_width = int(self._width[rows[0]]), int(self._base_width[rows[0]])
        parts = [np.full((len(rows), 1), int(self.code[rows[0]]), dtype=np.uint8)]
        if base_width:
            parts.append(_octets(self._base[rows][:, None], f"<i{base_width}"))
        if width:
            offsets = self._values[rows] - self._base[rows][:, None]
            parts.append(_octets(offsets, f"<u{width}"))
        return np.concatenate(parts, axis=1)


def _columns(part: Readings, turns: NDArray[np.bool_], *, flag: int, runs: int) -> Iterator[
    "_Column | Octets"
]:  # fmt: skip
    """Yield what follows the head of rows that share flags and number of runs."""
    size = part.at_ms.shape[1]
    if flag & _GRID:
        first = part.at_ms[:, :1]
        yield _octets(np.concatenate((first, part.at_ms[:, 1:2] - first), axis=1), "<u4")
    elif not flag & _WHOLE:
        yield _Column(part.at_ms)
    yield _Column(part.wh)
    if flag & _FLAGGED:
        yield _Column(part.status)
    if not flag & _RUNS:
        yield _Column(part.batch[:, :1])
        yield _Column(part.received_ms[:, :1])
        return
    lead = np.zeros((len(part), 1), dtype=np.int64)
    edges = np.concatenate((lead, np.nonzero(turns)[1].reshape(-1, runs - 1) + 1), axis=1)
    yield _octets(lead + runs, "<u4")
    yield _Column(np.diff(edges, axis=1, append=lead + size))
    yield _Column(np.take_along_axis(part.batch, edges, axis=1))
    yield _Column(np.take_along_axis(part.received_ms, edges, axis=1))


def _head(flag: int, size: int, rows: int) -> Octets:
    octets = np.frombuffer(bytes([flag]) + size.to_bytes(3, "little"), dtype=np.uint8)
    return np.broadcast_to(octets, (rows, _HEAD))


def _octets(values: Int, kind: str) -> Octets:
    narrow = np.ascontiguousarray(values.astype(kind))
    return narrow.view(np.uint8).reshape(len(values), -1)


def _widths(values: Int, *, signed: bool) -> Int:
    """Return per value the narrowest of 0, 1, 2, 4, 8 octets that holds it."""
    # a negative number x needs as many octets as -x - 1 does, and a sign needs one bit
    size = np.where(values < 0, -1 - values, values) * (2 if signed else 1)
    large = (values >= 1 << 62) | (values < -(1 << 62)) if signed else values < 0
    width = np.select([values == 0, size < 1 << 8, size < 1 << 16, size < 1 << 32], [0, 1, 2, 4], 8)
    return np.where(large, 8, width).astype(np.int64)
