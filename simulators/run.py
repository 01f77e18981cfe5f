"""
The simulator as a running part: every meter's server, the truth file, the peers, the hands.

Killed at any moment it starts again on the same files with the same registers, profiles, relays
and ports.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, MutableMapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from protocols.identity import MeterId
from protocols.timeline import TimeScale
from simulators.clock import SimulatorClock
from simulators.endpoints import Endpoint, EndpointError, allocate, load_state
from simulators.fleet import CLOSE_ALLOWED_SECONDS, Fleet, make_fleet
from simulators.hands import create_hands_app
from simulators.meter.dlms_server import DlmsMeterServer
from simulators.meter.dlt645_server import Dlt645MeterServer
from simulators.meter.modbus_server import ModbusMeterServer
from simulators.meter.state import SimulatedMeter
from simulators.peers.sms_centre import SmsStore, create_sms_app
from simulators.replay import RING_SLOTS, Replay, load_replay, replay_curves, replay_fleet
from simulators.truth import TruthLedger
from simulators.web import served
from simulators.world import World

__all__ = ["MeterServer", "SimulatorConfig", "allocate", "fleet_of", "run", "server_of"]

_LOG = logging.getLogger(__name__)
_CLOSE_SECONDS = 0.5
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorConfig:
    """
    What the simulator needs; `fleet_file` is what `allocate` wrote, or is made at the start.

    With a `fleet_file` in place `seed`, `customers` and `replay` must tell of the same fleet.
    Port 0 leaves out that HTTP face. `sms.sqlite` is kept beside the truth file.
    """

    seed: int
    scale: TimeScale
    truth: Path
    fleet_file: Path
    listen: str = _LOOPBACK
    hands_port: int = 0
    sms_port: int = 0
    replay: Path | None = None
    customers: int = 200
    dlt645: int = 0
    hdlc: int = 0
    """How many customers get a DL/T 645 meter in place of a Modbus one."""


class MeterServer(Protocol):
    """One meter behind one port."""

    async def start(self, host: str, port: int) -> None:
        """Listen. Raises: OSError when the port is in use."""
        ...

    async def close(self) -> None:
        """Stop listening and cut every connection."""
        ...


def fleet_of(config: SimulatorConfig) -> tuple[Fleet, Replay | None]:
    """
    Return the fleet to run and the recorded series that drive it, if any.

    Raises: ReplayError, EndpointError when a file cannot be used.
    """
    replay = load_replay(config.replay) if config.replay is not None else None
    if config.fleet_file.exists():
        fleet = load_state(config.fleet_file).fleet
        if replay is not None and fleet != replay_fleet(replay, seed=fleet.seed):
            raise EndpointError(f"{config.fleet_file} is not the fleet of {config.replay}")
        return fleet, replay
    if replay is not None:
        return replay_fleet(replay, seed=config.seed), replay
    fleet = make_fleet(
        seed=config.seed,
        customers=config.customers,
        origin=config.scale.origin,
        dlt645=config.dlt645,
        hdlc=config.hdlc,
        # a minute for whoever stands at the breaker, however fast business time runs
        close_allowed_seconds=CLOSE_ALLOWED_SECONDS * config.scale.speed,
    )
    return fleet, None


async def run(
    config: SimulatorConfig,
    *,
    stop: asyncio.Event,
    ready: Callable[[], None],
    status: MutableMapping[str, int | str],
) -> None:
    """
    Simulate until `stop` is set.

    Raises: EndpointError, ReplayError, TruthMismatchError when a file does not fit; OSError when a
    port is in use.
    """
    fleet, replay = fleet_of(config)
    endpoints = allocate(fleet, config.fleet_file, config.listen)
    clock = SimulatorClock(scale=config.scale)
    ledger = TruthLedger(config.truth, fleet)
    messages = SmsStore(config.truth.with_name("sms.sqlite"))
    try:
        world = World(
            fleet,
            ledger,
            now_ms=clock.now_ms,
            curve=replay_curves(replay) if replay is not None else None,
            profile_slots=RING_SLOTS if replay is not None else None,
        )
        status["meters"] = len(world.meters)
        status["intervals_closed"] = world.close_intervals()
        async with AsyncExitStack() as serving:
            await serving.enter_async_context(_meters_served(world.meters, endpoints))
            if config.sms_port:
                centre = create_sms_app(messages, seed=fleet.seed, now_ms=clock.now_ms)
                await serving.enter_async_context(served(centre, config.listen, config.sms_port))
            if config.hands_port:
                hands = create_hands_app(world.meters, messages)
                await serving.enter_async_context(served(hands, _LOOPBACK, config.hands_port))
            _LOG.info("simulator.serving", extra={"fields": {"meters": len(world.meters)}})
            ready()
            await _keep_truth(world, stop, status)
    finally:
        ledger.close()
        messages.close()


def server_of(meter: SimulatedMeter) -> MeterServer:
    """Return the server that speaks the meter's protocol."""
    if meter.spec.protocol == "dlms":
        return DlmsMeterServer(meter)
    if meter.spec.protocol == "dlt645":
        return Dlt645MeterServer(meter)
    return ModbusMeterServer(meter)


@asynccontextmanager
async def _meters_served(
    meters: Mapping[str, SimulatedMeter], endpoints: Mapping[MeterId, Endpoint]
) -> AsyncIterator[None]:
    started: list[MeterServer] = []
    try:
        for name, meter in meters.items():
            server = server_of(meter)
            place = endpoints[meter.spec.meter]
            try:
                await server.start(place.host, place.port)
            except OSError as error:
                raise OSError(
                    f"{name} cannot listen on {place.host}:{place.port}: {error.strerror}; "
                    "another simulator may be running on the same fleet file"
                ) from error
            started.append(server)
        yield
    finally:
        for server in started:
            await server.close()


async def _keep_truth(
    world: World, stop: asyncio.Event, status: MutableMapping[str, int | str]
) -> None:
    closed = int(status["intervals_closed"])
    while not stop.is_set():
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await stop.wait()
        except TimeoutError:
            pass
        closed += world.close_intervals()
        status["intervals_closed"] = closed
