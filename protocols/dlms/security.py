"""
Security suite 0: AES-GCM-128 with a 12-octet tag, and the GMAC of HLS mechanism 5.

Nonces are system title (8) + invocation counter (4), so a counter may serve one key once: whoever
hands counters out must have made them durable first. The tag is checked before anything else
looks at the text. *Source*: IEC 62056-5-3 clause 5.3 (suite 0, security header, AAD).
"""

import hmac
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM

from protocols.errors import PeerError

AUTHENTICATED = 0x10
ENCRYPTED = 0x20
SEALED = AUTHENTICATED | ENCRYPTED
"""Security control octet: suite 0, authenticated and encrypted, unicast key."""
TAG_OCTETS = 12
TITLE_OCTETS = 8
HEADER_OCTETS = 5
MAX_COUNTER = 0xFFFF_FFFF
MIN_CHALLENGE = 8
MAX_CHALLENGE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """The global unicast encryption key and the authentication key, 16 octets each."""

    encryption: bytes = field(repr=False)
    authentication: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse keys of another suite."""
        if len(self.encryption) != 16 or len(self.authentication) != 16:
            raise ValueError("suite 0 keys have 16 octets each; check the meter's keys file")


def _nonce(title: bytes, counter: int) -> bytes:
    if len(title) != TITLE_OCTETS:
        raise ValueError(f"a system title has {TITLE_OCTETS} octets, not {len(title)}")
    if not 0 <= counter <= MAX_COUNTER:
        raise ValueError("the invocation counter is used up; the key must be changed")
    return title + counter.to_bytes(4, "big")


def seal(keys: Keys, title: bytes, counter: int, text: bytes, *, control: int = SEALED) -> bytes:
    """
    Return security header, text and tag: `SC IC text tag`, the text encrypted as SC says.

    Raises: ValueError for another control octet, title length or a counter beyond 32 bits.
    """
    header = bytes((control,)) + counter.to_bytes(4, "big")
    seal_one = Cipher(AES(keys.encryption), GCM(_nonce(title, counter))).encryptor()
    if control == SEALED:
        seal_one.authenticate_additional_data(header[:1] + keys.authentication)
        body = seal_one.update(text) + seal_one.finalize()
        return header + body + seal_one.tag[:TAG_OCTETS]
    if control == AUTHENTICATED:
        seal_one.authenticate_additional_data(header[:1] + keys.authentication + text)
        seal_one.finalize()
        return header + text + seal_one.tag[:TAG_OCTETS]
    raise ValueError(f"security control {control:#04x} is not sent by us")


def split_header(sealed: bytes) -> tuple[int, int]:
    """Return security control and counter. Raises: PeerError `dlms.truncated`."""
    if len(sealed) < HEADER_OCTETS + TAG_OCTETS:
        raise PeerError("dlms.truncated", f"{len(sealed)} octets cannot be a ciphered text")
    return sealed[0], int.from_bytes(sealed[1:HEADER_OCTETS], "big")


def unseal(keys: Keys, title: bytes, sealed: bytes, *, control: int = SEALED) -> tuple[int, bytes]:
    """
    Return the counter and the text, once the tag has been found right.

    Raises: PeerError `dlms.security_control` when the octets claim less or other protection than
    `control`, `dlms.tag_mismatch`, `dlms.truncated`.
    """
    claimed, counter = split_header(sealed)
    if claimed != control:
        raise PeerError(
            "dlms.security_control",
            f"protected as {claimed:#04x}, agreed was {control:#04x}",
        )
    text, tag = sealed[HEADER_OCTETS:-TAG_OCTETS], sealed[-TAG_OCTETS:]
    mode = GCM(_nonce(title, counter), tag, min_tag_length=TAG_OCTETS)
    opener = Cipher(AES(keys.encryption), mode).decryptor()
    additional = sealed[:1] + keys.authentication
    try:
        if control == AUTHENTICATED:
            opener.authenticate_additional_data(additional + text)
            opener.finalize()
            return counter, text
        opener.authenticate_additional_data(additional)
        plain = opener.update(text) + opener.finalize()
    except InvalidTag:
        raise PeerError(
            "dlms.tag_mismatch", "the tag does not fit the text", evidence={"counter": counter}
        ) from None
    return counter, plain


def gmac(keys: Keys, title: bytes, counter: int, challenge: bytes) -> bytes:
    """
    Return `SC IC tag` over `challenge`, the answer of HLS mechanism 5.

    *Source*: IEC 62056-5-3 clause 5.7.1, HLS-GMAC: SC || IC || GMAC(SC || AK || challenge).
    """
    sealed = seal(keys, title, counter, challenge, control=AUTHENTICATED)
    return sealed[:HEADER_OCTETS] + sealed[-TAG_OCTETS:]


def check_gmac(keys: Keys, title: bytes, challenge: bytes, answer: bytes) -> int:
    """
    Return the counter of a right answer to `challenge`.

    Raises: PeerError `dlms.authentication`.
    """
    if len(answer) != HEADER_OCTETS + TAG_OCTETS:
        raise PeerError("dlms.authentication", f"a GMAC answer has 17 octets, not {len(answer)}")
    counter = int.from_bytes(answer[1:HEADER_OCTETS], "big")
    if not hmac.compare_digest(answer, gmac(keys, title, counter, challenge)):
        raise PeerError("dlms.authentication", "the answer to our challenge is wrong")
    return counter


def check_challenge(challenge: bytes, *, own: bytes) -> None:
    """
    Refuse a challenge that is too short, too long, or ours sent back.

    Raises: PeerError `dlms.challenge`, `dlms.reflected`. A reflected challenge would make us
    compute the very answer that we ask of the other side.
    """
    if not MIN_CHALLENGE <= len(challenge) <= MAX_CHALLENGE:
        raise PeerError("dlms.challenge", f"a challenge has 8..64 octets, not {len(challenge)}")
    if hmac.compare_digest(challenge, own):
        raise PeerError("dlms.reflected", "our own challenge came back")
