"""What validation finds."""

from dataclasses import dataclass
from datetime import date, datetime
from enum import IntEnum, StrEnum

import numpy as np
from numpy.typing import NDArray

from protocols.identity import MeterId, UsagePointId


class OverlayKind(IntEnum):
    """What is said over a slot or a register. Codes stand in tables and are never reused."""

    ESTIMATE = 1
    EDIT = 2
    CANCEL = 3
    """There is no value, whatever was said or measured before."""
    SUSPECT = 4
    """The raw value stands, but is doubted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlayColumns:
    """
    What stands over slots, sorted by point, start and length. *Shape*: equal columns.

    `point` indexes the usage points asked for; `wh` of a cancellation is 0, of a suspect the raw
    value. *Units*: ms, s, Wh; `kind` is an `OverlayKind`.
    """

    point: NDArray[np.int64]
    start_ms: NDArray[np.int64]
    seconds: NDArray[np.int64]
    wh: NDArray[np.int64]
    kind: NDArray[np.int8]
    created_ms: NDArray[np.int64]
    version: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of slots spoken of."""
        return len(self.point)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterOverlayColumns:
    """
    What stands over registers, sorted by point and instant. *Shape*: equal columns.

    `wh` is the cumulative register of the usage point. *Units*: ms, Wh.
    """

    point: NDArray[np.int64]
    at_ms: NDArray[np.int64]
    wh: NDArray[np.int64]
    kind: NDArray[np.int8]
    created_ms: NDArray[np.int64]
    version: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of registers spoken of."""
        return len(self.point)


class ExceptionKind(StrEnum):
    """Kind of finding."""

    GAP = "gap"
    """Intervals are missing before the newest one."""
    SILENT = "silent"
    """Nothing at all came from an installed meter for too long."""
    MISSING_REGISTERS = "missing_registers"
    """No register came for the configured number of consecutive days: raise a work order (E1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VeeException:
    """
    One finding about `[range_start, range_end)`; `channel` is 0 where it is about the whole meter.

    `closed_at` is set when what was missing has come.
    """

    id: int
    kind: ExceptionKind
    meter: MeterId
    usage_point: UsagePointId
    channel: int
    range_start: datetime
    range_end: datetime
    detail: str
    opened_at: datetime
    closed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistic:
    """How many findings of a kind were opened in a unit on a (UTC) day, and how many are open."""

    unit: str
    day: date
    kind: ExceptionKind
    opened: int
    still_open: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquisition:
    """
    Coverage (installed meters heard of in time) and success (interval slots that came).

    *Units*: thousandths, rounded down.
    """

    installed: int
    heard: int
    coverage_permille: int
    slots_expected: int
    slots_present: int
    success_permille: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchPolicy:
    """
    When missing things become findings.

    `silent_after` is business time (the caller converts from wall seconds).
    """

    silent_after_ms: int
    missing_days: int = 3
