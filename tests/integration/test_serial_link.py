"""The serial line on a pseudo-terminal: deadlines, one owner, a port that goes away."""

import asyncio
import contextlib
import os
import tty
from collections.abc import Iterator

import pytest

from edge.links.serial import SerialLink, SerialSettings
from protocols.errors import PeerError
from tests.patient_loop import patiently

SETTINGS = SerialSettings()


@pytest.fixture
def pty_pair() -> Iterator[tuple[int, str]]:
    """The far end's descriptor and the path of the near end."""
    far, near = os.openpty()
    tty.setraw(near)
    path = os.ttyname(near)
    os.close(near)
    yield far, path
    with contextlib.suppress(OSError):
        os.close(far)


def test_octets_pass_both_ways_and_settings_change_on_the_way(pty_pair: tuple[int, str]) -> None:
    far, path = pty_pair

    async def talk() -> None:
        link = await SerialLink.open(path, SETTINGS)
        try:
            link.send(bytes(range(256)))
            async with asyncio.timeout(20):
                await link.drained()
            assert os.read(far, 300) == bytes(range(256))
            link.reconfigure(SerialSettings(baud=300, data_bits=7, parity="E"))
            assert link.settings.baud == 300
            os.write(far, b"\x00\x7e\xff\x11\x13")
            assert await link.receive_within(2) == b"\x00\x7e\xff\x11\x13"
            assert await link.receive_within(0.01) == b""
        finally:
            link.close()
        with pytest.raises(PeerError, match=r"link\.closed"):
            link.send(b"x")

    asyncio.run(talk())


def test_a_long_send_goes_out_whole_though_the_port_takes_it_in_pieces(
    pty_pair: tuple[int, str],
) -> None:
    far, path = pty_pair
    sent = os.urandom(100_000)

    async def talk() -> bytes:
        link = await SerialLink.open(path, SETTINGS)
        got = bytearray()
        try:
            link.send(sent)
            async with asyncio.timeout(5):
                while len(got) < len(sent):
                    got += await asyncio.to_thread(os.read, far, 65_536)
        finally:
            link.close()
        return bytes(got)

    assert asyncio.run(talk()) == sent


def test_a_port_has_one_owner_and_an_absent_one_says_so(pty_pair: tuple[int, str]) -> None:
    _, path = pty_pair

    async def open_twice() -> None:
        link = await SerialLink.open(path, SETTINGS)
        try:
            with pytest.raises(PeerError) as second:
                await SerialLink.open(path, SETTINGS)
            assert second.value.code == "link.busy"
        finally:
            link.close()
        (await SerialLink.open(path, SETTINGS)).close()
        with pytest.raises(PeerError) as absent:
            await SerialLink.open(path + "absent", SETTINGS)
        assert absent.value.code == "link.refused"

    asyncio.run(open_twice())


def test_silence_is_waited_for_and_a_babbling_line_is_an_error(pty_pair: tuple[int, str]) -> None:
    far, path = pty_pair

    async def listen() -> None:
        link = await SerialLink.open(path, SETTINGS)
        try:
            os.write(far, b"late answer")
            assert await link.silence(0.05, at_most=2) == len(b"late answer")

            async def babble() -> None:
                while True:
                    os.write(far, b"\xff")
                    await asyncio.sleep(0.01)

            noise = asyncio.create_task(babble())
            with pytest.raises(PeerError) as loud:
                await link.silence(0.1, at_most=0.3)
            noise.cancel()
            assert loud.value.code == "link.babble"
        finally:
            link.close()

    patiently(listen())


def test_a_port_that_goes_away_wakes_the_reader(pty_pair: tuple[int, str]) -> None:
    far, path = pty_pair

    async def lose() -> None:
        link = await SerialLink.open(path, SETTINGS)
        try:
            reader = asyncio.create_task(link.receive())
            await asyncio.sleep(0)
            os.close(far)
            with pytest.raises(PeerError) as gone:
                async with asyncio.timeout(20):
                    await reader
            assert gone.value.code == "link.closed"
            assert not link.is_open
        finally:
            link.close()

    asyncio.run(lose())
