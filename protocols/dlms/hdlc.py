"""
HDLC frames: addresses, control octets, check sequences, and the cutting of a stream into frames.

    7E | A0 or A8 + length (11 bits) | destination | source | control | HCS | information | FCS | 7E

The end of a frame is found by its length and never by searching 7E, which may stand in any check
sequence and any text. Only the *start* of the first frame after noise is searched for; the header
check then tells at once whether a frame begins there, so a spoilt length waits for nobody.
*Source*: IEC 62056-46 clauses 6.4 (frame format type 3, addressing); ISO/IEC 13239 annex A (FCS).
"""

import binascii
from dataclasses import dataclass

from protocols.errors import PeerError

FLAG = 0x7E
MAX_FRAME = 0x7FF
"""Most octets between the flags: the length has 11 bits."""
MAX_SEGMENT = 2030
DEFAULT_SEGMENT = 128
_FORMAT, _FORMAT_MASK, _SEGMENTED = 0xA000, 0xF000, 0x0800
_CHECK = 2
_MIRROR = bytes(int(f"{octet:08b}"[::-1], 2) for octet in range(256))
_ADDRESS_OCTETS = (1, 2, 4)
_LONGEST_HEADER = 2 + 4 + 4 + 1 + _CHECK


def checksum(octets: bytes) -> bytes:
    """Return the check sequence (CRC-16/X-25), low octet first, as it stands on the line."""
    # the library has the same polynomial, most significant bit first: mirror in, mirror out
    crc = binascii.crc_hqx(octets.translate(_MIRROR), 0xFFFF) ^ 0xFFFF
    return crc.to_bytes(2, "big").translate(_MIRROR)


@dataclass(frozen=True, slots=True, kw_only=True)
class HdlcAddress:
    """
    A station's address: `logical` device and, where the form has room, `physical` device.

    `octets` is the length on the line: 1 for clients, 1, 2 or 4 for servers.
    """

    logical: int
    physical: int | None = None
    octets: int = 1

    def __post_init__(self) -> None:
        """Refuse what does not fit its form."""
        if self.octets not in _ADDRESS_OCTETS:
            raise ValueError(f"an HDLC address has 1, 2 or 4 octets, not {self.octets}")
        if (self.physical is None) != (self.octets == 1):
            raise ValueError("a physical address stands in the forms of 2 and 4 octets alone")
        top = 0x3FFF if self.octets == 4 else 0x7F
        if not 0 <= self.logical <= top or not 0 <= (self.physical or 0) <= top:
            raise ValueError(f"an HDLC address of {self.octets} octets holds 0..{top}")

    @classmethod
    def of_server(
        cls, logical: int, physical: int | None = None, *, octets: int | None = None
    ) -> "HdlcAddress":
        """Return a server's address in the shortest form that holds it, or the form asked for."""
        if octets is None:
            wide = max(logical, physical or 0) > 0x7F
            octets = 1 if physical is None and not wide else 4 if wide else 2
        if octets > 1 and physical is None:
            raise ValueError("an address of 2 or 4 octets needs the physical device; 16 is usual")
        return cls(logical=logical, physical=physical, octets=octets)

    def encode(self) -> bytes:
        """Return the octets: seven bits each, the lowest bit set in the last alone."""
        if self.physical is None:
            return bytes((self.logical << 1 | 1,))
        if self.octets == 2:
            return bytes((self.logical << 1, self.physical << 1 | 1))
        upper = (self.logical >> 7 << 1, (self.logical & 0x7F) << 1)
        lower = (self.physical >> 7 << 1, (self.physical & 0x7F) << 1 | 1)
        return bytes(upper + lower)


def decode_address(octets: bytes) -> HdlcAddress:
    """Return the address in exactly these octets. Raises: PeerError `hdlc.address`."""
    if len(octets) not in _ADDRESS_OCTETS or _address_end(octets, 0) != len(octets):
        raise PeerError("hdlc.address", "not an address", evidence={"octets": octets[:8].hex()})
    sevens = [octet >> 1 for octet in octets]
    if len(octets) == 4:
        sevens = [sevens[0] << 7 | sevens[1], sevens[2] << 7 | sevens[3]]
    return HdlcAddress(
        logical=sevens[0],
        physical=sevens[1] if len(sevens) > 1 else None,
        octets=len(octets),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One frame; addresses as their octets, `text` is the information field."""

    destination: bytes
    source: bytes
    control: int
    text: bytes = b""
    segmented: bool = False
    """More segments of the same APDU follow."""

    def encode(self) -> bytes:
        """Return the octets with both flags. Raises: ValueError when the text is too long."""
        header = self.destination + self.source + bytes((self.control,))
        length = 2 + len(header) + _CHECK + (len(self.text) + _CHECK if self.text else 0)
        if length > MAX_FRAME:
            raise ValueError(f"a frame of {length} octets; {MAX_FRAME} fit")
        form = _FORMAT | (_SEGMENTED if self.segmented else 0) | length
        body = form.to_bytes(2, "big") + header
        body += checksum(body)
        if self.text:
            body += self.text
            body += checksum(body)
        return b"\x7e" + body + b"\x7e"


class Deframer:
    """
    Cuts a stream into frames; total: noise and spoilt frames are counted in `damaged`, not raised.

    A spoilt frame is not an error of the peer on a line, where the answer to it is silence and the
    other side's retransmission.
    """

    def __init__(self) -> None:
        """Begin with nothing received."""
        self._buffer = bytearray()
        self.damaged = 0

    def reset(self) -> None:
        """Forget a frame that has begun; the rest of it will not come."""
        self._buffer.clear()

    def feed(self, octets: bytes) -> list[Frame]:
        """Take received octets, return the frames completed by them, in order."""
        buffer = self._buffer
        buffer += octets
        frames: list[Frame] = []
        at = buffer.find(FLAG)
        while 0 <= at < len(buffer) - 1:
            step = _cut(buffer, at)
            if step is None:
                break
            frame, following = step
            if frame is not None:
                frames.append(frame)
            elif buffer[following] != FLAG:
                self.damaged += 1
            at = buffer.find(FLAG, following)
        del buffer[: at if at >= 0 else len(buffer)]
        return frames


def _cut(buffer: bytearray, at: int) -> tuple[Frame | None, int] | None:
    """
    Return the frame that the flag at `at` opens, and where to go on looking for a flag.

    No frame: none begins here. None: not all of it has come yet.
    """
    form = int.from_bytes(buffer[at + 1 : at + 3], "big")
    if buffer[at + 1] & 0xF0 != _FORMAT >> 8:
        return None, at + 1
    header = bytes(buffer[at + 1 : at + 1 + _LONGEST_HEADER])
    destination_end = _address_end(header, 2)
    source_end = _address_end(header, destination_end) if destination_end else destination_end
    if source_end is None or destination_end is None:
        return None if len(header) < _LONGEST_HEADER else (None, at + 1)
    if destination_end == 0 or source_end == 0:
        return None, at + 1
    text_at = source_end + 1 + _CHECK
    if len(header) < text_at:
        return None
    if header[source_end + 1 : text_at] != checksum(header[: source_end + 1]):
        return None, at + 1
    length = form & MAX_FRAME
    if length != text_at and length < text_at + _CHECK + 1:
        return None, at + 1
    end = at + 1 + length
    if len(buffer) <= end:
        return None
    body = bytes(buffer[at + 1 : end])
    whole = length == text_at or body[-_CHECK:] == checksum(body[:-_CHECK])
    if buffer[end] != FLAG or not whole:
        return None, at + 1
    # the closing flag may open the next frame
    return Frame(
        destination=body[2:destination_end],
        source=body[destination_end:source_end],
        control=body[source_end],
        text=body[text_at:-_CHECK] if length > text_at else b"",
        segmented=bool(form & _SEGMENTED),
    ), end


def _address_end(octets: bytes, at: int) -> int | None:
    """Return where the address at `at` ends, None if that has not come, 0 if it is none."""
    for count in range(1, 5):
        if at + count > len(octets):
            return None
        if octets[at + count - 1] & 1:
            return at + count if count in _ADDRESS_OCTETS else 0
    return 0
