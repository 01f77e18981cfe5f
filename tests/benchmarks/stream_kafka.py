"""
Figures of the distributed runner: readings/s of one worker and of two on a real Apache Kafka.

    PYTHONPATH=. python tests/benchmarks/stream_kafka.py [--json] [--waves 40] [--meters 8000]

Each run gets payloads of a thousand readings, spread evenly over a topic of its own, and is timed
from the first record to the last commit, after one wave that loads books and makes segments. Beside
it a bare aiokafka loop reads the same records and decodes them into arrays. Worker, PostgreSQL and
Kafka share the cores of this machine, so two workers are told beside one with the processor time
that each took.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer  # type: ignore[import-untyped]

from cloud.ingest.model import Arrival
from cloud.ingest.runner import seam, worker
from cloud.ingest.runner.cluster import cluster_id, declare
from cloud.ingest.runner.record import to_record
from cloud.ingest.runner.seam import Log
from cloud.ingest.runner.settings import KafkaAddress, WorkerConfig
from cloud.store.db import Database
from cloud.store.migrate import migrate
from meterloop.embedded.broker import EmbeddedBroker, LocalBroker, free_port
from meterloop.embedded.kafka import EmbeddedKafka, LocalKafka
from meterloop.embedded.postgres import Cluster, EmbeddedPostgres
from meterloop.embedded.spawn import EmbeddedError
from protocols.mqtt import envelope
from protocols.mqtt.broker import BrokerAddress
from protocols.mqtt.uplink import batch_from_plain
from tests.benchmarks.figures import Figures
from tests.benchmarks.stream_ingest import _FILL, A_YEAR_AGO, a_wave
from tests.integration.kafka_kit import Program

PARTITIONS = 8
DEADLINE = 600.0


@dataclass(frozen=True, slots=True)
class Bench:
    """The servers of all runs, and what each run carries."""

    dsn: str
    broker: BrokerAddress
    kafka: str
    folder: Path
    waves: int
    meters: int

    def config(self, name: str) -> WorkerConfig:
        """Return the settings of a worker on a topic of this run."""
        address = KafkaAddress(
            servers=self.kafka, topic=f"bench.{name}", group=f"bench-{name}", partitions=PARTITIONS
        )
        return WorkerConfig(
            dsn=self.dsn, broker=self.broker, kafka=address, silent_after_wall_seconds=86_400.0
        )

    def payloads(self, run: int) -> list[Arrival]:
        """Return the payloads of a run, one wave more than is measured; each has its own times."""
        first = run * (self.waves + 1)
        numbers = range(first, first + self.waves + 1)
        return [arrival for number in numbers for arrival in a_wave(number, self.meters)]


def fill(dsn: str, meters: int) -> None:
    """Make the schema and so many installed meters."""
    migrate(dsn)
    with psycopg.connect(dsn) as conn:
        for statement in _FILL:
            conn.execute(statement, {"n": meters, "at": A_YEAR_AGO})


async def written(address: KafkaAddress, payloads: Sequence[Arrival]) -> None:
    """Write the payloads, concentrators one after the other over the partitions."""
    producer = AIOKafkaProducer(bootstrap_servers=address.servers, max_request_size=5 << 20)
    await producer.start()
    for number, arrival in enumerate(payloads):
        key, value, headers = to_record(arrival)
        await producer.send(
            address.topic, value=value, key=key, headers=headers, partition=number % PARTITIONS
        )
    await producer.stop()


async def stored(db: Database, address: KafkaAddress, records: int) -> None:
    """Return when the places in the log say that every record is stored."""
    log = Log(cluster=await cluster_id(address), topic=address.topic)
    async with asyncio.timeout(DEADLINE):
        while sum((await asyncio.to_thread(seam.places, db, log)).values()) < records:
            await asyncio.sleep(0.02)


async def with_workers(
    bench: Bench, db: Database, *, run: int, workers: int
) -> tuple[float, float]:
    """Return readings/s of so many processes, and their processor seconds."""
    config = bench.config(f"w{workers}")
    await declare(config.kafka)
    payloads = bench.payloads(run)
    programs = [Program("worker", config, bench.folder) for _ in range(workers)]
    try:
        for program in programs:
            program.start()
        await asyncio.sleep(5)  # all have joined, and the partitions have settled
        # books of concentrators are loaded and segments made once, by whoever comes first
        warm = len(payloads) // (bench.waves + 1)
        await written(config.kafka, payloads[:warm])
        await stored(db, config.kafka, warm)
        watched = [psutil.Process(program.pid) for program in programs]
        before = _spent(watched)
        began = time.perf_counter()
        await written(config.kafka, payloads[warm:])
        await stored(db, config.kafka, len(payloads))
        seconds = time.perf_counter() - began
        return _readings(bench) / seconds, _spent(watched) - before
    finally:
        for program in programs:
            program.kill()


async def without_deriving(bench: Bench, db: Database, *, run: int) -> float:
    """Return readings/s of a worker in this process that stores and derives nothing."""
    config = bench.config("bare-store")
    await declare(config.kafka)
    payloads = bench.payloads(run)
    stop, up = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(
        worker.run(config, stop=stop, ready=up.set, status={}, derive=lambda *_: {})
    )
    await asyncio.wait_for(up.wait(), 60)
    warm = len(payloads) // (bench.waves + 1)
    await written(config.kafka, payloads[:warm])
    await stored(db, config.kafka, warm)
    began = time.perf_counter()
    await written(config.kafka, payloads[warm:])
    await stored(db, config.kafka, len(payloads))
    seconds = time.perf_counter() - began
    stop.set()
    await task
    return _readings(bench) / seconds


async def bare(bench: Bench) -> tuple[float, float]:
    """Return readings/s of a loop that reads and decodes, and of one that only reads."""
    config = bench.config("w1")
    found = []
    for decode in (True, False):
        consumer = AIOKafkaConsumer(
            config.kafka.topic, bootstrap_servers=bench.kafka, auto_offset_reset="earliest",
            max_partition_fetch_bytes=5 << 20,
        )  # fmt: skip
        await consumer.start()
        rows, records, wanted = 0, 0, (bench.waves + 1) * -(-bench.meters // 1000)
        began = time.perf_counter()
        while records < wanted:
            for taken in (await consumer.getmany(timeout_ms=1000)).values():
                records += len(taken)
                for record in taken if decode else ():
                    plain = envelope.decode(record.value, envelope.CBOR_ZSTD)
                    rows += len(batch_from_plain(plain))
        readings = (bench.waves + 1) * bench.meters
        found.append(readings / (time.perf_counter() - began))
        assert not decode or rows == readings
        await consumer.stop()
    return found[0], found[1]


async def measure(bench: Bench, figures: Figures) -> None:
    with Database(bench.dsn, size=2) as db:
        alone = await without_deriving(bench, db, run=0)
        one, one_cpu = await with_workers(bench, db, run=1, workers=1)
        two, two_cpu = await with_workers(bench, db, run=2, workers=2)
    decoded, read = await bare(bench)
    million = _readings(bench) / 1e6
    figures.add("bare aiokafka loop", read, "readings/s", "records of 1,000 readings, not opened")
    figures.add("bare aiokafka loop that decodes", decoded, "readings/s", "", beside=read)
    figures.add(
        "1 worker, rows and place only", alone, "readings/s", "nothing derived", beside=decoded
    )
    figures.add("1 worker", one, "readings/s", "usage derived", beside=decoded)
    figures.add("2 workers", two, "readings/s", "beside 1 worker", beside=one)
    figures.add("2 workers, each", two / 2, "readings/s", "beside 1 worker", beside=one)
    figures.add(
        "processor time, 1 worker", one_cpu / million, "s per million", "PostgreSQL not counted"
    )
    figures.add(
        "processor time, 2 workers",
        two_cpu / million,
        "s per million",
        "",
        beside=one_cpu / million,
    )


def _readings(bench: Bench) -> int:
    return bench.waves * bench.meters


def _spent(processes: Sequence[psutil.Process]) -> float:
    times = [process.cpu_times() for process in processes]
    return sum(each.user + each.system for each in times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the JSON object only")
    parser.add_argument("--waves", type=int, default=40, help="registers of each meter in a run")
    parser.add_argument("--meters", type=int, default=8000, help="a thousand per concentrator")
    asked = parser.parse_args()
    figures = Figures()
    with tempfile.TemporaryDirectory(prefix="ml-bench-") as name:
        folder = Path(name)
        node = LocalKafka(folder=folder / "kafka", port=free_port(), controller_port=free_port())
        try:
            with (
                EmbeddedKafka(node) as kafka,
                EmbeddedPostgres(Cluster(folder=folder / "postgres")) as server,
                EmbeddedBroker(LocalBroker(folder=folder / "broker", port=free_port())) as broker,
            ):
                fill(server.dsn, asked.meters)
                bench = Bench(
                    server.dsn, broker.address, kafka.servers, folder, asked.waves, asked.meters
                )
                asyncio.run(measure(bench, figures))
        except EmbeddedError as error:
            figures.missing("workers on Kafka", str(error))
    figures.show("the distributed runner on this machine", table=not asked.json)


if __name__ == "__main__":
    main()
