"""EndDeviceEvents: one code space over all protocols, keeping what the meter itself said."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from protocols.identity import MeterId


class EventCode(StrEnum):
    """What happened at a device, in our words."""

    CLOCK_DRIFT = "clock.drift"
    CLOCK_SET = "clock.set"
    CLOCK_STEP_REFUSED = "clock.step_refused"
    METER_SILENT = "meter.silent"
    METER_BACK = "meter.back"
    FOREIGN_ANSWER = "meter.foreign_answer"
    PROTOCOL_BROKEN = "meter.protocol_broken"
    COUNTER_LOWERED = "security.counter_lowered"
    RELAY_OPENED = "relay.opened"
    RELAY_CLOSED = "relay.closed"
    RELAY_ARMED = "relay.armed"
    RELAY_FAILED = "relay.failed"
    OUTBOX_FULL = "agent.outbox_full"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndDeviceEvent:
    """
    One event of one device; natural key (meter, code, at).

    `origin` keeps the meter's own (profile, log, code) as text where it came from a log.
    """

    meter: MeterId
    code: EventCode
    at: datetime
    origin: str = ""
    detail: str = ""
