"""Figures of many days at once: a matrix of whole numbers, a column a day."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from cloud.rollups.model import Basis, Bound, DayFigures
from protocols.timeline import from_ms, to_ms

Int = NDArray[np.int64]
Bool = NDArray[np.bool_]

NONE = int(np.iinfo(np.int64).min)
"""Stands where nothing is known."""


class Cell(IntEnum):
    """The rows of a table, in their order. *Units*: counts, Wh, ms, bits of qualities."""

    SLOTS = 0
    MISSING = 1
    INTERVAL_WH = 2
    SLOT_QUALITIES = 3
    FROM_MS = 4
    FROM_WH = 5
    FROM_QUALITY = 6
    TO_MS = 7
    TO_WH = 8
    TO_QUALITY = 9


OPENING = (Cell.FROM_MS, Cell.FROM_WH, Cell.FROM_QUALITY)
CLOSING = (Cell.TO_MS, Cell.TO_WH, Cell.TO_QUALITY)


@dataclass(frozen=True, slots=True)
class DayTable:
    """
    What is known of many days, as `DayFigures` says it of one. *Shape*: `cells` is (Cell, days).

    A register that is not there is NONE, NONE and no qualities; so is the energy of no interval.
    """

    cells: Int

    def __len__(self) -> int:
        """Return the number of days."""
        return int(self.cells.shape[1])

    def __getitem__(self, cell: Cell) -> Int:
        """Return one figure of every day."""
        found: Int = self.cells[cell]
        return found

    def take(self, days: Int | Bool) -> "DayTable":
        """Return some of the days."""
        return DayTable(self.cells[:, days])

    def same(self, other: "DayTable", cells: Sequence[Cell] = tuple(Cell)) -> Bool:
        """Tell of which days the figures named are the same in both."""
        told: Bool = np.logical_and.reduce([self.cells[n] == other.cells[n] for n in cells])
        return told

    def opened(self) -> Bool:
        """Tell which days have a register that begins them."""
        found: Bool = self[Cell.FROM_MS] != NONE
        return found

    def closed(self) -> Bool:
        """Tell which days have a register that ends them."""
        found: Bool = self[Cell.TO_MS] != NONE
        return found

    def basis(self) -> Int:
        """Return what the energy of each day follows from, a `Basis`."""
        slots = np.where(self[Cell.INTERVAL_WH] == NONE, Basis.UNKNOWN, Basis.INTERVALS)
        return np.where(self.opened() & self.closed(), Basis.REGISTERS, slots)

    def wh(self) -> Int:
        """Return the energy of each day, NONE where it is not known."""
        basis = self.basis()
        advance = self[Cell.TO_WH] - self[Cell.FROM_WH]
        return np.where(basis == Basis.REGISTERS, advance, self[Cell.INTERVAL_WH])

    def figures(self, n: int) -> DayFigures:
        """Return one day plainly."""
        one = self.cells[:, n].tolist()
        return DayFigures(
            slots=one[Cell.SLOTS], missing=one[Cell.MISSING],
            interval_wh=None if one[Cell.INTERVAL_WH] == NONE else one[Cell.INTERVAL_WH],
            slot_qualities=one[Cell.SLOT_QUALITIES],
            opening=_bound([one[n] for n in OPENING]), closing=_bound([one[n] for n in CLOSING]),
        )  # fmt: skip


def nothing(days: int) -> DayTable:
    """Return days of which nothing is known."""
    cells = np.zeros((len(Cell), days), dtype=np.int64)
    for cell in (Cell.INTERVAL_WH, *OPENING[:2], *CLOSING[:2]):
        cells[cell] = NONE
    return DayTable(cells)


def table_of(figures: Sequence[DayFigures]) -> DayTable:
    """Return plain days as a table."""
    rows = [
        (
            each.slots, each.missing, NONE if each.interval_wh is None else each.interval_wh,
            each.slot_qualities, *_cells(each.opening), *_cells(each.closing),
        )
        for each in figures
    ]  # fmt: skip
    cells = np.array(rows, dtype=np.int64).reshape(-1, len(Cell)).T
    return DayTable(np.ascontiguousarray(cells))


def _cells(bound: Bound | None) -> tuple[int, int, int]:
    return (NONE, NONE, 0) if bound is None else (to_ms(bound.at), bound.wh, bound.qualities)


def _bound(cells: Sequence[int]) -> Bound | None:
    at, wh, qualities = cells
    return None if at == NONE else Bound(at=from_ms(at), wh=wh, qualities=qualities)
