"""What the edge and the cloud ask of the embedded broker, shown on a real one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiomqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from meterloop.embedded.broker import EmbeddedBroker, LocalBroker, free_port
from meterloop.embedded.spawn import EmbeddedError
from protocols.mqtt.broker import BrokerAddress


def client(address: BrokerAddress, name: str, **more: object) -> aiomqtt.Client:
    return aiomqtt.Client(
        address.host, address.port, identifier=name, protocol=aiomqtt.ProtocolVersion.V5, **more
    )  # type: ignore[arg-type]


async def next_of(subscriber: aiomqtt.Client) -> aiomqtt.Message:
    async with asyncio.timeout(30):
        async for message in subscriber.messages:
            return message
    raise AssertionError("the stream ended")


@asynccontextmanager
async def pair(address: BrokerAddress, name: str) -> AsyncIterator[tuple[aiomqtt.Client, ...]]:
    async with client(address, f"{name}-a") as first, client(address, f"{name}-b") as second:
        yield first, second


def batch_properties() -> Properties:
    properties = Properties(PacketTypes.PUBLISH)
    properties.ContentType = "application/cbor"
    properties.UserProperty = [("boot", "3"), ("seq", "9")]
    return properties


@pytest.mark.parametrize("octets", [0, 33_000, 1_100_000])
def test_a_batch_passes_whole_with_its_properties(mqtt_broker: BrokerAddress, octets: int) -> None:
    async def scene() -> aiomqtt.Message:
        async with pair(mqtt_broker, f"whole-{octets}") as (publisher, subscriber):
            await subscriber.subscribe("whole/+/data", qos=1)
            await publisher.publish(
                "whole/C-01/data", b"x" * octets, qos=1, properties=batch_properties()
            )
            return await next_of(subscriber)

    message = asyncio.run(scene())
    assert (len(message.payload), message.qos) == (octets, 1)  # type: ignore[arg-type]
    assert message.properties is not None
    assert message.properties.ContentType == "application/cbor"
    assert message.properties.UserProperty == [("boot", "3"), ("seq", "9")]


def test_the_last_retained_message_greets_a_new_subscriber(mqtt_broker: BrokerAddress) -> None:
    async def scene() -> aiomqtt.Message:
        async with client(mqtt_broker, "retain-a") as publisher:
            await publisher.publish("retained/1", b"old", retain=True)
            await publisher.publish("retained/1", b"new", qos=1, retain=True)
        async with client(mqtt_broker, "retain-b") as subscriber:
            await subscriber.subscribe("retained/#")
            return await next_of(subscriber)

    message = asyncio.run(scene())
    assert (message.payload, message.retain) == (b"new", True)


def test_a_lost_client_leaves_its_will(mqtt_broker: BrokerAddress) -> None:
    async def scene() -> aiomqtt.Message:
        async with client(mqtt_broker, "will-watch") as watcher:
            await watcher.subscribe("will/state", qos=1)
            will = aiomqtt.Will("will/state", b"offline", qos=1, retain=True)
            reader, writer = await asyncio.open_connection(mqtt_broker.host, mqtt_broker.port)
            packet = connect_packet("will-dying", will)
            writer.write(packet)
            await writer.drain()
            assert (await reader.readexactly(1))[0] >> 4 == 2  # CONNACK
            writer.transport.abort()
            return await next_of(watcher)

    assert asyncio.run(scene()).payload == b"offline"


def connect_packet(name: str, will: aiomqtt.Will) -> bytes:
    """Return an MQTT 5 CONNECT, so that the socket can be cut without a DISCONNECT."""

    def text(words: bytes) -> bytes:
        return len(words).to_bytes(2, "big") + words

    flags = 0b0010_1110  # will retained at QoS 1, clean start
    body = text(b"MQTT") + bytes([5, flags]) + (60).to_bytes(2, "big") + b"\0"
    assert isinstance(will.payload, bytes)
    body += text(name.encode()) + b"\0" + text(will.topic.encode()) + text(will.payload)
    return bytes([0x10, len(body)]) + body


def test_a_durable_subscriber_gets_what_came_while_it_was_away(mqtt_broker: BrokerAddress) -> None:
    async def scene() -> list[bytes]:
        lasting = Properties(PacketTypes.CONNECT)
        lasting.SessionExpiryInterval = 3600
        options = {"clean_start": False, "properties": lasting}
        async with client(mqtt_broker, "durable", **options) as subscriber:
            await subscriber.subscribe("durable/x", qos=1)
        async with client(mqtt_broker, "durable-pub") as publisher:
            for number in range(50):
                await publisher.publish("durable/x", b"%d" % number, qos=1)
        async with client(mqtt_broker, "durable", **options) as subscriber:
            return [bytes((await next_of(subscriber)).payload) for _ in range(50)]  # type: ignore[arg-type]

    assert asyncio.run(scene()) == [b"%d" % number for number in range(50)]


def test_a_killed_broker_comes_back_on_its_port(tmp_path: Path) -> None:
    broker = EmbeddedBroker(LocalBroker(folder=tmp_path, port=free_port()))

    async def exchange() -> bytes:
        async with pair(broker.address, "again") as (publisher, subscriber):
            await subscriber.subscribe("again/x", qos=1)
            await publisher.publish("again/x", b"here", qos=1)
            return bytes((await next_of(subscriber)).payload)  # type: ignore[arg-type]

    with broker:
        assert asyncio.run(exchange()) == b"here"
        broker.kill()
        broker.start()
        assert asyncio.run(exchange()) == b"here"


def test_a_taken_port_is_refused_with_a_way_out(tmp_path: Path, mqtt_broker: BrokerAddress) -> None:
    with pytest.raises(EmbeddedError) as refused:
        EmbeddedBroker(LocalBroker(folder=tmp_path, port=mqtt_broker.port)).start()
    assert refused.value.code == "broker.port_in_use"
    assert "broker.port = 0" in refused.value.fix
