"""
What goes wrong on the line between, whatever protocol runs on it: a plan of damage, pure.

A `LinePlan` is asked for each answer of a meter and says what arrives in its place, when, and
whether the line is cut after it. The damage follows from the plan's seed and the answer's number,
so a run can be had again.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from simulators.faults import Fault, spoil

_GOLDEN = 0x9E3779B1
_NOISE = (b"\x00", b"\xff", b"\x00\xff", b"\xff\xff\x00")
_WRAPPER_HEAD = b"\x00\x01"
_HDLC_FLAG = 0x7E
_DLT_START = 0x68


class LineFault(StrEnum):
    """Damage to one answer."""

    GARBLE = "garble"
    """One octet is flipped."""
    TRUNCATE = "truncate"
    """The answer stops short."""
    GLUE = "glue"
    """The answer before stands in front of it, in one piece."""
    DELAY = "delay"
    """It comes after `delay_seconds`, within the client's patience."""
    LATE = "late"
    """It comes after `late_seconds`, when the client has given up or asked again."""
    FOREIGN = "foreign"
    """A well-formed answer, of another unit."""
    SILENCE = "silence"
    """It never comes."""
    NOISE = "noise"
    """Octets 00 or FF stand in front, as from a driver that turns round."""
    HEADLESS = "headless"
    """Its first octet is lost."""
    SPLIT = "split"
    """It comes octet by octet."""
    CUT = "cut"
    """It comes whole and then the line ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Octets that arrive `after_seconds`; None instead of octets ends the line."""

    after_seconds: float = 0.0
    octets: bytes | None = b""


@dataclass(slots=True, kw_only=True)
class LinePlan:
    """
    Which share of answers meets which fault. *Units*: `permille` of answers, seconds of wall time.

    The shares add up to 1000 at most; the rest arrives whole after `latency_seconds`. `struck`
    counts what was done; `paused` lets everything pass.
    """

    permille: Mapping[LineFault, int] = field(default_factory=dict)
    seed: int = 1
    latency_seconds: float = 0.0
    delay_seconds: float = 0.05
    late_seconds: float = 0.5
    paused: bool = False
    struck: dict[LineFault, int] = field(default_factory=dict)
    _answers: int = 0
    _before: bytes = b""

    def __post_init__(self) -> None:
        """Refuse shares that cannot be."""
        if any(share < 0 for share in self.permille.values()) or sum(self.permille.values()) > 1000:
            raise ValueError("shares of faults are 0..1000 permille and 1000 in all")

    def on_answer(self, octets: bytes) -> list[Delivery]:
        """Return what arrives in place of one answer."""
        self._answers += 1
        draw = (self.seed * 1_000_003 + self._answers) * _GOLDEN & 0xFFFF_FFFF_FFFF
        draw ^= draw >> 15
        before, self._before = self._before, octets
        fault = None if self.paused else self._draw(draw % 1000)
        if fault is None:
            return [Delivery(after_seconds=self.latency_seconds, octets=octets)]
        self.struck[fault] = self.struck.get(fault, 0) + 1
        return self._damage(fault, octets, before, draw >> 10)

    def _draw(self, place: int) -> LineFault | None:
        for fault, share in self.permille.items():
            if place < share:
                return fault
            place -= share
        return None

    def _damage(self, fault: LineFault, octets: bytes, before: bytes, draw: int) -> list[Delivery]:
        now = self.latency_seconds
        match fault:
            case LineFault.SILENCE:
                return []
            case LineFault.DELAY:
                return [Delivery(after_seconds=now + self.delay_seconds, octets=octets)]
            case LineFault.LATE:
                return [Delivery(after_seconds=now + self.late_seconds, octets=octets)]
            case LineFault.SPLIT:
                return [
                    Delivery(after_seconds=now + index * 0.0005, octets=octets[index : index + 1])
                    for index in range(len(octets))
                ]
            case LineFault.CUT:
                return [
                    Delivery(after_seconds=now, octets=octets),
                    Delivery(after_seconds=now, octets=None),
                ]
            case _:
                return [Delivery(after_seconds=now, octets=damaged(fault, octets, before, draw))]


def damaged(fault: LineFault, octets: bytes, before: bytes, draw: int) -> bytes:
    """Return the octets of one answer under a fault that changes octets; others leave them."""
    match fault:
        case LineFault.GARBLE:
            return spoil(Fault.GARBLE, octets, draw)
        case LineFault.TRUNCATE:
            return spoil(Fault.TRUNCATE, octets, draw)
        case LineFault.GLUE:
            return before + octets
        case LineFault.FOREIGN:
            return of_another_unit(octets)
        case LineFault.NOISE:
            return _NOISE[draw % len(_NOISE)] + octets
        case LineFault.HEADLESS:
            return octets[1:]
        case _:
            return octets


def of_another_unit(octets: bytes) -> bytes:
    """
    Return a frame as another unit would send it, its check sums right.

    Knows the DLMS wrapper, HDLC, Modbus TCP and RTU, DL/T 645; other octets come back unchanged.
    """
    if octets.startswith(_WRAPPER_HEAD) and len(octets) > 8:
        (source,) = struct.unpack_from(">H", octets, 2)
        return octets[:2] + struct.pack(">H", source + 1 & 0xFFFF) + octets[4:]
    if len(octets) > 8 and octets[0] == _HDLC_FLAG == octets[-1]:
        return _other_hdlc(octets)
    start = octets.find(_DLT_START)
    if 0 <= start <= 4 and len(octets) >= start + 12 and octets[start + 7] == _DLT_START:
        body = bytearray(octets[start:-2])
        body[1] ^= 0x01
        return octets[:start] + bytes(body) + bytes((sum(body) & 0xFF, octets[-1]))
    if len(octets) >= 8 and octets[2:4] == b"\x00\x00" and octets[5] == len(octets) - 6:
        return octets[:6] + bytes((octets[6] + 1 & 0xFF,)) + octets[7:]
    if len(octets) >= 5 and crc16(octets[:-2], 0xA001) == octets[-2:]:
        body = bytearray(octets[:-2])
        body[0] = body[0] % 247 + 1
        return bytes(body) + crc16(bytes(body), 0xA001)
    return octets


def _other_hdlc(octets: bytes) -> bytes:
    """Change the source address of one HDLC frame; destination of an answer is one octet."""
    at = 3
    while at < len(octets) - 1 and not octets[at] & 1:
        at += 1
    source_at = at + 1
    end = source_at
    while end < len(octets) - 1 and not octets[end] & 1:
        end += 1
    control_at = end + 1
    body = bytearray(octets[1:-1])
    body[end - 1] ^= 0x02
    head_end = control_at  # up to and with the control octet, counted without the opening flag
    if head_end + 2 < len(body):
        body[head_end : head_end + 2] = crc16(bytes(body[:head_end]), 0x8408, 0xFFFF)
    body[-2:] = crc16(bytes(body[:-2]), 0x8408, 0xFFFF)
    return bytes((_HDLC_FLAG,)) + bytes(body) + bytes((_HDLC_FLAG,))


def crc16(octets: bytes, polynomial: int, invert: int = 0) -> bytes:
    """Return a reflected CRC-16 with start FFFF, low octet first (Modbus A001, X-25 8408)."""
    crc = 0xFFFF
    for octet in octets:
        crc ^= octet
        for _ in range(8):
            crc = crc >> 1 ^ (polynomial if crc & 1 else 0)
    return (crc ^ invert).to_bytes(2, "little")
