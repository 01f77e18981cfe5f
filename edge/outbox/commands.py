"""The book of commands: written before anything is done, so that none is ever done twice."""

import hashlib
import json
from dataclasses import dataclass

from edge.failpoint import reach
from edge.outbox.acks import ReplyTo, write_ack
from edge.outbox.database import OutboxDatabase
from edge.outbox.stages import CommandEvent, next_stage
from protocols.identity import CommandId, MeterId
from protocols.mqtt.downlink import Verb
from protocols.mqtt.uplink import FINAL, Ack, Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCommand:
    """A command as it came, signature and all, and how far it has come."""

    id: CommandId
    meter: MeterId
    verb: Verb
    payload: bytes
    stage: Stage

    def came_as(self, payload: bytes) -> bool:
        """Tell whether it came as these octets; a pruned command knows their digest alone."""
        return self.payload in (payload, digest_of(payload))


def digest_of(payload: bytes) -> bytes:
    """Return what is kept of the octets of a command that ended long ago."""
    return b"sha256:" + hashlib.sha256(payload).digest()


class CommandBook:
    """Every command this agent has been given."""

    def __init__(self, database: OutboxDatabase) -> None:
        """Keep commands in `database`."""
        self._database = database

    def enter(
        self,
        payload: bytes,
        verb: Verb,
        event: CommandEvent,
        ack: Ack,
        reply: ReplyTo | None = None,
    ) -> bool:
        """
        Write a new command with the stage that `event` leads to and the ack that tells it.

        `reply` is where its acks are wanted beside the usual place, for as long as it is known.
        Returns False when the id is known: then nothing is changed.
        """
        stage = next_stage(None, event, verb)
        assert stage is not None
        assert stage is ack.stage, f"{event} leads to {stage}, the ack tells {ack.stage}"
        with self._database.write() as db:
            entered = db.execute(
                "INSERT INTO command (id, meter, verb, payload, stage) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (id) DO NOTHING",
                (ack.id, ack.meter, verb.value, payload, stage.value),
            ).rowcount
            if entered:
                write_ack(db, ack)
            if entered and reply is not None:
                db.execute(
                    "INSERT INTO reply (id, topic, correlation) VALUES (?, ?, ?)",
                    (ack.id, reply.topic, reply.correlation),
                )
        return bool(entered)

    def advance(self, event: CommandEvent, ack: Ack) -> bool:
        """
        Move a command along its table and queue the ack, in one transaction.

        Returns False, with nothing changed, when the table has no such move. This is what makes a
        `go` work once: of two, only the first finds the command waiting for it.
        """
        with self._database.write() as db:
            row = db.execute("SELECT stage, verb FROM command WHERE id = ?", (ack.id,)).fetchone()
            if row is None:
                return False
            stage = next_stage(Stage(row[0]), event, Verb(row[1]))
            if stage is None:
                return False
            assert stage is ack.stage, f"{event} leads to {stage}, the ack tells {ack.stage}"
            db.execute("UPDATE command SET stage = ? WHERE id = ?", (stage.value, ack.id))
            write_ack(db, ack)
        reach("edge.after_stage")
        return True

    def find(self, id_: CommandId) -> StoredCommand | None:
        """Return the command of that id."""
        with self._database.read() as db:
            row = db.execute(
                "SELECT id, meter, verb, payload, stage FROM command WHERE id = ?", (id_,)
            ).fetchone()
        return _command(row) if row else None

    def still_open(self) -> list[StoredCommand]:
        """Return the commands without an end."""
        with self._database.read() as db:
            # in the order in which they came: tokens of one meter keep theirs
            rows = db.execute(
                "SELECT id, meter, verb, payload, stage FROM command"
                " ORDER BY (SELECT min(n) FROM ack WHERE ack.id = command.id)"
            ).fetchall()
        return [item for item in map(_command, rows) if item.stage not in FINAL]

    def note_token(self, meter: MeterId, opaque: bytes, id_: CommandId) -> bool:
        """Note that a command hands a token over; False when another command did so before."""
        digest = hashlib.sha256(opaque).digest()
        with self._database.write() as db:
            db.execute(
                "INSERT INTO token (meter, digest, command) VALUES (?, ?, ?)"
                " ON CONFLICT (meter, digest) DO NOTHING",
                (meter, digest, id_),
            )
            (owner,) = db.execute(
                "SELECT command FROM token WHERE meter = ? AND digest = ?", (meter, digest)
            ).fetchone()
        return bool(owner == id_)

    def forget_token(self, meter: MeterId, opaque: bytes, id_: CommandId) -> None:
        """Forget that a command handed a token over: the meter has surely not taken it."""
        digest = hashlib.sha256(opaque).digest()
        with self._database.write() as db:
            db.execute(
                "DELETE FROM token WHERE meter = ? AND digest = ? AND command = ?",
                (meter, digest, id_),
            )

    def prune(self, kept: int) -> int:
        """
        Shrink ended commands but the newest `kept`; return how many were shrunk.

        Of each remain its id, a digest of its octets and its last ack, so that a replay is still
        answered and never obeyed. What the cloud has not receipted stays whole.
        """
        finals = json.dumps(sorted(stage.value for stage in FINAL))
        with self._database.write() as db:
            rows = db.execute(
                "SELECT id, payload FROM command"
                " WHERE stage IN (SELECT value FROM json_each(?))"
                " AND length(payload) > 39 AND NOT EXISTS"
                " (SELECT 1 FROM ack WHERE ack.id = command.id AND receipted = 0)"
                " ORDER BY (SELECT max(n) FROM ack WHERE ack.id = command.id) DESC"
                " LIMIT -1 OFFSET ?",
                (finals, kept),
            ).fetchall()
            for id_, payload in rows:
                db.execute("UPDATE command SET payload = ? WHERE id = ?", (digest_of(payload), id_))
                db.execute("DELETE FROM reply WHERE id = ?", (id_,))
                db.execute(
                    "DELETE FROM ack WHERE id = ?1 AND n < (SELECT max(n) FROM ack WHERE id = ?1)",
                    (id_,),
                )
        return len(rows)

    def tell_again(self, id_: CommandId) -> None:
        """Queue the latest ack of a command once more: the answer to a replay."""
        with self._database.write() as db:
            db.execute(
                "UPDATE ack SET receipted = 0 WHERE n = (SELECT max(n) FROM ack WHERE id = ?)",
                (id_,),
            )


def _command(row: tuple[str, str, str, bytes, str]) -> StoredCommand:
    id_, meter, verb, payload, stage = row
    return StoredCommand(
        id=CommandId(id_),
        meter=MeterId(meter),
        verb=Verb(verb),
        payload=payload,
        stage=Stage(stage),
    )
