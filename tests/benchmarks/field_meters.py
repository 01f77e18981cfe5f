"""
Simulated meters for the field figures, in a process of their own.

    python tests/benchmarks/field_meters.py COUNT LATENCY_MS

Serves COUNT meters with HLS5-GMAC, each behind a proxy that holds its answers back for LATENCY_MS
(0: no proxy), prints one JSON line of who they are, and ends when its standard input does.
"""

import asyncio
import json
import os
import sys
from datetime import UTC, datetime

from protocols.timeline import to_ms
from simulators.energy import SwitchedEnergy, household_curve
from simulators.fleet import SimMeter, make_fleet
from simulators.line_faults import LinePlan
from simulators.line_proxy import LineProxy
from simulators.meter.dlms_server import DlmsMeterServer
from simulators.meter.state import SimulatedMeter

ORIGIN = datetime(2026, 3, 1, tzinfo=UTC)


class Forgetful:
    """A ledger that keeps nothing: a disk written to at every read would be what is measured."""

    def __init__(self) -> None:
        self._next = 1

    def reserve_counters(self, meter: str, block: int) -> range:
        self._next += block
        return range(self._next - block, self._next)

    def served(self, *_: object) -> None: ...

    def intervals(self, *_: object) -> None: ...

    def relay(self, *_: object, **__: object) -> None: ...

    def clock_set(self, *_: object) -> None: ...

    def fault(self, *_: object, **__: object) -> None: ...


async def serve(count: int, latency_seconds: float) -> None:
    """Serve until nobody listens to us any more."""
    fleet = make_fleet(seed=1, customers=count * 20 // 9 + 20, origin=ORIGIN)
    since = to_ms(fleet.history_from)
    chosen = [m for m in fleet.customers if m.authentication == "hls5"][:count]
    places = []
    for spec in chosen:
        energy = SwitchedEnergy(
            household_curve(fleet.household(spec), since), spec.opening_register_wh
        )
        meter = SimulatedMeter(
            spec, energy, now_ms=lambda: to_ms(ORIGIN), ledger=Forgetful(), since_ms=since
        )
        server = DlmsMeterServer(meter)
        await server.start("127.0.0.1", 0)
        port = server.port
        if latency_seconds:
            port = await LineProxy(
                plan=LinePlan(latency_seconds=latency_seconds), port=port
            ).listen()
        places.append(told(spec, port))
    sys.stdout.write(json.dumps(places) + "\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    os._exit(0)  # hundreds of open lines have nothing left to say


def told(spec: SimMeter, port: int) -> dict[str, object]:
    """Return what a client needs to reach one meter; these keys exist in simulation alone."""
    return {
        "meter": spec.meter,
        "port": port,
        "authentication_key": spec.authentication_key.hex(),
        "encryption_key": spec.encryption_key.hex(),
    }


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2]) / 1000))
