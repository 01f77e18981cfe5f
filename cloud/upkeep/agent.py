"""
The MQTT rim of upkeep: sends what is signed, gives blocks to those who fetch, takes acks.

It runs in the control process with a session of its own. Nothing is remembered here that the
database does not know: after a crash whatever the edge has not answered is sent again.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import aiomqtt

from cloud.store.broker import typed
from cloud.store.clock import Clock
from cloud.store.db import Database
from cloud.store.rim import Rows, Status, count, keep_session, rest, until_first
from cloud.upkeep import service
from cloud.upkeep.model import Kind
from cloud.upkeep.service.conduct import Outgoing
from protocols.errors import PeerError
from protocols.mqtt import envelope, topics
from protocols.mqtt.broker import BrokerAddress
from protocols.mqtt.receipt import AckReceipt, receipt_to_plain
from protocols.mqtt.upkeep import PREFIX, block_to_plain, fetch_from_plain
from protocols.mqtt.uplink import ack_from_plain
from protocols.timeline import TimeScale

_LOG = logging.getLogger(__name__)
_COMMAND_SECONDS = 30
"""Wall seconds that the broker keeps one sending of a command; the next one follows anyway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpkeepConfig:
    """Where database and broker are; cadences in wall seconds."""

    dsn: str
    broker: BrokerAddress
    scale: TimeScale = field(default_factory=TimeScale)
    user: str = "meterloop_control"
    poll_seconds: float = 0.5
    repeat_seconds: float = 10.0
    client_id: str = "upkeep"


async def run(
    config: UpkeepConfig,
    *,
    stop: asyncio.Event,
    ready: Callable[[], None],
    status: Status,
) -> None:
    """Serve until `stop`; a broker or a database that is away is tried again, for ever."""
    with Database(config.dsn, user=config.user, application="meterloop-upkeep", size=3) as db:
        agent = UpkeepAgent(config, db, status=status)
        await until_first(agent.keep_time(stop), agent.speak(stop, ready))


class UpkeepAgent:
    """One agent: its connection to the broker, its sense of time."""

    def __init__(self, config: UpkeepConfig, db: Database, *, status: Status) -> None:
        """Work with `config` on `db`."""
        self._config = config
        self._db = db
        self._clock = Clock(scale=config.scale)
        self._status = status
        self._rows = Rows("upkeep", _LOG, status)
        self._sent: dict[str, float] = {}

    async def speak(self, stop: asyncio.Event, ready: Callable[[], None]) -> None:
        """Keep a session with the broker; the first one makes the agent ready."""

        async def serve(client: aiomqtt.Client) -> None:
            await client.subscribe(topics.ALL_ACKS, qos=1)
            await client.subscribe(topics.ALL_FETCHES, qos=1)
            self._sent.clear()
            ready()
            await until_first(self._hear(client), self._tell(client), stop.wait())

        def lost(cause: str) -> None:
            _LOG.warning("upkeep.broker.lost", extra={"fields": {"cause": cause}})

        await keep_session(self._config.broker, self._config.client_id, serve, stop=stop, lost=lost)

    async def _hear(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            if not isinstance(message.payload, bytes):
                continue
            take = self._give_block if message.topic.matches(topics.ALL_FETCHES) else self._take_ack
            try:
                await take(client, message, message.payload)
            except PeerError as error:
                # the edge sends it again; people see the count
                count(self._status, "upkeep_unread")
                _LOG.warning("upkeep.message.unread", extra={"fields": {"cause": error.code}})

    async def _take_ack(
        self, client: aiomqtt.Client, message: aiomqtt.Message, payload: bytes
    ) -> None:
        """Store one ack of ours, then give its receipt; without a commit there is no receipt."""
        concentrator = topics.concentrator_of(str(message.topic))
        ack = ack_from_plain(envelope.decode(payload, _content_type(message)))
        if not ack.id.startswith(PREFIX):
            return  # a command to a switch, which control's own session takes
        new = await self._rows.ask(
            service.record_ack, self._db, ack, concentrator=concentrator, now=self._clock.now()
        )
        if new is None:
            return
        receipt = receipt_to_plain(AckReceipt(id=ack.id, stage=ack.stage))
        await client.publish(
            topics.down_receipt(concentrator), envelope.encode(receipt, envelope.CBOR), qos=1,
            properties=typed(envelope.CBOR),
        )  # fmt: skip
        count(self._status, "upkeep_acks")
        _LOG.info(
            "upkeep.ack.stored",
            extra={"fields": {"errand": ack.id, "stage": ack.stage.value, "new": new}},
        )

    async def _give_block(
        self, client: aiomqtt.Client, message: aiomqtt.Message, payload: bytes
    ) -> None:
        """Answer to the asking concentrator's own topic, whatever response topic it named."""
        concentrator = topics.concentrator_of(str(message.topic))
        fetch = fetch_from_plain(envelope.decode(payload, _content_type(message)))
        block = await self._rows.ask(service.block_of, self._db, concentrator, fetch)
        if block is None:
            return  # the edge asks again
        properties = typed(envelope.CBOR)
        correlation = getattr(message.properties, "CorrelationData", None)
        if isinstance(correlation, bytes):
            properties.CorrelationData = correlation
        await client.publish(
            topics.down_firmware(concentrator),
            envelope.encode(block_to_plain(block), envelope.CBOR), qos=1, properties=properties,
        )  # fmt: skip
        count(self._status, "upkeep_blocks" if block.octets else "upkeep_blocks_refused")

    async def _tell(self, client: aiomqtt.Client) -> None:
        """Send orders as they are signed, again until the edge answers."""
        while True:
            for item in await self._rows.ask(service.outgoing, self._db, self._clock) or ():
                await self._send(client, item)
            await asyncio.sleep(self._config.poll_seconds)

    async def _send(self, client: aiomqtt.Client, item: Outgoing) -> None:
        now = self._clock.monotonic()
        left = self._config.scale.wall_at(item.expires) - self._clock.wall_now()
        seconds = int(left.total_seconds())
        if seconds < 1 or now - self._sent.get(item.errand, -1e9) < self._config.repeat_seconds:
            return
        properties = typed(envelope.CBOR)
        properties.ResponseTopic = topics.up_ack(item.concentrator)
        properties.CorrelationData = item.errand.encode()
        settings = item.kind is Kind.CONFIGURATION
        properties.MessageExpiryInterval = seconds if settings else min(seconds, _COMMAND_SECONDS)
        where = topics.down_config if settings else topics.down_command
        await client.publish(
            where(item.concentrator), item.payload, qos=1, retain=settings, properties=properties
        )
        if len(self._sent) > 10_000:
            self._sent.clear()
        self._sent[item.errand] = now
        count(self._status, "upkeep_sent")

    async def keep_time(self, stop: asyncio.Event) -> None:
        """
        Spread rollouts, end what is over; with or without a broker.

        Large rollouts take longer to look through, so the pause grows with that: at most a tenth
        of the time is spent so.
        """
        while not stop.is_set():
            db, clock = self._db, self._clock
            began = clock.monotonic()
            moved = await self._rows.ask(service.advance, db, clock)
            if moved:
                count(self._status, "upkeep_steps", moved)
            await self._rows.ask(service.take_signer_refusals, db, now=clock.now())
            await self._rows.ask(service.expire_errands, db, clock)
            took = clock.monotonic() - began
            await rest(stop, max(self._config.poll_seconds, 9 * took))


def _content_type(message: aiomqtt.Message) -> str:
    return getattr(message.properties, "ContentType", None) or envelope.CBOR
