"""The edge's only clock: business time, wall time, durations, and how far they may be trusted."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from protocols.timeline import TimeScale

_FLOOR = datetime(2025, 1, 1, tzinfo=UTC)
"""A wall clock before this has lost its battery; the program is younger than that."""
_STEP_LIMIT = 5.0
_FRESH = timedelta(hours=2)
_HOLDOVER_LIMIT = timedelta(days=7)


class Trust(StrEnum):
    """How far the wall clock may be believed."""

    SYNCHRONISED = "synchronised"
    HOLDOVER = "holdover"
    """Set once, not compared since a while; a crystal keeps seconds over days."""
    UNTRUSTED = "untrusted"
    """Readings are kept and marked, no disconnect is obeyed, no meter is set."""


def _elapsed() -> float:
    """Return seconds that never go back and, where the system can tell, count its sleep."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class EdgeClock:
    """
    Reads time for the agent; pure parts get `now` as an argument and never see this.

    The wall clock is untrusted when it is absurdly old, or has stepped against the monotonic
    clock since the start. With `sync_file` (a file that the time daemon touches at each
    synchronisation, `/run/systemd/timesync/synchronized` for systemd) its age decides as well,
    and a synchronisation after a step restores trust; without one the machine is believed.
    """

    def __init__(
        self,
        scale: TimeScale | None = None,
        *,
        sync_file: Path | None = None,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
        elapsed: Callable[[], float] = _elapsed,
    ) -> None:
        """Take the first comparison of wall clock and monotonic clock."""
        self._scale = scale or TimeScale()
        self._sync_file = sync_file
        self._wall = wall
        self._elapsed = elapsed
        self._wall_start = wall()
        self._elapsed_start = elapsed()

    @property
    def scale(self) -> TimeScale:
        """Return the factor by which business time runs."""
        return self._scale

    def now(self) -> datetime:
        """Return business time, UTC."""
        return self._scale.at(self._wall())

    def wall_now(self) -> datetime:
        """Return wall time, UTC."""
        return self._wall()

    def monotonic(self) -> float:
        """Return seconds that never go back, for every deadline and for the cut handshake."""
        return self._elapsed()

    def wall_seconds_until(self, instant: datetime) -> float:
        """Return the wall seconds until a business instant; negative when it has passed."""
        return (self._scale.wall_at(instant) - self._wall()).total_seconds()

    def trust(self) -> Trust:
        """Return how far `now` may be believed at this moment."""
        wall = self._wall()
        if wall < _FLOOR:
            return Trust.UNTRUSTED
        synced = self._synced_at()
        stepped_by = (wall - self._wall_start).total_seconds() - (
            self._elapsed() - self._elapsed_start
        )
        if abs(stepped_by) > _STEP_LIMIT:
            if synced is None or not self._wall_start < synced <= wall:
                return Trust.UNTRUSTED
            # the time daemon has spoken since: what it set is the new line to compare with
            self._wall_start, self._elapsed_start = wall, self._elapsed()
        if self._sync_file is None:
            return Trust.SYNCHRONISED
        age = None if synced is None else wall - synced
        if age is None or age > _HOLDOVER_LIMIT:
            return Trust.UNTRUSTED
        return Trust.SYNCHRONISED if age <= _FRESH else Trust.HOLDOVER

    def _synced_at(self) -> datetime | None:
        if self._sync_file is None:
            return None
        try:
            return datetime.fromtimestamp(self._sync_file.stat().st_mtime, UTC)
        except OSError:
            return None
