"""One frozen configuration of an agent, read from a JSON file; keys stand in another file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from edge.acquire.clock_rules import ClockRules
from protocols.identity import ConcentratorId, MeterId, UsagePointId
from protocols.mqtt.broker import BrokerAddress
from protocols.mqtt.envelope import CBOR_ZSTD
from protocols.timeline import TimeScale

KEY_OCTETS = (16, 32)
_IDENTITY = TimeScale()
_CLOCK = ClockRules()
_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"


class ConfigError(Exception):
    """A configuration cannot be used; the message names file, key and what to do."""


def _scale(value: Any) -> Any:
    return TimeScale.parse(value) if isinstance(value, str) else value


def _or_zero(value: Any) -> Any:
    return 0 if value is None else value


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterConfig:
    """
    One meter behind this concentrator; `unit`, `model`, `serial` only for Modbus.

    A meter is reached at `host` and `port`, or on `serial_port` (a path; `serial` is the number
    on the meter's plate). `hdlc_*`, `mode_e` and the links `wrapper` and `hdlc-*` are for DLMS.
    Modbus goes by TCP unless `link` is `rtu-serial`, or `rtu-tcp`: a gateway that passes octets on.
    DL/T 645 goes by TCP (a modem or such a gateway) unless `serial_port` is given, most often at
    `baud` 2400 and `parity` E; `serial` is then its address, up to 12 digits.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    meter: Annotated[MeterId, Field(pattern=_NAME_PATTERN)]
    usage_point: Annotated[UsagePointId, Field(pattern=_NAME_PATTERN)]
    protocol: Literal["dlms", "modbus", "dlt645"]
    host: str = ""
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    history_from: datetime
    """Start of what the meter's profile is asked for."""
    client_sap: int = 1
    server_sap: int = 1
    authentication: Literal["none", "lls", "hls5", "hls-md5", "hls-sha1", "hls-sha256"] = "none"
    ciphered: bool | None = None
    """Whether every DLMS APDU is ciphered; left out it means with hls5 alone."""
    dedicated_key: bool = False
    """Whether each DLMS association makes an encryption key of its own."""
    event_profile: Literal["idis", "dsmr4", "smr5", "spodes"] = "idis"
    """The companion profile by which a DLMS meter numbers the events in its logs."""
    weak_hls: bool = False
    """Must be said to use hls-md5 or hls-sha1, whose hashes are broken."""
    interval_seconds: Annotated[int, BeforeValidator(_or_zero), Field(ge=0, le=86_400)] = 0
    """Length of a profile interval; 0 (or null) where the meter keeps no profile."""
    has_relay: bool = False
    unit: Annotated[int, Field(ge=0, le=255)] = 1
    model: str = ""
    map_file: str = ""
    """A register map of the installation's own, instead of the one shipped for `model`."""
    serial: str = ""
    timeout_seconds: Annotated[float, Field(gt=0, le=120)] = 3.0
    answer_ms: Annotated[int | None, Field(gt=0, le=60_000)] = None
    """Wait for an answer on a bus; null is what the model's map says. So is `gap_ms`, silence."""
    gap_ms: Annotated[int | None, Field(ge=0, le=10_000)] = None
    clock: ClockRules | None = None
    """How this meter's clock is kept, where it is to differ from the rules of the agent."""
    serial_port: str = ""
    baud: Annotated[int, Field(ge=50, le=4_000_000)] = 9600
    data_bits: Literal[7, 8] = 8
    parity: Literal["N", "E", "O"] = "N"
    stop_bits: Literal[1, 2] = 1
    link: Literal["wrapper", "hdlc-tcp", "hdlc-serial", "rtu-tcp", "rtu-serial"] = "wrapper"
    hdlc_physical: Annotated[int, Field(ge=0, le=16383)] | None = None
    """Lower HDLC address, often from the serial number; the upper one is `server_sap`."""
    hdlc_address_octets: Literal[1, 2, 4] | None = None
    """Length of the server's address on the line; None is the shortest that holds it."""
    hdlc_info_octets: Annotated[int, Field(ge=32, le=2030)] = 128
    """Most octets of one segment that is asked for; the meter may grant fewer."""
    mode_e: bool = False
    """Sign on at 300 7E1 by IEC 62056-21 and hand over to HDLC, as optical ports want."""
    closes_remotely: bool = True
    """DL/T 645: False where a hand alone closes the breaker, so that a restore lifts the trip."""
    arms_itself: bool = False
    """DL/T 645: the breaker may be closed by hand a minute after each trip, unasked."""
    dlt645_edition: Literal["2007", "2013"] = "2013"
    """What the state word tells: 2013 knows the relay command and keep-power, 2007 neither."""
    utc_offset_minutes: Annotated[int, Field(ge=-720, le=840)] = 480
    """Zone of a meter whose stamps tell none (DL/T 645); 480 is China."""

    push_objects: tuple[str, ...] = ()
    """OBIS names of what a DLMS meter pushes, in order; `/3` behind one is its scaler and unit."""
    plain_pushes: bool = False
    """Whether pushes that nothing proves are taken; what they say is marked."""

    def __post_init__(self) -> None:
        """Refuse an instant without zone, for it has no place on the time line, and no address."""
        if not self.serial_port and not (self.host and self.port):
            raise ValueError("a meter needs host and port, or serial_port")
        if self.link == "hdlc-serial" and not self.serial_port:
            raise ValueError("link hdlc-serial needs serial_port, for example /dev/ttyUSB0")
        if self.history_from.tzinfo is None:
            raise ValueError("history_from needs a zone, for example 2026-01-01T00:00:00Z")
        if self.protocol == "modbus":
            self._check_modbus()
        elif self.link in {"rtu-serial", "rtu-tcp"}:
            raise ValueError(f"link {self.link} is for protocol modbus")
        if self.protocol == "dlt645" and not (self.serial.isdecimal() and len(self.serial) <= 12):
            raise ValueError("a DL/T 645 meter needs serial: the address on it, up to 12 digits")

    @property
    def shared_line(self) -> str:
        """Return the line that the meter shares with others, empty when it has one of its own."""
        return f"{self.host}:{self.port}" if self.link == "rtu-tcp" else self.serial_port

    def _check_modbus(self) -> None:
        if not self.model and not self.map_file:
            raise ValueError("a Modbus meter needs model (a shipped map, or sunspec) or map_file")
        if self.link == "rtu-serial" and not self.serial_port:
            raise ValueError("link rtu-serial needs serial_port, for example /dev/ttyUSB0")
        if self.link != "rtu-serial" and not (self.host and self.port):
            raise ValueError("needs host and port, or link rtu-serial with serial_port")


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeConfig:
    """
    What one agent needs to know. *Units*: every `*_seconds` is wall time.

    `control_public_key` is the raw Ed25519 key as hex, the only one whose commands are obeyed.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    concentrator: Annotated[ConcentratorId, Field(pattern=_NAME_PATTERN)]
    broker: BrokerAddress
    outbox: Path
    keys_file: Path
    control_public_key: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")]
    meters: tuple[MeterConfig, ...]
    time_scale: Annotated[TimeScale, BeforeValidator(_scale)] = _IDENTITY
    poll_seconds: Annotated[float, Field(gt=0)] = 2.0
    profile_seconds: Annotated[float, Field(gt=0)] = 3.0
    watched_seconds: Annotated[float, Field(gt=0)] = 1.0
    offline_poll_seconds: Annotated[float, Field(gt=0)] = 60.0
    """How often present values are read once the broker has been away for `offline_after`."""
    events_seconds: Annotated[float, Field(gt=0)] = 60.0
    """How often the event logs of a meter are read."""
    offline_after_seconds: Annotated[float, Field(ge=0)] = 30.0
    concurrency: Annotated[int, Field(ge=1, le=1000)] = 8
    outbox_max_batches: Annotated[int, Field(ge=1)] = 20_000
    disk_reserve_mb: Annotated[int, Field(ge=0)] = 32
    """What is left of the disk for commands and counters: below it no more meters are read."""
    backfill_days: Annotated[int, Field(ge=1, le=62)] = 2
    """Most business days of one meter's profile asked for in one trip."""
    backfill_pause_seconds: Annotated[float, Field(ge=0)] = 0.1
    clock_limit_seconds: Annotated[int, Field(ge=1)] = 120
    """Business seconds by which a meter's clock may differ before it is an event."""
    clock: ClockRules = _CLOCK
    clock_set: bool | None = None
    """Whether meters' clocks are set; null: yes, unless business time runs faster than the wall."""
    sync_file: str = ""
    push_host: str = ""
    """Address on which pushes of DLMS meters are heard, by UDP and TCP; with `push_port`."""
    push_port: Annotated[int, Field(ge=0, le=65535)] = 0
    content_type: Literal[
        "application/vnd.meterloop.v1+cbor; enc=zstd",
        "application/vnd.meterloop.v1+cbor",
        "application/vnd.meterloop.v1+json; enc=deflate",
        "application/vnd.meterloop.v1+json",
    ] = CBOR_ZSTD
    """How batches are written; JSON for eyes and for foreign receivers."""

    def __post_init__(self) -> None:
        """Refuse a meter listed twice: two sessions would break each other's counters."""
        names = [item.meter for item in self.meters]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"meters are listed twice: {', '.join(twice)}")

    def with_settings(self, settings: Mapping[str, int | float]) -> "EdgeConfig":
        """Return what holds under settings from afar that `upkeep.fault_of` finds no fault with."""
        # each in the type that the file gives it
        typed = {name: type(getattr(self, name))(value) for name, value in settings.items()}
        changed: EdgeConfig = replace(self, **typed)
        return changed

    def clock_rules_of(self, meter: MeterConfig) -> ClockRules | None:
        """Return how a meter's clock is kept; None where it is only looked at."""
        allowed = self.time_scale.speed == 1 if self.clock_set is None else self.clock_set
        return (meter.clock or self.clock) if allowed else None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class MeterKeys:
    """Secrets of one meter; empty where its authentication needs none. Never shown."""

    password: bytes = b""
    authentication_key: bytes = b""
    encryption_key: bytes = b""
    master_key: bytes = b""
    """What wraps new keys for this meter; without it they are not changed from here."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class KeyRing:
    """
    The client's system title and the keys of its meters.

    `transport_key` (32 octets, or empty) opens new keys that come from afar.
    """

    system_title: bytes
    meters: dict[MeterId, MeterKeys]
    transport_key: bytes = b""

    def of(self, meter: MeterId) -> MeterKeys:
        """Return the keys of `meter`, empty ones if it has none."""
        return self.meters.get(meter, MeterKeys())


@cache
def _adapter() -> TypeAdapter[EdgeConfig]:
    # an agent that was given its settings already typed is spared the memory
    return TypeAdapter(EdgeConfig)


def config_from_json(text: str | bytes, *, source: str = "configuration") -> EdgeConfig:
    """Return the configuration in a JSON text. Raises: ConfigError naming each key at fault."""
    try:
        return _adapter().validate_json(text)
    except ValidationError as error:
        lines = [
            f"{'.'.join(str(part) for part in item['loc']) or 'file'}: {item['msg']}"
            for item in error.errors(include_input=False, include_url=False)
        ]
        raise ConfigError(f"{source}: " + "; ".join(lines)) from None


def load_config(path: Path) -> EdgeConfig:
    """Return the configuration in a file. Raises: ConfigError when it is missing or wrong."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); give --config") from error
    return config_from_json(text, source=str(path))


def load_keys(path: Path) -> KeyRing:
    """
    Return the keys in `{"system_title": hex, meter: {"password": hex, ...}, ...}`.

    Raises: ConfigError when the file is missing, wrong, or open to other users. Never shows a key.
    """
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigError(f"{path}: other users may read the keys; chmod 600 it")
        plain = json.loads(path.read_bytes())
        title = bytes.fromhex(plain.pop("system_title"))
        if len(title) != 8:
            raise ConfigError(f"{path}: system_title must be 8 octets as hex")
        transport = bytes.fromhex(plain.pop("transport_key", ""))
        if len(transport) not in (0, 32):
            raise ConfigError(f"{path}: transport_key must be 32 octets as hex")
        return KeyRing(
            system_title=title,
            transport_key=transport,
            meters={MeterId(name): _keys(path, name, item) for name, item in plain.items()},
        )
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        # the text of such an error may quote a key, so only its kind is told
        raise ConfigError(f"{path}: is not a map of hex keys ({type(error).__name__})") from None


def _keys(path: Path, name: str, item: dict[str, str]) -> MeterKeys:
    keys = MeterKeys(**{field: bytes.fromhex(text) for field, text in item.items()})
    for field in ("authentication_key", "encryption_key", "master_key"):
        if len(getattr(keys, field)) not in (0, *KEY_OCTETS):
            raise ConfigError(f"{path}: {name}.{field} must be 16 or 32 octets as hex")
    return keys
