"""
What goes wrong at a meter: it is silent, its relay sticks, its octets arrive spoilt.

`spoil` is pure: the caller brings the draw, so a test can ask for one certain damage. What goes
wrong on the line between, whatever the protocol, is in `simulators.line_faults`.
"""

from enum import StrEnum


class Fault(StrEnum):
    """A fault that can be switched on at one meter."""

    SILENT = "silent"
    """Accepts the connection and never answers."""
    STUCK_RELAY = "stuck_relay"
    """Answers success to every relay order; nothing moves until a hand moves it."""
    GARBLE = "garble"
    """Some octets of each answer are flipped."""
    TRUNCATE = "truncate"
    """Each answer stops short and the connection ends."""
    FOREIGN = "foreign"
    """Answers correctly, but as another meter would."""
    DARK = "dark"
    """Refuses connections: no power at the modem."""
    POWER_CUT = "power_cut"
    """No power at all: the line is dead (DARK comes with it), nothing flows, nothing is counted."""
    ROLLOVER = "rollover"
    """The import register has `ROLLOVER_WH` states and begins again at zero."""
    CLOCK_JUMP = "clock_jump"
    """At its start the clock jumps ahead by `CLOCK_JUMP_MS`; only a clock set mends it."""
    TERMINAL_COVER = "terminal_cover"
    """A hand has taken the terminal cover off; the meter goes on and writes it down."""
    METER_COVER = "meter_cover"
    """A hand has opened the meter itself."""
    MAGNET = "magnet"
    """Somebody holds a strong magnet to the meter."""


PLANTED_FAULTS = {"silent": Fault.SILENT, "stuck_relay": Fault.STUCK_RELAY}
"""Faults that a planted meter has from its first day."""

ROLLOVER_WH = 10_000_000
"""A register of four digits of kWh: behind 9999.999 kWh comes zero."""
CLOCK_JUMP_MS = 3_600_000

FOREIGN_NAME = "M-999999"
FOREIGN_SERIAL = 99_999_999


def spoil(fault: Fault, octets: bytes, draw: int) -> bytes:
    """Return `octets` as they arrive under `fault`; `draw` picks where it strikes."""
    if not octets:
        return octets
    if fault is Fault.GARBLE:
        place = draw % len(octets)
        flipped = octets[place] ^ (1 + (draw >> 16) % 255)
        return octets[:place] + bytes((flipped,)) + octets[place + 1 :]
    if fault is Fault.TRUNCATE:
        return octets[: draw % len(octets)]
    return octets
