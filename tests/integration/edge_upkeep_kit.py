"""Orders of upkeep in real time, and a store of images that answers what an agent fetches."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from protocols.identity import CommandId, ConcentratorId, MeterId
from protocols.mqtt import envelope, topics
from protocols.mqtt.broker import BrokerAddress
from protocols.mqtt.downlink import Command, Verb
from protocols.mqtt.upkeep import (
    Block,
    ConfigOrder,
    Fetch,
    Setting,
    block_to_plain,
    fetch_from_plain,
    sign_config,
)
from tests.integration.edge_harness import Cloud
from tests.unit.edge.edge_kit import KEY, METER


def settings_order(
    concentrator: str, revision: int, settings: dict[str, Setting], *, id_: str = "",
    lasts: timedelta | None = None,
) -> ConfigOrder:  # fmt: skip
    """Return an order of settings, valid from now."""
    now = datetime.now(UTC)
    return ConfigOrder(
        id=CommandId(id_ or f"upkeep-{concentrator}-{revision}"),
        concentrator=ConcentratorId(concentrator), revision=revision,
        issued_at=now.replace(microsecond=0),
        expires=None if lasts is None else now.replace(microsecond=0) + lasts,
        issuer="ann", settings=settings,
    )  # fmt: skip


async def retain(there: Cloud, order: ConfigOrder) -> None:
    """Let an order of settings stand for the agent."""
    payload = sign_config(order, KEY)
    topic = topics.down_config(there.concentrator)
    await there.client.publish(topic, payload, qos=1, retain=True)


def upkeep_order(
    concentrator: str, verb: Verb, args: dict[str, Any], *, meter: MeterId = METER,
    lasts: timedelta = timedelta(seconds=60),
) -> Command:  # fmt: skip
    """Return an order to care for a meter, valid from now."""
    now = datetime.now(UTC)
    return Command(
        id=CommandId(f"upkeep-{concentrator}-{now.timestamp()}"),
        concentrator=ConcentratorId(concentrator), meter=meter, verb=verb,
        not_before=now - timedelta(seconds=1), expires=now + lasts,
        issuer="ann", epoch=0, args=args,
    )  # fmt: skip


@dataclass
class ImageServer:
    """Answers fetches from `images`; `spoil` gives other octets, `most` ends the answers."""

    client: aiomqtt.Client
    images: dict[bytes, bytes] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)
    spoil: bool = False
    most: int = 1_000_000

    def hold(self, blob: bytes) -> bytes:
        """Keep an image; return its digest."""
        digest = hashlib.sha256(blob).digest()
        self.images[digest] = blob
        return digest

    async def serve(self) -> None:
        """Answer for ever."""
        async for message in self.client.messages:
            assert isinstance(message.payload, bytes)
            assert message.properties is not None
            properties: Any = message.properties
            plain = envelope.decode(message.payload, properties.ContentType)
            fetch = fetch_from_plain(plain)
            self.asked.append(fetch.index)
            if len(self.asked) > self.most:
                continue
            answer = Properties(PacketTypes.PUBLISH)
            answer.ContentType = envelope.CBOR
            answer.CorrelationData = properties.CorrelationData
            payload = envelope.encode(block_to_plain(self._block(fetch)), envelope.CBOR)
            await self.client.publish(properties.ResponseTopic, payload, qos=1, properties=answer)

    def _block(self, fetch: Fetch) -> Block:
        blob = self.images.get(fetch.image)
        if blob is None:
            return Block(image=fetch.image, index=fetch.index, octets=b"", reason="unknown image")
        octets = blob[fetch.index * fetch.block : (fetch.index + 1) * fetch.block]
        if self.spoil:
            octets = bytes(len(octets))
        return Block(image=fetch.image, index=fetch.index, octets=octets)


@asynccontextmanager
async def image_server(broker: BrokerAddress, concentrator: str) -> AsyncIterator[ImageServer]:
    """Serve images to a concentrator at a real broker."""
    async with aiomqtt.Client(
        broker.host, broker.port, protocol=aiomqtt.ProtocolVersion.V5,
        identifier=f"images-{concentrator}",
    ) as client:  # fmt: skip
        server = ImageServer(client)
        await client.subscribe(topics.up_fetch(ConcentratorId(concentrator)), qos=1)
        task = asyncio.create_task(server.serve())
        try:
            yield server
            if task.done():
                task.result()
        finally:
            task.cancel()
