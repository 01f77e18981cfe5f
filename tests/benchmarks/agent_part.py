"""
Memory and CPU of one agent with two hundred meters, as its own process.

Twice: all of them ciphered, and a mix of DLMS in the wrapper and in HDLC, Modbus and DL/T 645.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from meterloop.embedded.broker import EmbeddedBroker, LocalBroker, free_port
from protocols.mqtt.broker import BrokerAddress
from protocols.timeline import TimeScale
from simulators.endpoints import allocate
from simulators.fleet import make_fleet
from tests.benchmarks.figures import Figures
from tests.chaos.kill_kit import write_agent

ROOT = Path(__file__).parents[2]
ORIGIN = datetime(2026, 3, 1, tzinfo=UTC)
GOAL_MB = 80.0
WATCHED = 5
FEW = 20
"""How many meters of the mixed agent speak DL/T 645, and as many HDLC."""
POLLING = {"poll_seconds": 1.0, "profile_seconds": 60.0, "concurrency": 16, "clock_set": False}


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "MALLOC_ARENA_MAX": "2"}


@contextlib.asynccontextmanager
async def running(kind: str, settings: Path) -> AsyncIterator[psutil.Process]:
    """Run one part of the product as it runs in an installation, from ready on."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "meterloop.runners", kind, str(settings),
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT, env=environment(),
    )  # fmt: skip
    assert child.stdout is not None
    try:
        if b'"ready"' not in await child.stdout.readline():
            raise RuntimeError(f"{kind} did not start; run it by hand with {settings}")
        yield psutil.Process(child.pid)
    finally:
        child.kill()
        await child.wait()


@contextlib.contextmanager
def broker_in(name: str) -> Iterator[tuple[Path, BrokerAddress]]:
    """Yield a folder and a broker for one agent."""
    with tempfile.TemporaryDirectory(prefix=name) as at:
        folder = Path(at)
        with EmbeddedBroker(LocalBroker(folder=folder / "mqtt", port=free_port())) as broker:
            yield folder, broker.address


async def ciphered_agent(figures: Figures, seconds: float, places: list[dict[str, Any]]) -> None:
    """Weigh the agent of ciphered meters that are served at `places`."""
    with broker_in("ml-rss-") as (folder, broker):
        settings = settings_of(folder, places, broker)
        await weigh(figures, f"RSS of an agent, {len(places)} ciphered meters", settings, seconds)


async def mixed_agent(figures: Figures, seconds: float) -> None:
    """Weigh the agent of a town whose meters speak all protocols."""
    with broker_in("ml-mix-") as (folder, broker):
        fleet = make_fleet(seed=11, origin=ORIGIN, dlt645=FEW, hdlc=FEW)
        scale = TimeScale(wall_origin=datetime.now(UTC), origin=ORIGIN, speed=1)
        served = allocate(fleet, folder / "fleet.json")
        simulator = folder / "simulator.json"
        told = {
            "seed": 11, "scale": str(scale), "truth": str(folder / "truth.sqlite"),
            "fleet_file": str(folder / "fleet.json"),
        }  # fmt: skip
        simulator.write_text(json.dumps(told))
        settings = write_agent(folder, broker, fleet, served, scale)
        plain = json.loads(settings.read_text())
        links = {meter.meter: meter.link for meter in fleet.meters}
        for row in plain["meters"]:
            row["link"] = links[row["meter"]]
        settings.write_text(json.dumps(plain | POLLING))
        async with running("simulator", simulator):
            name = f"RSS of an agent, {len(fleet.meters)} mixed meters"
            await weigh(figures, name, settings, seconds)


async def weigh(figures: Figures, name: str, settings: Path, seconds: float) -> None:
    async with running("edge", settings) as agent:
        await asyncio.sleep(max(15.0, seconds))
        before = sum(agent.cpu_times()[:2])
        await asyncio.sleep(WATCHED)
        cpu = (sum(agent.cpu_times()[:2]) - before) / WATCHED
        rss = agent.memory_info().rss / 1e6
    note = f"beside the goal; {cpu:.0%} of a core at one read-out a second each"
    figures.add(name, rss, "MB", note, beside=GOAL_MB)


def settings_of(folder: Path, places: list[dict[str, Any]], broker: BrokerAddress) -> Path:
    """Write the configuration of an agent for ciphered meters."""
    keys: dict[str, Any] = {"system_title": b"BENCH002".hex()}
    for place in places:
        keys[place["meter"]] = {
            name: place[name] for name in ("authentication_key", "encryption_key")
        }
    keys_file = folder / "keys.json"
    keys_file.write_text(json.dumps(keys))
    keys_file.chmod(0o600)
    rows = [
        {
            "meter": place["meter"], "usage_point": f"UP-{place['meter'][2:]}", "protocol": "dlms",
            "host": "127.0.0.1", "port": place["port"], "authentication": "hls5",
            "interval_seconds": 900, "has_relay": True,
            "history_from": "2026-02-27T00:00:00+00:00",
        }
        for place in places
    ]  # fmt: skip
    scale = TimeScale(wall_origin=datetime.now(UTC), origin=ORIGIN, speed=1)
    plain = {
        "concentrator": "C-bench", "broker": {"host": broker.host, "port": broker.port},
        "time_scale": str(scale), "outbox": str(folder / "outbox.sqlite"),
        "keys_file": str(keys_file), "control_public_key": "00" * 32, "meters": rows,
    }  # fmt: skip
    path = folder / "edge.json"
    path.write_text(json.dumps(plain | POLLING))
    return path
