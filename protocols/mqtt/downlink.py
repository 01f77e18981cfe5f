"""
What comes down to an agent: signed commands, the signed go of the cut handshake, watch wishes.

A cut is a handshake: command -> the edge answers with a fresh nonce -> the cloud checks its gate
once more under the lock -> `Go(nonce)`. Both are signed with Ed25519 (RFC 8032) over the exact
octets sent, so that nothing between signer and edge needs to be trusted. The payload on the wire
is CBOR `[body octets, signature]`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from protocols.errors import PeerError
from protocols.identity import CommandId, ConcentratorId, MeterId, is_name
from protocols.timeline import from_ms, to_ms

VERSION = 1
_MAX_BODY = 4096
_T = TypeVar("_T")


class Verb(StrEnum):
    """What a meter is told to do. *Source*: IEC 62056-6-2 class 70 methods for the relay verbs."""

    DISCONNECT = "disconnect"
    RECONNECT = "reconnect"
    """Close, or arm where the meter cannot close; where it has no remote closing, lift the trip."""
    READ_RELAY = "read_relay"
    DELIVER_TOKEN = "deliver_token"  # noqa: S105
    """Hand over `args.opaque` of `args.kind` once; what it is worth is between issuer and meter."""
    KEEP_POWER = "keep_power"
    """Refuse every trip from now on, at the meter itself (D8)."""
    END_KEEP_POWER = "end_keep_power"
    FIRMWARE = "firmware"
    """Fetch the image that `args` describe and bring it into the meter; see `upkeep`."""
    ACTIVATE_FIRMWARE = "activate_firmware"
    """Activate what an earlier `firmware` brought and the meter has verified."""
    REKEY = "rekey"
    """Change the meter's global keys to those sealed in `args`; see `upkeep`."""


KEEPING = frozenset({Verb.KEEP_POWER, Verb.END_KEEP_POWER})
"""Verbs for meters that can be told to keep power. *Source*: DL/T 645-2007, orders 3A and 3B."""


UPKEEP = frozenset({Verb.FIRMWARE, Verb.ACTIVATE_FIRMWARE, Verb.REKEY})
"""Verbs that care for a meter; none of them moves a switch, and each gives way to those that do."""


class TokenKind(StrEnum):
    """How a meter takes a token."""

    STS = "sts"
    DLMS115 = "dlms115"
    DLT645 = "dlt645"


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """Octets that we carry and never read; at most 256 of them."""

    kind: TokenKind
    opaque: bytes = field(repr=False)


def token_of(command: "Command") -> Token:
    """Return the token in a command's `args`. Raises: PeerError `command.token`."""
    opaque = command.args.get("opaque")
    kind = command.args.get("kind")
    if not isinstance(opaque, bytes) or not 1 <= len(opaque) <= 256:
        raise PeerError("command.token", "opaque must be 1 to 256 octets")
    if kind not in tuple(TokenKind):
        raise PeerError("command.token", f"unknown kind of token {kind!r:.40}")
    return Token(kind=TokenKind(kind), opaque=opaque)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """An order to one meter. Valid in `[not_before, expires)` of business time."""

    id: CommandId
    concentrator: ConcentratorId
    meter: MeterId
    verb: Verb
    not_before: datetime
    expires: datetime
    issuer: str
    epoch: int
    """The supply's fencing token when the command was issued."""
    args: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Go:
    """Permission to carry out the disconnect `id`, for the one nonce that the edge drew."""

    id: CommandId
    concentrator: ConcentratorId
    meter: MeterId
    nonce: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Somebody looks at `meter`: read it faster for `wall_seconds`."""

    meter: MeterId
    wall_seconds: int


def body_of(message: Command | Go) -> bytes:
    """Return the canonical octets that are signed and sent."""
    if isinstance(message, Command):
        plain: dict[str, Any] = {
            "v": VERSION, "t": "command", "id": message.id,
            "concentrator": message.concentrator, "meter": message.meter,
            "verb": message.verb.value, "not_before_ms": to_ms(message.not_before),
            "expires_ms": to_ms(message.expires), "issuer": message.issuer,
            "epoch": message.epoch, "args": dict(message.args),
        }  # fmt: skip
    else:
        plain = {
            "v": VERSION, "t": "go", "id": message.id, "concentrator": message.concentrator,
            "meter": message.meter, "nonce": message.nonce,
        }  # fmt: skip
    return cbor2.dumps(plain, canonical=True)


def seal(body: bytes, signature: bytes) -> bytes:
    """Return the payload on the wire."""
    return cbor2.dumps([body, signature])


def sign(message: Command | Go, key: Ed25519PrivateKey) -> bytes:
    """Return the signed payload of a message."""
    body = body_of(message)
    return seal(body, key.sign(body))


def open_signed(payload: bytes, key: Ed25519PublicKey) -> Command | Go:
    """
    Return the message in a signed payload; the signature is checked before anything is believed.

    Raises: PeerError `command.shape` or `command.signature`.
    """
    return opened(payload, key, _message, kind="command")


def opened(payload: bytes, key: Ed25519PublicKey, read: Callable[[Any], _T], *, kind: str) -> _T:
    """
    Return what `read` makes of the signed value in a payload, once the signature is proven.

    Raises: PeerError `{kind}.shape` or `{kind}.signature`.
    """
    if len(payload) > _MAX_BODY + 128:
        raise PeerError(f"{kind}.shape", f"{len(payload)} octets are too many for a {kind}")
    try:
        parts = cbor2.loads(payload)
        body, signature = parts
        if not isinstance(body, bytes) or not isinstance(signature, bytes):
            raise PeerError(f"{kind}.shape", "payload must be [body, signature]")
        key.verify(signature, body)
        return read(cbor2.loads(body))
    except InvalidSignature as error:
        raise PeerError(f"{kind}.signature", "the signature does not fit the body") from error
    except PeerError:
        raise
    except (cbor2.CBORError, KeyError, TypeError, ValueError, EOFError, OverflowError,
            RecursionError) as error:  # fmt: skip
        raise PeerError(f"{kind}.shape", f"{type(error).__name__}: {error}"[:200]) from error


def _message(plain: Any) -> Command | Go:
    if plain["v"] != VERSION:
        raise PeerError("command.shape", f"version {plain['v']!r:.40} is not {VERSION}")
    for name in ("id", "concentrator", "meter"):
        if not isinstance(plain[name], str) or not is_name(plain[name]):
            raise PeerError("command.shape", f"{name} must be an id, not {plain[name]!r:.60}")
    id_, concentrator = CommandId(plain["id"]), ConcentratorId(plain["concentrator"])
    meter = MeterId(plain["meter"])
    if plain["t"] == "go":
        if not isinstance(plain["nonce"], bytes):
            raise PeerError("command.shape", "nonce must be octets")
        return Go(id=id_, concentrator=concentrator, meter=meter, nonce=plain["nonce"])
    if plain["t"] != "command":
        raise PeerError("command.shape", f"unknown message {plain['t']!r:.40}")
    return Command(
        id=id_,
        concentrator=concentrator,
        meter=meter,
        verb=Verb(plain["verb"]),
        not_before=from_ms(plain["not_before_ms"]),
        expires=from_ms(plain["expires_ms"]),
        issuer=str(plain["issuer"]),
        epoch=int(plain["epoch"]),
        args=dict(plain["args"]),
    )


def watch_to_plain(watch: Watch) -> dict[str, Any]:
    """Return the value that `envelope.encode` turns into the payload of a watch wish."""
    return {"v": VERSION, "meter": watch.meter, "wall_seconds": watch.wall_seconds}


def watch_from_plain(value: Any) -> Watch:
    """Return the watch wish in a decoded payload. Raises: PeerError `watch.shape`."""
    try:
        if not is_name(value["meter"]) or type(value["wall_seconds"]) is not int:
            raise PeerError("watch.shape", "meter must be an id and wall_seconds an integer")
        return Watch(
            meter=MeterId(value["meter"]), wall_seconds=min(max(value["wall_seconds"], 0), 300)
        )
    except (KeyError, TypeError) as error:
        raise PeerError("watch.shape", f"{type(error).__name__}: {error}"[:200]) from error
