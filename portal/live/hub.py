"""
Fans live messages out to whoever watches: follows only the usage points that somebody looks at.

The broker keeps the last message of each topic, so a new viewer sees figures at once; while
somebody watches, the concentrator is asked every 30 s to read that meter faster.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiomqtt

from cloud.store.rim import ended
from protocols.errors import PeerError
from protocols.identity import ConcentratorId, MeterId, UsagePointId
from protocols.mqtt import envelope, topics
from protocols.mqtt.broker import BrokerAddress
from protocols.mqtt.downlink import Watch, watch_to_plain
from protocols.mqtt.live import LiveMessage, live_from_bytes

_LOG = logging.getLogger(__name__)
_WATCH_EVERY = 30.0
_WATCH_LASTS = 60
_MAX_BACKOFF = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedMeter:
    """Which meter to hurry for a usage point, and who polls it."""

    meter: MeterId
    concentrator: ConcentratorId


class Mailbox:
    """What one viewer has not yet been sent: the newest message of each kind; older ones go."""

    __slots__ = ("_filled", "_pending")

    def __init__(self) -> None:
        """Start empty."""
        self._pending: dict[tuple[str, type], LiveMessage] = {}
        self._filled = asyncio.Event()

    def put(self, message: LiveMessage) -> None:
        """Leave a message, replacing an unread one of the same kind."""
        self._pending[(message.usage_point, type(message))] = message
        self._filled.set()

    async def take(self) -> list[LiveMessage]:
        """Return everything unread, waiting until there is something."""
        await self._filled.wait()
        self._filled.clear()
        taken = list(self._pending.values())
        self._pending.clear()
        return taken


class Hub:
    """Viewers by usage point, and the one MQTT connection that feeds them. Lives on one loop."""

    def __init__(
        self, broker: BrokerAddress, find_meter: Callable[[UsagePointId], WatchedMeter | None]
    ) -> None:
        """Keep where the broker is; `find_meter` may block and runs in a thread."""
        self._broker = broker
        self._find_meter = find_meter
        self._viewers: dict[UsagePointId, set[Mailbox]] = {}
        self._last: dict[tuple[UsagePointId, type], LiveMessage] = {}
        self._changed = asyncio.Event()
        self.messages = 0
        self.connected = False

    def add(self, usage_point: UsagePointId, mailbox: Mailbox) -> None:
        """Let `mailbox` follow a usage point, starting with what is already known."""
        watching = self._viewers.setdefault(usage_point, set())
        watching.add(mailbox)
        for (point, _), message in self._last.items():
            if point == usage_point:
                mailbox.put(message)
        if len(watching) == 1:
            self._changed.set()

    def discard(self, usage_point: UsagePointId, mailbox: Mailbox) -> None:
        """Stop following; with the last viewer the subscription ends."""
        watching = self._viewers.get(usage_point, set())
        watching.discard(mailbox)
        if not watching:
            self._viewers.pop(usage_point, None)
            for key in [key for key in self._last if key[0] == usage_point]:
                del self._last[key]
            self._changed.set()

    @property
    def viewers(self) -> int:
        """Return how many mailboxes follow something."""
        return sum(len(watching) for watching in self._viewers.values())

    async def run(self, stop: asyncio.Event) -> None:
        """Stay connected until `stop`; a broker that goes away is waited for."""
        backoff = 0.2
        while not stop.is_set():
            try:
                async with self._client() as client:
                    backoff = 0.2
                    self.connected = True
                    _LOG.info("portal.live.connected")
                    await self._serve(client, stop)
            except (aiomqtt.MqttError, OSError) as error:
                _LOG.warning("portal.live.lost", extra={"fields": {"cause": type(error).__name__}})
            finally:
                self.connected = False
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), backoff)
            backoff = min(backoff * 2, _MAX_BACKOFF)

    def _client(self) -> aiomqtt.Client:
        broker = self._broker
        extra: dict[str, Any] = {}
        if broker.username:
            extra["username"] = broker.username
        if broker.password_file:
            extra["password"] = Path(broker.password_file).read_text(encoding="utf-8").strip()
        if broker.tls_ca:
            extra["tls_params"] = aiomqtt.TLSParameters(
                ca_certs=broker.tls_ca,
                certfile=broker.tls_cert or None,
                keyfile=broker.tls_key or None,
            )
        return aiomqtt.Client(
            broker.host, broker.port, protocol=aiomqtt.ProtocolVersion.V5, keepalive=10,
            timeout=5.0, **extra,
        )  # fmt: skip

    async def _serve(self, client: aiomqtt.Client, stop: asyncio.Event) -> None:
        async def until_stop() -> None:
            await stop.wait()

        parts = [
            asyncio.create_task(part)
            for part in (self._receive(client), self._follow(client), self._hurry(client),
                         until_stop())
        ]  # fmt: skip
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for part in done:
                part.result()
        finally:
            await ended(*parts)

    async def _receive(self, client: aiomqtt.Client) -> None:
        async for arrived in client.messages:
            try:
                point, what = topics.live_of(str(arrived.topic))
                payload = arrived.payload
                if not isinstance(payload, bytes | bytearray) or not payload:
                    continue
                message = live_from_bytes(what, bytes(payload))
            except PeerError as error:
                _LOG.warning("portal.live.unreadable", extra={"fields": {"code": error.code}})
                continue
            self.messages += 1
            watching = self._viewers.get(point)
            if watching is None:
                continue
            self._last[(point, type(message))] = message
            for mailbox in watching:
                mailbox.put(message)

    async def _follow(self, client: aiomqtt.Client) -> None:
        followed: set[UsagePointId] = set()
        while True:
            self._changed.clear()
            wanted = set(self._viewers)
            for point in wanted - followed:
                await client.subscribe(topics.live_all(point), qos=0)
                await self._ask(client, point)
            for point in followed - wanted:
                await client.unsubscribe(topics.live_all(point))
            followed = wanted
            await self._changed.wait()

    async def _hurry(self, client: aiomqtt.Client) -> None:
        while True:
            await asyncio.sleep(_WATCH_EVERY)
            for point in list(self._viewers):
                await self._ask(client, point)

    async def _ask(self, client: aiomqtt.Client, point: UsagePointId) -> None:
        found = await asyncio.to_thread(self._find_meter, point)
        if found is None:
            return
        wish = Watch(meter=found.meter, wall_seconds=_WATCH_LASTS)
        properties = _content_type(envelope.JSON)
        await client.publish(
            topics.down_watch(found.concentrator),
            envelope.encode(watch_to_plain(wish), envelope.JSON),
            qos=0,
            properties=properties,
        )


def _content_type(text: str) -> Any:
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.ContentType = text
    return properties
