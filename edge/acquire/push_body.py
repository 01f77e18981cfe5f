"""
What a pushed list of values says, by the list of objects that the meter was told to push. Pure.

`objects` names them in the order of the body: `0-0:42.0.0*255` is the logical device name,
`0-0:1.0.0*255` the time of the values, `0-0:97.98.0*255` and the two behind it alarm registers,
`0-0:96.11.N*255` the last event of log N, `1-0:1.8.0*255` a register and `1-0:1.8.0*255/3` its
scaler and unit. Anything else is passed over. A register whose scaler is not pushed beside it says
nothing: it is left out and counted, never guessed.
*Source*: IEC 62056-6-2 class 40 (push setup), attribute 2 (push object list).
"""

from dataclasses import dataclass, field
from datetime import datetime

from edge.acquire.driver import Sample
from protocols.dlms.classes.clock import STANDARD, ClockRule, decode_moment
from protocols.dlms.classes.register import channel_scaler, decode_scaler_unit
from protocols.dlms.event_codes import (
    ALARM_REGISTERS,
    MOST_LOGS,
    Dialect,
    alarm_name,
    alarm_origin,
    alarms_in,
    meaning_of,
    origin_of,
)
from protocols.dlms.obis import CLOCK, DEVICE_NAME, obis, obis_text
from protocols.dlms.values import Value, as_integer, as_items, as_octets, as_text
from protocols.errors import PeerError
from protocols.events import EventCode, Meaning
from protocols.reading import CHANNEL_OF_OBIS, Status

_SCALER = "/3"
_ALARM_OF = {obis_text(alarm_name(register)): register for register in ALARM_REGISTERS}
_LOG_OF = {obis_text(obis(f"0-0:96.11.{log}")): log for log in range(MOST_LOGS)}


@dataclass(slots=True, kw_only=True)
class Pushed:
    """What a body says. `at` is None where it tells no time."""

    name: str = ""
    at: datetime | None = None
    events: list[tuple[EventCode, str, str]] = field(default_factory=list)
    """(code, origin, detail) of each alarm or event."""
    numbers: dict[str, int] = field(default_factory=dict)
    scalers: dict[str, Value] = field(default_factory=dict)
    unscaled: int = 0

    def samples(self, at: datetime, status: Status) -> tuple[Sample, ...]:
        """Return the values whose scaler is known. Raises: PeerError on a wrong unit."""
        found = []
        for text, number in self.numbers.items():
            told = self.scalers.get(text)
            if told is None:
                self.unscaled += 1
                continue
            channel = CHANNEL_OF_OBIS[text]
            scaler = channel_scaler(channel, decode_scaler_unit(told))
            found.append(Sample(channel=channel, at=at, raw=number, scaler=scaler, status=status))
        return tuple(found)


def read_body(
    body: Value, objects: tuple[str, ...], *, dialect: Dialect, rule: ClockRule = STANDARD
) -> Pushed:
    """Return what a body says. Raises: PeerError `push.shape`, others as decoding."""
    if not objects:
        raise PeerError("push.shape", "no push_objects are configured for this meter")
    items = as_items(body)
    if len(items) != len(objects):
        message = f"{len(items)} values came, push_objects has {len(objects)}"
        raise PeerError("push.shape", message)
    pushed = Pushed()
    for text, value in zip(objects, items, strict=True):
        read_object(pushed, text, value, dialect=dialect, rule=rule)
    return pushed


def read_object(
    pushed: Pushed, text: str, value: Value, *, dialect: Dialect, rule: ClockRule = STANDARD
) -> None:
    """Note what one object says. Raises: PeerError."""
    name = text.removesuffix(_SCALER)
    if text != name:
        pushed.scalers[name] = value
    elif name == obis_text(DEVICE_NAME):
        pushed.name = as_text(value)[:64]
    elif name == obis_text(CLOCK):
        pushed.at = decode_moment(as_octets(value), rule).instant
    elif name in _ALARM_OF:
        register = _ALARM_OF[name]
        for bit, meaning in alarms_in(register, as_integer(value)):
            pushed.events.append(_event(meaning, alarm_origin(dialect, register, bit)))
    elif name in _LOG_OF:
        log, code = _LOG_OF[name], as_integer(value)
        pushed.events.append(_event(meaning_of(dialect, log, code), origin_of(dialect, log, code)))
    elif name in CHANNEL_OF_OBIS:
        pushed.numbers[name] = as_integer(value)


def _event(meaning: Meaning, origin: str) -> tuple[EventCode, str, str]:
    return meaning.code, origin, meaning.detail
