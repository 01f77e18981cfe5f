"""SQL of what is told beside readings: switches, events, momentary values, who was heard of."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from cloud.ingest.model import (
    ConcentratorPresence,
    MeterSeen,
    Momentaries,
    Momentary,
    RelayRecord,
)
from cloud.ingest.store.text import clean
from cloud.store.db import Connection
from cloud.store.sql import Queries
from protocols.events import EndDeviceEvent, EventCode
from protocols.identity import ConcentratorId, MeterId
from protocols.mqtt.uplink import RelayReport

_SQL = Queries(Path(__file__).parents[1] / "sql")


def upsert_momentary(conn: Connection, meters: Sequence[MeterId], found: Momentaries) -> None:
    """Keep the newest momentary values; no key twice."""
    conn.execute(
        _SQL["upsert_momentary"],
        {
            "meter": [meters[n] for n in found.meter.tolist()],
            "channel": found.channel.tolist(),
            "at_ms": found.at_ms.tolist(),
            "value": found.value.tolist(),
        },
    )


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


def note_events(conn: Connection, events: Sequence[tuple[EndDeviceEvent, datetime]]) -> None:
    """Keep events once, each with when it came."""
    conn.execute(
        _SQL["insert_events"],
        {
            "meter": [event.meter for event, _ in events],
            "code": [event.code.value for event, _ in events],
            "at": [event.at for event, _ in events],
            "origin": [clean(event.origin) for event, _ in events],
            "detail": [clean(event.detail) for event, _ in events],
            "received_at": [received_at for _, received_at in events],
        },
    )


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


def momentaries(conn: Connection, meters: Sequence[MeterId]) -> Momentaries:
    """Return the newest momentary values of the meters named, by place in the list."""
    rows = conn.execute(_SQL["momentaries"], {"meters": list(meters)}).fetchall()
    table = np.array(rows, dtype=np.int64).reshape(-1, 4)
    return Momentaries(meter=table[:, 0], channel=table[:, 1], at_ms=table[:, 2], value=table[:, 3])


def meters_seen(conn: Connection) -> list[MeterSeen]:
    """Return when each meter was last heard of."""
    return [
        MeterSeen(meter=MeterId(meter), last_at=last_at, last_received=last_received)
        for meter, last_at, last_received in conn.execute(_SQL["meters_seen"])
    ]


def _relay(row: Sequence[Any]) -> RelayRecord:
    meter, at, output_closed, control_state, control_mode = row
    return RelayRecord(
        meter=MeterId(meter), at=at, output_closed=output_closed, control_state=control_state,
        control_mode=control_mode,
    )  # fmt: skip


def note_status(
    conn: Connection,
    concentrator: ConcentratorId,
    *,
    online: bool,
    at: datetime,
    told: Mapping[str, int | str],
) -> None:
    """Keep the newest presence of a concentrator, and what it last told beside it."""
    conn.execute(
        _SQL["note_status"],
        {
            "concentrator": concentrator, "online": online, "told_at": at,
            "detail": json.dumps(
                {name: clean(one) if isinstance(one, str) else one for name, one in told.items()}
            ),
        },
    )  # fmt: skip


def statuses(conn: Connection) -> list[ConcentratorPresence]:
    """Return the presence of every concentrator that ever told of itself."""
    return [
        ConcentratorPresence(
            concentrator=ConcentratorId(id_), online=online, told_at=told_at, told=told
        )
        for id_, online, told_at, told in conn.execute(_SQL["statuses"])
    ]
