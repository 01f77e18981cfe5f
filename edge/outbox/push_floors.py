"""The highest counter of each meter's pushes, so that no recording of one is taken twice."""

from edge.outbox.database import OutboxDatabase
from protocols.errors import PeerError
from protocols.identity import MeterId


class PushFloors:
    """One floor for each meter and key; it never goes down."""

    def __init__(self, database: OutboxDatabase) -> None:
        """Keep floors in `database`."""
        self._database = database

    def of(self, meter: MeterId, key_print: str) -> int:
        """Return the highest counter taken, -1 for none."""
        with self._database.read() as db:
            row = db.execute(
                "SELECT counter FROM push_floor WHERE meter = ? AND key_print = ?",
                (meter, key_print),
            ).fetchone()
        return -1 if row is None else int(row[0])

    def rise(self, meter: MeterId, key_print: str, counter: int) -> None:
        """Keep a higher counter, on disk at once. Raises: PeerError `dlms.replayed`."""
        with self._database.write() as db:
            risen = db.execute(
                "INSERT INTO push_floor (meter, key_print, counter) VALUES (?, ?, ?)"
                " ON CONFLICT (meter, key_print) DO UPDATE SET counter = excluded.counter"
                " WHERE excluded.counter > push_floor.counter",
                (meter, key_print, counter),
            ).rowcount
        if not risen:
            raise PeerError("dlms.replayed", "the pushing meter's counter did not rise")
