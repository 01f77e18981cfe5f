"""
Payloads become rows and quarantine in one transaction, then receipts.

Many payloads share a transaction. They are decoded before it begins; what cannot be decoded goes to
quarantine whole. A payload that makes storing fail for a reason of its own is found by storing each
under a savepoint, and only that one goes to quarantine.
"""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cloud.ingest.model import NOTHING_LIVE, Arrival, BatchAccount, StoreOutcome
from cloud.ingest.rules.book import Book
from cloud.ingest.service.books import Shelf, shelf_of
from cloud.ingest.service.days import open_days_ahead
from cloud.ingest.service.locking import MoreLocksError, locked_books
from cloud.ingest.service.taking import Entry, Taken, take
from cloud.ingest.service.terms import (
    DEFAULT_POLICY,
    FOREIGN,
    POISONED,
    REUSED,
    Alongside,
    Derive,
    Policy,
)
from cloud.ingest.store import batches as store
from cloud.ingest.store import quarantine
from cloud.ingest.store.batches import KnownBatch, NewBatch
from cloud.store.db import Connection, Database, TransientDatabaseError
from protocols.errors import PeerError
from protocols.identity import BatchId, ConcentratorId
from protocols.mqtt import envelope
from protocols.mqtt.receipt import BatchReceipt, Custody
from protocols.mqtt.topics import concentrator_of
from protocols.mqtt.uplink import DataBatch, batch_from_plain

_ANEW = 5
"""How often a transaction begins anew because meters moved meanwhile."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    """A payload that was decoded, or why it could not be."""

    arrival: Arrival
    concentrator: ConcentratorId
    digest: bytes
    batch: DataBatch | None = None
    error: PeerError | None = None


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
    (outcome,) = store_batches(db, [arrival], derive=derive, policy=policy, alongside=alongside)
    return outcome


def store_batches(
    db: Database,
    arrivals: Sequence[Arrival],
    *,
    derive: Derive,
    policy: Policy = DEFAULT_POLICY,
    alongside: Alongside | None = None,
) -> list[StoreOutcome]:
    """
    Take custody of many payloads of many concentrators in one transaction; outcomes in their order.

    Of several payloads one that breaks our code is quarantined as POISONED and the others stored;
    a single one raises what it broke. Raises otherwise as `store_batch`.
    """
    opened = [_open(arrival) for arrival in arrivals]
    shelf = shelf_of(db)
    if arrivals:
        _open_days(db, shelf, max(arrival.now for arrival in arrivals))
    try:
        return _in_transaction(db, shelf, opened, derive=derive, policy=policy, alongside=alongside)
    except TransientDatabaseError:
        raise
    except Exception:
        if len(opened) < 2:
            raise
        # which of them it was is found by storing each under a savepoint
        _LOG.exception("ingest.batches.failed", extra={"fields": {"payloads": len(opened)}})
    return _apart(db, shelf, opened, derive=derive, policy=policy, alongside=alongside)


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
    opened = _Opened(
        arrival=arrival, concentrator=concentrator,
        digest=hashlib.sha256(arrival.payload).digest(), error=PeerError(cause, detail),
    )  # fmt: skip
    with db.transaction() as conn:
        if alongside is not None:
            alongside(conn)
        store.lock_concentrators(conn, [concentrator])
        return _keep_whole(conn, opened)


def _open_days(db: Database, shelf: Shelf, now: datetime) -> None:
    """Have today and tomorrow open for rows: asked once a day and process."""
    tomorrow = (now.astimezone(UTC) + timedelta(days=1)).date()
    if shelf.opened_until is None or shelf.opened_until < tomorrow:
        open_days_ahead(db, now=now)
        shelf.opened_until = tomorrow


def _open(arrival: Arrival) -> _Opened:
    concentrator = concentrator_of(arrival.topic)
    digest = hashlib.sha256(arrival.payload).digest()
    batch, error = None, None
    try:
        batch = batch_from_plain(envelope.decode(arrival.payload, arrival.content_type))
        if batch.id.concentrator != concentrator:
            raise PeerError(FOREIGN, f"{concentrator} sent a batch of {batch.id.concentrator}")
    except PeerError as found:
        batch, error = None, found
    return _Opened(
        arrival=arrival, concentrator=concentrator, digest=digest, batch=batch, error=error
    )


def _in_transaction(
    db: Database,
    shelf: Shelf,
    opened: Sequence[_Opened],
    *,
    derive: Derive,
    policy: Policy,
    alongside: Alongside | None,
) -> list[StoreOutcome]:
    """Store all or nothing; begin anew when meters moved between asking and locking."""
    for _ in range(_ANEW):
        try:
            with db.transaction() as conn:
                if alongside is not None:
                    alongside(conn)
                return _store(conn, shelf, opened, derive, policy)
        except MoreLocksError:
            continue
        except BaseException:
            shelf.forget([each.concentrator for each in opened])
            raise
    raise TransientDatabaseError("meters keep moving between concentrators; try again")


def _apart(
    db: Database,
    shelf: Shelf,
    opened: Sequence[_Opened],
    *,
    derive: Derive,
    policy: Policy,
    alongside: Alongside | None,
) -> list[StoreOutcome]:
    outcomes = []
    with db.transaction() as conn:
        if alongside is not None:
            alongside(conn)
        store.lock_concentrators(conn, sorted({each.concentrator for each in opened}))
        for each in opened:
            try:
                with conn.transaction():
                    outcomes += _store(conn, shelf, [each], derive, policy)
            except (TransientDatabaseError, MoreLocksError) as error:
                shelf.forget([one.concentrator for one in opened])
                raise TransientDatabaseError("storing was interrupted; try again") from error
            except Exception as error:  # noqa: BLE001
                # a rim: one payload must neither stop the stream nor be lost
                _LOG.exception("ingest.batch.poisoned")
                shelf.forget([each.concentrator])
                poison = PeerError(POISONED, f"{type(error).__name__} while storing")
                with conn.transaction():
                    outcomes.append(
                        _keep_whole(
                            conn,
                            _Opened(
                                arrival=each.arrival, concentrator=each.concentrator,
                                digest=each.digest, error=poison,
                            ),
                        )
                    )  # fmt: skip
    return outcomes


def _store(
    conn: Connection, shelf: Shelf, opened: Sequence[_Opened], derive: Derive, policy: Policy
) -> list[StoreOutcome]:
    concentrators = sorted({each.concentrator for each in opened})
    batches = [each.batch for each in opened if each.batch is not None]
    books = locked_books(conn, shelf, concentrators, batches)
    outcomes: dict[int, StoreOutcome] = {}
    for chosen in _rounds(opened, books):
        known = store.known_batches(
            conn, [batch.id for n in chosen if (batch := opened[n].batch) is not None]
        )
        fresh = []
        for n in chosen:
            batch = opened[n].batch
            if batch is None:
                outcomes[n] = _keep_whole(conn, opened[n])
            elif batch.id in known:
                outcomes[n] = _again(conn, opened[n], batch.id, known[batch.id])
            else:
                fresh.append(n)
        if fresh:
            found = _take_round(conn, [opened[n] for n in fresh], books, derive, policy)
            outcomes.update(zip(fresh, found, strict=True))
    return [outcomes[n] for n in range(len(opened))]


def _rounds(opened: Sequence[_Opened], books: dict[ConcentratorId, Book]) -> Iterator[list[int]]:
    """Yield payloads that may be judged at once: none twice, none of which another must know."""
    chosen: list[int] = []
    seen: set[BatchId] = set()
    here: set[ConcentratorId] = set()
    for n, each in enumerate(opened):
        kin = books[each.concentrator].kin
        if (each.batch is not None and each.batch.id in seen) or kin & here:
            yield chosen
            chosen, seen, here = [], set(), set()
        chosen.append(n)
        here.add(each.concentrator)
        if each.batch is not None:
            seen.add(each.batch.id)
    if chosen:
        yield chosen


def _take_round(
    conn: Connection,
    opened: Sequence[_Opened],
    books: dict[ConcentratorId, Book],
    derive: Derive,
    policy: Policy,
) -> list[StoreOutcome]:
    entries = [
        Entry(
            arrival=each.arrival, batch=each.batch, digest=each.digest, no=number,
            book=books[each.concentrator],
        )
        for each, number in zip(opened, store.next_numbers(conn, len(opened)), strict=True)
        if each.batch is not None
    ]  # fmt: skip
    taken = take(conn, entries, policy)
    write_account(conn, entries, taken)
    store.insert_batches(
        conn,
        [
            NewBatch(
                no=entry.no, id=entry.batch.id, digest=entry.digest, custody=Custody.STORED,
                made_at=entry.batch.made_at, arrival=entry.arrival, account=account,
            )
            for entry, account in zip(entries, taken.accounts, strict=True)
        ],
    )  # fmt: skip
    live = derive(
        conn, taken.stored,
        max(entry.arrival.now for entry in entries),
        max(entry.arrival.wall_now for entry in entries),
    )  # fmt: skip
    untold = dict(live)
    return [
        StoreOutcome(
            concentrator=entry.book.concentrator,
            receipt=BatchReceipt(boot=entry.batch.id.boot, seq=entry.batch.id.seq),
            account=account,
            live=untold.pop(entry.book.concentrator, NOTHING_LIVE),
        )
        for entry, account in zip(entries, taken.accounts, strict=True)
    ]


def write_account(conn: Connection, entries: Sequence[Entry], taken: Taken) -> None:
    """Put what was refused of each batch into quarantine, with the octets it came in."""
    for entry, refused in zip(entries, taken.refused, strict=True):
        if refused:
            quarantine.insert_payload(conn, entry.digest, entry.arrival)
            quarantine.quarantine_rows(
                conn, entry.batch.id, digest=entry.digest, rows=refused,
                received_at=entry.arrival.now,
            )  # fmt: skip


def _keep_whole(conn: Connection, opened: _Opened) -> StoreOutcome:
    """Quarantine a payload as a whole; the caller holds the concentrator's lock."""
    arrival, id_ = opened.arrival, opened.arrival.hint
    assert opened.error is not None
    known = store.known_batches(conn, [id_]).get(id_) if id_ is not None else None
    if known is not None and id_ is not None and known.digest == opened.digest:
        return _repeat(id_, known)
    quarantine.insert_payload(conn, opened.digest, arrival)
    quarantine.quarantine_payload(
        conn, opened.concentrator, id_, cause=opened.error.code, detail=opened.error.message,
        digest=opened.digest, received_at=arrival.now,
    )  # fmt: skip
    if id_ is not None and known is None:
        (number,) = store.next_numbers(conn, 1)
        store.insert_batches(
            conn,
            [
                NewBatch(
                    no=number, id=id_, digest=opened.digest, custody=Custody.QUARANTINED,
                    made_at=None, arrival=arrival, account=BatchAccount(),
                )
            ],
        )  # fmt: skip
    receipt = None
    if id_ is not None:
        receipt = BatchReceipt(boot=id_.boot, seq=id_.seq, custody=Custody.QUARANTINED)
    return StoreOutcome(concentrator=opened.concentrator, receipt=receipt, cause=opened.error.code)


def _repeat(id_: BatchId, known: KnownBatch) -> StoreOutcome:
    return StoreOutcome(
        concentrator=id_.concentrator,
        receipt=BatchReceipt(boot=id_.boot, seq=id_.seq, custody=known.custody),
        repeated=True,
        account=known.account,
    )


def _again(conn: Connection, opened: _Opened, id_: BatchId, known: KnownBatch) -> StoreOutcome:
    outcome = _repeat(id_, known)
    if known.digest == opened.digest:
        return outcome
    quarantine.insert_payload(conn, opened.digest, opened.arrival)
    quarantine.quarantine_payload(
        conn, id_.concentrator, id_, cause=REUSED, digest=opened.digest,
        received_at=opened.arrival.now, detail=f"batch {id_} is stored with other content",
    )  # fmt: skip
    return StoreOutcome(
        concentrator=id_.concentrator, receipt=outcome.receipt, cause=REUSED,
        account=known.account,
    )  # fmt: skip
