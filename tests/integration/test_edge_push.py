"""Meters that speak unasked: theirs is proven and told, anybody else's is counted and dropped."""

import asyncio
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from meterloop.embedded.broker import free_port
from protocols.events import EndDeviceEvent, EventCode
from protocols.mqtt.broker import BrokerAddress
from protocols.reading import Channel, Status
from protocols.timeline import to_ms
from simulators.meter.dlms_push import LAST_GASP, PUSH_OBJECTS, Pusher
from tests.integration.edge_harness import Cloud, cloud
from tests.integration.edge_upkeep_meter import SPEC, agent_of, configured, simulated

AT = datetime(2026, 6, 1, 12, 0, 5, tzinfo=UTC)
BROKER = {"push_host": "127.0.0.1", "poll_seconds": 0.3}


def by_udp(port: int, octets: bytes) -> None:
    """Push as a datagram."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.sendto(octets, ("127.0.0.1", port))


def by_tcp(port: int, octets: bytes) -> None:
    """Push over a connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as line:
        line.sendall(octets)


def events(there: Cloud, *codes: EventCode) -> list[EndDeviceEvent]:
    """Return the events told of some codes."""
    return [event for batch in there.batches for event in batch.events if event.code in codes]


def values(there: Cloud) -> dict[tuple[int, int], int]:
    """Return (at_ms, raw) -> status of each import register told."""
    found = {}
    for batch in there.batches:
        columns = {name: column.tolist() for name, column in batch.columns.items()}
        for n, channel in enumerate(columns["channel"]):
            if channel == Channel.IMPORT_WH:
                found[columns["at_ms"][n], columns["raw"][n]] = columns["status"][n]
    return found


async def ready(there: Cloud, status: dict[str, Any]) -> None:
    """Wait until the meter's session has shown its title."""
    await there.online()
    await there.until(lambda: int(status.get("reads", 0)) > 0)


@pytest.mark.req("A1")
@pytest.mark.parametrize("send", [by_udp, by_tcp], ids=["udp", "tcp"])
def test_a_push_of_a_known_meter_becomes_a_reading_and_events(
    send: Callable[[int, bytes], None], mqtt_broker: BrokerAddress, tmp_path: Path
) -> None:
    name = f"C-{send.__name__}"

    async def story() -> None:
        async with simulated(tmp_path) as server, cloud(mqtt_broker, name) as there:
            port = free_port()
            _, config = configured(
                tmp_path, mqtt_broker, name, server.port, push_port=port, **BROKER,
                meter={"push_objects": PUSH_OBJECTS},
            )  # fmt: skip
            pusher = Pusher(server)
            async with agent_of(config) as status:
                await ready(there, status)
                frame = pusher.frame(
                    pusher.body(register_wh=987_654, at_ms=to_ms(AT), alarms=2, gasp=LAST_GASP)
                )
                await asyncio.to_thread(send, port, frame)
                await there.until(lambda: (to_ms(AT), 987_654) in values(there))
                assert values(there)[to_ms(AT), 987_654] == 0
                await there.until(lambda: bool(events(there, EventCode.LAST_GASP)))
                (gasp,) = events(there, EventCode.LAST_GASP)
                assert (gasp.meter, gasp.at, gasp.origin) == (SPEC.meter, AT, "idis/97.98.2/0")
                # recorded and sent again, by anybody on the line: refused, also by a new agent
                await asyncio.to_thread(send, port, frame)
                await there.until(lambda: status.get("pushes_refused") == 1)
            async with agent_of(config) as status:
                await ready(there, status)
                await asyncio.to_thread(send, port, frame)
                await there.until(lambda: status.get("pushes_refused") == 1)
                later = pusher.frame(pusher.body(register_wh=987_700, at_ms=to_ms(AT) + 60_000))
                await asyncio.to_thread(send, port, later)
                await there.until(lambda: (to_ms(AT) + 60_000, 987_700) in values(there))
            assert len(events(there, EventCode.LAST_GASP)) == 1

    asyncio.run(story())


@pytest.mark.req("A1")
def test_pushes_that_are_plain_altered_foreign_or_misshapen_are_counted_and_told(
    mqtt_broker: BrokerAddress, tmp_path: Path
) -> None:
    async def story() -> None:
        async with simulated(tmp_path) as server, cloud(mqtt_broker, "C-bad-push") as there:
            port = free_port()
            _, config = configured(
                tmp_path, mqtt_broker, "C-bad-push", server.port, push_port=port, **BROKER,
                meter={"push_objects": PUSH_OBJECTS},
            )  # fmt: skip
            pusher = Pusher(server)
            body = pusher.body(register_wh=5, at_ms=to_ms(AT))
            async with agent_of(config) as status:
                await ready(there, status)
                sealed = bytearray(pusher.frame(body))
                sealed[-20] ^= 1
                short = pusher.body(register_wh=5, at_ms=to_ms(AT))
                for n, frame in enumerate(
                    [
                        pusher.frame(body, plain=True), bytes(sealed),
                        pusher.frame(short._replace(content=short.content[:3])),  # type: ignore[index]
                    ],
                    start=1,
                ):  # fmt: skip
                    await asyncio.to_thread(by_udp, port, frame)
                    await there.until(lambda n=n: status.get("pushes_refused") == n)  # type: ignore[misc]
                codes = (EventCode.FOREIGN_ANSWER, EventCode.PROTOCOL_BROKEN)
                await there.until(lambda: len(events(there, *codes)) == 2)
                told = {event.detail for event in events(there, *codes)}
                assert told == {"push: dlms.plain_push", "push: dlms.tag_mismatch"}
                assert "pushes" not in status
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                    stranger.bind(("127.0.0.2", 0))
                    stranger.sendto(pusher.frame(body), ("127.0.0.1", port))
                await there.until(lambda: status.get("pushes_foreign") == 1)
            assert not [key for key in values(there) if key[1] == 5]

    asyncio.run(story())


@pytest.mark.req("A1")
def test_a_plain_push_that_is_allowed_is_marked(mqtt_broker: BrokerAddress, tmp_path: Path) -> None:
    async def story() -> None:
        async with simulated(tmp_path) as server, cloud(mqtt_broker, "C-plain") as there:
            port = free_port()
            _, config = configured(
                tmp_path, mqtt_broker, "C-plain", server.port, push_port=port, **BROKER,
                meter={"push_objects": PUSH_OBJECTS, "plain_pushes": True},
            )  # fmt: skip
            pusher = Pusher(server)
            async with agent_of(config) as status:
                await ready(there, status)
                body = pusher.body(register_wh=77, at_ms=to_ms(AT), gasp=LAST_GASP)
                await asyncio.to_thread(by_udp, port, pusher.frame(body, plain=True))
                await there.until(lambda: (to_ms(AT), 77) in values(there))
                assert values(there)[to_ms(AT), 77] == Status.UNAUTHENTICATED
                (gasp,) = events(there, EventCode.LAST_GASP)
                assert gasp.detail.startswith("unauthenticated push")
                assert status["pushes"] == 1

    asyncio.run(story())
