"""The hub and the stream: newest wins, only what is watched, brokers that die, doors that close."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest

from cloud.store.clock import Clock
from cloud.store.db import TransientDatabaseError
from meterloop.embedded.broker import EmbeddedBroker, LocalBroker, free_port
from portal.fmt import Reader
from portal.live.hub import Hub, Mailbox, WatchedMeter
from portal.live.stream import LiveStream, Seat
from protocols.identity import ConcentratorId, MeterId, UsagePointId
from protocols.mqtt import topics
from protocols.mqtt.broker import BrokerAddress
from protocols.mqtt.live import LiveReading, LiveSupply, live_to_bytes
from protocols.mqtt.topics import Live
from protocols.timeline import to_ms

A, B = UsagePointId("UP-live-a"), UsagePointId("UP-live-b")
METER = WatchedMeter(meter=MeterId("M-000001"), concentrator=ConcentratorId("C-01"))


def reading(point: UsagePointId, watts: int) -> LiveReading:
    wall = to_ms(datetime.now(UTC))
    return LiveReading(
        usage_point=point, at_ms=wall, wall_ms=wall, quality="valid", register_wh=1, today_wh=1,
        power_w=watts,
    )  # fmt: skip


def publish(broker: BrokerAddress, *messages: LiveReading) -> None:
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.connect(broker.host, broker.port)
    client.loop_start()
    for message in messages:
        client.publish(
            topics.live(message.usage_point, Live.READING), live_to_bytes(message), retain=True
        ).wait_for_publish(5)
    client.loop_stop()
    client.disconnect()


async def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


def test_a_slow_viewer_gets_the_newest_of_each_kind() -> None:
    async def play() -> list[Any]:
        box = Mailbox()
        for watts in range(5):
            box.put(reading(A, watts))
        box.put(LiveSupply(usage_point=A, state="connected", at_ms=1))
        return await box.take()

    taken = asyncio.run(play())
    assert [type(one).__name__ for one in taken] == ["LiveReading", "LiveSupply"]
    assert taken[0].power_w == 4


def test_only_watched_points_are_followed_and_the_last_value_comes_at_once(
    mqtt_broker: BrokerAddress,
) -> None:
    async def play() -> None:
        stop, hub = asyncio.Event(), Hub(mqtt_broker, lambda _: METER)
        running = asyncio.create_task(hub.run(stop))
        await until(lambda: hub.connected)
        await asyncio.to_thread(publish, mqtt_broker, reading(A, 100), reading(B, 200))
        await asyncio.sleep(0.2)
        assert hub.messages == 0, "nobody looks, so nothing is fetched"
        first, second = Mailbox(), Mailbox()
        hub.add(A, first)
        async with asyncio.timeout(20):
            [kept] = await first.take()
        assert kept.power_w == 100
        hub.add(A, second)
        async with asyncio.timeout(20):
            assert (await second.take())[0].power_w == 100
        assert hub.viewers == 2
        hub.discard(A, first)
        hub.discard(A, second)
        seen = -1
        async with asyncio.timeout(20):  # with the last viewer the subscription ends
            while seen != hub.messages:
                seen = hub.messages
                await asyncio.to_thread(publish, mqtt_broker, reading(A, 101))
                await asyncio.sleep(0.5)
        stop.set()
        await running

    asyncio.run(play())


def test_the_stream_goes_on_when_the_broker_was_killed_and_came_back(tmp_path: Path) -> None:
    port = free_port()

    async def play() -> None:
        stop = asyncio.Event()
        box = Mailbox()
        with EmbeddedBroker(LocalBroker(folder=tmp_path / "a", port=port)) as broker:
            hub = Hub(broker.address, lambda _: METER)
            running = asyncio.create_task(hub.run(stop))
            hub.add(A, box)
            await until(lambda: hub.connected)
            await asyncio.to_thread(publish, broker.address, reading(A, 1))
            async with asyncio.timeout(20):
                assert (await box.take())[0].power_w == 1
        await until(lambda: not hub.connected)
        with EmbeddedBroker(LocalBroker(folder=tmp_path / "b", port=port)) as broker:
            await until(lambda: hub.connected)
            await asyncio.to_thread(publish, broker.address, reading(A, 2))
            async with asyncio.timeout(20):
                assert (await box.take())[0].power_w == 2
            stop.set()
            await running

    asyncio.run(play())


class Browser:
    """The other end of a stream, as an ASGI server shows it."""

    def __init__(self) -> None:
        self.status = 0
        self.body = b""
        self.left = asyncio.Event()

    async def receive(self) -> dict[str, str]:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.status = message.get("status", self.status)
        self.body += message.get("body", b"")


def stream_of(authorise: Callable[..., Seat | None], stop: asyncio.Event) -> tuple[Hub, LiveStream]:
    hub = Hub(BrokerAddress(host="127.0.0.1", port=9), lambda _: None)
    return hub, LiveStream(hub, authorise, Clock(), stop)


SEAT = Seat(usage_point=A, reader=Reader(language="fa"), currency="CNY")
SCOPE = {"type": "http", "query_string": b"point=UP-000001"}


@pytest.mark.req("R5")
def test_who_may_not_see_a_point_gets_no_stream() -> None:
    def away(*_: object) -> None:
        raise TransientDatabaseError("away")

    async def status_of(authorise: Callable[..., Seat | None]) -> int:
        _, stream = stream_of(authorise, asyncio.Event())
        browser = Browser()
        await stream(SCOPE, browser.receive, browser.send)
        return browser.status

    assert asyncio.run(status_of(lambda *_: None)) == 403
    assert asyncio.run(status_of(away)) == 503


@pytest.mark.req("R5")
def test_a_right_that_is_taken_away_ends_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portal.live.stream._REAUTHORISE", 0.05)
    answers = iter([SEAT, SEAT, None])

    async def play() -> None:
        hub, stream = stream_of(lambda *_: next(answers), asyncio.Event())
        browser = Browser()
        async with asyncio.timeout(20):
            await stream(SCOPE, browser.receive, browser.send)
        assert browser.status == 200
        assert hub.viewers == 0

    asyncio.run(play())


def test_events_speak_the_viewers_language_and_stay_small() -> None:
    async def play() -> bytes:
        stop = asyncio.Event()
        hub, stream = stream_of(lambda *_: SEAT, stop)
        browser = Browser()
        serving = asyncio.create_task(stream(SCOPE, browser.receive, browser.send))
        await until(lambda: hub.viewers == 1)
        for box in hub._viewers[A]:
            box.put(reading(A, 2_340))
        await until(lambda: b"data:" in browser.body)
        browser.left.set()
        with suppress(asyncio.CancelledError):
            await serving
        assert hub.viewers == 0, "a browser that leaves is let go"
        return browser.body

    body = asyncio.run(play())
    assert "۲٫۳۴".encode() in body
    assert body.startswith(b"retry: ")
    assert len(body) < 600
