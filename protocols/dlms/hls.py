"""
High level authentication: what each side computes from the other's challenge.

    MD5, SHA1   H(challenge || secret)                  broken hashes, off by default
    GMAC        SC || IC || GMAC(SC || AK || challenge)  see `security.gmac`
    SHA256      H(secret || own title || other title || other's challenge || own challenge)

*Source*: IEC 62056-5-3 clause 5.7.4 (HLS mechanisms 3 to 6).
"""

import hashlib
import hmac
from dataclasses import dataclass, field

from protocols.dlms.acse import Mechanism
from protocols.dlms.association import Authentication
from protocols.dlms.security import TITLE_OCTETS, Keys, check_gmac, gmac
from protocols.errors import PeerError

MECHANISM_OF = {
    Authentication.NONE: Mechanism.NONE,
    Authentication.LLS: Mechanism.LLS,
    Authentication.HLS_MD5: Mechanism.HLS_MD5,
    Authentication.HLS_SHA1: Mechanism.HLS_SHA1,
    Authentication.HLS5: Mechanism.HLS_GMAC,
    Authentication.HLS_SHA256: Mechanism.HLS_SHA256,
}
WEAK = frozenset({Authentication.HLS_MD5, Authentication.HLS_SHA1})
PROVEN = WEAK | {Authentication.HLS5, Authentication.HLS_SHA256}
"""Authentications with a proof of both sides after the association has been accepted."""
TITLED = frozenset({Authentication.HLS5, Authentication.HLS_SHA256})
"""Those whose proof needs both system titles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """Who proves something to whom: the prover's title and challenge, and the other's."""

    title: bytes
    challenge: bytes
    peer_title: bytes
    peer_challenge: bytes

    def turned(self) -> "Side":
        """Return the same from the other side."""
        return Side(
            title=self.peer_title,
            challenge=self.peer_challenge,
            peer_title=self.title,
            peer_challenge=self.challenge,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """What the proof is made of: the shared secret of a hash, or the keys of GMAC."""

    authentication: Authentication
    password: bytes = field(default=b"", repr=False)
    keys: Keys | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Refuse a proof made of nothing."""
        if self.authentication is Authentication.HLS5 and self.keys is None:
            raise ValueError("HLS with GMAC needs the meter's keys; check the meter's keys file")
        hashed = self.authentication in PROVEN - {Authentication.HLS5}
        if hashed and not self.password:
            raise ValueError("HLS with a hash needs its secret; give it as the meter's password")


def prove(secret: Secret, side: Side, counter: int) -> bytes:
    """Return the answer to the peer's challenge; `counter` is used by GMAC alone."""
    match secret.authentication:
        case Authentication.HLS5 if secret.keys is not None:
            return gmac(secret.keys, side.title, counter, side.peer_challenge)
        case Authentication.HLS_SHA256:
            text = secret.password + side.title + side.peer_title
            return hashlib.sha256(text + side.peer_challenge + side.challenge).digest()
        case Authentication.HLS_SHA1:
            text = side.peer_challenge + secret.password
            return hashlib.sha1(text, usedforsecurity=False).digest()
        case Authentication.HLS_MD5:
            text = side.peer_challenge + secret.password
            return hashlib.md5(text, usedforsecurity=False).digest()
        case other:
            raise ValueError(f"{other} proves nothing")


def check_proof(secret: Secret, side: Side, answer: bytes) -> None:
    """
    Insist that `answer` is the peer's right answer to the challenge of `side`.

    Raises: PeerError `dlms.authentication`.
    """
    if secret.authentication is Authentication.HLS5 and secret.keys is not None:
        check_gmac(secret.keys, side.peer_title, side.challenge, answer)
        return
    if not hmac.compare_digest(answer, prove(secret, side.turned(), 0)):
        raise PeerError("dlms.authentication", "the answer to our challenge is wrong")


def check_peer_title(title: bytes, *, own: bytes, expected: bytes) -> None:
    """Refuse a title that is none, ours, or another's. Raises: PeerError `dlms.title`, foreign."""
    if len(title) != TITLE_OCTETS or title == own:
        raise PeerError("dlms.title", "the peer's system title is missing or our own")
    if expected and title != expected:
        raise PeerError(
            "dlms.foreign", "an answer of another meter", evidence={"title": title.hex()}
        )
