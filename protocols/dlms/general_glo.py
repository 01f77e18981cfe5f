"""
The envelope of a ciphered APDU: general-glo with the sender's title, or service glo without.

    DB  length title  length (SC IC text tag)      general-glo-ciphering
    DC  length title  length (SC IC text tag)      general-ded-ciphering
    C8..CF            length (SC IC text tag)      service specific; the title is known from AARE
    D0..D7            length (SC IC text tag)      the same under the dedicated key

*Source*: IEC 62056-5-3 clause 5.3.7.3 (ciphered APDUs), clause 7.3.
"""

from dataclasses import dataclass
from enum import StrEnum

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

GENERAL_GLO, GENERAL_DED = 0xDB, 0xDC
GLO_INITIATE_REQUEST, GLO_INITIATE_RESPONSE = 0x21, 0x28
EVENT_NOTIFICATION = 0xC2
_GLO_OF = {
    GET_REQUEST: 0xC8,
    SET_REQUEST: 0xC9,
    EVENT_NOTIFICATION: 0xCA,
    ACTION_REQUEST: 0xCB,
    GET_RESPONSE: 0xCC,
    SET_RESPONSE: 0xCD,
    ACTION_RESPONSE: 0xCF,
}
_DED_ABOVE_GLO = 0x08
PLAIN_OF = {glo: plain for plain, glo in _GLO_OF.items()} | {
    glo + _DED_ABOVE_GLO: plain for plain, glo in _GLO_OF.items()
}
"""Service specific ciphered tag -> the tag of the service inside."""
GLO_REQUESTS = frozenset({0xC8, 0xC9, 0xCB})
GLO_RESPONSES = frozenset({0xCC, 0xCD, 0xCF})
DED_REQUESTS = frozenset({0xD0, 0xD1, 0xD3})
DED_RESPONSES = frozenset({0xD4, 0xD5, 0xD7})
OVERHEAD = 2 + TITLE_OCTETS + 5 + 17
"""Octets that ciphering adds to an APDU at most: tag, title, length, header, GCM tag."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ciphered:
    """A ciphered APDU; `title` is empty in the service specific form."""

    tag: int
    title: bytes
    sealed: bytes


class Form(StrEnum):
    """The envelopes that a request may travel in; answers come in the form of the request."""

    GENERAL_GLO = "general-glo"
    SERVICE_GLO = "service-glo"
    GENERAL_DED = "general-ded"
    SERVICE_DED = "service-ded"

    @property
    def dedicated(self) -> bool:
        """Tell whether the key is the association's own."""
        return self in (Form.GENERAL_DED, Form.SERVICE_DED)


def form_of(tag: int) -> Form:
    """Return the form of a ciphered tag. Raises: KeyError when it is none."""
    return _FORM_OF[tag]


_FORM_OF = (
    {GENERAL_GLO: Form.GENERAL_GLO, GENERAL_DED: Form.GENERAL_DED}
    | dict.fromkeys(GLO_REQUESTS | GLO_RESPONSES | {202}, Form.SERVICE_GLO)
    | dict.fromkeys(DED_REQUESTS | DED_RESPONSES | {210}, Form.SERVICE_DED)
)


def encode_ciphered(title: bytes, sealed: bytes, *, tag: int = GENERAL_GLO) -> bytes:
    """Return a general-glo-ciphering or general-ded-ciphering APDU."""
    head = bytes((tag, len(title)))
    return head + title + write_length(len(sealed)) + sealed


def encode_service_glo(service_tag: int, sealed: bytes, *, dedicated: bool = False) -> bytes:
    """Return the service specific form for the plain APDU's tag. Raises: KeyError on no such."""
    tag = _GLO_OF[service_tag] + (_DED_ABOVE_GLO if dedicated else 0)
    return bytes((tag,)) + write_length(len(sealed)) + sealed


def encode_glo_initiate(tag: int, sealed: bytes) -> bytes:
    """Return a ciphered InitiateRequest or InitiateResponse."""
    return bytes((tag,)) + write_length(len(sealed)) + sealed


def decode_ciphered(octets: bytes, *tags: int) -> Ciphered:
    """Return the envelope, one of `tags`. Raises: PeerError `dlms.title`, others as decoding."""
    reader = Octets(octets)
    tag = reader.choice(*tags)
    title = b""
    if tag in (GENERAL_GLO, GENERAL_DED):
        title = reader.string()
        if len(title) != TITLE_OCTETS:
            raise PeerError("dlms.title", f"a system title has 8 octets, not {len(title)}")
    sealed = reader.string()
    reader.end()
    return Ciphered(tag=tag, title=title, sealed=sealed)
