"""
Modbus RTU frames: CRC, requests, and the one answer among whatever else is on the line.

A serial answer carries no number that ties it to its request. What can be proven by its octets
is proven here: unit, function, byte count and CRC. What cannot (a late answer to another request
of the same shape) is kept off by the bus, which lets the line fall silent first.
*Source*: MODBUS over Serial Line V1.02 sections 2.5 and 6.2 (CRC); Application Protocol V1.1b3.
"""

import struct
from dataclasses import dataclass

from protocols.modbus.pdu import Frame
from protocols.modbus.plan import ReadRequest

REQUEST_OCTETS = 8
EXCEPTION_OCTETS = 5
LONGEST_FRAME = 256

_HEADER_AND_CRC = 5
_READS = (3, 4)
_ERROR_BIT = 0x80
_MOST_AT_ONCE = 1024
_TURN_ROUND = b"\x00\xff"
"""What a line driver leaves behind when it turns from sending to receiving."""


def _table() -> tuple[int, ...]:
    rows = []
    for octet in range(256):
        word = octet
        for _ in range(8):
            word = word >> 1 ^ 0xA001 if word & 1 else word >> 1
        rows.append(word)
    return tuple(rows)


_CRC = _table()


def crc16(octets: bytes | bytearray | memoryview) -> int:
    """Return the CRC of `octets`; it is 0 over a whole frame with its CRC, low octet first."""
    word = 0xFFFF
    for octet in octets:
        word = word >> 8 ^ _CRC[(word ^ octet) & 0xFF]
    return word


def framed(unit: int, pdu: bytes) -> bytes:
    """Return the frame of a PDU from or for `unit`."""
    body = bytes((unit,)) + pdu
    return body + crc16(body).to_bytes(2, "little")


@dataclass(frozen=True, slots=True, kw_only=True)
class RtuAnswer:
    """The registers that came, or the exception code in their place (0: none)."""

    words: tuple[int, ...] = ()
    exception: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RtuRead:
    """One read of one unit, as octets and as what its answer must look like."""

    unit: int
    request: ReadRequest

    @property
    def octets(self) -> bytes:
        """Return the request's frame."""
        asked = self.request
        return framed(self.unit, struct.pack(">BHH", asked.fc, asked.address, asked.count))

    @property
    def answer_octets(self) -> int:
        """Return the length of the answer's frame."""
        return _HEADER_AND_CRC + 2 * self.request.count

    def search(self) -> "AnswerSearch":
        """Return a fresh search for the answer."""
        return AnswerSearch(self)


class AnswerSearch:
    """
    Finds the answer to one request in a stream that may hold anything else as well.

    Every place is tried, so octets lost, added or spoilt before the answer do not cost it; a
    whole frame that is not ours (another unit, another shape, our own echo) is stepped over as a
    whole, so that nothing inside it is taken for the answer. Work per octet is bounded.
    """

    def __init__(self, read: RtuRead) -> None:
        """Begin with nothing heard."""
        self._unit = read.unit
        self._fc = read.request.fc
        self._count = read.request.count
        self._buffer = bytearray()
        self._spoilt: set[int] = set()
        self._first = 0
        self.skipped = 0
        """Octets before the answer that were none of it."""
        self.rest = b""
        """Octets that came in one piece with the answer, behind it."""

    def feed(self, octets: bytes) -> RtuAnswer | None:
        """Take octets as they came; return the answer as soon as it is whole."""
        self._buffer += octets[-_MOST_AT_ONCE:]
        place = 0
        while place < len(self._buffer):
            length = self._whole_frame(place)
            if length:
                answer = self._answer(place, length)
                if answer is not None:
                    self.skipped = self._first + place
                    self.rest = bytes(self._buffer[place + length :])
                    return answer
                self._forget(place + length)
                place = 0
                continue
            place += 1
        # what began a longest frame ago is whole by now, or none
        self._forget(len(self._buffer) - LONGEST_FRAME)
        return None

    def contradicts(self, octets: bytes) -> bool:
        """
        Tell whether octets that follow the answer make it doubtful.

        Turn-round octets and whole frames of other units do not; anything else may be the true
        answer, or its beginning, after a late one.
        """
        place = 0
        while place < len(octets):
            length = _foreign_frame(octets, place, self._unit)
            if not length and octets[place] not in _TURN_ROUND:
                return True
            place += length or 1
        return False

    def _whole_frame(self, place: int) -> int:
        """Return the length of the frame that begins at `place`, 0 when none does as yet."""
        for length in _lengths(self._buffer, place):
            mark = (self._first + place) << 9 | length
            if place + length > len(self._buffer) or mark in self._spoilt:
                continue
            if crc16(memoryview(self._buffer)[place : place + length]) == 0:
                return length
            self._spoilt.add(mark)
        return 0

    def _answer(self, place: int, length: int) -> RtuAnswer | None:
        unit, function, size = self._buffer[place : place + 3]
        if unit != self._unit:
            return None
        if function == self._fc | _ERROR_BIT and length == EXCEPTION_OCTETS:
            return RtuAnswer(exception=size) if size else None
        whole = function == self._fc and size == 2 * self._count
        if not whole or length != _HEADER_AND_CRC + size:
            return None
        return RtuAnswer(words=struct.unpack_from(f">{self._count}H", self._buffer, place + 3))

    def _forget(self, count: int) -> None:
        if count > 0:
            del self._buffer[:count]
            self._first += count
            self._spoilt = {mark for mark in self._spoilt if mark >> 9 >= self._first}


class RequestReader:
    """Cuts what a master sends into requests; octets that are none are stepped over."""

    def __init__(self) -> None:
        """Begin with nothing heard."""
        self._buffer = bytearray()

    def feed(self, octets: bytes) -> list[Frame]:
        """Take octets as they came and return the requests that are whole now."""
        self._buffer += octets[-_MOST_AT_ONCE:]
        found: list[Frame] = []
        place = 0
        while place + REQUEST_OCTETS <= len(self._buffer):
            window = bytes(self._buffer[place : place + REQUEST_OCTETS])
            if crc16(window) == 0:
                found.append(Frame(transaction=0, unit=window[0], pdu=window[1:-2]))
                del self._buffer[: place + REQUEST_OCTETS]
                place = 0
            else:
                place += 1
        del self._buffer[:place]
        return found


def _lengths(octets: bytes | bytearray, place: int) -> tuple[int, ...]:
    """Return how long a frame may be that begins at `place`: read answers, errors, requests."""
    if place + 2 >= len(octets):
        return ()
    function, size = octets[place + 1], octets[place + 2]
    if function in _READS:
        if 2 <= size <= 250 and size % 2 == 0:
            return (_HEADER_AND_CRC + size, REQUEST_OCTETS)
        return (REQUEST_OCTETS,)
    return (EXCEPTION_OCTETS,) if function & ~_ERROR_BIT in _READS else ()


def _foreign_frame(octets: bytes, place: int, unit: int) -> int:
    if octets[place] == unit:
        return 0
    for length in _lengths(octets, place):
        frame = octets[place : place + length]
        if len(frame) == length and crc16(frame) == 0:
            return length
    return 0
