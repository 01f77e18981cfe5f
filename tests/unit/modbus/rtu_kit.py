"""A bus in simulated time: an event loop that never waits, and a line without a wire."""

import asyncio
import selectors

from edge.links.serial import SerialSettings
from protocols.errors import PeerError

SETTINGS = SerialSettings(baud=9600)


class _Hurry(selectors.DefaultSelector):
    loop = None

    def select(self, timeout=None):
        assert timeout is not None, "nothing is due any more: somebody waits for ever"
        self.loop.ahead += timeout
        return super().select(0)


class HurriedLoop(asyncio.SelectorEventLoop):
    """Time passes only when nobody has anything to do, and then at once."""

    def __init__(self):
        self.ahead = 1000.0
        selector = _Hurry()
        selector.loop = self
        super().__init__(selector)

    def time(self):
        return self.ahead


def hurried(scenario):
    """Run a coroutine in simulated time."""
    loop = HurriedLoop()
    try:
        return loop.run_until_complete(scenario)
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


class MemoryLine:
    """Has the face of `SerialLink`; what is sent goes to `to`, `deliver` brings octets."""

    def __init__(self):
        self.to = None
        self.sent = []
        self.is_open = True
        self.closed = 0
        self._received = bytearray()
        self._arrived = asyncio.Event()

    def send(self, octets):
        if not self.is_open:
            raise PeerError("link.closed", "the port is gone")
        self.sent.append((asyncio.get_running_loop().time(), octets))
        if self.to is not None:
            self.to(octets)

    def deliver(self, octets):
        self._received += octets
        self._arrived.set()

    async def receive(self):
        while not self._received:
            if not self.is_open:
                raise PeerError("link.closed", "the port is gone")
            self._arrived.clear()
            await self._arrived.wait()
        octets = bytes(self._received)
        self._received.clear()
        return octets

    def discard(self):
        count = len(self._received)
        self._received.clear()
        return count

    def close(self):
        self.is_open = False
        self.closed += 1
        self._arrived.set()

    async def open(self):
        self.is_open = True
        return self
