"""A simulated DLMS meter on loopback, and agents with real drivers to care for it."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from edge.config import EdgeConfig, load_config
from edge.run import run
from protocols.mqtt.broker import BrokerAddress
from protocols.timeline import to_ms
from simulators.fleet import SimMeter, make_fleet
from simulators.meter.dlms_care import master_key_of
from simulators.meter.dlms_server import DlmsMeterServer
from simulators.truth import TruthLedger
from simulators.world import World
from tests.integration.edge_harness import REPO, written

ORIGIN = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=6)
FLEET = make_fleet(seed=7, customers=60, origin=ORIGIN)
SPEC: SimMeter = next(m for m in FLEET.customers if m.planted == "story")
TRANSPORT = bytes(range(32))
"""The key under which keys travel to the concentrator."""


@asynccontextmanager
async def simulated(folder: Path) -> AsyncIterator[DlmsMeterServer]:
    """Run the meter of `SPEC`; what it is made of lives as long as this does."""
    ledger = TruthLedger(folder / "truth.sqlite", FLEET)
    world = World(FLEET, ledger, now_ms=lambda: to_ms(datetime.now(UTC)))
    server = DlmsMeterServer(world.meters[SPEC.meter])
    await server.start("127.0.0.1", 0)
    try:
        yield server
    finally:
        await server.close()
        ledger.close()


def configured(
    folder: Path, broker: BrokerAddress, concentrator: str, port: int, **changes: Any
) -> tuple[Path, EdgeConfig]:
    """Write configuration and keys of an agent of that meter."""
    meter = {
        "meter": SPEC.meter, "usage_point": "UP-1", "protocol": "dlms", "host": "127.0.0.1",
        "port": port, "authentication": SPEC.authentication, "has_relay": SPEC.has_relay,
        "interval_seconds": 0, "history_from": ORIGIN.isoformat(), "timeout_seconds": 2.0,
        **changes.pop("meter", {}),
    }  # fmt: skip
    path, config = written(folder, broker, concentrator, meters=[meter], **changes)
    keys = config.keys_file
    keys.write_text(
        f'{{"system_title": "4d4c4f4f50303031", "transport_key": "{TRANSPORT.hex()}",'
        f' "{SPEC.meter}": {{"password": "{SPEC.password.hex()}",'
        f' "authentication_key": "{SPEC.authentication_key.hex()}",'
        f' "encryption_key": "{SPEC.encryption_key.hex()}",'
        f' "master_key": "{master_key_of(SPEC).hex()}"}}}}'
    )
    return path, config


@asynccontextmanager
async def agent_of(config: EdgeConfig) -> AsyncIterator[dict[str, int | str]]:
    """Run an agent in this process, with the drivers that its configuration names."""
    stop, up = asyncio.Event(), asyncio.Event()
    status: dict[str, int | str] = {}
    running = asyncio.create_task(run(config, stop=stop, ready=up.set, status=status))
    waiting = asyncio.create_task(up.wait())
    await asyncio.wait([running, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if running.done():
        running.result()
    try:
        yield status
    finally:
        stop.set()
        await asyncio.wait_for(running, 30)


class RealVictim:
    """An agent with real drivers in a process of its own, to be killed at a failpoint."""

    def __init__(self, config: Path, failpoint: str = "") -> None:
        environment = {**os.environ, "PYTHONPATH": str(REPO)}
        environment.pop("METERLOOP_FAILPOINT", None)
        if failpoint:
            place, _, nth = failpoint.partition("@")
            environment["METERLOOP_FAILPOINT"] = f"{place}:kill@{nth or 1}"
        self._arguments = [sys.executable, __file__, str(config)]
        self._environment = environment

    async def __aenter__(self) -> Self:
        self.process = await asyncio.create_subprocess_exec(*self._arguments, env=self._environment)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(self.process.wait(), 40)

    async def dies(self) -> None:
        """Wait for the kill."""
        code = await asyncio.wait_for(self.process.wait(), 90)
        assert code == -signal.SIGKILL, code


async def _main(config: EdgeConfig) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await run(config, stop=stop, ready=lambda: None, status={})


if __name__ == "__main__":
    asyncio.run(_main(load_config(Path(sys.argv[1]))))
