"""
What the numbers in a DLMS meter's event logs mean, as tables: (profile, log, code) -> event.

A code means nothing without its log, and a log nothing without the companion profile: 80 is
overvoltage in DSMR 4 and IDIS and a sag in SMR 5; 3 is the clock in DSMR and a terminal cover in
SPODES. What stands in no table is kept by its number.
*Source*: DSMR P3 companion standard v4.0 and SMR 5 (event codes, clause 5); IDIS package 2
(object model, event codes); alarm registers as bits.
"""

from collections.abc import Mapping
from enum import StrEnum

from protocols.dlms.event_codes_spodes import SPODES_LOGS
from protocols.dlms.obis import Obis, obis
from protocols.events import UNKNOWN, EventCode, Meaning

MOST_LOGS = 12
"""Logs are 0-0:99.98.0 to .11; no companion profile has more."""


class Dialect(StrEnum):
    """The companion profile by which a meter numbers its events."""

    IDIS = "idis"
    DSMR4 = "dsmr4"
    SMR5 = "smr5"
    SPODES = "spodes"


def log_name(log: int) -> Obis:
    """Return the OBIS name of a log."""
    return obis(f"0-0:99.98.{log}")


def alarm_name(register: int) -> Obis:
    """Return the OBIS name of alarm register 1, 2 or 3."""
    return obis(f"0-0:97.98.{register - 1}")


def _phases(first: int, code: EventCode) -> dict[int, Meaning]:
    return {first + n: Meaning(code, f"L{n + 1}") for n in range(3)}


def _submeters() -> dict[int, Meaning]:
    """Ten codes a channel: 100 for the first, 110 for the second and so on."""
    of_channel = {
        0: EventCode.LINK_LOST,
        1: EventCode.LINK_BACK,
        2: EventCode.BATTERY_REPLACE,
        3: EventCode.SUBMETER_TAMPER,
        4: EventCode.CLOCK_ADJUSTED,
        5: EventCode.SUBMETER_FOUND,
    }
    return {
        100 + 10 * (channel - 1) + offset: Meaning(code, f"channel {channel}")
        for channel in range(1, 5)
        for offset, code in of_channel.items()
    }


_COMMON: dict[int, Meaning] = {
    1: Meaning(EventCode.POWER_DOWN),
    2: Meaning(EventCode.POWER_UP),
    3: Meaning(EventCode.DAYLIGHT_SAVING),
    4: Meaning(EventCode.CLOCK_ADJUSTED, "old time"),
    5: Meaning(EventCode.CLOCK_ADJUSTED, "new time"),
    6: Meaning(EventCode.CLOCK_INVALID),
    7: Meaning(EventCode.BATTERY_REPLACE),
    8: Meaning(EventCode.BATTERY_LOW),
    9: Meaning(EventCode.TARIFF_CHANGED),
    10: Meaning(EventCode.ERRORS_CLEARED),
    11: Meaning(EventCode.ALARMS_CLEARED),
    12: Meaning(EventCode.HARDWARE_FAULT, "program memory"),
    13: Meaning(EventCode.HARDWARE_FAULT, "RAM"),
    14: Meaning(EventCode.HARDWARE_FAULT, "NV memory"),
    15: Meaning(EventCode.HARDWARE_FAULT, "watchdog"),
    16: Meaning(EventCode.HARDWARE_FAULT, "measurement"),
    17: Meaning(EventCode.FIRMWARE_READY),
    18: Meaning(EventCode.FIRMWARE_ACTIVATED),
    19: Meaning(EventCode.TARIFF_CHANGED, "passive tariff written"),
    40: Meaning(EventCode.TERMINAL_COVER_OPENED),
    41: Meaning(EventCode.TERMINAL_COVER_CLOSED),
    42: Meaning(EventCode.MAGNET_ON),
    43: Meaning(EventCode.MAGNET_OFF),
    44: Meaning(EventCode.METER_COVER_OPENED),
    45: Meaning(EventCode.METER_COVER_CLOSED),
    46: Meaning(EventCode.WRONG_PASSWORD),
    47: Meaning(EventCode.CONFIGURATION_CHANGED),
    48: Meaning(EventCode.KEYS_CHANGED),
    49: Meaning(EventCode.DECRYPTION_FAILED),
    50: Meaning(EventCode.REPLAY),
    51: Meaning(EventCode.FIRMWARE_REFUSED),
    59: Meaning(EventCode.RELAY_ARMED),
    60: Meaning(EventCode.RELAY_OPENED_BY_HAND),
    61: Meaning(EventCode.RELAY_CLOSED_BY_HAND),
    62: Meaning(EventCode.RELAY_OPENED_REMOTELY),
    63: Meaning(EventCode.RELAY_CLOSED_REMOTELY),
    64: Meaning(EventCode.RELAY_OPENED_BY_ITSELF),
    65: Meaning(EventCode.LIMIT_EXCEEDED),
    66: Meaning(EventCode.LIMIT_OK),
    67: Meaning(EventCode.LIMIT_CHANGED),
    68: Meaning(EventCode.RELAY_FAILED),
    69: Meaning(EventCode.RELAY_CLOSED_BY_ITSELF),
    **_phases(77, EventCode.UNDERVOLTAGE),
    **_phases(86, EventCode.PHASE_LOST),
    **_phases(90, EventCode.PHASE_BACK),
    **_submeters(),
    255: Meaning(EventCode.LOG_CLEARED),
}
_OVER_AND_NORMAL = {
    **_phases(80, EventCode.OVERVOLTAGE),
    **_phases(83, EventCode.VOLTAGE_NORMAL),
}
_SAG_AND_SWELL = {
    **_phases(80, EventCode.VOLTAGE_SAG),
    **_phases(83, EventCode.VOLTAGE_SWELL),
}
_BY_DIALECT: dict[Dialect, Mapping[int, Meaning]] = {
    Dialect.IDIS: _COMMON | _OVER_AND_NORMAL,
    Dialect.DSMR4: _COMMON | _OVER_AND_NORMAL,
    Dialect.SMR5: _COMMON | _SAG_AND_SWELL,
}

_ALARMS: dict[tuple[int, int], Meaning] = {
    (1, 0): Meaning(EventCode.CLOCK_INVALID),
    (1, 1): Meaning(EventCode.BATTERY_REPLACE),
    (1, 2): Meaning(EventCode.POWER_UP),
    (1, 4): Meaning(EventCode.CONFIGURATION_CHANGED),
    (1, 8): Meaning(EventCode.HARDWARE_FAULT, "program memory"),
    (1, 9): Meaning(EventCode.HARDWARE_FAULT, "RAM"),
    (1, 10): Meaning(EventCode.HARDWARE_FAULT, "NV memory"),
    (1, 11): Meaning(EventCode.HARDWARE_FAULT, "measurement"),
    (1, 12): Meaning(EventCode.HARDWARE_FAULT, "watchdog"),
    (1, 13): Meaning(EventCode.TAMPER),
    **{(1, 16 + n): Meaning(EventCode.LINK_LOST, f"channel {n + 1}") for n in range(4)},
    **{(1, 20 + n): Meaning(EventCode.SUBMETER_TAMPER, f"channel {n + 1}") for n in range(4)},
    **{(1, 24 + n): Meaning(EventCode.SUBMETER_FOUND, f"channel {n + 1}") for n in range(4)},
    **{(1, 28 + n): Meaning(EventCode.PHASE_LOST, f"L{n + 1}") for n in range(3)},
    **{(2, n): Meaning(EventCode.VOLTAGE_SAG, f"L{n + 1}") for n in range(3)},
    **{(2, 3 + n): Meaning(EventCode.VOLTAGE_SWELL, f"L{n + 1}") for n in range(3)},
    **{(2, 8 + n): Meaning(EventCode.DISTORTION, f"L{n + 1}") for n in range(3)},
    (3, 0): Meaning(EventCode.LAST_GASP),
}
ALARM_REGISTERS = (1, 2, 3)


def meaning_of(dialect: Dialect, log: int, code: int) -> Meaning:
    """Return what an entry means; a number that stands in no table is `METER_OTHER`."""
    if dialect is Dialect.SPODES:
        return SPODES_LOGS.get(log, {}).get(code, UNKNOWN)
    return _BY_DIALECT[dialect].get(code, UNKNOWN)


def origin_of(dialect: Dialect, log: int, code: int, nth: int = 1) -> str:
    """Return (profile, log, code) as text; `nth` tells entries of one instant apart."""
    return f"{dialect.value}/99.98.{log}/{code}" + (f"#{nth}" if nth > 1 else "")


def alarms_in(register: int, bits: int) -> tuple[tuple[int, Meaning], ...]:
    """Return (bit, meaning) of each alarm that stands, lowest bit first."""
    return tuple(
        (bit, _ALARMS.get((register, bit), UNKNOWN)) for bit in range(32) if bits >> bit & 1
    )


def alarm_origin(dialect: Dialect, register: int, bit: int) -> str:
    """Return where an alarm was told."""
    return f"{dialect.value}/97.98.{register - 1}/{bit}"
