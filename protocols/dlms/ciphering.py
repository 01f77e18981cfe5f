"""
One side's ciphering of an association: seal what we say, open what the other says, count both.

Global keys live long, so their counters come from outside (durable before use) and the floor of the
other side's counter is shared by all its associations. A dedicated key lives for one association:
both of its counters begin at 0 and end with it.
*Source*: IEC 62056-5-3 clauses 5.3.2 to 5.3.7 (keys, invocation counters, ciphered APDUs).
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

from protocols.dlms.general_glo import (
    GENERAL_DED,
    GENERAL_GLO,
    PLAIN_OF,
    Form,
    decode_ciphered,
    encode_ciphered,
    encode_glo_initiate,
    encode_service_glo,
    form_of,
)
from protocols.dlms.hls import check_peer_title
from protocols.dlms.security import Keys, seal, unseal
from protocols.errors import PeerError

STALE = "dlms.replayed"


@dataclass(slots=True, kw_only=True)
class CounterFloor:
    """The highest invocation counter accepted from a peer under one key."""

    value: int = -1

    def rise(self, counter: int, *, dedicated: bool = False) -> None:
        """Take a counter that is higher. Raises: PeerError `dlms.replayed` when it is not."""
        if counter <= self.value:
            raise PeerError(
                STALE,
                "the other side's counter did not rise",
                evidence={"counter": counter, "seen": self.value, "dedicated": dedicated},
            )
        self.value = counter


class Ciphering:
    """`peer_title` is empty until the association names the peer."""

    def __init__(
        self,
        *,
        keys: Keys,
        title: bytes,
        counter: Callable[[], int],
        floor: CounterFloor,
        peer_title: bytes = b"",
    ) -> None:
        """Begin with global keys alone."""
        self.peer_title = peer_title
        self.keys = keys
        self._title = title
        self._counter = counter
        self._floor = floor
        self._dedicated: Keys | None = None
        self._dedicated_counter = itertools.count()
        self._dedicated_floor = CounterFloor()

    def dedicate(self, key: bytes) -> None:
        """
        Begin to use an association's own key; empty ends its use.

        Raises: PeerError `dlms.dedicated_key` when it does not fit the suite.
        """
        self._dedicated = None
        if not key:
            return
        if len(key) != len(self.keys.encryption):
            raise PeerError("dlms.dedicated_key", f"a dedicated key of {len(key)} octets")
        self._dedicated = Keys(encryption=key, authentication=self.keys.authentication)
        self._dedicated_counter = itertools.count()
        self._dedicated_floor = CounterFloor()

    def seal_initiate(self, tag: int, apdu: bytes) -> bytes:
        """Return a ciphered InitiateRequest or InitiateResponse."""
        return encode_glo_initiate(tag, seal(self.keys, self._title, self._counter(), apdu))

    def open_initiate(self, octets: bytes, tag: int) -> bytes:
        """Return the text of a ciphered initiate. Raises: PeerError as `open`."""
        sealed = decode_ciphered(octets, tag).sealed
        counter, text = unseal(self.keys, self.peer_title, sealed)
        self._floor.rise(counter)
        return text

    def seal(self, apdu: bytes, form: Form) -> bytes:
        """Return a service APDU in its envelope. Raises: ValueError without a dedicated key."""
        if form.dedicated:
            if self._dedicated is None:
                raise ValueError("no dedicated key was agreed with this association")
            sealed = seal(self._dedicated, self._title, next(self._dedicated_counter), apdu)
        else:
            sealed = seal(self.keys, self._title, self._counter(), apdu)
        match form:
            case Form.GENERAL_GLO:
                return encode_ciphered(self._title, sealed)
            case Form.GENERAL_DED:
                return encode_ciphered(self._title, sealed, tag=GENERAL_DED)
            case _:
                return encode_service_glo(apdu[0], sealed, dedicated=form.dedicated)

    def open(self, octets: bytes, tags: frozenset[int]) -> tuple[bytes, Form]:
        """
        Return the text, once its tag and its counter have been found right, and its form.

        Raises: PeerError `dlms.title`, `dlms.foreign`, `dlms.replayed`, `dlms.tag_mismatch`,
        `dlms.security_control`, `dlms.dedicated_key`.
        """
        envelope = decode_ciphered(octets, *tags)
        if envelope.tag in (GENERAL_GLO, GENERAL_DED):
            check_peer_title(envelope.title, own=self._title, expected=self.peer_title)
        form = form_of(envelope.tag)
        keys, floor = self.keys, self._floor
        if form.dedicated:
            if self._dedicated is None:
                raise PeerError("dlms.dedicated_key", "ciphered with a key that was not agreed")
            keys, floor = self._dedicated, self._dedicated_floor
        counter, text = unseal(keys, self.peer_title, envelope.sealed)
        plain = PLAIN_OF.get(envelope.tag)
        if plain is not None and text[:1] != bytes((plain,)):
            # the outer tag is not covered by the seal
            raise PeerError("dlms.choice", "the envelope names another service than it holds")
        floor.rise(counter, dedicated=form.dedicated)
        return text, form
