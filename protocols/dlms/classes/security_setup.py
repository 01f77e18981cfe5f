"""
Security setup, class 64: what protection a meter demands, and new keys under its master key.

*Source*: IEC 62056-6-2 class_id 64, method 2 global_key_transfer; IEC 62056-5-3 clause 5.6 (keys).
"""

from collections.abc import Mapping
from enum import IntEnum

from protocols.dlms.obis import Obis, obis
from protocols.dlms.reference import Attribute
from protocols.dlms.security import unwrap_key, wrap_key
from protocols.dlms.values import (
    Value,
    array,
    as_integer,
    as_items,
    as_octets,
    octet_string,
    structure,
)
from protocols.dlms.values import enum as enumerated
from protocols.errors import PeerError

CLASS_ID = 64
SECURITY: Obis = obis("0-0:43.0.0")
POLICY, SUITE, CLIENT_TITLE, SERVER_TITLE = 2, 3, 4, 5
KEY_TRANSFER = 2
_MAX_KEYS = 4


class KeyId(IntEnum):
    """Which key a transfer replaces."""

    UNICAST_ENCRYPTION = 0
    BROADCAST_ENCRYPTION = 1
    AUTHENTICATION = 2
    MASTER = 3


def attribute(index: int) -> Attribute:
    """Return an attribute or a method of the current security setup."""
    return Attribute(class_id=CLASS_ID, name=SECURITY, index=index)


def transfer_parameter(master: bytes, keys: Mapping[KeyId, bytes]) -> Value:
    """Return the parameter of method 2: every key wrapped under the master key."""
    return array(
        structure(enumerated(int(key)), octet_string(wrap_key(master, octets)))
        for key, octets in keys.items()
    )


def decode_transfer(master: bytes, value: Value) -> dict[KeyId, bytes]:
    """Return the keys transferred. Raises: PeerError `dlms.key_wrap`, `dlms.type`."""
    entries = as_items(value)
    if not 1 <= len(entries) <= _MAX_KEYS:
        raise PeerError("dlms.key_wrap", f"a transfer of {len(entries)} keys")
    keys: dict[KeyId, bytes] = {}
    for entry in entries:
        name, wrapped = as_items(entry, count=2)
        number = as_integer(name)
        if number not in tuple(KeyId) or number in keys:
            raise PeerError("dlms.key_wrap", f"key {number} is none or stands twice")
        keys[KeyId(number)] = unwrap_key(master, as_octets(wrapped))
    return keys
