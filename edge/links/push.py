"""
Where meters push to: wrapper frames by UDP or TCP, unasked, handed up as whole APDUs.

Nothing is answered and nothing is believed here: whoever takes an APDU checks its ciphering. A
datagram is one frame; a TCP connection may bring many. What is no frame is counted and dropped, a
flood drops the oldest and counts that too, for a push is a copy of what the meter also keeps.
"""

import asyncio
from collections import deque
from dataclasses import dataclass

from protocols.dlms.wrapper import Unwrapper, Wpdu
from protocols.errors import PeerError

MOST_WAITING = 10_000
"""Pushes kept for a slow reader; beyond, the oldest go."""
MOST_CONNECTIONS = 256
_IDLE_SECONDS = 60.0
_READ_SIZE = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """One APDU that came unasked, and who says to have sent it. Neither is proven."""

    host: str
    port: int
    source_sap: int
    destination_sap: int
    apdu: bytes


@dataclass(slots=True, kw_only=True)
class PushCounts:
    """What came since the start."""

    taken: int = 0
    refused: int = 0
    """Datagrams or streams that were no wrapper frames."""
    dropped: int = 0
    """Pushes that a slow reader never saw."""


class PushListener:
    """One port for pushes; `receive` takes them in the order they came."""

    def __init__(self) -> None:
        """Listen nowhere yet."""
        self.counts = PushCounts()
        self._waiting: deque[Push] = deque()
        self._arrived = asyncio.Event()
        self._datagrams: asyncio.DatagramTransport | None = None
        self._server: asyncio.Server | None = None
        self._streams: set[asyncio.StreamWriter] = set()

    async def listen_udp(self, host: str, port: int) -> int:
        """Listen for datagrams; return the port. Raises: OSError when it is in use."""
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Datagrams(self), local_addr=(host, port)
        )
        self._datagrams = transport
        return int(transport.get_extra_info("sockname")[1])

    async def listen_tcp(self, host: str, port: int) -> int:
        """Listen for connections; return the port. Raises: OSError when it is in use."""
        self._server = await asyncio.start_server(self._on_stream, host, port)
        return int(self._server.sockets[0].getsockname()[1])

    async def receive(self) -> Push:
        """Return the next push, as soon as there is one."""
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        return self._waiting.popleft()

    async def close(self) -> None:
        """Stop listening; what came may still be taken. Never raises."""
        if self._datagrams is not None:
            self._datagrams.close()
        if self._server is not None:
            self._server.close()
        for stream in list(self._streams):
            stream.close()

    def take(self, octets: bytes, unwrapper: Unwrapper, peer: tuple[str, int]) -> None:
        """Take octets of a peer. Raises: PeerError `dlms.wrapper` on what is no frame."""
        for wpdu in unwrapper.feed(octets):
            self._keep(wpdu, peer)

    def _keep(self, wpdu: Wpdu, peer: tuple[str, int]) -> None:
        if len(self._waiting) >= MOST_WAITING:
            self._waiting.popleft()
            self.counts.dropped += 1
        self.counts.taken += 1
        self._waiting.append(
            Push(
                host=peer[0],
                port=peer[1],
                source_sap=wpdu.source,
                destination_sap=wpdu.destination,
                apdu=wpdu.apdu,
            )
        )
        self._arrived.set()

    async def _on_stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._streams) >= MOST_CONNECTIONS:
            self.counts.refused += 1
            writer.close()
            return
        self._streams.add(writer)
        peer, unwrapper = writer.get_extra_info("peername")[:2], Unwrapper()
        try:
            while True:
                async with asyncio.timeout(_IDLE_SECONDS):
                    octets = await reader.read(_READ_SIZE)
                if not octets:
                    break
                self.take(octets, unwrapper, peer)
        except PeerError:
            self.counts.refused += 1
        except (TimeoutError, OSError):
            pass  # a meter that has nothing more to say
        finally:
            self._streams.discard(writer)
            writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    """Each datagram must be whole frames: what does not fit in one does not come by UDP."""

    def __init__(self, listener: PushListener) -> None:
        self._listener = listener

    def datagram_received(self, octets: bytes, peer: tuple[str, int]) -> None:
        unwrapper = Unwrapper()
        try:
            self._listener.take(octets, unwrapper, peer[:2])
            if unwrapper.waiting:
                raise PeerError("dlms.wrapper", "a datagram with half a frame")
        except PeerError:
            self._listener.counts.refused += 1
