"""
Numbers and stamps in BCD, low octet first. *Source*: DL/T 645-2007, annex A.

Stamps are local time of the meter and carry no zone: they come out as naive datetimes, and the
caller, who knows the meter's zone, places them on the time line.
"""

from datetime import datetime

from protocols.errors import PeerError

_SIGN = 0x80
_CENTURY = 2000


def encode_bcd(value: int, octets: int) -> bytes:
    """Return `value` in BCD. Raises: ValueError when it is negative or too long."""
    text = f"{value:0{2 * octets}d}"
    if value < 0 or len(text) != 2 * octets:
        raise ValueError(f"{value} does not fit {octets} octets of BCD")
    return bytes.fromhex(text)[::-1]


def decode_bcd(octets: bytes) -> int:
    """Return the number in BCD octets. Raises: PeerError `dlt645.bcd`."""
    text = octets[::-1].hex()
    if not text.isdecimal():
        raise PeerError("dlt645.bcd", f"{text[:24]} is no BCD number")
    return int(text)


def encode_signed(value: int, octets: int) -> bytes:
    """Return `value` in BCD with the sign in the top bit. Raises: ValueError when too long."""
    plain = bytearray(encode_bcd(abs(value), octets))
    if plain[-1] & _SIGN:
        raise ValueError(f"{value} leaves no room for its sign in {octets} octets")
    if value < 0:
        plain[-1] |= _SIGN
    return bytes(plain)


def decode_signed(octets: bytes) -> int:
    """Return the number whose sign is the top bit. Raises: PeerError `dlt645.bcd`."""
    if not octets:
        raise PeerError("dlt645.bcd", "an empty field is no number")
    size = decode_bcd(octets[:-1] + bytes((octets[-1] & ~_SIGN & 0xFF,)))
    return -size if octets[-1] & _SIGN else size


def is_absent(octets: bytes) -> bool:
    """Tell whether a field says that the meter has no such value: FF in every octet."""
    return bool(octets) and octets == b"\xff" * len(octets)


def encode_date(local: datetime) -> bytes:
    """Return `YYMMDDWW`, low octet first; Sunday is 0. *Source*: DI 04000101."""
    weekday = local.isoweekday() % 7
    return _fields(weekday, local.day, local.month, local.year % 100)


def encode_time(local: datetime) -> bytes:
    """Return `hhmmss`, low octet first. *Source*: DI 04000102."""
    return _fields(local.second, local.minute, local.hour)


def encode_date_time(local: datetime) -> bytes:
    """Return `YYMMDDhhmmss`, low octet first, as in broadcast time and valid-until."""
    return encode_time(local) + _fields(local.day, local.month, local.year % 100)


def decode_date_time(octets: bytes) -> datetime:
    """Return the local time in `YYMMDDhhmmss`. Raises: PeerError `dlt645.stamp`."""
    if len(octets) != 6:
        raise PeerError("dlt645.stamp", f"{len(octets)} octets are no date and time")
    return _stamp(octets)


def encode_minute(local: datetime) -> bytes:
    """Return `YYMMDDhhmm`, low octet first, the stamp of a record."""
    return encode_date_time(local)[1:]


def decode_minute(octets: bytes) -> datetime:
    """Return the local time in `YYMMDDhhmm`. Raises: PeerError `dlt645.stamp`."""
    if len(octets) != 5:
        raise PeerError("dlt645.stamp", f"{len(octets)} octets are no stamp of a record")
    return _stamp(b"\x00" + octets)


def decode_date_and_time(date: bytes, time: bytes) -> datetime:
    """Return the local time of items 04000101 and 04000102. Raises: PeerError `dlt645.stamp`."""
    if len(date) != 4 or len(time) != 3:
        raise PeerError("dlt645.stamp", f"{len(date)} and {len(time)} octets are no date and time")
    return _stamp(time + date[1:])


def _stamp(octets: bytes) -> datetime:
    try:
        second, minute, hour, day, month, year = (decode_bcd(bytes((one,))) for one in octets)
        # naive on purpose: the meter tells no zone
        return datetime(_CENTURY + year, month, day, hour, minute, second)  # noqa: DTZ001
    except (PeerError, ValueError) as error:
        raise PeerError("dlt645.stamp", f"{octets[::-1].hex()} is no time") from error


def _fields(*values: int) -> bytes:
    return b"".join(encode_bcd(value, 1) for value in values)
