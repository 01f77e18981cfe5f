"""A TCP line to one meter: octets out, octets in, each within its deadline."""

import asyncio
import contextlib
from typing import Self

from protocols.errors import PeerError

_MAX_WAITING = 1_048_576


class TcpLink(asyncio.Protocol):
    """
    One connection with one owner.

    The end of the stream is an error at once, never an empty read to try again on.
    """

    def __init__(self, peer: str) -> None:
        """Begin unconnected; `connect` makes one that works. `peer` goes into errors."""
        self._peer = peer
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._ended = False
        self._waiter: asyncio.Future[None] | None = None

    @classmethod
    async def connect(cls, host: str, port: int, *, seconds: float) -> Self:
        """Return a connected line. Raises: PeerError `link.refused`, `link.timeout`."""
        peer = f"{host}:{port}"
        try:
            async with asyncio.timeout(seconds):
                _, link = await asyncio.get_running_loop().create_connection(
                    lambda: cls(peer), host, port
                )
        except TimeoutError:
            raise PeerError("link.timeout", f"no connection in {seconds} s", peer=peer) from None
        except OSError as error:
            raise PeerError("link.refused", str(error), peer=peer) from error
        return link

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Keep what came; stop reading from a peer that floods us."""
        self._received += data
        if len(self._received) > _MAX_WAITING and self._transport is not None:
            self._ended = True
            self._transport.abort()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        """Remember the end, whatever its reason was."""
        self._ended = True
        self._wake()

    def send(self, octets: bytes) -> None:
        """Send. Raises: PeerError `link.closed`."""
        if self._transport is None or self._ended or self._transport.is_closing():
            raise self._closed()
        self._transport.write(octets)

    async def receive(self) -> bytes:
        """
        Return what has come, as soon as there is anything.

        The caller sets the deadline with `asyncio.timeout`. Raises: PeerError `link.closed`.
        """
        while not self._received:
            if self._ended:
                raise self._closed()
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        octets = bytes(self._received)
        self._received.clear()
        return octets

    def discard(self) -> int:
        """Drop what came unasked and return how many octets that was."""
        count = len(self._received)
        self._received.clear()
        return count

    def close(self) -> None:
        """End the connection; never raises."""
        if self._transport is not None:
            with contextlib.suppress(OSError):
                self._transport.abort()

    @property
    def is_open(self) -> bool:
        """Tell whether sending may still reach anyone."""
        return self._transport is not None and not self._ended

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _closed(self) -> PeerError:
        return PeerError("link.closed", "the meter ended the connection", peer=self._peer)
