"""Pushes come in by UDP and TCP, whole, in order, counted; what is no frame is dropped."""

import asyncio
import socket

import pytest

from edge.links import push
from edge.links.push import Push, PushListener
from protocols.dlms.wrapper import pack

NOTIFICATION = bytes.fromhex("0F00000001000203") + bytes(2000)


def send(port: int, octets: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(octets, ("127.0.0.1", port))


async def settled(listener: PushListener, count: int) -> None:
    async with asyncio.timeout(30):
        while listener.counts.taken + listener.counts.refused < count:
            await asyncio.sleep(0.01)


@pytest.mark.req("A1")
def test_datagrams_are_handed_up_whole_and_garbage_is_counted() -> None:
    async def listen() -> None:
        listener = PushListener()
        port = await listener.listen_udp("127.0.0.1", 0)
        try:
            send(port, pack(1, 103, NOTIFICATION))
            async with asyncio.timeout(30):
                first = await listener.receive()
            assert (first.host, first.source_sap, first.destination_sap) == ("127.0.0.1", 1, 103)
            assert first.apdu == NOTIFICATION
            for junk in (b"", b"\x7e" * 40, pack(1, 103, NOTIFICATION)[:-1], b"\x00\x01"):
                send(port, junk)
            send(port, pack(1, 103, b"\x0f\x01") + pack(1, 103, b"\x0f\x02"))
            async with asyncio.timeout(30):
                assert [(await listener.receive()).apdu for _ in range(2)] == [
                    b"\x0f\x01", b"\x0f\x02",
                ]  # fmt: skip
            assert listener.counts.refused == 3
        finally:
            await listener.close()

    asyncio.run(listen())


@pytest.mark.req("A1")
def test_a_connection_may_bring_many_and_ends_at_what_is_no_frame() -> None:
    async def listen() -> None:
        listener = PushListener()
        port = await listener.listen_tcp("127.0.0.1", 0)
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            stream = pack(1, 103, NOTIFICATION) * 3
            for at in range(0, len(stream), 700):
                writer.write(stream[at : at + 700])
                await writer.drain()
            async with asyncio.timeout(30):
                got = [await listener.receive() for _ in range(3)]
                assert [one.apdu for one in got] == [NOTIFICATION] * 3
                writer.write(b"GET / HTTP/1.1\r\n\r\n")
                assert await reader.read() == b""
            assert listener.counts.refused == 1
            writer.close()
        finally:
            await listener.close()

    asyncio.run(listen())


def test_a_flood_drops_the_oldest_and_says_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push, "MOST_WAITING", 3)

    async def listen() -> None:
        listener = PushListener()
        port = await listener.listen_udp("127.0.0.1", 0)
        try:
            for number in range(10):
                send(port, pack(1, 103, bytes((15, number))))
            await settled(listener, 10)
            async with asyncio.timeout(30):
                left: list[Push] = [await listener.receive() for _ in range(3)]
            assert [one.apdu[1] for one in left] == [7, 8, 9]
            assert listener.counts.dropped == 7
        finally:
            await listener.close()

    asyncio.run(listen())
