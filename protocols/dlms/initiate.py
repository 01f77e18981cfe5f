"""
xDLMS initiate: what both sides can do, and how long an APDU may be.

*Source*: IEC 62056-5-3 clause 7.3 (conformance block, InitiateRequest, InitiateResponse).
"""

from dataclasses import dataclass
from enum import IntFlag

from protocols.dlms.octets import Octets
from protocols.errors import PeerError

VERSION = 6
REQUEST, RESPONSE, SERVICE_ERROR = 0x01, 0x08, 0x0E
_CONFORMANCE = b"\x5f\x1f\x04\x00"
_LN_VAA_NAME = 0x0007
MIN_PDU = 64


class Conformance(IntFlag):
    """The conformance block; bit 0 of the standard is the most significant of 24."""

    GENERAL_PROTECTION = 1 << 22
    GENERAL_BLOCK_TRANSFER = 1 << 21
    PRIORITY = 1 << 14
    BLOCK_GET = 1 << 12
    BLOCK_SET = 1 << 11
    BLOCK_ACTION = 1 << 10
    MULTIPLE_REFERENCES = 1 << 9
    DATA_NOTIFICATION = 1 << 7
    ACCESS = 1 << 6
    GET = 1 << 4
    SET = 1 << 3
    SELECTIVE_ACCESS = 1 << 2
    EVENT_NOTIFICATION = 1 << 1
    ACTION = 1 << 0


OURS = (
    Conformance.GENERAL_PROTECTION
    | Conformance.PRIORITY
    | Conformance.BLOCK_GET
    | Conformance.BLOCK_SET
    | Conformance.BLOCK_ACTION
    | Conformance.MULTIPLE_REFERENCES
    | Conformance.GET
    | Conformance.SET
    | Conformance.SELECTIVE_ACCESS
    | Conformance.ACTION
)
"""What this code does of its own accord."""
OFFERED = OURS | Conformance.GENERAL_BLOCK_TRANSFER
"""What a client offers: a server may send anything in general blocks. Nothing more is offered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InitiateRequest:
    """What the client proposes. *Units*: `max_pdu` in octets, 0 for no limit."""

    conformance: Conformance
    max_pdu: int
    dedicated_key: bytes = b""

    def encode(self) -> bytes:
        """Return the octets."""
        key = b"\x00"
        if self.dedicated_key:
            key = b"\x01" + bytes((len(self.dedicated_key),)) + self.dedicated_key
        return (
            bytes((REQUEST,))
            + key
            + b"\x00\x00"
            + bytes((VERSION,))
            + _CONFORMANCE
            + int(self.conformance).to_bytes(3, "big")
            + self.max_pdu.to_bytes(2, "big")
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class InitiateResponse:
    """What the server grants."""

    conformance: Conformance
    max_pdu: int

    def encode(self) -> bytes:
        """Return the octets."""
        return (
            bytes((RESPONSE, 0, VERSION))
            + _CONFORMANCE
            + int(self.conformance).to_bytes(3, "big")
            + self.max_pdu.to_bytes(2, "big")
            + _LN_VAA_NAME.to_bytes(2, "big")
        )


def _read_tail(reader: Octets) -> tuple[Conformance, int]:
    version = reader.number(1)
    if version != VERSION:
        raise PeerError("dlms.version", f"DLMS version {version}, we speak {VERSION}")
    head = reader.take(2)
    # Old meters leave out the 1F of the two-octet application tag. Source: IEC 62056-5-3, 7.3.
    rest = reader.take(2) if head == _CONFORMANCE[:2] else head[1:] + reader.take(1)
    if head[:1] != _CONFORMANCE[:1] or rest != _CONFORMANCE[2:]:
        raise PeerError("dlms.conformance", "no conformance block where it must stand")
    known = reader.number(3) & sum(Conformance)
    return Conformance(known), reader.number(2)


def decode_request(octets: bytes) -> InitiateRequest:
    """Return the proposal. Raises: PeerError on any octets that are none."""
    reader = Octets(octets)
    reader.choice(REQUEST)
    dedicated_key = reader.string() if reader.choice(0, 1) else b""
    if reader.choice(0, 1):
        reader.take(1)  # response-allowed, always true for a client that waits for its answer
    if reader.choice(0, 1):
        reader.take(1)  # quality of service is not used by any medium
    conformance, max_pdu = _read_tail(reader)
    reader.end()
    return InitiateRequest(conformance=conformance, max_pdu=max_pdu, dedicated_key=dedicated_key)


def decode_response(octets: bytes) -> InitiateResponse:
    """
    Return what was granted.

    Raises: PeerError `dlms.initiate_refused` for a confirmedServiceError, others as decoding.
    """
    reader = Octets(octets)
    if reader.choice(RESPONSE, SERVICE_ERROR) == SERVICE_ERROR:
        code = reader.take(3)
        raise PeerError("dlms.initiate_refused", "initiate refused", evidence={"code": code.hex()})
    if reader.choice(0, 1):
        reader.take(1)
    conformance, max_pdu = _read_tail(reader)
    if reader.number(2) != _LN_VAA_NAME:
        raise PeerError("dlms.conformance", "the server does not refer by logical names")
    reader.end()
    if 0 < max_pdu < MIN_PDU:
        raise PeerError("dlms.conformance", f"a server that takes {max_pdu} octets cannot work")
    return InitiateResponse(conformance=conformance, max_pdu=max_pdu)
