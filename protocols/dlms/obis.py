"""
OBIS names, A-B:C.D.E*F as six octets.

All six groups count: F=255 is the present value and any other F a historical one, B is the
measurement channel. *Source*: IEC 62056-6-1.
"""

import re
from typing import NewType

from protocols.errors import PeerError

Obis = NewType("Obis", bytes)
"""Six octets, the groups A to F in order."""

_TEXT = re.compile(r"(\d{1,3})-(\d{1,3}):(\d{1,3})\.(\d{1,3})\.(\d{1,3})(?:\*(\d{1,3}))?")


def obis(text: str) -> Obis:
    """
    Return the six octets of `1-0:1.8.0*255`; without `*F` the present value, 255, is meant.

    Raises: ValueError on another form or a group above 255.
    """
    match = _TEXT.fullmatch(text)
    if match is None:
        raise ValueError(f"an OBIS name looks like 1-0:1.8.0*255, not {text!r}")
    groups = [int(group) for group in match.groups("255")]
    if max(groups) > 255:
        raise ValueError(f"an OBIS group is 0..255: {text!r}")
    return Obis(bytes(groups))


def obis_text(name: bytes) -> str:
    """Return `1-0:1.8.0*255` for six octets. Raises: PeerError `dlms.obis` on another length."""
    if len(name) != 6:
        raise PeerError("dlms.obis", f"an OBIS name has 6 octets, not {len(name)}")
    a, b, c, d, e, f = name
    return f"{a}-{b}:{c}.{d}.{e}*{f}"


CLOCK = obis("0-0:1.0.0")
DEVICE_NAME = obis("0-0:42.0.0")
ASSOCIATION = obis("0-0:40.0.0")
INVOCATION_COUNTER = obis("0-0:43.1.0")
DISCONNECT_CONTROL = obis("0-0:96.3.10")
LOAD_PROFILE = obis("1-0:99.1.0")
PROFILE_STATUS = obis("0-0:96.10.1")
