"""
Lines to DL/T 645 meters: one question at a time, and only its own answer is taken for it.

Other meters' words, echoes and late answers are passed over while the deadline runs. After a
question that was not answered the line is drained until it is silent before the next one is asked.
`BusLine` shares a serial port with whatever else speaks on it; `TcpLine` is a modem or a gateway.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol
from weakref import WeakValueDictionary

from edge.acquire.bus import Lane, SerialBus, UnitTiming
from edge.links.tcp import TcpLink
from protocols.dlt645.exchange import Judgement, Request
from protocols.dlt645.frame import MAX_READ, START, Control, Frame, FrameReader, encode_frame
from protocols.errors import PeerError

WAKE_OCTETS = 4
_QUIET = 0.05
_GAP = 0.03
_LATE = 0.5
"""A meter answers within 500 ms. *Source*: DL/T 645-2007, 5.3."""
_MOST_DRAINING = 40


class MeterLine(Protocol):
    """What a driver asks its questions on."""

    async def ask(self, request: Request, *, seconds: float) -> Frame | None:
        """
        Send a question and return its answer; None at once for what nobody answers.

        Raises: PeerError `link.*`, `bus.*`; `dlt645.foreign` when only another meter spoke,
        `dlt645.frame` when only spoilt octets came.
        """
        ...

    async def close(self) -> None:
        """Give the line back between two questions; never raises."""
        ...


class Link(Protocol):
    """What octets travel on; `TcpLink` has this face."""

    @property
    def is_open(self) -> bool:
        """Tell whether sending may still reach anyone."""
        ...

    def send(self, octets: bytes) -> None:
        """Send. Raises: PeerError."""
        ...

    async def receive(self) -> bytes:
        """Return what has come, as soon as there is anything. Raises: PeerError."""
        ...

    def discard(self) -> int:
        """Drop what came unasked."""
        ...

    def close(self) -> None:
        """Give the line back; never raises."""
        ...


class TcpLine:
    """One connection, shared by the drivers of all meters behind it; satisfies `MeterLine`."""

    def __init__(self, opener: Callable[[], Awaitable[Link]], *, name: str) -> None:
        """Open nothing yet; `name` goes into errors."""
        self._opener = opener
        self._name = name
        self._link: Link | None = None
        self._lock = asyncio.Lock()
        self._doubtful = False

    async def ask(self, request: Request, *, seconds: float) -> Frame | None:
        """Ask; see `MeterLine.ask`."""
        async with self._lock:
            link = await self._ready()
            # until the answer is in, whatever ends this leaves the line in doubt
            self._doubtful = True
            link.send(encode_frame(request.frame, wake=WAKE_OCTETS))
            answer = None
            if request.expect is not None:
                answer = await self._answer(link, request, seconds)
            self._doubtful = False
            return answer

    async def close(self) -> None:
        """Give the line back between two questions; the next question opens it anew."""
        async with self._lock:
            self._drop()

    async def _ready(self) -> Link:
        if self._link is not None and not self._link.is_open:
            self._drop()
        if self._link is None:
            self._link = await self._opener()
        elif self._doubtful:
            await self._drain(self._link)
        self._link.discard()
        return self._link

    async def _drain(self, link: Link) -> None:
        for _ in range(_MOST_DRAINING):
            try:
                async with asyncio.timeout(_QUIET):
                    await link.receive()
            except TimeoutError:
                return
        self._drop()
        raise PeerError("link.babble", "the line does not fall silent", peer=self._name)

    async def _answer(self, link: Link, request: Request, seconds: float) -> Frame:
        expect = request.expect
        assert expect is not None
        reader = FrameReader()
        heard: set[Judgement] = set()
        try:
            async with asyncio.timeout(seconds):
                while True:
                    for frame in reader.feed(await link.receive()):
                        judgement = expect.judge(frame)
                        if judgement is Judgement.ANSWER:
                            return frame
                        heard.add(judgement)
        except TimeoutError:
            raise _silence(heard, reader, seconds, self._name) from None

    def _drop(self) -> None:
        link, self._link = self._link, None
        self._doubtful = False
        if link is not None:
            link.close()


class BusLine:
    """A place on a shared serial bus, which has its own owner; satisfies `MeterLine`."""

    def __init__(self, bus: SerialBus, member: str, *, gap: float = _GAP) -> None:
        """Ask on `bus` in the name of `member`. *Units*: `gap` in seconds."""
        self._bus = bus
        self._member = member
        self._gap = gap

    async def ask(self, request: Request, *, seconds: float) -> Frame | None:
        """Ask; see `MeterLine.ask`. Only what changes nothing is asked a second time."""
        self._bus.join(self._member)
        exchange = _BusExchange(request)
        reads = request.frame.function in (Control.READ, Control.READ_NEXT, Control.READ_ADDRESS)
        try:
            return await self._bus.ask(
                exchange,
                unit=request.frame.address,
                timing=UnitTiming(gap=self._gap, timeout=seconds, latency=_LATE),
                lane=_lane(request, reads=reads),
                tries=2 if reads else 1,
            )
        except PeerError as error:
            if error.code != "bus.timeout":
                raise
            if request.expect is None:
                return None  # a call to all is answered by nobody
            found = exchange.last
            raise _silence(found.heard, found.reader, seconds, self._bus.name) from None

    async def close(self) -> None:
        """Leave the bus; the last one that leaves gives the port back."""
        await self._bus.leave(self._member)


class _BusExchange:
    """One question as the bus wants it."""

    answer_octets = WAKE_OCTETS + MAX_READ + 12

    def __init__(self, request: Request) -> None:
        self._request = request
        self.last = _BusSearch(request)

    @property
    def octets(self) -> bytes:
        return encode_frame(self._request.frame, wake=WAKE_OCTETS)

    def search(self) -> "_BusSearch":
        self.last = _BusSearch(self._request)
        return self.last


class _BusSearch:
    """Looks for the answer among all that is heard."""

    def __init__(self, request: Request) -> None:
        self._expect = request.expect
        self.reader = FrameReader()
        self.heard: set[Judgement] = set()
        self.rest = b""

    def feed(self, octets: bytes) -> Frame | None:
        frames = self.reader.feed(octets)
        for index, frame in enumerate(frames):
            judgement = Judgement.STALE if self._expect is None else self._expect.judge(frame)
            if judgement is Judgement.ANSWER:
                after = b"".join(encode_frame(other) for other in frames[index + 1 :])
                self.rest = after + self.reader.pending
                return frame
            self.heard.add(judgement)
        return None

    def contradicts(self, octets: bytes) -> bool:
        """Tell whether another frame begins: then nobody knows which one was the answer."""
        return START in octets


def _lane(request: Request, *, reads: bool) -> Lane:
    if not reads:
        return Lane.COMMAND
    # records and freezes are long and can wait; DI3 is sent last
    return Lane.SLOW if request.frame.content[3:4] in (b"\x05", b"\x06") else Lane.FAST


def _silence(heard: set[Judgement], reader: FrameReader, seconds: float, name: str) -> PeerError:
    """Return what it means that no answer came, by what came instead."""
    if Judgement.FOREIGN in heard:
        return PeerError(
            "dlt645.foreign", "another meter answers here; check the address", peer=name
        )
    spoilt = reader.skipped + len(reader.pending)
    if spoilt:
        return PeerError(
            "dlt645.frame",
            f"octets came but no frame in {seconds} s; check baud rate and parity (2400 8E1)",
            peer=name,
            evidence={"spoilt_octets": spoilt},
        )
    return PeerError("link.timeout", f"no answer in {seconds} s", peer=name)


_LINES: WeakValueDictionary[str, TcpLine] = WeakValueDictionary()


def tcp_line(host: str, port: int, *, seconds: float) -> TcpLine:
    """Return the line to an address, the same for every meter behind it."""
    name = f"{host}:{port}"
    line = _LINES.get(name)
    if line is None:

        async def connect() -> Link:
            return await TcpLink.connect(host, port, seconds=seconds)

        line = _LINES[name] = TcpLine(connect, name=name)
    return line
