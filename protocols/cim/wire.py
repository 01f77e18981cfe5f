"""
The XML and JSON forms of MeterReadings, with or without the message envelope around them.

XML is read without a document type: entities and external parts cannot be declared, so a small
message cannot grow. The JSON twin has the same names; attributes begin with `@`.
*Source*: IEC 61968-9 (namespace of the MeterReadings profile), IEC 61968-100 (Message envelope).
"""

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import Any
from xml.parsers.expat import ExpatError

from protocols.cim.readings import CODE, Plain, Series, plain_of, series_of
from protocols.errors import PeerError

NAMESPACE = "http://iec.ch/TC57/2011/MeterReadings#"
MOST_OCTETS = 256 * 2**20
_DEPTH = 12
_ROOT = "MeterReadings"
_MANY = frozenset(
    {"MeterReading", "Readings", "IntervalBlocks", "IntervalReadings", "ReadingQualities", "Names"}
)
_DOCTYPE = re.compile(r"<!\s*(DOCTYPE|ENTITY)", re.IGNORECASE)


def to_xml(series: Sequence[Series]) -> bytes:
    """Return the MeterReadings document. Raises: PeerError as `plain_of`."""
    ET.register_namespace("", NAMESPACE)
    root = ET.Element(f"{{{NAMESPACE}}}{_ROOT}")
    _grow(root, plain_of(series))
    ET.indent(root)
    octets: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return octets


def to_json(series: Sequence[Series]) -> bytes:
    """Return the JSON twin of the document. Raises: PeerError as `plain_of`."""
    return json.dumps({_ROOT: plain_of(series)}, ensure_ascii=False).encode()


def from_xml(octets: bytes) -> list[Series]:
    """
    Return the series of a document or of the first MeterReadings in an envelope.

    Raises: PeerError naming what is no MeterReadings message.
    """
    text = _text(octets)
    if _DOCTYPE.search(text):
        raise PeerError(CODE, "a document type or entity is declared; send the message without it")
    try:
        root = ET.fromstring(text)  # noqa: S314
    except (ET.ParseError, ExpatError, ValueError) as error:
        raise PeerError(CODE, f"no well-formed XML: {str(error)[:120]}") from error
    for element in root.iter():
        if _local(element.tag) == _ROOT:
            return series_of(_plain(element, 0))
    raise PeerError(CODE, f"the document holds no {_ROOT}")


def from_json(octets: bytes) -> list[Series]:
    """Return the series of the JSON twin, in an envelope or not. Raises: PeerError."""
    try:
        found = json.loads(_text(octets), parse_float=str, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise PeerError(CODE, f"no well-formed JSON: {str(error)[:120]}") from error
    for name in ("Payload", _ROOT):
        if isinstance(found, dict) and name in found:
            found = found[name]
    if not isinstance(found, dict) or "MeterReading" not in found:
        raise PeerError(CODE, f"the message holds no {_ROOT}")
    return series_of(found)


def _text(octets: bytes) -> str:
    if len(octets) > MOST_OCTETS:
        raise PeerError(CODE, f"{len(octets)} octets are too many; send the readings in parts")
    try:
        text = octets.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PeerError(CODE, "the message is not UTF-8") from error
    # the declaration's encoding would be believed over ours
    return re.sub(r"^\s*<\?xml[^>]*\?>", "", text, count=1)


def _no_number(text: str) -> str:
    raise ValueError(f"{text} is no number")


def _local(tag: Any) -> str:
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def _plain(element: ET.Element, depth: int) -> Plain:
    if depth > _DEPTH:
        raise PeerError(CODE, "elements stand too deep in one another")
    plain: Plain = {f"@{_local(name)}": text for name, text in element.attrib.items()}
    for child in element:
        name = _local(child.tag)
        leaf = len(child) == 0 and not child.attrib and name not in _MANY
        value: Any = (child.text or "") if leaf else _plain(child, depth + 1)
        if name in _MANY:
            plain.setdefault(name, []).append(value)
        elif name in plain:
            raise PeerError(CODE, f"{name} stands twice where it belongs once")
        else:
            plain[name] = value
    return plain


def _grow(element: ET.Element, plain: Plain) -> None:
    for name, value in plain.items():
        if name.startswith("@"):
            element.set(name[1:], value)
            continue
        for one in value if isinstance(value, list) else [value]:
            child = ET.SubElement(element, f"{{{NAMESPACE}}}{name}")
            if isinstance(one, dict):
                _grow(child, one)
            else:
                child.text = str(one)
