"""The cloud's only clock: business time on the installation's scale, and wall time."""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from protocols.timeline import TimeScale


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """
    Reads time for services; rules get `now` as an argument and never see this.

    Business time runs `scale.speed` times faster than the wall. What machines and people at
    screens wait for (handshakes, sign-in sessions, time-outs) is wall time.
    """

    scale: TimeScale = field(default_factory=TimeScale)

    def now(self) -> datetime:
        """Return business time, UTC."""
        return self.scale.at(datetime.now(UTC))

    def wall_now(self) -> datetime:
        """Return wall time, UTC."""
        return datetime.now(UTC)

    def after_wall(self, seconds: float) -> datetime:
        """Return the business instant that comes when `seconds` of wall time have passed."""
        return self.now() + self.scale.stretch(seconds)

    def wall_span(self, seconds: float) -> timedelta:
        """Return how much business time `seconds` of wall time are."""
        return self.scale.stretch(seconds)

    def monotonic(self) -> float:
        """Return seconds that never go back, for time-outs."""
        return time.monotonic()
