"""The whole ingest process: a real broker, a real PostgreSQL, batches in, receipts out."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiomqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from cloud.ingest import service as ingest
from cloud.ingest.service import intake, taking
from cloud.store.db import Database, TransientDatabaseError
from cloud.store.migrate import migrate
from cloud.usage import agent
from cloud.usage.agent import IngestConfig
from meterloop.embedded.postgres import Cluster, EmbeddedPostgres
from protocols.identity import ConcentratorId
from protocols.mqtt import envelope, topics
from protocols.mqtt.broker import BrokerAddress
from protocols.mqtt.live import LiveReading, live_from_bytes
from protocols.mqtt.receipt import BatchReceipt, Custody, receipt_from_plain
from protocols.mqtt.topics import Live
from protocols.mqtt.uplink import DataBatch
from protocols.timeline import TimeScale
from tests.integration.ingest_kit import (
    C1,
    M1,
    ORIGIN,
    READINGS,
    UP1,
    a_batch,
    build_network,
    payload_of,
    registers,
    slots,
    tables,
)

DEADLINE = 60.0
SCALE = TimeScale(wall_origin=datetime.now(UTC), origin=ORIGIN + timedelta(days=2), speed=60)


class Edge:
    """A concentrator at the broker: sends octets, hears receipts and live readings."""

    def __init__(self, client: aiomqtt.Client) -> None:
        self._client = client
        self.receipts: asyncio.Queue[BatchReceipt] = asyncio.Queue()
        self.live: asyncio.Queue[LiveReading] = asyncio.Queue()

    async def send(self, payload: bytes, *, boot: int, seq: int) -> None:
        properties = Properties(PacketTypes.PUBLISH)
        properties.ContentType = envelope.CBOR_ZSTD
        properties.UserProperty = [("boot", str(boot)), ("seq", str(seq))]
        await self._client.publish(topics.up_data(C1), payload, qos=1, properties=properties)

    async def send_batch(self, batch: DataBatch) -> None:
        await self.send(payload_of(batch), boot=batch.id.boot, seq=batch.id.seq)

    async def receipt(self) -> BatchReceipt:
        return await asyncio.wait_for(self.receipts.get(), DEADLINE)

    async def listen(self) -> None:
        async for message in self._client.messages:
            assert isinstance(message.payload, bytes)
            if str(message.topic) == topics.down_receipt(C1):
                content_type = message.properties.ContentType
                plain = envelope.decode(message.payload, content_type)
                receipt = receipt_from_plain(plain)
                assert isinstance(receipt, BatchReceipt)
                self.receipts.put_nowait(receipt)
            else:
                reading = live_from_bytes(Live.READING, message.payload)
                assert isinstance(reading, LiveReading)
                self.live.put_nowait(reading)


@contextlib.asynccontextmanager
async def an_edge(broker: BrokerAddress) -> AsyncIterator[Edge]:
    async with aiomqtt.Client(
        broker.host, broker.port, identifier=f"edge-{secrets.token_hex(4)}",
        protocol=aiomqtt.ProtocolVersion.V5,
    ) as client:  # fmt: skip
        await client.subscribe(topics.down_receipt(C1), qos=1)
        await client.subscribe(topics.live(UP1, Live.READING), qos=0)
        edge = Edge(client)
        listening = asyncio.create_task(edge.listen())
        try:
            yield edge
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


@contextlib.asynccontextmanager
async def the_process(
    dsn: str, broker: BrokerAddress, status: dict[str, int | str]
) -> AsyncIterator[None]:
    stop, up = asyncio.Event(), asyncio.Event()
    config = IngestConfig(
        dsn=dsn, broker=broker, scale=SCALE, client_id=f"ingest-{secrets.token_hex(4)}",
        silent_after_wall_seconds=0.2, sweep_wall_seconds=0.1, keep_wall_seconds=0.2,
    )  # fmt: skip
    task = asyncio.create_task(agent.run(config, stop=stop, ready=up.set, status=status))
    waiting = asyncio.create_task(up.wait())
    await asyncio.wait((task, waiting), timeout=DEADLINE, return_when=asyncio.FIRST_COMPLETED)
    assert up.is_set()
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, DEADLINE)


@pytest.mark.req("A1")
def test_batch_in_receipt_and_live_reading_out(
    database_dsn: str, mqtt_broker: BrokerAddress, db: Database
) -> None:
    build_network(db)
    status: dict[str, int | str] = {}

    async def story() -> None:
        async with the_process(database_dsn, mqtt_broker, status), an_edge(mqtt_broker) as edge:
            batch = a_batch(1, registers(M1, {1: 1000, 2: 1400}))
            await edge.send_batch(batch)
            assert await edge.receipt() == BatchReceipt(boot=1, seq=1, custody=Custody.STORED)
            # the receipt came after the commit: the rows are there
            assert len(tables(db, READINGS[0])[0]) == 2
            async with asyncio.timeout(DEADLINE):
                # the broker may first tell what it retained of an earlier test
                while (live := await edge.live.get()).register_wh != 1400:
                    pass
            assert live.usage_point == UP1
            await edge.send_batch(batch)
            assert await edge.receipt() == BatchReceipt(boot=1, seq=1, custody=Custody.STORED)
            await edge.send(b"\x00garbage", boot=1, seq=2)
            assert await edge.receipt() == BatchReceipt(boot=1, seq=2, custody=Custody.QUARANTINED)

    asyncio.run(story())
    assert (status["batches"], status["repeats"], status["payloads_quarantined"]) == (2, 1, 1)
    assert status["receipts"] == 3
    with db.transaction() as conn:
        assert [item.cause for item in ingest.quarantined(conn)] == ["payload.compression"]


def test_presence_is_kept_and_past_days_are_packed(
    database_dsn: str, mqtt_broker: BrokerAddress, db: Database
) -> None:
    build_network(db)
    ingest.open_days_ahead(db, now=ORIGIN - timedelta(days=5), ahead=0)
    status: dict[str, int | str] = {}

    def presence() -> list[tuple[ConcentratorId, bool]]:
        with db.transaction() as conn:
            return [(one.concentrator, one.online) for one in ingest.concentrator_presence(conn)]

    async def told(client: aiomqtt.Client, payload: bytes, *, online: bool) -> None:
        await client.publish(topics.up_state(C1), payload, qos=1, retain=True)
        async with asyncio.timeout(DEADLINE):
            while presence() != [(C1, online)]:
                await asyncio.sleep(0.05)

    async def story() -> None:
        async with the_process(database_dsn, mqtt_broker, status):
            async with aiomqtt.Client(
                mqtt_broker.host, mqtt_broker.port, identifier=f"edge-{secrets.token_hex(4)}",
                protocol=aiomqtt.ProtocolVersion.V5,
            ) as client:  # fmt: skip
                await client.publish(topics.up_state(C1), b"no state at all", qos=1)
                await told(client, b'{"online": true, "boot": 3}', online=True)
                await told(client, b'{"online": false, "boot": 3}', online=False)
            async with asyncio.timeout(DEADLINE):
                while status.get("days_packed") != 1:
                    await asyncio.sleep(0.05)

    asyncio.run(story())
    assert status["states_unread"] == 1
    with db.transaction() as conn:
        assert (ORIGIN - timedelta(days=5)).date() not in ingest.days_open(conn)


def test_while_the_database_is_away_nothing_is_receipted_and_nothing_lost(
    database_dsn: str, mqtt_broker: BrokerAddress, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_network(db)
    status: dict[str, int | str] = {}
    real, away = ingest.store_batches, asyncio.Event()

    def store(*args: Any, **named: Any) -> Any:
        if away.is_set():
            raise TransientDatabaseError("the server is away")
        return real(*args, **named)

    monkeypatch.setattr(ingest, "store_batches", store)

    async def story() -> None:
        away.set()
        async with the_process(database_dsn, mqtt_broker, status), an_edge(mqtt_broker) as edge:
            batch = a_batch(1, registers(M1, {1: 1000}))
            for _ in range(3):
                await edge.send_batch(batch)
            async with asyncio.timeout(DEADLINE):
                while status.get("waiting_repeats") != 2 or status.get("database") != "away":
                    await asyncio.sleep(0.02)
            assert edge.receipts.empty()
            away.clear()
            assert await edge.receipt() == BatchReceipt(boot=1, seq=1)

    asyncio.run(story())
    assert status["batches"] == 1
    assert len(tables(db, READINGS[0])[0]) == 1


def test_a_batch_that_breaks_the_code_is_kept_and_the_next_one_stored(
    database_dsn: str, mqtt_broker: BrokerAddress, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_network(db)
    status: dict[str, int | str] = {}
    real = taking.take

    def take(conn: Any, entries: Any, policy: Any) -> Any:
        if any(entry.batch.id.seq == 1 for entry in entries):
            raise ZeroDivisionError("a bug of ours")
        return real(conn, entries, policy)

    monkeypatch.setattr(intake, "take", take)

    async def story() -> None:
        async with the_process(database_dsn, mqtt_broker, status), an_edge(mqtt_broker) as edge:
            await edge.send_batch(a_batch(1, registers(M1, {1: 1000})))
            await edge.send_batch(a_batch(2, registers(M1, {2: 1100})))
            assert await edge.receipt() == BatchReceipt(boot=1, seq=1, custody=Custody.QUARANTINED)
            assert await edge.receipt() == BatchReceipt(boot=1, seq=2, custody=Custody.STORED)

    asyncio.run(story())
    with db.transaction() as conn:
        (item,) = ingest.quarantined(conn)
    assert (item.cause, item.seq) == ("ingest.poisoned", 1)
    assert item.octets == len(payload_of(a_batch(1, registers(M1, {1: 1000}))))


def test_the_watch_finds_meters_that_never_spoke(
    database_dsn: str, mqtt_broker: BrokerAddress, db: Database
) -> None:
    build_network(db)
    status: dict[str, int | str] = {}

    async def story() -> None:
        async with the_process(database_dsn, mqtt_broker, status):
            async with asyncio.timeout(DEADLINE):
                while int(status.get("sweeps", 0)) < 2:
                    await asyncio.sleep(0.02)

    asyncio.run(story())
    # whether missing registers were looked for too by then is another loop's hurry
    (found,) = tables(
        db,
        "SELECT count(*) FROM vee.exception WHERE kind = 'silent' AND closed_at IS NULL",
    )
    assert found == [(3,)]


def test_speed_1_stop_is_soon_when_the_broker_is_away(database_dsn: str) -> None:
    status: dict[str, int | str] = {}
    config = IngestConfig(dsn=database_dsn, broker=BrokerAddress(host="127.0.0.1", port=1))

    async def story() -> None:
        stop = asyncio.Event()
        task = asyncio.create_task(agent.run(config, stop=stop, ready=lambda: None, status=status))
        async with asyncio.timeout(DEADLINE):
            while status.get("broker") != "away":
                await asyncio.sleep(0.02)
            stop.set()
            await task

    asyncio.run(story())


def test_the_batch_number_beside_the_payload_must_be_a_number() -> None:
    from cloud.ingest.agent.arriving import hint_of

    topic = topics.up_data(ConcentratorId("C-01"))
    assert hint_of(topic, [("boot", "1"), ("seq", "x")]) is None
    assert hint_of(topic, [("boot", "1")]) is None
    assert hint_of(topic, [("boot", "1"), ("seq", str(2**63))]) is None
    found = hint_of(topic, [("boot", "1"), ("seq", "2")])
    assert found is not None
    assert (found.boot, found.seq) == (1, 2)


def test_a_batch_sent_while_postgresql_is_down_is_stored_when_it_is_back(
    tmp_path_factory: pytest.TempPathFactory, mqtt_broker: BrokerAddress
) -> None:
    cluster = Cluster(folder=tmp_path_factory.mktemp("pg"), durable=False)
    status: dict[str, int | str] = {}

    async def story() -> None:
        first = EmbeddedPostgres(cluster)
        await asyncio.to_thread(first.start)
        await asyncio.to_thread(migrate, first.dsn)
        with Database(first.dsn) as db:
            await asyncio.to_thread(build_network, db)
        async with the_process(first.dsn, mqtt_broker, status), an_edge(mqtt_broker) as edge:
            await edge.send_batch(a_batch(1, registers(M1, {1: 1000})))
            assert await edge.receipt() == BatchReceipt(boot=1, seq=1)
            await asyncio.to_thread(first.stop)
            await edge.send_batch(a_batch(2, registers(M1, {2: 1100})))
            async with asyncio.timeout(DEADLINE):
                while status["database"] != "away":
                    await asyncio.sleep(0.05)
            assert edge.receipts.empty()
            second = EmbeddedPostgres(cluster)
            await asyncio.to_thread(second.start)
            assert await edge.receipt() == BatchReceipt(boot=1, seq=2)
        with Database(second.dsn) as db:
            assert [row[-1] for row in tables(db, READINGS[0])[0]] == [1000, 1100]
        await asyncio.to_thread(second.stop)

    asyncio.run(story())


@pytest.mark.req("B17")
def test_the_process_validates_days_as_they_end(
    db: Database, database_dsn: str, mqtt_broker: BrokerAddress
) -> None:
    build_network(db)
    # the first two midnights of the zone are 16 and 40 hours after the origin
    gap = range(50, 56)
    batch = a_batch(
        1,
        [
            *slots(M1, {n: 100 + n for n in range(84) if n not in gap}),
            *registers(M1, {0: 0, 16: sum(100 + n for n in range(32)),
                            40: sum(100 + n for n in range(80))}),
        ],
    )  # fmt: skip
    query = f"SELECT wh FROM vee.overlay WHERE usage_point = '{UP1}'"
    found: list[tuple[Any, ...]] = []

    async def scene() -> None:
        async with the_process(database_dsn, mqtt_broker, {}), an_edge(mqtt_broker) as edge:
            await edge.send_batch(batch)
            await edge.receipt()
            async with asyncio.timeout(DEADLINE):
                while not found:
                    await asyncio.sleep(0.2)
                    found.extend(tables(db, query)[0])

    asyncio.run(scene())
    assert [sum(row[0]) for row in found] == [sum(100 + n for n in gap)]
