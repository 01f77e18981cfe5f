"""
A man in the middle of any line: TCP or pseudo-terminal on either side, faults by plan.

What the client says goes through untouched (after the plan's latency); what the meter answers is
what the plan makes of it. An answer is what comes from the meter in one piece: simulated meters
write each answer at once.
"""

import asyncio
import contextlib
import os
import tty
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from simulators.line_faults import Delivery, LinePlan

_READ_SIZE = 65_536
_LOOPBACK = "127.0.0.1"

CLIENT, METER, ENDED = "client", "meter", "ended"
"""Who sent a piece; or that the line has ended."""


class End(Protocol):
    """One end of a line."""

    async def read(self) -> bytes:
        """Return what came; empty when the line has ended."""
        ...

    def write(self, octets: bytes) -> None:
        """Send; an ended line takes it silently."""
        ...

    def close(self) -> None:
        """End the line; never raises."""
        ...


class TcpEnd:
    """A TCP connection as one end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Stand on a connection."""
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        """Return what came; empty when the line has ended."""
        try:
            return await self._reader.read(_READ_SIZE)
        except OSError:
            return b""

    def write(self, octets: bytes) -> None:
        """Send; an ended line takes it silently."""
        if not self._writer.is_closing():
            self._writer.write(octets)

    def close(self) -> None:
        """End the line; never raises."""
        with contextlib.suppress(OSError):
            self._writer.close()


class PortEnd:
    """An open serial port, by its descriptor, as one end."""

    def __init__(self, descriptor: int) -> None:
        """Own `descriptor` from now on."""
        self._descriptor = descriptor
        os.set_blocking(descriptor, False)
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._open = True
        self._loop.add_reader(descriptor, self._on_readable)

    @classmethod
    def open(cls, path: str) -> Self:
        """Return the serial port at `path`, raw. Raises: OSError."""
        descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        if os.isatty(descriptor):
            tty.setraw(descriptor)
        return cls(descriptor)

    async def read(self) -> bytes:
        """Return what came; empty when the line has ended."""
        return await self._queue.get()

    def write(self, octets: bytes) -> None:
        """Send; an ended line takes it silently."""
        if self._open:
            with contextlib.suppress(OSError):
                os.write(self._descriptor, octets)

    def close(self) -> None:
        """End the line; never raises."""
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self._descriptor)
        self._queue.put_nowait(b"")
        with contextlib.suppress(OSError):
            os.close(self._descriptor)

    def _on_readable(self) -> None:
        try:
            octets = os.read(self._descriptor, _READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            octets = b""
        if octets:
            self._queue.put_nowait(octets)
        else:
            self.close()


class PtyEnd(PortEnd):
    """The wire side of a pseudo-terminal; a program opens `path` as its serial port."""

    def __init__(self) -> None:
        """Make a pair, raw and without echo. Raises: OSError when there are none left."""
        wire, self._port = os.openpty()
        tty.setraw(self._port)
        self.path = os.ttyname(self._port)
        super().__init__(wire)

    def close(self) -> None:
        """End the line; never raises."""
        if self._open:
            super().close()
            with contextlib.suppress(OSError):
                os.close(self._port)


@dataclass(slots=True, kw_only=True)
class LineProxy:
    """
    Stands before one meter: at TCP `host:port`, at the serial port `serial`, or where `reach` goes.

    `tap` is shown every piece as (CLIENT or METER, octets), before any damage, and (ENDED, nothing)
    when a line has ended.
    """

    plan: LinePlan
    port: int = 0
    host: str = _LOOPBACK
    serial: str = ""
    reach: Callable[[], End] | None = None
    tap: Callable[[str, bytes], None] | None = None
    _server: asyncio.Server | None = None
    _ends: list[End] = field(default_factory=list)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def listen(self, port: int = 0, host: str = _LOOPBACK) -> int:
        """Take clients over TCP and return the port. Raises: OSError when it is in use."""
        self._server = await asyncio.start_server(self._on_client, host, port)
        taken: int = self._server.sockets[0].getsockname()[1]
        return taken

    async def open_port(self) -> str:
        """
        Take a client over a pseudo-terminal and return the path it opens as its serial port.

        Raises: OSError when the meter cannot be reached.
        """
        near = PtyEnd()
        self._ends.append(near)
        self._start(self._serve(near, await self._reach()))
        return near.path

    async def close(self) -> None:
        """End all lines and wait for what runs on them."""
        if self._server is not None:
            self._server.close()
        for end in self._ends:
            end.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _on_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        near = TcpEnd(reader, writer)
        self._ends.append(near)
        try:
            far = await self._reach()
        except OSError:
            near.close()
            return
        self._start(self._serve(near, far))

    async def _reach(self) -> End:
        far: End
        if self.reach is not None:
            far = self.reach()
        elif self.serial:
            far = PortEnd.open(self.serial)
        else:
            far = TcpEnd(*await asyncio.open_connection(self.host, self.port))
        self._ends.append(far)
        return far

    async def _serve(self, near: End, far: End) -> None:
        up = asyncio.create_task(self._up(near, far))
        try:
            while octets := await far.read():
                if self.tap is not None:
                    self.tap(METER, octets)
                for delivery in self.plan.on_answer(octets):
                    self._deliver(near, far, delivery)
            near.close()
        finally:
            up.cancel()
            far.close()
            if self.tap is not None:
                self.tap(ENDED, b"")
            for end in (near, far):
                with contextlib.suppress(ValueError):
                    self._ends.remove(end)

    async def _up(self, near: End, far: End) -> None:
        while octets := await near.read():
            if self.tap is not None:
                self.tap(CLIENT, octets)
            far.write(octets)
        far.close()

    def _deliver(self, near: End, far: End, delivery: Delivery) -> None:
        def arrive() -> None:
            if delivery.octets is None:
                near.close()
                far.close()
            else:
                near.write(delivery.octets)

        if delivery.after_seconds <= 0:
            arrive()
        else:
            asyncio.get_running_loop().call_later(delivery.after_seconds, arrive)
