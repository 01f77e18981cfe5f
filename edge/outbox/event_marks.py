"""How far the event logs of each meter are read, and which alarms stood then."""

import sqlite3

from edge.acquire.driver import EventMark
from edge.outbox.database import OutboxDatabase
from protocols.identity import MeterId
from protocols.timeline import from_ms, to_ms

_SCHEMA = """
CREATE TABLE IF NOT EXISTS event_mark (
    meter TEXT PRIMARY KEY,
    device_ms INTEGER NOT NULL,
    read_ms INTEGER NOT NULL,
    alarms TEXT NOT NULL
) WITHOUT ROWID
"""


class EventMarks:
    """Reads the marks; each is written together with the batch that holds its events."""

    def __init__(self, database: OutboxDatabase) -> None:
        """Read from `database`. Raises: OutboxError."""
        self._database = database
        with database.write() as db:
            db.execute(_SCHEMA)

    def of(self, meter: MeterId) -> EventMark | None:
        """Return how far the logs of `meter` are read, None when they never were."""
        with self._database.read() as db:
            row = db.execute(
                "SELECT device_ms, read_ms, alarms FROM event_mark WHERE meter = ?", (meter,)
            ).fetchone()
        if row is None:
            return None
        return EventMark(
            device_at=from_ms(row[0]),
            read_at=from_ms(row[1]),
            alarms=tuple(int(bits) for bits in row[2].split()),
        )


def write_event_mark(db: sqlite3.Connection, meter: MeterId, mark: EventMark) -> None:
    """Replace the mark of `meter`, within the caller's transaction."""
    db.execute(
        "INSERT INTO event_mark (meter, device_ms, read_ms, alarms) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (meter) DO UPDATE SET device_ms = excluded.device_ms,"
        " read_ms = excluded.read_ms, alarms = excluded.alarms",
        (
            meter,
            to_ms(mark.device_at),
            to_ms(mark.read_at),
            " ".join(str(bits) for bits in mark.alarms),
        ),
    )
