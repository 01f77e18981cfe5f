"""Firmware from the cloud's store into a meter: by blocks, over kills, never in a cut's way."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from protocols.mqtt.broker import BrokerAddress
from protocols.mqtt.downlink import Command, Verb
from protocols.mqtt.upkeep import FirmwareOrder, activation_args, firmware_args
from protocols.mqtt.uplink import FINAL, Ack, Stage
from simulators.meter.dlms_care import sealed_image
from tests.integration.edge_harness import Cloud, cloud
from tests.integration.edge_upkeep_kit import image_server, upkeep_order
from tests.integration.edge_upkeep_meter import SPEC, RealVictim, agent_of, configured, simulated

BLOB = sealed_image(bytes(range(256)) * 60)
ORDER = FirmwareOrder(image=bytes(32), size=len(BLOB), identifier=b"fw-2.1", block=1024)


def firmware(name: str, image: bytes, **changes: object) -> Command:
    """Return an order to bring an image into the meter."""
    order = replace(ORDER, image=image, **changes)  # type: ignore[arg-type]
    return upkeep_order(name, Verb.FIRMWARE, firmware_args(order), meter=SPEC.meter)


async def end_of(there: Cloud, order: Command, seconds: float = 40) -> Ack:
    """Wait for the one end of an order."""
    await there.until(lambda: bool(FINAL & set(there.stages(order))), seconds)
    (stage,) = FINAL & set(there.stages(order))
    return next(ack for ack in there.acks if ack.id == order.id and ack.stage is stage)


@pytest.mark.req("A10")
def test_an_image_reaches_the_meter_and_is_active(
    mqtt_broker: BrokerAddress, tmp_path: Path
) -> None:
    async def story() -> None:
        async with (
            simulated(tmp_path) as server,
            cloud(mqtt_broker, "C-fw") as there,
            image_server(mqtt_broker, "C-fw") as store,
        ):
            digest = store.hold(BLOB)
            _, config = configured(tmp_path, mqtt_broker, "C-fw", server.port)
            async with agent_of(config):
                await there.online()
                order = firmware("C-fw", digest)
                await there.order(order)
                end = await end_of(there, order)
                assert end.stage is Stage.DONE, end
                assert end.evidence["image"] == digest.hex()
                assert there.stages(order) == [Stage.ACCEPTED, Stage.STARTED, Stage.DONE]
                assert server.images.active == b""
                assert store.asked == list(range(ORDER.blocks))
                activate = upkeep_order(
                    "C-fw", Verb.ACTIVATE_FIRMWARE, activation_args(order.id), meter=SPEC.meter
                )
                await there.order(activate)
                assert (await end_of(there, activate)).stage is Stage.DONE
                assert server.images.active == BLOB
                unknown = upkeep_order(
                    "C-fw", Verb.ACTIVATE_FIRMWARE, activation_args(activate.id), meter=SPEC.meter
                )
                await there.order(unknown)
                end = await end_of(there, unknown)
                assert (end.stage, end.reason) == (Stage.REFUSED, "image_unknown")

    asyncio.run(story())


@pytest.mark.req("A10")
def test_images_that_are_unknown_altered_or_not_verified_are_refused(
    mqtt_broker: BrokerAddress, tmp_path: Path
) -> None:
    bad = BLOB[:-1] + b"?"

    async def story() -> None:
        async with (
            simulated(tmp_path) as server,
            cloud(mqtt_broker, "C-bad") as there,
            image_server(mqtt_broker, "C-bad") as store,
        ):
            _, config = configured(tmp_path, mqtt_broker, "C-bad", server.port)
            async with agent_of(config):
                await there.online()

                async def outcome(order: Command) -> tuple[Stage, str]:
                    await there.order(order)
                    end = await end_of(there, order)
                    return end.stage, end.reason

                unknown = firmware("C-bad", b"u" * 32)
                assert await outcome(unknown) == (Stage.REFUSED, "image_unknown")
                digest = store.hold(BLOB)
                store.spoil = True
                altered = firmware("C-bad", digest)
                assert await outcome(altered) == (Stage.REFUSED, "image_damaged")
                store.spoil = False
                unsound = firmware("C-bad", store.hold(bad), activate=True)
                assert await outcome(unsound) == (Stage.FAILED, "image_refused")
                late = firmware(
                    "C-bad", digest, activate=True,
                    activate_at=datetime.now(UTC).replace(microsecond=0) + timedelta(days=1),
                )  # fmt: skip
                assert await outcome(late) == (Stage.REFUSED, "upkeep_shape")
                assert server.images.active == b""

    asyncio.run(story())


@pytest.mark.req("A10")
@pytest.mark.parametrize(
    "failpoint",
    [
        "edge.after_block@5", "edge.after_send@3", "edge.after_verified", "edge.before_activate",
        "edge.after_activate",
    ],
)  # fmt: skip
def test_an_agent_killed_over_an_image_goes_on_where_it_stood(
    failpoint: str, mqtt_broker: BrokerAddress, tmp_path: Path
) -> None:
    name = "C-" + failpoint.split(".")[1].replace("@", "-")

    async def story() -> None:
        async with (
            simulated(tmp_path) as server,
            cloud(mqtt_broker, name) as there,
            image_server(mqtt_broker, name) as store,
        ):
            path, _ = configured(tmp_path, mqtt_broker, name, server.port)
            order = firmware(name, store.hold(BLOB), activate=True)
            async with RealVictim(path, failpoint) as victim:
                await there.online()
                await there.order(order)
                await victim.dies()
            async with RealVictim(path):
                assert (await end_of(there, order)).stage is Stage.DONE
            assert server.images.active == BLOB
            assert store.asked == list(range(ORDER.blocks)), "each block was fetched once"
            assert server.images.received == -(-len(BLOB) // 128), "each block was sent once"

    asyncio.run(story())


@pytest.mark.req("A10", "D9")
def test_a_cut_and_a_restore_do_not_wait_for_an_image(
    mqtt_broker: BrokerAddress, tmp_path: Path
) -> None:
    long = sealed_image(bytes(60_000))

    async def story() -> None:
        async with (
            simulated(tmp_path) as server,
            cloud(mqtt_broker, "C-way") as there,
            image_server(mqtt_broker, "C-way") as store,
        ):
            _, config = configured(tmp_path, mqtt_broker, "C-way", server.port)
            async with agent_of(config) as status:
                await there.online()
                order = firmware("C-way", store.hold(long), size=len(long), block=65_536)
                await there.order(order)
                await there.until(lambda: server.images.received > 50)
                reads = int(status["reads"])
                restore = upkeep_order("C-way", Verb.RECONNECT, {}, meter=SPEC.meter)
                await there.order(restore)
                assert (await end_of(there, restore)).stage is Stage.DONE
                there_now = server.images.received
                assert there_now < -(-len(long) // 128), "the image was still on its way"
                assert Stage.DONE not in there.stages(order)
                await there.until(lambda: int(status["reads"]) > reads)
                assert (await end_of(there, order, 60)).stage is Stage.DONE

    asyncio.run(story())


def test_an_order_whose_image_does_not_come_in_time_is_expired(
    mqtt_broker: BrokerAddress, tmp_path: Path
) -> None:
    async def story() -> None:
        async with (
            simulated(tmp_path) as server,
            cloud(mqtt_broker, "C-late") as there,
            image_server(mqtt_broker, "C-late") as store,
        ):
            _, config = configured(tmp_path, mqtt_broker, "C-late", server.port)
            async with agent_of(config):
                await there.online()
                digest, store.most = store.hold(BLOB), 3
                args = firmware_args(replace(ORDER, image=digest))
                order = upkeep_order(
                    "C-late", Verb.FIRMWARE, args, meter=SPEC.meter, lasts=timedelta(seconds=3)
                )
                await there.order(order)
                end = await end_of(there, order)
                assert (end.stage, end.reason) == (Stage.EXPIRED, "expired")

    asyncio.run(story())


@pytest.mark.req("A10")
def test_an_image_waits_for_its_hour(mqtt_broker: BrokerAddress, tmp_path: Path) -> None:
    async def story() -> None:
        async with (
            simulated(tmp_path) as server,
            cloud(mqtt_broker, "C-hour") as there,
            image_server(mqtt_broker, "C-hour") as store,
        ):
            _, config = configured(tmp_path, mqtt_broker, "C-hour", server.port)
            async with agent_of(config):
                await there.online()
                hour = datetime.now(UTC) + timedelta(seconds=6)
                order = firmware("C-hour", store.hold(BLOB), activate=True, activate_at=hour)
                await there.order(order)
                await there.until(lambda: server.images.received == -(-len(BLOB) // 128))
                await asyncio.sleep(0.5)
                assert server.images.active == b""
                end = await end_of(there, order)
                assert (end.stage, end.evidence["activated"]) == (Stage.DONE, True)
                assert end.at >= hour.replace(microsecond=0)
                assert server.images.active == BLOB

    asyncio.run(story())
