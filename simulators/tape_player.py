"""
Plays a tape to a client: each request is answered as it was answered when it was recorded.

Requests are compared without what is secret or free to differ: passwords are blanked on both
sides, and a Modbus TCP transaction number is put into the answer as the client chose it. A
request that is not on the tape is met with silence and counted, as by a meter that does not
understand. An association with a challenge cannot be played to a client: its proof is fresh.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from protocols.tape.lines import Piece, Side, Tape
from protocols.tape.redact import Framing, Redactor, framing_of
from simulators.line_proxy import End, PtyEnd, TcpEnd

_US = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """An answer on the tape. *Units*: `after_seconds` since the request."""

    after_seconds: float
    octets: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A request, as it can be compared, and what came."""

    request: bytes
    answers: tuple[Said, ...]


def exchanges_of(session: Iterable[Piece]) -> list[Exchange]:
    """Return a session's requests in order, each with what the meter said before the next."""
    found: list[tuple[Piece, list[Said]]] = []
    for piece in session:
        if piece.side is Side.CLIENT:
            found.append((piece, []))
        elif found:
            asked, answers = found[-1]
            answers.append(Said(after_seconds=(piece.us - asked.us) / _US, octets=piece.octets))
    return [
        Exchange(request=_comparable(asked.octets), answers=tuple(answers))
        for asked, answers in found
    ]


class TapeSession:
    """Answers one connection from one recorded session."""

    def __init__(self, session: Iterable[Piece]) -> None:
        """Begin at the session's first exchange."""
        self._exchanges = exchanges_of(session)
        self._next = 0
        self._redactor = Redactor()
        self.unknown = 0
        """Requests that are not on the tape."""

    def receive(self, octets: bytes) -> list[Said]:
        """Return what to answer to received octets, frame by frame."""
        said: list[Said] = []
        for frame, _ in self._redactor.client(octets):
            found = self._find(_comparable(frame))
            if found is None:
                self.unknown += 1
                continue
            said += [
                Said(after_seconds=one.after_seconds, octets=_as_asked(frame, one.octets))
                for one in found.answers
            ]
        return said

    def _find(self, request: bytes) -> Exchange | None:
        """Return the next exchange with this request, else the last one before."""
        order = [*range(self._next, len(self._exchanges)), *range(self._next - 1, -1, -1)]
        for index in order:
            if self._exchanges[index].request == request:
                self._next = max(self._next, index + 1)
                found: Exchange = self._exchanges[index]
                return found
        return None


@dataclass(slots=True, kw_only=True)
class TapePlayer:
    """
    Serves a tape over TCP or a pseudo-terminal; the next connection is the next session.

    `speed` divides the recorded waiting; 0 answers at once.
    """

    tape: Tape
    speed: float = 1.0
    served: int = 0
    unknown: int = 0
    _server: asyncio.Server | None = None
    _ends: set[End] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def listen(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Take clients over TCP and return the port. Raises: OSError when it is in use."""
        self._server = await asyncio.start_server(
            lambda reader, writer: self._serve(TcpEnd(reader, writer)), host, port
        )
        taken: int = self._server.sockets[0].getsockname()[1]
        return taken

    def open_port(self) -> str:
        """Take a client over a pseudo-terminal and return the path it opens as serial port."""
        near = PtyEnd()
        task = asyncio.create_task(self._serve(near))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return near.path

    async def close(self) -> None:
        """Stop serving and end every line."""
        if self._server is not None:
            self._server.close()
        for end in list(self._ends):
            end.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, near: End) -> None:
        sessions = self.tape.sessions()
        self._ends.add(near)
        session = TapeSession(sessions[self.served % len(sessions)] if sessions else ())
        self.served += 1
        try:
            while octets := await near.read():
                before, asked_at = session.unknown, asyncio.get_running_loop().time()
                for said in session.receive(octets):
                    await self._wait(asked_at, said.after_seconds)
                    near.write(said.octets)
                self.unknown += session.unknown - before
        finally:
            self._ends.discard(near)
            near.close()

    async def _wait(self, asked_at: float, after_seconds: float) -> None:
        if self.speed > 0:
            due = asked_at + after_seconds / self.speed
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))


def _comparable(request: bytes) -> bytes:
    framing = framing_of(request)
    if framing is not None and framing[0] is Framing.MODBUS_TCP:
        return b"\x00\x00" + request[2:]
    return request


def _as_asked(request: bytes, answer: bytes) -> bytes:
    framing = framing_of(request)
    if framing is not None and framing[0] is Framing.MODBUS_TCP:
        return request[:2] + answer[2:]
    return answer
