"""
Words to integers and back: types, word order, scale. Total: any words decode or raise PeerError.

Energy never becomes a float here: the wire's own f32/f64 is taken as the exact fraction that it
is and rounded once, half away from zero, to the resolution the map declares.
"""

import struct
from collections.abc import Sequence
from enum import StrEnum

from protocols.errors import PeerError

MAX_EXPONENT = 18


class WordType(StrEnum):
    """How a value lies in 16-bit registers."""

    U16 = "u16"
    I16 = "i16"
    U32 = "u32"
    I32 = "i32"
    U64 = "u64"
    I64 = "i64"
    F32 = "f32"
    F64 = "f64"
    ACC32 = "acc32"
    """SunSpec accumulator: u32 that rolls over."""
    BCD32 = "bcd32"
    """Eight decimal digits in two registers."""


class WordOrder(StrEnum):
    """Which register of a value comes first; octets within a register are always big-endian."""

    BIG = "be"
    LITTLE = "le"


_COUNT = {
    WordType.U16: 1, WordType.I16: 1, WordType.U32: 2, WordType.I32: 2, WordType.U64: 4,
    WordType.I64: 4, WordType.F32: 2, WordType.F64: 4, WordType.ACC32: 2, WordType.BCD32: 2,
}  # fmt: skip
_SIGNED = frozenset({WordType.I16, WordType.I32, WordType.I64})
_FLOAT = {WordType.F32: ">f", WordType.F64: ">d"}


def registers_of(kind: WordType) -> int:
    """Return how many registers a value takes."""
    return _COUNT[kind]


def is_float(kind: WordType) -> bool:
    """Tell whether values of this type are rounded at decode."""
    return kind in _FLOAT


def decode(
    kind: WordType, words: Sequence[int], order: WordOrder, *, resolution: int = 0
) -> int | None:
    """
    Return the raw integer in `words`; floats as multiples of 10**resolution; None for NaN.

    Raises: PeerError `modbus.shape` on a wrong number of words or one outside 0..65535,
    `modbus.value` on an infinity or a digit that is none.
    """
    octets = _octets(kind, words, order)
    if kind in _FLOAT:
        return _rounded(struct.unpack(_FLOAT[kind], octets)[0], resolution)
    if kind is WordType.BCD32:
        digits = octets.hex()
        if not digits.isdecimal():
            raise PeerError("modbus.value", f"{digits} holds digits that are no decimals")
        return int(digits)
    return int.from_bytes(octets, "big", signed=kind in _SIGNED)


def encode(kind: WordType, raw: int, order: WordOrder, *, resolution: int = 0) -> tuple[int, ...]:
    """
    Return the words of a raw integer, as a meter sends them; the twin of `decode`.

    Raises: ValueError when the value does not fit the type.
    """
    if kind in _FLOAT:
        # the one place a float is made: the meter's own wire format
        value = raw * 10**resolution if resolution >= 0 else raw / 10**-resolution
        octets = struct.pack(_FLOAT[kind], value)
    elif kind is WordType.BCD32:
        if not 0 <= raw < 10**8:
            raise ValueError(f"{raw} does not fit eight decimal digits")
        octets = bytes.fromhex(f"{raw:08d}")
    else:
        try:
            octets = raw.to_bytes(_COUNT[kind] * 2, "big", signed=kind in _SIGNED)
        except OverflowError as error:
            raise ValueError(f"{raw} does not fit {kind.value}") from error
    words = struct.unpack(f">{len(octets) // 2}H", octets)
    return words if order is WordOrder.BIG else words[::-1]


def _octets(kind: WordType, words: Sequence[int], order: WordOrder) -> bytes:
    if len(words) != _COUNT[kind] or not all(0 <= word <= 0xFFFF for word in words):
        raise PeerError(
            "modbus.shape",
            f"{kind.value} needs {_COUNT[kind]} registers",
            evidence={"words": list(words)[:8]},
        )
    ordered = words if order is WordOrder.BIG else tuple(reversed(words))
    return struct.pack(f">{len(words)}H", *ordered)


def _rounded(value: float, resolution: int) -> int | None:
    if value != value:  # noqa: PLR0124 - the definition of NaN
        return None
    if value in (float("inf"), float("-inf")):
        raise PeerError("modbus.value", "the meter answered an infinity")
    numerator, denominator = value.as_integer_ratio()
    if resolution >= 0:
        denominator *= 10**resolution
    else:
        numerator *= 10**-resolution
    sign = -1 if numerator < 0 else 1
    return sign * ((2 * abs(numerator) + denominator) // (2 * denominator))
