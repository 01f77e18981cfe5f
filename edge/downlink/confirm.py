"""
The handshake of a cut: a nonce drawn here, answered by a signed go, once, within thirty seconds.

Nonces live in memory only: a go that comes after a restart, twice, late, or for another command
or meter finds nothing that it fits. Validity runs on the monotonic clock.
"""

import asyncio
import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass

from protocols.identity import CommandId
from protocols.mqtt.downlink import Command, Go

VALID_SECONDS = 30.0
NONCE_OCTETS = 16


def draw_nonce() -> bytes:
    """Return 16 octets from the system's random source."""
    return os.urandom(NONCE_OCTETS)


@dataclass(slots=True, kw_only=True)
class Challenge:
    """One open question to the cloud. *Units*: `valid_until` on the monotonic clock."""

    command: Command
    nonce: bytes
    valid_until: float
    answered: asyncio.Event


class Handshakes:
    """The open challenges of this run of the agent, at most one per command."""

    def __init__(
        self,
        monotonic: Callable[[], float],
        *,
        draw: Callable[[], bytes] = draw_nonce,
        valid_seconds: float = VALID_SECONDS,
    ) -> None:
        """Time challenges by `monotonic`."""
        self._monotonic = monotonic
        self._draw = draw
        self._valid_seconds = valid_seconds
        self._open: dict[CommandId, Challenge] = {}

    def challenge(self, command: Command) -> Challenge:
        """Draw the nonce of a command; its thirty seconds begin now."""
        assert command.id not in self._open, "one challenge per command"
        challenge = Challenge(
            command=command,
            nonce=self._draw(),
            valid_until=self._monotonic() + self._valid_seconds,
            answered=asyncio.Event(),
        )
        self._open[command.id] = challenge
        return challenge

    def redeem(self, go: Go) -> bool:
        """Take a go for its challenge; False when it fits none that is open and in time."""
        challenge = self._open.get(go.id)
        if challenge is None:
            return False
        command = challenge.command
        fits = (
            go.concentrator == command.concentrator
            and go.meter == command.meter
            and hmac.compare_digest(go.nonce, challenge.nonce)
        )
        if not fits or self._monotonic() >= challenge.valid_until:
            # the challenge stays: an outsider who guesses must not be able to end it
            return False
        del self._open[go.id]
        challenge.answered.set()
        return True

    async def answered(self, challenge: Challenge) -> bool:
        """Wait for the go; False when the time is over. Either way the nonce is spent."""
        try:
            left = challenge.valid_until - self._monotonic()
            await asyncio.wait_for(challenge.answered.wait(), max(left, 0.0))
        except TimeoutError:
            # a go may have been taken in this very moment; the caller looks at the time again
            return challenge.answered.is_set()
        finally:
            self._open.pop(challenge.command.id, None)
        return True

    def withdraw(self, id_: CommandId) -> None:
        """Forget the challenge of a command; its go finds nothing any more."""
        self._open.pop(id_, None)
