"""
The TCP wrapper: version, source, destination, length, then one APDU.

*Source*: IEC 62056-4-7 (wrapper sub-layer), Green Book 7.3.3; port 4059.
"""

import struct
from dataclasses import dataclass
from typing import Protocol

from protocols.errors import PeerError

VERSION = 1
HEADER = struct.Struct(">HHHH")
MAX_APDU = 65_535
DEFAULT_PORT = 4059


@dataclass(frozen=True, slots=True, kw_only=True)
class Wpdu:
    """One APDU and the two service access points it travels between."""

    source: int
    destination: int
    apdu: bytes


def pack(source: int, destination: int, apdu: bytes) -> bytes:
    """Return the octets of one frame. Raises: ValueError when the APDU does not fit."""
    if not 0 < len(apdu) <= MAX_APDU:
        raise ValueError(f"an APDU in a wrapper has 1..{MAX_APDU} octets, not {len(apdu)}")
    return HEADER.pack(VERSION, source, destination, len(apdu)) + apdu


class Unwrapper:
    """
    Cuts a stream of octets into frames by their length field.

    After an error the stream has no frame boundary any more: the connection must be closed.
    """

    def __init__(self, *, max_apdu: int = MAX_APDU) -> None:
        """Bound the APDU at `max_apdu` octets."""
        self._buffer = bytearray()
        self._max_apdu = max_apdu

    @property
    def waiting(self) -> int:
        """Return how many octets of a frame have come that is not whole yet."""
        return len(self._buffer)

    def feed(self, octets: bytes) -> list[Wpdu]:
        """
        Take received octets, return the frames completed by them, in order.

        Raises: PeerError `dlms.wrapper` on another version or a length outside the bound.
        """
        buffer = self._buffer
        buffer += octets
        frames: list[Wpdu] = []
        at = 0
        while len(buffer) - at >= HEADER.size:
            version, source, destination, length = HEADER.unpack_from(buffer, at)
            if version != VERSION or not 0 < length <= self._max_apdu:
                raise PeerError(
                    "dlms.wrapper",
                    "not a wrapper frame",
                    evidence={"header": bytes(buffer[at : at + HEADER.size]).hex()},
                )
            end = at + HEADER.size + length
            if end > len(buffer):
                break
            apdu = bytes(buffer[at + HEADER.size : end])
            frames.append(Wpdu(source=source, destination=destination, apdu=apdu))
            at = end
        if at:
            del buffer[:at]
        return frames


class Framing(Protocol):
    """How APDUs of one association stand on the line that a connection is given."""

    def pack(self, apdu: bytes, /) -> bytes:
        """Return the octets that carry one APDU."""
        ...

    def feed(self, octets: bytes, /) -> list[bytes]:
        """Take received octets, return the APDUs they complete. Raises: PeerError."""
        ...


class WrapperFraming:
    """The client's side of the wrapper: frames to and from one server access point."""

    def __init__(self, *, client_sap: int, server_sap: int) -> None:
        """Speak as `client_sap` to `server_sap`."""
        self._client_sap = client_sap
        self._server_sap = server_sap
        self._unwrapper = Unwrapper()

    def pack(self, apdu: bytes, /) -> bytes:
        """Return the octets that carry one APDU."""
        return pack(self._client_sap, self._server_sap, apdu)

    def feed(self, octets: bytes, /) -> list[bytes]:
        """Return the APDUs completed. Raises: PeerError `dlms.wrapper`, `dlms.address`."""
        apdus: list[bytes] = []
        for wpdu in self._unwrapper.feed(octets):
            if (wpdu.source, wpdu.destination) != (self._server_sap, self._client_sap):
                raise PeerError("dlms.address", f"an answer from access point {wpdu.source}")
            apdus.append(wpdu.apdu)
        return apdus


class BareFraming:
    """No framing here: whoever owns the line below brings whole APDUs, as HDLC does."""

    def pack(self, apdu: bytes, /) -> bytes:
        """Return the APDU."""
        return apdu

    def feed(self, octets: bytes, /) -> list[bytes]:
        """Return the APDU, if there is one."""
        return [octets] if octets else []
