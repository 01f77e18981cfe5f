"""
Clock, class 8, and the 12-octet date-time that every stamp of a meter uses.

UTC = local + deviation, in minutes: China, eight hours ahead, sends -480. Some companion profiles
flip the sign, so it is a setting. Deviation 8000h means "not specified" and needs the meter's
configured deviation; 0 is UTC and never "unspecified". FF in a field means "not specified".
*Source*: IEC 62056-6-2 clause 4.1.6.1 (date and time formats), class_id 8.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntFlag

from protocols.errors import PeerError

CLASS_ID = 8
TIME = 2
OCTETS = 12
UNSPECIFIED_DEVIATION = -0x8000
STATUS_UNSPECIFIED = 0xFF
MAX_DEVIATION = 840
_UNSPECIFIED = 0xFF


class ClockStatus(IntFlag):
    """The status octet; FF is "not specified" and not all flags at once."""

    INVALID = 0x01
    DOUBTFUL = 0x02
    OTHER_BASE = 0x04
    INVALID_STATUS = 0x08
    DAYLIGHT_SAVING = 0x80


_SURE = ClockStatus(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A date-time as the meter told it: the UTC instant, its own deviation, its own doubts."""

    instant: datetime
    deviation: int | None
    status: ClockStatus = _SURE


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockRule:
    """
    How one meter type writes time.

    *Units*: `assumed_deviation` in minutes, used where the meter sends none; `sign` is -1 for
    companion profiles that send local - UTC.
    """

    assumed_deviation: int | None = None
    sign: int = 1


STANDARD = ClockRule()


def decode_moment(octets: bytes, rule: ClockRule = STANDARD) -> Moment:
    """
    Return the UTC instant of a 12-octet date-time.

    Raises: PeerError `dlms.clock` when a field that time needs is out of range or not specified.
    """
    if len(octets) != OCTETS:
        raise PeerError("dlms.clock", f"a date-time has 12 octets, not {len(octets)}")
    year = int.from_bytes(octets[0:2], "big")
    month, day, _weekday, hour, minute, second, hundredths = octets[2:9]
    deviation = int.from_bytes(octets[9:11], "big", signed=True)
    told: int | None = None if deviation == UNSPECIFIED_DEVIATION else deviation * rule.sign
    used = rule.assumed_deviation if told is None else told
    if used is None or abs(used) > MAX_DEVIATION:
        raise PeerError("dlms.clock", f"deviation {deviation} gives no instant")
    if hundredths != _UNSPECIFIED and hundredths > 99:
        raise PeerError("dlms.clock", f"hundredths {hundredths}")
    try:
        local = datetime(
            year,
            month,
            day,
            hour,
            minute,
            0 if second == _UNSPECIFIED else second,
            0 if hundredths == _UNSPECIFIED else hundredths * 10_000,
            tzinfo=UTC,
        )
        instant = local + timedelta(minutes=used)
    except (ValueError, OverflowError) as error:
        raise PeerError("dlms.clock", str(error), evidence={"octets": octets.hex()}) from None
    status = 0 if octets[11] == STATUS_UNSPECIFIED else octets[11] & 0x8F
    return Moment(instant=instant, deviation=told, status=ClockStatus(status) if status else _SURE)


def encode_moment(
    instant: datetime,
    *,
    deviation: int = 0,
    status: ClockStatus = _SURE,
    rule: ClockRule = STANDARD,
) -> bytes:
    """
    Return the 12 octets of `instant`, local time by `deviation` minutes; resolution 10 ms.

    Raises: ValueError on a naive instant.
    """
    if instant.tzinfo is None:
        raise ValueError("a naive datetime has no place on the time line; give it a zone")
    local = instant.astimezone(UTC) - timedelta(minutes=deviation)
    return (
        local.year.to_bytes(2, "big")
        + bytes(
            (
                local.month,
                local.day,
                local.isoweekday(),
                local.hour,
                local.minute,
                local.second,
                local.microsecond // 10_000,
            )
        )
        + (deviation * rule.sign).to_bytes(2, "big", signed=True)
        + bytes((int(status),))
    )
