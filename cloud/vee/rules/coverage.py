"""Which ranges of a channel are missing, and which quality a value deserves by itself."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from protocols.reading import Quality, Status

DOUBTFUL = Status.CRITICAL_ERROR | Status.CLOCK_INVALID | Status.DATA_NOT_VALID
"""Status bits with which the meter itself doubts its value.

*Source*: DSMR / IDIS profile status 0-0:96.10.1, bits 0, 1 and 2.
"""

Ranges = tuple[tuple[int, int], ...]
"""Half-open, sorted, disjoint, not touching."""


def doubtful_status(status: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell per value whether the meter itself doubts it."""
    flagged: NDArray[np.bool_] = (status & int(DOUBTFUL)) != 0
    return flagged


def over_capacity(
    wh: NDArray[np.int64], seconds: NDArray[np.int64], capacity_w: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """
    Tell per interval whether it holds more energy than the contract allows; capacity 0 is unknown.

    *Source*: check `capacity` of the MDM handbook section 3: interval above contract kW x hours.
    """
    return (capacity_w > 0) & (wh * 3600 > capacity_w * seconds)


def quality_of(doubtful: NDArray[np.bool_]) -> list[str]:
    """Return the quality word of each value."""
    words = np.array([Quality.VALID.value, Quality.QUESTIONABLE.value])
    return [str(word) for word in words[doubtful.astype(np.int64)]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """
    How far the intervals of one channel reach, and what lacks between.

    *Units*: milliseconds since 1970; `newest` is the start of the newest interval.
    """

    first: int
    newest: int
    step: int
    missing: Ranges = ()


def extend(known: Coverage | None, starts: NDArray[np.int64], step: int) -> Coverage:
    """
    Return the coverage after intervals that start at `starts` have come; missing ranges merged.

    The result depends on the set of all starts seen, never on their order: what is missing is the
    grid from the first to the newest start less the starts.
    *Shape*: `starts` 1-D, not empty, any order. *Units*: milliseconds.
    """
    ordered = np.unique(starts)
    low, high = int(ordered[0]), int(ordered[-1])
    if known is None:
        holes = _holes(ordered, step)
        return Coverage(first=low, newest=high, step=step, missing=holes)
    missing = list(known.missing)
    if low < known.first:
        missing.append((low, known.first))
    if high > known.newest:
        missing.append((known.newest + known.step, high + step))
    return Coverage(
        first=min(low, known.first),
        newest=max(high, known.newest),
        step=step,
        missing=subtract(merge(missing), ordered, step),
    )


def merge(ranges: Sequence[tuple[int, int]]) -> Ranges:
    """Return the union of half-open ranges, sorted, touching ones joined, empty ones dropped."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(item for item in ranges if item[1] > item[0]):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return tuple(joined)


def subtract(ranges: Ranges, starts: NDArray[np.int64], step: int) -> Ranges:
    """Return `ranges` without the slots `[start, start + step)`; `starts` sorted and unique."""
    left: list[tuple[int, int]] = []
    for begin, end in ranges:
        inside = starts[np.searchsorted(starts, begin) : np.searchsorted(starts, end)]
        if not len(inside):
            left.append((begin, end))
            continue
        edges_from = np.concatenate(([begin], inside + step))
        edges_to = np.concatenate((inside, [end]))
        keep = edges_to > edges_from
        left.extend((int(a), int(b)) for a, b in zip(edges_from[keep], edges_to[keep], strict=True))
    return tuple(left)


def clip(ranges: Ranges, spans: Sequence[tuple[int, int]]) -> Ranges:
    """Return the parts of `ranges` that lie in one of `spans`, all half-open."""
    return merge(
        [(max(start, since), min(end, until)) for start, end in ranges for since, until in spans]
    )


def permille(part: int, whole: int) -> int:
    """Return `part` of `whole` in thousandths, rounded down; 0 of nothing is 1000."""
    return 1000 if whole == 0 else 1000 * part // whole


def _holes(ordered: NDArray[np.int64], step: int) -> Ranges:
    ends, nexts = ordered[:-1] + step, ordered[1:]
    gaps = nexts > ends
    return tuple((int(a), int(b)) for a, b in zip(ends[gaps], nexts[gaps], strict=True))
