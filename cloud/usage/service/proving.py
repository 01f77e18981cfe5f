"""Proof that what usage keeps is what raw readings, installations and factors say."""

from collections.abc import Iterator

import numpy as np

from cloud.store.db import Connection
from cloud.usage import store
from cloud.usage.model import MISSING
from cloud.usage.service import segments
from cloud.usage.service.instants import at_instants
from cloud.usage.service.reading import everything
from protocols.identity import UsagePointId
from protocols.timeline import from_ms, to_ms

_AT_ONCE = 1000


def contradictions(conn: Connection) -> Iterator[str]:
    """
    Yield each segment that is derived otherwise anew, and each newest register that usage denies.

    An exchange that no reading has followed yet moves segments only with the next reading: what
    begins elsewhere is not held against them.
    """
    points = store.points_with_segments(conn)
    for start in range(0, len(points), _AT_ONCE):
        some = points[start : start + _AT_ONCE]
        yield from _of_segments(conn, some)
        yield from _of_newest(conn, some)


def _of_segments(conn: Connection, points: list[UsagePointId]) -> Iterator[str]:
    anew = segments.derived(conn, points)
    for n, meter, since, _, offset, numerator, denominator, _ in store.segments(conn, points, None):
        right = {(row[0], row[1]): row[3:6] for row in anew[points[n]]}.get((meter, since))
        if right is not None and tuple(right) != (offset, numerator, denominator):
            yield (
                f"{points[n]} from {from_ms(since)}: offset and factor {offset} Wh,"
                f" {numerator}/{denominator}, its registers say {right[0]} Wh,"
                f" {right[1]}/{right[2]}"
            )


def _of_newest(conn: Connection, points: list[UsagePointId]) -> Iterator[str]:
    kept = {row[0]: (row[1], row[2]) for row in store.newest_registers(conn, points)}
    found = at_instants(conn, points, np.full(len(points), to_ms(everything().end)))
    for point, at_ms, wh in zip(points, found.at_ms.tolist(), found.wh.tolist(), strict=True):
        told = None if at_ms == MISSING else (at_ms, wh)
        if kept.get(point) != told:
            yield f"{point}: newest register {kept.get(point)}, its readings say {told}"
