"""Keeps one meter's clock: tells when it is off, sets it where the rules allow, remembers when."""

import logging
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol

from edge.acquire.clock_rules import ClockAct, ClockRules, judge_clock
from edge.acquire.driver import ClockReading, MeterDriver, Sample
from edge.clock import EdgeClock, Trust
from edge.failpoint import reach
from protocols.events import EndDeviceEvent, EventCode
from protocols.identity import MeterId
from protocols.reading import Status
from protocols.timeline import Interval

_LOG = logging.getLogger(__name__)


class ClockBook(Protocol):
    """Where it is kept which times of a meter a set has touched; see `edge.outbox.clock_sets`."""

    def note(self, meter: MeterId, touched: Interval) -> None:
        """Keep that a set moves the clock within `touched`; on disk before this returns."""
        ...

    def of(self, meter: MeterId) -> tuple[Interval, ...]:
        """Return what was touched, oldest first."""
        ...


class ClockKeeper:
    """The clock of one meter, compared at each visit. Without `rules` it is only looked at."""

    def __init__(
        self,
        driver: MeterDriver,
        *,
        clock: EdgeClock,
        limit: timedelta,
        rules: ClockRules | None = None,
        interval_seconds: int = 0,
        book: ClockBook | None = None,
    ) -> None:
        """`limit` is how far the clock may be off before that is an event."""
        self._driver = driver
        self._clock = clock
        self._limit = limit
        self._rules = rules
        self._interval_seconds = interval_seconds
        self._book = book
        self._touched = book.of(driver.meter) if book is not None else ()
        self._told: set[EventCode] = set()
        self._set_at: float | None = None

    def allow(self, limit: timedelta) -> None:
        """Let the clock be off by `limit` from now on before that is an event."""
        self._limit = limit

    def drift(self, reading: ClockReading, at: datetime) -> tuple[EndDeviceEvent, ...]:
        """Return the event of a clock that is surely off, once until it has come back."""
        surely = abs(reading.offset_ms) - reading.uncertainty_ms
        if surely <= self._limit / timedelta(milliseconds=1):
            self._told.clear()
            return ()
        return self._once(EventCode.CLOCK_DRIFT, at, _described(reading))

    async def keep(self, reading: ClockReading) -> tuple[EndDeviceEvent, ...]:
        """
        Set the clock if the rules say so; return what there is to tell.

        The caller holds the meter's lock and has just taken `reading`. Raises: PeerError.
        """
        if self._rules is None:
            return ()
        now = self._clock.now()
        act = judge_clock(
            reading,
            self._rules,
            interval_seconds=self._interval_seconds,
            now=now,
            trusted=self._clock.trust() is not Trust.UNTRUSTED,
            rested=self._rested(self._rules),
        )
        if act is ClockAct.REFUSE:
            detail = f"{_described(reading)}, beyond the step limit of {self._rules.step_limit} s"
            return self._once(EventCode.CLOCK_STEP_REFUSED, now, detail)
        if act is not ClockAct.SET:
            return ()
        return await self._set(reading, now)

    def marked(self, sample: Sample) -> Sample:
        """Return an interval with the mark of a set that touched it, else as it is."""
        end = sample.at + timedelta(seconds=sample.seconds)
        if any(span.start < end and sample.at < span.end for span in self._touched):
            return replace(sample, status=sample.status | Status.CLOCK_ADJUSTED)
        return sample

    async def _set(self, reading: ClockReading, now: datetime) -> tuple[EndDeviceEvent, ...]:
        shown = now + timedelta(milliseconds=reading.offset_ms)
        touched = Interval(start=min(shown, now), end=max(shown, now))
        if self._book is not None:
            # before the set: a mark too many costs a second look, one too few hides a moved Wh
            self._book.note(self._driver.meter, touched)
            self._touched = (*self._touched, touched)
        self._set_at = self._clock.monotonic()
        reach("edge.before_clock_set")
        await self._driver.set_clock(reading.offset_ms)
        _LOG.info(
            "edge.clock.set",
            extra={"fields": {"meter": self._driver.meter, "offset_ms": reading.offset_ms}},
        )
        return (self._event(EventCode.CLOCK_SET, now, _described(reading)),)

    def _rested(self, rules: ClockRules) -> bool:
        return self._set_at is None or self._clock.monotonic() - self._set_at >= rules.rest

    def _once(self, code: EventCode, at: datetime, detail: str) -> tuple[EndDeviceEvent, ...]:
        if code in self._told:
            return ()
        self._told.add(code)
        return (self._event(code, at, detail),)

    def _event(self, code: EventCode, at: datetime, detail: str) -> EndDeviceEvent:
        return EndDeviceEvent(meter=self._driver.meter, code=code, at=at, detail=detail[:200])


def _described(reading: ClockReading) -> str:
    return f"offset {reading.offset_ms} ms, uncertain by {reading.uncertainty_ms} ms"
