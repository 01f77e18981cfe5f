"""A payload becomes rows and quarantine in one transaction, then a receipt."""

import hashlib

from cloud.ingest import store
from cloud.ingest.model import Arrival, BatchAccount, StoreOutcome
from cloud.ingest.service.taking import locked, take
from cloud.ingest.service.terms import (
    DEFAULT_POLICY,
    FOREIGN,
    REUSED,
    Alongside,
    Derive,
    Policy,
)
from cloud.store.db import Connection, Database
from protocols.errors import PeerError
from protocols.identity import BatchId, ConcentratorId
from protocols.mqtt import envelope
from protocols.mqtt.receipt import BatchReceipt, Custody
from protocols.mqtt.topics import concentrator_of
from protocols.mqtt.uplink import batch_from_plain


def store_batch(
    db: Database,
    arrival: Arrival,
    *,
    derive: Derive,
    policy: Policy = DEFAULT_POLICY,
    alongside: Alongside | None = None,
) -> StoreOutcome:
    """
    Take custody of a payload: rows, or quarantine with octets and cause, committed on return.

    `alongside` writes in the same transaction, whatever becomes of the payload.
    The receipt in the outcome may be sent at once. A payload that came before gets the same one.
    Raises: PeerError `mqtt.topic`; TransientDatabaseError when nothing or everything was stored.
    """
    concentrator = concentrator_of(arrival.topic)
    digest = hashlib.sha256(arrival.payload).digest()
    try:
        batch = batch_from_plain(envelope.decode(arrival.payload, arrival.content_type))
        if batch.id.concentrator != concentrator:
            raise PeerError(FOREIGN, f"{concentrator} sent a batch of {batch.id.concentrator}")
    except PeerError as error:
        return quarantine_payload(
            db, arrival, cause=error.code, detail=error.message, concentrator=concentrator,
            alongside=alongside,
        )  # fmt: skip
    with db.transaction() as conn:
        if alongside is not None:
            alongside(conn)
        installed = locked(conn, concentrator, batch.meters)
        known = store.batch(conn, batch.id)
        if known is not None:
            return _again(conn, arrival, batch.id, digest, known)
        taken = take(conn, batch, installed, arrival, policy)
        if taken.refused:
            store.insert_payload(conn, digest, arrival)
            store.quarantine_rows(
                conn, batch.id, digest=digest, rows=taken.refused, received_at=arrival.now
            )
        store.insert_batch(
            conn,
            batch.id,
            digest=digest,
            custody=Custody.STORED,
            made_at=batch.made_at,
            arrival=arrival,
            account=taken.account,
        )
        live = derive(conn, taken.stored, arrival.now, arrival.wall_now)
    return StoreOutcome(
        concentrator=concentrator,
        receipt=BatchReceipt(boot=batch.id.boot, seq=batch.id.seq),
        account=taken.account,
        live=live,
    )


def quarantine_payload(
    db: Database,
    arrival: Arrival,
    *,
    cause: str,
    detail: str,
    concentrator: ConcentratorId,
    alongside: Alongside | None = None,
) -> StoreOutcome:
    """Keep a payload as a whole with its cause; the receipt names the batch if the sender did."""
    digest = hashlib.sha256(arrival.payload).digest()
    id_ = arrival.hint
    with db.transaction() as conn:
        if alongside is not None:
            alongside(conn)
        store.lock_concentrators(conn, [concentrator])
        known = store.batch(conn, id_) if id_ is not None else None
        if known is not None and id_ is not None and known[0] == digest:
            return _repeat(concentrator, id_, known[1], known[2])
        store.insert_payload(conn, digest, arrival)
        store.quarantine_payload(
            conn, concentrator, id_, cause=cause, detail=detail, digest=digest,
            received_at=arrival.now,
        )  # fmt: skip
        if id_ is not None and known is None:
            store.insert_batch(
                conn, id_, digest=digest, custody=Custody.QUARANTINED, made_at=None,
                arrival=arrival, account=BatchAccount(),
            )  # fmt: skip
    receipt = None
    if id_ is not None:
        receipt = BatchReceipt(boot=id_.boot, seq=id_.seq, custody=Custody.QUARANTINED)
    return StoreOutcome(concentrator=concentrator, receipt=receipt, cause=cause)


def _repeat(
    concentrator: ConcentratorId, id_: BatchId, custody: Custody, account: BatchAccount
) -> StoreOutcome:
    return StoreOutcome(
        concentrator=concentrator,
        receipt=BatchReceipt(boot=id_.boot, seq=id_.seq, custody=custody),
        repeated=True,
        account=account,
    )


def _again(
    conn: Connection,
    arrival: Arrival,
    id_: BatchId,
    digest: bytes,
    known: tuple[bytes, Custody, BatchAccount],
) -> StoreOutcome:
    stored_digest, custody, account = known
    outcome = _repeat(id_.concentrator, id_, custody, account)
    if stored_digest == digest:
        return outcome
    store.insert_payload(conn, digest, arrival)
    store.quarantine_payload(
        conn, id_.concentrator, id_, cause=REUSED, digest=digest, received_at=arrival.now,
        detail=f"batch {id_} is stored with other content",
    )  # fmt: skip
    return StoreOutcome(
        concentrator=id_.concentrator, receipt=outcome.receipt, cause=REUSED, account=account
    )
