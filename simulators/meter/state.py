"""
One simulated meter, whatever protocol it speaks: registers, profile, relay, clock, faults.

Servers take one `Snapshot` per request, so that clock and registers in an answer belong together.
What must outlive a kill (relay moves, clock sets, faults) is in the ledger before it is answered;
all else is computed again from the fleet.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from protocols.dlms.classes.disconnect import Trigger, output_closed, step
from protocols.reading import Channel, RelayReading, RelayState, Status
from simulators.clock import TICK_MS
from simulators.energy import Energy, SwitchedEnergy
from simulators.faults import (
    CLOCK_JUMP_MS,
    FOREIGN_NAME,
    FOREIGN_SERIAL,
    PLANTED_FAULTS,
    ROLLOVER_WH,
    Fault,
)
from simulators.fleet import SimMeter
from simulators.load import key_of, mix
from simulators.meter.device_clock import DeviceClock
from simulators.meter.event_book import (
    CLOCK_NEW,
    CLOCK_OLD,
    RELAY_FAILED,
    STANDARD,
    SWITCH,
    BookLedger,
    EventBook,
)
from simulators.meter.memory import MemoryLedger, MeterMemory

PROFILE_DAYS = 62
_DAY_SECONDS = 86_400
_LASTS_MS = 2**62
_FIELD = "field"
_CLOSE_ALLOWED = "close_allowed"
_KEEP_POWER = "keep_power"


class Ledger(MemoryLedger, BookLedger, Protocol):
    """Where a meter writes down what must not be forgotten; see `simulators.truth`."""

    def relay(
        self, meter: str, at_ms: int, *, output: bool, control_state: int, cause: str
    ) -> None:
        """Keep a relay move; durable when this returns."""
        ...

    def clock_set(self, meter: str, at_ms: int, device_ms: int) -> None:
        """Keep a clock set; durable when this returns."""
        ...

    def fault(self, meter: str, at_ms: int, name: str, *, on: bool) -> None:
        """Keep the start or the end of a fault; durable when this returns."""
        ...

    def served(self, meter: str, at_ms: int, channel: int, raw: int, scaler: int) -> None:
        """Keep an energy register value that is about to be answered."""
        ...

    def intervals(
        self, meter: str, seconds: int, starts_ms: NDArray[np.int64], wh: NDArray[np.int64]
    ) -> None:
        """Keep profile intervals that closed, in order of time; each comes once."""
        ...

    def reserve_counters(self, meter: str, block: int) -> range:
        """Return the next `block` frame counters, never given before; durable on return."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """
    A meter at one instant. *Shape*: one voltage and one current per phase, 1 or 3.

    `device_ms` is what its own clock shows (a multiple of 10 ms), the stamp of every value.
    """

    true_ms: int
    device_ms: int
    register_wh: int
    power_w: int
    voltage_mv: tuple[int, ...]
    current_ma: tuple[int, ...]
    frequency_mhz: int
    relay: RelayReading | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileRows:
    """
    Closed intervals in order, as columns of equal length. *Units*: `wh` in Wh.

    `ends_ms` are device-clock stamps of interval ENDs, as meters stamp; the start is `seconds`
    before. A slot that is not known is absent.
    """

    seconds: int
    ends_ms: NDArray[np.int64]
    wh: NDArray[np.int64]
    status: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.ends_ms)


class SimulatedMeter:
    """
    The state behind a server.

    `now_ms` gives business time in milliseconds; every public call reads it at most once. The
    server adapters look at `faults` themselves where octets or connections are concerned.
    """

    def __init__(
        self,
        spec: SimMeter,
        energy: Energy,
        *,
        now_ms: Callable[[], int],
        ledger: Ledger,
        since_ms: int,
        profile_slots: int | None = None,
    ) -> None:
        """Hang the meter at `since_ms`, relay closed; the profile keeps `profile_slots` rows."""
        self.spec = spec
        self.energy = energy
        self.faults: set[Fault] = set()
        if spec.planted in PLANTED_FAULTS:
            self.faults.add(PLANTED_FAULTS[spec.planted])
        self.clock = DeviceClock(
            since_ms=since_ms, offset_ms=spec.clock_offset_ms, drift_ppm=spec.clock_drift_ppm
        )
        self.control_state = RelayState.CONNECTED
        self._output = True
        self._tripped_ms: int | None = None
        self.beat: Callable[[], None] = _rest
        """What the meter does by itself whenever its world's clock beats."""
        self._cuts: list[tuple[int, int]] = []
        """Power cuts as true [begin, end); the last one's end is far away while it lasts."""
        self._now_ms = now_ms
        self._ledger = ledger
        self.memory = MeterMemory(spec.meter, ledger, now_ms)
        self.book = EventBook(spec.meter, ledger, self.memory, self._shown_now)
        self._since_ms = since_ms
        seconds = spec.interval_seconds or _DAY_SECONDS
        self.profile_slots = profile_slots or PROFILE_DAYS * _DAY_SECONDS // seconds
        self._closed_until_ms: int | None = None
        self._line_key = key_of(0, spec.transformer, "line")

    @property
    def identity(self) -> str:
        """Return the logical device name that the meter answers."""
        return FOREIGN_NAME if Fault.FOREIGN in self.faults else self.spec.meter

    @property
    def serial(self) -> int:
        """Return the serial number that the meter answers."""
        return FOREIGN_SERIAL if Fault.FOREIGN in self.faults else int(self.spec.serial)

    def snapshot(self) -> Snapshot:
        """Return the meter now; take one per request and answer everything from it."""
        now = self._now_ms()
        self._allow_closing(now)
        voltage = self._voltages(now)
        power = self.energy.power_w(now)
        share = power // len(voltage)
        register_wh = self.energy.register_wh(now)
        if Fault.ROLLOVER in self.faults:
            register_wh %= ROLLOVER_WH
        return Snapshot(
            true_ms=now,
            device_ms=self.clock.show(now),
            register_wh=register_wh,
            power_w=power,
            voltage_mv=voltage,
            current_ma=tuple(share * 1_000_000 // mv for mv in voltage),
            frequency_mhz=49_950 + int(mix(self._line_key, np.array([now // 5000]))[0] % 100),
            relay=self._relay(),
        )

    def relay_reading(self) -> RelayReading | None:
        """Return the switch as the meter tells it; None where there is none."""
        self._allow_closing(self._now_ms())
        return self._relay()

    def _relay(self) -> RelayReading | None:
        if self.spec.control_mode is None:
            return None
        return RelayReading(
            output_closed=self._output,
            control_state=self.control_state,
            control_mode=self.spec.control_mode,
        )

    def note_served(self, snapshot: Snapshot, channel: Channel, raw: int, scaler: int) -> None:
        """Keep in the ledger that an energy register is about to be answered."""
        self._ledger.served(self.spec.meter, snapshot.device_ms, int(channel), raw, scaler)

    def reserve_counters(self, block: int) -> range:
        """Return frame counters for the server's ciphering, never given before."""
        return self._ledger.reserve_counters(self.spec.meter, block)

    def profile(
        self, *, first_end_ms: int | None = None, last_end_ms: int | None = None
    ) -> ProfileRows:
        """
        Return the closed intervals whose END stamp lies in `first_end_ms..last_end_ms`, both in.

        None means as far as the profile goes. Empty where the meter keeps no profile.
        """
        return self.profile_at(self._now_ms(), first_end_ms=first_end_ms, last_end_ms=last_end_ms)

    def profile_at(
        self, now_ms: int, *, first_end_ms: int | None = None, last_end_ms: int | None = None
    ) -> ProfileRows:
        """Return `profile` as it stands at the true instant `now_ms` of a snapshot."""
        self._close_until(now_ms)
        return self._rows_at(now_ms, first_end_ms, last_end_ms)

    def close_intervals(self) -> int:
        """Write what the profile closed since the last time into the ledger; return how many."""
        self.beat()
        return self._close_until(self._now_ms())

    def _close_until(self, now_ms: int) -> int:
        # before anybody can read them: a stored interval must never be missing in the ledger
        seconds = self.spec.interval_seconds
        if seconds is None:
            return 0
        done = self._closed_until_ms
        newest = self.clock.furthest(now_ms) // (seconds * 1000) * seconds * 1000
        if done is not None and newest <= done:
            return 0
        rows = self._rows_at(now_ms, None if done is None else done + 1, None)
        if len(rows):
            starts = rows.ends_ms - seconds * 1000
            self._ledger.intervals(self.spec.meter, seconds, starts, rows.wh)
        self._closed_until_ms = newest
        return len(rows)

    def _rows_at(
        self, now_ms: int, first_end_ms: int | None, last_end_ms: int | None
    ) -> ProfileRows:
        seconds = self.spec.interval_seconds
        if seconds is None:
            return _rows(_DAY_SECONDS, np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.int64))
        grid = seconds * 1000
        newest = self.clock.furthest(now_ms) // grid
        oldest = max(-(-self.clock.show(self._since_ms) // grid) + 1,
                     newest - self.profile_slots + 1)  # fmt: skip
        first = oldest if first_end_ms is None else max(oldest, -(-first_end_ms // grid))
        last = newest if last_end_ms is None else min(newest, last_end_ms // grid)
        marks = np.arange(first - 1, max(last, first - 1) + 1, dtype=np.int64) * grid
        reached = self.clock.first_reached(marks)
        shown = self._shown(self.energy.registers_wh(reached))
        rows = _rows(seconds, marks, np.diff(shown))
        for begin, end in self._cuts:
            rows.status[(reached[:-1] < end) & (reached[1:] > begin)] |= int(Status.POWER_DOWN)
        for before, after in self.clock.jumps():
            begins = rows.ends_ms - grid
            touched = ((begins <= before) & (before <= rows.ends_ms)) | (
                (begins <= after) & (after <= rows.ends_ms)
            )
            rows.status[touched] |= int(Status.CLOCK_ADJUSTED)
        return self._known(rows)

    def recorded_wh(self, stamps_ms: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the register as recorded when the device clock first reached each stamp."""
        return self._shown(self.energy.registers_wh(self.clock.first_reached(stamps_ms)))

    def _shown(self, registers_wh: NDArray[np.int64]) -> NDArray[np.int64]:
        step_wh = self.spec.register_step_wh
        return registers_wh // step_wh * step_wh

    @property
    def keeps_power(self) -> bool:
        """Tell whether the meter was told to refuse every trip."""
        return bool(self.memory.remembered(_KEEP_POWER))

    def keep_power(self, *, on: bool) -> None:
        """Refuse trips from now on, or obey them again."""
        self.remember(_KEEP_POWER, int(on))

    def remember(self, name: str, value: int) -> None:
        """Keep a number in the meter's memory, past any power cut."""
        self.memory.remember(name, value)

    def remembered(self, name: str) -> int:
        """Return a number from the meter's memory, 0 when there is none."""
        return self.memory.remembered(name)

    def remote(self, trigger: Trigger) -> bool:
        """
        Carry out a relay order from the line; tell whether the meter answers success.

        As in the field, success proves nothing: a stuck relay answers it too.
        """
        self._allow_closing(self._now_ms())
        if self.spec.control_mode is None:
            return False
        if trigger is Trigger.REMOTE_DISCONNECT and self.keeps_power:
            return False
        if Fault.STUCK_RELAY in self.faults:
            self.book.note(SWITCH, RELAY_FAILED)
            return True
        return self._trigger(trigger)

    def ordered(self, state: RelayState, trigger: Trigger) -> bool:
        """
        Carry out an order that names the state to reach, as DL/T 645 does; tell whether obeyed.

        Arming a closed switch leaves it closed. A stuck relay answers success here too.
        """
        self._allow_closing(self._now_ms())
        if self.spec.control_mode is None:
            return False
        if state is RelayState.DISCONNECTED and self.keeps_power:
            return False
        if Fault.STUCK_RELAY in self.faults or self.control_state is state:
            return True
        if state is not RelayState.ARMED or self.control_state is RelayState.DISCONNECTED:
            self._move(state, trigger.value)
        return True

    def by_itself(self, trigger: Trigger) -> bool:
        """Let the meter's own logic (a limiter, a credit that ran out) move the switch."""
        if self.spec.control_mode is None or Fault.STUCK_RELAY in self.faults:
            return False
        return self._trigger(trigger)

    def press(self) -> bool:
        """Press the button: the customer's hand. Tell whether the switch moved."""
        self._allow_closing(self._now_ms())
        if self.spec.control_mode is None or Fault.STUCK_RELAY in self.faults:
            return False
        if self.control_state is RelayState.CONNECTED:
            return self._trigger(Trigger.MANUAL_DISCONNECT)
        return self._trigger(Trigger.MANUAL_RECONNECT)

    def crew_opens(self) -> bool:
        """Open with the crew's key, past any fault of the relay. Tell whether it moved."""
        return self._by_crew(RelayState.DISCONNECTED)

    def crew_closes(self) -> bool:
        """Close with the crew's key, past any fault of the relay. Tell whether it moved."""
        return self._by_crew(RelayState.CONNECTED)

    def set_clock(self, device_ms: int) -> None:
        """Make the device clock show `device_ms` from now on."""
        now = self._now_ms()
        device_ms = device_ms // TICK_MS * TICK_MS
        before_ms = self.clock.show(now)
        self._ledger.clock_set(self.spec.meter, now, device_ms)
        self.clock.set(now, device_ms)
        self.book.note(STANDARD, CLOCK_OLD, device_ms=before_ms)
        self.book.note(STANDARD, CLOCK_NEW, device_ms=device_ms)

    def switch_fault(self, fault: Fault, *, on: bool) -> None:
        """Let a fault begin or end."""
        now = self._now_ms()
        if fault is Fault.CLOCK_JUMP and on and fault not in self.faults:
            device_ms = self.clock.show(now) + CLOCK_JUMP_MS
            self._ledger.clock_set(self.spec.meter, now, device_ms)
            self.clock.set(now, device_ms)
        self._ledger.fault(self.spec.meter, now, fault.value, on=on)
        if on != (fault in self.faults):
            self.book.note_fault(fault, on=on)
        self.restore_fault(fault, now, on=on)

    def restore_fault(self, fault: Fault, at_ms: int, *, on: bool) -> None:
        """Take up a fault that the ledger remembers; call in order of time with relay moves."""
        if fault is Fault.POWER_CUT and on != (fault in self.faults):
            self._cut_power(at_ms, on=on)
        if on:
            self.faults.add(fault)
        else:
            self.faults.discard(fault)

    def restore_profile(self, closed_until_ms: int) -> None:
        """Take up how far the ledger holds the profile's intervals."""
        self._closed_until_ms = closed_until_ms

    def restore_relay(self, at_ms: int, *, output: bool, control_state: int) -> None:
        """Take up a relay move that the ledger remembers; call in order of time."""
        self._tripped_ms = at_ms if control_state == RelayState.DISCONNECTED else None
        self._output = output
        self.control_state = RelayState(control_state)
        if isinstance(self.energy, SwitchedEnergy):
            self.energy.switch(at_ms, closed=output and Fault.POWER_CUT not in self.faults)

    def _cut_power(self, at_ms: int, *, on: bool) -> None:
        if on:
            self._cuts.append((at_ms, _LASTS_MS))
            self.faults.add(Fault.DARK)
        else:
            begun, _ = self._cuts.pop()
            self._cuts.append((begun, at_ms))
            self.faults.discard(Fault.DARK)
        if isinstance(self.energy, SwitchedEnergy):
            self.energy.switch(at_ms, closed=self._output and not on)

    def _allow_closing(self, now_ms: int) -> None:
        """Let an external breaker be closed by hand, once its time after the trip has passed."""
        wait = self.spec.close_allowed_seconds
        if wait is None or self._tripped_ms is None:
            return
        allowed_ms = self._tripped_ms + wait * 1000
        if now_ms >= allowed_ms:
            self._move(RelayState.ARMED, _CLOSE_ALLOWED, allowed_ms)

    def _by_crew(self, state: RelayState) -> bool:
        self._allow_closing(self._now_ms())
        if self.spec.control_mode is None or self.control_state is state:
            return False
        if self.spec.has_external_breaker and self._tripped_ms is not None:
            return False  # held off by the trip signal: not even a crew can close it yet
        self._move(state, _FIELD)
        return True

    def _trigger(self, trigger: Trigger) -> bool:
        mode = self.spec.control_mode
        assert mode is not None  # callers checked: there is a relay
        after = step(mode, self.control_state, trigger)
        if after is None:
            return False
        self._move(after, trigger.value)
        return True

    def _move(self, state: RelayState, cause: str, at_ms: int | None = None) -> None:
        now = self._now_ms() if at_ms is None else at_ms
        closed = output_closed(state)
        self._ledger.relay(
            self.spec.meter, now, output=closed, control_state=int(state), cause=cause
        )
        self.restore_relay(now, output=closed, control_state=int(state))
        self.book.note_switch(state, cause)

    def _shown_now(self) -> tuple[int, int]:
        now = self._now_ms()
        return now, self.clock.show(now)

    def _voltages(self, now_ms: int) -> tuple[int, ...]:
        phases = 3 if self.spec.kind == "head" else 1
        ticks = np.arange(phases, dtype=np.int64) + now_ms // 10_000 * 3
        return tuple(226_000 + int(word % 8000) for word in mix(self._line_key, ticks).tolist())

    def _known(self, rows: ProfileRows) -> ProfileRows:
        if not isinstance(self.energy, SwitchedEnergy) or self.energy.curve.known is None:
            return rows
        known = self.energy.curve.is_known(rows.ends_ms - rows.seconds * 1000)
        return ProfileRows(
            seconds=rows.seconds,
            ends_ms=rows.ends_ms[known],
            wh=rows.wh[known],
            status=rows.status[known],
        )


def _rest() -> None:
    """Do nothing: a meter without a limiter."""


def _rows(seconds: int, marks: NDArray[np.int64], wh: NDArray[np.int64]) -> ProfileRows:
    return ProfileRows(
        seconds=seconds, ends_ms=marks[1:], wh=wh, status=np.zeros(len(wh), dtype=np.int64)
    )
