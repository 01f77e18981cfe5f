"""
What a meter says unasked: data-notification and event-notification, plain or ciphered.

    0F  invoke u32  date-time  body           data-notification
    C2  [date-time]  class  name  attribute  value   event-notification

A push carries no challenge, so only its tag and its rising counter tell it from a recording; a
plain one, or one that is encrypted without a tag, is told as unauthenticated and is to be believed
as much as the cable is.
*Source*: IEC 62056-5-3 clauses 6.11, 6.12, 7.3; Blue Book class 40 (push).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from protocols.dlms.ciphering import CounterFloor
from protocols.dlms.classes.clock import (
    OCTETS,
    STANDARD,
    UNSPECIFIED_DEVIATION,
    ClockRule,
    decode_moment,
)
from protocols.dlms.general_glo import (
    EVENT_NOTIFICATION,
    GENERAL_GLO,
    PLAIN_OF,
    decode_ciphered,
)
from protocols.dlms.octets import Octets
from protocols.dlms.reference import Attribute, read_attribute
from protocols.dlms.security import ENCRYPTED, SEALED, Keys, split_header, unseal, unseal_unproven
from protocols.dlms.values import Tag, Value
from protocols.errors import PeerError

DATA_NOTIFICATION = 0x0F
GLO_EVENT_NOTIFICATION = 0xCA
_CIPHERED = (GENERAL_GLO, GLO_EVENT_NOTIFICATION)

_NO_DEVIATION = UNSPECIFIED_DEVIATION.to_bytes(2, "big", signed=True)
_TAGGED = bytes((Tag.OCTET_STRING, OCTETS))
"""Some meters (Kaifa, older Kamstrup) put a data tag before the time, where none belongs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataNotification:
    """What a push sends; `at` is None where the meter stamps nothing."""

    invoke: int
    at: datetime | None
    body: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class EventNotification:
    """One attribute whose value the meter wants known."""

    at: datetime | None
    attribute: Attribute
    value: Value


Notification = DataNotification | EventNotification


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A notification, whose it is if it says so, and whether that is proven."""

    notification: Notification
    title: bytes
    authenticated: bool


def _moment(octets: bytes, rule: ClockRule) -> datetime | None:
    """Return the instant; None where there is none, or one of no zone that we know."""
    if len(octets) != OCTETS:
        return None
    if octets[9:11] == _NO_DEVIATION and rule.assumed_deviation is None:
        return None
    return decode_moment(octets, rule).instant


def decode_notification(octets: bytes, rule: ClockRule = STANDARD) -> Notification:
    """Return a plain notification. Raises: PeerError on octets that are none."""
    reader = Octets(octets)
    notification: Notification
    if reader.choice(DATA_NOTIFICATION, EVENT_NOTIFICATION) == DATA_NOTIFICATION:
        invoke = reader.number(4) & 0x00FF_FFFF
        if octets[reader.offset : reader.offset + 2] == _TAGGED:
            reader.number(1)
        at = _moment(reader.string(), rule)
        notification = DataNotification(invoke=invoke, at=at, body=reader.value())
    else:
        at = _moment(reader.string(), rule) if reader.choice(0, 1) else None
        attribute = read_attribute(reader)
        notification = EventNotification(at=at, attribute=attribute, value=reader.value())
    reader.end()
    return notification


class Listener:
    """
    Opens what meters push.

    `keys_of` gives the keys of a system title (None: unknown), `floor_of` its counter floor.
    `title` is whose frames come without a title, as they do on a meter's own line.
    `allow_plain` takes plain frames, `allow_untagged` frames that are encrypted without a tag;
    both are told as unauthenticated.
    """

    def __init__(
        self,
        *,
        keys_of: Callable[[bytes], Keys | None],
        floor_of: Callable[[bytes], CounterFloor],
        title: bytes = b"",
        allow_plain: bool = False,
        allow_untagged: bool = False,
        rule: ClockRule = STANDARD,
    ) -> None:
        """Take nothing but ciphered and proven frames unless told otherwise."""
        self._keys_of = keys_of
        self._floor_of = floor_of
        self._title = title
        self._allow_plain = allow_plain
        self._allow_untagged = allow_untagged
        self._rule = rule

    def hear(self, apdu: bytes) -> Heard:
        """
        Return one notification.

        Raises: PeerError `dlms.plain_push`, `dlms.unknown_title`, `dlms.replayed`,
        `dlms.tag_mismatch`, `dlms.security_control`, others as decoding.
        """
        if not apdu:
            raise PeerError("dlms.truncated", "an empty APDU")
        if apdu[0] in (DATA_NOTIFICATION, EVENT_NOTIFICATION):
            if not self._allow_plain:
                raise PeerError("dlms.plain_push", "a plain push; allow it for this meter or not")
            heard = decode_notification(apdu, self._rule)
            return Heard(notification=heard, title=self._title, authenticated=False)
        envelope = decode_ciphered(apdu, *_CIPHERED)
        title = envelope.title or self._title
        keys = self._keys_of(title)
        if keys is None:
            evidence = {"title": title.hex()}
            raise PeerError("dlms.unknown_title", "a push of an unknown meter", evidence=evidence)
        control, _counter = split_header(envelope.sealed, tag=0)
        proven = not (self._allow_untagged and control == ENCRYPTED | keys.suite)
        if proven:
            counter, text = unseal(keys, title, envelope.sealed, control=SEALED)
        else:
            counter, text = unseal_unproven(keys, title, envelope.sealed)
        plain = PLAIN_OF.get(envelope.tag)
        if plain is not None and text[:1] != bytes((plain,)):
            raise PeerError("dlms.choice", "the envelope names another service than it holds")
        notification = decode_notification(text, self._rule)
        floor = self._floor_of(title)
        if proven:
            floor.rise(counter)
        elif counter <= floor.value:
            raise PeerError("dlms.replayed", "the pushing meter's counter did not rise")
        return Heard(notification=notification, title=title, authenticated=proven)
