"""
MeterReadings as columns, and the plain tree that its XML and JSON forms share.

One series is what one meter (or usage point) tells of one channel. An interval is named by its
start here and by its end on the wire, as the standard has it; registers carry their instant.
*Source*: IEC 61968-9, MeterReadings profile: MeterReading, Meter, UsagePoint, Readings,
IntervalBlocks with IntervalReadings, ReadingQualities, ReadingType by reference.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.cim import quality, reading_type
from protocols.cim.quality import REF, quality_of
from protocols.cim.reading_type import ReadingType, channel_of, type_of
from protocols.errors import PeerError
from protocols.quantities import rescale
from protocols.reading import INTERVALS, Channel, Quality
from protocols.timeline import from_ms, to_ms

CODE = "cim.meter_readings"
MOST_VALUES = 2_000_000
"""Values in one message; more is refused rather than held in memory."""
MAX_VALUE = 2**53
"""A value beyond this is no meter's: the JSON twin must hold it exactly."""

_DECIMAL = re.compile(r"[+-]?[0-9]{1,20}(\.[0-9]{1,18})?", re.ASCII)

Plain = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """
    The values of one channel of one meter or usage point; at least one of the two is named.

    *Shape*: `at_ms`, `value` and `quality` are equally long, in the order of the message.
    *Units*: ms since 1970 (start of an interval, instant of anything else); `value` in the unit of
    the channel; `seconds` is 0 for what is no interval.
    """

    meter: str = ""
    usage_point: str = ""
    channel: Channel
    seconds: int = 0
    at_ms: NDArray[np.int64]
    value: NDArray[np.int64]
    quality: tuple[Quality, ...]


def plain_of(series: Sequence[Series]) -> Plain:
    """
    Return the tree of a MeterReadings message; every value in the unit of its channel.

    Raises: PeerError where an interval has a length that the standard has no code for.
    """
    return {"MeterReading": [_reading_of(one) for one in series]}


def series_of(plain: Mapping[str, Any]) -> list[Series]:
    """
    Return what a MeterReadings tree tells, one series per meter, channel and interval length.

    Elements of the standard that say nothing about values are passed over; a value without type,
    time or meter, a type that nobody here reads, or a number that is none, refuses the message.
    Raises: PeerError `cim.meter_readings`, `cim.reading_type`, `cim.reading_quality`.
    """
    gathered: dict[tuple[str, str, Channel, int], list[tuple[int, int, Quality]]] = {}
    room = MOST_VALUES
    for reading in _list(plain, "MeterReading"):
        meter, point = _mrid(reading, "Meter"), _mrid(reading, "UsagePoint")
        if not meter and not point:
            raise PeerError(CODE, "a MeterReading names neither Meter nor UsagePoint")
        for type_, item in _values_in(reading):
            channel, seconds, power = channel_of(type_)
            room -= 1
            if room < 0:
                raise PeerError(CODE, f"more than {MOST_VALUES} values; send them in parts")
            row = (
                _at(item) - seconds * 1000,
                _value(item, power),
                quality_of([_ref(found) for found in _list(item, "ReadingQualities")]),
            )
            gathered.setdefault((meter, point, channel, seconds), []).append(row)
    return [
        Series(
            meter=meter, usage_point=point, channel=channel, seconds=seconds,
            at_ms=np.array([row[0] for row in rows], dtype=np.int64),
            value=np.array([row[1] for row in rows], dtype=np.int64),
            quality=tuple(row[2] for row in rows),
        )
        for (meter, point, channel, seconds), rows in gathered.items()
    ]  # fmt: skip


def _reading_of(one: Series) -> Plain:
    type_ = {"@ref": str(type_of(one.channel, one.seconds))}
    later = one.seconds * 1000
    items = [
        {
            "timeStamp": _stamp(at + later),
            "value": str(value),
            "ReadingQualities": [{"ReadingQualityType": {"@ref": REF[found]}}],
        }
        for at, value, found in zip(
            one.at_ms.tolist(), one.value.tolist(), one.quality, strict=True
        )
    ]
    reading: Plain = {}
    if one.channel in INTERVALS:
        reading["IntervalBlocks"] = [{"IntervalReadings": items, "ReadingType": type_}]
    if one.meter:
        reading["Meter"] = {"mRID": one.meter}
    if one.channel not in INTERVALS:
        reading["Readings"] = [{**item, "ReadingType": type_} for item in items]
    if one.usage_point:
        reading["UsagePoint"] = {"mRID": one.usage_point}
    return reading


def _values_in(reading: Mapping[str, Any]) -> Iterable[tuple[ReadingType, Mapping[str, Any]]]:
    for item in _list(reading, "Readings"):
        yield reading_type.parse(_type_ref(item)), item
    for block in _list(reading, "IntervalBlocks"):
        type_ = reading_type.parse(_type_ref(block))
        if channel_of(type_)[0] not in INTERVALS:
            raise PeerError(CODE, f"an IntervalBlock holds {type_}, which is no interval")
        for item in _list(block, "IntervalReadings"):
            yield type_, item


def _at(item: Mapping[str, Any]) -> int:
    text = item.get("timeStamp")
    if not isinstance(text, str) or len(text) > 40:
        raise PeerError(CODE, "a value has no timeStamp")
    try:
        instant = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise PeerError(CODE, f"timeStamp {text!r} is no ISO 8601 instant") from error
    if instant.tzinfo is None:
        raise PeerError(CODE, f"timeStamp {text!r} names no zone: add Z or an offset")
    try:
        return to_ms(instant)
    except (OverflowError, ValueError) as error:
        raise PeerError(CODE, f"timeStamp {text!r} is beyond any meter's life") from error


def _value(item: Mapping[str, Any], power: int) -> int:
    text = item.get("value")
    if isinstance(text, int) and not isinstance(text, bool):
        text = str(text)
    if not isinstance(text, str) or not _DECIMAL.fullmatch(text.strip()):
        raise PeerError(CODE, f"value {str(text)[:40]!r} is no decimal number")
    whole, _, places = text.strip().partition(".")
    exponent = power - len(places)
    if not -18 <= exponent <= 18:
        raise PeerError(CODE, f"value {text!r} has more places than any meter")
    value = rescale(int(whole + places), exponent)
    if abs(value) > MAX_VALUE:
        raise PeerError(CODE, f"value {text!r} is beyond any meter's")
    return value


def _ref(found: Any) -> str:
    type_ = found.get("ReadingQualityType") if isinstance(found, Mapping) else None
    ref = type_.get("@ref") if isinstance(type_, Mapping) else None
    if not isinstance(ref, str):
        raise PeerError(quality.CODE, "ReadingQualities without ReadingQualityType ref")
    return ref


def _type_ref(item: Mapping[str, Any]) -> str:
    type_ = item.get("ReadingType")
    ref = type_.get("@ref") if isinstance(type_, Mapping) else None
    if not isinstance(ref, str):
        raise PeerError(reading_type.CODE, "a value has no ReadingType ref")
    return ref


def _mrid(reading: Mapping[str, Any], name: str) -> str:
    """Return the mRID, or the first name where a peer gives names only."""
    thing = reading.get(name)
    if not isinstance(thing, Mapping):
        return ""
    named = thing.get("mRID")
    if not isinstance(named, str):
        first = next(iter(_list(thing, "Names")), {})
        named = first.get("name")
    if named is None:
        return ""
    if not isinstance(named, str) or not 0 < len(named.strip()) <= 64:
        raise PeerError(CODE, f"{name} has a name of no or too many characters")
    return named.strip()


def _list(plain: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    found = plain.get(name, [])
    items = found if isinstance(found, list) else [found]
    if not all(isinstance(item, Mapping) for item in items):
        raise PeerError(CODE, f"{name} holds something that is no element")
    return items


def _stamp(at_ms: int) -> str:
    return from_ms(at_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")
