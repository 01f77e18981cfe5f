"""
Which of all that was ever said over a slot stands, as columns.

Of the machine's layer the newest version of a day says all there is of that day, so rows of it come
here once. Of the person's layer each row names some slots, and of each slot the newest counts: an
edit may follow a cancellation and the other way round, and none falls back to one before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cloud.vee.model import OverlayColumns, OverlayKind
from protocols.timeline import Interval, to_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One stored row: slots of one usage point and day. *Units*: ms, s, Wh."""

    point: int
    person: bool
    since_ms: int
    seconds: int
    version: int
    created_ms: int
    offset_s: Sequence[int]
    kind: Sequence[int]
    wh: Sequence[int]


def standing(rows: Sequence[Said], span: Interval) -> OverlayColumns:
    """
    Return what stands of the slots that start in `span`, sorted by point, start and length.

    The order of `rows` does not matter: newest is by time of creation, then by version.
    """
    counts = np.array([len(row.kind) for row in rows], dtype=np.int64)

    def spread(values: Sequence[int]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.repeat(np.array(values, dtype=np.int64), counts)

    def flat(lists: Sequence[Sequence[int]]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.array([each for one in lists for each in one], dtype=np.int64)

    point, seconds = spread([row.point for row in rows]), spread([row.seconds for row in rows])
    version, created = (
        spread([row.version for row in rows]), spread([row.created_ms for row in rows])
    )  # fmt: skip
    start = spread([row.since_ms for row in rows]) + flat([row.offset_s for row in rows]) * 1000
    kind, wh = flat([row.kind for row in rows]), flat([row.wh for row in rows])
    person = np.repeat(np.array([row.person for row in rows], dtype=np.bool_), counts)
    # an estimate and a doubt of one slot stand beside one another, an edit and a cancel do not
    rank = np.where(person, int(OverlayKind.EDIT), kind)
    order = np.lexsort((version, created, rank, seconds, start, point))
    order = order[(start[order] >= to_ms(span.start)) & (start[order] < to_ms(span.end))]
    keys = np.stack((point, start, seconds, rank))[:, order]
    last = np.ones(len(order), dtype=np.bool_)
    last[:-1] = (keys[:, 1:] != keys[:, :-1]).any(axis=0)
    order = order[last]
    return OverlayColumns(
        point=point[order], start_ms=start[order], seconds=seconds[order], wh=wh[order],
        kind=kind[order].astype(np.int8), created_ms=created[order], version=version[order],
    )  # fmt: skip
