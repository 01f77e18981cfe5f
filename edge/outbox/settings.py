"""The book of settings from afar: which revisions came, and which of them holds."""

from dataclasses import dataclass

from edge.outbox.acks import write_ack
from edge.outbox.database import OutboxDatabase
from protocols.mqtt.uplink import Ack

_KEPT = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSettings:
    """An order of settings as it came, signature and all; `taken` unless it was refused."""

    revision: int
    payload: bytes
    taken: bool


class SettingsBook:
    """Orders of settings, the newest of them."""

    def __init__(self, database: OutboxDatabase) -> None:
        """Keep orders in `database`."""
        self._database = database

    def newest(self) -> StoredSettings | None:
        """Return the highest revision that came, taken or not."""
        return self._one("SELECT revision, payload, taken FROM settings_order"
                         " ORDER BY revision DESC LIMIT 1")  # fmt: skip

    def in_force(self) -> StoredSettings | None:
        """Return the highest revision that was taken."""
        return self._one("SELECT revision, payload, taken FROM settings_order"
                         " WHERE taken = 1 ORDER BY revision DESC LIMIT 1")  # fmt: skip

    def enter(self, order: StoredSettings, ack: Ack) -> None:
        """Write an order of a revision not seen before and the ack that tells of it, at once."""
        with self._database.write() as db:
            db.execute(
                "INSERT INTO settings_order (revision, payload, taken) VALUES (?, ?, ?)",
                (order.revision, order.payload, int(order.taken)),
            )
            # what holds stays, however many were refused since
            db.execute(
                "DELETE FROM settings_order WHERE revision <= ? AND revision <"
                " coalesce((SELECT max(revision) FROM settings_order WHERE taken = 1), 0)",
                (order.revision - _KEPT,),
            )
            write_ack(db, ack)

    def refuse(self, ack: Ack) -> None:
        """Queue the ack of an order that changes nothing."""
        with self._database.write() as db:
            write_ack(db, ack)

    def _one(self, query: str) -> StoredSettings | None:
        with self._database.read() as db:
            row = db.execute(query).fetchone()
        if row is None:
            return None
        return StoredSettings(revision=row[0], payload=bytes(row[1]), taken=bool(row[2]))
