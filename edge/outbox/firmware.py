"""Which order's image each meter holds, and how far it has come there."""

from enum import StrEnum

from edge.outbox.database import OutboxDatabase
from protocols.identity import CommandId, MeterId


class ImageStep(StrEnum):
    """How far an image has come in its meter."""

    SENDING = "sending"
    VERIFIED = "verified"
    ACTIVATED = "activated"


class FirmwareBook:
    """One image a meter: a later one takes the earlier one's place there and here."""

    def __init__(self, database: OutboxDatabase) -> None:
        """Keep it in `database`."""
        self._database = database

    def note(self, meter: MeterId, order: CommandId, step: ImageStep) -> None:
        """Keep that the image of `order` has come so far in its meter; on disk at once."""
        with self._database.write() as db:
            db.execute(
                "INSERT INTO firmware (meter, id, step) VALUES (?, ?, ?)"
                " ON CONFLICT (meter) DO UPDATE SET id = excluded.id, step = excluded.step",
                (meter, order, step.value),
            )

    def of(self, meter: MeterId, order: CommandId) -> ImageStep | None:
        """Return how far the image of `order` is; None when another, or none, is in the meter."""
        with self._database.read() as db:
            row = db.execute(
                "SELECT step FROM firmware WHERE meter = ? AND id = ?", (meter, order)
            ).fetchone()
        return ImageStep(row[0]) if row else None
