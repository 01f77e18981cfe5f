"""
What lacks of a series, cut into stretches that are estimated each for itself.

A stretch is all that lacks between two neighbouring registers, or one run that no two registers
enclose. It is estimated from a window of days that follows from the stretch alone, so whichever of
its days is looked at, and in whatever order, its estimate is the same and adds up to the register.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cloud.vee.rules.grid import Bool, Int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """
    Lacking slots `[first, end)` of one series, maybe with others between; `end` past the last.

    An anchored one lies between the borders `low` and `high` at which registers were read; of a
    free one they are `first` and `end`. A free one that reaches the end of what is known is `open`.
    *Units*: slots.
    """

    first: int
    end: int
    low: int
    high: int
    anchored: bool
    open: bool


def stretches_of(
    lacking: Bool, borders: Sequence[int], *, limit: int, longest: int
) -> list[Stretch]:
    """
    Return the stretches of one series in order; each lacking slot lies in just one.

    *Shape*: `lacking` 1-D; `borders` sorted slot borders with a register. Registers farther apart
    than `longest` slots enclose nothing. What begins at `limit` or later is not looked at.
    """
    at = np.flatnonzero(lacking[:limit])
    if not len(at):
        return []
    edges = np.array(sorted({each for each in borders if each <= limit}), dtype=np.int64)
    after = np.searchsorted(edges, at, side="right")
    known = (after > 0) & (after < len(edges))
    low = np.where(known, edges[np.maximum(after - 1, 0)] if len(edges) else 0, -1)
    high = np.where(known, edges[np.minimum(after, len(edges) - 1)] if len(edges) else 0, -1)
    enclosed = known & (high - low <= longest)
    # slots of one anchor go together; free ones go together where they touch within one span
    fresh = np.ones(len(at), dtype=np.bool_)
    same_anchor = enclosed[1:] & enclosed[:-1] & (low[1:] == low[:-1])
    touching = ~enclosed[1:] & ~enclosed[:-1] & (np.diff(at) == 1) & (after[1:] == after[:-1])
    fresh[1:] = ~(same_anchor | touching)
    starts = np.flatnonzero(fresh)
    ends = np.append(starts[1:], len(at)) - 1
    found = []
    for one, last in zip(starts.tolist(), ends.tolist(), strict=True):
        first, end = int(at[one]), int(at[last]) + 1
        anchored = bool(enclosed[one])
        found.append(
            Stretch(
                first=first, end=end, low=int(low[one]) if anchored else first,
                high=int(high[one]) if anchored else end, anchored=anchored,
                open=not anchored and end >= limit,
            )
        )  # fmt: skip
    return found


def days_touched(stretch: Stretch, day_of: Int) -> tuple[int, int]:
    """
    Return the first and last day on which a stretch rests: its anchor and the slot after it.

    *Shape*: `day_of` names the day of each slot. The slot after a stretch is its right neighbour;
    where it is not known yet, it lies on the day after the last.
    """
    after = int(day_of[stretch.end]) if stretch.end < len(day_of) else int(day_of[-1]) + 1
    last = max(after, int(day_of[max(stretch.high - 1, stretch.low)]))
    return int(day_of[stretch.low]), last
