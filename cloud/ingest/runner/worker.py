"""
A worker: a Faust agent that takes micro-batches from its partitions and stores them.

    assigned -> at the database's place -> take -> rows, place and receipts -> take ...

No exception leaves the agent. A database that is away is waited for; a record that breaks the code
is quarantined with its octets; whatever else fails ends the process, and others get its partitions.
"""

import asyncio
import logging
import secrets
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import aiomqtt
import faust
from faust.types import EventT

from cloud.ingest.agent.answers import Answers
from cloud.ingest.model import StoreOutcome
from cloud.ingest.runner import seam
from cloud.ingest.runner.cluster import cluster_id, declared, password_of, rest_about, ssl_of
from cloud.ingest.runner.places import PlacedTransport
from cloud.ingest.runner.record import from_record
from cloud.ingest.runner.seam import Log, Taken
from cloud.ingest.runner.settings import MAX_RECORD_BYTES, KafkaAddress, WorkerConfig
from cloud.ingest.service import Derive
from cloud.store.clock import Clock
from cloud.store.db import Database, TransientDatabaseError
from cloud.store.rim import Status, keep_session, rest, until_first
from protocols.errors import PeerError

_TOPICS_SEEN_MS = 3_000
_TRIES = 3
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 3.0
_LAST_WORDS = 5.0
_LOG = logging.getLogger(__name__)

_T = TypeVar("_T")


class WorkerFailedError(Exception):
    """Faust gave up; the supervisor starts the process again."""


async def run(
    config: WorkerConfig,
    *,
    stop: asyncio.Event,
    ready: Callable[[], None],
    status: Status,
    derive: Derive,
) -> None:
    """
    Store the records of the partitions that this worker is given, until `stop`.

    `status["leads"]` is 1 while the first partition is ours: what the installation does once, the
    worker that leads does. Raises: WorkerFailedError.
    """
    clock = Clock(scale=config.scale)
    status["broker"] = status["kafka"] = "away"
    status["leads"] = 0
    with Database(config.dsn, user=config.role, application="meterloop-worker", size=3) as db:
        if not await declared(config.kafka, stop):
            return
        worker = Worker(config, db, clock, derive, stop=stop, status=status)
        await until_first(worker.keep_session(), worker.answers.publish_live(), worker.serve(ready))


class Worker:
    """One running worker: its Faust app, its answers, its places."""

    def __init__(
        self,
        config: WorkerConfig,
        db: Database,
        clock: Clock,
        derive: Derive,
        *,
        stop: asyncio.Event,
        status: Status,
    ) -> None:
        """Start nothing yet."""
        self.answers = Answers(clock, status)
        self._config = config
        self._db = db
        self._clock = clock
        self._derive = derive
        self._policy = config.policy(clock)
        self._stop = stop
        self._status = status
        self._log = Log(cluster="", topic=config.kafka.topic)

    async def serve(self, ready: Callable[[], None]) -> None:
        """Take and store until `stop`. Raises: WorkerFailedError."""
        # Faust makes folders for tables, of which we have none; somewhere they must be
        with tempfile.TemporaryDirectory(prefix="meterloop-worker-") as folder:
            await self._serve(self._app(folder), ready)

    async def _serve(self, app: faust.App, ready: Callable[[], None]) -> None:

        async def on_assigned(_app: Any, *partitions: Any, **_: Any) -> None:
            mine = {tp.partition for tp in partitions[0] if tp.topic == self._config.kafka.topic}
            self._status.update(kafka="connected", partitions=len(mine), leads=int(0 in mine))
            _LOG.info("worker.partitions", extra={"fields": {"partitions": sorted(mine)}})
            ready()

        assigned: Any = app.on_partitions_assigned
        assigned.connect(on_assigned, weak=False)
        try:
            await app.start()
            while not self._stop.is_set() and not app.should_stop:
                await rest(self._stop, 0.2)
            if app.should_stop and not self._stop.is_set():
                raise WorkerFailedError(f"Faust ended: {app.crash_reason!r}")
        finally:
            await _ended(app)

    async def store(self, events: Sequence[EventT[Any]]) -> None:
        """Store what was taken together and answer; returns only when all of it is settled."""
        taken = [self._taken(event) for event in events]
        outcomes = await self._settled(taken)
        for outcome in outcomes:
            self.answers.note(outcome)
        await asyncio.gather(*(self.answers.send_receipt(outcome) for outcome in outcomes))
        self.answers.count("taken", len(taken))

    async def keep_session(self) -> None:
        """Stay connected to the broker for receipts; nothing is heard there."""

        async def serve(client: aiomqtt.Client) -> None:
            # the receipts of a micro-batch leave together: that many are no cause for a warning
            client.pending_calls_threshold = self._config.take
            self.answers.client, self._status["broker"] = client, "connected"
            try:
                async for _ in client.messages:
                    pass
            finally:
                self.answers.client, self._status["broker"] = None, "away"

        def lost(cause: str) -> None:
            _LOG.warning("worker.broker.lost", extra={"fields": {"cause": cause}})

        name = f"{self._config.client_id}-{secrets.token_hex(4)}"
        await keep_session(self._config.broker, name, serve, stop=self._stop, lost=lost)

    def _taken(self, event: EventT[Any]) -> Taken:
        message = event.message
        try:
            headers: Any = message.headers
            pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
            arrival = from_record(message.value, pairs, scale=self._config.scale)
        except PeerError as error:
            # no bridge of ours wrote it, and nobody waits for a receipt
            _LOG.warning("worker.record.stray", extra={"fields": {"cause": str(error)[:200]}})
            self.answers.count("stray")
            arrival = None
        return Taken(partition=message.partition, offset=message.offset, arrival=arrival)

    async def _settled(self, taken: Sequence[Taken]) -> list[StoreOutcome]:
        """Store together; where that breaks the code, one by one, to find what broke it."""
        store = partial(
            seam.store_taken, self._db, log=self._log, derive=self._derive, policy=self._policy
        )
        try:
            return await self._patiently(lambda: store(taken, now=self._clock.now()))
        except Exception:  # noqa: BLE001 - a rim: one record must neither stop the stream nor be lost
            _LOG.exception("worker.batch.failed", extra={"fields": {"records": len(taken)}})
            self.answers.count("failures")
        outcomes: list[StoreOutcome] = []
        for item in taken:
            outcomes += await self._alone(item, store)
        return outcomes

    async def _alone(
        self, item: Taken, store: Callable[..., list[StoreOutcome]]
    ) -> list[StoreOutcome]:
        for number in range(1, _TRIES + 1):
            try:
                return await self._patiently(lambda: store([item], now=self._clock.now()))
            except Exception as error:  # noqa: BLE001 - the same rim
                _LOG.exception("worker.record.failed", extra={"fields": {"offset": item.offset}})
                self.answers.count("failures")
                if number < _TRIES:
                    await rest_about(self._stop, _FIRST_PAUSE * number)
                    continue
                return [await self._given_up(item, error)]
        raise AssertionError("the last try returns")

    async def _given_up(self, item: Taken, error: Exception) -> StoreOutcome:
        log = self._log
        return await self._patiently(
            lambda: seam.give_up(self._db, item, error, log=log, now=self._clock.now())
        )

    async def _patiently(self, act: Callable[[], _T]) -> _T:
        """Do what needs the database in a thread, as often as the database is away."""
        pause = _FIRST_PAUSE
        while True:
            try:
                result = await asyncio.to_thread(act)
            except TransientDatabaseError as error:
                self._status["database"] = "away"
                _LOG.warning("worker.database.away", extra={"fields": {"cause": str(error)[:200]}})
                await rest_about(self._stop, pause)
                if self._stop.is_set():
                    # nothing more can be done: wait for the end that is on its way
                    await asyncio.get_running_loop().create_future()
                pause = min(pause * 2, _LONGEST_PAUSE)
            else:
                self._status["database"] = "connected"
                return result

    async def _places(self) -> Mapping[int, int]:
        """Return the stored places in the log that this cluster now has."""
        self._log = Log(
            cluster=await cluster_id(self._config.kafka), topic=self._config.kafka.topic
        )
        log = self._log
        return await self._patiently(lambda: seam.places(self._db, log))

    async def _restart(self, partition: int, place: int) -> None:
        log, now = self._log, self._clock.now()
        await self._patiently(lambda: seam.restart(self._db, log, partition, place, now=now))

    def _app(self, folder: str) -> faust.App:
        kafka = self._config.kafka
        app = faust.App(kafka.group, datadir=folder, **_settings_of(self._config))
        app.transport = PlacedTransport(
            app.conf.broker, app, loop=asyncio.get_running_loop(),
            batches=kafka.topic, places=self._places, restart=self._restart,
        )  # fmt: skip
        topic = app.topic(
            kafka.topic, partitions=kafka.partitions, key_serializer="raw",
            value_serializer="raw", key_type=bytes, value_type=bytes, allow_empty=True,
        )  # fmt: skip

        async def take(stream: Any) -> None:
            async for events in stream.take_events(
                self._config.take, within=self._config.within_wall_seconds
            ):
                await self.store(events)

        app.agent(topic, name="ingest")(take)
        return app


def _settings_of(config: WorkerConfig) -> dict[str, Any]:
    """Return how Faust is set: no tables, no web server, no leader, one buffer of two takes."""
    servers = config.kafka.servers.split(",")
    return {
        "broker": ";".join(f"aiokafka://{each.strip()}" for each in servers),
        "broker_credentials": _credentials_of(config.kafka),
        "broker_session_timeout": config.session_wall_seconds,
        "broker_heartbeat_interval": config.session_wall_seconds / 5,
        "broker_max_poll_interval": 24 * 3600.0,
        "broker_commit_interval": 1.0,
        "consumer_auto_offset_reset": "earliest",
        "consumer_max_fetch_size": MAX_RECORD_BYTES,
        # a cluster wiped empty gets its topic back after we joined: a worker that was given nothing
        # must see it soon, not after Kafka's five minutes
        "consumer_metadata_max_age_ms": _TOPICS_SEEN_MS,
        "stream_buffer_maxsize": 2 * config.take,
        "stream_wait_empty": False,
        "stream_processing_timeout": 3600.0,
        "store": "memory://",
        "topic_partitions": config.kafka.partitions,
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "web_enabled": False,
        "autodiscover": False,
    }


def _credentials_of(address: KafkaAddress) -> Any:
    context = ssl_of(address)
    if address.username:
        return faust.SASLCredentials(
            username=address.username, password=password_of(address), ssl_context=context,
            mechanism=faust.types.auth.SASLMechanism.SCRAM_SHA_512,
        )  # fmt: skip
    return faust.SSLCredentials(context) if context is not None else None


async def _ended(app: faust.App) -> None:
    """Stop Faust; where a cluster is away it may not end, even when cancelled: leave it then."""
    stopping = asyncio.ensure_future(app.stop())
    _, late = await asyncio.wait([stopping], timeout=_LAST_WORDS)
    if late:
        _LOG.warning("worker.faust_ended_late")
        stopping.cancel()
