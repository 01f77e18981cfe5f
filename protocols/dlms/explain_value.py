"""
Values in words: type, content, and what octets probably are (a time, an OBIS name, a text).

*Source*: IEC 62056-6-2 clause 4.1.5 (types), 4.3.2 (units); IEC 62056-6-1 (names).
"""

from typing import Any

from protocols.dlms.classes.clock import OCTETS, ClockRule, decode_moment
from protocols.dlms.classes.register import ScalerUnit, decode_scaler_unit
from protocols.dlms.names import CLASS_NAMES
from protocols.dlms.obis import obis_text
from protocols.dlms.reference import Access, Attribute, Got
from protocols.dlms.values import BitString, Tag, Value
from protocols.errors import PeerError

UNITS = {
    1: "a", 2: "mo", 3: "wk", 4: "d", 5: "h", 6: "min", 7: "s", 8: "°", 9: "°C", 13: "m3",
    14: "m3 (corrected)", 27: "W", 28: "VA", 29: "var", 30: "Wh", 31: "VAh", 32: "varh", 33: "A",
    34: "C", 35: "V", 38: "Ω", 44: "Hz", 56: "%", 70: "dB", 255: "",
}  # fmt: skip
_SCALED = {(3, 2), (4, 2), (5, 2), (5, 3)}
"""Class and attribute whose value attribute 3 (of a demand register 4) scales."""
_MOST_ITEMS = 10_000
_UTC = ClockRule(assumed_deviation=0)


def name_of(attribute: Attribute) -> dict[str, Any]:
    """Return class, name and attribute in words."""
    told: dict[str, Any] = {
        "class": attribute.class_id,
        "class_name": CLASS_NAMES.get(attribute.class_id, "unknown"),
        "obis": obis_text(attribute.name),
        "index": attribute.index,
    }
    if attribute.selection is not None:
        told["selector"] = attribute.selector
        told["selection"] = value_of(attribute.selection)
    return told


def got_of(got: Got) -> dict[str, Any]:
    """Return a value in words, or why there is none."""
    if isinstance(got, Access):
        return {"refused": got.name.lower()}
    return value_of(got)


def value_of(value: Value) -> dict[str, Any]:
    """Return a value in words; lists hold their members."""
    try:
        kind = Tag(value.tag).name.lower()
    except ValueError:
        kind = str(value.tag)
    content = value.content
    if isinstance(content, tuple) and not isinstance(content, BitString):
        items = [value_of(item) for item in content[:_MOST_ITEMS]]
        return {"type": kind, "items": items, **_as_scaler(value)}
    if isinstance(content, BitString):
        bits = "".join(f"{octet:08b}" for octet in content.octets)[: content.bits]
        return {"type": kind, "value": bits}
    if isinstance(content, bytes):
        return {"type": kind, "value": content.hex(), **_as_octets(content)}
    if isinstance(content, float):
        return {"type": kind, "value": repr(content)}
    return {"type": kind, "value": content}


def _as_octets(octets: bytes) -> dict[str, str]:
    if len(octets) == OCTETS:
        try:
            moment = decode_moment(octets, _UTC)
        except PeerError:
            return {}
        doubt = "" if moment.deviation is not None else " (no deviation told)"
        return {"time": moment.instant.isoformat() + doubt}
    if len(octets) == 6 and not octets.isalnum():
        return {"obis": obis_text(octets)}
    if octets and all(0x20 <= octet < 0x7F for octet in octets):
        return {"text": octets.decode("ascii")}
    return {}


def _as_scaler(value: Value) -> dict[str, Any]:
    """Return scaler and unit where a structure is one."""
    items = value.content
    if not isinstance(items, tuple) or len(items) != 2 or value.tag != Tag.STRUCTURE:
        return {}
    scaler, unit = items
    if not isinstance(unit, Value) or not isinstance(scaler, Value):
        return {}
    if (scaler.tag, unit.tag) != (Tag.INTEGER, Tag.ENUM):
        return {}
    return {"scaler": scaler.content, "unit": UNITS.get(int(str(unit.content)), str(unit.content))}


class Scales:
    """Scalers and units that were read earlier in a capture, for the values read later."""

    def __init__(self) -> None:
        """Know none."""
        self._known: dict[tuple[int, bytes], ScalerUnit] = {}

    def explain(self, attribute: Attribute, got: Got) -> dict[str, Any]:
        """Return an attribute's value in words, scaled where its scaler has been seen."""
        told = {**name_of(attribute), **got_of(got)}
        if isinstance(got, Access):
            return told
        key = (attribute.class_id, bytes(attribute.name))
        if attribute.index == (4 if attribute.class_id == 5 else 3):
            try:
                self._known[key] = decode_scaler_unit(got)
            except PeerError:
                return told
        scale = self._known.get(key)
        content = got.content
        scaled = (attribute.class_id, attribute.index) in _SCALED
        if scale is not None and scaled and isinstance(content, int):
            unit = UNITS.get(scale.unit, f"unit {scale.unit}")
            told["reading"] = f"{_shifted(content, scale.scaler)} {unit}".rstrip()
        return told


def _shifted(raw: int, scaler: int) -> str:
    """Return `raw * 10**scaler` exactly."""
    if scaler >= 0:
        return str(raw * 10**scaler)
    digits = str(abs(raw)).rjust(1 - scaler, "0")
    return f"{'-' if raw < 0 else ''}{digits[:scaler]}.{digits[scaler:]}"
