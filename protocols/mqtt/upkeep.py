"""
What keeps agents and meters in good order from afar: settings, firmware, keys.

    settings  `ConfigOrder`, signed like a command, retained on `down/config`; an order replaces the
              one before it as a whole, and a setting that it does not name is as the file has it
    firmware  `Command` with verb FIRMWARE and a `FirmwareOrder` in `args`; the agent asks for the
              image block by block with `Fetch` on `up/fetch` and gets each as a `Block` on
              `down/fw` (MQTT 5 response topic; the correlation data comes back as it was sent)
    keys      `Command` with verb REKEY and in `args` what `seal_keys` made

Blocks are not signed: the digest of the whole image stands in the signed order. Each order has an
id that begins with `upkeep-`, so that who takes acks knows whose they are. A concentrator acks its
own settings as the meter that bears its name.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any

import cbor2
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from protocols.errors import PeerError
from protocols.identity import CommandId, ConcentratorId, MeterId, is_name
from protocols.mqtt.downlink import Command, opened, seal
from protocols.timeline import from_ms, to_ms

VERSION = 1
PREFIX = "upkeep-"
DIGEST_OCTETS = 32
MOST_IMAGE_OCTETS = 16 << 20
LEAST_BLOCK, MOST_BLOCK = 256, 65_536
MOST_SEALED_OCTETS = 256
NONCE_OCTETS = 12
_KEY_OCTETS = (16, 32)

Setting = int | float


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingRange:
    """What a setting may be, both ends included; `whole` where it is an integer."""

    least: Setting
    most: Setting
    whole: bool = False

    def __str__(self) -> str:
        """Return the range as a person reads it."""
        kind = "a whole number" if self.whole else "a number"
        return f"{kind} from {self.least} to {self.most}"


SETTINGS: Mapping[str, SettingRange] = MappingProxyType(
    {
        "poll_seconds": SettingRange(least=0.1, most=86_400),
        "watched_seconds": SettingRange(least=0.1, most=3600),
        "profile_seconds": SettingRange(least=0.1, most=86_400),
        "offline_poll_seconds": SettingRange(least=0.1, most=86_400),
        "offline_after_seconds": SettingRange(least=0, most=86_400),
        "concurrency": SettingRange(least=1, most=1000, whole=True),
        "backfill_days": SettingRange(least=1, most=62, whole=True),
        "backfill_pause_seconds": SettingRange(least=0, most=3600),
        "clock_limit_seconds": SettingRange(least=1, most=86_400, whole=True),
    }
)
"""What may be set from afar; the names are those of the agent's configuration file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigOrder:
    """
    The settings that hold at `concentrator` from `revision` on; revisions rise, 1 is the first.

    An agent that hears of it at or after `expires` refuses it; once taken, it holds for good.
    `settings` are as they came: `fault_of` tells whether they may be used.
    """

    id: CommandId
    concentrator: ConcentratorId
    revision: int
    issued_at: datetime
    expires: datetime | None = None
    issuer: str
    settings: Mapping[str, Setting]


def fault_of(settings: Mapping[str, Setting]) -> str:
    """Return what is wrong with settings, naming key and range; empty when nothing is."""
    for name, value in settings.items():
        allowed = SETTINGS.get(name)
        if allowed is None:
            return f"{name[:64]}: no such setting; known are {', '.join(sorted(SETTINGS))}"
        fits = type(value) is int or (type(value) is float and not allowed.whole)
        if not fits or not allowed.least <= value <= allowed.most:
            return f"{name}: must be {allowed}, not {value!r:.40}"
    return ""


def config_body(order: ConfigOrder) -> bytes:
    """Return the canonical octets that are signed and sent."""
    plain = {
        "v": VERSION, "t": "config", "id": order.id, "concentrator": order.concentrator,
        "revision": order.revision, "issued_ms": to_ms(order.issued_at),
        "expires_ms": None if order.expires is None else to_ms(order.expires),
        "issuer": order.issuer, "settings": dict(order.settings),
    }  # fmt: skip
    return cbor2.dumps(plain, canonical=True)


def sign_config(order: ConfigOrder, key: Ed25519PrivateKey) -> bytes:
    """Return the signed payload of an order."""
    body = config_body(order)
    return seal(body, key.sign(body))


def open_config(payload: bytes, key: Ed25519PublicKey) -> ConfigOrder:
    """Return the order in a signed payload. Raises: PeerError `config.shape`, `.signature`."""
    return opened(payload, key, _config, kind="config")


def _config(plain: Any) -> ConfigOrder:
    if plain["v"] != VERSION or plain["t"] != "config":
        raise PeerError("config.shape", "no order of settings of this version")
    revision, settings, expires = plain["revision"], plain["settings"], plain["expires_ms"]
    if type(revision) is not int or not 1 <= revision < 1 << 53:
        raise PeerError("config.shape", f"revision must be a whole number, not {revision!r:.40}")
    if not isinstance(settings, dict) or not all(isinstance(name, str) for name in settings):
        raise PeerError("config.shape", "settings must be a map of names")
    if not all(type(value) in (int, float) for value in settings.values()):
        raise PeerError("config.shape", "settings must be numbers")
    if not all(math.isfinite(value) for value in settings.values()):
        raise PeerError("config.shape", "settings must be finite")
    return ConfigOrder(
        id=CommandId(_name(plain["id"], "id")),
        concentrator=ConcentratorId(_name(plain["concentrator"], "concentrator")),
        revision=revision,
        issued_at=from_ms(plain["issued_ms"]),
        expires=None if expires is None else from_ms(expires),
        issuer=str(plain["issuer"])[:200],
        settings=settings,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FirmwareOrder:
    """
    An image to be brought into a meter, and when to activate it.

    `image` is the SHA-256 of its `size` octets, `identifier` the name that the meter knows it by
    (IEC 62056-6-2 class 18). With `activate` it is activated once verified, or at `activate_at`;
    without, a later ACTIVATE_FIRMWARE does it. `block` is the size of what is fetched at a time.
    """

    image: bytes
    size: int
    identifier: bytes
    block: int = 8192
    activate: bool = False
    activate_at: datetime | None = None

    @property
    def blocks(self) -> int:
        """Return how many blocks there are to fetch."""
        return -(-self.size // self.block)


def firmware_args(order: FirmwareOrder) -> dict[str, Any]:
    """Return the `args` of a FIRMWARE command."""
    at = order.activate_at
    return {
        "image": order.image, "size": order.size, "identifier": order.identifier,
        "block": order.block, "activate": order.activate,
        "activate_at_ms": None if at is None else to_ms(at),
    }  # fmt: skip


def firmware_of(command: Command) -> FirmwareOrder:
    """Return the order in a FIRMWARE command. Raises: PeerError `command.firmware`."""
    args = command.args
    image, size, identifier = args.get("image"), args.get("size"), args.get("identifier")
    block, activate, at = args.get("block"), args.get("activate"), args.get("activate_at_ms")
    if not isinstance(image, bytes) or len(image) != DIGEST_OCTETS:
        raise PeerError("command.firmware", "image must be the 32 octets of a SHA-256")
    if type(size) is not int or not 1 <= size <= MOST_IMAGE_OCTETS:
        raise PeerError("command.firmware", f"size must be 1 to {MOST_IMAGE_OCTETS} octets")
    if not isinstance(identifier, bytes) or not 1 <= len(identifier) <= 64:
        raise PeerError("command.firmware", "identifier must be 1 to 64 octets")
    if type(block) is not int or not LEAST_BLOCK <= block <= MOST_BLOCK:
        raise PeerError("command.firmware", f"block must be {LEAST_BLOCK} to {MOST_BLOCK} octets")
    if type(activate) is not bool or (at is not None and (type(at) is not int or not activate)):
        raise PeerError("command.firmware", "activate must be yes or no; activate_at goes with yes")
    try:
        moment = None if at is None else from_ms(at)
    except (OverflowError, ValueError) as error:
        raise PeerError("command.firmware", "activate_at is no instant") from error
    return FirmwareOrder(
        image=image,
        size=size,
        identifier=identifier,
        block=block,
        activate=activate,
        activate_at=moment,
    )


def activation_args(order: CommandId) -> dict[str, Any]:
    """Return the `args` of an ACTIVATE_FIRMWARE command: whose image it is."""
    return {"order": order}


def activation_of(command: Command) -> CommandId:
    """Return which FIRMWARE order's image is to be activated. Raises: PeerError."""
    order = command.args.get("order")
    if not isinstance(order, str) or not is_name(order):
        raise PeerError("command.firmware", "order must be the id of a firmware order")
    return CommandId(order)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """The agent asks for one block of an image; `index` counts from 0 in blocks of `block`."""

    image: bytes
    index: int
    block: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One block of an image; empty with a `reason` where there is none to give."""

    image: bytes
    index: int
    octets: bytes = field(repr=False)
    reason: str = ""


def fetch_to_plain(fetch: Fetch) -> dict[str, Any]:
    """Return the value that `envelope.encode` turns into the payload of a fetch."""
    return {"v": VERSION, "image": fetch.image, "index": fetch.index, "block": fetch.block}


def fetch_from_plain(value: Any) -> Fetch:
    """Return the fetch in a decoded payload. Raises: PeerError `fetch.shape`."""
    try:
        image, index, block = value["image"], value["index"], value["block"]
        if value["v"] != VERSION or not isinstance(image, bytes) or len(image) != DIGEST_OCTETS:
            raise PeerError("fetch.shape", "image must be the 32 octets of a SHA-256")
        if type(index) is not int or not 0 <= index <= MOST_IMAGE_OCTETS // LEAST_BLOCK:
            raise PeerError("fetch.shape", f"index must be a block's number, not {index!r:.40}")
        if type(block) is not int or not LEAST_BLOCK <= block <= MOST_BLOCK:
            raise PeerError("fetch.shape", f"block must be {LEAST_BLOCK} to {MOST_BLOCK} octets")
        return Fetch(image=image, index=index, block=block)
    except (KeyError, TypeError) as error:
        raise PeerError("fetch.shape", f"{type(error).__name__}: {error}"[:200]) from error


def block_to_plain(block: Block) -> dict[str, Any]:
    """Return the value that `envelope.encode` turns into the payload of a block."""
    return {
        "v": VERSION, "image": block.image, "index": block.index, "octets": block.octets,
        "reason": block.reason,
    }  # fmt: skip


def block_from_plain(value: Any) -> Block:
    """Return the block in a decoded payload. Raises: PeerError `block.shape`."""
    try:
        image, index, octets = value["image"], value["index"], value["octets"]
        if value["v"] != VERSION or not isinstance(image, bytes) or len(image) != DIGEST_OCTETS:
            raise PeerError("block.shape", "image must be the 32 octets of a SHA-256")
        if type(index) is not int or index < 0:
            raise PeerError("block.shape", f"index must be a block's number, not {index!r:.40}")
        if not isinstance(octets, bytes) or len(octets) > MOST_BLOCK:
            raise PeerError("block.shape", f"a block has at most {MOST_BLOCK} octets")
        reason = str(value.get("reason", ""))[:200]
        return Block(image=image, index=index, octets=octets, reason=reason)
    except (KeyError, TypeError, AttributeError) as error:
        raise PeerError("block.shape", f"{type(error).__name__}: {error}"[:200]) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKeys:
    """The global keys that a meter is to have; both of one length."""

    encryption_key: bytes = field(repr=False)
    authentication_key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse keys of no suite. Raises: ValueError, which quotes neither."""
        lengths = {len(self.encryption_key), len(self.authentication_key)}
        if len(lengths) != 1 or not lengths <= set(_KEY_OCTETS):
            raise ValueError("both keys must be 16 or both 32 octets")


def seal_keys(
    keys: NewKeys, transport_key: bytes, *, nonce: bytes,
    concentrator: ConcentratorId, meter: MeterId,
) -> dict[str, bytes]:  # fmt: skip
    """
    Return the `args` of a REKEY command, readable to nobody but the concentrator.

    `transport_key` (32 octets) is what the concentrator's key file calls so; `nonce` must never
    come twice under it. *Source*: NIST SP 800-38D, AES-GCM; names are authenticated beside.
    """
    if len(nonce) != NONCE_OCTETS or len(transport_key) != 32:
        raise ValueError(f"needs a key of 32 and a nonce of {NONCE_OCTETS} octets")
    text = keys.encryption_key + keys.authentication_key
    sealed = nonce + AESGCM(transport_key).encrypt(nonce, text, _scope(concentrator, meter))
    return {"sealed": sealed}


def open_keys(command: Command, transport_key: bytes) -> NewKeys:
    """Return the keys in a REKEY command. Raises: PeerError `command.rekey`, which quotes none."""
    sealed = command.args.get("sealed")
    if not isinstance(sealed, bytes) or len(sealed) > MOST_SEALED_OCTETS:
        raise PeerError("command.rekey", f"sealed must be at most {MOST_SEALED_OCTETS} octets")
    scope = _scope(command.concentrator, command.meter)
    try:
        text = AESGCM(transport_key).decrypt(sealed[:NONCE_OCTETS], sealed[NONCE_OCTETS:], scope)
        half = len(text) // 2
        return NewKeys(encryption_key=text[:half], authentication_key=text[half:])
    except (InvalidTag, ValueError):
        # the causes stay away: none of them is worth a hint at what was sealed
        raise PeerError("command.rekey", "what is sealed cannot be opened here") from None


def _scope(concentrator: ConcentratorId, meter: MeterId) -> bytes:
    return f"rekey/{concentrator}/{meter}".encode()


def _name(value: Any, name: str) -> str:
    if not isinstance(value, str) or not is_name(value):
        raise PeerError("config.shape", f"{name} must be an id, not {value!r:.60}")
    return value
