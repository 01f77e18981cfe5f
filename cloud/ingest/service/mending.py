"""What people do with the quarantine: judge a thing once more, or dismiss it; what is in it."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cloud.ingest import store
from cloud.ingest.model import Arrival, BatchAccount, QuarantineItem, QuarantineState, Refusal
from cloud.ingest.rules import admission
from cloud.ingest.service.taking import Taken, judged, locked, take, write
from cloud.ingest.service.terms import DEFAULT_POLICY, FOREIGN, Derive, Policy
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
    with db.transaction() as conn:
        found = store.lock_quarantine(conn, id_)
        if found is None:
            raise RefusedError(Refusal.UNKNOWN, f"nothing in quarantine is numbered {id_}")
        item, octets, content_type, topic = found
        if item.state is not QuarantineState.OPEN:
            raise RefusedError(Refusal.SETTLED, f"item {id_} is {item.state.value} already")
        if item.row is not None:
            taken = _take_row(conn, item, item.row, now, policy)
        else:
            arrival = Arrival(
                payload=octets, content_type=content_type, topic=topic, hint=None, now=now,
                wall_now=wall_now,
            )  # fmt: skip
            taken = _take_payload(conn, item, arrival, policy)
        derive(conn, taken.stored, now, wall_now)
        store.settle_quarantine(conn, id_, state=QuarantineState.REDRIVEN, at=now, by=actor)
        audit.record(
            conn, at=now, actor=actor, action="ingest.redrive", entity="quarantine",
            entity_id=str(id_), before={"cause": item.cause},
            after={"stored": taken.account.stored},
        )  # fmt: skip
    return taken.account


def dismiss(db: Database, id_: int, *, actor: str, reason: str, now: datetime) -> None:
    """Settle a quarantined thing as never to be stored. Raises: RefusedError UNKNOWN, SETTLED."""
    with db.transaction() as conn:
        found = store.lock_quarantine(conn, id_)
        if found is None:
            raise RefusedError(Refusal.UNKNOWN, f"nothing in quarantine is numbered {id_}")
        if found[0].state is not QuarantineState.OPEN:
            raise RefusedError(Refusal.SETTLED, f"item {id_} is {found[0].state.value} already")
        store.settle_quarantine(conn, id_, state=QuarantineState.DISMISSED, at=now, by=actor)
        audit.record(
            conn, at=now, actor=actor, action="ingest.dismiss", entity="quarantine",
            entity_id=str(id_), before={"cause": found[0].cause}, reason=reason,
        )  # fmt: skip


def quarantined(
    conn: Connection, *, state: QuarantineState = QuarantineState.OPEN, limit: int = 200
) -> list[QuarantineItem]:
    """Return what is in quarantine, newest first."""
    return store.quarantine_list(conn, state, limit)


def quarantine_counts(conn: Connection) -> dict[tuple[str, str], int]:
    """Return how many items there are per (cause, state)."""
    return store.quarantine_counts(conn)


def _take_row(
    conn: Connection, item: QuarantineItem, row: Mapping[str, Any], now: datetime, policy: Policy
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
    installed = locked(conn, item.concentrator, meters)
    sheet = judged(conn, batch, installed, now, policy)
    refused = admission.refused_rows(sheet)
    if refused:
        cause, detail, _ = refused[0]
        raise RefusedError(Refusal.STILL_WRONG, f"{cause}: {detail}", fix="mend the cause first")
    return Taken(
        account=admission.account_of(sheet, reports=0, reports_quarantined=0),
        stored=write(conn, batch.id, sheet, installed),
        refused=[],
    )


def _take_payload(
    conn: Connection, item: QuarantineItem, arrival: Arrival, policy: Policy
) -> Taken:
    try:
        batch = batch_from_plain(envelope.decode(arrival.payload, arrival.content_type))
        if batch.id.concentrator != item.concentrator:
            raise PeerError(FOREIGN, f"the batch names {batch.id.concentrator}")
    except PeerError as error:
        raise RefusedError(Refusal.STILL_WRONG, str(error), fix="mend the cause first") from error
    installed = locked(conn, item.concentrator, batch.meters)
    taken = take(conn, batch, installed, arrival, policy)
    if not store.batch_takes_rows(conn, batch.id, taken.account):
        raise RefusedError(
            Refusal.STILL_WRONG, f"batch {batch.id} is stored with other content",
            fix="dismiss this payload",
        )  # fmt: skip
    if taken.refused:
        digest = hashlib.sha256(arrival.payload).digest()
        store.quarantine_rows(
            conn, batch.id, digest=digest, rows=taken.refused, received_at=arrival.now
        )
    return taken
