"""
The MQTT rim of ingest: batches come in, receipts and live readings go out.

Batches of one concentrator are stored in the order in which they came; lanes run beside each
other, and what has come to a lane while it stored is stored together next. Where PostgreSQL is away
a lane waits and sends no receipt: lanes and the client's queue are bounded, what overflows them is
dropped unread, and the edge sends it again until its receipt.
"""

import asyncio
import json
import logging
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from cloud.ingest import service
from cloud.ingest.agent.answers import Answers, Status
from cloud.ingest.agent.arriving import arrival_of, told_beside
from cloud.ingest.agent.keeping import keep
from cloud.ingest.model import Arrival, StoreOutcome
from cloud.ingest.rules.retention import RetentionPolicy
from cloud.ingest.service import POISONED, Derive, Policy
from cloud.ingest.service.retention import StillNeeded
from cloud.store.clock import Clock
from cloud.store.db import Database, TransientDatabaseError
from cloud.store.rim import ended
from protocols.errors import PeerError
from protocols.identity import BatchId, ConcentratorId
from protocols.mqtt import topics
from protocols.mqtt.broker import BrokerAddress
from protocols.timeline import TimeScale

_TRIES = 3
_TOGETHER = 64
_OCTETS_TOGETHER = 8 << 20
"""How much of what waits in a lane shares a transaction: payloads and their octets."""
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 3.0
_SESSION_SECONDS = 3600

_STATE = "/up/state"

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestConfig:
    """
    What the process needs. *Units*: the keys named wall_seconds are wall time.

    `role` is the database role, empty where the DSN names it. `future_wall_seconds` is how far a
    device may be ahead of us; business time runs `scale.speed` times as fast. Readings are rows
    while their day is not older than `rows_days`; days are looked after every `keep_wall_seconds`.
    Packed intervals stay `packed_months` (0: for ever), which may not be below `floor_months`; at
    `retain_hour` UTC the months are looked after.
    """

    dsn: str
    broker: BrokerAddress
    scale: TimeScale = field(default_factory=TimeScale)
    role: str = "meterloop_ingest"
    client_id: str = "cloud-ingest"
    lanes: int = 4
    waiting: int = 64
    silent_after_wall_seconds: float = 30.0
    sweep_wall_seconds: float = 2.0
    missing_days: int = 3
    rows_days: int = 2
    keep_wall_seconds: float = 30.0
    packed_months: int = 0
    floor_months: int = 25
    retain_hour: int = 2
    future_wall_seconds: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a policy that lets go what is still needed. Raises: ValueError."""
        if not 0 <= self.retain_hour < 24:
            raise ValueError(f"retain_hour must be 0 to 23, a UTC hour, not {self.retain_hour}")
        _ = self.retention

    @property
    def retention(self) -> RetentionPolicy:
        """Return how long what is kept."""
        return RetentionPolicy(
            rows_days=self.rows_days, packed_months=self.packed_months,
            floor_months=self.floor_months,
        )  # fmt: skip

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
    asked: Sequence[StillNeeded] = (),
) -> None:
    """
    Store what concentrators send until `stop`; broker and database may go away and come back.

    `derive` runs in the transaction of each batch: see `cloud.usage.agent`, which is what to start.
    """
    clock = Clock(scale=config.scale)
    with Database(
        config.dsn, user=config.role, application="meterloop-ingest", size=config.lanes + 2
    ) as db:
        bridge = _Bridge(config, db, clock, derive, status=status)
        workers = [asyncio.create_task(bridge.store_lane(n)) for n in range(config.lanes)]
        workers.append(asyncio.create_task(bridge.answers.publish_live()))
        hand = keep(config, db, clock, count=bridge.answers.count, asked=asked)
        workers.append(asyncio.create_task(hand))
        session = asyncio.create_task(bridge.keep_session(stop, ready))
        try:
            done, _ = await asyncio.wait([session, *workers], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await ended(session, *workers)


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
        self.answers = Answers(clock, status)
        self._lanes: list[asyncio.Queue[Arrival]] = [
            asyncio.Queue(maxsize=config.waiting) for _ in range(config.lanes)
        ]
        self._waiting: set[BatchId] = set()

    async def keep_session(self, stop: asyncio.Event, ready: Callable[[], None]) -> None:
        """Stay connected to the broker until `stop`."""
        pause, announced = _FIRST_PAUSE, False
        while not stop.is_set():
            self._status["broker"] = "away"
            try:
                async with self._connection() as client:
                    await client.subscribe(topics.ALL_DATA, qos=1)
                    await client.subscribe(topics.ALL_STATES, qos=1)
                    self.answers.client, self._status["broker"] = client, "connected"
                    _LOG.info("ingest.broker.connected")
                    pause = _FIRST_PAUSE
                    if not announced and await self._database_up(stop):
                        ready()
                        announced = True
                    await self._hear_until(client, stop)
            except (aiomqtt.MqttError, OSError) as error:
                _LOG.warning("ingest.broker.lost", extra={"fields": {"cause": str(error)[:200]}})
            finally:
                self.answers.client = None
            await _rest(stop, pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def store_lane(self, lane: int) -> None:
        """Store what waits in a lane, one after the other, for ever."""
        queue = self._lanes[lane]
        while True:
            arrivals = [await queue.get()]
            octets = len(arrivals[0].payload)
            # what came meanwhile shares a transaction; what has not come yet is not waited for
            while not queue.empty() and len(arrivals) < _TOGETHER and octets < _OCTETS_TOGETHER:
                arrivals.append(queue.get_nowait())
                octets += len(arrivals[-1].payload)
            outcomes = await self._store(arrivals)
            self._waiting.difference_update(each.hint for each in arrivals if each.hint is not None)
            for outcome in outcomes:
                self.answers.note(outcome)
                await self.answers.send_receipt(outcome)

    async def _hear_until(self, client: aiomqtt.Client, stop: asyncio.Event) -> None:
        hearing = asyncio.ensure_future(self._hear(client))
        ending = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait((hearing, ending), return_when=asyncio.FIRST_COMPLETED)
            if hearing.done():
                hearing.result()
        finally:
            await ended(hearing, ending)

    async def _hear(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            arrival = arrival_of(
                str(message.topic), message.payload, message.properties,
                now=self._clock.now(), wall_now=self._clock.wall_now(),
            )  # fmt: skip
            if arrival.topic.endswith(_STATE):
                await self._note_presence(arrival)
                continue
            if not _is_ours(arrival.topic):
                # not a concentrator's topic: nobody waits for a receipt
                _LOG.warning("ingest.message.stray")
                continue
            if arrival.hint is not None:
                if arrival.hint in self._waiting:
                    # sent again while the first copy still waits for the database
                    self.answers.count("waiting_repeats")
                    continue
                self._waiting.add(arrival.hint)
            lane = zlib.crc32(arrival.topic.encode()) % len(self._lanes)
            await self._lanes[lane].put(arrival)

    async def _note_presence(self, arrival: Arrival) -> None:
        """Keep what a concentrator tells of its presence; a retained telling comes again anyway."""
        try:
            state = json.loads(arrival.payload)
            online = bool(state["online"])
            concentrator = topics.concentrator_of(arrival.topic)
        except (ValueError, KeyError, TypeError, PeerError):
            self.answers.count("states_unread")
            return
        try:
            await asyncio.to_thread(
                self._presence, concentrator, online, arrival.now, told_beside(state)
            )
        except TransientDatabaseError:
            self._status["database"] = "away"

    def _presence(
        self, concentrator: ConcentratorId, online: bool, at: datetime, told: dict[str, int | str]
    ) -> None:
        with self._db.transaction() as conn:
            service.note_presence(conn, concentrator, online=online, at=at, told=told)

    async def _store(self, arrivals: list[Arrival]) -> list[StoreOutcome]:
        """Store payloads; wait as long as the database is away; put poison into quarantine."""
        pause, faults = _FIRST_PAUSE, 0
        store: Callable[[], list[StoreOutcome]] = partial(
            service.store_batches, self._db, arrivals, derive=self._derive, policy=self._policy
        )
        while True:
            try:
                outcomes = await asyncio.to_thread(store)
                self._status["database"] = "connected"
                return outcomes
            except TransientDatabaseError as error:
                self._status["database"] = "away"
                _LOG.warning("ingest.database.away", extra={"fields": {"cause": str(error)[:200]}})
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            except Exception as error:  # noqa: BLE001
                # a rim: one payload must neither stop the stream nor be lost
                _LOG.exception("ingest.batch.failed", extra={"fields": {"many": len(arrivals)}})
                self.answers.count("failures")
                faults += 1
                if faults == _TRIES:
                    # many of which one is poison are told apart by the service; so this is it
                    store = partial(self._give_up, arrivals, type(error).__name__)
                await asyncio.sleep(pause)

    def _give_up(self, arrivals: list[Arrival], error: str) -> list[StoreOutcome]:
        return [
            service.quarantine_payload(
                self._db, arrival, cause=POISONED, detail=f"{error} while storing",
                concentrator=topics.concentrator_of(arrival.topic),
            )
            for arrival in arrivals
        ]  # fmt: skip

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


def _is_ours(topic: str) -> bool:
    try:
        topics.concentrator_of(topic)
    except PeerError:
        return False
    return True


async def _rest(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
