"""
The agent's MQTT 5 session: presence, what goes up, what comes down; lost and made anew for ever.

The session at the broker outlives a short absence, so that a command sent meanwhile still comes.
Nothing depends on it: batches and acks are sent until their receipts, control repeats commands.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import datetime
from pathlib import Path

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge.downlink.fetch import ImageFetcher
from edge.downlink.report import AckReporter
from edge.ending import ended
from edge.links.broker_tls import BrokerFault, context_of, diagnose
from edge.outbox.acks import ReplyTo
from edge.supervise import jitter
from edge.uplink.publish import BatchPublisher
from protocols.errors import PeerError
from protocols.identity import ConcentratorId
from protocols.mqtt import envelope, topics
from protocols.mqtt.broker import BrokerAddress
from protocols.mqtt.downlink import Watch, watch_from_plain
from protocols.mqtt.receipt import BatchReceipt, receipt_from_plain

_SESSION_SECONDS = 3600
_KEEPALIVE = 15
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 3.0
_PRESENCE_SECONDS = 10.0
_MOST_CORRELATION = 128

_LOG = logging.getLogger(__name__)


_REFUSALS = {
    name: BrokerFault(
        "not_authorised",
        "the broker knows us and lets us not in",
        "check the broker's list of users and the password_file",
    )
    for name in ("Not authorized", "Bad user name or password", "Banned")
}


class MqttWire:
    """Publishing at QoS 1 over one connection."""

    def __init__(self, client: aiomqtt.Client) -> None:
        """Publish through `client`."""
        self._client = client

    async def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        content_type: str,
        properties: tuple[tuple[str, str], ...] = (),
        response_topic: str = "",
        correlation: bytes = b"",
    ) -> None:
        """Publish and wait for the broker's PUBACK. Raises: MqttError."""
        extra = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        extra.ContentType = content_type
        if response_topic:
            extra.ResponseTopic = response_topic
        if correlation:
            extra.CorrelationData = correlation
        if properties:
            extra.UserProperty = list(properties)
        await self._client.publish(topic, payload, qos=1, properties=extra)


class EdgeSession:
    """Keeps one concentrator connected."""

    def __init__(
        self,
        broker: BrokerAddress,
        *,
        concentrator: ConcentratorId,
        boot: int,
        publisher: BatchPublisher,
        reporter: AckReporter,
        on_command: Callable[[bytes, ReplyTo | None], Awaitable[None]],
        on_settings: Callable[[bytes], Awaitable[None]],
        fetcher: ImageFetcher,
        on_watch: Callable[[Watch], None],
        on_released: Callable[[], None],
        presence: Callable[[], dict[str, int | str]],
        status: MutableMapping[str, int | str],
        wall_now: Callable[[], datetime],
    ) -> None:
        """Connect `concentrator`; `presence` gives what the retained state tells beside online."""
        self._broker = broker
        self._concentrator = concentrator
        self._boot = boot
        self._publisher = publisher
        self._reporter = reporter
        self._on_command = on_command
        self._on_settings = on_settings
        self._fetcher = fetcher
        self._on_watch = on_watch
        self._on_released = on_released
        self._presence = presence
        self._status = status
        self._wall_now = wall_now
        self._changed = asyncio.Event()
        self.connected = False
        """Whether the broker is there at this moment."""

    def announce(self) -> None:
        """Tell the retained state now: something in it has changed that somebody waits for."""
        self._changed.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Stay connected until `stop`; a broker that is away is tried again after a while."""
        pause = _FIRST_PAUSE
        tries = 0
        while not stop.is_set():
            self._status["broker"] = "away"
            try:
                async with self._client() as client:
                    self._status["broker"] = "connected"
                    self.connected = True
                    self._status["broker_fault"] = ""
                    _LOG.info("edge.broker.connected")
                    pause = _FIRST_PAUSE
                    await self._serve(client, stop)
            except (aiomqtt.MqttError, OSError, BrokerFault) as error:
                _LOG.warning("edge.broker.lost", extra={"fields": {"cause": str(error)[:200]}})
                if not self.connected:
                    await self._explain(error)
            finally:
                self.connected = False
            if not stop.is_set():
                tries += 1
                await _until(stop, pause * (0.5 + jitter(self._concentrator, tries)))
                pause = min(pause * 2, _LONGEST_PAUSE)

    async def _explain(self, error: Exception) -> None:
        """Say in words why no session comes to be, once for each cause."""
        fault: PeerError | None = error if isinstance(error, BrokerFault) else None
        if isinstance(error, aiomqtt.MqttCodeError):
            fault = _REFUSALS.get(str(error.rc))
        fault = fault or await asyncio.to_thread(diagnose, self._broker, now=self._wall_now())
        if fault is None or fault.code == self._status.get("broker_fault"):
            return
        self._status["broker_fault"] = fault.code
        _LOG.error(
            "edge.broker.fault", extra={"fields": {"code": fault.code, "cause": fault.message}}
        )

    async def _serve(self, client: aiomqtt.Client, stop: asyncio.Event) -> None:
        """Do all work of one connection until `stop`; raises when it breaks."""
        for topic in (
            topics.down_receipt(self._concentrator),
            topics.down_command(self._concentrator),
            topics.down_watch(self._concentrator),
            topics.down_config(self._concentrator),
            topics.down_firmware(self._concentrator),
        ):
            await client.subscribe(topic, qos=1)
        wire = MqttWire(client)
        await self._announce(client)
        work = [
            asyncio.ensure_future(item)
            for item in (
                self._hear(client),
                self._publisher.run(wire),
                self._reporter.run(wire),
                self._fetcher.run(wire),
                self._keep_announcing(client),
                stop.wait(),
            )
        ]
        try:
            done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await ended(*work)
        for task in done:
            task.result()
        await client.publish(self._state_topic, self._state(online=False), qos=1, retain=True)

    async def _hear(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            payload = message.payload
            if not isinstance(payload, bytes):
                continue
            properties = message.properties
            content_type = getattr(properties, "ContentType", None) or envelope.CBOR
            reply = reply_of(properties)
            try:
                await self._heard(str(message.topic), payload, content_type, reply)
            except PeerError as error:
                # the cloud will say it again; what we could not take is not lost
                self._status["unheard"] = int(self._status.get("unheard", 0)) + 1
                _LOG.warning(
                    "edge.message.unheard",
                    extra={"fields": {"topic": str(message.topic), "cause": error.code}},
                )

    async def _heard(
        self, topic: str, payload: bytes, content_type: str, reply: ReplyTo | None
    ) -> None:
        if topic == topics.down_command(self._concentrator):
            await self._on_command(payload, reply)
        elif topic == topics.down_config(self._concentrator):
            await self._on_settings(payload)
        elif topic == topics.down_firmware(self._concentrator):
            self._fetcher.take(payload, content_type)
        elif topic == topics.down_receipt(self._concentrator):
            receipt = receipt_from_plain(envelope.decode(payload, content_type))
            if isinstance(receipt, BatchReceipt):
                if await self._publisher.receipted(receipt):
                    self._on_released()
            else:
                await self._reporter.receipted(receipt)
        elif topic == topics.down_watch(self._concentrator):
            self._on_watch(watch_from_plain(envelope.decode(payload, content_type)))

    async def _keep_announcing(self, client: aiomqtt.Client) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), _PRESENCE_SECONDS)
            self._changed.clear()
            await self._announce(client)

    async def _announce(self, client: aiomqtt.Client) -> None:
        await client.publish(self._state_topic, self._state(online=True), qos=1, retain=True)

    @property
    def _state_topic(self) -> str:
        return topics.up_state(self._concentrator)

    def _state(self, *, online: bool) -> bytes:
        state: dict[str, int | str | bool] = {"online": online, "boot": self._boot}
        if online:
            state.update(self._presence())
        return json.dumps(state, separators=(",", ":")).encode()

    def _client(self) -> aiomqtt.Client:
        broker = self._broker
        connect = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        connect.SessionExpiryInterval = _SESSION_SECONDS
        return aiomqtt.Client(
            broker.host,
            broker.port,
            identifier=f"edge-{self._concentrator}",
            protocol=aiomqtt.ProtocolVersion.V5,
            username=broker.username or None,
            password=(
                Path(broker.password_file).read_text().strip() if broker.password_file else None
            ),
            clean_start=False,
            properties=connect,
            keepalive=_KEEPALIVE,
            will=aiomqtt.Will(self._state_topic, self._state(online=False), qos=1, retain=True),
            tls_context=context_of(broker),
        )


def reply_of(properties: Properties | None) -> ReplyTo | None:
    """Return where else a command's acks are wanted; None unless that is a topic of ours."""
    topic = getattr(properties, "ResponseTopic", None)
    if not isinstance(topic, str) or not topics.is_reply(topic):
        return None
    correlation = getattr(properties, "CorrelationData", b"")
    return ReplyTo(topic=topic, correlation=bytes(correlation)[:_MOST_CORRELATION])


async def _until(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
