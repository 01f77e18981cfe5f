"""
Disconnect control, class 70: what a switch does when it is told or touched.

    transition                    1 and 2    3 and 4    5      6      mode 0: always connected
    b  remote disconnect  1 -> 0     x          x       x      x
    c  remote disconnect  2 -> 0     x          x       x      x
    f  manual disconnect  1 -> 2     x          -       x      -
    g  local disconnect   1 -> 2     x          x       x      x
    a  remote reconnect   0 -> 1   2 only     4 only    -      -
    d  remote reconnect   0 -> 2   1 only     3 only    x      x
    e  manual reconnect   2 -> 1     x          x       x      x
    h  local reconnect    2 -> 1     -          -       x      x

States are 0 disconnected, 1 connected, 2 ready for reconnection (armed: the customer closes).
In modes 1, 3, 5 and 6 a successful remote reconnect leaves the customer dark until the button is
pressed. In modes 2 and 4 no remote reconnect leads out of state 2: disconnect first.

*Source*: IEC 62056-6-2 (Blue Book) class_id 70, control_state transitions and control_mode.
"""

from enum import StrEnum

from protocols.reading import RelayState

CLASS_ID = 70
OUTPUT_STATE = 2
CONTROL_STATE = 3
CONTROL_MODE = 4
REMOTE_DISCONNECT = 1
REMOTE_RECONNECT = 2

MODES = range(7)


class Trigger(StrEnum):
    """What moves the switch: an order over the line, a hand, or the meter's own logic."""

    REMOTE_DISCONNECT = "remote_disconnect"
    REMOTE_RECONNECT = "remote_reconnect"
    MANUAL_DISCONNECT = "manual_disconnect"
    MANUAL_RECONNECT = "manual_reconnect"
    LOCAL_DISCONNECT = "local_disconnect"
    LOCAL_RECONNECT = "local_reconnect"


_OPEN = RelayState.DISCONNECTED
_CLOSED = RelayState.CONNECTED
_ARMED = RelayState.ARMED

_Step = tuple[RelayState, Trigger, RelayState]

_TRANSITIONS: dict[str, _Step] = {
    "a": (_OPEN, Trigger.REMOTE_RECONNECT, _CLOSED),
    "b": (_CLOSED, Trigger.REMOTE_DISCONNECT, _OPEN),
    "c": (_ARMED, Trigger.REMOTE_DISCONNECT, _OPEN),
    "d": (_OPEN, Trigger.REMOTE_RECONNECT, _ARMED),
    "e": (_ARMED, Trigger.MANUAL_RECONNECT, _CLOSED),
    "f": (_CLOSED, Trigger.MANUAL_DISCONNECT, _ARMED),
    "g": (_CLOSED, Trigger.LOCAL_DISCONNECT, _ARMED),
    "h": (_ARMED, Trigger.LOCAL_RECONNECT, _CLOSED),
}

_LETTERS_OF_MODE = ("", "bcfgde", "bcfgae", "bcgde", "bcgae", "bcfgdeh", "bcgdeh")

_TABLE: dict[tuple[int, RelayState, Trigger], RelayState] = {
    (mode, before, trigger): after
    for mode, letters in enumerate(_LETTERS_OF_MODE)
    for before, trigger, after in (_TRANSITIONS[letter] for letter in letters)
}


def step(mode: int, state: RelayState, trigger: Trigger) -> RelayState | None:
    """
    Return the state after `trigger`, or None when this mode knows no such transition.

    None means nothing moves: a meter may still answer such an order with success.

    Raises: ValueError when `mode` is not 0..6, which no meter of this class has.
    """
    if mode not in MODES:
        raise ValueError(f"control mode must be 0..6, not {mode}")
    return _TABLE.get((mode, state, trigger))


def output_closed(state: RelayState) -> bool:
    """Tell whether current may flow in `state`: only when connected."""
    return state is RelayState.CONNECTED


def closes_remotely(mode: int) -> bool:
    """Tell whether a remote reconnect gives power back without the customer's hand."""
    return step(mode, RelayState.DISCONNECTED, Trigger.REMOTE_RECONNECT) is RelayState.CONNECTED
