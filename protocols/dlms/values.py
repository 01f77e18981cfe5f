"""
COSEM data values: the tags, one tagged value, and the short names that make and open them.

The accessors are how every decoder above asks "is this an integer?": a peer that sends another
type gets PeerError `dlms.type`, never an exception of Python's own.
*Source*: IEC 62056-6-2 clause 4.1.5 (common data types).
"""

from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple, Union

from protocols.errors import PeerError


class Tag(IntEnum):
    """The choice tag of a data value."""

    NULL = 0
    ARRAY = 1
    STRUCTURE = 2
    BOOLEAN = 3
    BIT_STRING = 4
    DOUBLE_LONG = 5
    DOUBLE_LONG_UNSIGNED = 6
    OCTET_STRING = 9
    VISIBLE_STRING = 10
    UTF8_STRING = 12
    BCD = 13
    INTEGER = 15
    LONG = 16
    UNSIGNED = 17
    LONG_UNSIGNED = 18
    COMPACT_ARRAY = 19
    LONG64 = 20
    LONG64_UNSIGNED = 21
    ENUM = 22
    FLOAT32 = 23
    FLOAT64 = 24
    DATE_TIME = 25
    DATE = 26
    TIME = 27
    DONT_CARE = 255


class BitString(NamedTuple):
    """`bits` counted from the most significant bit of the first octet."""

    bits: int
    octets: bytes


class Value(NamedTuple):
    """One tagged value. A named tuple, because a month of profile holds twelve thousand."""

    tag: int
    content: "Content"


Content = Union[None, bool, int, float, str, bytes, BitString, tuple["Value", ...]]  # noqa: UP007
Items = tuple[Value, ...]

NULL = Value(int(Tag.NULL), None)

_INTEGERS = frozenset(
    int(tag)
    for tag in (
        Tag.DOUBLE_LONG,
        Tag.DOUBLE_LONG_UNSIGNED,
        Tag.INTEGER,
        Tag.LONG,
        Tag.UNSIGNED,
        Tag.LONG_UNSIGNED,
        Tag.LONG64,
        Tag.LONG64_UNSIGNED,
        Tag.ENUM,
    )
)
_SEQUENCES = frozenset({int(Tag.ARRAY), int(Tag.STRUCTURE), int(Tag.COMPACT_ARRAY)})
_OCTETS = frozenset({int(Tag.OCTET_STRING), int(Tag.DATE_TIME), int(Tag.DATE), int(Tag.TIME)})


def structure(*members: Value) -> Value:
    """Return a structure of `members`."""
    return Value(int(Tag.STRUCTURE), members)


def array(items: Iterable[Value]) -> Value:
    """Return an array of `items`."""
    return Value(int(Tag.ARRAY), tuple(items))


def octet_string(octets: bytes) -> Value:
    """Return an octet string."""
    return Value(int(Tag.OCTET_STRING), octets)


def unsigned(number: int) -> Value:
    """Return an 8-bit unsigned."""
    return Value(int(Tag.UNSIGNED), number)


def long_unsigned(number: int) -> Value:
    """Return a 16-bit unsigned."""
    return Value(int(Tag.LONG_UNSIGNED), number)


def double_long_unsigned(number: int) -> Value:
    """Return a 32-bit unsigned."""
    return Value(int(Tag.DOUBLE_LONG_UNSIGNED), number)


def double_long(number: int) -> Value:
    """Return a 32-bit signed."""
    return Value(int(Tag.DOUBLE_LONG), number)


def long64_unsigned(number: int) -> Value:
    """Return a 64-bit unsigned."""
    return Value(int(Tag.LONG64_UNSIGNED), number)


def integer(number: int) -> Value:
    """Return an 8-bit signed."""
    return Value(int(Tag.INTEGER), number)


def enum(number: int) -> Value:
    """Return an enumeration value."""
    return Value(int(Tag.ENUM), number)


def boolean(truth: bool) -> Value:
    """Return a boolean."""
    return Value(int(Tag.BOOLEAN), truth)


def _wrong(value: Value, wanted: str) -> PeerError:
    return PeerError("dlms.type", f"expected {wanted}, the tag is {value.tag}")


def as_integer(value: Value) -> int:
    """Return the number of any integer type. Raises: PeerError `dlms.type`."""
    content = value.content
    if value.tag not in _INTEGERS or not isinstance(content, int):
        raise _wrong(value, "an integer")
    return content


def as_boolean(value: Value) -> bool:
    """Return a truth value. Raises: PeerError `dlms.type`."""
    if value.tag != Tag.BOOLEAN:
        raise _wrong(value, "a boolean")
    return bool(value.content)


def as_octets(value: Value) -> bytes:
    """Return the octets of a string or date-time. Raises: PeerError `dlms.type`."""
    content = value.content
    if value.tag not in _OCTETS or not isinstance(content, bytes):
        raise _wrong(value, "an octet string")
    return content


def as_items(value: Value, *, count: int | None = None) -> Items:
    """
    Return what a list holds; with `count`, exactly so many.

    Raises: PeerError `dlms.type`.
    """
    content = value.content
    if value.tag not in _SEQUENCES or not isinstance(content, tuple):
        raise _wrong(value, "a structure or array")
    if count is not None and len(content) != count:
        raise PeerError("dlms.type", f"expected {count} members, there are {len(content)}")
    return content


def as_text(value: Value) -> str:
    """Return a name that may come as octets or text. Raises: PeerError `dlms.type`."""
    content = value.content
    if isinstance(content, str):
        return content
    return as_octets(value).decode("latin-1")
