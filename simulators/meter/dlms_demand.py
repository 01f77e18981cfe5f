"""
Demand of a simulated meter: what runs, what closed last, the highest of the month, the calendar.

All of it is computed from the energy that truly flowed: the average power of a period is its
energy over its length, of the running one up to this moment. *Units*: W.
*Source*: IEC 62056-6-2 class_id 4, 5, 17, 20.
"""

import numpy as np

from protocols.dlms.classes import calendar, demand
from protocols.dlms.classes.calendar import Calendar, Day, SapAssignment, Season, Week
from protocols.dlms.classes.demand import DemandRegister, ExtendedRegister
from protocols.dlms.classes.register import ScalerUnit, Unit
from protocols.dlms.classes.typed import ScriptCall
from protocols.dlms.obis import obis
from protocols.dlms.reference import Access
from protocols.dlms.values import Value
from protocols.timeline import from_ms, to_ms
from simulators.meter.dlms_parts import DEVIATION, Part, refuse
from simulators.meter.state import SimulatedMeter, Snapshot

PERIOD_SECONDS = 900
_WATTS = ScalerUnit(scaler=0, unit=Unit.WATT)
_TARIFFS = obis("0-0:10.0.100")
_DAY = Day(
    number=1,
    switches=(
        (bytes.fromhex("00000000"), ScriptCall(table=_TARIFFS, selector=1)),
        (bytes.fromhex("08000000"), ScriptCall(table=_TARIFFS, selector=2)),
    ),
)
_CALENDAR = Calendar(
    name=b"day and night",
    seasons=(Season(name=b"year", start=bytes.fromhex("ffff0101ff00000000800000"), week=b"week"),),
    weeks=(Week(name=b"week", days=(1,) * 7),),
    days=(_DAY,),
)


def demand_of(meter: SimulatedMeter) -> Part:
    """Return demand registers, calendar and access points of a meter."""
    part = Part()
    part.show(DemandRegister, demand.DEMAND, lambda now: running_demand(meter, now))
    part.show(ExtendedRegister, demand.MAX_DEMAND, lambda now: highest_demand(meter, now))
    part.show(Calendar, calendar.CALENDAR, lambda _: _CALENDAR)
    part.let_act(calendar.CALENDAR_CLASS, calendar.CALENDAR, _activate)
    saps = SapAssignment(devices=((1, meter.spec.meter.encode()),))
    part.show(SapAssignment, calendar.SAPS, lambda _: saps)
    return part


def running_demand(meter: SimulatedMeter, now: Snapshot) -> DemandRegister:
    """Return the demand of the period that runs, and of the one that closed last."""
    length = PERIOD_SECONDS * 1000
    begun = now.device_ms // length * length
    marks = np.array([begun - length, begun], dtype=np.int64)
    before, at_start = (int(wh) for wh in meter.recorded_wh(marks))
    return DemandRegister(
        current=_watts(now.register_wh - at_start, length),
        last=_watts(at_start - before, length),
        scaler=_WATTS,
        status=0,
        captured=from_ms(begun),
        started=from_ms(begun),
        period=PERIOD_SECONDS,
        periods=1,
        deviation=DEVIATION,
    )


def highest_demand(meter: SimulatedMeter, now: Snapshot) -> ExtendedRegister:
    """Return the highest demand of the month's closed profile intervals, and when it closed."""
    local = from_ms(now.device_ms - DEVIATION * 60_000)
    month = local.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    since_ms = to_ms(month) + DEVIATION * 60_000
    rows = meter.profile_at(now.true_ms, first_end_ms=since_ms + 1)
    best = int(np.argmax(rows.wh)) if len(rows) else None
    return ExtendedRegister(
        raw=0 if best is None else _watts(int(rows.wh[best]), rows.seconds * 1000),
        scaler=_WATTS,
        status=0,
        captured=from_ms(since_ms if best is None else int(rows.ends_ms[best])),
        deviation=DEVIATION,
    )


def _watts(wh: int, milliseconds: int) -> int:
    return max(wh, 0) * 3_600_000 // milliseconds


def _activate(_method: int, _parameter: Value | None) -> None:
    raise refuse(Access.OTHER)  # no passive calendar was ever written
