"""
Several Modbus RTU meters on one serial line, and what goes wrong on such a line.

The line takes the time that its baud rate says, also on a pseudo-terminal, which has none. A
`HostilePlan` says what becomes of each answer; a unit that is polled sooner than it can bear
reboots and is silent for a while, as some meters do.
"""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from protocols.modbus.pdu import Frame, RequestRefusedError, exception_answer, read_answer
from protocols.modbus.pdu import read_request as request_in
from protocols.modbus.rtu import RequestReader, framed
from simulators.line_proxy import PtyEnd
from simulators.meter.register_bank import RegisterBank

_PIECE = 16
"""Octets that an adapter hands over at once, as a UART's FIFO does."""
_TURN_ROUND_OCTETS = (b"\x00", b"\xff", b"\x00\xff", b"\xff\xff\x00")


class BusFault(StrEnum):
    """What becomes of one answer."""

    LATE = "late"
    """It comes after the time-out, within the plan's `late_seconds`."""
    HEADLESS = "headless"
    """Its first octet is lost while the line turns round."""
    TURN_ROUND = "turn_round"
    """Octets 00 or FF stand in front of it."""
    FOREIGN = "foreign"
    """A whole answer of the same shape, of another unit, stands in front of it."""
    FOREIGN_ALONE = "foreign_alone"
    """The same, and the true answer never comes."""
    STALE = "stale"
    """The unit's answer before comes once more, then the true one."""
    TWICE = "twice"
    """It comes twice."""
    NOISE = "noise"
    """Octets of no meaning stand in front of it and behind it."""
    FLIPPED = "flipped"
    """One octet of it is another."""
    TRUNCATED = "truncated"
    """It stops short."""
    SILENT = "silent"
    """It never comes."""


@dataclass(slots=True, kw_only=True)
class HostilePlan:
    """
    Which share of answers meets a fault, each fault as often as any other. *Units*: permille.

    `timeout_seconds` is the patience of who asks; a late answer comes up to `late_seconds` after
    that. The same seed gives the same damage. `struck` counts it.
    """

    permille: int = 300
    timeout_seconds: float = 0.3
    late_seconds: float = 0.5
    seed: int = 1
    faults: tuple[BusFault, ...] = tuple(BusFault)
    struck: Counter[BusFault] = field(default_factory=Counter)
    _draws: random.Random | None = None
    _before: dict[int, bytes] = field(default_factory=dict)

    def deliveries(self, unit: int, frame: bytes) -> list[tuple[float, bytes]]:
        """Return what arrives in place of an answer, each with its delay in seconds."""
        draws = self._draws = self._draws or random.Random(self.seed)  # noqa: S311 - damage, not keys
        before = self._before.get(unit, frame)
        self._before[unit] = frame
        if draws.randrange(1000) >= self.permille:
            return [(0.0, frame)]
        fault = draws.choice(self.faults)
        self.struck[fault] += 1
        return self._damaged(fault, unit, frame, before, draws)

    def _damaged(
        self, fault: BusFault, unit: int, frame: bytes, before: bytes, draws: random.Random
    ) -> list[tuple[float, bytes]]:
        match fault:
            case BusFault.LATE:
                return [(self.timeout_seconds + draws.random() * self.late_seconds, frame)]
            case BusFault.HEADLESS:
                return [(0.0, frame[1:])]
            case BusFault.TURN_ROUND:
                return [(0.0, draws.choice(_TURN_ROUND_OCTETS) + frame)]
            case BusFault.FOREIGN | BusFault.FOREIGN_ALONE:
                other = framed(unit % 247 + 1, frame[1:3] + draws.randbytes(len(frame) - 5))
                return [(0.0, other + frame if fault is BusFault.FOREIGN else other)]
            case BusFault.STALE:
                return [(0.0, before), (0.01, frame)]
            case BusFault.TWICE:
                return [(0.0, frame), (0.01, frame)]
            case BusFault.NOISE:
                around = (draws.randbytes(draws.randrange(12)) for _ in range(2))
                return [(0.0, frame.join(around))]
            case BusFault.FLIPPED:
                place = draws.randrange(len(frame))
                octet = bytes((frame[place] ^ draws.randrange(1, 256),))
                return [(0.0, frame[:place] + octet + frame[place + 1 :])]
            case BusFault.TRUNCATED:
                return [(0.0, frame[: draws.randrange(len(frame))])]
            case BusFault.SILENT:
                return []


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitTraits:
    """
    How a unit behaves on the line. *Units*: seconds.

    It begins to answer `turn_round` after a request has ended. A request sooner than `gap` after
    its last answer makes it reboot: it is silent for `reboot`. 0 is a meter that bears anything.
    """

    turn_round: float = 0.005
    gap: float = 0.0
    reboot: float = 1.0


class RtuMeters:
    """
    The meters of one line: what is `heard` is answered through `send`, in the line's own time.

    All times are those of the running event loop.
    """

    def __init__(
        self,
        banks: Mapping[int, RegisterBank],
        send: Callable[[bytes], None],
        *,
        octet_seconds: float,
        traits: UnitTraits | None = None,
        plan: HostilePlan | None = None,
    ) -> None:
        """Put the units of `banks` on a line, by their addresses."""
        self._banks = banks
        self._send = send
        self._octet_seconds = octet_seconds
        self._traits = traits or UnitTraits()
        self._plan = plan
        self._reader = RequestReader()
        self._quiet_since: dict[int, float] = {}
        self._away_until: dict[int, float] = {}
        self.dark: set[int] = set()
        """Units without power."""
        self.requests = 0
        self.reboots = 0

    def heard(self, octets: bytes) -> None:
        """Take what the master has sent."""
        for frame in self._reader.feed(octets):
            self.requests += 1
            self._hear(frame, asyncio.get_running_loop())

    def _hear(self, frame: Frame, loop: asyncio.AbstractEventLoop) -> None:
        bank = self._banks.get(frame.unit)
        now = loop.time()
        if bank is None or frame.unit in self.dark or now < self._away_until.get(frame.unit, 0.0):
            return
        if now < self._quiet_since.get(frame.unit, -self._traits.gap) + self._traits.gap:
            self.reboots += 1
            self._away_until[frame.unit] = now + self._traits.reboot
            return
        begins = (2 + 1 + len(frame.pdu)) * self._octet_seconds + self._traits.turn_round
        answer = framed(frame.unit, _answered(bank, frame.pdu))
        arriving = [(0.0, answer)]
        if self._plan is not None:
            arriving = self._plan.deliveries(frame.unit, answer)
        ends = 0.0
        for delay, octets in arriving:
            ends = max(ends, begins + delay)
            for first in range(0, len(octets), _PIECE):
                piece = octets[first : first + _PIECE]
                ends += len(piece) * self._octet_seconds
                loop.call_later(ends, self._send, piece)
        self._quiet_since[frame.unit] = now + ends


class RtuPort:
    """A pseudo-terminal with meters behind it; a program opens `path` as its serial port."""

    def __init__(self) -> None:
        """Make the port; `serve` puts the meters on it. Raises: OSError when none are left."""
        self._end = PtyEnd()
        self.path = self._end.path
        self._listening: asyncio.Task[None] | None = None

    def send(self, octets: bytes) -> None:
        """Put octets on the wire."""
        self._end.write(octets)

    def serve(self, meters: RtuMeters) -> None:
        """Let `meters` hear what comes, until `close`."""
        self._listening = asyncio.ensure_future(self._listen(meters))

    async def close(self) -> None:
        """Take the port away; never raises."""
        self._end.close()
        if self._listening is not None:
            self._listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._listening

    async def _listen(self, meters: RtuMeters) -> None:
        while octets := await self._end.read():
            meters.heard(octets)


class RtuGateway:
    """A line behind a gateway that passes octets on over TCP, to one client at a time."""

    def __init__(self) -> None:
        """Begin unreachable; `serve` puts meters behind it and `start` lets clients come."""
        self._server: asyncio.Server | None = None
        self._client: asyncio.StreamWriter | None = None
        self._meters: RtuMeters | None = None

    def send(self, octets: bytes) -> None:
        """Pass octets on to the client, if there is one."""
        if self._client is not None and not self._client.is_closing():
            self._client.write(octets)

    def serve(self, meters: RtuMeters) -> None:
        """Let `meters` hear what comes."""
        self._meters = meters

    async def start(self, host: str, port: int = 0) -> int:
        """Listen, and return the port. Raises: OSError when it is in use."""
        self._server = await asyncio.start_server(self._pass_on, host, port)
        taken: int = self._server.sockets[0].getsockname()[1]
        return taken

    async def close(self) -> None:
        """Stop listening and cut the client; never raises."""
        if self._server is not None:
            self._server.close()
        if self._client is not None:
            self._client.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._client is not None:
            writer.close()
            return
        self._client = writer
        try:
            while octets := await reader.read(_PIECE):
                if self._meters is not None:
                    self._meters.heard(octets)
        except OSError:
            return  # the client has gone without a word
        finally:
            self._client = None
            writer.close()


def _answered(bank: RegisterBank, pdu: bytes) -> bytes:
    try:
        request = request_in(pdu)
        return read_answer(request.fc, bank.words(request))
    except RequestRefusedError as refused:
        return exception_answer(pdu[0], refused.code)
