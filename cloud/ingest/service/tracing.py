"""Where one reading came from and what became of it: its home, its batch, what was refused."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cloud.ingest.model import QuarantineItem
from cloud.ingest.store import stream as store
from cloud.ingest.store.stream import BatchRecord, Home
from cloud.store.db import Connection
from protocols.identity import MeterId
from protocols.reading import Channel

_MOST_REFUSED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """
    One reading of one meter, as far as ingest knows of it.

    `home` is None where nothing was stored under that key, `batch` where its batch has no record.
    `refused` are other tellings of the same meter and instant that were not believed.
    """

    meter: MeterId
    channel: Channel
    at: datetime
    home: Home | None
    batch: BatchRecord | None
    refused: Sequence[QuarantineItem]


def trace(conn: Connection, meter: MeterId, channel: Channel, at: datetime) -> Trace:
    """Return where the reading of a meter at one instant came from."""
    home = store.reading_named(conn, meter, int(channel), at)
    return Trace(
        meter=meter, channel=channel, at=at, home=home,
        batch=store.batch_numbered(conn, home.batch) if home else None,
        refused=store.refused_readings(conn, meter, at, limit=_MOST_REFUSED),
    )  # fmt: skip


__all__ = ["BatchRecord", "Home", "Trace", "trace"]
