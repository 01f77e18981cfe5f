"""
What both ends of an HDLC link say: control octets, negotiated sizes, the LLC header.

Window is 1 in both directions: an answer to every frame, so what is lost is known at once.
*Source*: IEC 62056-46 clauses 6.4.3 (commands and responses), 6.4.4.4.3.2 (parameter
negotiation); IEC 62056-46 clause 5 (LLC).
"""

from dataclasses import dataclass
from enum import IntEnum

from protocols.dlms.hdlc import DEFAULT_SEGMENT, MAX_SEGMENT
from protocols.errors import PeerError

FINAL = 0x10
"""Poll in a command, final in an answer."""
LLC_REQUEST = b"\xe6\xe6\x00"
LLC_RESPONSE = b"\xe6\xe7\x00"
MAX_APDU = 65_535
MIN_SEGMENT = 16
_GROUP = b"\x81\x80"
_SEND_SIZE, _RECEIVE_SIZE, _SEND_WINDOW, _RECEIVE_WINDOW = 5, 6, 7, 8
_PARAMETERS = (_SEND_SIZE, _RECEIVE_SIZE, _SEND_WINDOW, _RECEIVE_WINDOW)


class Unnumbered(IntEnum):
    """Control octets that carry no number, the poll or final bit set."""

    SNRM = 0x93
    UA = 0x73
    DISC = 0x53
    DM = 0x1F
    FRMR = 0x97
    UI = 0x13


def information(*, sent: int, expected: int) -> int:
    """Return the control octet of an I frame numbered `sent` that acknowledges below `expected`."""
    return expected << 5 | FINAL | sent << 1


def receive_ready(expected: int) -> int:
    """Return the control octet of RR."""
    return expected << 5 | FINAL | 0x01


def is_information(control: int) -> bool:
    """Tell an I frame."""
    return not control & 0x01


def is_ready(control: int) -> bool:
    """Tell RR."""
    return control & 0x0F == 0x01


def is_not_ready(control: int) -> bool:
    """Tell RNR."""
    return control & 0x0F == 0x05


def number_of(control: int) -> int:
    """Return N(S) of an I frame."""
    return control >> 1 & 7


def expected_of(control: int) -> int:
    """Return N(R) of an I, RR or RNR frame."""
    return control >> 5


def after(number: int) -> int:
    """Return the number that follows, modulo 8."""
    return (number + 1) & 7


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkLimits:
    """Most octets of one segment, as the sender of the octets sees them. Window is 1."""

    send: int = DEFAULT_SEGMENT
    receive: int = DEFAULT_SEGMENT

    def encode(self) -> bytes:
        """Return the information field of SNRM or UA."""
        body = b"".join(
            (
                _size(_SEND_SIZE, self.send),
                _size(_RECEIVE_SIZE, self.receive),
                bytes((_SEND_WINDOW, 4, 0, 0, 0, 1, _RECEIVE_WINDOW, 4, 0, 0, 0, 1)),
            )
        )
        return _GROUP + bytes((len(body),)) + body

    def with_peer(self, peer: "LinkLimits") -> "LinkLimits":
        """Return what holds between us: each direction as small as either end wants it."""
        return LinkLimits(send=min(self.send, peer.receive), receive=min(self.receive, peer.send))


def decode_limits(octets: bytes) -> LinkLimits:
    """
    Return what the other end offers, in its own words; nothing said means 128.

    Raises: PeerError `hdlc.negotiation`.
    """
    if not octets:
        return LinkLimits()
    if octets[:2] != _GROUP or len(octets) < 3 or octets[2] != len(octets) - 3:
        raise _unreadable(octets)
    found = {_SEND_SIZE: DEFAULT_SEGMENT, _RECEIVE_SIZE: DEFAULT_SEGMENT}
    at = 3
    while at < len(octets):
        if at + 2 > len(octets):
            raise _unreadable(octets)
        name, size = octets[at], octets[at + 1]
        value = octets[at + 2 : at + 2 + size]
        if len(value) != size or not 1 <= size <= 4 or name not in _PARAMETERS:
            raise _unreadable(octets)
        found[name] = int.from_bytes(value, "big")
        at += 2 + size
    sizes = [min(found[name], MAX_SEGMENT) for name in (_SEND_SIZE, _RECEIVE_SIZE)]
    if min(sizes) < MIN_SEGMENT:
        raise PeerError("hdlc.negotiation", f"segments of {min(sizes)} octets are of no use")
    return LinkLimits(send=sizes[0], receive=sizes[1])


def segments(text: bytes, size: int) -> list[bytes]:
    """Return `text` cut into pieces of at most `size` octets."""
    return [text[at : at + size] for at in range(0, len(text), size)]


def _size(name: int, octets: int) -> bytes:
    return bytes((name, 1, octets)) if octets <= 0xFF else bytes((name, 2)) + octets.to_bytes(2)


def _unreadable(octets: bytes) -> PeerError:
    return PeerError(
        "hdlc.negotiation", "parameters cannot be read", evidence={"octets": octets[:32].hex()}
    )
