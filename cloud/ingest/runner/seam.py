"""
The seam to the ingest service: records of the log go in, outcomes come out, places are kept.

The place of a partition moves in the transaction that stores its records, or not at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cloud.ingest import service
from cloud.ingest.model import Arrival, StoreOutcome
from cloud.ingest.runner import store
from cloud.ingest.service import POISONED, Alongside, Derive, Policy
from cloud.store.db import Connection, Database
from protocols.mqtt.topics import concentrator_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A record as it was read: `arrival` is None where it is none of ours and is passed over."""

    partition: int
    offset: int
    arrival: Arrival | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """Which log places are counted in."""

    cluster: str
    topic: str


def store_taken(
    db: Database, taken: Sequence[Taken], *, log: Log, now: datetime, derive: Derive, policy: Policy
) -> list[StoreOutcome]:
    """
    Store what was read together in one transaction, with the places behind it.

    Raises: whatever a record does to the service; nothing is stored then.
    """
    beside = _beside(log, taken, now)
    arrivals = [item.arrival for item in taken if item.arrival is not None]
    if arrivals:
        return service.store_batches(db, arrivals, derive=derive, policy=policy, alongside=beside)
    with db.transaction() as conn:
        beside(conn)
    return []


def give_up(
    db: Database, item: Taken, error: Exception, *, log: Log, now: datetime
) -> StoreOutcome:
    """Keep the octets of a record that breaks the code, with its cause, and go past it."""
    assert item.arrival is not None
    return service.quarantine_payload(
        db, item.arrival, cause=POISONED, detail=f"{type(error).__name__} while storing",
        concentrator=concentrator_of(item.arrival.topic), alongside=_beside(log, [item], now),
    )  # fmt: skip


def places(db: Database, log: Log) -> dict[int, int]:
    """Return per partition the first record that is not stored."""
    with db.transaction() as conn:
        return store.positions(conn, log.cluster, log.topic)


def restart(db: Database, log: Log, partition: int, next_offset: int, *, now: datetime) -> None:
    """Set the place of a partition whose topic was made anew."""
    with db.transaction() as conn:
        store.restart(conn, log.cluster, log.topic, partition, next_offset, now=now)


def _beside(log: Log, taken: Sequence[Taken], now: datetime) -> Alongside:
    next_offsets: dict[int, int] = {}
    for item in taken:
        next_offsets[item.partition] = max(next_offsets.get(item.partition, 0), item.offset + 1)
    ordered = dict(sorted(next_offsets.items()))

    def write(conn: Connection) -> None:
        store.advance(conn, log.cluster, log.topic, ordered, now=now)

    return write
