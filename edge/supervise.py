"""
The breaker of one meter: after repeated failure leave it alone, then try gently again.

    state      failure                          success             time passes the retry instant
    closed     count; at THRESHOLD -> open      count := 0          -
    open       (not asked)                      (not asked)         -> half_open
    half_open  -> open, wait doubled            -> closed           (one trial is under way)

Waits grow from `FIRST_WAIT` to `LONGEST_WAIT` wall seconds with a jitter that is a function of
the meter and the count, so that a fleet that failed together does not come back together.
"""

import zlib
from dataclasses import dataclass, replace
from enum import StrEnum

THRESHOLD = 3
FIRST_WAIT = 2.0
LONGEST_WAIT = 60.0
_SETBACK_CAP = 16


class BreakerState(StrEnum):
    """Whether a meter may be asked."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


def jitter(name: str, count: int = 0) -> float:
    """Return a number in [0, 1) that depends on the arguments alone, evenly spread over names."""
    return zlib.crc32(f"{name}/{count}".encode()) / 2**32


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """Breaker of the meter `name`. *Units*: `retry_at` in seconds of the monotonic clock."""

    name: str
    state: BreakerState = BreakerState.CLOSED
    failures: int = 0
    setbacks: int = 0
    retry_at: float = 0.0

    def failed(self, monotonic: float) -> "Breaker":
        """Return the breaker after a failed visit."""
        failures = self.failures + 1
        if self.state is BreakerState.CLOSED and failures < THRESHOLD:
            return replace(self, failures=failures, retry_at=monotonic + self._wait(0) / 2)
        setbacks = min(self.setbacks + 1, _SETBACK_CAP)
        return replace(
            self,
            state=BreakerState.OPEN,
            failures=failures,
            setbacks=setbacks,
            retry_at=monotonic + self._wait(setbacks - 1),
        )

    def succeeded(self) -> "Breaker":
        """Return the breaker after the meter has answered."""
        return Breaker(name=self.name)

    def asked(self, monotonic: float) -> "Breaker":
        """Return the breaker as a visit begins: an open one whose wait is over tries once."""
        if self.state is BreakerState.OPEN and monotonic >= self.retry_at:
            return replace(self, state=BreakerState.HALF_OPEN)
        return self

    def wait(self, monotonic: float) -> float:
        """Return the seconds to leave the meter alone, 0 when it may be asked."""
        return max(0.0, self.retry_at - monotonic)

    def _wait(self, doublings: int) -> float:
        base = min(FIRST_WAIT * 2.0**doublings, LONGEST_WAIT)
        return base * (0.75 + 0.5 * jitter(self.name, doublings))
