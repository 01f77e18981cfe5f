"""A real Apache Kafka for tests, concentrators that send until their receipt, and the count."""

import asyncio
import contextlib
import itertools
import json
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

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
from cloud.ingest.runner.settings import BridgeConfig, KafkaAddress, WorkerConfig
from cloud.store.db import Database
from cloud.store.rim import ended
from edge.uplink.publish import WINDOW
from meterloop.embedded.broker import free_port
from meterloop.embedded.kafka import EmbeddedKafka, LocalKafka, jars
from meterloop.embedded.spawn import EmbeddedError, tethered
from protocols.identity import ConcentratorId, MeterId, TransformerId, UsagePointId
from protocols.mqtt import envelope, topics
from protocols.mqtt.broker import BrokerAddress
from protocols.mqtt.receipt import BatchReceipt, receipt_from_plain
from protocols.mqtt.uplink import DataBatch
from protocols.reading import Channel
from tests.integration.ingest_kit import ORIGIN, a_batch, payload_of

METERS_EACH = 10
RESEND_SECONDS = 3.0


def a_kafka() -> EmbeddedKafka:
    """Return a node that is not started; skip where none can run here."""
    try:
        jars()
    except EmbeddedError as error:
        pytest.skip(f"Apache Kafka cannot run here: {error}")
    folder = Path(tempfile.mkdtemp(prefix="ml-kafka-"))
    return EmbeddedKafka(LocalKafka(folder=folder, port=free_port(), controller_port=free_port()))


@contextlib.contextmanager
def running_kafka() -> Iterator[EmbeddedKafka]:
    """Yield a node that serves; its files go when it ends."""
    kafka = a_kafka()
    kafka.start()
    try:
        yield kafka
    finally:
        kafka.kill()
        subprocess.run(["rm", "-rf", str(kafka.node.folder)], check=True)


def names(count: int) -> list[ConcentratorId]:
    """Return so many concentrators."""
    return [ConcentratorId(f"C-{number:03}") for number in range(1, count + 1)]


def meters_of(concentrator: ConcentratorId) -> list[MeterId]:
    """Return the meters that hang on a concentrator."""
    return [MeterId(f"M-{concentrator[2:]}-{number:02}") for number in range(METERS_EACH)]


def build_city(db: Database, concentrators: Sequence[ConcentratorId]) -> None:
    """Register concentrators with ten meters each."""
    every = [(c, m) for c in concentrators for m in meters_of(c)]
    assets.register(
        db,
        Registration(
            transformers=(Transformer(id=TransformerId("T-01")),),
            usage_points=tuple(
                UsagePoint(
                    id=UsagePointId(f"UP-{m}"), kind=PointKind.CUSTOMER,
                    transformer=TransformerId("T-01"), zone="UTC", capacity_w=8000,
                )
                for _, m in every
            ),
            concentrators=tuple(Concentrator(id=c) for c in concentrators),
            meters=tuple(
                Meter(
                    id=m, model="x", protocol="dlms", has_relay=True, can_close_remotely=True,
                    interval_seconds=1800, control_mode=4, max_w=20_000, rollover_wh=None,
                )
                for _, m in every
            ),
            installations=tuple(
                Installation(
                    meter=m, usage_point=UsagePointId(f"UP-{m}"), concentrator=c,
                    installed_at=ORIGIN,
                )
                for c, m in every
            ),
        ),
        now=ORIGIN,
    )  # fmt: skip


def batch_of(concentrator: ConcentratorId, seq: int) -> DataBatch:
    """Return batch `seq`: a register of each meter a quarter of an hour after the one before."""
    at = ORIGIN + timedelta(minutes=15 * seq)
    return a_batch(
        seq,
        [
            (meter, Channel.IMPORT_WH, at, seq * 100 + number)
            for number, meter in enumerate(meters_of(concentrator))
        ],
        concentrator=concentrator,
    )


@dataclass
class Fleet:
    """Concentrators that keep each batch until its receipt, and what is then true."""

    broker: BrokerAddress
    concentrators: Sequence[ConcentratorId]
    outbox: dict[tuple[str, int], bytes] = field(default_factory=dict)
    made: dict[tuple[str, int], DataBatch] = field(default_factory=dict)
    receipts: int = 0
    resent: int = 0
    every_seconds: float = 0.0
    """Read anew so often by itself, as long as it is above zero."""
    most_waiting: int = 1_000_000
    """Nothing is read by itself while so many batches wait: a slow machine gets less to do."""
    _read_at: float = 0.0
    _sent_at: dict[tuple[str, int], float] = field(default_factory=dict)
    _numbers: Any = field(default_factory=lambda: itertools.count(1))

    def make(self, rounds: int = 1) -> None:
        """Every concentrator reads its meters so many times."""
        for seq in itertools.islice(self._numbers, rounds):
            for concentrator in self.concentrators:
                batch = batch_of(concentrator, seq)
                self.made[concentrator, seq] = batch
                self.outbox[concentrator, seq] = payload_of(batch)

    async def run(self, stop: asyncio.Event) -> None:
        """Send what has no receipt, again and again; the broker may go and come back."""
        while not stop.is_set():
            with contextlib.suppress(aiomqtt.MqttError, OSError):
                async with aiomqtt.Client(
                    self.broker.host, self.broker.port, protocol=aiomqtt.ProtocolVersion.V5,
                    identifier=f"fleet-{secrets.token_hex(4)}",
                ) as client:  # fmt: skip
                    await client.subscribe(topics.down_receipt(ConcentratorId("+")), qos=1)
                    hearing = asyncio.create_task(self._hear(client))
                    try:
                        while not stop.is_set() and not hearing.done():
                            self._read()
                            await self._send_due(client)
                            await asyncio.sleep(0.02)
                    finally:
                        await ended(hearing)
            await asyncio.sleep(0.1)

    def _read(self) -> None:
        now = asyncio.get_running_loop().time()
        due = self.every_seconds > 0 and now - self._read_at >= self.every_seconds
        if due and len(self.outbox) < self.most_waiting:
            self._read_at = now
            self.make()

    async def _send_due(self, client: aiomqtt.Client) -> None:
        now = asyncio.get_running_loop().time()
        under_way: Counter[str] = Counter()
        due = []
        for key in self.outbox:  # as an agent does: its oldest few, until their receipts
            under_way[key[0]] += 1
            if under_way[key[0]] > WINDOW:
                continue
            if now - self._sent_at.get(key, -RESEND_SECONDS) >= RESEND_SECONDS:
                due.append(key)
        for key in due:
            self.resent += key in self._sent_at
            self._sent_at[key] = now
            payload = self.outbox.get(key)
            if payload is not None:
                await send(client, ConcentratorId(key[0]), payload, boot=1, seq=key[1])

    async def _hear(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            receipt = receipt_from_plain(envelope.decode(message.payload, envelope.CBOR))
            assert isinstance(receipt, BatchReceipt)
            self.receipts += 1
            self.outbox.pop((topics.concentrator_of(str(message.topic)), receipt.seq), None)

    async def drained(self, seconds: float) -> None:
        """Return when every batch has its receipt; fail when none came for so long."""
        waiting = Patience(self, seconds)
        while self.outbox:
            waiting.look()
            await asyncio.sleep(0.02)

    def truth(self) -> dict[tuple[str, int], int]:
        """Return (meter, at_ms) -> Wh of everything that was ever read."""
        found = {}
        for batch in self.made.values():
            columns = {name: list(batch.columns[name]) for name in ("meter", "at_ms", "raw")}
            for meter, at_ms, raw in zip(*columns.values(), strict=True):
                found[str(batch.meters[meter]), int(at_ms)] = int(raw)
        return found


class Patience:
    """Waits for a fleet as long as receipts come: how many a busy machine gives is not judged."""

    def __init__(self, fleet: Fleet, seconds: float) -> None:
        """Begin to wait; `seconds` is how long nothing at all may come."""
        self._fleet, self._seconds = fleet, seconds
        self._receipts, self._since = fleet.receipts, time.monotonic()

    def look(self) -> None:
        """Fail where no receipt came for too long."""
        if self._fleet.receipts != self._receipts:
            self._receipts, self._since = self._fleet.receipts, time.monotonic()
        still = time.monotonic() - self._since
        left = len(self._fleet.outbox)
        assert still < self._seconds, f"{left} batches have no receipt, none came for {still:.0f} s"


async def send(
    client: aiomqtt.Client, concentrator: ConcentratorId, payload: bytes, *, boot: int, seq: int
) -> None:
    """Publish a payload as a concentrator does."""
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.ContentType = envelope.CBOR_ZSTD
    properties.UserProperty = [("boot", str(boot)), ("seq", str(seq))]
    await client.publish(topics.up_data(concentrator), payload, qos=1, properties=properties)


@contextlib.asynccontextmanager
async def sending(fleet: Fleet) -> AsyncIterator[Fleet]:
    """Let the fleet send."""
    stop = asyncio.Event()
    task = asyncio.create_task(fleet.run(stop))
    try:
        yield fleet
        if task.done():
            task.result()
    finally:
        stop.set()
        await asyncio.gather(task, return_exceptions=True)


class FleetThread:
    """A fleet that reads and sends on a thread of its own, whatever this one waits for."""

    def __init__(self, fleet: Fleet) -> None:
        """Start with the block."""
        self.fleet = fleet
        self._loop = asyncio.new_event_loop()
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._main, name="fleet")

    def _main(self) -> None:
        async def main() -> None:
            self._stop = asyncio.Event()
            await self.fleet.run(self._stop)

        self._loop.run_until_complete(main())
        self._loop.close()

    def __enter__(self) -> Fleet:
        self._thread.start()
        return self.fleet

    def __exit__(self, *_: object) -> None:
        if self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)


class Program:
    """A bridge or worker in a process of its own, as `up` starts it, which may be killed."""

    def __init__(self, kind: str, config: BridgeConfig | WorkerConfig, folder: Path) -> None:
        """Write its settings."""
        self.name = f"{kind}-{secrets.token_hex(3)}"
        self._kind = kind
        self._file = folder / f"{self.name}.json"
        self.log = folder / f"{self.name}.log"
        settings = asdict(config)
        settings.pop("scale", None)
        settings["scale"] = str(config.scale) if isinstance(config, WorkerConfig) else ""
        if not settings["scale"]:
            del settings["scale"]
        self._file.write_text(json.dumps(settings))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and return once it serves."""
        self.spawn()
        self.await_ready()

    def spawn(self) -> None:
        """Start it."""
        command = [sys.executable, "-m", "meterloop.runners", self._kind, str(self._file)]
        root = str(Path(__file__).parents[2])
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                tethered(command), stdout=subprocess.PIPE, stderr=output,
                env=os.environ | {"PYTHONPATH": root, "PYTHONUNBUFFERED": "1"},
            )  # fmt: skip

    def await_ready(self) -> None:
        """Return once it serves. Raises: AssertionError when it ends before."""
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if b'"ready"' in line:
                return
        raise AssertionError(f"{self.name} did not serve: {self.log.read_text()[-2000:]}")

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    @property
    def pid(self) -> int:
        """Return its number. Raises: AssertionError while it does not run."""
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Tell whether it runs."""
        return self._process is not None and self._process.poll() is None


def address_of(kafka: EmbeddedKafka, *, partitions: int = 4) -> KafkaAddress:
    """Return the cluster with a topic of this test's own."""
    tag = secrets.token_hex(4)
    return KafkaAddress(
        servers=kafka.servers, topic=f"batches.{tag}", group=f"g-{tag}", partitions=partitions
    )
