"""The distributed runner on a real Apache Kafka, a real MQTT broker and a real PostgreSQL."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import aiomqtt
import pytest
from aiokafka import AIOKafkaProducer  # type: ignore[import-untyped]
from aiokafka.admin import AIOKafkaAdminClient  # type: ignore[import-untyped]

from cloud.ingest import service as ingest
from cloud.ingest.runner import bridge, seam
from cloud.ingest.runner import worker as runner
from cloud.ingest.runner.cluster import cluster_id, declare
from cloud.ingest.runner.record import to_record
from cloud.ingest.runner.seam import Log
from cloud.ingest.runner.settings import BridgeConfig, KafkaAddress, WorkerConfig
from cloud.store.db import Database, TransientDatabaseError
from cloud.usage import runner as worker
from meterloop.embedded.kafka import EmbeddedKafka
from protocols.identity import BatchId, ConcentratorId
from protocols.mqtt.broker import BrokerAddress
from protocols.mqtt.receipt import Custody
from tests.integration.ingest_kit import READINGS, arrival_of, payload_of, tables
from tests.integration.kafka_kit import (
    METERS_EACH,
    Fleet,
    address_of,
    batch_of,
    build_city,
    names,
    running_kafka,
    send,
    sending,
)

DEADLINE = 100.0
pytestmark = pytest.mark.timeout(300)
C = names(6)
Status = dict[str, int | str]


@pytest.fixture(scope="module")
def kafka() -> Iterator[EmbeddedKafka]:
    """A Kafka of this module; each test has a topic of its own."""
    with running_kafka() as node:
        yield node


@contextlib.asynccontextmanager
async def serving(run: Any, config: Any) -> AsyncIterator[Status]:
    """Run a bridge or a worker in this process; yield its counters once it serves."""
    stop, up, status = asyncio.Event(), asyncio.Event(), dict[str, int | str]()
    task = asyncio.create_task(run(config, stop=stop, ready=up.set, status=status))
    waiting = asyncio.create_task(up.wait())
    await asyncio.wait((task, waiting), timeout=DEADLINE, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    assert up.is_set(), status
    try:
        yield status
    finally:
        stop.set()
        _, late = await asyncio.wait([task], timeout=DEADLINE)
        stacks = [str(each.get_stack(limit=2)) for each in asyncio.all_tasks()] if late else []
        assert not late, "it did not stop:\n" + "\n".join(stacks)
        task.result()


def bridge_config(broker: BrokerAddress, address: KafkaAddress) -> BridgeConfig:
    tag = secrets.token_hex(4)
    return BridgeConfig(broker=broker, kafka=address, client_id=f"b-{tag}", share=f"s-{tag}")


def worker_config(dsn: str, broker: BrokerAddress, address: KafkaAddress) -> WorkerConfig:
    return WorkerConfig(
        dsn=dsn, broker=broker, kafka=address, silent_after_wall_seconds=0.5,
        sweep_wall_seconds=0.1, session_wall_seconds=6.0,
    )  # fmt: skip


def stored(db: Database) -> dict[tuple[str, int], int]:
    """Return (meter, at_ms) -> Wh of every register."""
    found = {}
    with db.transaction() as conn:
        for seen in ingest.meters_seen(conn):
            series = ingest.raw_registers(conn, seen.meter)
            for at_ms, wh in zip(series.at_ms.tolist(), series.wh.tolist(), strict=True):
                assert (seen.meter, at_ms) not in found
                found[str(seen.meter), at_ms] = wh
    return found


async def until(condition: Any) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.02)


async def records_of(address: KafkaAddress) -> int:
    """Return how many records the topic holds."""
    from aiokafka import AIOKafkaConsumer

    consumer = AIOKafkaConsumer(address.topic, bootstrap_servers=address.servers)
    await consumer.start()
    try:
        ends = await consumer.end_offsets(consumer.assignment())
        return sum(ends.values())
    finally:
        await consumer.stop()


async def write(address: KafkaAddress, *records: tuple[bytes, bytes, Any]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=address.servers)
    await producer.start()
    for key, value, headers in records:
        await producer.send_and_wait(address.topic, value=value, key=key, headers=headers)
    await producer.stop()


def record(concentrator: ConcentratorId, seq: int) -> tuple[bytes, bytes, Any]:
    id_ = BatchId(concentrator=concentrator, boot=1, seq=seq)
    arrival = arrival_of(
        payload_of(batch_of(concentrator, seq)), concentrator=concentrator, hint=id_,
        now=datetime.now(UTC),
    )  # fmt: skip
    return to_record(replace(arrival, wall_now=datetime.now(UTC)))


@pytest.mark.req("A1")
def test_a_batch_goes_through_kafka_and_its_receipt_comes_back(
    database_dsn: str, mqtt_broker: BrokerAddress, db: Database, kafka: EmbeddedKafka
) -> None:
    build_city(db, C)
    address = address_of(kafka)

    async def story() -> None:
        async with (
            serving(bridge.run, bridge_config(mqtt_broker, address)) as carried,
            serving(worker.run, worker_config(database_dsn, mqtt_broker, address)) as status,
            sending(Fleet(mqtt_broker, C)) as fleet,
        ):
            fleet.make(rounds=5)
            await fleet.drained(DEADLINE)
            assert stored(db) == fleet.truth()
            assert carried["carried"] == len(fleet.made) + fleet.resent
            assert (status["partitions"], status["leads"]) == (4, 1)
            await until(lambda: int(status.get("sweeps", 0)) > 1)
        places = seam.places(db, Log(cluster=await cluster_id(address), topic=address.topic))
        assert sum(places.values()) == await records_of(address)

    asyncio.run(story())


def test_two_workers_share_the_partitions_and_one_alone_takes_all_of_them_back(
    database_dsn: str, mqtt_broker: BrokerAddress, db: Database, kafka: EmbeddedKafka
) -> None:
    build_city(db, C)
    address = address_of(kafka)
    config = worker_config(database_dsn, mqtt_broker, address)

    async def story() -> None:
        async with (
            serving(bridge.run, bridge_config(mqtt_broker, address)),
            serving(worker.run, config) as first,
            sending(Fleet(mqtt_broker, C)) as fleet,
        ):
            async with serving(worker.run, config) as second:
                await until(lambda: (first["partitions"], second["partitions"]) == (2, 2))
                assert {first["leads"], second["leads"]} == {0, 1}
                fleet.make(rounds=10)
                await fleet.drained(DEADLINE)
                assert int(first["taken"]) > 0
                assert int(second["taken"]) > 0
            await until(lambda: first["partitions"] == 4)
            fleet.make(rounds=3)
            await fleet.drained(DEADLINE)
            assert stored(db) == fleet.truth()

    asyncio.run(story())


def test_reading_begins_where_the_database_says_and_a_topic_made_anew_at_its_beginning(
    database_dsn: str, mqtt_broker: BrokerAddress, db: Database, kafka: EmbeddedKafka
) -> None:
    build_city(db, C)
    address = address_of(kafka, partitions=1)
    config = worker_config(database_dsn, mqtt_broker, address)

    async def story() -> None:
        await declare(address)
        await write(address, *(record(C[0], seq) for seq in (1, 2, 3)))
        async with serving(worker.run, config) as status:
            await until(lambda: status.get("batches") == 3)
        # another group knows nothing of what Kafka was told, and still takes nothing twice
        other = replace(config, kafka=replace(address, group=f"{address.group}-other"))
        await write(address, record(C[0], 4))
        async with serving(worker.run, other) as status:
            await until(lambda: status.get("taken") == 1)
            assert status["batches"] == 1
        admin = AIOKafkaAdminClient(bootstrap_servers=address.servers)
        await admin.start()
        await admin.delete_topics([address.topic])
        async with asyncio.timeout(60):  # the node removes it in its own time
            while address.topic in await admin.list_topics():
                await asyncio.sleep(0.1)
        await declare(address)
        await admin.close()
        await write(address, record(C[0], 5))
        async with serving(worker.run, config) as status:
            await until(lambda: status.get("batches") == 1)
        log = Log(cluster=await cluster_id(address), topic=address.topic)
        assert seam.places(db, log) == {0: 1}

    asyncio.run(story())
    assert len(tables(db, READINGS[0])[0]) == 5 * METERS_EACH


def test_a_place_moves_with_the_rows_or_not_at_all(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_city(db, C)
    log = Log(cluster="one", topic="t")
    arrival = arrival_of(payload_of(batch_of(C[0], 1)), concentrator=C[0])
    taken = [seam.Taken(partition=2, offset=41, arrival=arrival)]
    now = arrival.now

    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("a bug of ours")

    with pytest.raises(ZeroDivisionError):
        seam.store_taken(db, taken, log=log, now=now, derive=broken, policy=ingest.DEFAULT_POLICY)
    assert seam.places(db, log) == {}
    assert stored(db) == {}
    for offset in (41, 7):  # a late worker that lost the partition never moves the place back
        item = replace(taken[0], offset=offset)
        seam.store_taken(
            db, [item], log=log, now=now, derive=lambda *_: {}, policy=ingest.DEFAULT_POLICY
        )
        assert seam.places(db, log) == {2: 42}
    assert len(stored(db)) == METERS_EACH


def test_poison_and_strangers_never_stop_the_stream(
    database_dsn: str,
    mqtt_broker: BrokerAddress,
    db: Database,
    kafka: EmbeddedKafka,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    build_city(db, C)
    address = address_of(kafka, partitions=1)
    config = worker_config(database_dsn, mqtt_broker, address)
    real = ingest.store_batches

    def store(db: Database, arrivals: Any, **named: Any) -> Any:
        if any(arrival.hint is not None and arrival.hint.seq == 2 for arrival in arrivals):
            raise ZeroDivisionError("a bug of ours")
        return real(db, arrivals, **named)

    monkeypatch.setattr(ingest, "store_batches", store)

    async def story() -> None:
        await declare(address)
        key, _, headers = record(C[0], 3)
        await write(
            address,
            record(C[0], 1),
            (b"who", b"\x00", [("v", b"9")]),
            record(C[0], 2),
            (b"who", b"", None),
            (key, b"\x00garbage", headers),
            record(C[0], 4),
        )
        async with serving(worker.run, config) as status:
            await until(lambda: status.get("taken") == 6)
            assert status["stray"] == 2
        log = Log(cluster=await cluster_id(address), topic=address.topic)
        assert seam.places(db, log) == {0: 6}

    asyncio.run(story())
    with db.transaction() as conn:
        kept = {item.seq: item for item in ingest.quarantined(conn)}
    assert (kept[2].cause, kept[3].cause) == ("ingest.poisoned", "payload.compression")
    assert kept[2].octets == len(payload_of(batch_of(C[0], 2)))
    assert kept[3].octets == len(b"\x00garbage")
    assert len(stored(db)) == 2 * METERS_EACH


def test_while_the_database_is_away_a_worker_waits_and_loses_nothing(
    database_dsn: str,
    mqtt_broker: BrokerAddress,
    db: Database,
    kafka: EmbeddedKafka,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    build_city(db, C)
    address = address_of(kafka)
    config = worker_config(database_dsn, mqtt_broker, address)
    real, away = seam.store_taken, asyncio.Event()

    def store(*args: Any, **named: Any) -> Any:
        if away.is_set():
            raise TransientDatabaseError("the server is away")
        return real(*args, **named)

    monkeypatch.setattr(seam, "store_taken", store)

    async def story() -> None:
        async with (
            serving(bridge.run, bridge_config(mqtt_broker, address)),
            sending(Fleet(mqtt_broker, C)) as fleet,
        ):
            async with serving(worker.run, config) as status:
                away.set()
                fleet.make(rounds=2)
                await until(lambda: status.get("database") == "away")
                assert fleet.receipts == 0
            # stopped in the middle: Kafka was told that it was taken, the database was not
            away.clear()
            async with serving(worker.run, config):
                await fleet.drained(DEADLINE)
                assert stored(db) == fleet.truth()

    asyncio.run(story())


def test_what_kafka_has_not_is_not_acknowledged_and_comes_again(
    mqtt_broker: BrokerAddress, kafka: EmbeddedKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = address_of(kafka)
    config = replace(bridge_config(mqtt_broker, address), inflight=5)
    real, away = bridge._Log.send, asyncio.Event()

    async def sending_nothing(self: Any, *arguments: Any) -> None:
        while away.is_set():
            await asyncio.sleep(0.02)
        await real(self, *arguments)

    monkeypatch.setattr(bridge._Log, "send", sending_nothing)

    async def story() -> None:
        async with aiomqtt.Client(
            mqtt_broker.host, mqtt_broker.port, protocol=aiomqtt.ProtocolVersion.V5,
            identifier=f"edge-{secrets.token_hex(4)}",
        ) as client:  # fmt: skip
            away.set()
            async with serving(bridge.run, config) as status:
                for seq in range(20):
                    await send(client, C[0], b"octets", boot=1, seq=seq)
                await asyncio.sleep(0.5)
                assert "carried" not in status
            # it ended with twenty messages that it never acknowledged: its session brings them
            away.clear()
            async with serving(bridge.run, config) as status:
                await until(lambda: status.get("carried") == 20)
        assert await records_of(address) == 20

    asyncio.run(story())


@pytest.mark.parametrize("topic", ["ami/v1/bad name/up/data", "ami/v1/+/up/data"])
def test_a_message_of_no_concentrator_makes_no_record(topic: str) -> None:
    arrival = replace(arrival_of(b"x"), topic=topic)
    with pytest.raises(Exception, match=r"mqtt\.topic"):
        to_record(arrival)


def test_custody_of_a_poisoned_batch_is_told(
    db: Database,
) -> None:
    build_city(db, C)
    id_ = BatchId(concentrator=C[0], boot=1, seq=9)
    arrival = arrival_of(b"x", concentrator=C[0], hint=id_)
    outcome = seam.give_up(
        db, seam.Taken(partition=0, offset=3, arrival=arrival), ValueError("x"),
        log=Log(cluster="one", topic="t"), now=arrival.now + timedelta(days=1),
    )  # fmt: skip
    assert outcome.receipt is not None
    assert outcome.receipt.custody is Custody.QUARANTINED
    assert seam.places(db, Log(cluster="one", topic="t")) == {0: 4}


def test_settings_that_no_cluster_takes_are_refused() -> None:
    for change in ({"servers": ""}, {"partitions": 0}, {"username": "u"}):
        named: Mapping[str, Any] = {"servers": "h:1"} | change
        with pytest.raises(ValueError, match="kafka"):
            KafkaAddress(**named)


def test_sign_in_follows_the_address(tmp_path: Any) -> None:
    secret = tmp_path / "password"
    secret.write_text("word\n")
    address = KafkaAddress(servers="h:1,i:2", username="u", password_file=str(secret))
    settings = runner._settings_of(
        WorkerConfig(dsn="", broker=BrokerAddress(host="", port=1), kafka=address)
    )
    assert settings["broker"] == "aiokafka://h:1;aiokafka://i:2"
    credentials = settings["broker_credentials"]
    assert (credentials.username, credentials.password) == ("u", "word")
    assert credentials.mechanism.value == "SCRAM-SHA-512"
