"""
Use cases of ingest: a payload becomes rows and quarantine in one transaction, then a receipt.

Repeats are harmless: a batch is known by (concentrator, boot, seq), a reading by its natural key.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cloud.assets import service as assets
from cloud.assets.model import Installed
from cloud.ingest import store
from cloud.ingest.model import (
    Arrival,
    BatchAccount,
    MeterSeen,
    Momentary,
    QuarantineItem,
    QuarantineState,
    RawSeries,
    Refusal,
    RelayRecord,
    Stored,
    StoreOutcome,
)
from cloud.ingest.rules import admission, alone
from cloud.ingest.rules.admission import Sheet
from cloud.store import audit
from cloud.store.db import Connection, Database
from protocols.errors import PeerError, RefusedError
from protocols.events import EndDeviceEvent
from protocols.identity import BatchId, ConcentratorId, MeterId
from protocols.mqtt import envelope
from protocols.mqtt.live import LiveReading
from protocols.mqtt.receipt import BatchReceipt, Custody
from protocols.mqtt.topics import concentrator_of
from protocols.mqtt.uplink import DataBatch, RelayReport, batch_from_plain
from protocols.reading import Channel
from protocols.timeline import to_ms

Derive = Callable[[Connection, Stored, datetime, datetime], tuple[LiveReading, ...]]
"""
What is derived from new rows before they are committed, given business time and wall time.

Returns the live readings to publish after the commit. See `cloud.usage.service.derive`.
"""

REUSED = "batch.id_reused"
FOREIGN = "batch.foreign_concentrator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """
    How far clocks may be apart before a time is impossible.

    `future`: device ahead of concentrator, or concentrator ahead of us. `slack`: a time stamp late
    against the register it stands with. Drift below that is kept and flagged, never repaired.
    """

    future: timedelta = timedelta(hours=1)
    slack: timedelta = timedelta(hours=1)


DEFAULT_POLICY = Policy()


def store_batch(
    db: Database, arrival: Arrival, *, derive: Derive, policy: Policy = DEFAULT_POLICY
) -> StoreOutcome:
    """
    Take custody of a payload: rows, or quarantine with octets and cause, committed on return.

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
            db, arrival, cause=error.code, detail=error.message, concentrator=concentrator
        )
    with db.transaction() as conn:
        installed = _locked(conn, concentrator, batch.meters)
        known = store.batch(conn, batch.id)
        if known is not None:
            return _again(conn, arrival, batch.id, digest, known)
        taken = _take(conn, batch, installed, arrival, policy)
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
    db: Database, arrival: Arrival, *, cause: str, detail: str, concentrator: ConcentratorId
) -> StoreOutcome:
    """Keep a payload as a whole with its cause; the receipt names the batch if the sender did."""
    digest = hashlib.sha256(arrival.payload).digest()
    id_ = arrival.hint
    with db.transaction() as conn:
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


def totals(conn: Connection) -> dict[str, int]:
    """Return sums over all batches and the number of raw `readings` (invariant R1)."""
    return store.totals(conn)


def missing_batches(conn: Connection) -> dict[tuple[ConcentratorId, int], int]:
    """Return per (concentrator, boot) how many batch numbers are missing, where any is."""
    return store.missing_batches(conn)


def batches_out_of_balance(conn: Connection, *, limit: int = 5) -> list[BatchId]:
    """Return batches whose count of quarantined rows differs from the quarantine (R1)."""
    return store.batches_out_of_balance(conn, limit)


def meters_seen(conn: Connection) -> list[MeterSeen]:
    """Return when each meter was last heard of."""
    return store.meters_seen(conn)


def momentary_of(conn: Connection, meters: Sequence[MeterId]) -> dict[MeterId, Momentary]:
    """Return the newest momentary values of the meters named."""
    return store.momentary_of(conn, meters)


def raw_registers(
    conn: Connection, meter: MeterId, channel: Channel = Channel.IMPORT_WH
) -> RawSeries:
    """Return every stored register of a meter and channel, oldest first."""
    return store.raw_registers(conn, meter, int(channel))


def last_register_times(
    conn: Connection, meters: Sequence[MeterId], channel: Channel = Channel.IMPORT_WH
) -> dict[MeterId, datetime]:
    """Return the device time of the newest register of each meter that has one."""
    return store.last_register_times(conn, meters, int(channel))


def relay_reports(conn: Connection, meters: Sequence[MeterId] | None = None) -> list[RelayRecord]:
    """Return the newest switch report of every meter, or of those named."""
    return store.relay_reports(conn, meters)


def relay_changes(conn: Connection, meter: MeterId, *, limit: int = 50) -> list[RelayRecord]:
    """Return how the switch of a meter moved, newest first."""
    return store.relay_changes(conn, meter, limit)


def events_of(conn: Connection, meter: MeterId, *, limit: int = 50) -> list[EndDeviceEvent]:
    """Return events of a meter, newest first."""
    return store.events_of(conn, meter, limit)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Taken:
    """What a transaction made of a batch or row: its sum, the new rows, and what was refused."""

    account: BatchAccount
    stored: Stored
    refused: list[tuple[str, str, dict[str, Any]]]


def _locked(
    conn: Connection, concentrator: ConcentratorId, meters: Sequence[MeterId]
) -> list[Installed]:
    """Lock every concentrator that may speak of the meters; return their installations."""
    found = assets.installations_of_meters(conn, sorted(set(meters)))
    store.lock_concentrators(conn, [concentrator, *(item.concentrator for item in found)])
    return found


def _take(
    conn: Connection,
    batch: DataBatch,
    installed: Sequence[Installed],
    arrival: Arrival,
    policy: Policy,
) -> _Taken:
    sheet = _judged(conn, batch, installed, arrival.now, policy)
    reports = _note_reports(conn, batch, arrival.now, policy)
    account = admission.account_of(
        sheet,
        reports=len(batch.relays) + len(batch.events),
        reports_quarantined=len(reports),
    )
    return _Taken(
        account=account,
        stored=_write(conn, batch.id, sheet, installed),
        refused=[*admission.refused_rows(sheet), *reports],
    )


def _judged(
    conn: Connection,
    batch: DataBatch,
    installed: Sequence[Installed],
    now: datetime,
    policy: Policy,
) -> Sheet:
    """Judge rows alone and beside what is stored; the caller holds the concentrators' locks."""
    meters, columns = admission.each_once(batch.meters, batch.columns)
    facts = alone.facts_of(meters, installed, batch.id.concentrator)
    verdict, value = alone.judge(columns, facts, now_ms=to_ms(now), future_ms=_ms(policy.future))
    sheet = admission.sheet_of(meters, columns, verdict, value)
    limits = admission.limits_of(facts, _ms(policy.slack))
    for registers in (True, False):
        rows = admission.believable(sheet, registers=registers)
        if not len(rows):
            continue
        fresh = admission.points_of(sheet, rows)
        groups, ids = admission.lookups(sheet, fresh)
        look_up = store.registers_around if registers else store.intervals_between
        beside = look_up(conn, groups, ids)
        admission.compare(sheet, rows, fresh, beside, limits if registers else None)
    return sheet


def _write(conn: Connection, id_: BatchId, sheet: Sheet, installed: Sequence[Installed]) -> Stored:
    registers, intervals = admission.new_registers(sheet), admission.new_intervals(sheet)
    if len(registers.meter):
        store.insert_registers(
            conn,
            id_,
            {
                "meter": admission.names_of(sheet.meters, registers.meter),
                "channel": registers.channel.tolist(), "at_ms": registers.at_ms.tolist(),
                "wh": registers.wh.tolist(), "status": registers.status.tolist(),
                "received_ms": registers.received_ms.tolist(),
            },
        )  # fmt: skip
    if len(intervals.meter):
        store.insert_intervals(
            conn,
            id_,
            {
                "meter": admission.names_of(sheet.meters, intervals.meter),
                "channel": intervals.channel.tolist(), "at_ms": intervals.start_ms.tolist(),
                "seconds": intervals.seconds.tolist(), "wh": intervals.wh.tolist(),
                "status": intervals.status.tolist(),
                "received_ms": intervals.received_ms.tolist(),
            },
        )  # fmt: skip
    momentary, heard = admission.newest_momentary(sheet), admission.heard(sheet)
    if momentary["meter"]:
        store.upsert_momentary(conn, momentary)
    if heard["meter"]:
        store.upsert_meter_seen(conn, heard)
    return Stored(
        meters=sheet.meters,
        installed=tuple(installed),
        registers=registers,
        intervals=intervals,
        heard=frozenset(heard["meter"]),
    )


def _note_reports(
    conn: Connection, batch: DataBatch, now: datetime, policy: Policy
) -> list[tuple[str, str, dict[str, Any]]]:
    """Store switch reports and events of the box and its meters; return the others as refused."""
    reports: list[RelayReport | EndDeviceEvent] = [*batch.relays, *batch.events]
    if not reports:
        return []
    named = sorted({report.meter for report in reports})
    mine = {
        item.meter.id
        for item in assets.installations_of_meters(conn, named)
        if item.concentrator == batch.id.concentrator
    }
    refused: list[tuple[str, str, dict[str, Any]]] = []
    relays: list[RelayReport] = []
    for report in reports:
        # a concentrator is a device too, and may tell of itself; it has no switch
        itself = report.meter == MeterId(batch.id.concentrator) and isinstance(
            report, EndDeviceEvent
        )
        cause = ""
        if report.meter not in mine and not itself:
            cause = "report.foreign_meter"
        elif report.at > now + policy.future:
            cause = "report.time"
        if cause:
            refused.append((cause, f"{report.meter}: not believed", _plain(report)))
        elif isinstance(report, RelayReport):
            relays.append(report)
        else:
            store.note_event(conn, report, now)
    store.note_relays(conn, relays)
    return refused


def _plain(report: RelayReport | EndDeviceEvent) -> dict[str, Any]:
    common = {"meter": report.meter, "at_ms": to_ms(report.at)}
    if isinstance(report, RelayReport):
        return {
            **common, "output_closed": report.relay.output_closed,
            "control_state": int(report.relay.control_state),
            "control_mode": report.relay.control_mode,
        }  # fmt: skip
    return {**common, "event": report.code.value, "origin": report.origin, "detail": report.detail}


def _take_row(
    conn: Connection, item: QuarantineItem, row: Mapping[str, Any], now: datetime, policy: Policy
) -> _Taken:
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
    installed = _locked(conn, item.concentrator, meters)
    sheet = _judged(conn, batch, installed, now, policy)
    refused = admission.refused_rows(sheet)
    if refused:
        cause, detail, _ = refused[0]
        raise RefusedError(Refusal.STILL_WRONG, f"{cause}: {detail}", fix="mend the cause first")
    return _Taken(
        account=admission.account_of(sheet, reports=0, reports_quarantined=0),
        stored=_write(conn, batch.id, sheet, installed),
        refused=[],
    )


def _take_payload(
    conn: Connection, item: QuarantineItem, arrival: Arrival, policy: Policy
) -> _Taken:
    try:
        batch = batch_from_plain(envelope.decode(arrival.payload, arrival.content_type))
        if batch.id.concentrator != item.concentrator:
            raise PeerError(FOREIGN, f"the batch names {batch.id.concentrator}")
    except PeerError as error:
        raise RefusedError(Refusal.STILL_WRONG, str(error), fix="mend the cause first") from error
    installed = _locked(conn, item.concentrator, batch.meters)
    taken = _take(conn, batch, installed, arrival, policy)
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


def _ms(span: timedelta) -> int:
    return span // timedelta(milliseconds=1)
