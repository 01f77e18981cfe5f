"""
The envelope of a ciphered APDU: general-glo with the sender's title, or service glo without.

    DB  length title  length (SC IC text tag)      general-glo-ciphering
    C8..CF            length (SC IC text tag)      service specific; the title is known from AARE

*Source*: IEC 62056-5-3 clause 5.3.7.3 (ciphered APDUs), clause 7.3.
"""

from dataclasses import dataclass

from protocols.dlms.apdu import (
    ACTION_REQUEST,
    ACTION_RESPONSE,
    GET_REQUEST,
    GET_RESPONSE,
    SET_REQUEST,
    SET_RESPONSE,
)
from protocols.dlms.leaf import write_length
from protocols.dlms.octets import Octets
from protocols.dlms.security import TITLE_OCTETS
from protocols.errors import PeerError

GENERAL_GLO = 0xDB
GLO_INITIATE_REQUEST, GLO_INITIATE_RESPONSE = 0x21, 0x28
_GLO_OF = {
    GET_REQUEST: 0xC8,
    SET_REQUEST: 0xC9,
    ACTION_REQUEST: 0xCB,
    GET_RESPONSE: 0xCC,
    SET_RESPONSE: 0xCD,
    ACTION_RESPONSE: 0xCF,
}
GLO_REQUESTS = frozenset({0xC8, 0xC9, 0xCB})
GLO_RESPONSES = frozenset({0xCC, 0xCD, 0xCF})
OVERHEAD = 2 + TITLE_OCTETS + 5 + 17
"""Octets that ciphering adds to an APDU at most: tag, title, length, header, GCM tag."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ciphered:
    """A ciphered APDU; `title` is empty in the service specific form."""

    tag: int
    title: bytes
    sealed: bytes


def encode_ciphered(title: bytes, sealed: bytes) -> bytes:
    """Return a general-glo-ciphering APDU."""
    head = bytes((GENERAL_GLO, len(title)))
    return head + title + write_length(len(sealed)) + sealed


def encode_service_glo(service_tag: int, sealed: bytes) -> bytes:
    """Return the service specific form for the plain APDU's tag. Raises: KeyError on no such."""
    return bytes((_GLO_OF[service_tag],)) + write_length(len(sealed)) + sealed


def encode_glo_initiate(tag: int, sealed: bytes) -> bytes:
    """Return a ciphered InitiateRequest or InitiateResponse."""
    return bytes((tag,)) + write_length(len(sealed)) + sealed


def decode_ciphered(octets: bytes, *tags: int) -> Ciphered:
    """Return the envelope, one of `tags`. Raises: PeerError `dlms.title`, others as decoding."""
    reader = Octets(octets)
    tag = reader.choice(*tags)
    title = b""
    if tag == GENERAL_GLO:
        title = reader.string()
        if len(title) != TITLE_OCTETS:
            raise PeerError("dlms.title", f"a system title has 8 octets, not {len(title)}")
    sealed = reader.string()
    reader.end()
    return Ciphered(tag=tag, title=title, sealed=sealed)
