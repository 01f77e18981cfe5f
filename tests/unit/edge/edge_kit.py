"""A meter that passes as a driver and misbehaves as told, a hand-cranked clock, signed commands."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.acquire.driver import ClockReading, ReadOut, Sample
from edge.clock import EdgeClock
from protocols.errors import PeerError
from protocols.identity import CommandId, ConcentratorId, MeterId
from protocols.mqtt.downlink import Command, Verb
from protocols.reading import Channel, RelayReading, RelayState
from protocols.timeline import Interval, grid_starts

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
METER = MeterId("M-000042")
CONCENTRATOR = ConcentratorId("C-01")
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
STRANGER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))

CLOSED = RelayReading(output_closed=True, control_state=RelayState.CONNECTED, control_mode=4)
OPEN = RelayReading(output_closed=False, control_state=RelayState.DISCONNECTED, control_mode=4)
READY = RelayReading(output_closed=False, control_state=RelayState.ARMED, control_mode=3)


@dataclass
class HandClock:
    """Wall and monotonic time that move only when told; `tick` passes at each monotonic look."""

    wall: datetime = NOON
    elapsed: float = 1000.0
    tick: float = 0.0

    def clock(self, **rest: object) -> EdgeClock:
        """Return the agent's clock reading this one."""
        return EdgeClock(wall=lambda: self.wall, elapsed=self.look, **rest)  # type: ignore[arg-type]

    def look(self) -> float:
        """Return elapsed seconds, passing a tick."""
        self.elapsed += self.tick
        self.wall += timedelta(seconds=self.tick)
        return self.elapsed

    def passes(self, seconds: float) -> None:
        """Let both clocks run."""
        self.elapsed += seconds
        self.wall += timedelta(seconds=seconds)


@dataclass
class ScriptedMeter:
    """
    A `MeterDriver` in memory, or in a file so that its switch outlives a killed agent.

    `faults` are raised by the next calls, in order; None lets a call pass. `stuck` answers success
    and does not move; `arms` closes only to ready.
    """

    meter: MeterId = METER
    has_profile: bool = True
    has_relay: bool = True
    relay: RelayReading = CLOSED
    power_w: int = 500
    register_wh: int = 1000
    interval_seconds: int = 1800
    stuck: bool = False
    arms: bool = False
    lost_answers: int = 0
    silent: bool = False
    missing: set[datetime] = field(default_factory=set)
    offset_ms: int = 0
    leak_w: int = 0
    now: Callable[[], datetime] = lambda: NOON
    faults: list[PeerError | None] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    operated: Path | None = None

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if self.silent:
            raise PeerError("dlms.timeout", "no answer", peer=self.meter)
        if self.faults:
            fault = self.faults.pop(0)
            if fault is not None:
                raise fault

    def _state(self) -> RelayReading:
        if self.operated is not None and self.operated.exists():
            verbs = self.operated.read_text().split()
            return OPEN if verbs and verbs[-1] == Verb.DISCONNECT else CLOSED
        return self.relay

    async def read_now(self) -> ReadOut:
        """Answer present values."""
        self._called("read_now")
        at = self.now()
        relay = self._state()
        self.register_wh += 1 if relay.output_closed else 0
        power = self.power_w if relay.output_closed else self.leak_w
        return ReadOut(
            samples=(
                Sample(channel=Channel.IMPORT_WH, at=at, raw=self.register_wh),
                Sample(channel=Channel.POWER_W, at=at, raw=power),
            ),
            clock=ClockReading(offset_ms=self.offset_ms, uncertainty_ms=50),
            relay=relay if self.has_relay else None,
            identity=self.meter,
        )

    async def read_profile(self, span: Interval) -> tuple[Sample, ...]:
        """Answer intervals of a span, save the missing ones."""
        self._called(f"read_profile {span.start:%dT%H:%M}/{span.end:%dT%H:%M}")
        return tuple(
            Sample(
                channel=Channel.IMPORT_INTERVAL_WH,
                at=start,
                seconds=self.interval_seconds,
                raw=start.hour + start.minute,
            )
            for start in grid_starts(span, self.interval_seconds)
            if start not in self.missing
        )

    async def read_relay(self) -> RelayReading:
        """Answer the switch."""
        self._called("read_relay")
        return self._state()

    async def operate(self, verb: Verb) -> None:
        """Move, or pretend to."""
        self._called(f"operate {verb.value}")
        if not self.stuck:
            if verb is Verb.DISCONNECT:
                self.relay = OPEN
            else:
                self.relay = READY if self.arms else CLOSED
            if self.operated is not None:
                with self.operated.open("a") as ledger:
                    ledger.write(f"{verb.value}\n")
        if self.lost_answers:
            self.lost_answers -= 1
            raise PeerError("dlms.timeout", "the answer was lost", peer=self.meter)

    async def set_clock(self, offset_ms: int) -> None:
        """Set the clock."""
        self._called("set_clock")
        self.offset_ms -= offset_ms

    async def close(self) -> None:
        """End the session."""
        self.calls.append("close")

    @property
    def acts(self) -> list[str]:
        """Return what was asked of the switch."""
        return [call.split()[1] for call in self.calls if call.startswith("operate")]


_numbers = count(1)


def command(
    verb: Verb = Verb.DISCONNECT,
    *,
    id_: str = "",
    meter: MeterId = METER,
    concentrator: ConcentratorId = CONCENTRATOR,
    not_before: datetime = NOON - timedelta(seconds=1),
    expires: datetime = NOON + timedelta(seconds=60),
) -> Command:
    """Return an order to the scripted meter."""
    return Command(
        id=CommandId(id_ or f"cmd-{next(_numbers)}"),
        concentrator=concentrator,
        meter=meter,
        verb=verb,
        not_before=not_before,
        expires=expires,
        issuer="system:control",
        epoch=1,
    )
