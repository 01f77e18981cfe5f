"""
Takes secrets out of a session as it is recorded, whatever protocol it turns out to be.

What a client says is held back until a whole frame stands there, redacted and framed anew with
right check sums. Octets that are no frame of a protocol known here are withheld: only their
number is kept. Known: DLMS wrapper, HDLC, IEC 62056-21 sign-on, Modbus TCP and RTU, DL/T 645.
"""

import struct
from dataclasses import replace
from enum import StrEnum

from protocols.dlms import hdlc
from protocols.dlt645 import frame as dlt645
from protocols.errors import PeerError
from protocols.modbus import rtu
from protocols.tape.apdu import ApduRedactor, blank

_HEADER = struct.Struct(">HHHH")
_MAX_MBAP = 254
_SHORTEST = 4
_LLC = 3
_CIPHERED = frozenset({0xC8, 0xC9, 0xCB, 0xD0, 0xD1, 0xD3, 0xDB, 0xDC, 0xDD})
_WRITES = {5: 3, 6: 3, 15: 6, 16: 6, 22: 3, 23: 10}
"""Modbus function that writes -> where in the PDU its values begin."""
_DLT_SECRET_AT = {
    dlt645.Control.WRITE: 4,
    dlt645.Control.SECURITY: 4,
    dlt645.Control.CHANGE_PASSWORD: 4,
    dlt645.Control.CLEAR_DEMAND: 0,
    dlt645.Control.CLEAR_METER: 0,
    dlt645.Control.CLEAR_EVENTS: 0,
    dlt645.Control.RELAY: 0,
    dlt645.Control.TERMINAL_OUTPUT: 0,
}
_DLT_PASSWORD_OCTETS = {dlt645.Control.WRITE: 4, dlt645.Control.RELAY: 4}
"""Behind the password these carry what was ordered, which is no secret."""


class Framing(StrEnum):
    """How a frame of a client is framed."""

    WRAPPER = "wrapper"
    HDLC = "hdlc"
    SIGN_ON = "sign-on"
    MODBUS_TCP = "modbus-tcp"
    MODBUS_RTU = "modbus-rtu"
    DLT645 = "dlt645"


class Redactor:
    """Redacts one session; `client` and `meter` take what was said, in order."""

    def __init__(self) -> None:
        """Begin at the start of a connection."""
        self._held = b""
        self._apdus = ApduRedactor()
        self._segments_open = False

    def client(self, octets: bytes) -> list[tuple[bytes, bool]]:
        """Return the frames that are whole now, as (octets, withheld?)."""
        self._held += octets
        found: list[tuple[bytes, bool]] = []
        while self._held:
            framing = framing_of(self._held)
            if framing is None or framing[1] > len(self._held):
                break
            kind, size = framing
            frame, self._held = self._held[:size], self._held[size:]
            found.append(self._redacted(kind, frame))
        return found

    def flush(self) -> list[tuple[bytes, bool]]:
        """Return what is held and became no frame, withheld; call when the other side speaks."""
        held, self._held = self._held, b""
        return [(blank(held), True)] if held else []

    def meter(self, octets: bytes) -> tuple[bytes, bool]:
        """Return what a meter said, as (octets, withheld?)."""
        if _is_wrapper(octets):
            apdu = self._apdus.answer(octets[_HEADER.size :])
            return octets[: _HEADER.size] + apdu, False
        frames = hdlc.Deframer().feed(octets) if octets[:1] == b"\x7e" else []
        if not frames:
            return octets, False
        texts = [frame.text for frame in frames if frame.text]
        kept = all(self._apdus.answer(text[_LLC:]) == text[_LLC:] for text in texts)
        return (octets, False) if kept else (blank(octets), True)

    def _redacted(self, framing: Framing, frame: bytes) -> tuple[bytes, bool]:
        match framing:
            case Framing.MODBUS_TCP:
                return frame[:7] + _modbus(frame[7:]), False
            case Framing.MODBUS_RTU:
                return rtu.framed(frame[0], _modbus(frame[1:-2])), False
            case Framing.WRAPPER:
                head, apdu = frame[: _HEADER.size], frame[_HEADER.size :]
                return head + self._apdus.request(apdu), False
            case Framing.HDLC:
                return self._hdlc(frame)
            case Framing.DLT645:
                return _dlt645(frame)
            case Framing.SIGN_ON:
                return frame, False

    def _hdlc(self, octets: bytes) -> tuple[bytes, bool]:
        found = hdlc.Deframer().feed(octets)
        if len(found) != 1:
            return blank(octets), True
        frame = found[0]
        if not frame.text or frame.control & 1:
            return octets, False
        continues, self._segments_open = self._segments_open, frame.segmented
        if not continues and not frame.segmented:
            text = frame.text[:_LLC] + self._apdus.request(frame.text[_LLC:])
        elif not continues and frame.text[_LLC : _LLC + 1] and frame.text[_LLC] in _CIPHERED:
            text = frame.text
        else:
            # a long request in pieces: what it carries is known only at its end
            text = frame.text[:_LLC] + blank(frame.text[_LLC:])
        return replace(frame, text=text).encode(), False


def framing_of(octets: bytes) -> tuple[Framing, int] | None:
    """Return how the frame that begins here is framed and how long; None while nobody can tell."""
    if len(octets) < _SHORTEST:
        return None
    if _is_mbap(octets):
        return Framing.MODBUS_TCP, 6 + octets[5]
    if _is_wrapper(octets):
        return Framing.WRAPPER, _HEADER.size + int(_HEADER.unpack_from(octets)[3])
    if octets[0] == hdlc.FLAG and octets[1] & 0xF0 == 0xA0:
        return Framing.HDLC, 2 + (int.from_bytes(octets[1:3], "big") & 0x7FF)
    body = octets.lstrip(b"\xfe")
    if len(body) >= 10 and body[0] == body[7] == dlt645.START:
        return Framing.DLT645, len(octets) - len(body) + 12 + body[9]
    if octets[:2] == b"/?" and b"\r\n" in octets:
        return Framing.SIGN_ON, octets.index(b"\r\n") + 2
    if octets[:1] == b"\x06" and octets[4:6] == b"\r\n":
        return Framing.SIGN_ON, 6
    return (Framing.MODBUS_RTU, len(octets)) if rtu.crc16(octets) == 0 else None


def _is_wrapper(octets: bytes) -> bool:
    return len(octets) >= _HEADER.size and octets[:2] == b"\x00\x01" and octets[2:4] != b"\x00\x00"


def _is_mbap(octets: bytes) -> bool:
    if len(octets) < 8 or octets[2:4] != b"\x00\x00":
        return False
    return 2 <= int.from_bytes(octets[4:6], "big") <= _MAX_MBAP


def _modbus(pdu: bytes) -> bytes:
    at = _WRITES.get(pdu[0]) if pdu else None
    return pdu if at is None else pdu[:at] + blank(pdu[at:])


def _dlt645(octets: bytes) -> tuple[bytes, bool]:
    try:
        frame = dlt645.decode_frame(octets)
    except PeerError:
        return blank(octets), True
    if frame.function not in tuple(dlt645.Control):
        at, end = 0, len(frame.content)
    else:
        control = dlt645.Control(frame.function)
        at = _DLT_SECRET_AT.get(control, len(frame.content))
        end = at + _DLT_PASSWORD_OCTETS.get(control, len(frame.content))
    text = frame.content[:at] + blank(frame.content[at:end]) + frame.content[end:]
    wake = len(octets) - len(octets.lstrip(b"\xfe"))
    return dlt645.encode_frame(replace(frame, content=text), wake=wake), False
