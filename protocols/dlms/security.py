"""
Security suites 0 and 2: AES-GCM with 128 or 256 bits, a 12-octet tag, the GMAC of HLS mechanism 5.

Nonces are system title (8) + invocation counter (4), so a counter may serve one key once: whoever
hands counters out must have made them durable first. The tag is checked before anything else
looks at the text. Suite 1 and the signatures and key agreement of suite 2 are refused by name.
*Source*: IEC 62056-5-3 clause 5.3 (suites, security header, AAD); RFC 3394 (key wrap).
"""

import hmac
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR, GCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from protocols.errors import PeerError

AUTHENTICATED = 0x10
ENCRYPTED = 0x20
SEALED = AUTHENTICATED | ENCRYPTED
"""Security control octet without its suite: authenticated and encrypted, unicast key."""
SUITES = {16: 0, 32: 2}
"""Octets of a key -> the suite that has such keys."""
_SUITE_BITS = 0x0F
TAG_OCTETS = 12
TITLE_OCTETS = 8
HEADER_OCTETS = 5
MAX_COUNTER = 0xFFFF_FFFF
MIN_CHALLENGE = 8
MAX_CHALLENGE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """The global unicast encryption key and the authentication key; their length is the suite."""

    encryption: bytes = field(repr=False)
    authentication: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse keys of no suite, or of two."""
        octets = len(self.encryption)
        if octets not in SUITES or len(self.authentication) != octets:
            raise ValueError(
                "keys have 16 octets each in suite 0 and 32 octets each in suite 2; "
                "check the meter's keys file"
            )

    @property
    def suite(self) -> int:
        """Return 0 or 2."""
        return SUITES[len(self.encryption)]


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
    header = bytes((control | keys.suite,)) + counter.to_bytes(4, "big")
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


def split_header(sealed: bytes, *, tag: int = TAG_OCTETS) -> tuple[int, int]:
    """Return security control and counter. Raises: PeerError `dlms.truncated`."""
    if len(sealed) < HEADER_OCTETS + tag:
        raise PeerError("dlms.truncated", f"{len(sealed)} octets cannot be a ciphered text")
    return sealed[0], int.from_bytes(sealed[1:HEADER_OCTETS], "big")


def unseal(keys: Keys, title: bytes, sealed: bytes, *, control: int = SEALED) -> tuple[int, bytes]:
    """
    Return the counter and the text, once the tag has been found right.

    Raises: PeerError `dlms.security_control` when the octets claim less or other protection than
    `control`, `dlms.tag_mismatch`, `dlms.truncated`.
    """
    claimed, counter = split_header(sealed)
    if claimed != control | keys.suite:
        raise _unagreed(claimed, control | keys.suite)
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


def unseal_unproven(keys: Keys, title: bytes, sealed: bytes) -> tuple[int, bytes]:
    """
    Return the counter and the text of octets that are encrypted and carry no tag.

    Anybody who can write to the line can change such a text: never for an answer or an order.
    *Source*: NIST SP 800-38D clause 7.1, the counter block of the text begins at 2.
    Raises: PeerError `dlms.security_control`, `dlms.truncated`.
    """
    claimed, counter = split_header(sealed, tag=0)
    if claimed != ENCRYPTED | keys.suite:
        raise _unagreed(claimed, ENCRYPTED | keys.suite)
    first_block = _nonce(title, counter) + b"\x00\x00\x00\x02"
    opener = Cipher(AES(keys.encryption), CTR(first_block)).decryptor()
    return counter, opener.update(sealed[HEADER_OCTETS:]) + opener.finalize()


def _unagreed(claimed: int, agreed: int) -> PeerError:
    suite = claimed & _SUITE_BITS
    message = f"protected as {claimed:#04x}, agreed was {agreed:#04x}"
    if suite != agreed & _SUITE_BITS:
        message += f": suite {suite}; give the keys of that suite" if suite in (0, 2) else (
            f": suite {suite} is not spoken, 0 and 2 are"
        )  # fmt: skip
    return PeerError("dlms.security_control", message)


def wrap_key(master: bytes, key: bytes) -> bytes:
    """Return `key` wrapped under the master key (KEK). *Source*: RFC 3394."""
    return aes_key_wrap(master, key)


def unwrap_key(master: bytes, wrapped: bytes) -> bytes:
    """Return a wrapped key. Raises: PeerError `dlms.key_wrap` under another master key."""
    try:
        return aes_key_unwrap(master, wrapped)
    except (InvalidUnwrap, ValueError):
        raise PeerError("dlms.key_wrap", "the wrapped key does not open") from None


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
    if len(answer) != HEADER_OCTETS + TAG_OCTETS or answer[0] != AUTHENTICATED | keys.suite:
        raise PeerError(
            "dlms.authentication", f"no GMAC of suite {keys.suite} in {len(answer)} octets"
        )
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
