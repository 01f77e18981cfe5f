"""Physical quantities as integers with the unit in the name; nothing here is ever a float."""

from typing import NewType

EnergyWh = NewType("EnergyWh", int)
"""Active energy, watt-hours."""

PowerW = NewType("PowerW", int)
"""Active power, watts; positive is import from the grid."""

VoltageMv = NewType("VoltageMv", int)
"""Voltage, millivolts."""

CurrentMa = NewType("CurrentMa", int)
"""Current, milliamperes."""

Permille = NewType("Permille", int)
"""A share in thousandths."""

WH_PER_KWH = 1000


def rescale(raw: int, exponent: int) -> int:
    """
    Return `raw` times ten to the power `exponent` as an integer, rounded half away from zero.

    This is the one way a meter's scaler is applied: DLMS class 3 attribute 3, Modbus map `scale`.

    Raises: ValueError when `exponent` is outside -18..18, which no meter's scaler is.
    """
    if not -18 <= exponent <= 18:
        raise ValueError(f"scaler 10^{exponent} is outside 10^-18..10^18; check the meter's map")
    if exponent >= 0:
        power: int = 10**exponent
        return raw * power
    divisor: int = 10**-exponent
    sign = -1 if raw < 0 else 1
    return sign * ((2 * abs(raw) + divisor) // (2 * divisor))
