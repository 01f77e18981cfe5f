"""
What every service speaks of: attributes and methods of objects, results, and blocks of long texts.

*Source*: IEC 62056-5-3 clause 7.3 and Annex A (Cosem-Attribute-Descriptor, Data-Access-Result,
Action-Result, DataBlock-SA).
"""

from dataclasses import dataclass
from enum import IntEnum

from protocols.dlms.axdr import encode
from protocols.dlms.leaf import write_length
from protocols.dlms.obis import Obis, obis_text
from protocols.dlms.octets import Octets
from protocols.dlms.values import Value
from protocols.errors import PeerError

MAX_LIST = 64
_CONFIRMED_HIGH = 0xC0
"""Invoke-id-and-priority octet: confirmed service, high priority; the low four bits number it."""


class Access(IntEnum):
    """Data-Access-Result and, with the same numbers, Action-Result."""

    SUCCESS = 0
    HARDWARE_FAULT = 1
    TEMPORARY_FAILURE = 2
    DENIED = 3
    UNDEFINED = 4
    CLASS_INCONSISTENT = 9
    UNAVAILABLE = 11
    TYPE_UNMATCHED = 12
    SCOPE_VIOLATED = 13
    BLOCK_UNAVAILABLE = 14
    LONG_GET_ABORTED = 15
    NO_LONG_GET = 16
    LONG_SET_ABORTED = 17
    NO_LONG_SET = 18
    BLOCK_NUMBER_INVALID = 19
    OTHER = 250


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """One attribute (or method) of one object, with selective access where wanted."""

    class_id: int
    name: Obis
    index: int
    selector: int = 0
    selection: Value | None = None

    def __str__(self) -> str:
        """Return `3/1-0:1.8.0*255/2`."""
        return f"{self.class_id}/{obis_text(self.name)}/{self.index}"

    def encode(self) -> bytes:
        """Return class, name and index; selective access follows apart."""
        return self.class_id.to_bytes(2, "big") + self.name + bytes((self.index,))

    def encode_selection(self) -> bytes:
        """Return the optional selector and its parameter."""
        if self.selection is None:
            return b"\x00"
        return bytes((1, self.selector)) + encode(self.selection)


Got = Value | Access
"""One attribute's value, or why there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataBlock:
    """One piece of a text too long for one APDU; numbers count from 1."""

    last: bool
    number: int
    raw: bytes

    def encode(self) -> bytes:
        """Return the octets of a DataBlock-SA."""
        head = bytes((self.last,)) + self.number.to_bytes(4, "big")
        return head + write_length(len(self.raw)) + self.raw


def access(code: int) -> Access:
    """Return the result, an unknown code as OTHER: no meter's private code may break a read."""
    try:
        return Access(code)
    except ValueError:
        return Access.OTHER


def head_of(tag: int, kind: int, invoke: int) -> bytes:
    """Return the three octets that begin every confirmed service."""
    return bytes((tag, kind, _CONFIRMED_HIGH | (invoke & 0x0F)))


def read_invoke(reader: Octets) -> int:
    """Return the invoke id of the octet that also holds the priority."""
    return reader.number(1) & 0x0F


def encode_got(got: Got) -> bytes:
    """Return a Get-Data-Result: `00` and the value, or `01` and the reason."""
    return bytes((1, got)) if isinstance(got, Access) else b"\x00" + encode(got)


def read_got(reader: Octets) -> Got:
    """Return a Get-Data-Result."""
    return access(reader.number(1)) if reader.choice(0, 1) else reader.value()


def check_count(count: int) -> int:
    """Return the length of a list. Raises: PeerError `dlms.list` when no service lists so many."""
    if not 1 <= count <= MAX_LIST:
        raise PeerError("dlms.list", f"a list of {count}")
    return count


def read_attribute(reader: Octets) -> Attribute:
    """Return class, name and index."""
    class_id = reader.number(2)
    return Attribute(class_id=class_id, name=Obis(reader.take(6)), index=reader.number(1))


def read_selected(reader: Octets) -> Attribute:
    """Return an attribute with its optional selective access."""
    plain = read_attribute(reader)
    if not reader.choice(0, 1):
        return plain
    return Attribute(
        class_id=plain.class_id,
        name=plain.name,
        index=plain.index,
        selector=reader.number(1),
        selection=reader.value(),
    )


def read_block(reader: Octets) -> DataBlock:
    """Return a DataBlock-SA."""
    last = bool(reader.number(1))
    return DataBlock(last=last, number=reader.number(4), raw=reader.string())


def encode_values(values: tuple[Value, ...]) -> bytes:
    """Return values behind their count."""
    return write_length(len(values)) + b"".join(encode(value) for value in values)


def read_values(reader: Octets) -> tuple[Value, ...]:
    """Return values that stand behind their count. Raises: PeerError `dlms.list`."""
    return tuple(reader.value() for _ in range(check_count(reader.length())))
