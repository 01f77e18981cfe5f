"""
Live values for people watching: small retained JSON messages, one topic per kind.

Money and energy are integers (micros, Wh); formatting is the portal's.
"""

import json
from dataclasses import asdict, dataclass

from protocols.errors import PeerError
from protocols.identity import UsagePointId
from protocols.mqtt.topics import Live


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveReading:
    """The latest committed reading. `at_ms` is device time, `wall_ms` the wall clock at commit."""

    usage_point: UsagePointId
    at_ms: int
    wall_ms: int
    quality: str
    register_wh: int
    """Cumulative import of the usage point, across meter exchanges."""
    today_wh: int
    power_w: int | None = None
    voltage_mv: int | None = None
    current_ma: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveBalance:
    """What the kernel made of that reading."""

    usage_point: UsagePointId
    available_micros: int
    cost_today_micros: int
    today_wh: int
    """What `cost_today_micros` is the price of: the two are always shown together."""
    as_of_register_wh: int
    at_ms: int
    tariff_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveSupply:
    """The switch as last read: `connected`, `disconnected` or `armed`, and the open command."""

    usage_point: UsagePointId
    state: str
    at_ms: int
    command: str = ""


LiveMessage = LiveReading | LiveBalance | LiveSupply
_KINDS: dict[Live, type[LiveMessage]] = {
    Live.READING: LiveReading,
    Live.BALANCE: LiveBalance,
    Live.SUPPLY: LiveSupply,
}


def live_to_bytes(message: LiveMessage) -> bytes:
    """Return the JSON payload of a live message."""
    return json.dumps(asdict(message), separators=(",", ":")).encode()


def live_from_bytes(what: Live, payload: bytes) -> LiveMessage:
    """Return the live message of kind `what`. Raises: PeerError `live.shape`."""
    try:
        return _KINDS[what](**json.loads(payload))
    except (ValueError, TypeError) as error:
        raise PeerError("live.shape", f"{type(error).__name__}: {error}"[:200]) from error
