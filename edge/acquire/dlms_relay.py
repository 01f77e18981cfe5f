"""
The switch of a DLMS meter: how it stands, and how it is told to move.

*Source*: IEC 62056-6-2 class_id 70.
"""

from edge.acquire.dlms_session import DlmsSession, present
from protocols.dlms.classes import disconnect
from protocols.dlms.obis import DISCONNECT_CONTROL
from protocols.dlms.reference import Attribute, Got
from protocols.dlms.values import as_boolean, as_integer, integer
from protocols.errors import PeerError
from protocols.mqtt.downlink import Verb
from protocols.reading import RelayReading, RelayState

RELAY = tuple(
    Attribute(class_id=disconnect.CLASS_ID, name=DISCONNECT_CONTROL, index=index)
    for index in (disconnect.OUTPUT_STATE, disconnect.CONTROL_STATE, disconnect.CONTROL_MODE)
)


def decode_relay(got: tuple[Got, ...]) -> RelayReading:
    """Return the switch from attributes 2, 3, 4. Raises: PeerError `dlms.relay` and others."""
    output, state, mode = (present(at, value) for at, value in zip(RELAY, got, strict=True))
    number, control_mode = as_integer(state), as_integer(mode)
    if number not in tuple(RelayState) or control_mode not in disconnect.MODES:
        raise PeerError("dlms.relay", f"control state {number}, mode {control_mode}")
    return RelayReading(
        output_closed=as_boolean(output),
        control_state=RelayState(number),
        control_mode=control_mode,
    )


async def read_relay(session: DlmsSession) -> RelayReading:
    """Read the switch. Raises: PeerError."""
    return decode_relay(await session.get(*RELAY))


async def operate(session: DlmsSession, verb: Verb) -> None:
    """Ask it to open or close. Raises: PeerError `dlms.action_refused` and others."""
    opening = verb is Verb.DISCONNECT
    if not opening:
        # Modes 2 and 4 know no way from armed to closed but through disconnected.
        relay = await read_relay(session)
        opening = relay.control_state is RelayState.ARMED and disconnect.closes_remotely(
            relay.control_mode
        )
    if opening:
        await session.act(_method(disconnect.REMOTE_DISCONNECT), integer(0))
    if verb is Verb.RECONNECT:
        await session.act(_method(disconnect.REMOTE_RECONNECT), integer(0))


def _method(index: int) -> Attribute:
    return Attribute(class_id=disconnect.CLASS_ID, name=DISCONNECT_CONTROL, index=index)
