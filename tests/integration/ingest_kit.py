"""A small network and batches for it, for tests of ingest, vee and usage."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from cloud.assets import service as assets
from cloud.assets.model import (
    Concentrator,
    Installation,
    Meter,
    PointKind,
    Registration,
    Transformer,
    UsagePoint,
)
from cloud.ingest import service as ingest
from cloud.ingest.model import Arrival, StoreOutcome
from cloud.store.db import Database
from cloud.usage import service as usage
from protocols.events import EndDeviceEvent
from protocols.identity import BatchId, ConcentratorId, MeterId, TransformerId, UsagePointId
from protocols.mqtt import envelope
from protocols.mqtt.topics import up_data
from protocols.mqtt.uplink import DataBatch, RelayReport, batch_to_plain, columns_of
from protocols.reading import Channel
from protocols.timeline import Interval, to_ms

ORIGIN = datetime(2026, 3, 1, tzinfo=UTC)
C1, C2 = ConcentratorId("C-01"), ConcentratorId("C-02")
M1, M2, M3, SPARE = (MeterId(f"M-{n:06}") for n in (1, 2, 3, 9))
UP1, UP2, UP3 = (UsagePointId(f"UP-{n:06}") for n in (1, 2, 3))
ROLLOVER_WH = 100_000
SLOT = 1800

Row = tuple[MeterId, Channel, datetime, int]
"""Meter, channel, device time or start, value."""


def build_network(db: Database) -> None:
    """M1 plain and M2 rolling over on C-01, M3 on C-02, one spare meter of M1's kind."""
    meters = tuple(
        Meter(
            id=id_, model="x", protocol="dlms", has_relay=True, can_close_remotely=True,
            interval_seconds=SLOT, control_mode=4, max_w=20_000,
            rollover_wh=ROLLOVER_WH if id_ == M2 else None,
        )
        for id_ in (M1, M2, M3, SPARE)
    )  # fmt: skip
    points = tuple(
        UsagePoint(
            id=id_, kind=PointKind.CUSTOMER, transformer=TransformerId("T-01"),
            zone="Asia/Shanghai", capacity_w=8000,
        )
        for id_ in (UP1, UP2, UP3)
    )  # fmt: skip
    places = ((M1, UP1, C1), (M2, UP2, C1), (M3, UP3, C2))
    assets.register(
        db,
        Registration(
            transformers=(Transformer(id=TransformerId("T-01")),),
            usage_points=points,
            concentrators=(Concentrator(id=C1), Concentrator(id=C2)),
            meters=meters,
            installations=tuple(
                Installation(meter=m, usage_point=p, concentrator=c, installed_at=ORIGIN)
                for m, p, c in places
            ),
        ),
        now=ORIGIN,
    )


def a_batch(
    seq: int,
    rows: Sequence[Row],
    *,
    concentrator: ConcentratorId = C1,
    boot: int = 1,
    relays: tuple[RelayReport, ...] = (),
    events: tuple[EndDeviceEvent, ...] = (),
    change: Mapping[str, Any] | None = None,
) -> DataBatch:
    """A batch of rows, received at device time (or the interval's end) plus a second."""
    meters = list(dict.fromkeys(meter for meter, *_ in rows))
    lists: dict[str, list[int]] = {
        name: []
        for name in ("meter", "channel", "at_ms", "seconds", "received_ms", "raw", "scaler",
                     "status")
    }  # fmt: skip
    for meter, channel, at, value in rows:
        seconds = SLOT if channel in {3, 4} else 0
        row = {
            "meter": meters.index(meter), "channel": int(channel), "at_ms": to_ms(at),
            "seconds": seconds, "received_ms": to_ms(at) + seconds * 1000 + 1000, "raw": value,
            "scaler": 0, "status": 0, **(change or {}),
        }  # fmt: skip
        for name, number in row.items():
            lists[name].append(number)
    return DataBatch(
        id=BatchId(concentrator=concentrator, boot=boot, seq=seq),
        made_at=ORIGIN, meters=tuple(meters), columns=columns_of(lists), relays=relays,
        events=events,
    )  # fmt: skip


def registers(meter: MeterId, values: Mapping[float, int]) -> list[Row]:
    """Import registers by hours after the origin."""
    return [
        (meter, Channel.IMPORT_WH, ORIGIN + timedelta(hours=hours), wh)
        for hours, wh in values.items()
    ]


def slots(meter: MeterId, values: Mapping[int, int]) -> list[Row]:
    """Import intervals by slot number after the origin."""
    return [
        (meter, Channel.IMPORT_INTERVAL_WH, ORIGIN + timedelta(seconds=SLOT * slot), wh)
        for slot, wh in values.items()
    ]


def arrival_of(
    payload: bytes,
    *,
    concentrator: ConcentratorId = C1,
    hint: BatchId | None = None,
    content_type: str = envelope.CBOR_ZSTD,
    now: datetime = ORIGIN + timedelta(days=60),
) -> Arrival:
    """A payload as the agent hands it on."""
    return Arrival(
        payload=payload, content_type=content_type, topic=up_data(concentrator), hint=hint,
        now=now, wall_now=now,
    )  # fmt: skip


def payload_of(batch: DataBatch) -> bytes:
    """The octets of a batch."""
    return envelope.encode(batch_to_plain(batch))


def send(db: Database, batch: DataBatch, **how: Any) -> StoreOutcome:
    """Store a batch as the process does, usage derived."""
    how.setdefault("concentrator", batch.id.concentrator)
    arrival = arrival_of(payload_of(batch), hint=batch.id, **how)
    return ingest.store_batch(db, arrival, derive=usage.derive)


def send_octets(db: Database, payload: bytes, **how: Any) -> StoreOutcome:
    """Store a payload that may be anything."""
    return ingest.store_batch(db, arrival_of(payload, **how), derive=usage.derive)


READINGS = (
    "SELECT meter, channel, at, wh FROM ingest.register_reading ORDER BY 1, 2, 3",
    "SELECT meter, channel, start, seconds, wh FROM ingest.interval_reading ORDER BY 1, 2, 3",
)


def usage_rows(db: Database) -> list[list[tuple[Any, ...]]]:
    """Every register and interval of usage, the segments that stand, and the newest registers."""
    everything = Interval(
        start=datetime(2000, 1, 1, tzinfo=UTC), end=datetime(2090, 1, 1, tzinfo=UTC)
    )
    with db.transaction() as conn:
        points = assets.usage_point_ids(conn)
        registers = [row for point in points for row in usage.registers(conn, point, everything)]
        slots = [row for point in points for row in usage.intervals(conn, point, everything)]
    return [
        [(r.usage_point, r.at, r.meter, r.meter_wh, r.cumulative_wh, r.quality) for r in registers],
        [(i.usage_point, i.start, i.seconds, i.wh, i.quality) for i in slots],
        *tables(db, *SEGMENTS),
    ]


SEGMENTS = (
    "SELECT usage_point, meter, since, nullif(until, 'infinity'), offset_wh, numerator,"
    " denominator, lone FROM usage.segment WHERE void_at IS NULL ORDER BY 1, 3",
    "SELECT usage_point, at_ms, cumulative_wh, quality, meter, wh, day_ms, opening_wh"
    " FROM usage.newest ORDER BY 1",
)
GAPS = (
    "SELECT meter, channel, range_start, range_end FROM vee.exception"
    " WHERE kind = 'gap' AND closed_at IS NULL ORDER BY 1, 2, 3",
    "SELECT meter, channel, first_start, newest_start FROM vee.coverage ORDER BY 1, 2",
)


def tables(db: Database, *queries: str) -> list[list[tuple[Any, ...]]]:
    """The rows of queries."""
    with db.transaction() as conn:
        return [conn.execute(query).fetchall() for query in queries]
