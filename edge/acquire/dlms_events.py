"""
Reads the event logs and alarm registers of a DLMS meter from where it was last read.

A log is asked by range of the meter's own time. Its clock may have been set back in between, so
the range begins as long ago as the last reading is, by that clock as it shows now. What the range
gives twice is told once: entries of one instant and number are counted in their order, and have
the same names however often they are read.
*Source*: IEC 62056-6-2 class_id 7; numbers by `protocols.dlms.event_codes`.
"""

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from edge.acquire.dlms_session import DlmsSession, present
from edge.acquire.driver import EventMark, EventsRead
from protocols.dlms.classes import profile
from protocols.dlms.classes.clock import CLASS_ID as CLOCK_CLASS
from protocols.dlms.classes.clock import TIME, ClockRule, Moment, decode_moment
from protocols.dlms.classes.event_log import LogEntry, LogLayout, attribute, decode_log
from protocols.dlms.classes.register import DATA_CLASS, VALUE
from protocols.dlms.event_codes import (
    ALARM_REGISTERS,
    MOST_LOGS,
    Dialect,
    alarm_name,
    alarm_origin,
    alarms_in,
    log_name,
    meaning_of,
    origin_of,
)
from protocols.dlms.initiate import Conformance
from protocols.dlms.obis import CLOCK
from protocols.dlms.reference import Access, Attribute, Got
from protocols.dlms.values import as_integer, as_octets
from protocols.errors import PeerError
from protocols.events import EndDeviceEvent, Meaning
from protocols.identity import MeterId

_OVERLAP = timedelta(minutes=10)
_FIRST = 1000
"""Entries of each log that are told of a meter read for the first time."""
_AHEAD = timedelta(days=366)
"""A clock that was wrong may have stamped entries in times to come."""
_CLOCK = Attribute(class_id=CLOCK_CLASS, name=CLOCK, index=TIME)
_ALARMS = tuple(
    Attribute(class_id=DATA_CLASS, name=alarm_name(register), index=VALUE)
    for register in ALARM_REGISTERS
)
_LOG = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class LogReader:
    """What is known of one meter's logs while its driver lives."""

    meter: MeterId
    dialect: Dialect
    rule: ClockRule
    layouts: dict[int, LogLayout] | None = None
    told: set[tuple[str, datetime]] = field(default_factory=set)

    async def read(
        self, session: DlmsSession, before: EventMark | None, *, now: datetime
    ) -> EventsRead:
        """
        Return what is new since `before` and the mark to go on from; None: the newest of each log.

        `now` is business time of the agent. Raises: PeerError where the meter fails; a log that
        makes no sense is left out and said so, for one strange log must not hide the others.
        """
        if self.layouts is None:
            self.layouts = await self._find(session)
        time, *alarms = await session.get(_CLOCK, *_ALARMS)
        moment = decode_moment(as_octets(present(_CLOCK, time)), self.rule)
        since = None if before is None else _since(before, moment.instant, now)
        events: list[EndDeviceEvent] = []
        for log in sorted(self.layouts):
            entries = await self._entries(session, log, since, moment)
            events += self._events(log, entries)
        bits = tuple(_bits(got) for got in alarms)
        events += self._alarms(bits, before, moment.instant)
        fresh = tuple(one for one in events if (one.origin, one.at) not in self.told)
        self.told = {(one.origin, one.at) for one in events}
        mark = EventMark(device_at=moment.instant, read_at=now, alarms=bits)
        return EventsRead(events=fresh, mark=mark)

    async def _find(self, session: DlmsSession) -> dict[int, LogLayout]:
        """Return the logs that the meter has, and how each is laid out."""
        asked = tuple(attribute(log_name(log), profile.CAPTURE_OBJECTS) for log in range(MOST_LOGS))
        found: dict[int, LogLayout] = {}
        for log, got in enumerate(await session.get(*asked)):
            if isinstance(got, Access):
                continue
            try:
                found[log] = LogLayout.of(profile.decode_capture_objects(got))
            except PeerError as error:
                self._leave_out(log, error)
        return found

    async def _entries(
        self, session: DlmsSession, log: int, since: datetime | None, moment: Moment
    ) -> list[LogEntry]:
        asked = attribute(log_name(log), profile.BUFFER)
        if since is not None and Conformance.SELECTIVE_ACCESS in session.conformance:
            asked = profile.by_range(
                since,
                moment.instant + _AHEAD,
                deviation=moment.deviation or 0,
                name=log_name(log),
            )
        (got,) = await session.get(asked)
        layouts = self.layouts or {}
        try:
            entries = decode_log(present(asked, got), layouts[log], self.rule)
        except PeerError as error:
            self._leave_out(log, error)
            layouts.pop(log)
            return []
        if since is None:
            return entries[-_FIRST:]
        return [entry for entry in entries if entry.at >= since]

    def _events(self, log: int, entries: Iterable[LogEntry]) -> list[EndDeviceEvent]:
        seen: Counter[tuple[datetime, int]] = Counter()
        events: list[EndDeviceEvent] = []
        for entry in entries:
            seen[entry.at, entry.code] += 1
            origin = origin_of(self.dialect, log, entry.code, seen[entry.at, entry.code])
            meaning = meaning_of(self.dialect, log, entry.code)
            events.append(self._event(meaning, entry.at, origin))
        return events

    def _alarms(
        self, bits: tuple[int, ...], before: EventMark | None, at: datetime
    ) -> list[EndDeviceEvent]:
        known = before.alarms if before is not None else ()
        events: list[EndDeviceEvent] = []
        for n, (register, standing) in enumerate(zip(ALARM_REGISTERS, bits, strict=True)):
            risen = standing & ~(known[n] if n < len(known) else 0)
            for bit, meaning in alarms_in(register, risen):
                events.append(self._event(meaning, at, alarm_origin(self.dialect, register, bit)))
        return events

    def _event(self, meaning: Meaning, at: datetime, origin: str) -> EndDeviceEvent:
        return EndDeviceEvent(
            meter=self.meter, code=meaning.code, at=at, origin=origin, detail=meaning.detail
        )

    def _leave_out(self, log: int, error: PeerError) -> None:
        _LOG.warning(
            "edge.events.log_left_out",
            extra={"fields": {"meter": self.meter, "log": log, "cause": str(error)[:160]}},
        )


def _since(before: EventMark, device_now: datetime, now: datetime) -> datetime:
    elapsed = max(now - before.read_at, timedelta())
    return min(before.device_at, device_now - elapsed) - _OVERLAP


def _bits(got: Got) -> int:
    """Return an alarm register; 0 where the meter has none."""
    return 0 if isinstance(got, Access) else as_integer(got) & 0xFFFFFFFF
