"""
Simulated meters for the field figures, in a process of their own.

    python tests/benchmarks/field_meters.py COUNT LATENCY_MS

Serves COUNT meters with HLS5-GMAC, each of which holds its answers back for LATENCY_MS without
taking processor time for it, prints one JSON line of who they are, and ends when its standard
input does.
"""

import asyncio
import json
import os
import sys
from datetime import UTC, datetime
from functools import partial

from protocols.timeline import to_ms
from simulators.energy import SwitchedEnergy, household_curve
from simulators.fleet import SimMeter, make_fleet
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

    def logged(self, *_: object) -> None: ...

    def setting(self, *_: object) -> None: ...

    def keep(self, *_: object) -> None: ...

    def forget(self, *_: object) -> None: ...

    def fault(self, *_: object, **__: object) -> None: ...


class LateMeter(asyncio.Protocol):
    """One connection to a meter whose answers leave when the latency is over."""

    def __init__(self, server: DlmsMeterServer, latency_seconds: float) -> None:
        self._connection = server.connection()
        self._latency = latency_seconds
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        # the answer is due so long after the question, however busy the meters are meanwhile
        due = self._loop.time() + self._latency
        if answer := self._connection.receive(data):
            self._loop.call_at(due, self._transport.write, answer)


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
        listening = await asyncio.get_running_loop().create_server(
            partial(LateMeter, server, latency_seconds), "127.0.0.1", 0
        )
        port = listening.sockets[0].getsockname()[1]
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
