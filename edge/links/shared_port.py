"""
A serial port that several meters on one bus take turns on; the port itself has one owner, us.

A turn is one exchange, request and whole answer, so that no answer meets another's request. A turn
that ended badly leaves the line to fall silent before the next one begins.
"""

import asyncio
from dataclasses import dataclass, field

from edge.links.serial import SerialLink, SerialSettings

SILENT_SECONDS = 0.05
_MOST_SILENCE_SECONDS = 5.0


@dataclass(slots=True)
class _Port:
    link: SerialLink
    users: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    suspect: bool = False


_Key = tuple[asyncio.AbstractEventLoop, str]
_open: dict[_Key, _Port] = {}


class PortShare:
    """One meter's share in a port; `begin` and `end` enclose its turns."""

    def __init__(self, key: _Key, port: _Port, settings: SerialSettings) -> None:
        """Stand on an open port; `take` is the way to get one."""
        self._key = key
        self._port = port
        self.settings = settings
        self._in_turn = False
        self._given_back = False

    @classmethod
    async def take(cls, path: str, settings: SerialSettings) -> "PortShare":
        """Return a share in the port, opening it for the first. Raises: PeerError `link.*`."""
        key = (asyncio.get_running_loop(), path)
        port = _open.get(key)
        if port is None or not port.link.is_open:
            link = await SerialLink.open(path, settings)  # does not wait, so nobody comes between
            port = _open[key] = _Port(link)
        port.users += 1
        return cls(key, port, settings)

    @property
    def line(self) -> SerialLink:
        """Return the port, to be used within a turn alone."""
        return self._port.link

    @property
    def is_open(self) -> bool:
        """Tell whether the port is there."""
        return not self._given_back and self._port.link.is_open

    async def begin(self) -> None:
        """Wait for the line, silent and with our settings. Raises: PeerError `link.*`."""
        if self._in_turn:
            return
        await self._port.lock.acquire()
        self._in_turn = True
        try:
            if self.line.settings != self.settings:
                await self.line.drained()
                self.line.reconfigure(self.settings)
            if self._port.suspect:
                gap = max(SILENT_SECONDS, 20 * self.settings.octet_seconds)
                await self.line.silence(gap, at_most=_MOST_SILENCE_SECONDS)
                self._port.suspect = False
            self.line.discard()
        except BaseException:
            self.end(suspect=True)
            raise

    def end(self, *, suspect: bool = False) -> None:
        """Leave the line to the others; `suspect` when an answer may still come."""
        if self._in_turn:
            self._in_turn = False
            self._port.suspect |= suspect
            self._port.lock.release()

    def give_back(self, *, suspect: bool = False) -> None:
        """End any turn and give the share back; the last one closes the port. Never raises."""
        self.end(suspect=suspect)
        if self._given_back:
            return
        self._given_back = True
        self._port.users -= 1
        if self._port.users == 0:
            self._port.link.close()
            if _open.get(self._key) is self._port:
                del _open[self._key]
