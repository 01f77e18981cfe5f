"""Class 70: every (mode, state, trigger) against the table of the standard, written out again."""

import itertools

import pytest

from protocols.dlms.classes.disconnect import (
    MODES,
    Trigger,
    closes_remotely,
    output_closed,
    step,
)
from protocols.reading import RelayState

OPEN, CLOSED, ARMED = RelayState.DISCONNECTED, RelayState.CONNECTED, RelayState.ARMED


def expected(mode, state, trigger):
    """The Blue Book's sentences, one by one, as an oracle apart from the table."""
    if mode == 0:
        return None
    match trigger:
        case Trigger.REMOTE_DISCONNECT:
            return OPEN if state in (CLOSED, ARMED) else None
        case Trigger.REMOTE_RECONNECT:
            if state is not OPEN:
                return None
            return CLOSED if mode in (2, 4) else ARMED
        case Trigger.MANUAL_DISCONNECT:
            return ARMED if state is CLOSED and mode in (1, 2, 5) else None
        case Trigger.MANUAL_RECONNECT:
            return CLOSED if state is ARMED else None
        case Trigger.LOCAL_DISCONNECT:
            return ARMED if state is CLOSED else None
        case Trigger.LOCAL_RECONNECT:
            return CLOSED if state is ARMED and mode in (5, 6) else None


@pytest.mark.parametrize(
    ("mode", "state", "trigger"), list(itertools.product(MODES, RelayState, Trigger))
)
def test_every_mode_state_and_trigger(mode, state, trigger):
    assert step(mode, state, trigger) is expected(mode, state, trigger)


@pytest.mark.parametrize("mode", [-1, 7, 255])
def test_a_mode_outside_the_class_is_refused(mode):
    with pytest.raises(ValueError, match="control mode"):
        step(mode, CLOSED, Trigger.REMOTE_DISCONNECT)


def test_only_connected_lets_current_through():
    assert [output_closed(state) for state in (OPEN, CLOSED, ARMED)] == [False, True, False]


def test_only_modes_2_and_4_close_from_afar():
    assert [mode for mode in MODES if closes_remotely(mode)] == [2, 4]


def test_nothing_remote_leaves_armed_but_disconnect():
    for mode in MODES:
        assert step(mode, ARMED, Trigger.REMOTE_RECONNECT) is None
