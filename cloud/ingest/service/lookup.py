"""What others ask of ingest: sums, raw series, switches, events, who was heard of."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from cloud.ingest.model import (
    ConcentratorPresence,
    MeterSeen,
    Momentaries,
    Momentary,
    RawSeries,
    RelayRecord,
)
from cloud.ingest.rules.book import NONE
from cloud.ingest.store import batches, readings, reports
from cloud.ingest.store import books as book_store
from cloud.store.db import Connection
from protocols.events import EndDeviceEvent
from protocols.identity import BatchId, ConcentratorId, MeterId
from protocols.reading import Channel
from protocols.timeline import from_ms


def totals(conn: Connection) -> dict[str, int]:
    """Return sums over all batches and the number of raw `readings` (invariant R1)."""
    return batches.totals(conn)


def missing_batches(conn: Connection) -> dict[tuple[ConcentratorId, int], int]:
    """Return per (concentrator, boot) how many batch numbers are missing, where any is."""
    return batches.missing_batches(conn)


def batches_out_of_balance(conn: Connection, *, limit: int = 5) -> list[BatchId]:
    """Return batches whose count of quarantined rows differs from the quarantine (R1)."""
    return batches.batches_out_of_balance(conn, limit)


def meters_seen(conn: Connection) -> list[MeterSeen]:
    """Return when each meter was last heard of."""
    return reports.meters_seen(conn)


def momentary_of(conn: Connection, meters: Sequence[MeterId]) -> dict[MeterId, Momentary]:
    """Return the newest momentary values of the meters named."""
    return reports.momentary_of(conn, meters)


def momentaries(conn: Connection, meters: Sequence[MeterId]) -> Momentaries:
    """Return the newest momentary values of the meters named, as columns by place in the list."""
    return reports.momentaries(conn, meters)


def hold_concentrators(conn: Connection, concentrators: Sequence[ConcentratorId]) -> None:
    """Wait until nobody stores readings of these concentrators; nobody does until commit."""
    batches.lock_concentrators(conn, concentrators)


def raw_registers(
    conn: Connection, meter: MeterId, channel: Channel = Channel.IMPORT_WH
) -> RawSeries:
    """Return every stored register of a meter and channel, oldest first."""
    found = readings.series_readings(conn, meter, int(channel))
    return RawSeries(at_ms=found.at_ms, wh=found.wh, status=found.status)


def raw_intervals(
    conn: Connection,
    meters: Sequence[MeterId],
    channel: Channel = Channel.IMPORT_INTERVAL_WH,
    *,
    since: datetime,
    until: datetime,
) -> dict[MeterId, RawSeries]:
    """Return the stored intervals that start in `[since, until)` of each meter that has any."""
    found = readings.readings_of_meters(conn, meters, int(channel), since=since, until=until)
    return {
        meter: RawSeries(at_ms=each.at_ms, wh=each.wh, status=each.status)
        for meter, each in found.items()
    }


def last_register_times(
    conn: Connection, meters: Sequence[MeterId], channel: Channel = Channel.IMPORT_WH
) -> dict[MeterId, datetime]:
    """Return the device time of the newest register of each meter that has one."""
    return {
        item.meter: from_ms(item.at_ms)
        for item in book_store.newest(conn, meters, channel=int(channel))
        if item.at_ms != NONE
    }


def relay_reports(conn: Connection, meters: Sequence[MeterId] | None = None) -> list[RelayRecord]:
    """Return the newest switch report of every meter, or of those named."""
    return reports.relay_reports(conn, meters)


def relay_changes(conn: Connection, meter: MeterId, *, limit: int = 50) -> list[RelayRecord]:
    """Return how the switch of a meter moved, newest first."""
    return reports.relay_changes(conn, meter, limit)


def events_of(conn: Connection, meter: MeterId, *, limit: int = 50) -> list[EndDeviceEvent]:
    """Return events of a meter, newest first."""
    return reports.events_of(conn, meter, limit)


def concentrator_presence(conn: Connection) -> list[ConcentratorPresence]:
    """Return what every concentrator last told of its presence (A8)."""
    return reports.statuses(conn)


def note_presence(
    conn: Connection,
    concentrator: ConcentratorId,
    *,
    online: bool,
    at: datetime,
    told: Mapping[str, int | str] | None = None,
) -> None:
    """Keep what a concentrator, or its will, tells of its presence, and of itself beside it."""
    reports.note_status(conn, concentrator, online=online, at=at, told=told or {})
