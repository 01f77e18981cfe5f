"""
The MQTT rim of control: sends what is signed, takes acks, shows switches, keeps time.

Two loops over one broker connection. Nothing is remembered here that the database does not know:
after a crash whatever the edge has not answered is sent again, and the edge knows ids.
"""

import asyncio
import logging
from collections.abc import Callable
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
from cloud.store.broker import typed
from cloud.store.clock import Clock
from cloud.store.db import Database
from cloud.store.rim import Rows, Status, count, keep_session, rest, until_first
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
    status: Status,
) -> None:
    """Serve until `stop`; a broker or a database that is away is tried again, for ever."""
    with Database(config.dsn, user=config.user, application="meterloop-control", size=4) as db:
        agent = ControlAgent(config, db, status=status)
        await until_first(agent.keep_time(stop), agent.speak(stop, ready))


class ControlAgent:
    """One control process: its connection to the broker and its sense of time."""

    def __init__(self, config: ControlConfig, db: Database, *, status: Status) -> None:
        """Work with `config` on `db`."""
        self._config = config
        self._db = db
        self._clock = Clock(scale=config.scale)
        self._status = status
        self._sent: dict[str, float] = {}
        self._seen: dict[MeterId, Any] = {}
        self._rows = Rows("control", _LOG, status)

    async def speak(self, stop: asyncio.Event, ready: Callable[[], None]) -> None:
        """Keep a session with the broker; the first one makes the process ready."""

        async def serve(client: aiomqtt.Client) -> None:
            await client.subscribe(topics.ALL_ACKS, qos=1)
            self._status["broker"] = "connected"
            self._sent.clear()
            await self._rows.ask(service.forget_published, self._db)
            ready()
            await until_first(self._hear(client), self._tell(client), stop.wait())

        def lost(cause: str) -> None:
            self._status["broker"] = "away"
            _LOG.warning("control.broker.lost", extra={"fields": {"cause": cause}})

        self._status["broker"] = "away"
        await keep_session(self._config.broker, self._config.client_id, serve, stop=stop, lost=lost)

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
                count(self._status, "acks_unread")
                _LOG.warning("control.ack.unread", extra={"fields": {"cause": error.code}})

    async def _take_ack(
        self, client: aiomqtt.Client, topic: str, payload: bytes, content_type: str
    ) -> None:
        """Store one ack, then give its receipt; without a commit there is no receipt."""
        concentrator = topics.concentrator_of(topic)
        ack = ack_from_plain(envelope.decode(payload, content_type))
        if ack.id.startswith(UPKEEP):
            return  # upkeep's own session stores it, and alone gives its receipt
        new = await self._rows.ask(
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
        count(self._status, "acks")
        _LOG.info(
            "control.ack.stored",
            extra={"fields": {"command": ack.id, "stage": ack.stage.value, "new": new}},
        )

    async def _tell(self, client: aiomqtt.Client) -> None:
        """Send commands, goes and live messages as they come up."""
        while True:
            for item in await self._rows.ask(service.outgoing, self._db, self._clock) or ():
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
        count(self._status, "sent")

    async def _show(self, client: aiomqtt.Client) -> None:
        shown = await self._rows.ask(service.unpublished, self._db) or []
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
            await self._rows.ask(service.published, self._db, shown)

    async def keep_time(self, stop: asyncio.Event) -> None:
        """Pass the gate, prepare octets, end what is over; with or without a broker."""
        slow_at = 0.0
        while not stop.is_set():
            db, clock = self._db, self._clock
            issued = await self._rows.ask(service.issue_due, db, clock)
            if issued:
                count(self._status, "issued", len(issued))
                _LOG.info("control.command.issued", extra={"fields": {"commands": issued}})
            carried = await self._rows.ask(service.issue_tokens, db, clock)
            if carried:
                count(self._status, "tokens_ordered", len(carried))
            await self._rows.ask(service.prepare, db, clock)
            await self._rows.ask(service.take_signer_refusals, db, now=clock.now())
            await self._rows.ask(self._reconcile)
            if clock.monotonic() >= slow_at:
                slow_at = clock.monotonic() + self._config.slow_seconds
                await self._rows.ask(service.expire_commands, db, clock)
                await self._rows.ask(service.restore_due, db, clock)
                await self._rows.ask(service.expire_requests, db, now=clock.now())
                await self._rows.ask(service.expire_releases, db, now=clock.now())
                await self._rows.ask(service.push_keep_power, db, clock)
                await self._rows.ask(service.end_lapsed_protections, db, now=clock.now())
                await self._rows.ask(audit.seal, db, now=clock.now())
            await rest(stop, self._config.poll_seconds)

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

    def _wall_seconds_until(self, instant: datetime) -> float:
        wall = self._config.scale.wall_at(instant) - self._clock.wall_now()
        return wall.total_seconds()


def _relay_of(report: RelayRecord) -> RelayReading:
    return RelayReading(
        output_closed=report.output_closed,
        control_state=RelayState(report.control_state),
        control_mode=report.control_mode,
    )
