"""
A serial line: octets out, octets in, each within its deadline; one owner per port.

The port is locked when it is opened, so a second program on it fails at once instead of eating
half of the answers. Works on a pseudo-terminal too, where baud rate and parity mean nothing.
"""

import asyncio
import contextlib
import os
import termios
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import serial

from protocols.errors import PeerError

Parity = Literal["N", "E", "O"]

_READ_SIZE = 4096
_MAX_WAITING = 1_048_576
_START_BITS = 1
_PSEUDO_TERMINALS = range(136, 144)
"""Device numbers of Unix 98 pseudo-terminals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SerialSettings:
    """How octets stand on the line; the default is that of HDLC meters, 9600 8N1."""

    baud: int = 9600
    data_bits: Literal[7, 8] = 8
    parity: Parity = "N"
    stop_bits: Literal[1, 2] = 1

    @property
    def octet_seconds(self) -> float:
        """Return how long one octet takes on the line."""
        bits = _START_BITS + self.data_bits + (self.parity != "N") + self.stop_bits
        return bits / self.baud


class SerialLink:
    """
    One port with one owner; has the face of `TcpLink` and what only a serial line needs.

    All calls belong to the event loop that opened it. A port that goes away (adapter pulled) is
    PeerError `link.closed` at the next call.
    """

    def __init__(self, path: str, port: serial.Serial, settings: SerialSettings) -> None:
        """Stand on an open port; `open` is the way to get one."""
        self._path = path
        self._port = port
        self.settings = settings
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._unsent = bytearray()
        self._ended = False
        self._waiter: asyncio.Future[None] | None = None
        self._descriptor = port.fileno()
        self._loop.add_reader(self._descriptor, self._on_readable)

    @classmethod
    async def open(cls, path: str, settings: SerialSettings) -> Self:
        """
        Return an open, locked and emptied port; opening never waits for a carrier.

        Raises: PeerError `link.refused` (absent, no right, no serial port), `link.busy`.
        """
        try:
            port = serial.Serial(exclusive=True, timeout=0, write_timeout=0)
            port.port = path
            _apply(port, settings)
            port.open()
            port.reset_input_buffer()
        except (serial.SerialException, termios.error, OSError, ValueError) as error:
            busy = "lock" in str(error).lower() or getattr(error, "errno", None) == 11
            code = "link.busy" if busy else "link.refused"
            raise PeerError(code, str(error)[:200], peer=path) from error
        return cls(path, port, settings)

    @property
    def is_open(self) -> bool:
        """Tell whether sending may still reach anyone."""
        return not self._ended

    def reconfigure(self, settings: SerialSettings) -> None:
        """
        Go on with another baud rate or parity; octets under way must have left (`drained`).

        Raises: PeerError `link.refused` when the port cannot do it.
        """
        try:
            _apply(self._port, settings)
        except (serial.SerialException, termios.error, OSError, ValueError) as error:
            raise PeerError("link.refused", str(error)[:200], peer=self._path) from error
        self.settings = settings

    def send(self, octets: bytes) -> None:
        """Send; what the port cannot take now follows by itself. Raises: PeerError."""
        if self._ended:
            raise self._closed()
        idle = not self._unsent
        self._unsent += octets
        if idle:
            self._on_writable()

    async def drained(self) -> None:
        """
        Return when the operating system and the line have taken all that was sent.

        The caller sets the deadline with `asyncio.timeout`. Raises: PeerError `link.closed`.
        """
        while self._unsent or self._waiting_out():
            if self._ended:
                raise self._closed()
            await asyncio.sleep(self.settings.octet_seconds)

    async def receive(self) -> bytes:
        """
        Return what has come, as soon as there is anything.

        The caller sets the deadline with `asyncio.timeout`. Raises: PeerError `link.closed`.
        """
        while not self._received:
            if self._ended:
                raise self._closed()
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        octets = bytes(self._received)
        self._received.clear()
        return octets

    async def receive_within(self, seconds: float) -> bytes:
        """Return what has come, or nothing after `seconds`. Raises: PeerError `link.closed`."""
        try:
            async with asyncio.timeout(seconds):
                return await self.receive()
        except TimeoutError:
            return b""

    async def silence(self, gap: float, *, at_most: float) -> int:
        """
        Drop octets until none has come for `gap` seconds; return how many were dropped.

        Raises: PeerError `link.babble` when the line does not fall silent within `at_most`
        seconds, `link.closed`.
        """
        dropped = self.discard()
        try:
            async with asyncio.timeout(at_most):
                while octets := await self.receive_within(gap):
                    dropped += len(octets)
        except TimeoutError:
            raise PeerError(
                "link.babble", f"the line does not fall silent in {at_most} s", peer=self._path
            ) from None
        return dropped

    def discard(self) -> int:
        """Drop what came unasked and return how many octets that was."""
        count = len(self._received)
        self._received.clear()
        return count

    def close(self) -> None:
        """Give the port back; never raises."""
        self._end()
        with contextlib.suppress(serial.SerialException, termios.error, OSError):
            self._port.close()

    def _on_readable(self) -> None:
        try:
            octets = os.read(self._descriptor, _READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            octets = b""
        if not octets or len(self._received) > _MAX_WAITING:
            self._end()
        self._received += octets
        self._wake()

    def _on_writable(self) -> None:
        try:
            sent = os.write(self._descriptor, self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._end()
            self._wake()
            return
        del self._unsent[:sent]
        if self._unsent:
            self._loop.add_writer(self._descriptor, self._on_writable)
        else:
            self._loop.remove_writer(self._descriptor)

    def _waiting_out(self) -> int:
        try:
            return int(self._port.out_waiting)
        except (serial.SerialException, termios.error, OSError):
            return 0  # a pseudo-terminal may not tell; what was written has left us

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        self._loop.remove_reader(self._descriptor)
        self._loop.remove_writer(self._descriptor)
        self._unsent.clear()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _closed(self) -> PeerError:
        return PeerError("link.closed", "the serial port is gone", peer=self._path)


def _apply(port: serial.Serial, settings: SerialSettings) -> None:
    port.baudrate = settings.baud
    if _is_pseudo(str(port.port)):
        return  # it refuses parity and character size, and carries whole octets anyway
    port.bytesize = settings.data_bits
    port.parity = settings.parity
    port.stopbits = settings.stop_bits


def _is_pseudo(path: str) -> bool:
    return os.major(Path(path).stat().st_rdev) in _PSEUDO_TERMINALS
