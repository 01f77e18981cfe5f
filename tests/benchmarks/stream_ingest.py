"""
Figures of ingest: from octets of payloads to committed readings and receipts, on one server here.

Two shapes. A wave: one register of every meter (`--meters`, 1,000 a concentrator), beside a raw
binary COPY of as many rows of the same columns into the same table on one connection, wave by wave
in the same run. Whole days: 96 intervals of every meter, 200 meters a payload. Then the day is
closed, and what a reading takes on disk and how long two questions last is measured. Octets are
made before the clock starts; processor time is told beside wall time, for the machine may be busy.
"""

import argparse
import statistics
import tempfile
import time
from array import array
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from cloud.ingest import service as ingest
from cloud.ingest.model import Arrival
from cloud.ingest.rules.packing import DAY_MS, Readings
from cloud.ingest.store import readings as store
from cloud.store.db import Database
from cloud.store.migrate import migrate
from cloud.usage import service as usage
from meterloop.embedded.postgres import Cluster, EmbeddedPostgres
from protocols.identity import BatchId, ConcentratorId, MeterId
from protocols.mqtt import envelope
from protocols.mqtt.topics import up_data
from protocols.mqtt.uplink import DataBatch, batch_to_plain
from protocols.timeline import to_ms
from tests.benchmarks.figures import Figures

DAY = datetime(2026, 3, 10, tzinfo=UTC)
A_YEAR_AGO = DAY - timedelta(days=400)
PER_CONCENTRATOR, PER_PROFILE, SLOTS = 1000, 200, 96
STEP_MS = DAY_MS // SLOTS
_CODE = {"<u2": "H", "u1": "B", "<i8": "q", "<u4": "I", "i1": "b"}

_FILL = (
    "INSERT INTO assets.transformer (id)"
    " SELECT 'T-' || n FROM generate_series(0, %(n)s / 200) AS n",
    "INSERT INTO assets.concentrator (id)"
    " SELECT 'C-' || lpad(n::text, 5, '0') FROM generate_series(0, %(n)s / 1000) AS n",
    "INSERT INTO assets.usage_point (id, kind, transformer, zone, capacity_w)"
    " SELECT 'UP-' || lpad(n::text, 7, '0'), 'customer', 'T-' || n / 200, 'Asia/Shanghai', 8000"
    " FROM generate_series(0, %(n)s - 1) AS n",
    "INSERT INTO assets.meter (id, model, protocol, max_w, has_relay, can_close_remotely,"
    " interval_seconds) SELECT 'M-' || lpad(n::text, 7, '0'), 'x', 'dlms', 20000, true, true, 900"
    " FROM generate_series(0, %(n)s - 1) AS n",
    "INSERT INTO assets.installation (meter, usage_point, concentrator, installed_at)"
    " SELECT 'M-' || lpad(n::text, 7, '0'), 'UP-' || lpad(n::text, 7, '0'),"
    " 'C-' || lpad((n / 1000)::text, 5, '0'), %(at)s FROM generate_series(0, %(n)s - 1) AS n",
)


def meter(n: int) -> MeterId:
    """The n-th meter."""
    return MeterId(f"M-{n:07}")


def arrival(seq: int, meters: range, rows: dict[str, Any], now: datetime, boot: int) -> Arrival:
    """A payload of a concentrator, made as the edge makes it."""
    concentrator = ConcentratorId(f"C-{meters[0] // PER_CONCENTRATOR:05}")
    size = len(rows["meter"])
    full = {
        "received_ms": rows["at_ms"] + 60_000, "scaler": np.zeros(size), "status": np.zeros(size),
        **rows,
    }  # fmt: skip
    kinds = {"meter": "<u2", "channel": "u1", "at_ms": "<i8", "seconds": "<u4",
             "received_ms": "<i8", "raw": "<i8", "scaler": "i1", "status": "<u4"}  # fmt: skip
    columns = {
        name: array(_CODE[kind], full[name].astype(kind).tobytes()) for name, kind in kinds.items()
    }
    batch = DataBatch(
        id=BatchId(concentrator=concentrator, boot=boot, seq=seq), made_at=now,
        meters=tuple(meter(n) for n in meters), columns=columns,
    )  # fmt: skip
    return Arrival(
        payload=envelope.encode(batch_to_plain(batch)), content_type=envelope.CBOR_ZSTD,
        topic=up_data(concentrator), hint=batch.id, now=now, wall_now=now,
    )  # fmt: skip


def a_wave(number: int, meters: int, *, channel: int = 1) -> list[Arrival]:
    """One register of every meter, a payload per concentrator."""
    at = DAY + timedelta(minutes=5 * number)
    found = []
    for first in range(0, meters, PER_CONCENTRATOR):
        named = range(first, min(first + PER_CONCENTRATOR, meters))
        size = len(named)
        # meters are read one after the other, not at once
        stamps = to_ms(at) + np.arange(size) * 37
        rows = {
            "meter": np.arange(size), "channel": np.full(size, channel), "at_ms": stamps,
            "seconds": np.zeros(size), "raw": 1_000_000 + number * 50 + np.arange(size) % 50,
        }  # fmt: skip
        found.append(arrival(number, named, rows, at + timedelta(minutes=10), channel))
    return found


def whole_days(day: datetime, meters: range, seq: int, boot: int = 3) -> list[Arrival]:
    """A day of intervals of every meter, 200 meters a payload."""
    found = []
    noise = np.random.default_rng(7)
    for first in range(meters[0], meters[-1] + 1, PER_PROFILE):
        named = range(first, min(first + PER_PROFILE, meters[-1] + 1))
        size = len(named) * SLOTS
        rows = {
            "meter": np.repeat(np.arange(len(named)), SLOTS), "channel": np.full(size, 3),
            "at_ms": to_ms(day) + np.tile(np.arange(SLOTS) * STEP_MS, len(named)),
            "seconds": np.full(size, 900), "raw": noise.integers(20, 900, size),
            "received_ms": to_ms(day) + DAY_MS + np.repeat(np.arange(len(named)) * 900, SLOTS),
        }  # fmt: skip
        seq += 1
        found.append(arrival(seq, named, rows, day + timedelta(hours=30), boot))
    return found


def timed(act: Callable[[], Any]) -> tuple[float, float]:
    """Return wall and processor seconds of an act of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    act()
    return time.perf_counter() - wall, time.process_time() - cpu


def stored(
    db: Database,
    arrivals: Sequence[Arrival],
    together: int,
    derive: ingest.Derive,
    *,
    lanes: int = 1,
) -> None:
    """Store payloads, so many in a transaction; every one must be stored and receipted."""
    parts = [arrivals[start : start + together] for start in range(0, len(arrivals), together)]
    with ThreadPoolExecutor(lanes) as pool:
        for outcomes in pool.map(partial(ingest.store_batches, db, derive=derive), parts):
            for outcome in outcomes:
                assert outcome.receipt is not None
                assert outcome.account.rows == outcome.account.stored > 0, outcome


def nothing(*_: Any) -> ingest.Lives:
    """Derive nothing."""
    return {}


def raw_copy(dsn: str, number: int, meters: int, each: int) -> tuple[float, float]:
    """Copy as many rows of other series into the same table, in equal transactions."""
    at = to_ms(DAY) + number * 300_000
    with psycopg.connect(dsn) as conn:

        def act() -> None:
            for first in range(0, meters, each):
                size = min(each, meters - first)
                stamps = at + np.arange(size) % PER_CONCENTRATOR * 37
                readings = Readings(
                    at_ms=stamps, wh=np.arange(size), status=np.zeros(size, dtype=np.int64),
                    received_ms=stamps + 60_000, batch=np.full(size, number),
                )  # fmt: skip
                series = 1_000_000_000 + first + np.arange(size)
                store.copy_readings(conn, series, readings)
                conn.commit()

        return timed(act)


def waves(db: Database, dsn: str, figures: Figures, asked: argparse.Namespace) -> None:
    """Measure waves, each after a raw COPY of as many rows."""
    each, half = asked.together * PER_CONCENTRATOR, max(1, asked.together // 2)
    ours, raw, lanes = [], [], []
    first, _ = timed(lambda: stored(db, a_wave(0, asked.meters), asked.together, nothing))
    stored(db, a_wave(0, asked.meters, channel=2), half, nothing)
    raw_copy(dsn, 0, asked.meters, each)
    for number in range(1, asked.waves + 1):
        arrivals = a_wave(number, asked.meters)
        raw.append(raw_copy(dsn, number, asked.meters, each))
        ours.append(timed(lambda found=arrivals: stored(db, found, asked.together, nothing)))  # type: ignore[misc]
        more = a_wave(number, asked.meters, channel=2)
        lanes.append(timed(lambda found=more: stored(db, found, half, nothing, lanes=2)))  # type: ignore[misc]
    n = asked.meters
    fast = statistics.median(n / wall for wall, _ in ours)
    bare = statistics.median(n / wall for wall, _ in raw)
    figures.add("first wave, books loaded", n / first, "readings/s")
    figures.add("wave of one reading a meter", fast, "readings/s", "goal 200,000", beside=bare)
    figures.add(
        "wave, share of raw COPY", 100 * statistics.median(
            other[0] / mine[0] for mine, other in zip(ours, raw, strict=True)), "%", "goal 80",
    )  # fmt: skip
    cpu = statistics.median(cpu for _, cpu in ours) / n * 1e6
    figures.add("wave, our processor time", cpu, "us a reading")
    fast = statistics.median(n / wall for wall, _ in lanes)
    figures.add("wave in two lanes, as the agent runs", fast, "readings/s", beside=bare)
    derived(db, figures, asked)


def derived(db: Database, figures: Figures, asked: argparse.Namespace) -> None:
    """Measure waves whose usage is derived, after one that gives every meter its segment."""
    each = min(asked.derived, asked.meters // PER_CONCENTRATOR)
    n, number = each * PER_CONCENTRATOR, asked.waves
    found: dict[str, list[tuple[float, float]]] = {"first": [], "bare": [], "derived": []}
    for kind in ("first", *("bare", "derived") * asked.waves):
        number += 1
        arrivals = a_wave(number, asked.meters)[:each]
        derive = nothing if kind == "bare" else usage.derive
        found[kind].append(
            timed(lambda a=arrivals, d=derive: stored(db, a, asked.together, d))  # type: ignore[misc]
        )
    bare, full = (statistics.median(wall for wall, _ in found[k]) for k in ("bare", "derived"))
    figures.add("first wave with usage derived", n / found["first"][0][0], "readings/s",
                "every meter gets its segment")  # fmt: skip
    figures.add("wave with usage derived", n / full, "readings/s", "goal: costs less than storing",
                beside=n / bare)  # fmt: skip
    figures.add("deriving, share of storing", 100 * (full - bare) / bare, "%", "goal under 100")
    spent = statistics.median(cpu for _, cpu in found["derived"])
    spent -= statistics.median(cpu for _, cpu in found["bare"])
    figures.add("deriving, our processor time", spent / n * 1e6, "us a reading")


def profiles(db: Database, dsn: str, figures: Figures, asked: argparse.Namespace) -> None:
    """Measure whole days and what they take."""
    meters = range(asked.profiled)
    stored(db, whole_days(DAY - timedelta(days=3), meters, 0), asked.together, nothing)
    arrivals = whole_days(DAY - timedelta(days=2), meters, 100_000)
    size = len(meters) * SLOTS
    wall, cpu = timed(lambda: stored(db, arrivals, asked.days_together, nothing))
    figures.add("whole days", size / wall, "readings/s", "goal 5,000,000")
    figures.add("whole days, our processor time", cpu / size * 1e9, "ns a reading")
    arrivals = whole_days(DAY - timedelta(days=1), meters, 200_000)
    wall, _ = timed(lambda: stored(db, arrivals, asked.days_together, nothing, lanes=2))
    figures.add("whole days in two lanes", size / wall, "readings/s", "goal 5,000,000")
    octets, count = packed(dsn)
    figures.add("a packed reading on disk", octets / count, "octets", "with its index; goal 4")


def packed(dsn: str) -> tuple[int, int]:
    """Return octets of all packed days with their indexes, and how many readings they hold."""
    with psycopg.connect(dsn) as conn:
        row = conn.execute(
            "SELECT (SELECT sum(pg_total_relation_size(i.inhrelid)) FROM pg_inherits AS i"
            " WHERE i.inhparent = 'ingest.day'::regclass),"
            " (SELECT sum(ingest.readings_in(d.body)) FROM ingest.day AS d)"
        ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def closing(db: Database, dsn: str, figures: Figures) -> None:
    """Close the day of the waves."""
    octets, count = packed(dsn)
    rows = 0

    def act() -> None:
        nonlocal rows
        rows = ingest.close_day(db, DAY.date(), now=DAY + timedelta(days=2))

    wall, _ = timed(act)
    after, total = packed(dsn)
    assert total - count == rows
    figures.add("closing a day", rows / wall, "rows/s")
    figures.add(
        "a reading of a wave on disk after that", (after - octets) / rows, "octets",
        "its own instant, batch and receipt each",
    )  # fmt: skip


def questions(db: Database, figures: Figures) -> None:
    """Measure one customer's year and a transformer's day."""
    for n in range(365):
        day = A_YEAR_AGO + timedelta(days=n + 1)
        stored(db, whole_days(day, range(5), 1_000_000 + n), 1, nothing)
    with db.transaction() as conn:
        size = 0

        def year() -> None:
            nonlocal size
            size = len(store.series_readings(conn, meter(3), 3, since=A_YEAR_AGO, until=DAY))

        def area() -> None:
            nonlocal size
            found = ingest.raw_intervals(
                conn, [meter(n) for n in range(200)], since=DAY - timedelta(days=1), until=DAY
            )
            size = sum(len(each.wh) for each in found.values())

        year()
        wall = statistics.median(timed(year)[0] for _ in range(5))
        figures.add("one customer's year", wall * 1000, "ms", f"{size:,} readings")
        area()
        wall = statistics.median(timed(area)[0] for _ in range(5))
        figures.add("one transformer's day", wall * 1000, "ms", f"{size:,} readings of 200 meters")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the JSON object only")
    parser.add_argument("--meters", type=int, default=100_000, help="meters of a wave")
    parser.add_argument("--waves", type=int, default=7)
    parser.add_argument("--profiled", type=int, default=20_000, help="meters of whole days")
    parser.add_argument("--together", type=int, default=50, help="payloads of a wave at once")
    parser.add_argument("--days-together", type=int, default=20, help="payloads of days at once")
    parser.add_argument("--derived", type=int, default=20, help="payloads of a wave derived too")
    asked = parser.parse_args()
    figures = Figures()
    with tempfile.TemporaryDirectory(prefix="ml-bench-") as folder:
        with EmbeddedPostgres(Cluster(folder=Path(folder))) as server:
            migrate(server.dsn)
            with psycopg.connect(server.dsn, autocommit=True) as conn:
                for statement in _FILL:
                    conn.execute(statement, {"n": asked.meters, "at": A_YEAR_AGO})
                conn.execute("VACUUM ANALYZE")
            with Database(server.dsn, user="meterloop_ingest") as db:
                profiles(db, server.dsn, figures, asked)
                ingest.open_days_ahead(db, now=DAY)
                waves(db, server.dsn, figures, asked)
                closing(db, server.dsn, figures)
                questions(db, figures)
    figures.show("ingest, from octets to committed readings", table=not asked.json)


if __name__ == "__main__":
    main()
