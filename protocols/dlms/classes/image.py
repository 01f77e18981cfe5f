"""
Image transfer, class 18: firmware in numbered blocks, verified by the meter, activated on order.

The meter keeps which blocks it has, so a transfer that breaks goes on where it stood. It does not
tell whose blocks they are before it has verified them, so what comes out is compared in the end.
*Source*: IEC 62056-6-2 class_id 18; Green Book, image transfer process steps 1 to 7.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from protocols.dlms.obis import Obis, obis
from protocols.dlms.reference import Attribute
from protocols.dlms.values import (
    BitString,
    Tag,
    Value,
    as_integer,
    as_items,
    as_octets,
    double_long_unsigned,
    integer,
    octet_string,
    structure,
)
from protocols.errors import PeerError

CLASS_ID = 18
IMAGE: Obis = obis("0-0:44.0.0")
BLOCK_SIZE, BLOCKS, FIRST_MISSING, ENABLED, STATUS, TO_ACTIVATE = 2, 3, 4, 5, 6, 7
INITIATE, TRANSFER, VERIFY, ACTIVATE = 1, 2, 3, 4
MAX_BLOCKS = 1_000_000
_MAX_BLOCK_SIZE = 32_768


class ImageStatus(IntEnum):
    """Attribute 6."""

    NOT_INITIATED = 0
    INITIATED = 1
    VERIFYING = 2
    VERIFIED = 3
    VERIFY_FAILED = 4
    ACTIVATING = 5
    ACTIVATED = 6
    ACTIVATION_FAILED = 7


def attribute(index: int) -> Attribute:
    """Return an attribute or a method of the one image transfer object."""
    return Attribute(class_id=CLASS_ID, name=IMAGE, index=index)


def initiate_parameter(identifier: bytes, size: int) -> Value:
    """Return the parameter of method 1."""
    return structure(octet_string(identifier), double_long_unsigned(size))


def decode_initiate(value: Value) -> tuple[bytes, int]:
    """Return identifier and size. Raises: PeerError."""
    identifier, size = as_items(value, count=2)
    return as_octets(identifier), as_integer(size)


def block_parameter(number: int, octets: bytes) -> Value:
    """Return the parameter of method 2; blocks count from 0."""
    return structure(double_long_unsigned(number), octet_string(octets))


def decode_block(value: Value) -> tuple[int, bytes]:
    """Return number and octets of a block. Raises: PeerError."""
    number, octets = as_items(value, count=2)
    return as_integer(number), as_octets(octets)


NOTHING = integer(0)
"""The parameter of verify and activate."""


def block_size(value: Value) -> int:
    """Return how many octets a block has. Raises: PeerError `dlms.image`."""
    size = as_integer(value)
    if not 1 <= size <= _MAX_BLOCK_SIZE:
        raise PeerError("dlms.image", f"an image block of {size} octets")
    return size


def block_count(size: int, block: int) -> int:
    """Return in how many blocks an image goes. Raises: ValueError beyond any image."""
    count = -(-size // block)
    if not 1 <= count <= MAX_BLOCKS:
        raise ValueError(f"an image of {size} octets does not go in blocks of {block}")
    return count


def status_of(value: Value) -> ImageStatus:
    """Return attribute 6. Raises: PeerError `dlms.image`."""
    number = as_integer(value)
    if number not in tuple(ImageStatus):
        raise PeerError("dlms.image", f"an image transfer status of {number}")
    return ImageStatus(number)


def missing_blocks(value: Value, count: int) -> list[int]:
    """
    Return which of `count` blocks the meter lacks; a map of another length lacks them all.

    Raises: PeerError `dlms.type`.
    """
    bits = value.content
    if value.tag != Tag.BIT_STRING or not isinstance(bits, BitString):
        raise PeerError("dlms.type", "the map of image blocks is no bit string")
    if bits.bits != count:
        return list(range(count))
    return [at for at in range(count) if not bits.octets[at // 8] >> (7 - at % 8) & 1]


def encode_blocks(there: Sequence[bool]) -> Value:
    """Return attribute 3."""
    packed = bytearray((len(there) + 7) // 8)
    for at, is_there in enumerate(there):
        if is_there:
            packed[at // 8] |= 0x80 >> at % 8
    return Value(int(Tag.BIT_STRING), BitString(len(there), bytes(packed)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageToActivate:
    """One entry of attribute 7: what the meter has verified."""

    size: int
    identifier: bytes
    signature: bytes = b""

    def encode(self) -> Value:
        """Return the structure."""
        return structure(
            double_long_unsigned(self.size),
            octet_string(self.identifier),
            octet_string(self.signature),
        )


def decode_to_activate(value: Value) -> tuple[ImageToActivate, ...]:
    """Return attribute 7. Raises: PeerError `dlms.type`."""
    images: list[ImageToActivate] = []
    for entry in as_items(value):
        size, identifier, signature = as_items(entry, count=3)
        images.append(
            ImageToActivate(
                size=as_integer(size),
                identifier=as_octets(identifier),
                signature=as_octets(signature),
            )
        )
    return tuple(images)
