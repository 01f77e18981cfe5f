"""
Data and Register, classes 1 and 3: a value, and the scaler and unit that give it meaning.

*Source*: IEC 62056-6-2 class_id 1 and 3; clause 4.3.2 table of units.
"""

from dataclasses import dataclass
from enum import IntEnum

from protocols.dlms.apdu import Attribute
from protocols.dlms.obis import Obis, obis
from protocols.dlms.values import Value, as_integer, as_items, enum, integer, structure
from protocols.errors import PeerError
from protocols.reading import OBIS, Channel

DATA_CLASS = 1
CLASS_ID = 3
VALUE = 2
SCALER_UNIT = 3


class Unit(IntEnum):
    """Physical units that our channels use."""

    WATT = 27
    WATT_HOUR = 30
    AMPERE = 33
    VOLT = 35
    HERTZ = 44
    NONE = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalerUnit:
    """Attribute 3: value = raw * 10**scaler in `unit`."""

    scaler: int
    unit: int

    def encode(self) -> Value:
        """Return the structure."""
        return structure(integer(self.scaler), enum(self.unit))


def decode_scaler_unit(value: Value) -> ScalerUnit:
    """Return scaler and unit. Raises: PeerError `dlms.type`, `dlms.scaler`."""
    scaler, unit = as_items(value, count=2)
    read = ScalerUnit(scaler=as_integer(scaler), unit=as_integer(unit))
    if not -15 <= read.scaler <= 15:
        raise PeerError("dlms.scaler", f"a scaler of {read.scaler}")
    return read


CHANNEL_NAME: dict[Channel, Obis] = {channel: obis(text) for channel, text in OBIS.items()}
CHANNEL_OF: dict[Obis, Channel] = {name: channel for channel, name in CHANNEL_NAME.items()}

_UNIT_OF: dict[Channel, tuple[Unit, int]] = {
    Channel.IMPORT_WH: (Unit.WATT_HOUR, 0),
    Channel.EXPORT_WH: (Unit.WATT_HOUR, 0),
    Channel.IMPORT_INTERVAL_WH: (Unit.WATT_HOUR, 0),
    Channel.EXPORT_INTERVAL_WH: (Unit.WATT_HOUR, 0),
    Channel.POWER_W: (Unit.WATT, 0),
    Channel.VOLTAGE_L1_MV: (Unit.VOLT, 3),
    Channel.VOLTAGE_L2_MV: (Unit.VOLT, 3),
    Channel.VOLTAGE_L3_MV: (Unit.VOLT, 3),
    Channel.CURRENT_L1_MA: (Unit.AMPERE, 3),
    Channel.CURRENT_L2_MA: (Unit.AMPERE, 3),
    Channel.CURRENT_L3_MA: (Unit.AMPERE, 3),
    Channel.FREQUENCY_MHZ: (Unit.HERTZ, 3),
}


def channel_scaler(channel: Channel, read: ScalerUnit) -> int:
    """
    Return the power of ten from the meter's raw value to the channel's unit.

    Raises: PeerError `dlms.unit` when the meter measures something else under that name.
    """
    unit, thousandths = _UNIT_OF[channel]
    if read.unit != unit:
        raise PeerError("dlms.unit", f"{channel.name} in unit {read.unit}, not {unit}")
    return read.scaler + thousandths


def channel_unit(channel: Channel, scaler: int) -> ScalerUnit:
    """Return attribute 3 for a raw value that is `raw * 10**scaler` in the channel's unit."""
    unit, thousandths = _UNIT_OF[channel]
    return ScalerUnit(scaler=scaler - thousandths, unit=unit)


def register(channel: Channel, index: int = VALUE) -> Attribute:
    """Return an attribute of the channel's register object."""
    return Attribute(class_id=CLASS_ID, name=CHANNEL_NAME[channel], index=index)
