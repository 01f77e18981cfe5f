"""
State words 1, 4 to 7 of a DL/T 645 meter, and its records of power cuts and opened covers.

A state word tells what is so at this moment, bit by bit: what was not so before is an event, and
what is no longer so is one for conditions that have an end. A record tells when the newest of its
kind began. State word 3 is the relay's (`protocols.dlt645.relay`).
*Source*: DL/T 645-2007 annex C (state words), table A.4 (event records).
"""

from dataclasses import dataclass
from datetime import datetime

from protocols.dlt645.bcd import decode_date_time
from protocols.errors import PeerError
from protocols.events import UNKNOWN, EventCode, Meaning

WORD_OCTETS = 2
_TIME_OCTETS = 6
WORDS: dict[int, int] = {1: 0x04000501, 4: 0x04000504, 5: 0x04000505, 6: 0x04000506, 7: 0x04000507}
"""State word -> data identifier. Words 4, 5 and 6 are the phases, 7 is all of them together."""
POWER_CUT, METER_COVER, TERMINAL_COVER = 0x03110001, 0x03300D01, 0x03300E01
"""The newest record of each kind begins with when it began and when it ended."""
RECORDS: dict[int, tuple[EventCode, EventCode]] = {
    POWER_CUT: (EventCode.POWER_DOWN, EventCode.POWER_UP),
    METER_COVER: (EventCode.METER_COVER_OPENED, EventCode.METER_COVER_CLOSED),
    TERMINAL_COVER: (EventCode.TERMINAL_COVER_OPENED, EventCode.TERMINAL_COVER_CLOSED),
}
_QUIET = {1: 0b0000_0010}
"""Bits that say how the meter is set up: no event."""
_PHASE: dict[int, EventCode] = {
    0: EventCode.PHASE_LOST,
    1: EventCode.UNDERVOLTAGE,
    2: EventCode.OVERVOLTAGE,
    3: EventCode.CURRENT_TRANSFORMER,
    4: EventCode.OVERCURRENT,
    5: EventCode.LIMIT_EXCEEDED,
    6: EventCode.CURRENT_REVERSED,
    7: EventCode.PHASE_LOST,
    8: EventCode.CURRENT_TRANSFORMER,
}
_ENDS: dict[EventCode, EventCode] = {
    EventCode.PHASE_LOST: EventCode.PHASE_BACK,
    EventCode.UNDERVOLTAGE: EventCode.VOLTAGE_NORMAL,
    EventCode.OVERVOLTAGE: EventCode.VOLTAGE_NORMAL,
    EventCode.CURRENT_TRANSFORMER: EventCode.CURRENT_NORMAL,
    EventCode.OVERCURRENT: EventCode.CURRENT_NORMAL,
    EventCode.LIMIT_EXCEEDED: EventCode.LIMIT_OK,
    EventCode.CURRENT_REVERSED: EventCode.CURRENT_NORMAL,
    EventCode.CURRENT_UNBALANCED: EventCode.CURRENT_NORMAL,
    EventCode.VOLTAGE_UNBALANCED: EventCode.VOLTAGE_NORMAL,
    EventCode.POWER_DOWN: EventCode.POWER_UP,
}
_BITS: dict[int, dict[int, Meaning]] = {
    1: {
        2: Meaning(EventCode.BATTERY_LOW, "clock"),
        3: Meaning(EventCode.BATTERY_LOW, "reading without power"),
        4: Meaning(EventCode.CURRENT_REVERSED, "active power"),
        5: Meaning(EventCode.CURRENT_REVERSED, "reactive power"),
    },
    **{
        word: {bit: Meaning(code, f"L{word - 3}") for bit, code in _PHASE.items()}
        for word in (4, 5, 6)
    },
    7: {
        0: Meaning(EventCode.PHASE_ORDER, "voltages"),
        1: Meaning(EventCode.PHASE_ORDER, "currents"),
        2: Meaning(EventCode.VOLTAGE_UNBALANCED),
        3: Meaning(EventCode.CURRENT_UNBALANCED),
        4: Meaning(EventCode.POWER_DOWN, "auxiliary supply"),
        5: Meaning(EventCode.POWER_DOWN),
        6: Meaning(EventCode.LIMIT_EXCEEDED, "demand"),
        7: Meaning(EventCode.REACTIVE_LIMIT),
        8: Meaning(EventCode.CURRENT_UNBALANCED, "heavily"),
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChange:
    """One bit of one state word that is not as it was."""

    word: int
    bit: int
    meaning: Meaning

    @property
    def origin(self) -> str:
        """Return where the meter told it, as (profile, log, code)."""
        return f"dlt645/state{self.word}/{self.bit}"


def decode_word(octets: bytes) -> int:
    """Return a state word, which goes low octet first. Raises: PeerError `dlt645.shape`."""
    if len(octets) != WORD_OCTETS:
        raise PeerError("dlt645.shape", f"a state word has {WORD_OCTETS} octets, not {len(octets)}")
    return int.from_bytes(octets, "little")


def encode_word(word: int) -> bytes:
    """Return the octets of a state word."""
    return word.to_bytes(WORD_OCTETS, "little")


def changes(word: int, before: int, now: int) -> tuple[StateChange, ...]:
    """Return what has begun and, where a condition has an end of its own, what has ended."""
    found: list[StateChange] = []
    for bit in range(16):
        was, is_now = before >> bit & 1, now >> bit & 1
        if was == is_now or _QUIET.get(word, 0) >> bit & 1:
            continue
        meaning = _BITS[word].get(bit, UNKNOWN)
        if not is_now:
            ended = _ENDS.get(meaning.code)
            if ended is None:
                continue
            meaning = Meaning(ended, meaning.detail)
        found.append(StateChange(word=word, bit=bit, meaning=meaning))
    return tuple(found)


def decode_record(octets: bytes) -> tuple[datetime, datetime | None] | None:
    """
    Return local begin and end of a record; the end is None while it lasts, all None without one.

    What follows the two times (energies at either) is of no concern here. Raises: PeerError
    `dlt645.shape`, `dlt645.bcd`.
    """
    if len(octets) < 2 * _TIME_OCTETS:
        raise PeerError("dlt645.shape", f"{len(octets)} octets hold no begin and end")
    begin, end = octets[:_TIME_OCTETS], octets[_TIME_OCTETS : 2 * _TIME_OCTETS]
    if not any(begin):
        return None
    return decode_date_time(begin), decode_date_time(end) if any(end) else None
