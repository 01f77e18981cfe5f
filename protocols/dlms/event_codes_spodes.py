"""
The event tables of SPODES, the Russian companion profile: each log counts its codes from 1.

Begin and end of a condition are neighbours: odd begins, even ends, but where a table says other.
*Source*: GOST R 58940-2020 annex D, tables D.1 to D.9; STO 34.01-5.1-006.
"""

from collections.abc import Mapping

from protocols.events import EventCode, Meaning

_L = ("L1", "L2", "L3")
_END = "end"


def _pairs(
    first: int, begins: EventCode, ends: EventCode, details: tuple[str, ...] = _L
) -> dict[int, Meaning]:
    """Return begin and end of one condition for each of `details`, in turn."""
    table: dict[int, Meaning] = {}
    for n, detail in enumerate(details):
        told = f"{detail}, {_END}" if begins is ends else detail
        table[first + 2 * n] = Meaning(begins, detail)
        table[first + 2 * n + 1] = Meaning(ends, told)
    return table


def _once(first: int, begins: EventCode, ends: EventCode, detail: str = "") -> dict[int, Meaning]:
    told = f"{detail}, {_END}".lstrip(", ") if begins is ends else detail
    return {first: Meaning(begins, detail), first + 1: Meaning(ends, told)}


_VOLTAGE = {
    **_pairs(1, EventCode.PHASE_LOST, EventCode.PHASE_BACK),
    **_once(7, EventCode.OVERVOLTAGE, EventCode.VOLTAGE_NORMAL, "any phase"),
    **_once(9, EventCode.UNDERVOLTAGE, EventCode.VOLTAGE_NORMAL, "any phase"),
    **_once(11, EventCode.VOLTAGE_UNBALANCED, EventCode.VOLTAGE_UNBALANCED),
    **_pairs(13, EventCode.VOLTAGE_SWELL, EventCode.VOLTAGE_NORMAL),
    **_pairs(19, EventCode.VOLTAGE_SAG, EventCode.VOLTAGE_NORMAL),
    **_once(25, EventCode.PHASE_ORDER, EventCode.PHASE_ORDER),
    **_once(27, EventCode.PHASE_LOST, EventCode.PHASE_BACK, "all phases"),
}
_CURRENT = {
    **_pairs(1, EventCode.CURRENT_REVERSED, EventCode.CURRENT_NORMAL),
    **_pairs(7, EventCode.CURRENT_TRANSFORMER, EventCode.CURRENT_NORMAL),
    **_once(13, EventCode.CURRENT_UNBALANCED, EventCode.CURRENT_NORMAL),
    **_once(15, EventCode.CURRENT_TRANSFORMER, EventCode.CURRENT_NORMAL, "short circuit"),
    **_once(17, EventCode.OVERCURRENT, EventCode.CURRENT_NORMAL, "any phase"),
    **_pairs(19, EventCode.CURRENT_WITHOUT_VOLTAGE, EventCode.CURRENT_NORMAL),
    **_pairs(25, EventCode.OVERCURRENT, EventCode.CURRENT_NORMAL),
    **_once(31, EventCode.CURRENT_WITHOUT_VOLTAGE, EventCode.CURRENT_NORMAL, "neutral broken"),
    **_once(33, EventCode.CURRENT_REVERSED, EventCode.CURRENT_NORMAL, "one-way meter"),
    **_once(35, EventCode.CURRENT_REVERSED, EventCode.CURRENT_NORMAL, "phases differ"),
    **_once(37, EventCode.RELAY_FAILED, EventCode.CURRENT_NORMAL, "current through an open relay"),
}
_SWITCHING = {
    1: Meaning(EventCode.POWER_DOWN),
    2: Meaning(EventCode.POWER_UP),
    3: Meaning(EventCode.RELAY_OPENED_REMOTELY),
    4: Meaning(EventCode.RELAY_CLOSED_REMOTELY),
    5: Meaning(EventCode.RELAY_ARMED),
    6: Meaning(EventCode.RELAY_OPENED_BY_HAND),
    7: Meaning(EventCode.RELAY_CLOSED_BY_HAND),
    8: Meaning(EventCode.RELAY_OPENED_BY_ITSELF, "power limit"),
    9: Meaning(EventCode.RELAY_OPENED_BY_ITSELF, "highest current"),
    10: Meaning(EventCode.RELAY_OPENED_BY_ITSELF, "magnet"),
    11: Meaning(EventCode.RELAY_OPENED_BY_ITSELF, "overvoltage"),
    12: Meaning(EventCode.RELAY_CLOSED_BY_ITSELF, "voltage normal"),
    13: Meaning(EventCode.RELAY_OPENED_BY_ITSELF, "current without voltage"),
    14: Meaning(EventCode.RELAY_OPENED_BY_ITSELF, "unbalanced currents"),
    15: Meaning(EventCode.RELAY_OPENED_BY_ITSELF, "temperature"),
    16: Meaning(EventCode.POWER_UP, "backup supply"),
    17: Meaning(EventCode.POWER_DOWN, "backup supply"),
    18: Meaning(EventCode.RELAY_OPENED_BY_ITSELF, "cover opened"),
}
_CLOCK = (3, 63, 68)
_TARIFF = (*range(5, 10), 49)
_CLEARED = (*range(35, 49), 80)
_KEYS = (13, 14, *range(53, 61), 69)
_LIMITS = (19, 20, 21, 22)
_PROGRAMMING = {
    **{code: Meaning(EventCode.CONFIGURATION_CHANGED, f"setting {code}") for code in range(1, 87)},
    **{code: Meaning(EventCode.CLOCK_ADJUSTED) for code in _CLOCK},
    **{code: Meaning(EventCode.TARIFF_CHANGED) for code in _TARIFF},
    **{code: Meaning(EventCode.LOG_CLEARED, f"log {code}") for code in _CLEARED},
    **{code: Meaning(EventCode.KEYS_CHANGED) for code in _KEYS},
    **{code: Meaning(EventCode.LIMIT_CHANGED) for code in _LIMITS},
    4: Meaning(EventCode.CONFIGURATION_CHANGED, "daylight saving"),
    65: Meaning(EventCode.FIRMWARE_ACTIVATED),
    70: Meaning(EventCode.ALARMS_CLEARED),
}
_TAMPER = {
    1: Meaning(EventCode.MAGNET_ON),
    2: Meaning(EventCode.MAGNET_OFF),
    3: Meaning(EventCode.TERMINAL_COVER_OPENED),
    4: Meaning(EventCode.METER_COVER_OPENED),
}
_LINK = {1: Meaning(EventCode.LINK_LOST), 2: Meaning(EventCode.LINK_BACK)}
_ACCESS = {
    1: Meaning(EventCode.WRONG_PASSWORD),
    2: Meaning(EventCode.TAMPER, "protocol violated"),
}
_PARTS = ("clock", "power supply", "display", "memory", "program memory", "core clock", "timebase")
_DIAGNOSIS = {
    1: Meaning(EventCode.METER_RESTARTED),
    2: Meaning(EventCode.HARDWARE_FAULT, "measurement"),
    3: Meaning(EventCode.HARDWARE_OK, "measurement"),
    4: Meaning(EventCode.HARDWARE_FAULT, "computing"),
    **_pairs(5, EventCode.HARDWARE_FAULT, EventCode.HARDWARE_OK, _PARTS),
    19: Meaning(EventCode.HARDWARE_OK, "computing"),
}
_REACTIVE = _once(1, EventCode.REACTIVE_LIMIT, EventCode.REACTIVE_LIMIT)

SPODES_LOGS: Mapping[int, Mapping[int, Meaning]] = {
    0: _VOLTAGE,
    1: _CURRENT,
    2: _SWITCHING,
    3: _PROGRAMMING,
    4: _TAMPER,
    5: _LINK,
    6: _ACCESS,
    7: _DIAGNOSIS,
    8: _REACTIVE,
}
