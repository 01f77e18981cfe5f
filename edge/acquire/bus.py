"""
A shared serial bus: one owner task per port, who asks next, and proof of what comes back.

    lane      for                           passes
    command   somebody waits for the act    before everything
    fast      present values                before slow and probing
    slow      registers, long reads         before probing
    probing   units that may be dead        when nothing else waits

A lane that others pass too often gets one turn, so that none starves. Each request has the line
for itself: silence of `gap` before it, its answer, silence of `gap` after it. What follows an
answer in that silence and may be another answer makes both doubtful. After a time-out or a doubt
the line is drained until it has been silent for `gap` plus the latest that an answer may come,
and only then is asked anew: else every later read would be answered by the one before it.

The breaker of a unit (`edge.supervise`) keeps a dead one from holding up the others.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Generic, Protocol, TypeVar

from edge.links.serial import SerialSettings
from edge.supervise import Breaker, BreakerState
from protocols.errors import PeerError

PATIENCE = 16
"""How many exchanges may pass a waiting lane before it gets a turn."""
SILENT_OCTETS = 3.5
"""Octet times that are the least silence between two frames on any line."""

_MOST_DRAINING = 20
"""How many silences a drain may last before the line counts as babbling."""

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Lane(IntEnum):
    """Who goes first; see the table above."""

    COMMAND = 0
    FAST = 1
    SLOW = 2
    PROBING = 3


class Line(Protocol):
    """What a bus needs of its port; `SerialLink` and `TcpLink` have it."""

    @property
    def is_open(self) -> bool:
        """Tell whether sending may still reach anyone."""
        ...

    def send(self, octets: bytes) -> None:
        """Send. Raises: PeerError `link.closed`."""
        ...

    async def receive(self) -> bytes:
        """Return what has come, as soon as there is anything. Raises: PeerError `link.closed`."""
        ...

    def discard(self) -> int:
        """Drop what came unasked and return how many octets that was."""
        ...

    def close(self) -> None:
        """Give the port back; never raises."""
        ...


class Search(Protocol[T_co]):
    """Looks for one answer in what comes."""

    @property
    def rest(self) -> bytes:
        """Octets behind the answer that came in one piece with it."""
        ...

    def feed(self, octets: bytes) -> T_co | None:
        """Take octets; return the answer as soon as it is whole and proven."""
        ...

    def contradicts(self, octets: bytes) -> bool:
        """Tell whether octets behind the answer make it doubtful."""
        ...


class Exchange(Protocol[T_co]):
    """One request and what its answer looks like."""

    @property
    def octets(self) -> bytes:
        """The request."""
        ...

    @property
    def answer_octets(self) -> int:
        """How long the longest answer to it is."""
        ...

    def search(self) -> Search[T_co]:
        """Return a fresh search."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitTiming:
    """
    What one unit needs. *Units*: seconds.

    `gap` is silence around its frames, `timeout` the wait for an answer's beginning, `latency` how
    much later than that an answer may still come.
    """

    gap: float
    timeout: float
    latency: float


@dataclass(slots=True, kw_only=True)
class BusCounts:
    """What happened on a bus since it began."""

    asked: int = 0
    answered: int = 0
    timeouts: int = 0
    doubtful: int = 0
    """Answers thrown away because more octets followed them than may."""
    recovered: int = 0
    """Exchanges that were answered after one of their requests had failed."""
    failed: int = 0
    left_alone: int = 0
    """Exchanges refused because the unit's breaker is open."""
    drained_octets: int = 0


@dataclass(slots=True, kw_only=True)
class _Job(Generic[T]):
    unit: str
    exchange: Exchange[T]
    timing: UnitTiming
    lane: Lane
    tries_left: int
    tried: int = 0
    done: asyncio.Future[T] = field(repr=False)


class SerialBus:
    """
    One port and its owner task; any number of callers.

    The port is opened at the first request and given back when the last member has left. All
    calls belong to one event loop.
    """

    def __init__(
        self,
        name: str,
        open_line: Callable[[], Awaitable[Line]],
        *,
        settings: SerialSettings,
        monotonic: Callable[[], float],
    ) -> None:
        """Take the way to open the port; nothing is opened yet. `name` goes into errors."""
        self.name = name
        self.settings = settings
        self.counts = BusCounts()
        self._open_line = open_line
        self._octet_seconds = settings.octet_seconds
        self._monotonic = monotonic
        self._line: Line | None = None
        self._lanes: dict[Lane, deque[_Job[Any]]] = {lane: deque() for lane in Lane}
        self._passed = dict.fromkeys(Lane, 0)
        self._breakers: dict[str, Breaker] = {}
        self._members: set[str] = set()
        self._work = asyncio.Event()
        self._owner: asyncio.Task[None] | None = None
        self._current: _Job[Any] | None = None
        self._heard_at = 0.0
        self._gap = 0.0

    @property
    def members(self) -> frozenset[str]:
        """Return who keeps the port."""
        return frozenset(self._members)

    def join(self, member: str) -> None:
        """Keep the port for `member` until it leaves."""
        self._members.add(member)

    async def leave(self, member: str) -> None:
        """Let a member go; the last one gives the port back. Never raises."""
        self._members.discard(member)
        if not self._members:
            await self.close()

    async def close(self) -> None:
        """End the owner and give the port back; who waits gets PeerError `link.closed`."""
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.cancel()
            await asyncio.wait([owner])

    async def ask(
        self,
        exchange: Exchange[T],
        *,
        unit: str,
        timing: UnitTiming,
        lane: Lane = Lane.FAST,
        tries: int = 3,
    ) -> T:
        """
        Return the answer to `exchange`, which is sent up to `tries` times.

        A unit whose breaker is open is asked once in the probing lane when its wait is over; a
        command is always sent. Raises: PeerError `bus.timeout`, `bus.doubtful`, `bus.silent` (left
        alone by its breaker), `bus.babble`, `link.*`.
        """
        breaker = self._breakers.get(unit, Breaker(name=unit))
        now = self._monotonic()
        if breaker.state is not BreakerState.CLOSED and lane is not Lane.COMMAND:
            if breaker.wait(now) > 0:
                self.counts.left_alone += 1
                raise PeerError(
                    "bus.silent",
                    f"unit {unit} has failed {breaker.failures} times and is left alone for "
                    f"{breaker.wait(now):.0f} s; check its address, wiring and supply",
                    peer=self.name,
                )
            self._breakers[unit] = breaker.asked(now)
            lane, tries = Lane.PROBING, 1
        job: _Job[T] = _Job(
            unit=unit,
            exchange=exchange,
            timing=timing,
            lane=lane,
            tries_left=tries,
            done=asyncio.get_running_loop().create_future(),
        )
        self._lanes[lane].append(job)
        self._wake_owner()
        return await job.done

    def _wake_owner(self) -> None:
        if self._owner is None:
            self._work = asyncio.Event()  # of this loop: a bus that was closed may live in another
            self._owner = asyncio.ensure_future(self._own())
            self._owner.add_done_callback(self._ended)
        self._work.set()

    async def _own(self) -> None:
        """Serve one job after the other for ever: nobody else touches the line."""
        try:
            while True:
                job = self._next()
                if job is None:
                    self._work.clear()
                    await self._work.wait()
                    continue
                self._current = job
                await self._serve(job)
                self._current = None
        finally:
            self._close_line()

    def _ended(self, owner: asyncio.Task[None]) -> None:
        # a bug in the owner must reach those who wait, else they would wait for ever
        bug = None if owner.cancelled() else owner.exception()
        waiting = [job for jobs in self._lanes.values() for job in jobs]
        if self._current is not None:
            waiting.append(self._current)
        self._current = None
        for jobs in self._lanes.values():
            jobs.clear()
        for job in waiting:
            if not job.done.done():
                job.done.set_exception(
                    bug or PeerError("link.closed", "the bus was closed", peer=self.name)
                )
        if self._owner is owner:
            self._owner = None

    def _next(self) -> _Job[Any] | None:
        for jobs in self._lanes.values():
            while jobs and jobs[0].done.done():  # the caller has gone
                jobs.popleft()
        waiting = [lane for lane in Lane if self._lanes[lane]]
        if not waiting:
            return None
        chosen = waiting[0]
        if chosen is not Lane.COMMAND:
            chosen = next((lane for lane in waiting if self._passed[lane] >= PATIENCE), chosen)
        for lane in waiting:
            self._passed[lane] = 0 if lane is chosen else self._passed[lane] + 1
        return self._lanes[chosen].popleft()

    async def _serve(self, job: _Job[T]) -> None:
        job.tries_left -= 1
        job.tried += 1
        try:
            answer = await self._exchanged(job)
        except PeerError as error:
            if error.code.startswith("link.") or error.code == "bus.babble":
                self._close_line()
                job.tries_left = 0
            if job.tries_left > 0:
                self._lanes[job.lane].appendleft(job)
                return
            self.counts.failed += 1
            breaker = self._breakers.get(job.unit, Breaker(name=job.unit))
            self._breakers[job.unit] = breaker.failed(self._monotonic())
            if not job.done.done():
                job.done.set_exception(error)
            return
        self.counts.answered += 1
        self.counts.recovered += job.tried > 1
        self._breakers.pop(job.unit, None)
        if not job.done.done():
            job.done.set_result(answer)

    async def _exchanged(self, job: _Job[T]) -> T:
        exchange, timing = job.exchange, job.timing
        gap = max(timing.gap, SILENT_OCTETS * self._octet_seconds)
        line = await self._quiet_line(gap, timing)
        octets, search = exchange.octets, exchange.search()
        self.counts.asked += 1
        sending = len(octets) * self._octet_seconds
        line.send(octets)
        self._heard_at = self._monotonic() + sending
        self._gap = gap
        listening = sending + timing.timeout + exchange.answer_octets * self._octet_seconds
        try:
            async with asyncio.timeout(listening):
                while (answer := search.feed(await self._heard(line))) is None:
                    pass
        except TimeoutError:
            self.counts.timeouts += 1
            await self._drain(line, gap + timing.latency)
            raise PeerError(
                "bus.timeout", f"unit {job.unit}: no answer in {timing.timeout} s", peer=self.name
            ) from None
        after = search.rest
        while more := await self._heard_within(line, gap):
            after += more
            if search.contradicts(after):
                break
        if search.contradicts(after):
            self.counts.doubtful += 1
            await self._drain(line, gap + timing.latency)
            raise PeerError(
                "bus.doubtful",
                f"unit {job.unit}: {len(after)} more octets followed the answer",
                peer=self.name,
                evidence={"after": after[:16].hex()},
            )
        return answer

    async def _quiet_line(self, gap: float, timing: UnitTiming) -> Line:
        """Return the line when it has been silent for long enough; opened anew if need be."""
        line = self._line
        if line is None or not line.is_open:
            self._close_line()
            line = self._line = await self._open_line()
            # what the port's last user has asked may still be answered
            await self._drain(line, gap + timing.latency)
            return line
        wait = max(gap, self._gap) - (self._monotonic() - self._heard_at)
        unasked = line.discard()
        if not unasked and wait > 0:
            unasked = len(await self._heard_within(line, wait))
        if unasked:
            self.counts.drained_octets += unasked
            self._heard_at = self._monotonic()
            await self._drain(line, gap + timing.latency)
        return line

    async def _drain(self, line: Line, silence: float) -> None:
        """Drop octets until none has come for `silence` seconds. Raises: PeerError."""
        until = self._monotonic() + _MOST_DRAINING * silence
        while octets := await self._heard_within(line, silence):
            self.counts.drained_octets += len(octets)
            if self._monotonic() > until:
                raise PeerError(
                    "bus.babble",
                    "the line does not fall silent; look for a second master, a stuck driver, a "
                    "wrong baud rate or parity, missing bias or termination",
                    peer=self.name,
                )

    async def _heard(self, line: Line) -> bytes:
        octets = await line.receive()
        self._heard_at = self._monotonic()
        return octets

    async def _heard_within(self, line: Line, seconds: float) -> bytes:
        try:
            async with asyncio.timeout(seconds):
                return await self._heard(line)
        except TimeoutError:
            return b""

    def _close_line(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.close()
