"""
Events of a DL/T 645 meter: what its state words say that they did not say before, and its records.

State words carry no time: an event is stamped with the meter's clock as it was read just before.
Records carry their own. They are read less often than the words, for a bus of 2400 baud has
little room, and as many of a kind as began since the last time.
*Source*: DL/T 645-2007 annex C and table A.4.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime

from edge.acquire.driver import EventMark, EventsRead
from protocols.dlt645 import states
from protocols.dlt645.states import RECORDS, WORDS, StateChange
from protocols.events import EndDeviceEvent, EventCode
from protocols.identity import MeterId

_RECORDS_EVERY = 15
_KEPT_RECORDS = 10
"""A meter keeps the ten newest of each kind, the newest at the lowest identifier."""


class Dlt645Events:
    """What is known of one meter's events while its driver lives."""

    def __init__(
        self,
        meter: MeterId,
        *,
        read: Callable[[int], Awaitable[bytes | None]],
        utc: Callable[[datetime], datetime],
    ) -> None:
        """`read` gives an item or None where the meter has none; `utc` places its local times."""
        self._meter = meter
        self._read = read
        self._utc = utc
        self._calls = 0
        self._records_since: datetime | None = None

    async def read(self, before: EventMark | None, *, shown: datetime, now: datetime) -> EventsRead:
        """Return what is new since `before`; the meter's clock shows `shown`. Raises: PeerError."""
        words = [await self._word(di) for di in WORDS.values()]
        known = before.alarms if before is not None else ()
        events: list[EndDeviceEvent] = []
        for n, (word, bits) in enumerate(zip(WORDS, words, strict=True)):
            was = known[n] if n < len(known) else 0
            events += [self._changed(one, shown) for one in states.changes(word, was, bits)]
        if self._calls % _RECORDS_EVERY == 0:
            since = self._records_since or (before.device_at if before is not None else None)
            for first in RECORDS:
                events += await self._recorded(first, since)
            self._records_since = shown
        self._calls += 1
        mark = EventMark(device_at=shown, read_at=now, alarms=tuple(words))
        return EventsRead(events=tuple(events), mark=mark)

    async def _word(self, di: int) -> int:
        octets = await self._read(di)
        return 0 if octets is None else states.decode_word(octets)

    async def _recorded(self, first: int, since: datetime | None) -> list[EndDeviceEvent]:
        """Return begin and end of the records that are newer than `since`, of the newest at all."""
        begins, ends = RECORDS[first]
        events: list[EndDeviceEvent] = []
        for di in range(first, first + _KEPT_RECORDS):
            octets = await self._read(di)
            times = None if octets is None else states.decode_record(octets)
            if times is None:
                break
            begin, end = times
            last = self._utc(begin if end is None else end)
            if since is not None and last < since:
                break
            events.append(self._event(begins, self._utc(begin), first))
            if end is not None:
                events.append(self._event(ends, last, first))
            if since is None:
                break
        return events

    def _changed(self, change: StateChange, at: datetime) -> EndDeviceEvent:
        return EndDeviceEvent(
            meter=self._meter,
            code=change.meaning.code,
            at=at,
            origin=change.origin,
            detail=change.meaning.detail,
        )

    def _event(self, code: EventCode, at: datetime, di: int) -> EndDeviceEvent:
        return EndDeviceEvent(meter=self._meter, code=code, at=at, origin=f"dlt645/record/{di:08X}")
