"""SQL of raw readings, batches and quarantine."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from cloud.ingest.model import (
    Arrival,
    BatchAccount,
    MeterSeen,
    Momentary,
    QuarantineItem,
    QuarantineState,
    RawSeries,
    RelayRecord,
)
from cloud.ingest.rules.beside import Int, Points
from cloud.store.db import Connection
from cloud.store.sql import Queries
from protocols.events import EndDeviceEvent, EventCode
from protocols.identity import BatchId, ConcentratorId, MeterId
from protocols.mqtt.receipt import Custody
from protocols.mqtt.uplink import RelayReport

_SQL = Queries(Path(__file__).parent / "sql")
_ACCOUNT = ("rows", "stored", "duplicates", "momentary", "quarantined", "reports",
            "reports_quarantined")  # fmt: skip


def lock_concentrators(conn: Connection, concentrators: Sequence[ConcentratorId]) -> None:
    """Wait until no other transaction judges rows of these concentrators; held until commit."""
    conn.execute(_SQL["lock_concentrators"], {"concentrators": sorted(set(concentrators))})


def batch(conn: Connection, id_: BatchId) -> tuple[bytes, Custody, BatchAccount] | None:
    """Return digest, custody and account of a known batch."""
    row = conn.execute(_SQL["batch_by_id"], _key(id_)).fetchone()
    if row is None:
        return None
    account = BatchAccount(**dict(zip(_ACCOUNT, row[2:], strict=True)))
    return bytes(row[0]), Custody(row[1]), account


def insert_batch(
    conn: Connection,
    id_: BatchId,
    *,
    digest: bytes,
    custody: Custody,
    made_at: datetime | None,
    arrival: Arrival,
    account: BatchAccount,
) -> None:
    """Write down a batch and its sum."""
    conn.execute(
        _SQL["insert_batch"],
        {
            **_key(id_), "digest": digest, "custody": custody.value, "made_at": made_at,
            "received_at": arrival.now, "received_wall": arrival.wall_now, **_account(account),
        },
    )  # fmt: skip


def batch_takes_rows(conn: Connection, id_: BatchId, account: BatchAccount) -> bool:
    """Give a batch that stood in quarantine its account; False when it has one already."""
    changed = conn.execute(_SQL["batch_takes_rows"], {**_key(id_), **_account(account)})
    return changed.rowcount == 1


def registers_around(conn: Connection, groups: Mapping[str, list[Any]], ids: Int) -> Points:
    """
    Return stored registers in each group's time and the nearest on both sides.

    *Shape*: `groups` has equal columns meter, channel, first_ms, last_ms; `ids` names each group.
    """
    rows = conn.execute(_SQL["registers_around"], dict(groups)).fetchall()
    return _points([(n, at, wh, 0) for n, at, wh in rows], ids)


def intervals_between(conn: Connection, groups: Mapping[str, list[Any]], ids: Int) -> Points:
    """Return stored intervals that start in each group's time; shapes as `registers_around`."""
    return _points(conn.execute(_SQL["intervals_between"], dict(groups)).fetchall(), ids)


def insert_registers(conn: Connection, id_: BatchId, columns: Mapping[str, list[Any]]) -> None:
    """Add registers: columns meter channel at_ms wh status received_ms."""
    conn.execute(_SQL["insert_registers"], {**_key(id_), **columns})


def insert_intervals(conn: Connection, id_: BatchId, columns: Mapping[str, list[Any]]) -> None:
    """Add intervals: columns meter channel at_ms seconds wh status received_ms."""
    conn.execute(_SQL["insert_intervals"], {**_key(id_), **columns})


def upsert_momentary(conn: Connection, columns: Mapping[str, list[Any]]) -> None:
    """Keep the newest momentary values: columns meter channel at_ms value, keys unique."""
    conn.execute(_SQL["upsert_momentary"], dict(columns))


def upsert_meter_seen(conn: Connection, columns: Mapping[str, list[Any]]) -> None:
    """Note that meters were heard of: columns meter at_ms received_ms, meters unique."""
    conn.execute(_SQL["upsert_meter_seen"], dict(columns))


def note_relays(conn: Connection, reports: Sequence[RelayReport]) -> None:
    """Keep switch reports that are news; one that is not later than one before it never is."""
    newest: dict[MeterId, datetime] = {}
    rising = []
    for report in reports:
        if report.meter not in newest or report.at > newest[report.meter]:
            newest[report.meter] = report.at
            rising.append(report)
    if not rising:
        return
    columns = {
        "meter": [report.meter for report in rising], "at": [report.at for report in rising],
        "output_closed": [report.relay.output_closed for report in rising],
        "control_state": [int(report.relay.control_state) for report in rising],
        "control_mode": [report.relay.control_mode for report in rising],
    }  # fmt: skip
    conn.execute(_SQL["insert_relay_changes"], columns)
    conn.execute(_SQL["upsert_relay_reports"], columns)


def note_event(conn: Connection, event: EndDeviceEvent, received_at: datetime) -> None:
    """Keep an event once."""
    conn.execute(
        _SQL["insert_event"],
        {
            "meter": event.meter, "code": event.code.value, "at": event.at,
            "origin": _text(event.origin), "detail": _text(event.detail),
            "received_at": received_at,
        },
    )  # fmt: skip


def relay_reports(conn: Connection, meters: Sequence[MeterId] | None) -> list[RelayRecord]:
    """Return the newest switch report of every meter, or of those named."""
    rows = conn.execute(_SQL["relay_reports"], {"meters": None if meters is None else list(meters)})
    return [_relay(row) for row in rows]


def relay_changes(conn: Connection, meter: MeterId, limit: int) -> list[RelayRecord]:
    """Return how the switch of a meter moved, newest first."""
    rows = conn.execute(_SQL["relay_changes"], {"meter": meter, "limit": limit})
    return [_relay(row) for row in rows]


def events_of(conn: Connection, meter: MeterId, limit: int) -> list[EndDeviceEvent]:
    """Return events of a meter, newest first."""
    rows = conn.execute(_SQL["events_of"], {"meter": meter, "limit": limit})
    return [
        EndDeviceEvent(
            meter=MeterId(id_), code=EventCode(code), at=at, origin=origin, detail=detail
        )
        for id_, code, at, origin, detail in rows
    ]


def momentary_of(conn: Connection, meters: Sequence[MeterId]) -> dict[MeterId, Momentary]:
    """Return the newest momentary values of the meters named."""
    values: dict[MeterId, dict[int, int]] = {}
    for meter, channel, value in conn.execute(_SQL["momentary_of"], {"meters": list(meters)}):
        values.setdefault(MeterId(meter), {})[channel] = value
    return {meter: Momentary(meter=meter, values=found) for meter, found in values.items()}


def meters_seen(conn: Connection) -> list[MeterSeen]:
    """Return when each meter was last heard of."""
    return [
        MeterSeen(meter=MeterId(meter), last_at=last_at, last_received=last_received)
        for meter, last_at, last_received in conn.execute(_SQL["meters_seen"])
    ]


def raw_registers(conn: Connection, meter: MeterId, channel: int) -> RawSeries:
    """Return every stored register of a meter and channel, oldest first."""
    rows = conn.execute(_SQL["raw_registers"], {"meter": meter, "channel": channel}).fetchall()
    table = np.array(rows, dtype=np.int64).reshape(-1, 3)
    return RawSeries(at_ms=table[:, 0], wh=table[:, 1], status=table[:, 2])


def last_register_times(
    conn: Connection, meters: Sequence[MeterId], channel: int
) -> dict[MeterId, datetime]:
    """Return the time of the newest register of each meter that has one."""
    rows = conn.execute(_SQL["last_register_times"], {"meters": list(meters), "channel": channel})
    return {MeterId(meter): at for meter, at in rows}


def insert_payload(conn: Connection, digest: bytes, arrival: Arrival) -> None:
    """Keep the octets of a payload once."""
    conn.execute(
        _SQL["insert_payload"],
        {
            "digest": digest, "topic": _text(arrival.topic),
            "content_type": _text(arrival.content_type), "octets": arrival.payload,
        },
    )  # fmt: skip


def quarantine_payload(
    conn: Connection,
    concentrator: ConcentratorId,
    id_: BatchId | None,
    *,
    cause: str,
    detail: str,
    digest: bytes,
    received_at: datetime,
) -> None:
    """Put a payload as a whole into quarantine, once."""
    conn.execute(
        _SQL["insert_quarantined_payload"],
        {
            "concentrator": concentrator, "boot": id_.boot if id_ else None,
            "seq": id_.seq if id_ else None, "cause": _text(cause), "detail": _text(detail),
            "digest": digest, "received_at": received_at,
        },
    )  # fmt: skip


def quarantine_rows(
    conn: Connection,
    id_: BatchId,
    *,
    digest: bytes,
    rows: Sequence[tuple[str, str, Mapping[str, Any]]],
    received_at: datetime,
) -> None:
    """Put rows of a batch into quarantine: cause, detail and the row itself of each."""
    conn.execute(
        _SQL["insert_quarantined_rows"],
        {
            **_key(id_), "digest": digest, "received_at": received_at,
            "cause": [cause for cause, _, _ in rows],
            "detail": [_text(detail) for _, detail, _ in rows],
            "row": [json.dumps(_clean(row)) for _, _, row in rows],
        },
    )  # fmt: skip


def quarantine_list(conn: Connection, state: QuarantineState, limit: int) -> list[QuarantineItem]:
    """Return what is in quarantine, newest first."""
    rows = conn.execute(_SQL["quarantine_list"], {"state": state.value, "limit": limit})
    return [_item(row) for row in rows]


def lock_quarantine(conn: Connection, id_: int) -> tuple[QuarantineItem, bytes, str, str] | None:
    """Return one item, its octets, content type and topic, locked until commit."""
    row = conn.execute(_SQL["lock_quarantine"], {"id": id_}).fetchone()
    return None if row is None else (_item(row[:10]), bytes(row[10]), row[11], row[12])


def settle_quarantine(
    conn: Connection, id_: int, *, state: QuarantineState, at: datetime, by: str
) -> None:
    """End an open item."""
    conn.execute(
        _SQL["settle_quarantine"],
        {"id": id_, "state": state.value, "settled_at": at, "settled_by": by},
    )


def quarantine_counts(conn: Connection) -> dict[tuple[str, str], int]:
    """Return how many items there are per (cause, state)."""
    return {(cause, state): n for cause, state, n in conn.execute(_SQL["quarantine_counts"])}


def totals(conn: Connection) -> dict[str, int]:
    """Return the sums over all batches and the number of raw readings."""
    sums = conn.execute(_SQL["batch_totals"]).fetchone()
    readings = conn.execute(_SQL["reading_totals"]).fetchone()
    assert sums is not None
    assert readings is not None
    names = ("batches", "rows", "stored", "duplicates", "momentary", "quarantined")
    return {**dict(zip(names, sums, strict=True)), "readings": readings[0]}


def missing_batches(conn: Connection) -> dict[tuple[ConcentratorId, int], int]:
    """Return per (concentrator, boot) how many sequence numbers are missing, where any is."""
    return {(ConcentratorId(c), boot): n for c, boot, n in conn.execute(_SQL["missing_batches"])}


def batches_out_of_balance(conn: Connection, limit: int) -> list[BatchId]:
    """Return batches whose count of quarantined rows differs from the quarantine."""
    return [
        BatchId(concentrator=ConcentratorId(concentrator), boot=boot, seq=seq)
        for concentrator, boot, seq in conn.execute(
            _SQL["batches_out_of_balance"], {"limit": limit}
        )
    ]


def _key(id_: BatchId) -> dict[str, Any]:
    return {"concentrator": id_.concentrator, "boot": id_.boot, "seq": id_.seq}


def _account(account: BatchAccount) -> dict[str, int]:
    return {name: getattr(account, name) for name in _ACCOUNT}


def _points(rows: Sequence[Sequence[int]], ids: Int) -> Points:
    table = np.array(rows, dtype=np.int64).reshape(-1, 4)
    return Points(group=ids[table[:, 0]], at_ms=table[:, 1], value=table[:, 2], seconds=table[:, 3])


def _relay(row: Sequence[Any]) -> RelayRecord:
    meter, at, output_closed, control_state, control_mode = row
    return RelayRecord(
        meter=MeterId(meter), at=at, output_closed=output_closed, control_state=control_state,
        control_mode=control_mode,
    )  # fmt: skip


def _item(row: Sequence[Any]) -> QuarantineItem:
    id_, concentrator, boot, seq, cause, detail, content, received_at, state, octets = row
    return QuarantineItem(
        id=id_, concentrator=ConcentratorId(concentrator), boot=boot, seq=seq, cause=cause,
        detail=detail, row=content, received_at=received_at, state=QuarantineState(state),
        octets=octets,
    )  # fmt: skip


def _clean(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _text(value) if isinstance(value, str) else value for name, value in row.items()}


def _text(text: str) -> str:
    """Return `text` as PostgreSQL can hold it: no NUL, no half surrogates."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")
