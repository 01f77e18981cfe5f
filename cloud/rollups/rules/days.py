"""A day's figures from its slots and its two registers; slots are counted as whole matrices."""

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from cloud.rollups.model import mask_of
from protocols.reading import Quality
from protocols.timeline import Interval, to_ms

Int = NDArray[np.int64]
Codes = NDArray[np.int8]
Bools = NDArray[np.bool_]

CODES = {quality: code for code, quality in enumerate(Quality)}
"""Code of a quality in a matrix of slots; -1 is a slot that is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotCounts:
    """What rows of slots add up to. *Shape*: one value a row. *Units*: Wh."""

    slots: Int
    missing: Int
    present: Int
    wh: Int
    qualities: Int


def slot_starts(span: Interval, seconds: int) -> Int:
    """Return the grid instants that lie in `span`, in ms; an interval belongs where it starts."""
    step = seconds * 1000
    first = -(-to_ms(span.start) // step) * step
    return np.arange(first, to_ms(span.end), step, dtype=np.int64)


def owed(starts: Int, seconds: int, since_ms: int, until_ms: int) -> Bools:
    """Tell which slots a meter owes that hung over `[since_ms, until_ms)`."""
    return (starts >= since_ms) & (starts + seconds * 1000 <= until_ms)


def count_slots(wh: Int, codes: Codes, expected: Bools) -> SlotCounts:
    """Count and sum rows of slots; *shape* of all three: rows x slots. A code of -1 is missing."""
    present = codes >= 0
    qualities = np.zeros(len(wh), dtype=np.int64)
    for quality, code in CODES.items():
        qualities |= np.where((codes == code).any(axis=1), mask_of([quality]), 0)
    return SlotCounts(
        slots=np.count_nonzero(expected | present, axis=1).astype(np.int64),
        missing=np.count_nonzero(expected & ~present, axis=1).astype(np.int64),
        present=np.count_nonzero(present, axis=1).astype(np.int64),
        wh=np.where(present, wh, 0).sum(axis=1, dtype=np.int64),
        qualities=qualities,
    )


def days_between(first: date, until: date) -> list[date]:
    """Return the days of `[first, until)`."""
    return [first + timedelta(days=n) for n in range((until - first).days)]
