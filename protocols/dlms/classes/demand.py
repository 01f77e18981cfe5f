"""
Extended register and demand register, classes 4 and 5: a value with the time it was taken.

A demand register averages over `period` seconds times `number_of_periods`; what is running is the
current average, what closed last the last average. *Units*: raw values by `scaler_unit`.
*Source*: IEC 62056-6-2 class_id 4 and 5.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Self

from protocols.dlms.classes.clock import decode_moment, encode_moment
from protocols.dlms.classes.register import ScalerUnit, decode_scaler_unit
from protocols.dlms.obis import Obis, obis
from protocols.dlms.values import (
    Value,
    as_integer,
    as_octets,
    double_long_unsigned,
    long_unsigned,
    octet_string,
    unsigned,
)
from protocols.errors import PeerError

MAX_DEMAND: Obis = obis("1-0:1.6.0")
DEMAND: Obis = obis("1-0:1.4.0")
EXTENDED_CLASS, DEMAND_CLASS = 4, 5
RESET, NEXT_PERIOD = 1, 2
_LONGEST = 86_400 * 31
_MOST_PERIODS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtendedRegister:
    """Class 4; `deviation` are the minutes from the meter's local time to UTC when encoding."""

    CLASS_ID: ClassVar[int] = EXTENDED_CLASS
    INDEXES: ClassVar[tuple[int, ...]] = (2, 3, 4, 5)

    raw: int
    scaler: ScalerUnit
    status: int
    captured: datetime
    deviation: int = 0

    @classmethod
    def of(cls, values: Sequence[Value]) -> Self:
        """Return the register. Raises: PeerError `dlms.type`, `dlms.clock`, `dlms.scaler`."""
        raw, scaler, status, captured = values
        moment = decode_moment(as_octets(captured))
        return cls(
            raw=as_integer(raw),
            scaler=decode_scaler_unit(scaler),
            status=as_integer(status),
            captured=moment.instant,
            deviation=moment.deviation or 0,
        )

    def encode(self) -> tuple[Value, ...]:
        """Return attributes 2 to 5."""
        return (
            double_long_unsigned(self.raw),
            self.scaler.encode(),
            unsigned(self.status),
            octet_string(encode_moment(self.captured, deviation=self.deviation)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DemandRegister:
    """Class 5. *Units*: `period` in seconds."""

    CLASS_ID: ClassVar[int] = DEMAND_CLASS
    INDEXES: ClassVar[tuple[int, ...]] = (2, 3, 4, 5, 6, 7, 8, 9)

    current: int
    last: int
    scaler: ScalerUnit
    status: int
    captured: datetime
    started: datetime
    period: int
    periods: int
    deviation: int = 0

    @classmethod
    def of(cls, values: Sequence[Value]) -> Self:
        """Return the register. Raises: PeerError `dlms.demand`, and those of its parts."""
        current, last, scaler, status, captured, started, period, periods = values
        moment = decode_moment(as_octets(captured))
        length, count = as_integer(period), as_integer(periods)
        if not (1 <= length <= _LONGEST and 1 <= count <= _MOST_PERIODS):
            raise PeerError("dlms.demand", f"a demand over {count} periods of {length} s")
        return cls(
            current=as_integer(current),
            last=as_integer(last),
            scaler=decode_scaler_unit(scaler),
            status=as_integer(status),
            captured=moment.instant,
            started=decode_moment(as_octets(started)).instant,
            period=length,
            periods=count,
            deviation=moment.deviation or 0,
        )

    def encode(self) -> tuple[Value, ...]:
        """Return attributes 2 to 9."""
        return (
            double_long_unsigned(self.current),
            double_long_unsigned(self.last),
            self.scaler.encode(),
            unsigned(self.status),
            octet_string(encode_moment(self.captured, deviation=self.deviation)),
            octet_string(encode_moment(self.started, deviation=self.deviation)),
            double_long_unsigned(self.period),
            long_unsigned(self.periods),
        )
