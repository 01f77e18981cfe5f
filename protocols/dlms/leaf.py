"""
Lengths, and the values that hold no others, in both directions.

*Source*: IEC 62056-6-2 clause 4.1.5; IEC 61334-6 for lengths.
"""

import struct
from collections.abc import Callable

from protocols.dlms.values import NULL, BitString, Content, Tag, Value
from protocols.errors import PeerError

_FIXED: dict[int, struct.Struct] = {
    int(tag): struct.Struct(form)
    for tag, form in {
        Tag.BOOLEAN: ">?",
        Tag.DOUBLE_LONG: ">i",
        Tag.DOUBLE_LONG_UNSIGNED: ">I",
        Tag.BCD: ">b",
        Tag.INTEGER: ">b",
        Tag.LONG: ">h",
        Tag.UNSIGNED: ">B",
        Tag.LONG_UNSIGNED: ">H",
        Tag.LONG64: ">q",
        Tag.LONG64_UNSIGNED: ">Q",
        Tag.ENUM: ">B",
        Tag.FLOAT32: ">f",
        Tag.FLOAT64: ">d",
        Tag.DATE_TIME: ">12s",
        Tag.DATE: ">5s",
        Tag.TIME: ">4s",
    }.items()
}
_READERS: dict[int, tuple[Callable[[bytes, int], tuple[Content, ...]], int]] = {
    tag: (form.unpack_from, form.size) for tag, form in _FIXED.items()
}
_EMPTY = frozenset({int(Tag.NULL), int(Tag.DONT_CARE)})
_TEXT_CODING = {int(Tag.VISIBLE_STRING): "latin-1", int(Tag.UTF8_STRING): "utf-8"}


def truncated(offset: int) -> PeerError:
    """Return the error for octets that end before they should."""
    return PeerError("dlms.truncated", f"the octets end inside a value, at {offset}")


def read_length(octets: bytes, offset: int) -> tuple[int, int]:
    """
    Return a length and the offset behind it; `81` to `84` announce 1 to 4 length octets.

    Raises: PeerError `dlms.truncated`, `dlms.length`.
    """
    try:
        first = octets[offset]
    except IndexError:
        raise truncated(offset) from None
    if first < 0x80:
        return first, offset + 1
    count = first & 0x7F
    if not 1 <= count <= 4:
        raise PeerError("dlms.length", f"length form {first:#04x} is not definite")
    end = offset + 1 + count
    if end > len(octets):
        raise truncated(offset)
    return int.from_bytes(octets[offset + 1 : end], "big"), end


def write_length(length: int) -> bytes:
    """Return `length` in its shortest form."""
    if length < 0x80:
        return bytes((length,))
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((0x80 | len(octets),)) + octets


def read_octets(octets: bytes, offset: int) -> tuple[bytes, int]:
    """Return a length-prefixed string and the offset behind it. Raises: as `read_length`."""
    length, offset = read_length(octets, offset)
    end = offset + length
    if end > len(octets):
        raise truncated(offset)
    return octets[offset:end], end


def read_leaf(octets: bytes, offset: int, tag: int) -> tuple[Value, int]:
    """
    Return the value of a tag that holds no others, and the offset behind it.

    Raises: PeerError `dlms.truncated`, `dlms.tag`, `dlms.length`, `dlms.text`.
    """
    fixed = _READERS.get(tag)
    if fixed is not None:
        unpack, size = fixed
        try:
            return Value(tag, unpack(octets, offset)[0]), offset + size
        except struct.error:
            raise truncated(offset) from None
    if tag == Tag.OCTET_STRING:
        text, offset = read_octets(octets, offset)
        return Value(tag, text), offset
    if tag in _EMPTY:
        return (NULL if tag == 0 else Value(tag, None)), offset
    if tag in _TEXT_CODING:
        raw, offset = read_octets(octets, offset)
        try:
            return Value(tag, raw.decode(_TEXT_CODING[tag])), offset
        except UnicodeDecodeError:
            raise PeerError("dlms.text", f"a UTF-8 string is not UTF-8 before {offset}") from None
    if tag == Tag.BIT_STRING:
        bits, offset = read_length(octets, offset)
        end = offset + (bits + 7) // 8
        if end > len(octets):
            raise truncated(offset)
        return Value(tag, BitString(bits, octets[offset:end])), end
    raise PeerError("dlms.tag", f"there is no data type {tag}", evidence={"offset": offset - 1})


def write_leaf(value: Value) -> bytes:
    """Return the contents of a leaf without its tag. Raises: ValueError when it cannot be one."""
    tag, content = value
    fixed = _FIXED.get(tag)
    if fixed is not None:
        try:
            return fixed.pack(content)
        except struct.error as error:
            raise ValueError(f"{content!r} does not fit data type {tag}: {error}") from error
    if tag in _EMPTY:
        return b""
    if tag in _TEXT_CODING and isinstance(content, str):
        raw = content.encode(_TEXT_CODING[tag])
        return write_length(len(raw)) + raw
    if tag == Tag.OCTET_STRING and isinstance(content, bytes):
        return write_length(len(content)) + content
    if tag == Tag.BIT_STRING and isinstance(content, BitString):
        return write_length(content.bits) + content.octets
    raise ValueError(f"{type(content).__name__} cannot be written as data type {tag}")
