"""What carries APDUs to a DLMS meter and back: the TCP wrapper here, HDLC in `edge.links.hdlc`."""

import asyncio
from typing import Protocol

from edge.links.tcp import TcpLink
from protocols.dlms.wrapper import WrapperFraming
from protocols.errors import PeerError


class ApduLink(Protocol):
    """
    A line that carries whole APDUs between one client and one server access point.

    One request is outstanding at a time. After any PeerError the link must be aborted.
    """

    @property
    def is_open(self) -> bool:
        """Tell whether sending may still reach anyone."""
        ...

    async def send(self, apdu: bytes) -> None:
        """Send one APDU. Raises: PeerError `link.closed` and those of the protocol below."""
        ...

    async def receive(self, seconds: float) -> bytes:
        """
        Return the next APDU; `seconds` bound the silence of the meter, not a long answer.

        Raises: PeerError `link.timeout`, `link.closed` and those of the protocol below.
        """
        ...

    def discard(self) -> int:
        """Drop what came unasked and return how many octets that was."""
        ...

    async def close(self) -> None:
        """End the link politely; never raises."""
        ...

    def abort(self) -> None:
        """End the link at once; never raises."""
        ...


class WrapperLink:
    """APDUs in the TCP wrapper: one connection, one association."""

    def __init__(self, line: TcpLink, *, client_sap: int, server_sap: int) -> None:
        """Stand on a connected line."""
        self._line = line
        self._framing = WrapperFraming(client_sap=client_sap, server_sap=server_sap)
        self._apdus: list[bytes] = []

    @property
    def is_open(self) -> bool:
        """Tell whether sending may still reach anyone."""
        return self._line.is_open

    async def send(self, apdu: bytes) -> None:
        """Send one APDU. Raises: PeerError `link.closed`."""
        self._line.send(self._framing.pack(apdu))

    async def receive(self, seconds: float) -> bytes:
        """
        Return the next APDU, which must have come whole after `seconds`.

        Raises: PeerError `link.timeout`, `link.closed`, `dlms.wrapper`, `dlms.address`.
        """
        if not self._apdus:
            try:
                async with asyncio.timeout(seconds):
                    while not self._apdus:
                        self._apdus = self._framing.feed(await self._line.receive())
            except TimeoutError:
                raise PeerError("link.timeout", f"no answer in {seconds} s") from None
        return self._apdus.pop(0)

    def discard(self) -> int:
        """Drop what came unasked and return how many octets that was."""
        waiting = sum(map(len, self._apdus))
        self._apdus.clear()
        return waiting + self._line.discard()

    async def close(self) -> None:
        """End the connection; never raises."""
        self._line.close()

    def abort(self) -> None:
        """End the connection; never raises."""
        self._line.close()
