"""
ReadingType: eighteen numbers that name what was measured, and the one table to our channels.

*Source*: IEC 61968-9 annex C; the same code lists stand in NAESB REQ.21 (ESPI) enumerations.
"""

from dataclasses import astuple, dataclass

from protocols.errors import PeerError
from protocols.reading import INTERVALS, OBIS, Channel

CODE = "cim.reading_type"
_LARGEST = 999_999

PERIODS = {
    600: 1, 900: 2, 60: 3, 86400: 4, 1800: 5, 300: 6, 3600: 7, 120: 10, 180: 14, 1200: 31,
}  # fmt: skip
"""Code of `measuring_period` by the seconds of an interval."""
SECONDS = {code: seconds for seconds, code in PERIODS.items()}

BULK, DELTA, INDICATING = 1, 4, 6
"""Accumulation: a cumulative register, the energy of an interval, the value at an instant."""
_FORWARD, _REVERSE = 1, 19
_SECONDARY = 1
"""Electricity as the meter counts it; 2 is already multiplied by its transformers' ratio."""
_CURRENT, _ENERGY, _FREQUENCY, _POWER, _VOLTAGE = 4, 12, 15, 37, 54
_VOLT, _AMPERE, _HERTZ, _WATT, _WATT_HOUR = 29, 5, 33, 38, 72
_MILLI = -3
_BILLING_PERIOD = 8
_PHASES = (129, 65, 33)
"""Phase to neutral of A (L1), B (L2), C (L3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingType:
    """
    What was measured, in the order of the standard; 0 is "does not apply".

    `multiplier` is the power of ten of the unit (3 is kilo), `measuring_period` a code of
    `PERIODS`.
    """

    macro_period: int = 0
    aggregate: int = 0
    measuring_period: int = 0
    accumulation: int = 0
    flow: int = 0
    commodity: int = 0
    kind: int = 0
    interharmonic_numerator: int = 0
    interharmonic_denominator: int = 0
    argument_numerator: int = 0
    argument_denominator: int = 0
    tou: int = 0
    cpp: int = 0
    tier: int = 0
    phases: int = 0
    multiplier: int = 0
    unit: int = 0
    currency: int = 0

    def __str__(self) -> str:
        """Return the dotted form: 0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0."""
        return ".".join(str(number) for number in astuple(self))


def parse(text: str) -> ReadingType:
    """Return the type that the dotted form names. Raises: PeerError `cim.reading_type`."""
    parts = text.strip().split(".")
    if len(parts) != len(ReadingType.__slots__):
        raise _refusal(text, f"it has {len(parts)} parts where 18 belong")
    numbers = []
    for part in parts:
        sign, digits = ("-", part[1:]) if part.startswith("-") else ("", part)
        if not (digits.isascii() and digits.isdigit()) or len(digits) > len(str(_LARGEST)):
            raise _refusal(text, f"{part[:12]!r} is not a number of it")
        numbers.append(int(sign + digits))
    return ReadingType(**dict(zip(ReadingType.__slots__, numbers, strict=True)))


def type_of(channel: Channel, seconds: int, *, multiplier: int | None = None) -> ReadingType:
    """
    Return the type of a channel of ours; `multiplier` None is that of its unit.

    *Units*: `seconds` is the interval's length, 0 for what is no interval. Raises: PeerError where
    the standard has no code for that length.
    """
    base, own = _TABLE[channel]
    period = 0
    if channel in INTERVALS:
        if seconds not in PERIODS:
            raise PeerError(CODE, f"the standard has no code for intervals of {seconds} s")
        period = PERIODS[seconds]
    return ReadingType(**{
        **dict(zip(ReadingType.__slots__, astuple(base), strict=True)),
        "measuring_period": period, "multiplier": own if multiplier is None else multiplier,
    })  # fmt: skip


def channel_of(type_: ReadingType) -> tuple[Channel, int, int]:
    """
    Return channel, seconds and the power of ten from the type's unit to ours.

    Raises: PeerError naming what nobody here can read: another commodity or unit, a rate register,
    or primary values, whose ratio would be applied a second time.
    """
    if type_.commodity != _SECONDARY:
        raise _refusal(
            str(type_), f"commodity {type_.commodity} is not electricity as the meter counts it (1)"
        )
    wanted = _blind(type_)
    for channel, (base, own) in _TABLE.items():
        if _blind(base) != wanted:
            continue
        seconds = 0
        if channel in INTERVALS:
            seconds = SECONDS.get(type_.measuring_period, 0)
            if not seconds:
                raise _refusal(
                    str(type_), f"measuring period {type_.measuring_period} is no length"
                )
        if not -18 <= type_.multiplier - own <= 18:
            raise _refusal(str(type_), f"multiplier {type_.multiplier} is beyond any meter's")
        return channel, seconds, type_.multiplier - own
    raise _refusal(str(type_), "no channel here measures that")


def obis_of(type_: ReadingType) -> str:
    """Return the OBIS name of what the type measures. Raises: PeerError as `channel_of`."""
    return OBIS[channel_of(type_)[0]]


def _blind(type_: ReadingType) -> tuple[int, ...]:
    """Return the type without what differs between readings of one channel."""
    fields = dict(zip(ReadingType.__slots__, astuple(type_), strict=True))
    fields["measuring_period"] = fields["multiplier"] = 0
    if fields["macro_period"] == _BILLING_PERIOD and fields["accumulation"] == BULK:
        fields["macro_period"] = 0  # the register at a billing period's end is a register
    return tuple(fields.values())


def _refusal(text: str, why: str) -> PeerError:
    return PeerError(CODE, f"reading type {text[:80]!r}: {why}")


def _energy(accumulation: int, flow: int) -> tuple[ReadingType, int]:
    made = ReadingType(
        accumulation=accumulation, flow=flow, commodity=_SECONDARY, kind=_ENERGY, unit=_WATT_HOUR
    )
    return made, 0


def _momentary(kind: int, unit: int, own: int, phases: int = 0) -> tuple[ReadingType, int]:
    flow = _FORWARD if kind == _POWER else 0
    made = ReadingType(
        accumulation=INDICATING, flow=flow, commodity=_SECONDARY, kind=kind, phases=phases,
        unit=unit,
    )  # fmt: skip
    return made, own


_TABLE: dict[Channel, tuple[ReadingType, int]] = {
    Channel.IMPORT_WH: _energy(BULK, _FORWARD),
    Channel.EXPORT_WH: _energy(BULK, _REVERSE),
    Channel.IMPORT_INTERVAL_WH: _energy(DELTA, _FORWARD),
    Channel.EXPORT_INTERVAL_WH: _energy(DELTA, _REVERSE),
    Channel.POWER_W: _momentary(_POWER, _WATT, 0),
    Channel.VOLTAGE_L1_MV: _momentary(_VOLTAGE, _VOLT, _MILLI, _PHASES[0]),
    Channel.VOLTAGE_L2_MV: _momentary(_VOLTAGE, _VOLT, _MILLI, _PHASES[1]),
    Channel.VOLTAGE_L3_MV: _momentary(_VOLTAGE, _VOLT, _MILLI, _PHASES[2]),
    Channel.CURRENT_L1_MA: _momentary(_CURRENT, _AMPERE, _MILLI, _PHASES[0]),
    Channel.CURRENT_L2_MA: _momentary(_CURRENT, _AMPERE, _MILLI, _PHASES[1]),
    Channel.CURRENT_L3_MA: _momentary(_CURRENT, _AMPERE, _MILLI, _PHASES[2]),
    Channel.FREQUENCY_MHZ: _momentary(_FREQUENCY, _HERTZ, _MILLI),
}
"""The type of each channel and the power of ten in which we keep it: Wh, W, mV, mA, mHz."""
