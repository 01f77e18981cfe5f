"""
Association control: AARQ, AARE, RLRQ, RLRE in BER.

*Source*: IEC 62056-5-3 clause 7.2 (ACSE services) and Annex D (encoding examples).
"""

from dataclasses import dataclass
from enum import IntEnum

from protocols.dlms.leaf import write_length
from protocols.dlms.octets import Octets
from protocols.errors import PeerError

AARQ, AARE, RLRQ, RLRE = 0x60, 0x61, 0x62, 0x63
_CONTEXT_OID = bytes.fromhex("608574050801")
_MECHANISM_OID = bytes.fromhex("608574050802")
_USER_DATA = 0xBE
_MAX_FIELDS = 16
_MAX_APDU = 2048


class Mechanism(IntEnum):
    """Authentication mechanism; ours are none, LLS and HLS with GMAC."""

    NONE = 0
    LLS = 1
    HLS_MANUFACTURER = 2
    HLS_MD5 = 3
    HLS_SHA1 = 4
    HLS_GMAC = 5
    HLS_SHA256 = 6
    HLS_ECDSA = 7


class Context(IntEnum):
    """Application context: logical names, plain or ciphered."""

    LN_PLAIN = 1
    LN_CIPHERED = 3


class Result(IntEnum):
    """What came of the association."""

    ACCEPTED = 0
    REJECTED_PERMANENT = 1
    REJECTED_TRANSIENT = 2


class Diagnostic(IntEnum):
    """Why; the ACSE service user's part that matters here."""

    NONE = 0
    NO_REASON = 1
    CONTEXT_UNSUPPORTED = 2
    MECHANISM_UNRECOGNISED = 11
    MECHANISM_REQUIRED = 12
    AUTHENTICATION_FAILURE = 13
    AUTHENTICATION_REQUIRED = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class Aarq:
    """A client asks for an association; `authentication` is password or challenge."""

    context: int
    mechanism: int = Mechanism.NONE
    title: bytes = b""
    authentication: bytes = b""
    initiate: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aare:
    """The server's answer; `authentication` is its challenge."""

    context: int
    result: int
    diagnostic: int
    mechanism: int = Mechanism.NONE
    title: bytes = b""
    authentication: bytes = b""
    initiate: bytes = b""


def _tlv(tag: int, octets: bytes) -> bytes:
    return bytes((tag,)) + write_length(len(octets)) + octets


def _name(tag: int, oid: bytes, number: int) -> bytes:
    return _tlv(tag, _tlv(0x06, oid + bytes((number,))))


def encode_aarq(aarq: Aarq) -> bytes:
    """Return the octets of a request."""
    fields = [_name(0xA1, _CONTEXT_OID, aarq.context)]
    if aarq.title:
        fields.append(_tlv(0xA6, _tlv(0x04, aarq.title)))
    if aarq.mechanism != Mechanism.NONE:
        fields += [
            _tlv(0x8A, b"\x07\x80"),
            _tlv(0x8B, _MECHANISM_OID + bytes((aarq.mechanism,))),
            _tlv(0xAC, _tlv(0x80, aarq.authentication)),
        ]
    fields.append(_tlv(_USER_DATA, _tlv(0x04, aarq.initiate)))
    return _tlv(AARQ, b"".join(fields))


def encode_aare(aare: Aare) -> bytes:
    """Return the octets of an answer."""
    fields = [
        _name(0xA1, _CONTEXT_OID, aare.context),
        _tlv(0xA2, _tlv(0x02, bytes((aare.result,)))),
        _tlv(0xA3, _tlv(0xA1, _tlv(0x02, bytes((aare.diagnostic,))))),
    ]
    if aare.title:
        fields.append(_tlv(0xA4, _tlv(0x04, aare.title)))
    if aare.mechanism != Mechanism.NONE:
        fields += [
            _tlv(0x88, b"\x07\x80"),
            _tlv(0x89, _MECHANISM_OID + bytes((aare.mechanism,))),
            _tlv(0xAA, _tlv(0x80, aare.authentication)),
        ]
    if aare.initiate:
        fields.append(_tlv(_USER_DATA, _tlv(0x04, aare.initiate)))
    return _tlv(AARE, b"".join(fields))


def encode_release(tag: int) -> bytes:
    """Return RLRQ or RLRE with the reason "normal"."""
    return _tlv(tag, b"\x80\x01\x00")


def _fields(octets: bytes, tag: int) -> dict[int, bytes]:
    """Return field tag -> contents of one ACSE APDU. Each field may stand once."""
    if len(octets) > _MAX_APDU:
        raise PeerError("dlms.acse", f"an ACSE APDU of {len(octets)} octets")
    outer = Octets(octets)
    outer.choice(tag)
    reader = Octets(outer.string())
    outer.end()
    fields: dict[int, bytes] = {}
    while reader.offset < len(reader.octets):
        field = reader.number(1)
        if field in fields or len(fields) >= _MAX_FIELDS:
            raise PeerError("dlms.acse", f"field {field:#04x} stands twice or fields are too many")
        fields[field] = reader.string()
    return fields


def _inner(fields: dict[int, bytes], field: int, *tags: int) -> bytes:
    """Return what stands inside `tags` of an optional field; empty when it is absent."""
    octets = fields.get(field)
    if octets is None:
        return b""
    for tag in tags:
        reader = Octets(octets)
        reader.choice(tag)
        octets = reader.string()
        reader.end()
    return octets


def _last_of(oid: bytes, base: bytes, what: str) -> int:
    if len(oid) != len(base) + 1 or not oid.startswith(base):
        raise PeerError("dlms.acse", f"{what} {oid.hex() or 'missing'} is not of DLMS/COSEM")
    return oid[-1]


def _mechanism(oid: bytes | None) -> int:
    return Mechanism.NONE if oid is None else _last_of(oid, _MECHANISM_OID, "mechanism")


def decode_aarq(octets: bytes) -> Aarq:
    """Return a request. Raises: PeerError `dlms.acse`, `dlms.choice`, `dlms.truncated`."""
    fields = _fields(octets, AARQ)
    return Aarq(
        context=_last_of(_inner(fields, 0xA1, 0x06), _CONTEXT_OID, "context"),
        mechanism=_mechanism(fields.get(0x8B)),
        title=_inner(fields, 0xA6, 0x04),
        authentication=_inner(fields, 0xAC, 0x80),
        initiate=_inner(fields, _USER_DATA, 0x04),
    )


def _small(octets: bytes, what: str) -> int:
    if len(octets) != 1:
        raise PeerError("dlms.acse", f"{what} has one octet, not {len(octets)}")
    return octets[0]


def decode_aare(octets: bytes) -> Aare:
    """Return an answer. Raises: PeerError `dlms.acse`, `dlms.choice`, `dlms.truncated`."""
    fields = _fields(octets, AARE)
    source = fields.get(0xA3, b"")[:1]
    diagnostic_tag = 0xA2 if source == b"\xa2" else 0xA1
    return Aare(
        context=_last_of(_inner(fields, 0xA1, 0x06), _CONTEXT_OID, "context"),
        result=_small(_inner(fields, 0xA2, 0x02), "result"),
        diagnostic=_small(_inner(fields, 0xA3, diagnostic_tag, 0x02), "diagnostic"),
        mechanism=_mechanism(fields.get(0x89)),
        title=_inner(fields, 0xA4, 0x04),
        authentication=_inner(fields, 0xAA, 0x80),
        initiate=_inner(fields, _USER_DATA, 0x04),
    )


def decode_release(octets: bytes, tag: int) -> None:
    """Check RLRQ or RLRE; its reason and user information change nothing. Raises: PeerError."""
    _fields(octets, tag)
