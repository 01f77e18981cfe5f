"""
Moves a switch and proves it: read first, act, read back, watch the power, give a verdict.

The success that a meter answers proves nothing (class 70 methods succeed on a stuck relay), so
only reading attributes 2 and 3 decides. An answer that was lost is never repeated blindly: the
switch is read first. *Source*: IEC 62056-6-2 class 70.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edge.acquire.driver import MeterDriver, ReadOut
from edge.acquire.port import power_of
from edge.clock import EdgeClock
from edge.downlink.admit import Reason
from edge.failpoint import reach
from edge.outbox.stages import CommandEvent
from protocols.errors import PeerError
from protocols.mqtt.downlink import Verb
from protocols.reading import RelayReading, RelayState

_TRIES = {
    Verb.DISCONNECT: 3,
    Verb.RECONNECT: 6,
    Verb.READ_RELAY: 0,
    Verb.KEEP_POWER: 3,
    Verb.END_KEEP_POWER: 3,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How patient a command is. *Units*: wall seconds and watts."""

    tries: Mapping[Verb, int] = field(default_factory=lambda: _TRIES)
    read_back: float = 3.0
    """How long a switch may take to be where it was told to go."""
    pause: float = 0.2
    power_falls: float = 5.0
    """How long power may still be shown after the switch reads open."""
    power_tolerance_w: int = 20
    unknown: float = 30.0
    """How long to go on asking when nobody can say where the switch is."""
    reach: float = 30.0
    """How long a meter may be silent before a cut is given up; its go may lapse earlier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of the order, with what was seen before and after."""

    event: CommandEvent
    reason: str = ""
    evidence: Mapping[str, Any]
    relay: RelayReading | None = None


def outcome_of(verb: Verb, relay: RelayReading) -> CommandEvent | None:
    """Return the success that a switch standing so means for `verb`, None when it is not there."""
    state = relay.control_state
    match verb:
        case Verb.DISCONNECT:
            # a breaker that arms itself is never seen disconnected for longer than a minute
            there = not relay.output_closed and (
                state is RelayState.DISCONNECTED or relay.arms_itself
            )
            return CommandEvent.SUCCEED if there else None
        case Verb.RECONNECT:
            if relay.output_closed and state is RelayState.CONNECTED:
                return CommandEvent.SUCCEED
            return CommandEvent.ARM if state is RelayState.ARMED else None
        case Verb.READ_RELAY:
            return CommandEvent.SUCCEED
        case Verb.DELIVER_TOKEN | Verb.FIRMWARE | Verb.ACTIVATE_FIRMWARE | Verb.REKEY:
            return None
        case Verb.KEEP_POWER:
            return CommandEvent.SUCCEED if relay.keeps_power else None
        case Verb.END_KEEP_POWER:
            return CommandEvent.SUCCEED if relay.keeps_power is False else None


class Switching:
    """One order being carried out at one meter; the caller holds the meter's lock."""

    def __init__(
        self,
        driver: MeterDriver,
        verb: Verb,
        *,
        clock: EdgeClock,
        limits: Limits,
        may_operate: Callable[[], Reason | None],
        on_visit: Callable[[ReadOut], None],
    ) -> None:
        """`may_operate` is asked right before each act; `on_visit` gets all that was read."""
        self._driver = driver
        self._verb = verb
        self._clock = clock
        self._limits = limits
        self._may_operate = may_operate
        self._on_visit = on_visit
        self._attempts = 0
        self._relay: RelayReading | None = None
        self._power: int | None = None
        self._evidence: dict[str, Any] = {}

    async def carry_out(self) -> Verdict:
        """Return the verdict after at most the allowed tries; `lose` when the meter went silent."""
        if self._verb is Verb.DISCONNECT:
            refusal = await self._wait_for_meter()
            if refusal is not None:
                return self._verdict(CommandEvent.FAIL, refusal)
        elif not await self._look_for(self._limits.read_back):
            if self._verb is Verb.RECONNECT:
                return self._verdict(CommandEvent.LOSE, Reason.METER_SILENT)
            return self._verdict(CommandEvent.FAIL, Reason.METER_SILENT)
        self._keep("before")
        while True:
            assert self._relay is not None
            outcome = outcome_of(self._verb, self._relay)
            if outcome is not None:
                return await self._proven(outcome)
            if self._attempts >= self._limits.tries[self._verb]:
                return self._verdict(CommandEvent.FAIL, Reason.DID_NOT_MOVE)
            refusal = self._may_operate()
            if refusal is not None:
                return self._verdict(CommandEvent.FAIL, refusal)
            await self._operate()
            if not await self._read_back():
                return self._verdict(CommandEvent.LOSE, Reason.METER_SILENT)

    async def resolve(self) -> Verdict:
        """
        Return the verdict of an order that may or may not have acted, by reading the switch.

        A disconnect is never repeated; a reconnect is, once the switch is seen not to be closed.
        """
        if await self._look_for(self._limits.unknown):
            self._keep("found")
            assert self._relay is not None
            outcome = outcome_of(self._verb, self._relay)
            if outcome is not None:
                return await self._proven(outcome)
            if self._verb is not Verb.RECONNECT:
                return self._verdict(CommandEvent.FAIL, Reason.DID_NOT_MOVE)
            verdict = await self.carry_out()
            if verdict.event is not CommandEvent.LOSE:
                return verdict
        return self._verdict(CommandEvent.FAIL, Reason.METER_SILENT)

    async def _operate(self) -> None:
        self._attempts += 1
        reach("edge.before_operate")
        try:
            await self._driver.operate(self._verb)
        except PeerError as error:
            # refused or lost: the switch itself will tell which
            self._evidence["error"] = error.code
        reach("edge.after_operate")

    async def _read_back(self) -> bool:
        """Read until the switch is where it should be or time is up; False if it never answered."""
        deadline = self._clock.monotonic() + self._limits.read_back
        seen = False
        while True:
            if await self._look():
                seen = True
                if self._relay and outcome_of(self._verb, self._relay) is not None:
                    return True
            if self._clock.monotonic() >= deadline:
                return seen
            await asyncio.sleep(self._limits.pause)

    async def _wait_for_meter(self) -> Reason | None:
        """
        Read until the meter answers, as long as it may be cut; None when it did.

        Nothing has been done yet, so waiting is safe: a link that was down for seconds must not
        send a crew. A reconnect that comes meanwhile ends the wait, and the cut with it.
        """
        deadline = self._clock.monotonic() + self._limits.reach
        while not await self._look():
            refusal = self._may_operate()
            if refusal is Reason.SUPERSEDED:
                return refusal
            if refusal is not None or self._clock.monotonic() >= deadline:
                return Reason.METER_SILENT
            await asyncio.sleep(self._limits.pause)
        return None

    async def _look_for(self, seconds: float) -> bool:
        """Read until the meter answers or `seconds` have passed."""
        deadline = self._clock.monotonic() + seconds
        while not await self._look():
            if self._clock.monotonic() >= deadline:
                return False
            await asyncio.sleep(self._limits.pause)
        return True

    async def _look(self) -> bool:
        """Read values and switch once; False when the meter did not answer."""
        try:
            readout = await self._driver.read_now()
            relay = readout.relay or await self._driver.read_relay()
        except PeerError as error:
            self._evidence["error"] = error.code
            return False
        self._relay = relay
        self._power = power_of(readout)
        self._on_visit(readout)
        return True

    async def _proven(self, outcome: CommandEvent) -> Verdict:
        """Return the success, unless power goes on flowing through a switch that reads open."""
        if self._verb is Verb.DISCONNECT and not await self._power_fell():
            return self._verdict(CommandEvent.FAIL, Reason.POWER_FLOWS)
        return self._verdict(outcome)

    async def _power_fell(self) -> bool:
        deadline = self._clock.monotonic() + self._limits.power_falls
        while self._power is not None and abs(self._power) > self._limits.power_tolerance_w:
            if self._clock.monotonic() >= deadline:
                return False
            await asyncio.sleep(self._limits.pause)
            await self._look()
        return True

    def _keep(self, moment: str) -> None:
        relay = self._relay
        self._evidence[moment] = {
            "output_closed": None if relay is None else int(relay.output_closed),
            "control_state": None if relay is None else int(relay.control_state),
            "control_mode": None if relay is None else relay.control_mode,
            "power_w": self._power,
        }

    def _verdict(self, event: CommandEvent, reason: Reason | None = None) -> Verdict:
        if event is not CommandEvent.LOSE and self._relay is not None:
            self._keep("after")
        self._evidence["attempts"] = self._attempts
        return Verdict(
            event=event,
            reason="" if reason is None else reason.value,
            evidence=dict(self._evidence),
            relay=self._relay,
        )
