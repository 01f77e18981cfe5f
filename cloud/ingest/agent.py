"""
The MQTT rim of ingest: batches come in, receipts and live readings go out.

Batches of one concentrator are stored in the order in which they came; lanes run beside each
other. Where PostgreSQL is away a lane waits and sends no receipt: lanes and the client's queue are
bounded, what overflows them is dropped unread, and the edge sends it again until its receipt.
"""

import asyncio
import logging
import zlib
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from cloud.ingest import service
from cloud.ingest.model import Arrival, StoreOutcome
from cloud.ingest.service import Derive, Policy
from cloud.store.clock import Clock
from cloud.store.db import Database, TransientDatabaseError
from protocols.errors import PeerError
from protocols.identity import BatchId, UsagePointId
from protocols.mqtt import envelope, topics
from protocols.mqtt.broker import BrokerAddress
from protocols.mqtt.live import LiveReading, live_to_bytes
from protocols.mqtt.receipt import receipt_to_plain
from protocols.timeline import TimeScale

POISONED = "ingest.poisoned"
"""Cause of a payload that made storing fail for a reason of its own, `_TRIES` times."""

_TRIES = 3
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 3.0
_SESSION_SECONDS = 3600
_LIVE_TICK = 0.1
_LIVE_EACH = 1.0

_LOG = logging.getLogger(__name__)

Status = MutableMapping[str, int | str]


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestConfig:
    """
    What the process needs. *Units*: the keys named wall_seconds are wall time.

    `role` is the database role, empty where the DSN names it. `future_wall_seconds` is how far a
    device may be ahead of us; business time runs `scale.speed` times as fast.
    """

    dsn: str
    broker: BrokerAddress
    scale: TimeScale = field(default_factory=TimeScale)
    role: str = "meterloop_ingest"
    client_id: str = "cloud-ingest"
    lanes: int = 4
    waiting: int = 16
    silent_after_wall_seconds: float = 30.0
    sweep_wall_seconds: float = 2.0
    missing_days: int = 3
    future_wall_seconds: float = 1.0

    def policy(self, clock: Clock) -> Policy:
        """Return the limits on time: an hour of business time, or more where it runs fast."""
        least = Policy()
        return Policy(
            future=max(least.future, clock.wall_span(self.future_wall_seconds)),
            slack=max(least.slack, clock.wall_span(self.future_wall_seconds)),
        )


async def run(
    config: IngestConfig,
    *,
    stop: asyncio.Event,
    ready: Callable[[], None],
    status: Status,
    derive: Derive,
) -> None:
    """
    Store what concentrators send until `stop`; broker and database may go away and come back.

    `derive` runs in the transaction of each batch: see `cloud.usage.agent`, which is what to start.
    """
    clock = Clock(scale=config.scale)
    with Database(
        config.dsn, user=config.role, application="meterloop-ingest", size=config.lanes + 1
    ) as db:
        bridge = _Bridge(config, db, clock, derive, status=status)
        workers = [asyncio.create_task(bridge.store_lane(n)) for n in range(config.lanes)]
        workers.append(asyncio.create_task(bridge.publish_live()))
        session = asyncio.create_task(bridge.keep_session(stop, ready))
        try:
            done, _ = await asyncio.wait([session, *workers], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (session, *workers):
                task.cancel()
            await asyncio.gather(session, *workers, return_exceptions=True)


class _Bridge:
    """State of one running agent: lanes, the present connection, live readings to publish."""

    def __init__(
        self, config: IngestConfig, db: Database, clock: Clock, derive: Derive, *, status: Status
    ) -> None:
        self._config = config
        self._db = db
        self._clock = clock
        self._derive = derive
        self._policy = config.policy(clock)
        self._status = status
        self._client: aiomqtt.Client | None = None
        self._lanes: list[asyncio.Queue[Arrival]] = [
            asyncio.Queue(maxsize=config.waiting) for _ in range(config.lanes)
        ]
        self._waiting: set[BatchId] = set()
        self._live: dict[UsagePointId, LiveReading] = {}
        self._shown: dict[UsagePointId, tuple[float, LiveReading]] = {}

    async def keep_session(self, stop: asyncio.Event, ready: Callable[[], None]) -> None:
        """Stay connected to the broker until `stop`."""
        pause, announced = _FIRST_PAUSE, False
        while not stop.is_set():
            self._status["broker"] = "away"
            try:
                async with self._connection() as client:
                    await client.subscribe(topics.ALL_DATA, qos=1)
                    self._client, self._status["broker"] = client, "connected"
                    _LOG.info("ingest.broker.connected")
                    pause = _FIRST_PAUSE
                    if not announced and await self._database_up(stop):
                        ready()
                        announced = True
                    await self._hear_until(client, stop)
            except (aiomqtt.MqttError, OSError) as error:
                _LOG.warning("ingest.broker.lost", extra={"fields": {"cause": str(error)[:200]}})
            finally:
                self._client = None
            await _rest(stop, pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def store_lane(self, lane: int) -> None:
        """Store what waits in a lane, one after the other, for ever."""
        queue = self._lanes[lane]
        while True:
            arrival = await queue.get()
            outcome = await self._store(arrival)
            if arrival.hint is not None:
                self._waiting.discard(arrival.hint)
            if outcome is not None:
                self._note(outcome)
                await self._send_receipt(outcome)

    async def publish_live(self) -> None:
        """Publish changed live readings, at most one a second per usage point: the latest wins."""
        while True:
            await asyncio.sleep(_LIVE_TICK)
            client, now = self._client, self._clock.monotonic()
            if client is None:
                continue
            for point, reading in list(self._live.items()):
                shown = self._shown.get(point)
                if shown is not None and now - shown[0] < _LIVE_EACH:
                    continue
                del self._live[point]
                try:
                    await client.publish(
                        topics.live(point, topics.Live.READING),
                        live_to_bytes(reading), qos=0, retain=True,
                    )  # fmt: skip
                except aiomqtt.MqttError:
                    # the newest is what counts: the next reading will do
                    break
                self._shown[point] = (now, reading)
                self._count("live")

    async def _hear_until(self, client: aiomqtt.Client, stop: asyncio.Event) -> None:
        hearing = asyncio.ensure_future(self._hear(client))
        ending = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait((hearing, ending), return_when=asyncio.FIRST_COMPLETED)
            if hearing.done():
                hearing.result()
        finally:
            for task in (hearing, ending):
                task.cancel()
            await asyncio.gather(hearing, ending, return_exceptions=True)

    async def _hear(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            payload = message.payload
            topic = str(message.topic)
            arrival = Arrival(
                payload=payload if isinstance(payload, bytes) else str(payload).encode(),
                content_type=getattr(message.properties, "ContentType", None) or envelope.CBOR,
                topic=topic,
                hint=_hint(topic, getattr(message.properties, "UserProperty", None) or []),
                now=self._clock.now(),
                wall_now=self._clock.wall_now(),
            )
            if arrival.hint is not None:
                if arrival.hint in self._waiting:
                    # sent again while the first copy still waits for the database
                    self._count("waiting_repeats")
                    continue
                self._waiting.add(arrival.hint)
            lane = zlib.crc32(topic.encode()) % len(self._lanes)
            await self._lanes[lane].put(arrival)

    async def _store(self, arrival: Arrival) -> StoreOutcome | None:
        """Store a payload; wait as long as the database is away; put poison into quarantine."""
        pause, faults = _FIRST_PAUSE, 0
        store = partial(
            service.store_batch, self._db, arrival, derive=self._derive, policy=self._policy
        )
        while True:
            try:
                outcome = await asyncio.to_thread(store)
                self._status["database"] = "connected"
                return outcome
            except TransientDatabaseError as error:
                self._status["database"] = "away"
                _LOG.warning("ingest.database.away", extra={"fields": {"cause": str(error)[:200]}})
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            except PeerError as error:
                # not a concentrator's topic: nobody waits for a receipt
                _LOG.warning("ingest.message.stray", extra={"fields": {"cause": error.code}})
                return None
            except Exception as error:  # noqa: BLE001
                # a rim: one payload must neither stop the stream nor be lost
                _LOG.exception("ingest.batch.failed", extra={"fields": {"topic": arrival.topic}})
                self._count("failures")
                faults += 1
                if faults == _TRIES:
                    store = partial(
                        service.quarantine_payload, self._db, arrival, cause=POISONED,
                        detail=f"{type(error).__name__} while storing",
                        concentrator=topics.concentrator_of(arrival.topic),
                    )  # fmt: skip
                await asyncio.sleep(pause)

    async def _send_receipt(self, outcome: StoreOutcome) -> None:
        client = self._client
        if outcome.receipt is None or client is None:
            return
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.ContentType = envelope.CBOR
        # without it the edge sends the batch again and gets the same receipt
        with suppress(aiomqtt.MqttError):
            await client.publish(
                topics.down_receipt(outcome.concentrator),
                envelope.encode(receipt_to_plain(outcome.receipt), envelope.CBOR),
                qos=1,
                properties=properties,
            )
            self._count("receipts")

    def _note(self, outcome: StoreOutcome) -> None:
        self._count("repeats" if outcome.repeated else "batches")
        if outcome.cause:
            self._count("payloads_quarantined")
            _LOG.warning(
                "ingest.payload.quarantined",
                extra={"fields": {"concentrator": outcome.concentrator, "cause": outcome.cause}},
            )
        if not outcome.repeated and not outcome.cause:
            for name in ("stored", "duplicates", "momentary", "quarantined"):
                self._count(name, getattr(outcome.account, name))
        for reading in outcome.live:
            shown = self._shown.get(reading.usage_point)
            if shown is None or _differs(shown[1], reading):
                self._live[reading.usage_point] = reading

    async def _database_up(self, stop: asyncio.Event) -> bool:
        while not stop.is_set():
            try:
                await asyncio.to_thread(self._touch)
            except TransientDatabaseError:
                self._status["database"] = "away"
                await _rest(stop, _FIRST_PAUSE)
            else:
                self._status["database"] = "connected"
                return True
        return False

    def _touch(self) -> None:
        with self._db.transaction() as conn:
            service.meters_seen(conn)

    def _connection(self) -> aiomqtt.Client:
        broker = self._config.broker
        connect = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        connect.SessionExpiryInterval = _SESSION_SECONDS
        secret = Path(broker.password_file).read_text().strip() if broker.password_file else None
        tls = None
        if broker.tls_ca:
            tls = aiomqtt.TLSParameters(
                ca_certs=broker.tls_ca,
                certfile=broker.tls_cert or None,
                keyfile=broker.tls_key or None,
            )
        return aiomqtt.Client(
            broker.host,
            broker.port,
            identifier=self._config.client_id,
            protocol=aiomqtt.ProtocolVersion.V5,
            username=broker.username or None,
            password=secret,
            clean_start=False,
            properties=connect,
            keepalive=15,
            max_queued_incoming_messages=self._config.waiting * self._config.lanes,
            tls_params=tls,
        )

    def _count(self, name: str, by: int = 1) -> None:
        self._status[name] = int(self._status.get(name, 0)) + by


def _hint(topic: str, properties: list[tuple[str, str]]) -> BatchId | None:
    """Return the batch id that the sender wrote beside the payload, None where it wrote none."""
    named = dict(properties)
    try:
        boot, seq = int(named["boot"]), int(named["seq"])
        concentrator = topics.concentrator_of(topic)
    except (KeyError, ValueError, PeerError):
        return None
    if not (-(2**63) <= boot < 2**63 and -(2**63) <= seq < 2**63):
        return None
    return BatchId(concentrator=concentrator, boot=boot, seq=seq)


def _differs(shown: LiveReading, reading: LiveReading) -> bool:
    """Tell whether people would see something new, or older news be replaced by newer."""
    if reading.at_ms < shown.at_ms:
        return False
    return (
        reading.at_ms, reading.quality, reading.register_wh, reading.today_wh, reading.power_w,
        reading.voltage_mv, reading.current_ma,
    ) != (
        shown.at_ms, shown.quality, shown.register_wh, shown.today_wh, shown.power_w,
        shown.voltage_mv, shown.current_ma,
    )  # fmt: skip


async def _rest(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
