"""
Peers' own words under a key: AES-256-GCM, bound to channel, payment, direction and instant.

The keys stand in a file that the database never sees: `{"current": "2026", "keys": {"2026": "…"}}`,
each of 64 hexadecimal digits. A key that is current no longer stays in the file to open what it
sealed. *Source*: NIST SP 800-38D (96-bit nonces, never twice under one key).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from billing.payments.model import PeerMessage, Refusal, SealedMessage
from protocols.errors import RefusedError
from protocols.timeline import to_ms

NONCE_OCTETS = 12
LONGEST = 16_777_216
"""Octets of a message that are kept; doors take none so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRing:
    """Keys by their names, and the name of the one that seals now."""

    current: str
    keys: Mapping[str, bytes] = field(repr=False)


def parse_ring(text: str) -> KeyRing:
    """Return a key ring from its file. Raises: ValueError naming what is wrong, never a key."""
    found = json.loads(text)
    if not isinstance(found, dict) or set(found) != {"current", "keys"}:
        raise ValueError("a key file names `current` and `keys`, and nothing else")
    keys, current = found["keys"], found["current"]
    if not isinstance(keys, dict) or current not in keys:
        raise ValueError("`current` is none of the keys")
    ring = {}
    for name, digits in keys.items():
        if not isinstance(digits, str) or len(digits) != 64:
            raise ValueError(f"key {name!r} is not of 64 hexadecimal digits")
        try:
            ring[name] = bytes.fromhex(digits)
        except ValueError as error:
            raise ValueError(f"key {name!r} is not of 64 hexadecimal digits") from error
    return KeyRing(current=current, keys=ring)


def seal(message: PeerMessage, words: bytes, ring: KeyRing, *, nonce: bytes) -> bytes:
    """Return words under the key that the message names; `nonce` must be new to that key."""
    return AESGCM(ring.keys[message.key_id]).encrypt(nonce, words, _bound(message))


def unseal(found: SealedMessage, ring: KeyRing) -> bytes:
    """
    Return the words of a kept message.

    Raises: RefusedError `payments.sealed` without its key, or when a letter of it was changed.
    """
    message = found.message
    key = ring.keys.get(message.key_id)
    if key is None:
        raise RefusedError(
            Refusal.SEALED, f"message {message.id} is under key {message.key_id!r}",
            fix="put that key back into the key file",
        )  # fmt: skip
    try:
        return AESGCM(key).decrypt(found.nonce, found.sealed, _bound(message))
    except InvalidTag as error:
        raise RefusedError(
            Refusal.SEALED, f"message {message.id} is not what was kept",
            fix="compare the database with a backup: its row was changed, or its key",
        ) from error  # fmt: skip


def _bound(message: PeerMessage) -> bytes:
    """Return what the seal covers besides the words: a row cannot pass for another's."""
    names = [message.channel, message.peer_txn_id, message.direction.value]
    return json.dumps([*names, to_ms(message.at_wall)], separators=(",", ":")).encode()
