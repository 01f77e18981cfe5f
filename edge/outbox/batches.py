"""The queue of batches: numbered without gaps, kept until the receipt."""

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edge.acquire.driver import EventMark
from edge.acquire.plan import Coverage
from edge.failpoint import reach
from edge.outbox.coverage import write_coverage
from edge.outbox.database import OutboxDatabase
from edge.outbox.event_marks import write_event_mark
from protocols.identity import MeterId

_OLDEST_SHARE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBatch:
    """A batch as it goes on the wire, the same octets every time."""

    boot: int
    seq: int
    content_type: str
    payload: bytes

    @property
    def key(self) -> tuple[int, int]:
        """Return what a receipt names."""
        return (self.boot, self.seq)


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """What a builder made for one batch number."""

    rows: int
    content_type: str
    payload: bytes


class BatchQueue:
    """
    Batches that the cloud has not yet receipted.

    `boot` is drawn anew when the file holds no batch, and always grows; `seq` counts from 1
    without gaps within a boot, because number and batch are written in one transaction.
    """

    def __init__(self, database: OutboxDatabase, *, wall_ms: int) -> None:
        """Continue the boot of a file with waiting batches, else begin a new one."""
        self._database = database
        with database.write() as db:
            row = db.execute("SELECT boot FROM boot").fetchone()
            (waiting,) = db.execute("SELECT count(*) FROM batch").fetchone()
            if row is None:
                db.execute("INSERT INTO boot (only, boot, last_seq) VALUES (1, ?, 0)", (wall_ms,))
            elif waiting == 0:
                db.execute("UPDATE boot SET boot = ?, last_seq = 0", (max(wall_ms, row[0] + 1),))
            (self.boot,) = db.execute("SELECT boot FROM boot").fetchone()
        self._waiting = int(waiting)

    @property
    def waiting(self) -> int:
        """Return how many batches have no receipt."""
        return self._waiting

    def append(
        self,
        build: Callable[[int, int], Encoded],
        coverage: Mapping[MeterId, Coverage],
        event_marks: Mapping[MeterId, EventMark] | None = None,
    ) -> StoredBatch:
        """
        Store the batch that `build(boot, seq)` makes, and how far profile and logs are now read.

        One transaction: after a crash either both are there or neither, and the meter is read
        again. Raises: OutboxError, with nothing changed.
        """
        with self._database.write() as db:
            boot, last = db.execute("SELECT boot, last_seq FROM boot").fetchone()
            seq = last + 1
            made = build(boot, seq)
            db.execute(
                "INSERT INTO batch (boot, seq, rows, content_type, payload) VALUES (?, ?, ?, ?, ?)",
                (boot, seq, made.rows, made.content_type, made.payload),
            )
            db.execute("UPDATE boot SET last_seq = ?", (seq,))
            for meter, covered in coverage.items():
                write_coverage(db, meter, covered)
            for meter, mark in (event_marks or {}).items():
                write_event_mark(db, meter, mark)
            reach("edge.before_commit")
        self._waiting += 1
        return StoredBatch(boot=boot, seq=seq, content_type=made.content_type, payload=made.payload)

    def choose(self, room: int, under_way: set[tuple[int, int]]) -> list[StoredBatch]:
        """
        Return up to `room` batches to send next, none of them in `under_way`.

        Newest first, for people are watching; every fourth is the oldest, so that a backlog
        drains however fast new batches come.
        """
        if room < 1:
            return []
        oldest_room = room // _OLDEST_SHARE
        with self._database.read() as db:
            limit = room + len(under_way)
            newest = _keys(db, "DESC", limit, under_way)
            oldest = _keys(db, "ASC", limit, under_way) if oldest_room else []
            chosen = list(dict.fromkeys([*newest[: room - oldest_room], *oldest[:oldest_room]]))
            return [_load(db, key) for key in chosen]

    def release(self, boot: int, seq: int) -> bool:
        """Delete a receipted batch; False when there is none such, as with a repeated receipt."""
        with self._database.write() as db:
            gone = db.execute("DELETE FROM batch WHERE boot = ? AND seq = ?", (boot, seq)).rowcount
        reach("edge.after_delete")
        self._waiting -= gone
        return bool(gone)


def _keys(
    db: sqlite3.Connection, order: str, limit: int, under_way: set[tuple[int, int]]
) -> list[tuple[int, int]]:
    statement = {
        "ASC": "SELECT boot, seq FROM batch ORDER BY boot ASC, seq ASC LIMIT ?",
        "DESC": "SELECT boot, seq FROM batch ORDER BY boot DESC, seq DESC LIMIT ?",
    }[order]
    return [key for key in db.execute(statement, (limit,)).fetchall() if key not in under_way]


def _load(db: sqlite3.Connection, key: tuple[int, int]) -> StoredBatch:
    content_type, payload = db.execute(
        "SELECT content_type, payload FROM batch WHERE boot = ? AND seq = ?", key
    ).fetchone()
    return StoredBatch(boot=key[0], seq=key[1], content_type=content_type, payload=payload)
