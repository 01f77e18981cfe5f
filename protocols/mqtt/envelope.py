"""
Payload bytes to plain values and back: CBOR or JSON, plain, deflate or zstd, bounded.

The content type says which: `application/vnd.meterloop.v1+cbor; enc=zstd`. Inflated size is
bounded before inflating, nesting and item counts are bounded by that size.
"""

import contextlib
import json
import struct
import zlib
from array import array
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

import cbor2
import zstandard

from protocols.errors import PeerError

CBOR: Final = "application/vnd.meterloop.v1+cbor"
CBOR_ZSTD: Final = "application/vnd.meterloop.v1+cbor; enc=zstd"
JSON = "application/vnd.meterloop.v1+json"
JSON_DEFLATE = JSON + "; enc=deflate"

MAX_PAYLOAD = 1 << 20
MAX_INFLATED = 8 << 20

_DTYPE_OF_TAG: dict[int, str] = {
    64: "u1", 69: "<u2", 70: "<u4", 71: "<u8", 72: "i1", 77: "<i2", 78: "<i4", 79: "<i8",
}  # fmt: skip
"""*Source*: RFC 8746 section 2.1, little-endian typed arrays."""
_LONG = {"l": "q", "L": "Q"}
_TAG_OF_FORM = {"B": 64, "H": 69, "I": 70, "Q": 71, "b": 72, "h": 77, "i": 78, "q": 79}


@dataclass(frozen=True, slots=True)
class Packed:
    """Integers to be sent as one typed array; `array` alone would be written as a list."""

    numbers: "array[int]"


def encode(value: Any, content_type: str = CBOR_ZSTD) -> bytes:
    """Return the payload of a plain value; arrays become typed arrays (RFC 8746)."""
    base, _, option = content_type.partition("; enc=")
    if base == CBOR:
        raw = cbor2.dumps(value, default=_tag_array)
    elif base == JSON:
        raw = json.dumps(value, default=_list_array, separators=(",", ":")).encode()
    else:
        raise ValueError(f"unknown content type {content_type!r}")
    match option:
        case "":
            return raw
        case "zstd":
            return zstandard.ZstdCompressor(level=3).compress(raw)
        case "deflate":
            return zlib.compress(raw)
        case _:
            raise ValueError(f"unknown encoding {option!r}")


def decode(payload: bytes, content_type: str) -> Any:
    """
    Return the plain value in a payload; typed arrays come back as read-only numpy arrays.

    Raises: PeerError `payload.content_type`, `payload.too_big`, `payload.compression`,
    `payload.syntax`.
    """
    if len(payload) > MAX_PAYLOAD:
        raise PeerError("payload.too_big", f"{len(payload)} octets are over {MAX_PAYLOAD}")
    base, _, option = content_type.partition("; enc=")
    raw = _inflate(payload, option)
    try:
        if base == CBOR:
            stream = BytesIO(raw)
            value = cbor2.CBORDecoder(stream, tag_hook=_untag_array).decode()
            if stream.tell() != len(raw):
                raise PeerError("payload.syntax", "octets follow the value")
            return value
        if base == JSON:
            return json.loads(raw)
    except PeerError:
        raise
    except (cbor2.CBORError, ValueError, EOFError, RecursionError, TypeError, OverflowError) as e:
        raise PeerError("payload.syntax", f"does not parse as {base}: {e}"[:200]) from e
    raise PeerError("payload.content_type", f"unknown content type {content_type[:80]!r}")


def _inflate(payload: bytes, option: str) -> bytes:
    try:
        match option:
            case "":
                return payload
            case "zstd":
                raw = zstandard.ZstdDecompressor().stream_reader(payload).read(_room(payload))
            case "deflate":
                raw = zlib.decompressobj().decompress(payload, MAX_INFLATED + 1)
            case _:
                raise PeerError("payload.content_type", f"unknown encoding {option[:40]!r}")
    except (zlib.error, zstandard.ZstdError) as e:
        raise PeerError("payload.compression", f"does not inflate: {e}"[:200]) from e
    if len(raw) > MAX_INFLATED:
        raise PeerError("payload.too_big", f"inflates to over {MAX_INFLATED} octets")
    return raw


def _tag_array(encoder: Any, value: Any) -> None:
    view = _integers(value)
    form = _LONG.get(view.format, view.format)
    encoder.encode(cbor2.CBORTag(_TAG_OF_FORM[form], struct.pack(f"<{len(view)}{form}", *view)))


def _list_array(value: Any) -> list[int]:
    return _integers(value).tolist()


def _integers(value: Any) -> "memoryview[int]":
    """Return a flat array of integers, packed or of numpy, as Python itself sees it."""
    if isinstance(value, Packed):
        return memoryview(value.numbers)
    if not isinstance(value, bytes | bytearray):
        with contextlib.suppress(TypeError):
            view = memoryview(value)
            if view.ndim == 1 and _LONG.get(view.format, view.format) in _TAG_OF_FORM:
                return view
    raise TypeError(f"cannot encode {type(value).__name__}")


def _room(payload: bytes) -> int:
    """Return how many octets to make room for: what the frame tells and one, else all let in."""
    try:
        told = zstandard.frame_content_size(payload)
    except zstandard.ZstdError:
        told = -1
    return min(told if told >= 0 else MAX_INFLATED, MAX_INFLATED) + 1


def _untag_array(*call: Any) -> Any:
    # an agent receives no arrays, and is spared the memory of numpy
    import numpy as np

    # cbor2 5 passes (decoder, tag), cbor2 6 may pass (tag) alone or with a flag
    tag = next(item for item in call if isinstance(item, cbor2.CBORTag))
    dtype = _DTYPE_OF_TAG.get(tag.tag)
    if dtype is None or not isinstance(tag.value, bytes):
        raise PeerError("payload.syntax", f"unexpected CBOR tag {tag.tag}")
    if len(tag.value) % np.dtype(dtype).itemsize:
        raise PeerError("payload.syntax", f"typed array of {len(tag.value)} octets of {dtype}")
    return np.frombuffer(tag.value, dtype=dtype)
