"""What of MQTT 5 the agent lives by: response topics, message expiry, its session, its will."""

import asyncio
import signal
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge.outbox import Outbox
from edge.session import reply_of
from protocols.mqtt import envelope, topics
from protocols.mqtt.broker import BrokerAddress
from protocols.mqtt.downlink import Command, Verb, sign
from protocols.mqtt.uplink import FINAL, Stage, ack_from_plain
from tests.integration.edge_harness import Cloud, Victim, agent, cloud, scripted, written
from tests.integration.edge_orders import order
from tests.unit.edge.edge_kit import KEY


async def send(there: Cloud, command: Command, **properties: Any) -> None:
    """Send a command with MQTT 5 properties of its own."""
    extra = Properties(PacketTypes.PUBLISH)
    for name, value in properties.items():
        setattr(extra, name, value)
    topic = topics.down_command(there.concentrator)
    await there.client.publish(topic, sign(command, KEY), qos=1, properties=extra)


@pytest.mark.req("A10")
def test_acks_go_to_the_usual_place_and_to_the_response_topic(
    mqtt_broker: BrokerAddress, tmp_path: Path
) -> None:
    _, config = written(tmp_path, mqtt_broker, "C-reply")
    answers: list[tuple[str, bytes, Stage]] = []

    async def listen(client: aiomqtt.Client) -> None:
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            properties: Any = message.properties
            ack = ack_from_plain(envelope.decode(message.payload, properties.ContentType))
            answers.append((str(message.topic), properties.CorrelationData, ack.stage))

    async def story() -> None:
        async with (
            cloud(mqtt_broker, "C-reply") as there,
            aiomqtt.Client(
                mqtt_broker.host, mqtt_broker.port, protocol=aiomqtt.ProtocolVersion.V5,
                identifier="asker",
            ) as asker,
        ):  # fmt: skip
            await asker.subscribe("ami/v1/asker/replies", qos=1)
            listening = asyncio.create_task(listen(asker))
            async with agent(config, scripted()):
                await there.online()
                elsewhere, usual = (
                    order("C-reply", Verb.READ_RELAY),
                    order("C-reply", Verb.RECONNECT),
                )
                await send(
                    there, elsewhere, ResponseTopic="ami/v1/asker/replies", CorrelationData=b"q-1"
                )
                await send(
                    there, usual, ResponseTopic=topics.up_ack(there.concentrator),
                    CorrelationData=usual.id.encode(),
                )  # fmt: skip
                for command in (elsewhere, usual):
                    await there.until(lambda c=command: Stage.DONE in there.stages(c))  # type: ignore[misc]
                await there.until(lambda: len(answers) >= 3)
            listening.cancel()
            first = list(dict.fromkeys(answers))
            assert first == [
                ("ami/v1/asker/replies", b"q-1", stage)
                for stage in (Stage.ACCEPTED, Stage.STARTED, Stage.DONE)
            ]
            assert len([a for a in there.acks if a.id == usual.id]) == 3, "told once, not twice"

    asyncio.run(story())


@pytest.mark.parametrize(
    "topic", ["", "elsewhere/x", "ami/v1/#", "ami/v1/+/up/ack", "ami/v1/" + "a" * 300]
)
def test_no_answer_goes_to_a_topic_that_is_not_ours(topic: str) -> None:
    properties = Properties(PacketTypes.PUBLISH)
    properties.CorrelationData = b"x"
    if topic and "#" not in topic and "+" not in topic:
        properties.ResponseTopic = topic
    assert reply_of(properties) is None
    assert not topics.is_reply(topic)


@pytest.mark.req("A10", "D9")
def test_a_command_whose_message_expired_is_never_delivered(
    mqtt_broker: BrokerAddress, tmp_path: Path
) -> None:
    _, config = written(tmp_path, mqtt_broker, "C-away")

    async def story() -> None:
        async with cloud(mqtt_broker, "C-away") as there:
            async with agent(config, scripted()):
                await there.online()
            await there.until(lambda: there.states[-1]["online"] is False)
            late, kept = order("C-away"), order("C-away", Verb.RECONNECT)
            await send(there, late, MessageExpiryInterval=1)
            await send(there, kept, MessageExpiryInterval=60)
            await asyncio.sleep(2.5)
            meter = scripted()
            async with agent(config, meter):
                # its session at the broker has kept what is still in time, and nothing else
                await there.until(lambda: bool(FINAL & set(there.stages(kept))))
                await asyncio.sleep(0.5)
            assert there.stages(kept)[-1] is Stage.DONE
            assert there.stages(late) == []
            assert "disconnect" not in meter.acts
        outbox = Outbox(config.outbox, wall_ms=1)
        assert outbox.commands.find(late.id) is None
        outbox.close()

    asyncio.run(story())


@pytest.mark.req("A10")
def test_the_will_of_a_killed_agent_says_that_it_is_away(
    mqtt_broker: BrokerAddress, tmp_path: Path
) -> None:
    path, _ = written(tmp_path, mqtt_broker, "C-will")

    async def story() -> None:
        async with cloud(mqtt_broker, "C-will") as there:
            async with Victim(path, tmp_path / "operated") as victim:
                await there.online()
                boot = there.states[-1]["boot"]
                victim.process.send_signal(signal.SIGKILL)
                await victim.process.wait()
                await there.until(lambda: there.states[-1]["online"] is False)
                assert there.states[-1] == {"online": False, "boot": boot}

    asyncio.run(story())
