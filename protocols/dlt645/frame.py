"""
The frame: `68 A0..A5 68 C L DATA CS 16`, woken by up to four `FE`.

Address is BCD, low octet first; every octet of the data field is sent plus 33h; CS is the sum of
all octets from the first 68 on, modulo 256. *Source*: DL/T 645-2007, 5.2.
"""

from dataclasses import dataclass
from enum import IntEnum

from protocols.errors import PeerError

START = 0x68
END = 0x16
WAKE = 0xFE
SHIFT = 0x33
ADDRESS_OCTETS = 6
MAX_READ = 200
"""Longest data field of a read answer."""
MAX_WRITE = 50
"""Longest data field of a write."""

WILDCARD = "A" * 12
"""Whoever is alone on the line answers. *Source*: 5.2.2, AA in an address octet fits any."""
BROADCAST = "9" * 12
"""Everyone obeys, nobody answers. *Source*: 5.2.2, 999999999999."""

_HEAD = 10
_TAIL = 2
_DIGITS = frozenset("0123456789")
_MAX_WAITING = 4096


class Control(IntEnum):
    """What a frame asks for. *Source*: DL/T 645-2007, 7 and 8; D7 and D6 are in `answered`."""

    SECURITY = 0x03
    BROADCAST_TIME = 0x08
    READ = 0x11
    READ_NEXT = 0x12
    READ_ADDRESS = 0x13
    WRITE = 0x14
    WRITE_ADDRESS = 0x15
    FREEZE = 0x16
    SET_BAUD = 0x17
    CHANGE_PASSWORD = 0x18
    CLEAR_DEMAND = 0x19
    CLEAR_METER = 0x1A
    CLEAR_EVENTS = 0x1B
    RELAY = 0x1C
    TERMINAL_OUTPUT = 0x1D


ANSWER = 0x80
REFUSED = 0x40
MORE = 0x20
FUNCTION = 0x1F


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One frame, `content` without the 33h. *Shape*: `address` 12 digits, high first or AA."""

    address: str
    control: int
    content: bytes = b""

    @property
    def is_answer(self) -> bool:
        """Tell whether a meter sent it."""
        return bool(self.control & ANSWER)

    @property
    def is_refusal(self) -> bool:
        """Tell whether a meter says no in it; the data field then holds the error octets."""
        return self.is_answer and bool(self.control & REFUSED)

    @property
    def more_follows(self) -> bool:
        """Tell whether the rest must be asked for by `Control.READ_NEXT`."""
        return self.is_answer and bool(self.control & MORE)

    @property
    def function(self) -> int:
        """Return the function that is asked for or answered."""
        return self.control & FUNCTION


def encode_address(address: str) -> bytes:
    """
    Return the address octets, low first; a short address is padded with zeros.

    Raises: ValueError on anything but digits, or wildcard pairs `AA` in front.
    """
    padded = address.upper().rjust(2 * ADDRESS_OCTETS, "0")
    if not _is_address(padded):
        raise ValueError(f"a meter address is up to 12 digits, not {address!r:.40}")
    return bytes.fromhex(padded)[::-1]


def decode_address(octets: bytes) -> str:
    """Return the 12 digits (or wildcard pairs). Raises: PeerError `dlt645.address`."""
    text = octets[::-1].hex().upper()
    if not _is_address(text):
        raise PeerError("dlt645.address", f"no BCD address: {text[:24]}")
    return text


def encode_frame(frame: Frame, *, wake: int = 0) -> bytes:
    """Return the octets on the line, after `wake` wake-up octets. Raises: ValueError."""
    if len(frame.content) > 0xFF:
        raise ValueError(f"{len(frame.content)} octets do not fit one data field")
    body = (
        bytes((START,))
        + encode_address(frame.address)
        + bytes((START, frame.control & 0xFF, len(frame.content)))
        + bytes((octet + SHIFT) & 0xFF for octet in frame.content)
    )
    return bytes((WAKE,)) * wake + body + bytes((sum(body) & 0xFF, END))


def decode_frame(octets: bytes) -> Frame:
    """
    Return the one frame that `octets` are; leading wake-up octets are skipped.

    Raises: PeerError `dlt645.short`, `.start`, `.length`, `.checksum`, `.end`, `.address`.
    """
    body = octets.lstrip(bytes((WAKE,)))
    if len(body) < _HEAD + _TAIL:
        raise PeerError("dlt645.short", f"{len(body)} octets are no frame")
    if body[0] != START or body[7] != START:
        raise PeerError("dlt645.start", f"68 expected, {body[0]:02X} and {body[7]:02X} found")
    length = body[9]
    if len(body) != _HEAD + length + _TAIL:
        raise PeerError("dlt645.length", f"{len(body)} octets for a data field of {length}")
    if body[-1] != END:
        raise PeerError("dlt645.end", f"16 expected, {body[-1]:02X} found")
    if sum(body[:-_TAIL]) & 0xFF != body[-_TAIL]:
        raise PeerError("dlt645.checksum", f"sum {sum(body[:-2]) & 0xFF:02X}, told {body[-2]:02X}")
    return Frame(
        address=decode_address(body[1:7]),
        control=body[8],
        content=bytes((octet - SHIFT) & 0xFF for octet in body[_HEAD:-_TAIL]),
    )


class FrameReader:
    """
    Finds frames in a stream, whatever stands between them.

    A start that leads to no good frame is skipped by one octet and the search goes on, so noise,
    a lost octet or half a frame before the answer cost that answer at most.
    """

    def __init__(self) -> None:
        """Begin with an empty stream."""
        self._waiting = bytearray()
        self.skipped = 0
        """Octets that belonged to no frame; wake-up octets are not counted."""

    @property
    def pending(self) -> bytes:
        """Return the octets that wait for the rest of their frame."""
        return bytes(self._waiting)

    def feed(self, octets: bytes) -> list[Frame]:
        """Take what came and return the frames that are whole now, in order. Never raises."""
        self._waiting += octets
        found: list[Frame] = []
        view = self._waiting
        at = 0
        while at < len(view):
            if view[at] != START:
                self.skipped += view[at] != WAKE
                at += 1
                continue
            size = self._size(at)
            if size is None:
                break
            frame = _whole(bytes(view[at : at + size])) if size else None
            if frame is None:
                self.skipped += 1
                at += 1
            else:
                found.append(frame)
                at += size
        del view[:at]
        if len(view) > _MAX_WAITING:
            self.skipped += len(view)
            view.clear()
        return found

    def clear(self) -> None:
        """Forget what waits, as after a time-out."""
        self._waiting.clear()

    def _size(self, at: int) -> int | None:
        """Return the length of the frame starting at `at`, 0 when it is none, None: wait."""
        view = self._waiting
        if len(view) > at + 7 and view[at + 7] != START:
            return 0
        if len(view) < at + _HEAD:
            return None
        size = _HEAD + view[at + 9] + _TAIL
        return size if len(view) >= at + size else None


def _is_address(text: str) -> bool:
    # wildcard octets may only stand in front: they shorten the address
    digits = text.lstrip("A")
    return len(text) == 2 * ADDRESS_OCTETS and len(digits) % 2 == 0 and set(digits) <= _DIGITS


def _whole(octets: bytes) -> Frame | None:
    try:
        return decode_frame(octets)
    except PeerError:
        return None
