"""
Activity calendar and SAP assignment, classes 20 and 17: when which tariff holds; who is inside.

Seasons name weeks, weeks name days, days switch scripts of the tariff table at times of the day.
The passive calendar is written in peace and takes the active one's place at once.
*Source*: IEC 62056-6-2 class_id 17 and 20.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from protocols.dlms.classes.typed import MOST_ITEMS, ScriptCall, decode_name
from protocols.dlms.obis import Obis, obis
from protocols.dlms.values import (
    Value,
    array,
    as_integer,
    as_items,
    as_octets,
    long_unsigned,
    octet_string,
    structure,
    unsigned,
)
from protocols.errors import PeerError

SAP_CLASS, CALENDAR_CLASS = 17, 20
SAPS: Obis = obis("0-0:41.0.0")
CALENDAR: Obis = obis("0-0:13.0.0")
ACTIVATE_PASSIVE = 1
ACTIVE_INDEXES, PASSIVE_INDEXES = (2, 3, 4, 5), (6, 7, 8, 9)
_DAYS = 7
_TIME_OCTETS, _START_OCTETS = 4, 12


@dataclass(frozen=True, slots=True, kw_only=True)
class SapAssignment:
    """Class 17. *Shape*: (access point, logical device name)."""

    CLASS_ID: ClassVar[int] = SAP_CLASS
    INDEXES: ClassVar[tuple[int, ...]] = (2,)

    devices: tuple[tuple[int, bytes], ...]

    @classmethod
    def of(cls, values: Sequence[Value]) -> Self:
        """Return the list. Raises: PeerError `dlms.sap`, `dlms.type`."""
        devices: list[tuple[int, bytes]] = []
        for entry in _bounded(values[0]):
            sap, name = as_items(entry, count=2)
            devices.append((as_integer(sap), as_octets(name)))
        return cls(devices=tuple(devices))

    def encode(self) -> tuple[Value, ...]:
        """Return attribute 2."""
        pairs = (structure(long_unsigned(sap), octet_string(name)) for sap, name in self.devices)
        return (array(pairs),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Season:
    """A season begins at `start` (12 octets, FF where it comes every year) with a week's plan."""

    name: bytes
    start: bytes
    week: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Week:
    """*Shape*: `days` are seven day numbers, Monday first."""

    name: bytes
    days: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """*Shape*: `switches` are (time of day in 4 octets, script), in order of time."""

    number: int
    switches: tuple[tuple[bytes, ScriptCall], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """
    Class 20, active half as read; the passive half has the same shape at 6 to 9.

    Raises (`of`): PeerError `dlms.calendar` where a season or a week names what is not there.
    """

    CLASS_ID: ClassVar[int] = CALENDAR_CLASS
    INDEXES: ClassVar[tuple[int, ...]] = ACTIVE_INDEXES

    name: bytes
    seasons: tuple[Season, ...]
    weeks: tuple[Week, ...]
    days: tuple[Day, ...]

    @classmethod
    def of(cls, values: Sequence[Value]) -> Self:
        """Return the calendar. Raises: PeerError `dlms.calendar`, `dlms.type`."""
        name, seasons, weeks, days = values
        read = cls(
            name=as_octets(name),
            seasons=tuple(_decode_season(item) for item in _bounded(seasons)),
            weeks=tuple(_decode_week(item) for item in _bounded(weeks)),
            days=tuple(_decode_day(item) for item in _bounded(days)),
        )
        known_days = {day.number for day in read.days}
        known_weeks = {week.name for week in read.weeks}
        if any(season.week not in known_weeks for season in read.seasons) or any(
            not set(week.days) <= known_days for week in read.weeks
        ):
            raise PeerError("dlms.calendar", "a season or a week names what is not there")
        return read

    def encode(self) -> tuple[Value, ...]:
        """Return name, seasons, weeks and days."""
        return (
            octet_string(self.name),
            array(
                structure(octet_string(one.name), octet_string(one.start), octet_string(one.week))
                for one in self.seasons
            ),
            array(
                structure(octet_string(one.name), *(unsigned(day) for day in one.days))
                for one in self.weeks
            ),
            array(_encode_day(one) for one in self.days),
        )


def _bounded(value: Value) -> tuple[Value, ...]:
    items = as_items(value)
    if len(items) > MOST_ITEMS:
        raise PeerError("dlms.calendar", f"{len(items)} entries")
    return items


def _decode_season(value: Value) -> Season:
    name, start, week = (as_octets(part) for part in as_items(value, count=3))
    if len(start) != _START_OCTETS:
        raise PeerError("dlms.calendar", f"a season that begins at {len(start)} octets")
    return Season(name=name, start=start, week=week)


def _decode_week(value: Value) -> Week:
    name, *days = as_items(value, count=1 + _DAYS)
    return Week(name=as_octets(name), days=tuple(as_integer(day) for day in days))


def _decode_day(value: Value) -> Day:
    number, switches = as_items(value, count=2)
    read: list[tuple[bytes, ScriptCall]] = []
    for switch in _bounded(switches):
        time, table, selector = as_items(switch, count=3)
        at = as_octets(time)
        if len(at) != _TIME_OCTETS:
            raise PeerError("dlms.calendar", f"a time of {len(at)} octets")
        read.append((at, ScriptCall(table=decode_name(table), selector=as_integer(selector))))
    return Day(number=as_integer(number), switches=tuple(read))


def _encode_day(day: Day) -> Value:
    switches = array(
        structure(octet_string(at), octet_string(call.table), long_unsigned(call.selector))
        for at, call in day.switches
    )
    return structure(unsigned(day.number), switches)
