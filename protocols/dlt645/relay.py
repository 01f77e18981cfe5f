"""
Relay orders (control code 1C) and the state word that proves them.

An order is `N1 N2 ssmmhhDDMMYY`: what to do, a reserved octet, and until when it is valid on the
meter's own clock. The meter checks password and validity before anything moves.

    order                relay   command bit   our state
    trip            1A   opens   open          disconnected
    allow close     1B   stays   close         armed, when the relay is open
    close           1C   closes  close         connected
    keep power      3A   stays   -             trips are refused until 3B

*Source*: DL/T 645-2007, 8.15 and annex C (state word 3, bit 4). Bits 6 and 12 are of the
supplement of 2013; a meter of the first edition has neither (`Edition.FIRST`).
"""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum

from protocols.dlt645.bcd import decode_date_time, encode_date_time
from protocols.errors import PeerError
from protocols.reading import RelayReading, RelayState

ORDER_OCTETS = 8
STATE_WORD_OCTETS = 2

CLOSES = 4
"""Control mode in the words of COSEM class 70 for a meter that closes by itself when told."""
ARMS = 1
"""The same for a meter whose breaker only a hand closes; the hand may also open it."""

_RELAY_OPEN = 1 << 4
_COMMAND_OPEN = 1 << 6
_KEEPS_POWER = 1 << 12


class Edition(StrEnum):
    """Which text the meter was built by; decides what its state word tells."""

    FIRST = "2007"
    SUPPLEMENT = "2013"


class Order(IntEnum):
    """What N1 asks for."""

    TRIP = 0x1A
    ALLOW_CLOSE = 0x1B
    CLOSE = 0x1C
    ALARM = 0x2A
    END_ALARM = 0x2B
    KEEP_POWER = 0x3A
    END_KEEP_POWER = 0x3B


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayOrder:
    """One order. `valid_until` is local time of the meter; later it must do nothing."""

    order: Order
    valid_until: datetime


def encode_order(order: RelayOrder) -> bytes:
    """Return N1..N8."""
    return bytes((order.order, 0)) + encode_date_time(order.valid_until)


def decode_order(octets: bytes) -> RelayOrder:
    """Return the order in N1..N8. Raises: PeerError `dlt645.order`, `dlt645.stamp`."""
    if len(octets) != ORDER_OCTETS or octets[0] not in tuple(Order):
        raise PeerError("dlt645.order", f"no relay order: {octets[:ORDER_OCTETS].hex()}")
    return RelayOrder(order=Order(octets[0]), valid_until=decode_date_time(octets[2:]))


@dataclass(frozen=True, slots=True, kw_only=True)
class StateWord:
    """State word 3, as far as it concerns the switch."""

    relay_open: bool
    command_open: bool
    keeps_power: bool
    word: int = 0


def decode_state_word(octets: bytes) -> StateWord:
    """Return state word 3. Raises: PeerError `dlt645.shape`."""
    if len(octets) != STATE_WORD_OCTETS:
        raise PeerError("dlt645.shape", f"{len(octets)} octets are no state word")
    word = int.from_bytes(octets, "little")
    return StateWord(
        relay_open=bool(word & _RELAY_OPEN),
        command_open=bool(word & _COMMAND_OPEN),
        keeps_power=bool(word & _KEEPS_POWER),
        word=word,
    )


def encode_state_word(state: StateWord) -> bytes:
    """Return the octets of state word 3; bits that are not ours come from `state.word`."""
    word = state.word & ~(_RELAY_OPEN | _COMMAND_OPEN | _KEEPS_POWER) & 0xFFFF
    word |= _RELAY_OPEN * state.relay_open
    word |= _COMMAND_OPEN * state.command_open
    word |= _KEEPS_POWER * state.keeps_power
    return word.to_bytes(STATE_WORD_OCTETS, "little")


def relay_reading(
    state: StateWord, *, edition: Edition, closes_remotely: bool, arms_itself: bool = False
) -> RelayReading:
    """
    Return the switch in our words.

    A meter of the first edition tells only whether its relay is open, so open is disconnected.
    """
    if edition is Edition.FIRST:
        logic = RelayState.DISCONNECTED if state.relay_open else RelayState.CONNECTED
    elif state.command_open:
        logic = RelayState.DISCONNECTED
    else:
        logic = RelayState.ARMED if state.relay_open else RelayState.CONNECTED
    return RelayReading(
        output_closed=not state.relay_open,
        control_state=logic,
        control_mode=CLOSES if closes_remotely else ARMS,
        arms_itself=arms_itself,
        keeps_power=None if edition is Edition.FIRST else state.keeps_power,
    )
