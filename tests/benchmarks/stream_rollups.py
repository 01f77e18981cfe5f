"""
How fast days are rolled up, and what a late reading costs: day by day over many usage points.

    python tests/benchmarks/stream_rollups.py [--meters 2000] [--days 3]

Whole days of quarter hours and a register at each midnight are stored, then rolled up; then one
late register in a hundred points runs through the days behind it.
"""

import argparse
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

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
from cloud.ingest.model import Arrival
from cloud.rollups import service as rollups
from cloud.store.db import Database
from cloud.store.migrate import migrate
from cloud.usage import service as usage
from meterloop.embedded.postgres import Cluster, EmbeddedPostgres
from protocols.identity import BatchId, ConcentratorId, MeterId, TransformerId, UsagePointId
from protocols.mqtt import envelope
from protocols.mqtt.topics import up_data
from protocols.mqtt.uplink import DataBatch, batch_to_plain, columns_of
from protocols.reading import Channel
from protocols.timeline import to_ms

ORIGIN = datetime(2026, 3, 1, tzinfo=UTC)
STEP = 900
PER_DAY = 86_400 // STEP
AT_ONCE = 200


def town(db: Database, meters: int) -> list[list[MeterId]]:
    """Register meters, a few hundred a concentrator; return them by concentrator."""
    groups = [range(n, min(n + AT_ONCE, meters)) for n in range(0, meters, AT_ONCE)]
    names = [[MeterId(f"M-{n:07}") for n in group] for group in groups]
    transformer = TransformerId("T-01")
    assets.register(
        db,
        Registration(
            transformers=(Transformer(id=transformer),),
            concentrators=tuple(
                Concentrator(id=ConcentratorId(f"C-{n:04}")) for n in range(len(groups))
            ),
            usage_points=tuple(
                UsagePoint(
                    id=UsagePointId(f"UP-{n:07}"), kind=PointKind.CUSTOMER,
                    transformer=transformer, zone="UTC", capacity_w=20_000,
                )
                for n in range(meters)
            ),
            meters=tuple(
                Meter(id=MeterId(f"M-{n:07}"), model="x", protocol="dlms", has_relay=False,
                      can_close_remotely=False, interval_seconds=STEP)
                for n in range(meters)
            ),
            installations=tuple(
                Installation(
                    meter=MeterId(f"M-{n:07}"), usage_point=UsagePointId(f"UP-{n:07}"),
                    concentrator=ConcentratorId(f"C-{n // AT_ONCE:04}"), installed_at=ORIGIN,
                )
                for n in range(meters)
            ),
        ),
        now=ORIGIN,
    )  # fmt: skip
    return names


def a_day(concentrator: int, meters: list[MeterId], day: int, now: datetime) -> Arrival:
    """One payload: every quarter hour of a day of some meters, and the register that ends it."""
    count = len(meters)
    start = to_ms(ORIGIN) + day * 86_400_000
    slots = np.tile(np.arange(PER_DAY, dtype=np.int64) * STEP * 1000 + start, count)
    at = np.concatenate((slots, np.full(count, start + 86_400_000)))
    meter = np.concatenate((np.repeat(np.arange(count), PER_DAY), np.arange(count)))
    interval = np.arange(len(at)) < count * PER_DAY
    wh = np.where(interval, 100 + (at // (STEP * 1000)) % 7, 10_000 * (day + 1) + meter)
    lists = {
        "meter": meter,
        "channel": np.where(interval, int(Channel.IMPORT_INTERVAL_WH), int(Channel.IMPORT_WH)),
        "at_ms": at, "seconds": np.where(interval, STEP, 0), "received_ms": at + STEP * 1000,
        "raw": wh, "scaler": np.zeros_like(wh), "status": np.zeros_like(wh),
    }  # fmt: skip
    return _arrival(concentrator, day + 1, meters, lists, now)


def late(concentrator: int, meters: list[MeterId], now: datetime) -> Arrival:
    """One payload: a register shortly before the first midnight's own, of some meters."""
    count = len(meters)
    at = np.full(count, to_ms(ORIGIN + timedelta(hours=1)))
    zero = np.zeros(count, dtype=np.int64)
    return _arrival(
        concentrator, 900, meters,
        {"meter": np.arange(count), "channel": zero + int(Channel.IMPORT_WH), "at_ms": at,
         "seconds": zero, "received_ms": at, "raw": zero + 7, "scaler": zero, "status": zero},
        now,
    )  # fmt: skip


def _arrival(
    concentrator: int,
    seq: int,
    meters: list[MeterId],
    lists: dict[str, np.ndarray],
    now: datetime,
) -> Arrival:
    name = ConcentratorId(f"C-{concentrator:04}")
    batch = DataBatch(
        id=BatchId(concentrator=name, boot=1, seq=seq), made_at=ORIGIN, meters=tuple(meters),
        columns=columns_of({key: column.tolist() for key, column in lists.items()}), relays=(),
        events=(),
    )  # fmt: skip
    return Arrival(
        payload=envelope.encode(batch_to_plain(batch)), content_type=envelope.CBOR_ZSTD,
        topic=up_data(name), hint=batch.id, now=now, wall_now=now,
    )  # fmt: skip


def measured(db: Database, meters: int, days: int) -> None:
    """Store, roll up, be late; say what each took."""
    now = ORIGIN + timedelta(days=2 * days + 1, hours=4)
    names = town(db, meters)
    # the first payloads make partitions, series and books: they are not counted
    for n, group in enumerate(names):
        ingest.store_batch(db, a_day(n, group, 0, now), derive=usage.derive)
    for derive, told, span in (
        (usage.derive, "usage alone", range(1, days + 1)),
        (rollups.derive, "usage, and what is to be looked at noted", range(days + 1, 2 * days + 1)),
    ):
        payloads = [a_day(n, group, day, now) for day in span for n, group in enumerate(names)]
        begun = time.perf_counter()
        for payload in payloads:
            outcome = ingest.store_batch(db, payload, derive=derive)
            assert outcome.account.quarantined == 0
        took = time.perf_counter() - begun
        readings = meters * days * (PER_DAY + 1)
        say(f"stored, deriving {told}", readings, took, "readings")
    begun = time.perf_counter()
    kept = rollups.keep(db, now=now)
    say("rolled up", kept.days, time.perf_counter() - begun, "days")
    few = [group[:1] for group in names]
    for n, group in enumerate(few):
        ingest.store_batch(db, late(n, group, now), derive=rollups.derive)
    begun = time.perf_counter()
    again = rollups.keep(db, now=now)
    say(f"after {len(few)} late registers, looked at {again.looked_at} days", again.days,
        time.perf_counter() - begun, "new versions")  # fmt: skip


def say(what: str, count: int, seconds: float, unit: str) -> None:
    """One line of figures."""
    sys.stdout.write(f"{what}: {count:,} {unit} in {seconds:.2f} s, {count / seconds:,.0f}/s\n")
    sys.stdout.flush()


def main() -> None:
    """Measure on a PostgreSQL of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--meters", type=int, default=2000)
    parser.add_argument("--days", type=int, default=3)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ml-pg-") as folder:
        with EmbeddedPostgres(Cluster(folder=Path(folder), durable=True)) as server:
            migrate(server.dsn)
            with Database(server.dsn, application="bench") as db:
                measured(db, wanted.meters, wanted.days)


if __name__ == "__main__":
    main()
