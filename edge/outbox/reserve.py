"""Room that is kept free on the outbox's disk, so that a full disk stops reading, not obeying."""

import shutil
from pathlib import Path

from edge.clock import EdgeClock

_LOOK_SECONDS = 1.0
_MEGABYTE = 1 << 20


class DiskReserve:
    """Looks at the free space of a folder's disk, at most once a second."""

    def __init__(self, folder: Path, megabytes: int, clock: EdgeClock) -> None:
        """Keep so many megabytes free; 0 looks at nothing."""
        self._folder = folder
        self._octets = megabytes * _MEGABYTE
        self._clock = clock
        self._looked_at = float("-inf")
        self._short = False

    def short(self) -> bool:
        """Tell whether less than the reserve is free."""
        now = self._clock.monotonic()
        if self._octets and now - self._looked_at >= _LOOK_SECONDS:
            self._looked_at = now
            self._short = shutil.disk_usage(self._folder).free < self._octets
        return self._short
