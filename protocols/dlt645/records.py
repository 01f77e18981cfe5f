"""
What a meter keeps: load records and frozen registers.

A load record is `A0 A0 length stamp`, six blocks each ended by `AA` (voltage, current and
frequency; power; power factor; total energy; four-quadrant energy; demand), a sum and `E5`. A
block that is not kept, or was not asked for, is empty. A record asked for by class comes in the
same frame. Energies in a record are registers at its stamp.
*Source*: DL/T 645-2007, annex B and 7 (identifiers 05 and 06).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from protocols.dlt645.bcd import (
    decode_bcd,
    decode_minute,
    decode_signed,
    encode_bcd,
    encode_minute,
    encode_signed,
)
from protocols.errors import PeerError

EARLIEST, GIVEN_TIME, LATEST = 0, 1, 2
ALL_CLASSES, ENERGY_CLASS = 0, 4
MOST_RECORDS = 99
"""Records in one request: their number is one octet of BCD."""

_BEGIN = b"\xa0\xa0"
_SEPARATOR = 0xAA
_END = 0xE5
_HEAD = 3
_STAMP = 5
_BLOCKS = 6
_ENERGY_BLOCK = 3
_ENERGY_OCTETS = 4
_ENERGY_FIELDS = 4
_BLOCK_OCTETS = ((0, 17), (0, 24), (0, 8), (0, 16), (0, 16), (0, 6))
_MAX_OCTETS = 128 * 1024


def load_di(class_: int, which: int) -> int:
    """Return the identifier of load records: of one class or all, and which of them."""
    return 0x06000000 | class_ << 16 | which


def given_time(count: int, stamp: datetime) -> bytes:
    """Return the argument for `count` records from `stamp` on. Raises: ValueError."""
    return encode_bcd(count, 1) + encode_minute(stamp)


def split_given_time(octets: bytes) -> tuple[int, datetime]:
    """Return count and stamp of such an argument. Raises: PeerError `dlt645.shape`, and others."""
    if len(octets) != 1 + _STAMP:
        raise PeerError("dlt645.shape", f"{len(octets)} octets are no count and stamp")
    return decode_bcd(octets[:1]), decode_minute(octets[1:])


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRecord:
    """Registers at `at`, local time of the meter. *Units*: 10 Wh; None where they are not kept."""

    at: datetime
    import_raw: int | None
    export_raw: int | None = None


def encode_record(record: LoadRecord) -> bytes:
    """Return the octets of a record that holds energies alone."""
    block = b""
    if record.import_raw is not None:
        energies = (record.import_raw, record.export_raw or 0, 0, 0)
        block = b"".join(encode_bcd(value, _ENERGY_OCTETS) for value in energies)
    blocks = [block if index == _ENERGY_BLOCK else b"" for index in range(_BLOCKS)]
    body = encode_minute(record.at) + b"".join(item + bytes((_SEPARATOR,)) for item in blocks)
    framed = _BEGIN + bytes((len(body),)) + body
    return framed + bytes((sum(framed) & 0xFF, _END))


def decode_records(octets: bytes) -> tuple[LoadRecord, ...]:
    """
    Return the records in an answer whose parts have been joined, in the order they came.

    Raises: PeerError `dlt645.record`, `.checksum`, `.bcd`, `.stamp`.
    """
    if len(octets) > _MAX_OCTETS:
        raise PeerError("dlt645.record", f"{len(octets)} octets are too many for one answer")
    return tuple(_records(octets))


def _records(octets: bytes) -> Iterator[LoadRecord]:
    at = 0
    while at < len(octets):
        head = octets[at : at + _HEAD]
        if len(head) < _HEAD or head[:2] != _BEGIN:
            raise PeerError("dlt645.record", f"no record begins with {head.hex()}")
        end = at + _HEAD + head[2]
        if octets[end + 1 : end + 2] != bytes((_END,)):
            raise PeerError("dlt645.record", f"a record of {head[2]} octets has no end")
        if sum(octets[at:end]) & 0xFF != octets[end]:
            raise PeerError("dlt645.checksum", "the sum of a load record is wrong")
        yield _record(octets[at + _HEAD : end])
        at = end + 2


def _record(body: bytes) -> LoadRecord:
    stamp = decode_minute(body[:_STAMP])
    blocks = tuple(_split(body[_STAMP:]))
    energies = blocks[_ENERGY_BLOCK]
    if not energies:
        return LoadRecord(at=stamp, import_raw=None)
    fields = [energies[at : at + _ENERGY_OCTETS] for at in range(0, len(energies), _ENERGY_OCTETS)]
    return LoadRecord(at=stamp, import_raw=decode_bcd(fields[0]), export_raw=decode_bcd(fields[1]))


def _split(octets: bytes) -> Iterator[bytes]:
    """Yield the six blocks; sizes decide where each ends, not a search for AA."""
    at = 0
    for sizes in _BLOCK_OCTETS:
        for size in sizes:
            if octets[at + size : at + size + 1] == bytes((_SEPARATOR,)):
                yield octets[at : at + size]
                at += size + 1
                break
        else:
            raise PeerError("dlt645.record", f"no block of {sizes[1]} octets in a load record")
    if at != len(octets):
        raise PeerError("dlt645.record", f"{len(octets) - at} octets too many in a load record")


class Freeze(IntEnum):
    """Why registers were frozen; DI2 of class 05. *Source*: DL/T 645-2007, table A.6."""

    TIMED = 0x00
    INSTANT = 0x01
    HOURLY = 0x04
    DAILY = 0x06


class FreezePart(IntEnum):
    """What of a freeze is asked for; DI1."""

    STAMP = 0x00
    IMPORT = 0x01
    EXPORT = 0x02


MOST_TARIFFS = 64


def freeze_di(freeze: Freeze, part: FreezePart, back: int) -> int:
    """Return the identifier of the freeze `back` times ago; 1 is the last one."""
    if not 1 <= back <= 0xFF:
        raise ValueError(f"freezes are numbered 1..255 backwards, not {back}")
    return 0x05000000 | freeze << 16 | part << 8 | back


def decode_frozen(octets: bytes) -> tuple[int, ...]:
    """
    Return frozen energies, total first and then per tariff, in 10 Wh.

    Raises: PeerError `dlt645.shape`, `.bcd`.
    """
    count, rest = divmod(len(octets), _ENERGY_OCTETS)
    if rest or not 1 <= count <= MOST_TARIFFS:
        raise PeerError("dlt645.shape", f"{len(octets)} octets are no frozen energies")
    return tuple(
        decode_signed(octets[at : at + _ENERGY_OCTETS])
        for at in range(0, len(octets), _ENERGY_OCTETS)
    )


def encode_frozen(energies: Iterable[int]) -> bytes:
    """Return the octets of frozen energies, total first."""
    return b"".join(encode_signed(value, _ENERGY_OCTETS) for value in energies)
