"""
A-XDR, decoded without recursion over one buffer and written back octet for octet.

The decoder is total: any octets give a `Value` or PeerError, in time linear in their number.
Depth, element count and every length are bounded before anything is built.
*Source*: IEC 62056-6-2 clause 4.1.5 (common data types), IEC 61334-6 (A-XDR).
"""

from dataclasses import dataclass

from protocols.dlms.compact import decode_compact, encode_compact
from protocols.dlms.leaf import read_leaf, read_length, truncated, write_leaf, write_length
from protocols.dlms.values import NULL, Tag, Value, as_items
from protocols.errors import PeerError

_ARRAY, _STRUCTURE, _COMPACT = int(Tag.ARRAY), int(Tag.STRUCTURE), int(Tag.COMPACT_ARRAY)
_EMPTY = {tag: Value(tag, ()) for tag in (_ARRAY, _STRUCTURE)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much one value may hold before the peer is called broken."""

    depth: int = 16
    elements: int = 131_072


LIMITS = Limits()


def decode(octets: bytes, offset: int = 0, *, limits: Limits = LIMITS) -> tuple[Value, int]:
    """
    Return the value at `offset` and the offset behind it.

    Raises: PeerError `dlms.truncated`, `dlms.tag`, `dlms.length`, `dlms.text`, `dlms.too_deep`,
    `dlms.too_many`.
    """
    size = len(octets)
    left = limits.elements
    open_lists: list[tuple[int, int, list[Value]]] = []
    while True:
        if offset >= size:
            raise truncated(offset)
        tag = octets[offset]
        offset += 1
        if tag in (_STRUCTURE, _ARRAY):
            count, offset = read_length(octets, offset)
            left -= count
            # Every element takes one octet or more, so a longer list cannot be in the buffer.
            if count > size - offset:
                raise truncated(offset)
            if left < 0:
                raise PeerError("dlms.too_many", f"more than {limits.elements} elements")
            if count:
                if len(open_lists) >= limits.depth:
                    raise PeerError("dlms.too_deep", f"nested deeper than {limits.depth}")
                open_lists.append((tag, count, []))
                continue
            value = _EMPTY[tag]
        elif tag == _COMPACT:
            value, offset, used = decode_compact(octets, offset, elements=left)
            left -= used
        else:
            # a null is the shortest element, so the one of which a frame can hold most
            value, offset = read_leaf(octets, offset, tag) if tag else (NULL, offset)
        while open_lists:
            list_tag, count, items = open_lists[-1]
            items.append(value)
            if len(items) < count:
                break
            open_lists.pop()
            value = Value(list_tag, tuple(items))
        else:
            return value, offset


def decode_whole(octets: bytes, *, limits: Limits = LIMITS) -> Value:
    """Return the one value that fills `octets`. Raises: as `decode`, and `dlms.trailing`."""
    value, end = decode(octets, limits=limits)
    if end != len(octets):
        raise PeerError("dlms.trailing", f"{len(octets) - end} octets follow the value")
    return value


def encode(value: Value) -> bytes:
    """
    Return the octets of `value`.

    Raises: ValueError when a content does not fit its tag, which is our own mistake.
    """
    parts: list[bytes] = []
    waiting = [value]
    while waiting:
        current = waiting.pop()
        tag = current.tag
        if tag in (_ARRAY, _STRUCTURE):
            items = as_items(current)
            parts.append(bytes((tag,)) + write_length(len(items)))
            waiting.extend(reversed(items))
        elif tag == _COMPACT:
            parts.append(bytes((tag,)) + encode_compact(as_items(current)))
        else:
            parts.append(bytes((tag,)) + write_leaf(current))
    return b"".join(parts)
