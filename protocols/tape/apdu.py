"""
What is secret in a DLMS APDU, blanked octet for octet so that lengths and tags stay readable.

Blanked: the password of LLS and of manufacturer's HLS in AARQ, a dedicated key sent in the clear,
proofs of HLS by hash (they can be guessed at), values written to secrets of class 15, keys handed
to class 64, tokens of class 115, and answers that could repeat them. What is ciphered stays as it
is: without the keys it tells nothing, and with them it can be read.
*Source*: IEC 62056-5-3 clause 7; IEC 62056-6-2 classes 15, 64, 115.
"""

from protocols.dlms import acse
from protocols.errors import PeerError

BLANK = 0x2A
_INITIATE, _WITH_DEDICATED_KEY = 0x01, 0x01
_GET, _SET, _ACTION, _GBT = 0xC0, 0xC1, 0xC3, 0xE0
_ANSWERS = frozenset({0xC4, 0xC5, 0xC7, _GBT})
_NORMAL = 0x01
_TARGET_AT, _TARGET_OCTETS = 3, 9
_ASSOCIATION_LN, _ASSOCIATION_SN, _SECURITY_SETUP, _TOKENS = 15, 12, 64, 115
_CLASSES = frozenset({_ASSOCIATION_LN, _ASSOCIATION_SN, _SECURITY_SETUP, _TOKENS})
_SECRETS = {_GET: {(15, 7)}, _SET: {(15, 7)}}
"""(class, attribute); every ACTION on the four classes is taken for a secret."""
_GUESSABLE = frozenset({acse.Mechanism.LLS, acse.Mechanism.HLS_MANUFACTURER})


def blank(octets: bytes) -> bytes:
    """Return as many blanks."""
    return bytes((BLANK,)) * len(octets)


class ApduRedactor:
    """Redacts the APDUs of one association, in the order they were said."""

    def __init__(self) -> None:
        """Begin without a request."""
        self._secret_asked = False

    def request(self, apdu: bytes) -> bytes:
        """Return a client's APDU without secrets; total, and of the same length."""
        if not apdu:
            return apdu
        tag = apdu[0]
        if tag == acse.AARQ:
            self._secret_asked = False
            return _aarq(apdu)
        if tag in (_GET, _SET, _ACTION):
            return self._service(tag, apdu)
        if tag == _GBT:
            self._secret_asked = True
            return apdu[:1] + blank(apdu[1:])
        self._secret_asked = False
        return apdu

    def answer(self, apdu: bytes) -> bytes:
        """Return a meter's APDU without secrets; total, and of the same length."""
        if self._secret_asked and apdu[:1] and apdu[0] in _ANSWERS:
            return apdu[:3] + blank(apdu[3:])
        return apdu

    def _service(self, tag: int, apdu: bytes) -> bytes:
        body = _TARGET_AT + _TARGET_OCTETS
        if len(apdu) < body or apdu[1] != _NORMAL:
            # a list or a block: what it carries for whom takes more than one frame to know
            if tag == _GET:
                self._secret_asked = self._secret_asked or bytes((0, 15)) in apdu
                return apdu
            self._secret_asked = True
            return apdu[:3] + blank(apdu[3:])
        target = int.from_bytes(apdu[3:5], "big"), apdu[11]
        if tag == _ACTION:
            self._secret_asked = target[0] in _CLASSES
        else:
            self._secret_asked = target in _SECRETS[tag]
        if not self._secret_asked or tag == _GET:
            return apdu
        return apdu[:body] + blank(apdu[body:])


def _aarq(apdu: bytes) -> bytes:
    try:
        found = acse.decode_aarq(apdu)
    except PeerError:
        return apdu[:2] + blank(apdu[2:])
    if found.mechanism in _GUESSABLE and found.authentication:
        apdu = _blanked_once(apdu, found.authentication, after=b"\xac")
    initiate = found.initiate
    if initiate[:2] == bytes((_INITIATE, _WITH_DEDICATED_KEY)):
        apdu = _blanked_once(apdu, initiate[3 : 3 + initiate[2]], after=initiate[:3])
    return apdu


def _blanked_once(apdu: bytes, secret: bytes, *, after: bytes) -> bytes:
    """Blank `secret` where it first stands behind `after`; anywhere it stands if not there."""
    if not secret:
        return apdu
    at = apdu.find(secret, apdu.find(after) + len(after))
    return apdu[:at] + blank(secret) + apdu[at + len(secret) :]
