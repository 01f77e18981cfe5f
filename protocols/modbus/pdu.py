"""
The server's half of Modbus TCP: frames out of a byte stream, read requests, answers.

Sans I/O: bytes in, frames out. Any octets either parse or raise PeerError, in one pass.
*Source*: Modbus Messaging on TCP/IP V1.0b section 3.1 (MBAP header); Modbus Application Protocol
V1.1b3 sections 6.3, 6.4 and 7 (exception codes).
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from protocols.errors import PeerError
from protocols.modbus.plan import ReadRequest

MAX_COUNT = 125
_HEADER = struct.Struct(">HHHB")
_MAX_LENGTH = 254


class ExceptionCode(IntEnum):
    """Why a server does not answer a request."""

    ILLEGAL_FUNCTION = 1
    ILLEGAL_ADDRESS = 2
    ILLEGAL_VALUE = 3
    DEVICE_FAILURE = 4


class RequestRefusedError(Exception):
    """A well-framed request that must be answered with an exception."""

    def __init__(self, code: ExceptionCode) -> None:
        """Keep the code that the answer carries."""
        super().__init__(code.name)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One Modbus TCP frame without its length."""

    transaction: int
    unit: int
    pdu: bytes


class FrameReader:
    """Cuts a byte stream into frames by their length field."""

    def __init__(self) -> None:
        """Begin with nothing buffered."""
        self._buffer = bytearray()

    def feed(self, octets: bytes) -> list[Frame]:
        """
        Take octets as they came and return the frames that are complete now.

        Raises: PeerError `modbus.frame` when the stream is no Modbus TCP; the stream is then lost.
        """
        self._buffer += octets
        frames: list[Frame] = []
        while len(self._buffer) >= _HEADER.size:
            transaction, protocol, length, unit = _HEADER.unpack_from(self._buffer)
            if protocol != 0 or not 2 <= length <= _MAX_LENGTH:
                raise PeerError(
                    "modbus.frame",
                    f"header says protocol {protocol}, length {length}",
                    evidence={"octets": bytes(self._buffer[:16]).hex()},
                )
            end = 6 + length
            if len(self._buffer) < end:
                break
            pdu = bytes(self._buffer[_HEADER.size : end])
            frames.append(Frame(transaction=transaction, unit=unit, pdu=pdu))
            del self._buffer[:end]
        return frames


def frame_octets(frame: Frame) -> bytes:
    """Return the octets of a frame."""
    header = _HEADER.pack(frame.transaction, 0, len(frame.pdu) + 1, frame.unit)
    return header + frame.pdu


def read_request(pdu: bytes) -> ReadRequest:
    """
    Return the read request in a PDU.

    Raises: RequestRefusedError with the code to answer: another function, a wrong count.
    """
    if not pdu or pdu[0] not in (3, 4):
        raise RequestRefusedError(ExceptionCode.ILLEGAL_FUNCTION)
    if len(pdu) != 5:
        raise RequestRefusedError(ExceptionCode.ILLEGAL_VALUE)
    fc, address, count = struct.unpack(">BHH", pdu)
    if not 1 <= count <= MAX_COUNT:
        raise RequestRefusedError(ExceptionCode.ILLEGAL_VALUE)
    if address + count > 0x10000:
        raise RequestRefusedError(ExceptionCode.ILLEGAL_ADDRESS)
    return ReadRequest(fc=fc, address=address, count=count)


def read_answer(fc: int, words: Sequence[int]) -> bytes:
    """Return the PDU that answers a read."""
    return struct.pack(f">BB{len(words)}H", fc, 2 * len(words), *words)


def exception_answer(fc: int, code: ExceptionCode) -> bytes:
    """Return the PDU that refuses a request."""
    return bytes((fc | 0x80, code))
