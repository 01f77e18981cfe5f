"""
The clock inside a meter: true time plus an offset that creeps, until somebody sets it.

A load profile closes an interval when this clock first reaches its end. Set back, the clock passes
the same marks again and nothing is stored twice; set forward, the marks jumped over close at once.
So every Wh between two captures belongs to exactly one interval, whatever happens to the clock.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulators.clock import TICK_MS

_MILLION = 1_000_000
_NEVER_MS = 2**62


@dataclass(frozen=True, slots=True)
class _Stretch:
    from_ms: int
    offset_ms: int


class DeviceClock:
    """Maps true time to device time and back. *Units*: milliseconds since 1970."""

    def __init__(self, *, since_ms: int, offset_ms: int, drift_ppm: int) -> None:
        """Show true time + `offset_ms` at `since_ms` and gain `drift_ppm` from then on."""
        self._drift_ppm = drift_ppm
        self._stretches = [_Stretch(since_ms, offset_ms)]

    def show(self, true_ms: int) -> int:
        """Return what the clock shows at a true instant, in its own ticks."""
        stretch = self._stretches[0]
        for later in self._stretches[1:]:
            if later.from_ms <= true_ms:
                stretch = later
        return self._exact(stretch, true_ms) // TICK_MS * TICK_MS

    def set(self, true_ms: int, device_ms: int) -> None:
        """Make the clock show `device_ms`, just after the true instant `true_ms`."""
        # one millisecond later, so that what was already closed at `true_ms` stays closed
        self._stretches.append(_Stretch(true_ms + 1, device_ms - true_ms))

    def furthest(self, true_ms: int) -> int:
        """Return the latest device time shown up to a true instant."""
        shown = []
        for stretch, until_ms in self._with_ends():
            if stretch.from_ms <= true_ms or stretch is self._stretches[0]:
                shown.append(self._exact(stretch, min(true_ms, until_ms - 1)))
        return max(shown)

    def first_reached(self, device_ms: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the true instant at which the clock first reached each mark."""
        reached = np.full(len(device_ms), _NEVER_MS, dtype=np.int64)
        for index, (stretch, until_ms) in enumerate(self._with_ends()):
            ahead = device_ms - stretch.offset_ms - stretch.from_ms
            true = stretch.from_ms - (-ahead * _MILLION // (_MILLION + self._drift_ppm))
            if index:
                true = np.maximum(true, stretch.from_ms)
            reached = np.where((reached == _NEVER_MS) & (true < until_ms), true, reached)
        return reached

    def jumps(self) -> list[tuple[int, int]]:
        """Return (before, after) device time of every set."""
        pairs = zip(self._stretches, self._stretches[1:], strict=False)
        return [
            (self._exact(before, after.from_ms), after.from_ms + after.offset_ms)
            for before, after in pairs
        ]

    def _exact(self, stretch: _Stretch, true_ms: int) -> int:
        gained = (true_ms - stretch.from_ms) * self._drift_ppm // _MILLION
        return true_ms + stretch.offset_ms + gained

    def _with_ends(self) -> list[tuple[_Stretch, int]]:
        ends = [stretch.from_ms for stretch in self._stretches[1:]]
        return list(zip(self._stretches, [*ends, _NEVER_MS], strict=True))
