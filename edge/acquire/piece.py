"""What a visit brings, and who takes it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from edge.acquire.driver import EventMark, Sample
from edge.acquire.plan import Coverage
from protocols.events import EndDeviceEvent
from protocols.identity import MeterId
from protocols.mqtt.uplink import RelayReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """
    What one trip to one meter brought: rows, and how far the meter is read with them.

    `received` is business time at receipt; `coverage` is None when the trip read no profile.
    """

    meter: MeterId
    received: datetime
    samples: tuple[Sample, ...] = ()
    relays: tuple[RelayReport, ...] = ()
    events: tuple[EndDeviceEvent, ...] = ()
    coverage: Coverage | None = None
    event_mark: EventMark | None = None
    """How far the meter's logs are read with these events; None when no log was read."""


class Sink(Protocol):
    """Takes pieces, and holds the pollers back when it could not keep them."""

    def add(self, piece: Piece) -> None:
        """Take what one trip brought."""
        ...

    async def room(self) -> None:
        """Wait until reading makes sense."""
        ...
