"""
Many packed days read at once: bodies of one layout are a matrix of octets, and so are its columns.

`cloud.ingest.rules.packing.decode` reads one body and is the plain twin of this.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cloud.ingest.rules.packing import DAY_MS, Int, Octets, decode

_WHOLE, _GRID, _FLAGGED, _RUNS = 1, 2, 4, 8
_HEAD = 4
_FEW = 4
"""So few bodies of one layout are read one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """
    Days of one layout: `rows` says which bodies they are.

    *Shape*: matrices (bodies, readings); `at_ms` may have one row for all. *Units*: ms after
    midnight, Wh, status bits, number of the batch; `batch` is None where nobody asked for it.
    """

    rows: Int
    at_ms: Int
    wh: Int
    status: Int | None
    batch: Int | None


def decode_many(bodies: Sequence[bytes], *, batches: bool) -> Iterator[Unpacked]:
    """Yield the readings of bodies, every body once; `batches` says whether theirs are wanted."""
    if not bodies:
        return
    sizes = np.fromiter(map(len, bodies), np.int64, len(bodies))
    for size in np.unique(sizes).tolist():
        rows = np.flatnonzero(sizes == size)
        some = bodies if len(rows) == len(bodies) else [bodies[n] for n in rows.tolist()]
        octets = np.frombuffer(b"".join(some), dtype=np.uint8).reshape(len(rows), size)
        heads = np.ascontiguousarray(octets[:, :_HEAD]).view("<u4")[:, 0]
        for head in np.unique(heads).tolist():
            same = np.flatnonzero(heads == head)
            whole = octets if len(same) == len(octets) else octets[same]
            for places, found in _of_layout(whole, batches=batches):
                own = rows[same][places]
                yield Unpacked(
                    rows=own, at_ms=found[0], wh=found[1], status=found[2], batch=found[3]
                )


_Columns = tuple[Int, Int, Int | None, Int | None]


def _of_layout(octets: Octets, *, batches: bool) -> Iterator[tuple[Int, _Columns]]:
    """Yield readings of bodies that share length and head, by the codes of their columns."""
    flags = int(octets[0, 0])
    if len(octets) < _FEW or (flags & _RUNS and batches):
        for n, body in enumerate(octets):
            one = decode(body.tobytes())
            yield (
                np.array([n]),
                (one.at_ms[None, :], one.wh[None, :], one.status[None, :], one.batch[None, :]),
            )
        return
    left = np.arange(len(octets))
    while len(left):
        found, same = _Walk(octets[left]).columns(flags, batches=batches)
        yield left[same], found
        left = np.delete(left, same) if len(same) < len(left) else left[:0]


class _Walk:
    """One way through bodies of one head: those that share the codes of the first among them."""

    def __init__(self, octets: Octets) -> None:
        self._octets = octets
        self._same = np.arange(len(octets))
        self._place = _HEAD
        self._size = int(octets[0, 1]) | int(octets[0, 2]) << 8 | int(octets[0, 3]) << 16

    def columns(self, flags: int, *, batches: bool) -> tuple[_Columns, Int]:
        """Return instants, Wh, statuses, batches, and which of the bodies they are of."""
        size = self._size
        at: Int | None = None
        steps: Int | None = None
        if flags & _WHOLE:
            at = (np.arange(size, dtype=np.int64) * (DAY_MS // size))[None, :]
        elif flags & _GRID:
            steps = self._plain(8).view("<u4").astype(np.int64)
            self._place += 8
        kinds = [size] if at is None and steps is None else []
        kinds += [size, *([size] if flags & _FLAGGED else []), *([1] if batches else [])]
        # a column whose code differs narrows what is read: the codes are looked at first
        start = self._place
        for count in kinds:
            self._narrow(count)
        self._place = start
        found = [self._column(count) for count in kinds]
        if steps is not None:
            own = steps[self._same]
            at = own[:, :1] + np.arange(size, dtype=np.int64) * own[:, 1:]
        elif at is None:
            at = found.pop(0)
        wh = found.pop(0)
        status = found.pop(0) if flags & _FLAGGED else None
        batch = found.pop(0) if batches else None
        return (at, wh, status, batch), self._same

    def _plain(self, size: int) -> Octets:
        return np.ascontiguousarray(self._octets[self._same, self._place : self._place + size])

    def _narrow(self, count: int) -> None:
        codes = self._octets[self._same, self._place]
        self._same = self._same[codes == codes[0]]
        code = int(codes[0])
        self._place += 1 + (code >> 4) + count * (code & 15)

    def _column(self, count: int) -> Int:
        code = int(self._octets[self._same[0], self._place])
        width, base_width = code & 15, code >> 4
        self._place += 1
        base = np.zeros((len(self._same), 1), dtype=np.int64)
        if base_width:
            base = self._plain(base_width).view(f"<i{base_width}").astype(np.int64)
            self._place += base_width
        if not width:
            return np.repeat(base, count, axis=1)
        found = self._plain(count * width).view(f"<u{width}").astype(np.int64)
        self._place += count * width
        found += base
        return found
