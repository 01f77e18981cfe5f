"""
Whether an energy register may be believed: torn words and steps back are no consumption.

Some meters change the words of a counter one after the other, so that a read in between shows a
value that never was. It is off by 65,536 steps of the counter either way, and it is gone at the
next look: what steps back or leaps is therefore looked at again before it is believed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction

from protocols.modbus.plan import Value
from protocols.reading import REGISTERS, Channel

MOST_W = 60_000
"""Power above which a step is looked at twice: three phases of 87 A. More is believed then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """Energy registers as they stood at one instant of business time."""

    at: datetime
    registers: Mapping[Channel, Value]


def stand_of(values: Iterable[Value], at: datetime) -> Stand:
    """Return the energy registers among `values`."""
    return Stand(
        at=at, registers={item.channel: item for item in values if item.channel in REGISTERS}
    )


def doubtful(before: Stand | None, after: Stand) -> bool:
    """Tell whether any register in `after` is new, stepped back or leapt since `before`."""
    if before is None:
        return bool(after.registers)
    seconds = max(0, int((after.at - before.at).total_seconds())) + 1
    for channel, value in after.registers.items():
        last = before.registers.get(channel)
        if last is None:
            return True
        step = _watt_hours(value) - _watt_hours(last)
        # one step of the counter may be due whatever the time
        most = Fraction(MOST_W * seconds, 3600) + Fraction(10) ** value.scaler
        if not 0 <= step <= most:
            return True
    return False


def stepped_back(
    before: Stand | None, after: Stand, rollover: Mapping[Channel, int]
) -> tuple[Channel, ...]:
    """
    Return the registers in `after` below their stand `before`.

    `rollover` gives the raw value at which a register begins again at zero: where it is known, a
    fall from its last tenth into its first is none.
    """
    if before is None:
        return ()
    fallen = []
    for channel, value in after.registers.items():
        last = before.registers.get(channel)
        if last is None or _watt_hours(value) >= _watt_hours(last):
            continue
        states = rollover.get(channel)
        if states and last.raw * 10 >= states * 9 and value.raw * 10 <= states:
            continue
        fallen.append(channel)
    return tuple(fallen)


def _watt_hours(value: Value) -> Fraction:
    return value.raw * Fraction(10) ** value.scaler
