"""
Visits one meter again and again as its plan says, and says so when it is silent, foreign or late.

Visits of all meters share a semaphore; a command goes before a visit, for a visit steps aside
when it finds its meter in use.
"""

import asyncio
import logging
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from edge.acquire.clock_keeper import ClockBook, ClockKeeper
from edge.acquire.clock_rules import ClockRules
from edge.acquire.driver import EventDriver, EventMark, ReadOut, Sample
from edge.acquire.piece import Piece, Sink
from edge.acquire.plan import (
    Agenda,
    Cadence,
    Coverage,
    Step,
    StepKind,
    after_backfill,
    after_newest,
    next_step,
    visited,
)
from edge.acquire.port import MeterPort
from edge.clock import EdgeClock
from edge.failpoint import reach
from edge.outbox.database import OutboxError
from edge.supervise import Breaker, BreakerState, jitter
from protocols.errors import PeerError
from protocols.events import EndDeviceEvent, EventCode
from protocols.timeline import Interval, floor_to_grid

_STEP_ASIDE = 0.05
_LONGEST_PAUSE = 1.0
_EVENTS_TOGETHER = 500
_SILENCE = ("timeout", "unreachable", "closed", "refused", "reset", "silent", "connect")

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterPlan:
    """
    What one meter's poller is told. `interval_seconds` is 0 where there is no profile.

    `clock_limit` is how far its clock may be off before that is an event; without `clock_rules`
    the clock is never set.
    """

    interval_seconds: int
    history_from: datetime
    cadence: Cadence
    clock_limit: timedelta
    clock_rules: ClockRules | None = None


class MeterPoller:
    """The life of one meter at this concentrator."""

    def __init__(
        self,
        port: MeterPort,
        plan: MeterPlan,
        *,
        clock: EdgeClock,
        sink: Sink,
        turns: asyncio.Semaphore,
        coverage: Coverage | None,
        event_mark: EventMark | None = None,
        clock_book: ClockBook | None = None,
        heard: Callable[[], bool] = lambda: True,
        status: MutableMapping[str, int | str] | None = None,
    ) -> None:
        """
        Continue from `coverage` and `event_mark`; None is a meter never read before.

        `heard` tells whether what is read can be heard by anybody at this time.
        """
        self._heard = heard
        self._port = port
        self._plan = plan
        self._clock = clock
        self._sink = sink
        self._turns = turns
        self._status = status if status is not None else {}
        has_profile = port.driver.has_profile and plan.interval_seconds > 0
        interval = plan.interval_seconds if has_profile else 0
        first = floor_to_grid(plan.history_from, interval) if interval else plan.history_from
        self.coverage = coverage or Coverage(mark=first)
        self._keeper = ClockKeeper(
            port.driver,
            clock=clock,
            limit=plan.clock_limit,
            rules=plan.clock_rules,
            interval_seconds=interval,
            book=clock_book,
        )
        self._event_mark = event_mark
        self._breaker = Breaker(name=port.meter)
        offset = jitter(port.meter)
        start = clock.monotonic()
        self._agenda = Agenda(
            interval_seconds=interval,
            live_at=start + offset * plan.cadence.poll,
            profile_at=start + offset * plan.cadence.profile,
            backfill_at=start,
            events_at=(
                start + offset * plan.cadence.events
                if isinstance(port.driver, EventDriver)
                else None
            ),
        )
        self._woken = asyncio.Event()
        self._told: set[EventCode] = set()

    @property
    def silent(self) -> bool:
        """Tell whether the meter has not answered for a while."""
        return self._breaker.state is not BreakerState.CLOSED

    def watch(self, wall_seconds: float) -> None:
        """Read present values faster for some seconds: somebody looks at this meter."""
        until = self._clock.monotonic() + wall_seconds
        self._agenda = replace(self._agenda, watched_until=max(until, self._agenda.watched_until))
        self._woken.set()

    def replan(self, plan: MeterPlan, turns: asyncio.Semaphore) -> None:
        """
        Go on by another plan of the same profile, from the next visit on.

        What is read and what is missing stays as it is; a visit under way ends as it began.
        """
        assert plan.interval_seconds == self._plan.interval_seconds, "settings leave profiles alone"
        self._plan, self._turns = plan, turns
        self._keeper.allow(plan.clock_limit)
        now = self._clock.monotonic()
        self._agenda = replace(
            self._agenda,
            live_at=min(self._agenda.live_at, now + plan.cadence.poll),
            profile_at=min(self._agenda.profile_at, now + plan.cadence.profile),
        )
        self._woken.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Visit until `stop`, then end the session with the meter."""
        try:
            while not stop.is_set():
                await self._sink.room()
                pause = await self._turn()
                if pause > 0:
                    await self._rest(pause)
        finally:
            await self._port.driver.close()

    async def _turn(self) -> float:
        """Make the visit that is due; return the seconds to rest when none is."""
        monotonic = self._clock.monotonic()
        wait = self._breaker.wait(monotonic)
        if wait > 0:
            return wait
        step = next_step(
            self._agenda,
            self.coverage,
            self._plan.cadence,
            now=self._clock.now(),
            monotonic=monotonic,
            heard=self._heard(),
        )
        if step.wait > 0:
            return step.wait
        if self._port.lock.locked():
            return _STEP_ASIDE
        async with self._turns, self._port.lock:
            self._breaker = self._breaker.asked(self._clock.monotonic())
            self._agenda = visited(
                self._agenda, step, self._plan.cadence, monotonic=self._clock.monotonic()
            )
            await self._visit(step)
        return 0.0

    async def _visit(self, step: Step) -> None:
        try:
            if step.kind is StepKind.EVENTS:
                await self._read_events()
            elif step.span is None:
                await self._read_now()
            else:
                await self._read_profile(step.kind, step.span)
        except OutboxError as error:
            # our disk gave no counter: nothing is wrong with the meter, it is asked again
            _LOG.error("edge.outbox.refused", extra={"fields": {"cause": error.message}})
        except PeerError as error:
            self._failed(error)
        else:
            self._succeeded()

    async def _read_now(self) -> None:
        readout: ReadOut = await self._port.driver.read_now()
        received = self._clock.now()
        reach("edge.after_read")
        self._count("reads")
        piece = self._port.piece(readout, received=received)
        if readout.clock is None:
            self._sink.add(piece)
            return
        drift = self._keeper.drift(readout.clock, received)
        self._sink.add(replace(piece, events=(*piece.events, *drift)))
        events = await self._keeper.keep(readout.clock)
        if events:
            self._sink.add(Piece(meter=self._port.meter, received=received, events=events))

    async def _read_events(self) -> None:
        driver = self._port.driver
        assert isinstance(driver, EventDriver)  # no other is asked
        before = self._event_mark
        read = await driver.read_events(before)
        reach("edge.after_read")
        self._event_mark = read.mark
        if before is not None and not read.events and before.alarms == read.mark.alarms:
            return  # the mark on disk is older and as good
        received, meter = self._clock.now(), self._port.meter
        for at in range(0, len(read.events), _EVENTS_TOGETHER):
            some = read.events[at : at + _EVENTS_TOGETHER]
            self._sink.add(Piece(meter=meter, received=received, events=some))
        # behind all of them: stored before they are, it would lose them to a kill
        self._sink.add(Piece(meter=meter, received=received, event_mark=read.mark))

    async def _read_profile(self, kind: StepKind, span: Interval) -> None:
        samples: tuple[Sample, ...] = await self._port.driver.read_profile(span)
        received = self._clock.now()
        reach("edge.after_read")
        self._count("reads")
        asked = tuple(self._keeper.marked(sample) for sample in samples if sample.at in span)
        after = after_backfill if kind is StepKind.BACKFILL else after_newest
        self.coverage = after(
            self.coverage,
            span,
            (sample.at for sample in asked),
            self._agenda.interval_seconds,
        )
        self._sink.add(
            Piece(
                meter=self._port.meter,
                received=received,
                samples=asked,
                coverage=self.coverage,
            )
        )

    def _failed(self, error: PeerError) -> None:
        was = self._breaker.state
        self._breaker = self._breaker.failed(self._clock.monotonic())
        self._count("failures")
        code = error.code.rsplit(".", 1)[-1]
        if code == "foreign":
            self._tell(EventCode.FOREIGN_ANSWER, error.message)
        elif not any(word in code for word in _SILENCE):
            self._tell(EventCode.PROTOCOL_BROKEN, f"{error.code}: {error.message}")
        if was is BreakerState.CLOSED and self._breaker.state is BreakerState.OPEN:
            self._tell(EventCode.METER_SILENT, error.code)
            _LOG.warning(
                "edge.meter.silent",
                extra={"fields": {"meter": self._port.meter, "cause": error.code}},
            )

    def _succeeded(self) -> None:
        if EventCode.METER_SILENT in self._told:
            self._tell(EventCode.METER_BACK, f"after {self._breaker.failures} failures")
            _LOG.info("edge.meter.back", extra={"fields": {"meter": self._port.meter}})
        self._told -= {
            EventCode.METER_SILENT,
            EventCode.METER_BACK,
            EventCode.FOREIGN_ANSWER,
            EventCode.PROTOCOL_BROKEN,
        }
        self._breaker = self._breaker.succeeded()

    def _tell(self, code: EventCode, detail: str) -> None:
        """Send an event up, once until the meter has answered well."""
        if code in self._told:
            return
        self._told.add(code)
        now = self._clock.now()
        event = self._event(code, now, detail)
        self._sink.add(Piece(meter=self._port.meter, received=now, events=(event,)))

    def _event(self, code: EventCode, at: datetime, detail: str) -> EndDeviceEvent:
        return EndDeviceEvent(meter=self._port.meter, code=code, at=at, detail=detail[:200])

    async def _rest(self, seconds: float) -> None:
        self._woken.clear()
        try:
            await asyncio.wait_for(self._woken.wait(), min(seconds, _LONGEST_PAUSE))
        except TimeoutError:
            return

    def _count(self, name: str) -> None:
        self._status[name] = int(self._status.get(name, 0)) + 1
