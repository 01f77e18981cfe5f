"""One meter's place at the concentrator: its driver, and who may use it at this moment."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

from edge.acquire.driver import MeterDriver, ReadOut
from edge.acquire.piece import Piece
from protocols.events import EndDeviceEvent, EventCode
from protocols.identity import MeterId
from protocols.mqtt.uplink import RelayReport
from protocols.quantities import rescale
from protocols.reading import Channel, RelayReading, RelayState

_ROOM_SECONDS = 0.15


@dataclass(slots=True)
class MeterPort:
    """
    A driver and the lock around it: one conversation at a time with one meter.

    A poller holds the lock for one trip, a command from its go until its verdict, upkeep for one
    turn after the other.
    """

    driver: MeterDriver
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    relay: RelayReading | None = None
    """The switch as last read, to notice a change that nobody here has made."""

    @property
    def meter(self) -> MeterId:
        """Return whose port this is."""
        return self.driver.meter

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Hold the lock for one short call of a long work, then leave room for who waits."""
        async with self.lock:
            yield
        # a command that waits has the lock by now; a poller steps aside and looks again
        await asyncio.sleep(_ROOM_SECONDS)

    def piece(self, readout: ReadOut, *, received: datetime) -> Piece:
        """Return what a visit brings up: its values, its switch, and an event if that moved."""
        reports: tuple[RelayReport, ...] = ()
        events: tuple[EndDeviceEvent, ...] = ()
        if readout.relay is not None:
            reports, events = self.noticed(readout.relay, at=received)
        return Piece(
            meter=self.meter,
            received=received,
            samples=readout.samples,
            relays=reports,
            events=events,
        )

    def noticed(
        self, relay: RelayReading, *, at: datetime
    ) -> tuple[tuple[RelayReport, ...], tuple[EndDeviceEvent, ...]]:
        """Return the report of a switch just read, and the event if it stands otherwise now."""
        before, self.relay = self.relay, relay
        report = RelayReport(meter=self.meter, at=at, relay=relay)
        if before is None or before == relay:
            return (report,), ()
        event = EndDeviceEvent(
            meter=self.meter,
            code=_MOVED_TO[relay.control_state],
            at=at,
            detail="observed by reading the switch",
        )
        return (report,), (event,)


_MOVED_TO = {
    RelayState.DISCONNECTED: EventCode.RELAY_OPENED,
    RelayState.CONNECTED: EventCode.RELAY_CLOSED,
    RelayState.ARMED: EventCode.RELAY_ARMED,
}


def power_of(readout: ReadOut) -> int | None:
    """Return the active power in a visit's values, watts; None where the meter tells none."""
    for sample in readout.samples:
        if sample.channel is Channel.POWER_W:
            return rescale(sample.raw, sample.scaler)
    return None
