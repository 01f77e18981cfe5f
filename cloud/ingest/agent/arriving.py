"""An MQTT message as an arrival: octets, how they are written, which batch they say they are."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cloud.ingest.model import Arrival
from protocols.errors import PeerError
from protocols.identity import BatchId
from protocols.mqtt import envelope, topics


def arrival_of(
    topic: str, payload: Any, properties: Any, *, now: datetime, wall_now: datetime
) -> Arrival:
    """Return the arrival in a message as it came; nothing of it is judged yet."""
    return Arrival(
        payload=bytes(payload) if isinstance(payload, bytes | bytearray) else str(payload).encode(),
        content_type=getattr(properties, "ContentType", None) or envelope.CBOR,
        topic=topic,
        hint=hint_of(topic, getattr(properties, "UserProperty", None) or []),
        now=now,
        wall_now=wall_now,
    )


def hint_of(topic: str, properties: list[tuple[str, str]]) -> BatchId | None:
    """Return the batch id that the sender wrote beside the payload, None where it wrote none."""
    named = dict(properties)
    try:
        boot, seq = int(named["boot"]), int(named["seq"])
        concentrator = topics.concentrator_of(topic)
    except (KeyError, ValueError, PeerError):
        return None
    if not (-(2**63) <= boot < 2**63 and -(2**63) <= seq < 2**63):
        return None
    return BatchId(concentrator=concentrator, boot=boot, seq=seq)


_TOLD = ("waiting", "silent", "missing_s", "clock", "full", "boot", "config_revision")
_LONGEST = 40


def told_beside(state: Mapping[str, Any]) -> dict[str, int | str]:
    """Return what a concentrator tells beside its presence, as far as we know it and it is sane."""
    found: dict[str, int | str] = {}
    for name in _TOLD:
        value = state.get(name)
        if isinstance(value, str):
            found[name] = value[:_LONGEST]
        elif isinstance(value, int) and -(2**63) <= value < 2**63:
            found[name] = int(value)
    return found if "waiting" in found else {}
