"""The book of commands: written before anything is done, so that none is ever done twice."""

from dataclasses import dataclass

from edge.failpoint import reach
from edge.outbox.acks import write_ack
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


class CommandBook:
    """Every command this agent has been given."""

    def __init__(self, database: OutboxDatabase) -> None:
        """Keep commands in `database`."""
        self._database = database

    def enter(self, payload: bytes, verb: Verb, event: CommandEvent, ack: Ack) -> bool:
        """
        Write a new command with the stage that `event` leads to and the ack that tells it.

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
            rows = db.execute("SELECT id, meter, verb, payload, stage FROM command").fetchall()
        return [item for item in map(_command, rows) if item.stage not in FINAL]

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
