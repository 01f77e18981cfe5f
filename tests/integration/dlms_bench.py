"""One simulated DLMS meter behind real TCP, and the agent's driver before it."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from edge.acquire.dlms import DlmsDriver, DlmsTarget
from edge.outbox.counters import Counters
from edge.outbox.database import OutboxDatabase
from protocols.timeline import to_ms
from simulators.fleet import SimMeter, make_fleet
from simulators.meter.dlms_server import DlmsMeterServer
from simulators.truth import TruthLedger
from simulators.world import World

ORIGIN = datetime(2026, 3, 4, 10, 7, tzinfo=UTC)
FLEET = make_fleet(seed=7, customers=60, origin=ORIGIN)
STORY = next(m for m in FLEET.customers if m.planted == "story")
RACE = next(m for m in FLEET.customers if m.planted == "race")


class MovingNow:
    """Business time that a test moves by hand."""

    def __init__(self) -> None:
        """Stand at the fleet's origin."""
        self.at = ORIGIN

    def now(self) -> datetime:
        """Return it."""
        return self.at

    def pass_by(self, **span: float) -> None:
        """Let time pass."""
        self.at += timedelta(**span)


def target_of(spec: SimMeter, port: int, **changes: Any) -> DlmsTarget:
    """Return how the agent reaches a simulated meter."""
    target = DlmsTarget(
        meter=spec.meter,
        host="127.0.0.1",
        port=port,
        authentication=spec.authentication,
        password=spec.password,
        system_title=b"MTL\x00\x00\x00\x00\x01",
        authentication_key=spec.authentication_key,
        encryption_key=spec.encryption_key,
        expected_device_name=spec.meter,
        interval_seconds=spec.interval_seconds,
        has_relay=spec.has_relay,
        timeout_seconds=2.0,
    )
    return replace(target, **changes)


class Bench:
    """A world of meters that can be killed: begun anew it knows what its ledger knows."""

    def __init__(self, folder: Path, clock: MovingNow) -> None:
        """Open the ledger and hang the meters."""
        self.clock = clock
        self.ledger = TruthLedger(folder / "truth.sqlite", FLEET)
        self.world = World(FLEET, self.ledger, now_ms=lambda: to_ms(clock.now()))

    def server(self, spec: SimMeter) -> DlmsMeterServer:
        """Return a meter's server, made anew."""
        return DlmsMeterServer(self.world.meters[spec.meter])

    def close(self) -> None:
        """Let go of the ledger; nothing else is written down at this time."""
        self.ledger.close()


@contextlib.asynccontextmanager
async def driven(
    folder: Path, spec: SimMeter, clock: MovingNow | None = None, **changes: Any
) -> AsyncIterator[tuple[DlmsDriver, DlmsMeterServer, Bench]]:
    """Yield a driver, the meter's server and the bench on which both stand."""
    clock = clock or MovingNow()
    bench = Bench(folder, clock)
    server = bench.server(spec)
    await server.start("127.0.0.1", 0)
    outbox = OutboxDatabase(folder / "outbox.sqlite")
    driver = DlmsDriver(target_of(spec, server.port, **changes), Counters(outbox), clock)
    try:
        yield driver, server, bench
    finally:
        await driver.close()
        await server.close()
        outbox.close()
        bench.close()


@contextlib.asynccontextmanager
async def driver_at(
    folder: Path, server: DlmsMeterServer, **changes: Any
) -> AsyncIterator[DlmsDriver]:
    """Yield another driver before a meter that is served already."""
    outbox = OutboxDatabase(folder / "other.sqlite")
    target = target_of(server.meter.spec, server.port, **changes)
    driver = DlmsDriver(target, Counters(outbox), MovingNow())
    try:
        yield driver
    finally:
        await driver.close()
        outbox.close()
