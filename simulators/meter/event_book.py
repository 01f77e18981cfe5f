"""
What a meter writes into its own logs, as it happens: power, relay, clock, covers, intruders.

Numbers are those of IDIS, whatever protocol tells them. An entry is in the ledger before anybody
can read it, so that the log of a meter killed and begun anew is the same log.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from protocols.dlms.classes.disconnect import Trigger
from protocols.reading import RelayState
from simulators.faults import Fault
from simulators.meter.memory import MeterMemory

STANDARD, FRAUD, SWITCH = 0, 1, 2
LOGS = (STANDARD, FRAUD, SWITCH)
POWER_DOWN, POWER_UP = 1, 2
CLOCK_OLD, CLOCK_NEW = 4, 5
IMAGE_READY, IMAGE_ACTIVE, IMAGE_WRONG = 17, 18, 51
WRONG_PASSWORD, KEYS_CHANGED, NOT_DECIPHERED, REPLAYED = 46, 48, 49, 50
LIMIT_EXCEEDED, LIMIT_OK, LIMIT_CHANGED, RELAY_FAILED = 65, 66, 67, 68
_READY, _HAND_OPENS, _HAND_CLOSES, _ORDER_OPENS, _ORDER_CLOSES = 59, 60, 61, 62, 63
_OPENS_ITSELF, _CLOSES_ITSELF = 64, 69
_OPENED_BY: dict[str, int] = {
    Trigger.REMOTE_DISCONNECT.value: _ORDER_OPENS,
    Trigger.LOCAL_DISCONNECT.value: _OPENS_ITSELF,
}
_CLOSED_BY: dict[str, int] = {
    Trigger.REMOTE_RECONNECT.value: _ORDER_CLOSES,
    Trigger.LOCAL_RECONNECT.value: _CLOSES_ITSELF,
}
_OF_FAULT: dict[Fault, tuple[int, int, int]] = {
    Fault.POWER_CUT: (STANDARD, POWER_DOWN, POWER_UP),
    Fault.TERMINAL_COVER: (FRAUD, 40, 41),
    Fault.MAGNET: (FRAUD, 42, 43),
    Fault.METER_COVER: (FRAUD, 44, 45),
}
"""Log, number at the beginning of a fault, number at its end."""
_ALARM_BIT = {POWER_UP: 2}
_FRAUD_BIT = 13
_ALARMS = "alarms/1"
_KEPT = 500


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of a log. *Units*: `device_ms` is what the meter's clock showed."""

    device_ms: int
    code: int


class BookLedger(Protocol):
    """The part of the ledger that logs need; see `simulators.truth`."""

    def logged(self, meter: str, at_ms: int, device_ms: int, log: int, code: int) -> None:
        """Keep an entry of a meter's own log; durable when this returns."""
        ...


class EventBook:
    """The logs of one meter, the newest entries of each, and the alarms that stand."""

    def __init__(
        self,
        meter: str,
        ledger: BookLedger,
        memory: MeterMemory,
        clock: Callable[[], tuple[int, int]],
    ) -> None:
        """Begin empty; `clock` gives the true instant and what the meter's clock shows."""
        self._meter = meter
        self._ledger = ledger
        self._memory = memory
        self._clock = clock
        self._logs: dict[int, deque[Entry]] = {log: deque(maxlen=_KEPT) for log in LOGS}

    def note(self, log: int, code: int, *, device_ms: int | None = None) -> None:
        """Write an entry, of now unless said otherwise, and raise its alarm."""
        at_ms, shown = self._clock()
        stamp = shown if device_ms is None else device_ms
        self._ledger.logged(self._meter, at_ms, stamp, log, code)
        self.restore(log, code, stamp)
        bit = _FRAUD_BIT if log == FRAUD else _ALARM_BIT.get(code)
        if bit is not None and not self.alarms >> bit & 1:
            self._memory.remember(_ALARMS, self.alarms | 1 << bit)

    def restore(self, log: int, code: int, device_ms: int) -> None:
        """Take up an entry that the ledger holds; call in order."""
        self._logs[log].append(Entry(device_ms, code))

    def note_switch(self, state: RelayState, cause: str) -> None:
        """Write that the switch has moved, and by whom."""
        if state is RelayState.ARMED:
            opened = {Trigger.MANUAL_DISCONNECT.value: _HAND_OPENS} | _OPENED_BY
            code = opened.get(cause, _READY)
        elif state is RelayState.CONNECTED:
            code = _CLOSED_BY.get(cause, _HAND_CLOSES)
        else:
            code = _OPENED_BY.get(cause, _HAND_OPENS)
        self.note(SWITCH, code)

    def note_fault(self, fault: Fault, *, on: bool) -> None:
        """Write what a fault leaves in the logs, if anything."""
        written = _OF_FAULT.get(fault)
        if written is not None:
            log, begins, ends = written
            self.note(log, begins if on else ends)

    def entries(self, log: int) -> tuple[Entry, ...]:
        """Return a log, oldest entry first."""
        return tuple(self._logs[log])

    @property
    def alarms(self) -> int:
        """Return the bits of alarm register 1."""
        return self._memory.remembered(_ALARMS)

    def clear_alarms(self, left: int) -> None:
        """Let no alarm stand but those in `left` that stood."""
        self._memory.remember(_ALARMS, self.alarms & left)
