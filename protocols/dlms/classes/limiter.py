"""
Register monitor and limiter, classes 21 and 71: what happens when a value passes a threshold.

A monitor calls a script at each crossing, a limiter once the value has stayed above for
`over_seconds` (or below for `under_seconds`): most often the script that opens the switch.
*Source*: IEC 62056-6-2 class_id 21 and 71.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from protocols.dlms.classes.typed import (
    MOST_ITEMS,
    Monitored,
    ScriptCall,
    decode_monitored,
    decode_script_call,
)
from protocols.dlms.obis import Obis, obis
from protocols.dlms.values import (
    Value,
    array,
    as_boolean,
    as_integer,
    as_items,
    as_octets,
    boolean,
    double_long_unsigned,
    long_unsigned,
    octet_string,
    structure,
)
from protocols.errors import PeerError

MONITOR_CLASS, LIMITER_CLASS = 21, 71
LIMITER: Obis = obis("0-0:17.0.0")
MONITOR: Obis = obis("0-0:16.1.0")
ACTIVE, NORMAL, EMERGENCY, OVER_SECONDS, UNDER_SECONDS = 3, 4, 5, 6, 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """What is called when the value rises above a threshold, and when it falls below."""

    up: ScriptCall
    down: ScriptCall

    def encode(self) -> Value:
        """Return the action_set."""
        return structure(self.up.encode(), self.down.encode())


def _decode_crossing(value: Value) -> Crossing:
    up, down = as_items(value, count=2)
    return Crossing(up=decode_script_call(up), down=decode_script_call(down))


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterMonitor:
    """Class 21. *Shape*: one of `actions` for each of `thresholds`."""

    CLASS_ID: ClassVar[int] = MONITOR_CLASS
    INDEXES: ClassVar[tuple[int, ...]] = (2, 3, 4)

    thresholds: tuple[int, ...]
    monitored: Monitored
    actions: tuple[Crossing, ...]

    @classmethod
    def of(cls, values: Sequence[Value]) -> Self:
        """Return the monitor. Raises: PeerError `dlms.monitor`, `dlms.type`."""
        thresholds, monitored, actions = values
        limits, calls = as_items(thresholds), as_items(actions)
        if len(limits) != len(calls) or len(limits) > MOST_ITEMS:
            raise PeerError("dlms.monitor", f"{len(limits)} thresholds, {len(calls)} actions")
        return cls(
            thresholds=tuple(as_integer(limit) for limit in limits),
            monitored=decode_monitored(monitored),
            actions=tuple(_decode_crossing(call) for call in calls),
        )

    def encode(self) -> tuple[Value, ...]:
        """Return attributes 2 to 4."""
        return (
            array(double_long_unsigned(limit) for limit in self.thresholds),
            self.monitored.encode(),
            array(crossing.encode() for crossing in self.actions),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EmergencyProfile:
    """Another threshold for a time. *Shape*: `begins` a date-time of 12 octets."""

    number: int
    begins: bytes
    seconds: int

    def encode(self) -> Value:
        """Return the emergency_profile."""
        return structure(
            long_unsigned(self.number),
            octet_string(self.begins),
            double_long_unsigned(self.seconds),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limiter:
    """Class 71; thresholds are raw values of what is monitored."""

    CLASS_ID: ClassVar[int] = LIMITER_CLASS
    INDEXES: ClassVar[tuple[int, ...]] = tuple(range(2, 12))

    monitored: Monitored
    active: int
    normal: int
    emergency: int
    over_seconds: int
    under_seconds: int
    profile: EmergencyProfile
    groups: tuple[int, ...]
    in_emergency: bool
    actions: Crossing

    @classmethod
    def of(cls, values: Sequence[Value]) -> Self:
        """Return the limiter. Raises: PeerError `dlms.limiter`, `dlms.type`."""
        groups = as_items(values[7])
        if len(groups) > MOST_ITEMS:
            raise PeerError("dlms.limiter", f"{len(groups)} emergency groups")
        number, begins, seconds = as_items(values[6], count=3)
        return cls(
            monitored=decode_monitored(values[0]),
            active=as_integer(values[1]),
            normal=as_integer(values[2]),
            emergency=as_integer(values[3]),
            over_seconds=as_integer(values[4]),
            under_seconds=as_integer(values[5]),
            profile=EmergencyProfile(
                number=as_integer(number), begins=as_octets(begins), seconds=as_integer(seconds)
            ),
            groups=tuple(as_integer(group) for group in groups),
            in_emergency=as_boolean(values[8]),
            actions=_decode_crossing(values[9]),
        )

    def encode(self) -> tuple[Value, ...]:
        """Return attributes 2 to 11."""
        return (
            self.monitored.encode(),
            double_long_unsigned(self.active),
            double_long_unsigned(self.normal),
            double_long_unsigned(self.emergency),
            double_long_unsigned(self.over_seconds),
            double_long_unsigned(self.under_seconds),
            self.profile.encode(),
            array(long_unsigned(group) for group in self.groups),
            boolean(self.in_emergency),
            self.actions.encode(),
        )
