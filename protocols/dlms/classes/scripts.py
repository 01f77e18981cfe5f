"""
Script table and single action schedule, classes 9 and 22: what a meter does by itself, and when.

The table of 0-0:10.0.106 opens and closes the switch: script 1 disconnects, script 2 reconnects.
*Source*: IEC 62056-6-2 class_id 9 and 22; IEC 62056-6-1 (0-0:10.0.106, disconnect scripts).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Self

from protocols.dlms.classes.typed import MOST_ITEMS, ScriptCall, decode_name, decode_script_call
from protocols.dlms.obis import Obis, obis
from protocols.dlms.reference import Attribute
from protocols.dlms.values import (
    Value,
    array,
    as_integer,
    as_items,
    as_octets,
    enum,
    integer,
    long_unsigned,
    octet_string,
    structure,
)
from protocols.errors import PeerError

SCRIPT_CLASS, SCHEDULE_CLASS = 9, 22
DISCONNECT_SCRIPTS: Obis = obis("0-0:10.0.106")
DISCONNECT_SCHEDULE: Obis = obis("0-0:15.0.1")
EXECUTE = 1
OPEN_SCRIPT, CLOSE_SCRIPT = 1, 2
_TIME_OCTETS, _DATE_OCTETS = 4, 5
_TYPES = range(1, 6)


class Service(IntEnum):
    """What one action of a script does."""

    WRITE = 1
    EXECUTE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptAction:
    """One action: write an attribute or invoke a method with `parameter`."""

    service: Service
    target: Attribute
    parameter: Value

    def encode(self) -> Value:
        """Return the action_specification."""
        return structure(
            enum(int(self.service)),
            long_unsigned(self.target.class_id),
            octet_string(self.target.name),
            integer(self.target.index),
            self.parameter,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """Actions that are carried out in order when the script is called."""

    number: int
    actions: tuple[ScriptAction, ...]

    def encode(self) -> Value:
        """Return the script."""
        actions = array(action.encode() for action in self.actions)
        return structure(long_unsigned(self.number), actions)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptTable:
    """Class 9."""

    CLASS_ID: ClassVar[int] = SCRIPT_CLASS
    INDEXES: ClassVar[tuple[int, ...]] = (2,)

    scripts: tuple[Script, ...]

    @classmethod
    def of(cls, values: Sequence[Value]) -> Self:
        """Return the table. Raises: PeerError `dlms.script`, `dlms.type`, `dlms.obis`."""
        scripts = _bounded(values[0])
        return cls(scripts=tuple(_decode_script(script) for script in scripts))

    def encode(self) -> tuple[Value, ...]:
        """Return attribute 2."""
        return (array(script.encode() for script in self.scripts),)

    def find(self, number: int) -> Script | None:
        """Return a script by its number."""
        return next((script for script in self.scripts if script.number == number), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleActionSchedule:
    """
    Class 22. *Shape*: `times` are (time, date) of 4 and 5 octets, FF where it repeats.

    `kind` 1 is one time with wildcards in the date, 2 to 5 are lists.
    """

    CLASS_ID: ClassVar[int] = SCHEDULE_CLASS
    INDEXES: ClassVar[tuple[int, ...]] = (2, 3, 4)

    script: ScriptCall
    kind: int
    times: tuple[tuple[bytes, bytes], ...]

    @classmethod
    def of(cls, values: Sequence[Value]) -> Self:
        """Return the schedule. Raises: PeerError `dlms.schedule`, `dlms.type`."""
        script, kind, times = values
        number = as_integer(kind)
        if number not in _TYPES:
            raise PeerError("dlms.schedule", f"a schedule of type {number}")
        return cls(
            script=decode_script_call(script),
            kind=number,
            times=tuple(_decode_time(entry) for entry in _bounded(times)),
        )

    def encode(self) -> tuple[Value, ...]:
        """Return attributes 2 to 4."""
        times = array(
            structure(octet_string(time), octet_string(date)) for time, date in self.times
        )
        return self.script.encode(), enum(self.kind), times


def _bounded(value: Value) -> tuple[Value, ...]:
    items = as_items(value)
    if len(items) > MOST_ITEMS:
        raise PeerError("dlms.script", f"{len(items)} entries")
    return items


def _decode_script(value: Value) -> Script:
    number, actions = as_items(value, count=2)
    return Script(
        number=as_integer(number),
        actions=tuple(_decode_action(action) for action in _bounded(actions)),
    )


def _decode_action(value: Value) -> ScriptAction:
    service, class_id, name, index, parameter = as_items(value, count=5)
    number = as_integer(service)
    if number not in tuple(Service):
        raise PeerError("dlms.script", f"an action of service {number}")
    target = Attribute(
        class_id=as_integer(class_id), name=decode_name(name), index=as_integer(index)
    )
    return ScriptAction(service=Service(number), target=target, parameter=parameter)


def _decode_time(value: Value) -> tuple[bytes, bytes]:
    time, date = (as_octets(part) for part in as_items(value, count=2))
    if len(time) != _TIME_OCTETS or len(date) != _DATE_OCTETS:
        raise PeerError("dlms.schedule", f"a time of {len(time)} and a date of {len(date)} octets")
    return time, date
