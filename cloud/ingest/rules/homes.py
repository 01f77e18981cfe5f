"""Where new readings go: rows of open days, packed days that came whole, or packed days to grow."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cloud.ingest.rules.packing import DAY_MS, Bool, Int, Readings


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """
    Ordered readings cut by series and UTC day.

    *Shape*: one place per cell; `first` and `size` say which readings are in it. `day` counts from
    1970. `whole`: the intervals of the cell fill the day.
    """

    series: Int
    day: Int
    first: Int
    size: Int
    whole: Bool

    def take(self, cells: Bool) -> "Cells":
        """Return some of the cells."""
        return Cells(
            series=self.series[cells], day=self.day[cells], first=self.first[cells],
            size=self.size[cells], whole=self.whole[cells],
        )  # fmt: skip

    def rows(self) -> NDArray[np.int64]:
        """Return the places of every reading of the cells, cell by cell."""
        starts = np.cumsum(self.size) - self.size
        return np.repeat(self.first - starts, self.size) + np.arange(int(self.size.sum()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Homes:
    """Cells by where their readings go."""

    rows: Cells
    whole: Cells
    grown: Cells


def cells_of(series: Int, at_ms: Int, seconds: Int) -> Cells:
    """Return the cells of readings that are ordered by series and instant. *Units*: ms, s."""
    day = at_ms // DAY_MS
    starts = np.ones(len(series), dtype=np.bool_)
    starts[1:] = (series[1:] != series[:-1]) | (day[1:] != day[:-1])
    first = np.flatnonzero(starts)
    size = np.diff(first, append=len(series))
    # instants of one cell differ and lie on the grid of one length: so many of them are all
    whole = size * seconds[first] * 1000 == DAY_MS
    return Cells(series=series[first], day=day[first], first=first, size=size, whole=whole)


def homes_of(cells: Cells, open_days: Collection[int]) -> Homes:
    """
    Return where the readings of each cell go.

    A whole day is packed at once: nothing of it was stored before, for all its readings are new.
    """
    is_open = np.isin(cells.day, np.array(sorted(open_days), dtype=np.int64))
    return Homes(
        rows=cells.take(~cells.whole & is_open),
        whole=cells.take(cells.whole),
        grown=cells.take(~cells.whole & ~is_open),
    )


def after_midnight(readings: Readings, cells: Cells) -> Readings:
    """Return the readings of the cells, cell by cell, with instants after their midnights."""
    if int(cells.size.sum()) < len(readings):
        readings = readings.take(cells.rows())
    return readings.shifted(-np.repeat(cells.day * DAY_MS, cells.size))
