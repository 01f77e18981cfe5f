"""
A serial line as a pseudo-terminal: an agent opens its near end as a port, meters hang on the far.

Every station hears everything, as on a two-wire bus, and whoever is addressed answers. The near
end is kept open here too, so the line outlives the programs that come and go on it.
"""

import asyncio
import contextlib
import os
import tty
from pathlib import Path
from typing import Protocol

_READ_SIZE = 4096


class Station(Protocol):
    """Whatever hangs on a line."""

    def receive(self, octets: bytes, /) -> bytes:
        """Take what was heard and return what to say, nothing when it is for another."""
        ...


class PtyLine:
    """One line with any number of stations; `path` becomes a link to the port to open."""

    def __init__(self, path: Path, *stations: Station) -> None:
        """Prepare the line; nothing is opened yet."""
        self.path = path
        self._stations = list(stations)
        self._far = self._near = -1
        self.heard = 0
        """Octets that have come over the line."""

    def attach(self, station: Station) -> None:
        """Hang one more station on the line."""
        self._stations.append(station)

    async def start(self) -> None:
        """Open the line and lay the link. Raises: OSError when `path` is taken by a file."""
        self._far, self._near = os.openpty()
        tty.setraw(self._near)
        os.set_blocking(self._far, False)
        if self.path.is_symlink():
            self.path.unlink()  # of a simulator that was killed
        self.path.symlink_to(os.ttyname(self._near))
        asyncio.get_running_loop().add_reader(self._far, self._on_readable)

    async def close(self) -> None:
        """Cut the line: who has the port open sees it go away. Never raises."""
        if self._far < 0:
            return
        asyncio.get_running_loop().remove_reader(self._far)
        for descriptor in (self._far, self._near):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._far = self._near = -1
        with contextlib.suppress(OSError):
            self.path.unlink()

    def say(self, octets: bytes) -> None:
        """Put octets on the line; what nobody reads is lost, as on a wire."""
        with contextlib.suppress(BlockingIOError):
            while octets:
                octets = octets[os.write(self._far, octets) :]

    def _on_readable(self) -> None:
        try:
            octets = os.read(self._far, _READ_SIZE)
        except (BlockingIOError, OSError):
            return
        self.heard += len(octets)
        for station in self._stations:
            self.say(station.receive(octets))
