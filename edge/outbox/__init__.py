"""
What the agent must not lose: batches, commands and their acks, counters, what was read so far.

SQLite, write-ahead log, `synchronous=FULL`: what a call has returned survives `kill -9` and power
loss. A batch leaves only on its receipt, an ack only on its own.
"""

from pathlib import Path

from edge.outbox.acks import AckQueue
from edge.outbox.batches import BatchQueue
from edge.outbox.clock_sets import ClockSets
from edge.outbox.commands import CommandBook
from edge.outbox.counters import Counters
from edge.outbox.coverage import CoverageBook
from edge.outbox.database import OutboxDatabase, OutboxError
from edge.outbox.event_marks import EventMarks
from edge.outbox.firmware import FirmwareBook
from edge.outbox.images import ImageShelf
from edge.outbox.push_floors import PushFloors
from edge.outbox.settings import SettingsBook
from edge.outbox.vault import KeyVault

__all__ = ["Outbox", "OutboxError"]


class Outbox:
    """One file, its books in it."""

    def __init__(self, path: Path, *, wall_ms: int) -> None:
        """Open or make the file; `wall_ms` numbers the boot. Raises: OutboxError."""
        self._database = OutboxDatabase(path)
        self.batches = BatchQueue(self._database, wall_ms=wall_ms)
        self.acks = AckQueue(self._database)
        self.commands = CommandBook(self._database)
        self.counters = Counters(self._database)
        self.coverage = CoverageBook(self._database)
        self.event_marks = EventMarks(self._database)
        self.clock_sets = ClockSets(self._database)
        self.settings = SettingsBook(self._database)
        self.push_floors = PushFloors(self._database)
        self.firmware = FirmwareBook(self._database)
        self.images = ImageShelf(path)

    def vault(self, transport_key: bytes) -> KeyVault:
        """Return the vault of keys that `transport_key` opens."""
        return KeyVault(self._database, transport_key)

    def close(self) -> None:
        """Close the file; what was returned is on disk already."""
        self._database.close()
