"""The queue of acks: what became of each command, told until the cloud says it is stored."""

import sqlite3
from dataclasses import dataclass

from edge.outbox.database import OutboxDatabase
from protocols.identity import CommandId
from protocols.mqtt import envelope
from protocols.mqtt.uplink import Ack, Stage, ack_from_plain, ack_to_plain


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyTo:
    """Where the acks of a command are wanted beside `up/ack`, and what to send along."""

    topic: str
    correlation: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAck:
    """An ack as it goes on the wire; `n` orders them as they came to be."""

    n: int
    payload: bytes
    reply: ReplyTo | None = None


class AckQueue:
    """Acks without receipt."""

    def __init__(self, database: OutboxDatabase) -> None:
        """Keep acks in `database`."""
        self._database = database

    def unreceipted(self, limit: int = 100) -> list[StoredAck]:
        """Return acks to tell, oldest first."""
        with self._database.read() as db:
            rows = db.execute(
                "SELECT ack.n, ack.payload, reply.topic, reply.correlation"
                " FROM ack LEFT JOIN reply ON reply.id = ack.id"
                " WHERE receipted = 0 ORDER BY ack.n LIMIT ?",
                (limit,),
            ).fetchall()
        return [
            StoredAck(
                n=n,
                payload=payload,
                reply=None if topic is None else ReplyTo(topic=topic, correlation=correlation),
            )
            for n, payload, topic, correlation in rows
        ]

    def release(self, id_: CommandId, stage: Stage) -> bool:
        """Note the receipt of an ack; False when it was noted before or never made."""
        with self._database.write() as db:
            return bool(
                db.execute(
                    "UPDATE ack SET receipted = 1 WHERE id = ? AND stage = ? AND receipted = 0",
                    (id_, stage.value),
                ).rowcount
            )

    def of(self, id_: CommandId) -> list[Ack]:
        """Return every ack of a command, in order."""
        with self._database.read() as db:
            rows = db.execute("SELECT payload FROM ack WHERE id = ? ORDER BY n", (id_,)).fetchall()
        return [ack_from_plain(envelope.decode(row[0], envelope.CBOR)) for row in rows]


def write_ack(db: sqlite3.Connection, ack: Ack) -> None:
    """Queue an ack within the caller's transaction; the first of its kind stands."""
    db.execute(
        "INSERT INTO ack (id, stage, payload) VALUES (?, ?, ?) ON CONFLICT (id, stage) DO NOTHING",
        (ack.id, ack.stage.value, envelope.encode(ack_to_plain(ack), envelope.CBOR)),
    )
