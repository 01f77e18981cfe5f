"""
Signatures of the REST door: HMAC-SHA256 over method, path, timestamp, nonce and the raw body.

The body is signed as it came, never as it was read: a re-written amount would change its text.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from protocols.timeline import from_ms

WINDOW = timedelta(minutes=5)
"""How far a request's timestamp may be from our wall clock; nonces are kept as long."""
_NONCE = re.compile(r"[A-Za-z0-9_-]{16,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """A peer that signs: its key's name, its channel, its secret; may it say `taken`."""

    key_id: str
    channel: str
    secret: str = field(repr=False)
    may_say_taken: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """What a request carries: `path` with its query exactly as it was sent."""

    method: str
    path: str
    timestamp: str
    nonce: str
    body: bytes
    signature: str


def signature_of(request: Signed, secret: str) -> str:
    """Return the signature that a request ought to carry, as lower-case hex."""
    head = f"{request.method}\n{request.path}\n{request.timestamp}\n{request.nonce}\n"
    return hmac.new(secret.encode(), head.encode() + request.body, hashlib.sha256).hexdigest()


def is_genuine(request: Signed, signer: Signer) -> bool:
    """Tell whether a peer signed it; takes equally long either way."""
    wanted = signature_of(request, signer.secret)
    return hmac.compare_digest(wanted.encode(), request.signature.encode(errors="replace"))


def is_timely(request: Signed, *, wall_now: datetime) -> bool:
    """Tell whether timestamp (ms) and nonce are well formed and the time is within the window."""
    if not _NONCE.fullmatch(request.nonce):
        return False
    if not request.timestamp.isascii() or not request.timestamp.isdigit():
        return False
    if len(request.timestamp) != 13:
        return False
    return abs(from_ms(int(request.timestamp)) - wall_now) <= WINDOW
