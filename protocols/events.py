"""EndDeviceEvents: one code space over all protocols, keeping what the meter itself said."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from protocols.identity import MeterId


class EventCode(StrEnum):
    """What happened at a device, in our words; phases and channels are told in `detail`."""

    CLOCK_DRIFT = "clock.drift"
    CLOCK_SET = "clock.set"
    CLOCK_STEP_REFUSED = "clock.step_refused"
    CLOCK_ADJUSTED = "clock.adjusted"
    """The meter tells that its clock was set, by whomever."""
    CLOCK_INVALID = "clock.invalid"
    DAYLIGHT_SAVING = "clock.daylight_saving"
    METER_SILENT = "meter.silent"
    METER_BACK = "meter.back"
    FOREIGN_ANSWER = "meter.foreign_answer"
    PROTOCOL_BROKEN = "meter.protocol_broken"
    METER_OTHER = "meter.other"
    """What the meter told is in no table; `origin` keeps its number."""
    METER_RESTARTED = "meter.restarted"
    LOG_CLEARED = "meter.log_cleared"
    ERRORS_CLEARED = "meter.errors_cleared"
    ALARMS_CLEARED = "meter.alarms_cleared"
    CONFIGURATION_CHANGED = "meter.configuration_changed"
    TARIFF_CHANGED = "meter.tariff_changed"
    BATTERY_LOW = "battery.low"
    BATTERY_REPLACE = "battery.replace"
    HARDWARE_FAULT = "hardware.fault"
    HARDWARE_OK = "hardware.ok"
    FIRMWARE_READY = "firmware.ready"
    FIRMWARE_ACTIVATED = "firmware.activated"
    FIRMWARE_REFUSED = "firmware.refused"
    COUNTER_LOWERED = "security.counter_lowered"
    WRONG_PASSWORD = "security.wrong_password"  # noqa: S105
    DECRYPTION_FAILED = "security.decryption_failed"
    REPLAY = "security.replay"
    KEYS_CHANGED = "security.keys_changed"
    TERMINAL_COVER_OPENED = "tamper.terminal_cover_opened"
    TERMINAL_COVER_CLOSED = "tamper.terminal_cover_closed"
    METER_COVER_OPENED = "tamper.meter_cover_opened"
    METER_COVER_CLOSED = "tamper.meter_cover_closed"
    MAGNET_ON = "tamper.magnet_on"
    MAGNET_OFF = "tamper.magnet_off"
    TAMPER = "tamper.suspected"
    POWER_DOWN = "power.down"
    POWER_UP = "power.up"
    LAST_GASP = "power.last_gasp"
    PHASE_LOST = "power.phase_lost"
    PHASE_BACK = "power.phase_back"
    UNDERVOLTAGE = "power.undervoltage"
    OVERVOLTAGE = "power.overvoltage"
    VOLTAGE_NORMAL = "power.voltage_normal"
    VOLTAGE_SAG = "power.voltage_sag"
    VOLTAGE_SWELL = "power.voltage_swell"
    VOLTAGE_UNBALANCED = "power.voltage_unbalanced"
    PHASE_ORDER = "power.phase_order"
    DISTORTION = "power.distortion"
    OVERCURRENT = "current.over"
    CURRENT_NORMAL = "current.normal"
    CURRENT_REVERSED = "current.reversed"
    CURRENT_UNBALANCED = "current.unbalanced"
    CURRENT_WITHOUT_VOLTAGE = "current.without_voltage"
    CURRENT_TRANSFORMER = "current.transformer"
    REACTIVE_LIMIT = "power.reactive_limit"
    RELAY_OPENED = "relay.opened"
    RELAY_CLOSED = "relay.closed"
    RELAY_ARMED = "relay.armed"
    RELAY_FAILED = "relay.failed"
    RELAY_OPENED_REMOTELY = "relay.opened_remotely"
    RELAY_CLOSED_REMOTELY = "relay.closed_remotely"
    RELAY_OPENED_BY_HAND = "relay.opened_by_hand"
    RELAY_CLOSED_BY_HAND = "relay.closed_by_hand"
    RELAY_OPENED_BY_ITSELF = "relay.opened_by_itself"
    RELAY_CLOSED_BY_ITSELF = "relay.closed_by_itself"
    LIMIT_EXCEEDED = "limit.exceeded"
    LIMIT_OK = "limit.ok"
    LIMIT_CHANGED = "limit.changed"
    LINK_LOST = "link.lost"
    LINK_BACK = "link.back"
    SUBMETER_FOUND = "submeter.found"
    SUBMETER_TAMPER = "submeter.tamper"
    OUTBOX_FULL = "agent.outbox_full"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndDeviceEvent:
    """
    One event of one device; natural key (meter, code, at, origin).

    `origin` keeps the meter's own (profile, log, code) as text where it came from a log: two
    entries of one log that mean the same to us are two events.
    """

    meter: MeterId
    code: EventCode
    at: datetime
    origin: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What one number in a log of a meter means."""

    code: EventCode
    detail: str = ""


UNKNOWN = Meaning(EventCode.METER_OTHER)
