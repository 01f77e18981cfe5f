"""A simulated DL/T 645 meter, its line, the driver that reads it, and the truth."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

from edge.acquire.bus import SerialBus
from edge.acquire.dlt645 import Dlt645Driver, Dlt645Target
from edge.acquire.dlt645_line import BusLine, tcp_line
from edge.links.serial import SerialLink, SerialSettings
from protocols.timeline import TimeScale, from_ms, to_ms
from simulators.endpoints import free_port
from simulators.fleet import make_fleet
from simulators.meter.dlt645_server import Dlt645MeterServer, Dlt645Station
from simulators.meter.pty_line import PtyLine
from simulators.truth import TruthLedger
from simulators.world import World
from tests.patient_loop import patiently

ORIGIN = datetime(2026, 3, 1, 4, 17, 30, tzinfo=UTC)
FLEET = make_fleet(seed=7, customers=25, origin=ORIGIN, dlt645=4)
LINE = SerialSettings(baud=2400, parity="E")


class HandScale:
    """A clock that moves when told, as the driver wants it."""

    def __init__(self):
        self.ms = to_ms(ORIGIN)
        self.scale = TimeScale()
        self.tick = 0

    def look(self):
        """Return the true time as meters see it, `tick` later at each look."""
        self.ms += self.tick
        return self.ms

    def now(self):
        return from_ms(self.ms)

    def passes(self, seconds):
        self.ms += int(seconds * 1000)


class Bench:
    """One meter of a model on a line; `others` hang on the same line."""

    def __init__(self, model, path, **changes):
        self.clock = HandScale()
        self.truth = path / "truth"
        self.ledger = TruthLedger(self.truth, FLEET)
        self.world = World(FLEET, self.ledger, now_ms=self.clock.look)
        found = [m for m in self.world.meters.values() if m.spec.model == model]
        self.meter, *self.others = found
        spec = self.meter.spec
        self.target = Dlt645Target(
            **({
                "meter": spec.meter,
                "address": spec.serial,
                "interval_seconds": spec.interval_seconds,
                "has_relay": True,
                "closes_remotely": not spec.has_external_breaker,
                "arms_itself": spec.has_external_breaker,
                "password": spec.password,
                "timeout_seconds": 0.4,
            } | changes)
        )  # fmt: skip

    def anew(self):
        """Return the meter as a simulator started anew on the same truth would have it."""
        again = World(FLEET, TruthLedger(self.truth, FLEET), now_ms=lambda: self.clock.ms)
        return again.meters[self.meter.spec.meter]


@asynccontextmanager
async def on_tcp(model, path, **changes):
    bench = Bench(model, path, **changes)
    port = free_port()
    server = Dlt645MeterServer(bench.meter)
    await server.start("127.0.0.1", port)
    line = tcp_line("127.0.0.1", port, seconds=bench.target.timeout_seconds)
    bench.driver = Dlt645Driver(bench.target, line, bench.clock)
    try:
        yield bench
    finally:
        await bench.driver.close()
        await server.close()


@asynccontextmanager
async def on_wire(model, path, **changes):
    """Every meter of the model on one pseudo-terminal; `bench.drivers` reads each."""
    bench = Bench(model, path, **changes)
    meters = [bench.meter, *bench.others]
    wire = PtyLine(path / "wire", *(Dlt645Station(meter) for meter in meters))
    await wire.start()
    bench.wire = wire
    bus = SerialBus(
        str(wire.path), lambda: SerialLink.open(str(wire.path), LINE),
        settings=LINE, monotonic=asyncio.get_running_loop().time,
    )  # fmt: skip
    bench.drivers = [
        Dlt645Driver(
            replace(
                bench.target, meter=meter.spec.meter, address=meter.spec.serial,
                password=meter.spec.password, interval_seconds=meter.spec.interval_seconds,
            ),
            BusLine(bus, meter.spec.meter),
            bench.clock,
        )
        for meter in meters
    ]  # fmt: skip
    bench.driver = bench.drivers[0]
    try:
        yield bench
    finally:
        for driver in bench.drivers:
            await driver.close()
        await wire.close()


def run(scenario):
    patiently(asyncio.wait_for(scenario, 30))
