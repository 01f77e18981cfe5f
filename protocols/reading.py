"""What a meter tells: reading types, their codes on our wires, qualities."""

from dataclasses import dataclass, field
from enum import IntEnum, IntFlag, StrEnum


class Channel(IntEnum):
    """
    One measured quantity, by the small code used in columns and tables.

    Codes are never reused. The OBIS name of each stands in `OBIS`.
    """

    IMPORT_WH = 1
    EXPORT_WH = 2
    IMPORT_INTERVAL_WH = 3
    EXPORT_INTERVAL_WH = 4
    POWER_W = 10
    VOLTAGE_L1_MV = 11
    VOLTAGE_L2_MV = 12
    VOLTAGE_L3_MV = 13
    CURRENT_L1_MA = 14
    CURRENT_L2_MA = 15
    CURRENT_L3_MA = 16
    FREQUENCY_MHZ = 17


OBIS: dict[Channel, str] = {
    Channel.IMPORT_WH: "1-0:1.8.0*255",
    Channel.EXPORT_WH: "1-0:2.8.0*255",
    Channel.IMPORT_INTERVAL_WH: "1-0:1.29.0*255",
    Channel.EXPORT_INTERVAL_WH: "1-0:2.29.0*255",
    Channel.POWER_W: "1-0:1.7.0*255",
    Channel.VOLTAGE_L1_MV: "1-0:32.7.0*255",
    Channel.VOLTAGE_L2_MV: "1-0:52.7.0*255",
    Channel.VOLTAGE_L3_MV: "1-0:72.7.0*255",
    Channel.CURRENT_L1_MA: "1-0:31.7.0*255",
    Channel.CURRENT_L2_MA: "1-0:51.7.0*255",
    Channel.CURRENT_L3_MA: "1-0:71.7.0*255",
    Channel.FREQUENCY_MHZ: "1-0:14.7.0*255",
}
"""*Source*: IEC 62056-6-1, OBIS A-B:C.D.E*F; B=0 and F=255 are the present, unchannelled values."""

CHANNEL_OF_OBIS: dict[str, Channel] = {obis: channel for channel, obis in OBIS.items()}

REGISTERS = frozenset({Channel.IMPORT_WH, Channel.EXPORT_WH})
"""Cumulative energy: kept for ever, natural key (meter, channel, device time)."""

INTERVALS = frozenset({Channel.IMPORT_INTERVAL_WH, Channel.EXPORT_INTERVAL_WH})
"""Energy of [start, end): kept for ever, natural key (meter, channel, start)."""

INSTANTANEOUS = frozenset(set(Channel) - REGISTERS - INTERVALS)
"""Momentary values: only the latest is kept, losing one loses nothing."""


class Status(IntFlag):
    """
    What the meter said about its own value.

    *Source*: DSMR / IDIS profile status 0-0:96.10.1, same bit numbers.
    """

    CRITICAL_ERROR = 1 << 0
    CLOCK_INVALID = 1 << 1
    DATA_NOT_VALID = 1 << 2
    DAYLIGHT_SAVING = 1 << 3
    CLOCK_ADJUSTED = 1 << 5
    RECOVERED = 1 << 6
    POWER_DOWN = 1 << 7
    UNAUTHENTICATED = 1 << 16
    """Ours, above those of the standard: pushed without proof of who sent it."""


class Quality(StrEnum):
    """What validation thinks of a value. *Source*: CIM ReadingQuality, our five classes."""

    RAW = "raw"
    VALID = "valid"
    ESTIMATED = "estimated"
    EDITED = "edited"
    QUESTIONABLE = "questionable"


class RelayState(IntEnum):
    """Control state of the switch. *Source*: IEC 62056-6-2 class 70 attribute 3."""

    DISCONNECTED = 0
    CONNECTED = 1
    ARMED = 2
    """Ready for reconnection: the customer closes it by hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayReading:
    """The switch as the meter told it: is current let through, and what the logic says."""

    output_closed: bool
    control_state: RelayState
    control_mode: int
    arms_itself: bool = field(default=False, compare=False)
    """
    An external breaker that may be closed by hand a minute after each trip (D11): armed is as open
    as it stays. Known from the meter's type, never told by the meter and not sent up.
    """
    keeps_power: bool | None = field(default=None, compare=False)
    """The meter refuses trips (D8); None where it tells nothing of it. Not sent up."""
