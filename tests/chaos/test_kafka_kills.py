"""
Bridge, worker and Kafka killed under load, Kafka with all it held: nothing is lost or doubled.

Concentrators keep each batch until its receipt; what they ever read is the truth. Some seconds of
it belong to every test run, `make kill-stream` kills for two minutes each.
"""

import contextlib
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud.ingest import service as ingest
from cloud.ingest.runner.settings import BridgeConfig, WorkerConfig
from cloud.store.db import Database
from meterloop.embedded.kafka import EmbeddedKafka
from protocols.mqtt.broker import BrokerAddress
from tests.integration.kafka_kit import (
    Fleet,
    FleetThread,
    Program,
    address_of,
    build_city,
    names,
    running_kafka,
)

SECONDS = float(os.environ.get("METERLOOP_STREAM_SECONDS", "12"))
DRAIN_SECONDS = 150.0
C = names(8)
pytestmark = pytest.mark.timeout(SECONDS + DRAIN_SECONDS + 240)


@pytest.fixture(scope="module")
def kafka() -> Iterator[EmbeddedKafka]:
    """A Kafka of this module; each test has a topic of its own."""
    with running_kafka() as node:
        yield node


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


def drained(fleet: Fleet) -> None:
    deadline = time.monotonic() + DRAIN_SECONDS
    while fleet.outbox:
        assert time.monotonic() < deadline, f"{len(fleet.outbox)} batches have no receipt"
        time.sleep(0.05)


@pytest.mark.req("A1")
@pytest.mark.parametrize("victim", ["worker", "bridge", "kafka"])
def test_killed_under_load_nothing_is_missing_double_or_altered(
    victim: str,
    database_dsn: str,
    db: Database,
    mqtt_broker: BrokerAddress,
    kafka: EmbeddedKafka,
    tmp_path: Path,
) -> None:
    build_city(db, C)
    address = address_of(kafka)
    chance = random.Random(f"kill {victim}")
    worker = WorkerConfig(
        dsn=database_dsn, broker=mqtt_broker, kafka=address, session_wall_seconds=3.0
    )
    bridge = BridgeConfig(broker=mqtt_broker, kafka=address, client_id=f"b-{victim}", share=victim)
    programs = {
        "bridge": [Program("bridge", bridge, tmp_path)],
        "worker": [Program("worker", worker, tmp_path) for _ in range(2)],
    }
    kills = 0
    with contextlib.ExitStack() as stack:
        for program in [*programs["bridge"], *programs["worker"]]:
            stack.callback(program.kill)
            program.start()
        fleet = stack.enter_context(FleetThread(Fleet(mqtt_broker, C, every_seconds=0.25)))
        end = time.monotonic() + SECONDS
        while kills == 0 or time.monotonic() < end:
            time.sleep(chance.uniform(0.5, 2.5))
            if victim == "kafka":
                kafka.kill()
                kafka.node.wipe()
                kafka.start()
            else:
                chosen = chance.choice(programs[victim])
                chosen.kill()
                time.sleep(chance.uniform(0.0, 1.0))
                chosen.start()
            kills += 1
            for program in programs["worker"]:
                if not program.alive:  # Kafka took it along: the supervisor would start it again
                    program.start()
        fleet.every_seconds = 0.0
        drained(fleet)
        truth = fleet.truth()
    stored = registers(db)
    assert stored == truth, f"missing {len(truth.keys() - stored.keys())}"
    with db.transaction() as conn:
        totals = ingest.totals(conn)
    assert (totals["stored"], totals["quarantined"]) == (len(truth), 0)
    print(f"{victim}: {kills} kills, {len(truth)} readings, {fleet.resent} batches sent again")
