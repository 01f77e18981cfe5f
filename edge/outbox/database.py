"""The SQLite file of one agent: one connection, one writer at a time, every commit on disk."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from protocols.errors import PeerError

_BUSY_SECONDS = 5.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS boot (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    boot INTEGER NOT NULL,
    last_seq INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS batch (
    boot INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    content_type TEXT NOT NULL,
    payload BLOB NOT NULL,
    PRIMARY KEY (boot, seq)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS mark (
    meter TEXT PRIMARY KEY,
    mark_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS gap (
    meter TEXT NOT NULL,
    start_ms INTEGER NOT NULL,
    end_ms INTEGER NOT NULL CHECK (end_ms > start_ms),
    tries INTEGER NOT NULL,
    PRIMARY KEY (meter, start_ms)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS command (
    id TEXT PRIMARY KEY,
    meter TEXT NOT NULL,
    verb TEXT NOT NULL,
    payload BLOB NOT NULL,
    stage TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ack (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    stage TEXT NOT NULL,
    payload BLOB NOT NULL,
    receipted INTEGER NOT NULL DEFAULT 0,
    UNIQUE (id, stage)
);
CREATE INDEX IF NOT EXISTS ack_waiting ON ack (n) WHERE receipted = 0;
CREATE TABLE IF NOT EXISTS reply (
    id TEXT PRIMARY KEY,
    topic TEXT NOT NULL,
    correlation BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS firmware (
    meter TEXT PRIMARY KEY,
    id TEXT NOT NULL,
    step TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS key_vault (
    meter TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('current', 'pending')),
    sealed BLOB NOT NULL,
    PRIMARY KEY (meter, role)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS push_floor (
    meter TEXT NOT NULL,
    key_print TEXT NOT NULL,
    counter INTEGER NOT NULL,
    PRIMARY KEY (meter, key_print)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS settings_order (
    revision INTEGER PRIMARY KEY,
    payload BLOB NOT NULL,
    taken INTEGER NOT NULL CHECK (taken IN (0, 1))
);
CREATE TABLE IF NOT EXISTS token (
    meter TEXT NOT NULL,
    digest BLOB NOT NULL,
    command TEXT NOT NULL,
    PRIMARY KEY (meter, digest)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS clock_set (
    meter TEXT NOT NULL,
    start_ms INTEGER NOT NULL,
    end_ms INTEGER NOT NULL CHECK (end_ms > start_ms),
    PRIMARY KEY (meter, start_ms)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counter (
    system_title BLOB NOT NULL,
    key_id TEXT NOT NULL,
    next INTEGER NOT NULL,
    PRIMARY KEY (system_title, key_id)
) WITHOUT ROWID;
"""


class OutboxError(PeerError):
    """The disk refused (full, read-only, locked by another); nothing was changed. Try later."""

    def __init__(self, message: str) -> None:
        """Keep what SQLite said."""
        super().__init__("outbox.unavailable", message, peer="disk")


class OutboxDatabase:
    """
    The connection. Safe from several threads of this process and beside other processes.

    Raises: OutboxError from every call when the disk refuses.
    """

    def __init__(self, path: Path) -> None:
        """Open `path`, making file and tables where they are missing."""
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            path.chmod(0o600)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            # 512 KiB: rows are written once and read once, so more would only be held
            self._connection.execute("PRAGMA cache_size = -512")
            self._connection.executescript(_SCHEMA)
        except (sqlite3.OperationalError, OSError) as error:
            raise OutboxError(f"{path}: {error}") from error

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Hold the one write lock for a transaction; what it changed is on disk on leaving."""
        with self._lock, self._translated():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Give the connection for reading."""
        with self._lock, self._translated():
            yield self._connection

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise OutboxError(str(error)) from error
