"""
How fast days are rolled up, and what a late reading costs: day by day over many usage points.

    python tests/benchmarks/stream_rollups.py [--meters 4000] [--days 2]

Whole days of quarter hours and a register at each midnight are stored, and each day is rolled up
when it has ended; then a day that came late, and one late register in a few points that runs
through the days behind it. The sums alone are taken beside it, by a bare loop over matrices in
memory.
"""

import argparse
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from functools import partial
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
from cloud.ingest.service import Derive
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
from tests.benchmarks.stream_day import Work, clocked

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


def measured(db: Database, server: EmbeddedPostgres, meters: int, days: int) -> None:
    """Store day after day and roll each up when it has ended, then be late; say what each took."""
    names = town(db, meters)
    # the first day makes partitions, series, books and the list: it is not counted
    stored(db, names, 0)
    rollups.keep(db, now=ORIGIN + timedelta(days=1, hours=4))
    # planning rests on statistics, which the server gathers by itself within a minute
    with db.transaction() as conn:
        conn.execute("ANALYZE")
    storing, rolling, count = Work(), Work(), 0
    for day in range(1, days + 1):
        clocked(storing, partial(stored, db, names, day), server)
        now = ORIGIN + timedelta(days=day + 1, hours=4)
        count += clocked(rolling, partial(rollups.keep, db, now=now), server).days
    assert count == meters * days
    say("stored, deriving usage", meters * days * (PER_DAY + 1), storing, "readings")
    say("rolled up when they had ended", count, rolling, "days")
    bare(meters, count)
    now = ORIGIN + timedelta(days=days + 3, hours=4)
    stored(db, names, days + 1, now, rollups.derive)
    work = Work()
    kept = clocked(work, partial(rollups.keep, db, now=now), server)
    say("rolled up of days that came late", kept.days, work, "days")
    few = [group[:1] for group in names]
    for n, group in enumerate(few):
        ingest.store_batch(db, late(n, group, now), derive=rollups.derive)
    work = Work()
    again = clocked(work, partial(rollups.keep, db, now=now), server)
    say(f"after {len(few)} late registers, looked at {again.looked_at} days", again.days, work,
        "new versions")  # fmt: skip


def stored(
    db: Database,
    names: list[list[MeterId]],
    day: int,
    now: datetime | None = None,
    derive: Derive = usage.derive,
) -> None:
    """Store a day of everybody, by default as soon as it has ended."""
    told = now or ORIGIN + timedelta(days=day + 1, minutes=5)
    for n, group in enumerate(names):
        outcome = ingest.store_batch(db, a_day(n, group, day, told), derive=derive)
        assert outcome.account.quarantined == 0


def bare(meters: int, days: int) -> None:
    """The same sums by a bare loop over matrices that are in memory: what no program can beat."""
    wh = np.random.default_rng(1).integers(0, 900, (meters, PER_DAY))
    codes = np.ones((meters, PER_DAY), dtype=np.int8)
    registers = np.random.default_rng(2).integers(0, 10**9, (2, meters))
    work, told = Work(), 0

    def sums() -> None:
        nonlocal told
        while told < days:
            there = codes >= 0
            wh.sum(axis=1, where=there)
            np.count_nonzero(there, axis=1)
            (codes == 1).any(axis=1)
            registers[1] - registers[0]
            told += meters

    clocked(work, sums, None)
    say("bare loop over matrices in memory", told, work, "days")


def say(what: str, count: int, work: Work, unit: str) -> None:
    """One line of figures."""
    sys.stdout.write(
        f"{what}: {count:,} {unit} in {work.wall:.2f} s, {count / work.wall:,.0f}/s; of our"
        f" processor time {count / max(work.ours, 1e-6):,.0f}/s, of ours and the server's"
        f" {count / max(work.ours + work.server, 1e-6):,.0f}/s\n"
    )
    sys.stdout.flush()


def main() -> None:
    """Measure on a PostgreSQL of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--meters", type=int, default=4000)
    parser.add_argument("--days", type=int, default=2)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ml-pg-") as folder:
        with EmbeddedPostgres(Cluster(folder=Path(folder), durable=True)) as server:
            migrate(server.dsn)
            with Database(server.dsn, application="bench") as db:
                measured(db, server, wanted.meters, wanted.days)


if __name__ == "__main__":
    main()
