"""Settings, firmware and keys ordered all the while that agents are killed; each gets one end."""

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from protocols.identity import CommandId, MeterId
from protocols.mqtt import envelope, topics
from protocols.mqtt.broker import BrokerAddress
from protocols.mqtt.downlink import Command, Verb
from protocols.mqtt.upkeep import (
    Block,
    ConfigOrder,
    FirmwareOrder,
    NewKeys,
    block_to_plain,
    fetch_from_plain,
    firmware_args,
    seal_keys,
    sign_config,
)
from protocols.mqtt.uplink import FINAL, Ack
from protocols.timeline import TimeScale
from simulators.fleet import SimMeter
from simulators.meter.dlms_care import sealed_image
from tests.chaos.kill_kit import NAME, RESEND_SECONDS, TRANSPORT, Ledger
from tests.unit.edge.edge_kit import KEY

BLOB = sealed_image(bytes(range(256)) * 24)
_LASTS = 600
"""Wall seconds that an order has: agents live for a few at a time, on a busy machine even fewer."""


class UpkeepBoard:
    """One order of each kind after the other, until `closing`."""

    def __init__(self, ledger: Ledger, meter: SimMeter, scale: TimeScale) -> None:
        self._ledger = ledger
        self._meter: MeterId = meter.meter
        self._scale = scale
        self._numbers = 0
        self.ended: Counter[tuple[str, str, str]] = Counter()
        """(kind, stage, reason) -> how many orders ended so."""
        self.closing = asyncio.Event()

    async def run(self) -> None:
        """Give orders until `closing`; the last of each kind gets its end."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._settings())
            group.create_task(self._care())

    async def _settings(self) -> None:
        revision = 0
        while not self.closing.is_set():
            revision += 1
            order = ConfigOrder(
                id=self._id(), concentrator=NAME, revision=revision,
                issued_at=datetime.now(UTC), issuer="ann",
                settings={"poll_seconds": 0.2 + revision % 2 / 10},
            )  # fmt: skip
            payload, topic = sign_config(order, KEY), topics.down_config(NAME)
            await self._ledger.client.publish(topic, payload, qos=1, retain=True)
            await self._end("settings", order.id, None)
            await asyncio.sleep(0.3)

    async def _care(self) -> None:
        image = FirmwareOrder(
            image=hashlib.sha256(BLOB).digest(), size=len(BLOB), identifier=b"fw", block=1024,
            activate=True,
        )  # fmt: skip
        while not self.closing.is_set():
            await self._command("firmware", Verb.FIRMWARE, firmware_args(image))
            number = self._numbers.to_bytes(12, "big")
            keys = NewKeys(
                encryption_key=hashlib.sha256(b"e" + number).digest()[:16],
                authentication_key=hashlib.sha256(b"a" + number).digest()[:16],
            )
            args = seal_keys(keys, TRANSPORT, nonce=number, concentrator=NAME, meter=self._meter)
            await self._command("keys", Verb.REKEY, dict(args))

    async def _command(self, kind: str, verb: Verb, args: dict[str, Any]) -> None:
        now = self._scale.at(datetime.now(UTC))
        command = Command(
            id=self._id(), concentrator=NAME, meter=self._meter, verb=verb,
            not_before=now - timedelta(seconds=1), expires=now + self._scale.stretch(_LASTS),
            issuer="ann", epoch=0, args=args,
        )  # fmt: skip
        await self._end(kind, command.id, command)

    async def _end(self, kind: str, id_: CommandId, command: Command | None) -> None:
        sent_at = 0.0
        while True:
            if command is not None and time.monotonic() - sent_at > RESEND_SECONDS:
                sent_at = time.monotonic()
                await self._ledger.send(command)
            ends = {ack.stage: ack for ack in self._ledger.acks.get(id_, []) if ack.stage in FINAL}
            assert len(ends) <= 1, f"{id_} has more than one end: {sorted(ends)}"
            if ends:
                ack: Ack = next(iter(ends.values()))
                self.ended[kind, ack.stage.value, ack.reason] += 1
                return
            await asyncio.sleep(0.05)

    def _id(self) -> CommandId:
        self._numbers += 1
        return CommandId(f"upkeep-{self._numbers}")


@asynccontextmanager
async def serving_images(broker: BrokerAddress) -> AsyncIterator[None]:
    """Answer the fetches of the agent's blocks."""
    async with aiomqtt.Client(
        broker.host, broker.port, protocol=aiomqtt.ProtocolVersion.V5, identifier="kill-images"
    ) as client:
        await client.subscribe(topics.up_fetch(NAME), qos=1)
        task = asyncio.create_task(_serve(client))
        try:
            yield
            if task.done():
                task.result()
        finally:
            task.cancel()


async def _serve(client: aiomqtt.Client) -> None:
    async for message in client.messages:
        asked: Any = message.properties
        assert isinstance(message.payload, bytes)
        fetch = fetch_from_plain(envelope.decode(message.payload, asked.ContentType))
        octets = BLOB[fetch.index * fetch.block : (fetch.index + 1) * fetch.block]
        answer = Properties(PacketTypes.PUBLISH)
        answer.ContentType = envelope.CBOR
        answer.CorrelationData = asked.CorrelationData
        block = Block(image=fetch.image, index=fetch.index, octets=octets)
        payload = envelope.encode(block_to_plain(block), envelope.CBOR)
        await client.publish(asked.ResponseTopic, payload, qos=1, properties=answer)
