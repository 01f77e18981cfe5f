"""
What a simulated meter says unasked: its register and its alarms, sealed with its own keys.

*Source*: IEC 62056-6-2 class 40 (push setup); IEC 62056-5-3 data-notification.
"""

from protocols.dlms.axdr import encode
from protocols.dlms.classes.clock import encode_moment
from protocols.dlms.classes.register import channel_unit
from protocols.dlms.general_glo import encode_ciphered
from protocols.dlms.security import seal
from protocols.dlms.values import (
    Value,
    double_long_unsigned,
    octet_string,
    structure,
)
from protocols.dlms.wrapper import pack
from protocols.reading import Channel
from protocols.timeline import from_ms
from simulators.meter.dlms_server import MANAGEMENT_SAP, DlmsMeterServer

PUSH_OBJECTS = (
    "0-0:42.0.0*255", "0-0:1.0.0*255", "1-0:1.8.0*255", "1-0:1.8.0*255/3", "0-0:97.98.0*255",
    "0-0:97.98.2*255",
)  # fmt: skip
"""What the body holds, in order."""
LAST_GASP = 1 << 0
"""Bit of alarm register 3."""
PUSH_SAP = 103


class Pusher:
    """Makes the pushes of one meter, with its counter and the keys that it has at the time."""

    def __init__(self, server: DlmsMeterServer) -> None:
        """Speak for the meter of `server`."""
        self._server = server
        self._invoke = 0

    def body(self, *, register_wh: int, at_ms: int, alarms: int = 0, gasp: int = 0) -> Value:
        """Return the values as `PUSH_OBJECTS` lists them."""
        return structure(
            octet_string(self._server.meter.spec.meter.encode()),
            octet_string(encode_moment(from_ms(at_ms), deviation=0)),
            double_long_unsigned(register_wh),
            channel_unit(Channel.IMPORT_WH, 0).encode(),
            double_long_unsigned(alarms),
            double_long_unsigned(gasp),
        )

    def frame(self, body: Value, *, plain: bool = False) -> bytes:
        """Return the wrapper frame of a data-notification."""
        self._invoke += 1
        text = b"\x0f" + self._invoke.to_bytes(4, "big") + b"\x00" + encode(body)
        if plain:
            return pack(MANAGEMENT_SAP, PUSH_SAP, text)
        title = self._server.meter.spec.system_title
        (counter,) = self._server.meter.reserve_counters(1)
        sealed = seal(self._server.key_store.current(), title, counter, text)
        return pack(MANAGEMENT_SAP, PUSH_SAP, encode_ciphered(title, sealed))
