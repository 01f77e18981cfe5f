"""What others ask of ingest: sums, raw series, switches, events, who was heard of."""

from collections.abc import Sequence
from datetime import datetime

from cloud.ingest import store
from cloud.ingest.model import MeterSeen, Momentary, RawSeries, RelayRecord
from cloud.store.db import Connection
from protocols.events import EndDeviceEvent
from protocols.identity import BatchId, ConcentratorId, MeterId
from protocols.reading import Channel


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
