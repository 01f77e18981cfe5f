"""
The MQTT rim of control: sends what is signed, takes acks, shows switches, keeps time.

Two loops over one broker connection. Nothing is remembered here that the database does not know:
after a crash whatever the edge has not answered is sent again, and the edge knows ids.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import aiomqtt

from cloud.assets import service as assets
from cloud.control import service
from cloud.control.service.sweep import Outgoing, SeenRelay
from cloud.ingest import service as ingest
from cloud.ingest.model import RelayRecord
from cloud.store import audit
from cloud.store.broker import client_of, typed
from cloud.store.clock import Clock
from cloud.store.db import Database, TransientDatabaseError
from protocols.errors import PeerError
from protocols.identity import MeterId
from protocols.mqtt import envelope, topics
from protocols.mqtt.broker import BrokerAddress
from protocols.mqtt.live import LiveSupply, live_to_bytes
from protocols.mqtt.receipt import AckReceipt, receipt_to_plain
from protocols.mqtt.upkeep import PREFIX as UPKEEP
from protocols.mqtt.uplink import ack_from_plain
from protocols.reading import RelayReading, RelayState
from protocols.timeline import TimeScale, to_ms

_LOG = logging.getLogger(__name__)
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlConfig:
    """Where database and broker are; cadences in wall seconds."""

    dsn: str
    broker: BrokerAddress
    scale: TimeScale = field(default_factory=TimeScale)
    user: str = "meterloop_control"
    poll_seconds: float = 0.2
    slow_seconds: float = 1.0
    repeat_seconds: float = 3.0
    client_id: str = "control"


async def run(
    config: ControlConfig,
    *,
    stop: asyncio.Event,
    ready: Callable[[], None],
    status: MutableMapping[str, int | str],
) -> None:
    """Serve until `stop`; a broker or a database that is away is tried again, for ever."""
    with Database(config.dsn, user=config.user, application="meterloop-control", size=4) as db:
        agent = ControlAgent(config, db, status=status)
        keeping = asyncio.ensure_future(agent.keep_time(stop))
        speaking = asyncio.ensure_future(agent.speak(stop, ready))
        try:
            done, _ = await asyncio.wait({keeping, speaking}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (keeping, speaking):
                task.cancel()
            await asyncio.gather(keeping, speaking, return_exceptions=True)


class ControlAgent:
    """One control process: its connection to the broker and its sense of time."""

    def __init__(
        self, config: ControlConfig, db: Database, *, status: MutableMapping[str, int | str]
    ) -> None:
        """Work with `config` on `db`."""
        self._config = config
        self._db = db
        self._clock = Clock(scale=config.scale)
        self._status = status
        self._sent: dict[str, float] = {}
        self._seen: dict[MeterId, Any] = {}
        self._client: aiomqtt.Client | None = None

    async def speak(self, stop: asyncio.Event, ready: Callable[[], None]) -> None:
        """Keep a session with the broker; the first one makes the process ready."""
        pause = _FIRST_PAUSE
        while not stop.is_set():
            self._status["broker"] = "away"
            try:
                async with client_of(self._config.broker, self._config.client_id) as client:
                    await client.subscribe(topics.ALL_ACKS, qos=1)
                    self._status["broker"] = "connected"
                    self._client = client
                    self._sent.clear()
                    pause = _FIRST_PAUSE
                    await self._in_database(service.forget_published, self._db)
                    ready()
                    await self._until_lost(client, stop)
            except (aiomqtt.MqttError, OSError) as error:
                _LOG.warning("control.broker.lost", extra={"fields": {"cause": str(error)[:200]}})
            finally:
                self._client = None
            await _pause(stop, pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _until_lost(self, client: aiomqtt.Client, stop: asyncio.Event) -> None:
        work = [
            asyncio.ensure_future(self._hear(client)),
            asyncio.ensure_future(self._tell(client)),
            asyncio.ensure_future(stop.wait()),
        ]
        try:
            done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
        for task in done:
            task.result()

    async def _hear(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            payload = message.payload
            if not isinstance(payload, bytes):
                continue
            content_type = getattr(message.properties, "ContentType", None) or envelope.CBOR
            try:
                await self._take_ack(client, str(message.topic), payload, content_type)
            except PeerError as error:
                # the edge sends it again for ever; people see the count
                self._count("acks_unread")
                _LOG.warning("control.ack.unread", extra={"fields": {"cause": error.code}})

    async def _take_ack(
        self, client: aiomqtt.Client, topic: str, payload: bytes, content_type: str
    ) -> None:
        """Store one ack, then give its receipt; without a commit there is no receipt."""
        concentrator = topics.concentrator_of(topic)
        ack = ack_from_plain(envelope.decode(payload, content_type))
        if ack.id.startswith(UPKEEP):
            return  # upkeep's own session stores it, and alone gives its receipt
        new = await self._in_database(
            service.record_ack, self._db, ack, concentrator=concentrator, now=self._clock.now()
        )
        if new is None:
            return
        receipt = envelope.encode(
            receipt_to_plain(AckReceipt(id=ack.id, stage=ack.stage)), envelope.CBOR
        )
        await client.publish(
            topics.down_receipt(concentrator), receipt, qos=1,
            properties=typed(envelope.CBOR),
        )  # fmt: skip
        self._count("acks")
        _LOG.info(
            "control.ack.stored",
            extra={"fields": {"command": ack.id, "stage": ack.stage.value, "new": new}},
        )

    async def _tell(self, client: aiomqtt.Client) -> None:
        """Send commands, goes and live messages as they come up."""
        while True:
            for item in await self._in_database(service.outgoing, self._db, self._clock) or ():
                await self._send(client, item)
            await self._show(client)
            await asyncio.sleep(self._config.poll_seconds)

    async def _send(self, client: aiomqtt.Client, item: Outgoing) -> None:
        now = self._clock.monotonic()
        left = self._wall_seconds_until(item.expires)
        if left <= 0 or now - self._sent.get(item.key, -1e9) < self._config.repeat_seconds:
            return
        properties = typed(envelope.CBOR)
        # a broker must not deliver an order when its time is over
        properties.MessageExpiryInterval = max(1, int(left))
        properties.ResponseTopic = topics.up_ack(item.concentrator)
        properties.CorrelationData = item.command.encode()
        await client.publish(
            topics.down_command(item.concentrator), item.payload, qos=1, properties=properties
        )
        if len(self._sent) > 10_000:
            self._sent.clear()
        self._sent[item.key] = now
        self._count("sent")

    async def _show(self, client: aiomqtt.Client) -> None:
        shown = await self._in_database(service.unpublished, self._db) or []
        for item in shown:
            live = LiveSupply(
                usage_point=item.usage_point, state=item.relay_state,
                at_ms=to_ms(item.state_at or self._clock.now()), command=item.open_command or "",
            )  # fmt: skip
            await client.publish(
                topics.live(item.usage_point, topics.Live.SUPPLY), live_to_bytes(live),
                qos=0, retain=True,
            )  # fmt: skip
        if shown:
            await self._in_database(service.published, self._db, shown)

    async def keep_time(self, stop: asyncio.Event) -> None:
        """Pass the gate, prepare octets, end what is over; with or without a broker."""
        slow_at = 0.0
        while not stop.is_set():
            db, clock = self._db, self._clock
            issued = await self._in_database(service.issue_due, db, clock)
            if issued:
                self._count("issued", len(issued))
                _LOG.info("control.command.issued", extra={"fields": {"commands": issued}})
            carried = await self._in_database(service.issue_tokens, db, clock)
            if carried:
                self._count("tokens_ordered", len(carried))
            await self._in_database(service.prepare, db, clock)
            await self._in_database(service.take_signer_refusals, db, now=clock.now())
            await self._in_database(self._reconcile)
            if clock.monotonic() >= slow_at:
                slow_at = clock.monotonic() + self._config.slow_seconds
                await self._in_database(service.expire_commands, db, clock)
                await self._in_database(service.restore_due, db, clock)
                await self._in_database(service.expire_requests, db, now=clock.now())
                await self._in_database(service.expire_releases, db, now=clock.now())
                await self._in_database(service.push_keep_power, db, clock)
                await self._in_database(service.end_lapsed_protections, db, now=clock.now())
                await self._in_database(audit.seal, db, now=clock.now())
            await _pause(stop, self._config.poll_seconds)

    def _reconcile(self) -> int:
        """Follow the switch reports that are newer than those already followed."""
        with self._db.transaction() as conn:
            reports = [
                report
                for report in ingest.relay_reports(conn)
                if self._seen.get(report.meter) != report.at
            ]
            installed = assets.installations_of_meters(conn, [report.meter for report in reports])
        points = {item.meter.id: item.usage_point.id for item in installed}
        seen = [
            SeenRelay(points[report.meter], report.at, _relay_of(report))
            for report in reports
            if report.meter in points
        ]
        changed = service.reconcile(self._db, seen, now=self._clock.now())
        self._seen.update((report.meter, report.at) for report in reports)
        return changed

    async def _in_database(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return what a blocking call returns, or None while the database is away."""
        try:
            return await asyncio.to_thread(call, *args, **kwargs)
        except TransientDatabaseError as error:
            self._count("database_away")
            _LOG.warning("control.database.away", extra={"fields": {"cause": type(error).__name__}})
            await asyncio.sleep(_FIRST_PAUSE)
            return None

    def _wall_seconds_until(self, instant: datetime) -> float:
        wall = self._config.scale.wall_at(instant) - self._clock.wall_now()
        return wall.total_seconds()

    def _count(self, name: str, number: int = 1) -> None:
        self._status[name] = int(self._status.get(name, 0)) + number


def _relay_of(report: RelayRecord) -> RelayReading:
    return RelayReading(
        output_closed=report.output_closed,
        control_state=RelayState(report.control_state),
        control_mode=report.control_mode,
    )


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
