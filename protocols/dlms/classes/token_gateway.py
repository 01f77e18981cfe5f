"""
Token gateway, class 115: a credit token goes in as octets that nobody between reads.

What the meter thinks of a token stands in attribute 6, told apart by what failed: its form, its
proof, its validity (used before, too old, not for this meter), or its execution. Attributes 2 and
3 keep the last token and when it came, which settles what became of one whose answer was lost.
*Source*: IEC 62056-6-2 class_id 115 (token_gateway), class_id 112 attribute 2 (credit amount).
"""

from dataclasses import dataclass
from enum import IntEnum

from protocols.dlms.obis import Obis, obis
from protocols.dlms.reference import Attribute
from protocols.dlms.values import (
    BitString,
    Tag,
    Value,
    array,
    as_integer,
    as_items,
    as_octets,
    enum,
    octet_string,
    structure,
)
from protocols.errors import PeerError

CLASS_ID = 115
CREDIT_CLASS = 112
GATEWAY: Obis = obis("0-0:19.40.0")
CREDIT: Obis = obis("0-0:19.10.0")
TOKEN, TOKEN_TIME, DESCRIPTION, DELIVERY, STATUS = 2, 3, 4, 5, 6
ENTER = 1
CREDIT_AMOUNT = Attribute(class_id=CREDIT_CLASS, name=CREDIT, index=2)
MAX_TOKEN = 256
_MAX_DESCRIPTIONS = 64
_NO_BITS = BitString(0, b"")


class TokenCode(IntEnum):
    """How far a token got; 4 to 7 say why it went no further."""

    FORMAT_OK = 0
    AUTHENTICATION_OK = 1
    VALIDATION_OK = 2
    EXECUTED = 3
    FORMAT_FAILURE = 4
    AUTHENTICATION_FAILURE = 5
    VALIDATION_FAILURE = 6
    EXECUTION_FAILURE = 7
    RECEIVED = 8

    @property
    def refused(self) -> bool:
        """Tell whether the meter has surely not taken the token."""
        return TokenCode.FORMAT_FAILURE <= self <= TokenCode.EXECUTION_FAILURE

    @property
    def pending(self) -> bool:
        """Tell whether the meter is not done with the token."""
        return self is not TokenCode.EXECUTED and not self.refused


class Delivery(IntEnum):
    """Attribute 5: how the last token came."""

    REMOTE = 0
    LOCAL = 1
    MANUAL = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenStatus:
    """Attribute 6; what the bits mean is the token's own affair."""

    code: TokenCode
    bits: BitString = _NO_BITS

    def encode(self) -> Value:
        """Return the structure."""
        return structure(enum(int(self.code)), Value(int(Tag.BIT_STRING), self.bits))


def attribute(index: int) -> Attribute:
    """Return an attribute or a method of the gateway."""
    return Attribute(class_id=CLASS_ID, name=GATEWAY, index=index)


def enter_parameter(token: bytes) -> Value:
    """Return the parameter of method 1. Raises: ValueError on a token of no or too many octets."""
    if not 1 <= len(token) <= MAX_TOKEN:
        raise ValueError(f"a token has 1 to {MAX_TOKEN} octets, not {len(token)}")
    return octet_string(token)


def decode_status(value: Value) -> TokenStatus:
    """Return attribute 6. Raises: PeerError `dlms.type`, `dlms.token`."""
    code, bits = as_items(value, count=2)
    number = as_integer(code)
    if number not in tuple(TokenCode):
        raise PeerError("dlms.token", f"a token status of {number}")
    if bits.tag != Tag.BIT_STRING or not isinstance(bits.content, BitString):
        raise PeerError("dlms.type", "the bits of a token status are no bit string")
    return TokenStatus(code=TokenCode(number), bits=bits.content)


def decode_descriptions(value: Value) -> tuple[bytes, ...]:
    """Return attribute 4. Raises: PeerError `dlms.type`, `dlms.token`."""
    elements = as_items(value)
    if len(elements) > _MAX_DESCRIPTIONS:
        raise PeerError("dlms.token", f"{len(elements)} descriptions of one token")
    return tuple(as_octets(element) for element in elements)


def encode_descriptions(elements: tuple[bytes, ...]) -> Value:
    """Return attribute 4."""
    return array(octet_string(element) for element in elements)
