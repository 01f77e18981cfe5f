"""What people do with the quarantine: judge a thing once more, or dismiss it; what is in it."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cloud.ingest.model import Arrival, BatchAccount, QuarantineItem, QuarantineState, Refusal
from cloud.ingest.rules import admission
from cloud.ingest.service.books import Shelf, shelf_of
from cloud.ingest.service.intake import write_account
from cloud.ingest.service.locking import locked_books
from cloud.ingest.service.taking import Entry, Taken, take
from cloud.ingest.service.terms import DEFAULT_POLICY, FOREIGN, Derive, Policy
from cloud.ingest.store import batches as store
from cloud.ingest.store import quarantine
from cloud.store import audit
from cloud.store.db import Connection, Database
from protocols.errors import PeerError, RefusedError
from protocols.identity import BatchId
from protocols.mqtt import envelope
from protocols.mqtt.uplink import DataBatch, batch_from_plain


def redrive(
    db: Database,
    id_: int,
    *,
    actor: str,
    now: datetime,
    wall_now: datetime,
    derive: Derive,
    policy: Policy = DEFAULT_POLICY,
) -> BatchAccount:
    """
    Judge a quarantined row or payload once more, after its cause was mended, and store it.

    Raises: RefusedError UNKNOWN, SETTLED, or STILL_WRONG with the cause; nothing changes then.
    """
    shelf = shelf_of(db)
    concentrator = None
    try:
        with db.transaction() as conn:
            item, octets, content_type, topic = _locked_item(conn, id_)
            concentrator = item.concentrator
            arrival = Arrival(
                payload=octets, content_type=content_type, topic=topic, hint=None, now=now,
                wall_now=wall_now,
            )  # fmt: skip
            if item.row is not None:
                taken = _take_row(conn, shelf, item, item.row, arrival=arrival, policy=policy)
            else:
                taken = _take_payload(conn, shelf, item, arrival, policy)
            derive(conn, taken.stored, now, wall_now)
            quarantine.settle_quarantine(
                conn, id_, state=QuarantineState.REDRIVEN, at=now, by=actor
            )
            audit.record(
                conn, at=now, actor=actor, action="ingest.redrive", entity="quarantine",
                entity_id=str(id_), before={"cause": item.cause},
                after={"stored": taken.accounts[0].stored},
            )  # fmt: skip
    except BaseException:
        if concentrator is not None:
            shelf.forget([concentrator])
        raise
    return taken.accounts[0]


def dismiss(db: Database, id_: int, *, actor: str, reason: str, now: datetime) -> None:
    """Settle a quarantined thing as never to be stored. Raises: RefusedError UNKNOWN, SETTLED."""
    with db.transaction() as conn:
        item, *_ = _locked_item(conn, id_)
        quarantine.settle_quarantine(conn, id_, state=QuarantineState.DISMISSED, at=now, by=actor)
        audit.record(
            conn, at=now, actor=actor, action="ingest.dismiss", entity="quarantine",
            entity_id=str(id_), before={"cause": item.cause}, reason=reason,
        )  # fmt: skip


def quarantined(
    conn: Connection, *, state: QuarantineState = QuarantineState.OPEN, limit: int = 200
) -> list[QuarantineItem]:
    """Return what is in quarantine, newest first."""
    return quarantine.quarantine_list(conn, state, limit)


def quarantine_counts(conn: Connection) -> dict[tuple[str, str], int]:
    """Return how many items there are per (cause, state)."""
    return quarantine.quarantine_counts(conn)


def _locked_item(conn: Connection, id_: int) -> tuple[QuarantineItem, bytes, str, str]:
    """Return an open item with octets, content type and topic, locked until commit."""
    found = quarantine.lock_quarantine(conn, id_)
    if found is None:
        raise RefusedError(Refusal.UNKNOWN, f"nothing in quarantine is numbered {id_}")
    if found[0].state is not QuarantineState.OPEN:
        raise RefusedError(Refusal.SETTLED, f"item {id_} is {found[0].state.value} already")
    return found


def _take_row(
    conn: Connection,
    shelf: Shelf,
    item: QuarantineItem,
    row: Mapping[str, Any],
    *,
    arrival: Arrival,
    policy: Policy,
) -> Taken:
    if "raw" not in row or item.boot is None or item.seq is None:
        raise RefusedError(
            Refusal.STILL_WRONG, "a switch report or event is history; it cannot be stored later",
            fix="dismiss it",
        )  # fmt: skip
    meters, columns = admission.columns_of_row(row)
    batch = DataBatch(
        id=BatchId(concentrator=item.concentrator, boot=item.boot, seq=item.seq),
        made_at=item.received_at, meters=meters, columns=columns,
    )  # fmt: skip
    taken = _take_alone(conn, shelf, batch, arrival, policy)
    if taken.refused[0]:
        cause, detail, _ = taken.refused[0][0]
        raise RefusedError(Refusal.STILL_WRONG, f"{cause}: {detail}", fix="mend the cause first")
    return taken


def _take_payload(
    conn: Connection, shelf: Shelf, item: QuarantineItem, arrival: Arrival, policy: Policy
) -> Taken:
    try:
        batch = batch_from_plain(envelope.decode(arrival.payload, arrival.content_type))
        if batch.id.concentrator != item.concentrator:
            raise PeerError(FOREIGN, f"the batch names {batch.id.concentrator}")
    except PeerError as error:
        raise RefusedError(Refusal.STILL_WRONG, str(error), fix="mend the cause first") from error
    taken = _take_alone(conn, shelf, batch, arrival, policy)
    if not store.batch_takes_rows(conn, batch.id, taken.accounts[0]):
        raise RefusedError(
            Refusal.STILL_WRONG, f"batch {batch.id} is stored with other content",
            fix="dismiss this payload",
        )  # fmt: skip
    return taken


def _take_alone(
    conn: Connection, shelf: Shelf, batch: DataBatch, arrival: Arrival, policy: Policy
) -> Taken:
    """Take a batch that stands in `ingest.batch` already; what is refused goes to quarantine."""
    books = locked_books(conn, shelf, [batch.id.concentrator], [batch])
    known = store.known_batches(conn, [batch.id]).get(batch.id)
    if known is None:
        raise RefusedError(
            Refusal.STILL_WRONG, f"batch {batch.id} never came as a batch",
            fix="dismiss it; its concentrator sends it again",
        )  # fmt: skip
    entry = Entry(
        arrival=arrival, batch=batch, digest=hashlib.sha256(arrival.payload).digest(),
        no=known.no, book=books[batch.id.concentrator],
    )  # fmt: skip
    taken = take(conn, [entry], policy)
    write_account(conn, [entry], taken)
    return taken
