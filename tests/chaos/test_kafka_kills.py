"""
Every part of the distributed road killed under load: nothing is lost, doubled or altered.

Bridge and worker by SIGKILL, Kafka and the MQTT broker with all they held, PostgreSQL as by a power
cut. Concentrators keep each batch until its receipt; what they ever read is the truth. Some seconds
of it belong to every test run, `make kill-stream` kills for two minutes each. All share one Kafka
and one PostgreSQL, each with a topic, a database and a broker of its own.
"""

import contextlib
import os
import random
import secrets
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from cloud.ingest import service as ingest
from cloud.ingest.runner.settings import BridgeConfig, WorkerConfig
from cloud.store.db import Database
from cloud.store.migrate import migrate
from edge.uplink.publish import WINDOW
from meterloop.embedded.broker import EmbeddedBroker, LocalBroker, free_port
from meterloop.embedded.kafka import EmbeddedKafka
from meterloop.embedded.postgres import DATABASE, Cluster, EmbeddedPostgres
from tests.integration.kafka_kit import (
    Fleet,
    FleetThread,
    Patience,
    Program,
    address_of,
    build_city,
    names,
    running_kafka,
)

SECONDS = float(os.environ.get("METERLOOP_STREAM_SECONDS", "8"))
STILL_SECONDS = 150.0
"""So long may no receipt come at all; longer than Kafka takes to give partitions anew."""
C = names(8)
# what was read under load is stored in many times that where the machine is busy
pytestmark = pytest.mark.timeout(20 * SECONDS + 600)


@pytest.fixture(scope="module")
def kafka() -> Iterator[EmbeddedKafka]:
    """A Kafka of this module; each test has a topic of its own."""
    with running_kafka() as node:
        yield node


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL that keeps what it committed, whatever kills it; migrated once for all."""
    with (
        tempfile.TemporaryDirectory(prefix="ml-road-") as folder,
        EmbeddedPostgres(Cluster(folder=Path(folder))) as served,
    ):
        migrate(served.dsn)
        yield served


def own_database(server: EmbeddedPostgres) -> str:
    """Return the DSN of a new copy of the migrated database."""
    name = f"road_{secrets.token_hex(4)}"
    with psycopg.connect(server.cluster.dsn(database="postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {DATABASE}")
    return server.cluster.dsn(database=name)


def registers(db: Database) -> dict[tuple[str, int], int]:
    """Return (meter, at_ms) -> Wh of everything stored; fail where one stands twice."""
    found: dict[tuple[str, int], int] = {}
    with db.transaction() as conn:
        for seen in ingest.meters_seen(conn):
            series = ingest.raw_registers(conn, seen.meter)
            for at_ms, wh in zip(series.at_ms.tolist(), series.wh.tolist(), strict=True):
                assert (seen.meter, at_ms) not in found, "double"
                found[str(seen.meter), at_ms] = wh
    return found


def drained(fleet: Fleet, parts: "Road") -> None:
    """Return when every batch has its receipt; fail when for long none has come."""
    waiting = Patience(fleet, STILL_SECONDS)
    while fleet.outbox:
        waiting.look()
        parts.supervise()
        time.sleep(0.05)


@dataclass(frozen=True)
class Road:
    """What a batch passes, each part of it in a process of its own."""

    kafka: EmbeddedKafka
    broker: EmbeddedBroker
    postgres: EmbeddedPostgres
    bridges: list[Program]
    workers: list[Program]

    def strike(self, victim: str, chance: random.Random) -> None:
        """Kill a part of that kind at once, and let it come back."""
        if victim == "kafka":
            self.kafka.kill()
            self.kafka.node.wipe()
            self.kafka.start()
        elif victim == "broker":
            self.broker.kill()
            for file in self.broker.broker.folder.glob("*.db"):
                file.unlink()
            time.sleep(chance.uniform(0.0, 1.0))
            self.broker.start()
        elif victim == "postgres":
            self.postgres.kill()
            time.sleep(chance.uniform(0.0, 1.0))
            self.postgres.start()
        else:
            chosen = chance.choice(self.workers if victim == "worker" else self.bridges)
            chosen.kill()
            time.sleep(chance.uniform(0.0, 1.0))
            chosen.start()

    def supervise(self) -> None:
        """Start again what ended by itself, as the supervisor would."""
        for program in [*self.bridges, *self.workers]:
            if not program.alive:
                program.start()


@contextlib.contextmanager
def road(
    kafka: EmbeddedKafka, server: EmbeddedPostgres, folder: Path
) -> Iterator[tuple[Road, Database]]:
    """Yield a bridge and two workers that serve, between a broker and a database of their own."""
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ml-road-")))
        dsn = own_database(server)
        db = stack.enter_context(Database(dsn, application="test"))
        build_city(db, C)
        broker = EmbeddedBroker(LocalBroker(folder=place, port=free_port()))
        stack.callback(broker.stop)
        broker.start()
        address = address_of(kafka)
        worker = WorkerConfig(
            dsn=dsn, broker=broker.address, kafka=address, session_wall_seconds=3.0
        )
        bridge = BridgeConfig(broker=broker.address, kafka=address, client_id="b", share="road")
        built = Road(
            kafka=kafka, broker=broker, postgres=server,
            bridges=[Program("bridge", bridge, folder)],
            workers=[Program("worker", worker, folder) for _ in range(2)],
        )  # fmt: skip
        for program in [*built.bridges, *built.workers]:
            stack.callback(program.kill)
            program.spawn()
        for program in [*built.bridges, *built.workers]:
            program.await_ready()
        yield built, db


@pytest.mark.req("A1")
@pytest.mark.parametrize("victim", ["worker", "bridge", "kafka", "broker", "postgres"])
def test_killed_under_load_nothing_is_missing_double_or_altered(
    victim: str, kafka: EmbeddedKafka, server: EmbeddedPostgres, tmp_path: Path
) -> None:
    chance = random.Random(f"kill {victim}")
    kills = 0
    with road(kafka, server, tmp_path) as (parts, db):
        fleet = Fleet(parts.broker.address, C, every_seconds=0.25, most_waiting=2 * WINDOW * len(C))
        with FleetThread(fleet):
            end = time.monotonic() + SECONDS
            while kills < 2 or time.monotonic() < end:
                time.sleep(chance.uniform(0.5, 2.5))
                parts.strike(victim, chance)
                parts.supervise()
                kills += 1
            fleet.every_seconds = 0.0
            drained(fleet, parts)
            truth = fleet.truth()
        stored = registers(db)
        assert stored == truth, f"missing {len(truth.keys() - stored.keys())}"
        with db.transaction() as conn:
            totals = ingest.totals(conn)
        assert (totals["stored"], totals["quarantined"]) == (len(truth), 0)
    print(f"{victim}: {kills} kills, {len(truth)} readings, {fleet.resent} batches sent again")
