"""
Data items: identifier, octets, and what their digits mean.

An identifier DI3 DI2 DI1 DI0 is written as one number, `0x00010000`; on the line it goes low octet
first. *Source*: DL/T 645-2007 annex A; `0400010C` from the supplement of 2013.
"""

from dataclasses import dataclass
from datetime import datetime

from protocols.dlt645 import bcd
from protocols.errors import PeerError
from protocols.reading import Channel

DI_OCTETS = 4

DATE = 0x04000101
TIME = 0x04000102
DATE_TIME = 0x0400010C
"""`YYMMDDWWhhmmss` in one item. *Source*: supplement of 2013; older meters refuse it."""
ADDRESS = 0x04000401
METER_NUMBER = 0x04000402
STATE_WORD_3 = 0x04000503
BALANCE = 0x00900200
OVERDRAFT = 0x00900201
PURCHASES = 0x03330201
"""How often credit was bought, last purchase first. *Source*: supplement of 2013."""
RECHARGE = 0x070102FF
"""Credit enciphered for the security module; with control code 03."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """
    A number that a meter tells. *Units*: `digits * 10**scaler` in the channel's unit.

    A block item holds one such field per phase or per tariff.
    """

    di: int
    name: str
    octets: int
    scaler: int
    signed: bool = False
    channels: tuple[Channel, ...] = ()
    is_block: bool = False


_U = (Channel.VOLTAGE_L1_MV, Channel.VOLTAGE_L2_MV, Channel.VOLTAGE_L3_MV)
_I = (Channel.CURRENT_L1_MA, Channel.CURRENT_L2_MA, Channel.CURRENT_L3_MA)


def _energy(di: int, name: str, channel: Channel) -> Item:
    """Six digits and two of kWh: the last is 10 Wh."""
    return Item(di=di, name=name, octets=4, scaler=1, channels=(channel,))


def _voltage(di: int, name: str, *channels: Channel) -> Item:
    """Three digits and one of volts."""
    block = len(channels) > 1
    return Item(di=di, name=name, octets=2, scaler=2, channels=channels, is_block=block)


def _current(di: int, name: str, *channels: Channel) -> Item:
    """Three digits and three of amperes, signed."""
    block = len(channels) > 1
    return Item(
        di=di, name=name, octets=3, scaler=0, signed=True, channels=channels, is_block=block
    )


ENERGY_ROLLOVER = 10**8
"""An energy register shows eight digits of 0.01 kWh and begins anew at a million kWh."""

IMPORT = _energy(0x00010000, "import total", Channel.IMPORT_WH)
EXPORT = _energy(0x00020000, "export total", Channel.EXPORT_WH)
POWER = Item(  # two digits and four of kW
    di=0x02030000, name="power total", octets=3, scaler=-1, signed=True, channels=(Channel.POWER_W,)
)
FREQUENCY = Item(  # two digits and two of Hz
    di=0x02800002, name="frequency", octets=2, scaler=1, channels=(Channel.FREQUENCY_MHZ,)
)
VOLTAGES = _voltage(0x0201FF00, "voltages", *_U)
CURRENTS = _current(0x0202FF00, "currents", *_I)
VOLTAGE_OF = tuple(
    _voltage(0x02010000 | phase << 8, f"voltage {phase}", channel)
    for phase, channel in enumerate(_U, start=1)
)
CURRENT_OF = tuple(
    _current(0x02020000 | phase << 8, f"current {phase}", channel)
    for phase, channel in enumerate(_I, start=1)
)
MONEY = Item(di=BALANCE, name="balance left", octets=4, scaler=-2)
OWED = Item(di=OVERDRAFT, name="balance owed", octets=4, scaler=-2)

ITEMS: dict[int, Item] = {
    item.di: item
    for item in (
        IMPORT, EXPORT, POWER, FREQUENCY, VOLTAGES, CURRENTS, *VOLTAGE_OF, *CURRENT_OF, MONEY, OWED,
    )
}  # fmt: skip

MAX_DEMAND = 0x01010000
"""Highest import demand of the month and when: 0.1 W and `YYMMDDhhmm`."""


def encode_di(di: int) -> bytes:
    """Return the identifier as it is sent."""
    return di.to_bytes(DI_OCTETS, "little")


def split_di(octets: bytes) -> tuple[int, bytes]:
    """Return identifier and what follows it. Raises: PeerError `dlt645.shape`."""
    if len(octets) < DI_OCTETS:
        raise PeerError("dlt645.shape", f"{len(octets)} octets hold no data identifier")
    return int.from_bytes(octets[:DI_OCTETS], "little"), octets[DI_OCTETS:]


def decode_fields(item: Item, octets: bytes) -> tuple[int | None, ...]:
    """
    Return the numbers in an item's octets, None for one the meter says it has not.

    Raises: PeerError `dlt645.shape` when octets are missing or left over, `dlt645.bcd`.
    """
    count, rest = divmod(len(octets), item.octets)
    most = len(item.channels) if item.is_block else 1
    if rest or not 1 <= count <= max(most, 1):
        raise PeerError("dlt645.shape", f"{len(octets)} octets are no {item.name}")
    fields = (octets[at : at + item.octets] for at in range(0, len(octets), item.octets))
    return tuple(_number(item, field) for field in fields)


def encode_fields(item: Item, values: tuple[int, ...]) -> bytes:
    """Return the octets of an item. Raises: ValueError when a value does not fit."""
    encode = bcd.encode_signed if item.signed else bcd.encode_bcd
    return b"".join(encode(value, item.octets) for value in values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """A highest mean power. *Units*: `raw` in 0.1 W; `at` local time of the meter, None: never."""

    raw: int
    at: datetime | None


def decode_demand(octets: bytes) -> Demand:
    """Return demand and its minute. Raises: PeerError `dlt645.shape`, `.bcd`, `.stamp`."""
    if len(octets) != 8:
        raise PeerError("dlt645.shape", f"{len(octets)} octets are no demand")
    stamp = octets[3:]
    return Demand(
        raw=bcd.decode_signed(octets[:3]),
        at=None if stamp in (b"\x00" * 5, b"\xff" * 5) else bcd.decode_minute(stamp),
    )


def encode_demand(demand: Demand) -> bytes:
    """Return the octets of a demand."""
    stamp = b"\x00" * 5 if demand.at is None else bcd.encode_minute(demand.at)
    return bcd.encode_signed(demand.raw, 3) + stamp


def _number(item: Item, field: bytes) -> int | None:
    if bcd.is_absent(field):
        return None
    return bcd.decode_signed(field) if item.signed else bcd.decode_bcd(field)
