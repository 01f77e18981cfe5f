"""The simulators' only clock: business time on the installation's scale, in milliseconds."""

import time
from dataclasses import dataclass, field

from protocols.timeline import TimeScale, to_ms

TICK_MS = 10
"""Meters tell time in hundredths of a second. *Source*: COSEM date-time, 12 octets."""

_NS_PER_MS = 1_000_000


@dataclass(slots=True, kw_only=True)
class SimulatorClock:
    """Business time that never runs backwards within a run, even when the wall clock is set."""

    scale: TimeScale = field(default_factory=TimeScale)
    _latest_ms: int = field(default=-(2**62), init=False)

    def now_ms(self) -> int:
        """Return business time in milliseconds since 1970, a multiple of `TICK_MS`."""
        passed_ns = time.time_ns() - to_ms(self.scale.wall_origin) * _NS_PER_MS
        now = to_ms(self.scale.origin) + passed_ns * self.scale.speed // _NS_PER_MS
        self._latest_ms = max(self._latest_ms, now // TICK_MS * TICK_MS)
        return self._latest_ms

    def wall_ms(self) -> int:
        """Return wall time in milliseconds since 1970."""
        return time.time_ns() // _NS_PER_MS
