"""
Energy as a pure function of time: load prefix sums, less what an open relay kept back.

Within a slot energy flows evenly, so amounts are kept as whole numbers of Wh * milliseconds and
divided once, when a register is shown. Any register at any instant is two look-ups, and a
simulator that starts anew shows what the killed one would have shown.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from simulators.load import SLOT_SECONDS, Household, draw

_HOUR_MS = 3_600_000
_CHUNK_DAYS = 32
_LONG_AGO_MS = -(2**62)

Millis = NDArray[np.int64]
"""Instants in milliseconds since 1970."""


class Energy(Protocol):
    """What a meter measures."""

    def register_wh(self, at_ms: int) -> int:
        """Return the cumulative register at an instant, rounded down as meters do."""
        ...

    def registers_wh(self, at_ms: Millis) -> NDArray[np.int64]:
        """Return the register at each instant. *Shape*: as `at_ms`."""
        ...

    def power_w(self, at_ms: int) -> int:
        """Return the power that flows at an instant."""
        ...


class LoadCurve:
    """
    What would flow if the relay were always closed: Wh per slot from `start_ms` on.

    `source(first, count)` gives the slots `first..first+count` counted from the start; it is asked
    once per slot, in chunks. `known` marks slots that a recorded series really holds.
    """

    def __init__(
        self,
        *,
        start_ms: int,
        slot_ms: int,
        source: Callable[[int, int], NDArray[np.int64]],
        known: NDArray[np.bool_] | None = None,
    ) -> None:
        """Compute nothing yet."""
        self.start_ms = start_ms
        self.slot_ms = slot_ms
        self.known = known
        self._source = source
        self._wh: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._prefix: NDArray[np.int64] = np.zeros(1, dtype=np.int64)

    def flow(self, at_ms: int) -> int:
        """Return Wh * slot_ms that flowed since the start."""
        if at_ms <= self.start_ms:
            return 0
        slot, rest = divmod(at_ms - self.start_ms, self.slot_ms)
        self._reach(slot)
        return int(self._prefix[slot]) + int(self._wh[slot]) * rest

    def flows(self, at_ms: Millis) -> NDArray[np.int64]:
        """Return `flow` of each instant. *Shape*: as `at_ms`."""
        if not len(at_ms):
            return np.zeros(0, dtype=np.int64)
        slot, rest = np.divmod(np.maximum(at_ms - self.start_ms, 0), self.slot_ms)
        self._reach(int(slot.max()))
        flows: NDArray[np.int64] = self._prefix[slot] + self._wh[slot] * rest
        return flows

    def slot_wh(self, at_ms: int) -> int:
        """Return the energy of the slot that an instant lies in."""
        if at_ms < self.start_ms:
            return 0
        slot = (at_ms - self.start_ms) // self.slot_ms
        self._reach(slot)
        return int(self._wh[slot])

    def is_known(self, starts_ms: Millis) -> NDArray[np.bool_]:
        """Tell for each slot start whether the series holds it. *Shape*: as `starts_ms`."""
        if self.known is None:
            return np.ones(len(starts_ms), dtype=np.bool_)
        slot = (starts_ms - self.start_ms) // self.slot_ms
        inside = (slot >= 0) & (slot < len(self.known))
        found: NDArray[np.bool_] = inside & self.known[np.clip(slot, 0, len(self.known) - 1)]
        return found

    def _reach(self, slot: int) -> None:
        have = len(self._wh)
        if slot < have:
            return
        chunk = _CHUNK_DAYS * 86_400_000 // self.slot_ms
        more = -(-(slot + 1 - have) // chunk) * chunk
        self._wh = np.concatenate((self._wh, self._source(have, more)))
        self._prefix = np.concatenate(([0], np.cumsum(self._wh))) * self.slot_ms


def household_curve(household: Household, start_ms: int) -> LoadCurve:
    """Return the made-up load of a household from `start_ms`, which must lie on the slot grid."""
    slot_ms = SLOT_SECONDS * 1000
    first, rest = divmod(start_ms, slot_ms)
    if rest:
        raise ValueError(f"{start_ms} does not lie on the {SLOT_SECONDS} s grid")

    def source(begin: int, count: int) -> NDArray[np.int64]:
        return draw(household, first + begin, count)

    return LoadCurve(start_ms=start_ms, slot_ms=slot_ms, source=source)


class SwitchedEnergy:
    """A customer's meter: the load, while the output is closed."""

    def __init__(self, curve: LoadCurve, opening_wh: int) -> None:
        """Begin with the output closed since ever."""
        self.curve = curve
        self.opening_wh = opening_wh
        self._at = [_LONG_AGO_MS]
        self._closed = [True]
        self._base = [0]
        self._flow = [0]
        self._arrays: tuple[NDArray[np.int64], ...] | None = None

    @property
    def closed(self) -> bool:
        """Tell whether the output is closed now."""
        return self._closed[-1]

    def switch(self, at_ms: int, *, closed: bool) -> None:
        """Open or close the output at an instant not before the last one."""
        if at_ms < self._at[-1]:
            raise ValueError(f"the switch already moved at {self._at[-1]}, after {at_ms}")
        if closed == self._closed[-1]:
            return
        self._base.append(self.delivered(at_ms))
        self._flow.append(self.curve.flow(at_ms))
        self._at.append(at_ms)
        self._closed.append(closed)
        self._arrays = None

    def delivered(self, at_ms: int) -> int:
        """Return Wh * slot_ms delivered since the start of the load."""
        index = bisect_right(self._at, at_ms) - 1
        base = self._base[index]
        return base + self.curve.flow(at_ms) - self._flow[index] if self._closed[index] else base

    def register_wh(self, at_ms: int) -> int:
        """Return the cumulative register at an instant."""
        return self.opening_wh + self.delivered(at_ms) // self.curve.slot_ms

    def registers_wh(self, at_ms: Millis) -> NDArray[np.int64]:
        """Return the register at each instant. *Shape*: as `at_ms`."""
        if self._arrays is None:
            self._arrays = tuple(
                np.array(items, dtype=np.int64)
                for items in (self._at, self._closed, self._base, self._flow)
            )
        at, closed, base, flow = self._arrays
        index = np.searchsorted(at, at_ms, side="right") - 1
        delivered = base[index] + closed[index] * (self.curve.flows(at_ms) - flow[index])
        registers: NDArray[np.int64] = self.opening_wh + delivered // self.curve.slot_ms
        return registers

    def power_w(self, at_ms: int) -> int:
        """Return the power that flows at an instant; zero behind an open output."""
        index = bisect_right(self._at, at_ms) - 1
        if not self._closed[index]:
            return 0
        return self.curve.slot_wh(at_ms) * _HOUR_MS // self.curve.slot_ms


class SummedEnergy:
    """A transformer's head meter: all that its customers draw, and the technical loss on top."""

    def __init__(
        self, parts: Sequence[SwitchedEnergy], *, opening_wh: int, loss_permille: int
    ) -> None:
        """Sum `parts`, which must share one slot length."""
        if len({part.curve.slot_ms for part in parts}) != 1:
            raise ValueError("the customers of a head meter must share one slot length")
        self._parts = tuple(parts)
        self._opening_wh = opening_wh
        self._permille = 1000 + loss_permille
        self._divisor = 1000 * parts[0].curve.slot_ms

    def register_wh(self, at_ms: int) -> int:
        """Return the cumulative register at an instant."""
        delivered = sum(part.delivered(at_ms) for part in self._parts)
        return self._opening_wh + delivered * self._permille // self._divisor

    def registers_wh(self, at_ms: Millis) -> NDArray[np.int64]:
        """Return the register at each instant. *Shape*: as `at_ms`."""
        return np.array([self.register_wh(at) for at in at_ms.tolist()], dtype=np.int64)

    def power_w(self, at_ms: int) -> int:
        """Return the power that flows at an instant."""
        return sum(part.power_w(at_ms) for part in self._parts) * self._permille // 1000
