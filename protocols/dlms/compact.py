"""
Compact arrays: one type description, then the contents of every element without tags.

*Source*: IEC 62056-6-2 clause 4.1.5, TypeDescription and compact-array.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from protocols.dlms.leaf import (
    read_leaf,
    read_length,
    read_octets,
    truncated,
    write_leaf,
    write_length,
)
from protocols.dlms.values import NULL, Tag, Value, as_items
from protocols.errors import PeerError

_DEPTH = 8
_MAX_MEMBERS = 256
_MAX_VALUES = 32_768
_LISTS = frozenset({int(Tag.ARRAY), int(Tag.STRUCTURE)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What one element looks like: a leaf tag, or `members` of a structure or array."""

    tag: int
    members: tuple["Shape", ...] = ()
    repeat: int = 1


def _read_shape(octets: bytes, offset: int, depth: int, budget: list[int]) -> tuple[Shape, int]:
    """Return a type description; `budget` bounds its size, `depth` the recursion."""
    budget[0] -= 1
    if depth > _DEPTH:
        raise PeerError("dlms.too_deep", f"type description nested deeper than {_DEPTH}")
    if budget[0] < 0:
        raise PeerError("dlms.too_many", f"type description of more than {_MAX_MEMBERS} members")
    if offset >= len(octets):
        raise truncated(offset)
    tag = octets[offset]
    offset += 1
    if tag == Tag.ARRAY:
        if offset + 2 > len(octets):
            raise truncated(offset)
        repeat = int.from_bytes(octets[offset : offset + 2], "big")
        inner, offset = _read_shape(octets, offset + 2, depth + 1, budget)
        return Shape(tag=tag, members=(inner,), repeat=repeat), offset
    if tag == Tag.STRUCTURE:
        count, offset = read_length(octets, offset)
        members: list[Shape] = []
        for _ in range(min(count, _MAX_MEMBERS + 1)):
            member, offset = _read_shape(octets, offset, depth + 1, budget)
            members.append(member)
        return Shape(tag=tag, members=tuple(members)), offset
    if tag == Tag.COMPACT_ARRAY:
        raise PeerError("dlms.tag", "a compact array inside a compact array")
    return Shape(tag=tag), offset


_NULLS = (Shape(tag=int(Tag.NULL)),)


class _Contents:
    """The untagged octets of all elements, and how many values may still be built from them."""

    __slots__ = ("_octets", "built", "limit", "offset")

    def __init__(self, octets: bytes, limit: int) -> None:
        self._octets = octets
        self.offset = 0
        self.built = 0
        self.limit = limit

    def more(self) -> bool:
        return self.offset < len(self._octets)

    def read(self, shape: Shape) -> Value:
        if shape.tag not in _LISTS:
            value, self.offset = read_leaf(self._octets, self.offset, shape.tag)
            return value
        # counted before any is built: a description of a few octets may ask for millions
        self.count(shape.repeat * len(shape.members))
        if shape.members == _NULLS:
            return Value(shape.tag, (NULL,) * shape.repeat)
        items: list[Value] = []
        if any(member.tag in _LISTS for member in shape.members):
            for _ in range(shape.repeat):
                items.extend([self.read(member) for member in shape.members])
        else:
            octets, offset = self._octets, self.offset
            for tag in [member.tag for member in shape.members] * shape.repeat:
                value, offset = read_leaf(octets, offset, tag)
                items.append(value)
            self.offset = offset
        return Value(shape.tag, tuple(items))

    def count(self, values: int) -> None:
        """Count values that are about to be built. Raises: PeerError `dlms.too_many`."""
        self.built += values
        if self.built > self.limit:
            raise PeerError("dlms.too_many", f"more than {self.limit} elements")


def decode_compact(octets: bytes, offset: int, *, elements: int) -> tuple[Value, int, int]:
    """
    Return the array, the offset behind it and how many values were built.

    Raises: PeerError `dlms.truncated`, `dlms.tag`, `dlms.too_deep`, `dlms.too_many`, and
    `dlms.length` for an element that takes no octets (it would never end).
    """
    shape, offset = _read_shape(octets, offset, 0, [_MAX_MEMBERS])
    packed, end = read_octets(octets, offset)
    # Nulls and structures take no octets: without this bound a few octets could build millions.
    contents = _Contents(packed, min(elements, 2 * len(packed) + _MAX_MEMBERS, _MAX_VALUES))
    items: list[Value] = []
    while contents.more():
        before = contents.offset
        contents.count(1)
        items.append(contents.read(shape))
        if contents.offset == before:
            raise PeerError("dlms.length", "compact array elements take no octets")
    return Value(int(Tag.COMPACT_ARRAY), tuple(items)), end, contents.built


def _shape_of(value: Value) -> Shape:
    """Return the type description that fits `value`. Raises: ValueError where none does."""
    if value.tag == Tag.STRUCTURE:
        members = tuple(_shape_of(item) for item in as_items(value))
        return Shape(tag=value.tag, members=members)
    if value.tag == Tag.ARRAY:
        items = as_items(value)
        shapes = {_shape_of(item) for item in items}
        if len(shapes) == 1:
            return Shape(tag=value.tag, members=(shapes.pop(),), repeat=len(items))
    if value.tag in (Tag.ARRAY, Tag.COMPACT_ARRAY):
        raise ValueError("a compact array holds no empty, mixed or compact arrays")
    return Shape(tag=value.tag)


def _write_shape(shape: Shape) -> bytes:
    inner = b"".join(_write_shape(member) for member in shape.members)
    if shape.tag == Tag.ARRAY:
        return bytes((shape.tag,)) + shape.repeat.to_bytes(2, "big") + inner
    if shape.tag == Tag.STRUCTURE:
        return bytes((shape.tag,)) + write_length(len(shape.members)) + inner
    return bytes((shape.tag,))


def _write_contents(value: Value) -> bytes:
    if value.tag in _LISTS:
        return b"".join(_write_contents(item) for item in as_items(value))
    return write_leaf(value)


def encode_compact(items: Sequence[Value]) -> bytes:
    """
    Return type description and contents of `items`, which must all look alike.

    Raises: ValueError when they do not, or when there is none to take the description from.
    """
    shapes = {_shape_of(item) for item in items}
    if len(shapes) != 1:
        raise ValueError("the elements of a compact array have one shape, and there is one or more")
    contents = b"".join(_write_contents(item) for item in items)
    if not contents:
        raise ValueError("elements without octets cannot be counted again")
    return _write_shape(shapes.pop()) + write_length(len(contents)) + contents
