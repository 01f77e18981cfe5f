"""
Invocation counters, reserved ahead on disk so that no nonce is ever used twice under one key.

*Source*: IEC 62056-5-3, AES-GCM initialisation vector = system title + counter; a repeated pair
gives the key away.
"""

import sqlite3

from edge.failpoint import reach
from edge.outbox.database import OutboxDatabase
from protocols.errors import PeerError
from protocols.identity import is_name

_LIMIT = 1 << 32
_PEER = """
CREATE TABLE IF NOT EXISTS peer (
    key_id TEXT NOT NULL,
    key_print TEXT NOT NULL,
    system_title BLOB NOT NULL,
    counter INTEGER NOT NULL,
    PRIMARY KEY (key_id, key_print)
) WITHOUT ROWID
"""


class Counters:
    """One counter per (system title, key); it never goes down, in no process."""

    def __init__(self, database: OutboxDatabase) -> None:
        """Keep counters in `database`."""
        self._database = database
        with database.write() as db:
            db.execute(_PEER)

    def reserve(self, system_title: bytes, key_id: str, block: int) -> range:
        """
        Return `block` counters that nobody else has had or will have; on disk before this returns.

        Raises: PeerError `security.counter_exhausted` when the 32 bits are used up (the key must
        be changed), OutboxError when the disk refuses.
        """
        self._check(key_id, block)
        with self._database.write() as db:
            row = db.execute(
                "SELECT next FROM counter WHERE system_title = ? AND key_id = ?",
                (system_title, key_id),
            ).fetchone()
            first = row[0] if row else 1
            if first + block > _LIMIT:
                raise PeerError(
                    "security.counter_exhausted", "the counter is used up; change the key"
                )
            self._store(db, system_title, key_id, first + block)
        reach("edge.after_reserve")
        return range(first, first + block)

    def raise_to(self, system_title: bytes, key_id: str, floor: int) -> None:
        """Let the next counter be at least `floor`, as a meter demanded; a lower one is ignored."""
        self._check(key_id, 1)
        with self._database.write() as db:
            row = db.execute(
                "SELECT next FROM counter WHERE system_title = ? AND key_id = ?",
                (system_title, key_id),
            ).fetchone()
            if floor > (row[0] if row else 1):
                self._store(db, system_title, key_id, min(floor, _LIMIT))

    def peer_of(self, key_id: str, key_print: str) -> tuple[bytes, int] | None:
        """Return title and highest counter that the other side has shown under one key."""
        with self._database.read() as db:
            row = db.execute(
                "SELECT system_title, counter FROM peer WHERE key_id = ? AND key_print = ?",
                (key_id, key_print),
            ).fetchone()
        return (bytes(row[0]), int(row[1])) if row else None

    def note_peer(self, key_id: str, key_print: str, title: bytes, counter: int) -> None:
        """Keep what the other side has shown; a lower counter changes nothing."""
        self._check(key_id, 1)
        with self._database.write() as db:
            db.execute(
                "INSERT INTO peer (key_id, key_print, system_title, counter) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (key_id, key_print) DO UPDATE SET"
                " system_title = excluded.system_title, counter = excluded.counter"
                " WHERE excluded.counter > peer.counter",
                (key_id, key_print, title, counter),
            )

    @staticmethod
    def _check(key_id: str, block: int) -> None:
        if block < 1 or not is_name(key_id):
            raise ValueError(f"a counter needs a key name and a block, not {key_id!r}, {block}")

    @staticmethod
    def _store(db: sqlite3.Connection, system_title: bytes, key_id: str, value: int) -> None:
        db.execute(
            "INSERT INTO counter (system_title, key_id, next) VALUES (?, ?, ?)"
            " ON CONFLICT (system_title, key_id) DO UPDATE SET next = excluded.next",
            (system_title, key_id, value),
        )
