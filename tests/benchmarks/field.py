"""
Figures of the field on this machine, each beside its reference in the same run.

    python tests/benchmarks/field.py [--json] [--seconds 5]

Ciphered reads of one core (beside gurux-dlms, where `make interop` has installed it); 200 meters at
150 ms latency beside what latency allows; a month of profile beside the general decoder; RTU beside
what the baud rate allows; memory of an agent with 200 meters; 2,000 meters in one simulator.
Nothing is asserted.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from edge.acquire.dlms_session import (
    COUNTER_BLOCK,
    CounterBlock,
    DlmsSession,
    DlmsTarget,
    KnownMeter,
)
from meterloop.embedded.broker import EmbeddedBroker, LocalBroker, free_port
from protocols.dlms.axdr import decode_whole, encode
from protocols.dlms.classes import profile
from protocols.dlms.classes.clock import encode_moment
from protocols.dlms.classes.columns import read_columns
from protocols.dlms.classes.register import CHANNEL_NAME, register
from protocols.dlms.values import array, double_long_unsigned, octet_string, structure, unsigned
from protocols.reading import Channel
from protocols.timeline import TimeScale
from tests.benchmarks.rtu_part import rtu_share

ROOT = Path(__file__).parents[2]
PEERS = ROOT / ".venv-interop" / "bin" / "python"
METERS = 200
LATENCY = 0.150
ENERGY = register(Channel.IMPORT_WH)
ROWS = 2976
_COUNTERS = itertools.count(1, COUNTER_BLOCK)


@dataclass(slots=True)
class Figures:
    """What was measured, by name, in the order of measuring."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)
    plain: dict[str, Any] = field(default_factory=dict)

    def add(self, name: str, value: float, unit: str, note: str = "") -> None:
        shown = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"
        self.rows.append((name, f"{shown} {unit}", note))
        self.plain[name] = {"value": round(value, 4), "unit": unit, "note": note}


class Counters:
    """Counters in memory that rise over all runs: what is measured is the protocol, not a disk."""

    def reserve(self, system_title: bytes, key_id: str, block: int) -> range:
        first = next(_COUNTERS)
        return range(first, first + min(block, COUNTER_BLOCK))

    def raise_to(self, system_title: bytes, key_id: str, floor: int) -> None:
        raise AssertionError("a fresh meter refused a fresh counter")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the JSON object only")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each load")
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16_384), hard))
    figures = Figures()
    asyncio.run(measure(figures, options.seconds))
    if not options.json:
        table = Table(title="the field on this machine", title_justify="left")
        for column in ("figure", "value", "note"):
            table.add_column(column)
        for row in figures.rows:
            table.add_row(*row)
        Console(width=140).print(table)
    sys.stdout.write(json.dumps(figures.plain) + "\n")


async def measure(figures: Figures, seconds: float) -> None:
    await one_core(figures, seconds)
    await at_latency(figures, seconds)
    month_of_profile(figures)
    await on_rtu(figures, seconds)
    await agent_memory(figures, seconds)
    await big_fleet(figures)


@contextlib.asynccontextmanager
async def meters(count: int, latency_ms: float) -> AsyncIterator[list[dict[str, Any]]]:
    """Serve meters in another process; yields who they are."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, str(ROOT / "tests/benchmarks/field_meters.py"), str(count), str(latency_ms),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, limit=1 << 20, cwd=ROOT, env=environment(),
    )  # fmt: skip
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        yield json.loads(await child.stdout.readline())
    finally:
        child.stdin.close()
        await child.wait()


def environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(ROOT)}


async def opened(place: dict[str, Any]) -> DlmsSession:
    target = DlmsTarget(
        meter=place["meter"], host="127.0.0.1", port=place["port"], authentication="hls5",
        system_title=b"BENCH001", authentication_key=bytes.fromhex(place["authentication_key"]),
        encryption_key=bytes.fromhex(place["encryption_key"]), expected_device_name=place["meter"],
        timeout_seconds=10.0,
    )  # fmt: skip
    return await DlmsSession.open(target, CounterBlock(Counters(), target), KnownMeter())


async def load(places: list[dict[str, Any]], seconds: float) -> tuple[int, float, float]:
    """Read one register of every meter over and over; return reads, wall and CPU seconds."""
    sessions = await asyncio.gather(*(opened(place) for place in places))
    until = time.monotonic() + seconds
    began, spent = time.monotonic(), time.process_time()

    async def keep_reading(session: DlmsSession) -> int:
        count = 0
        while time.monotonic() < until:
            await session.get(ENERGY)
            count += 1
        return count

    counts = await asyncio.gather(*(keep_reading(session) for session in sessions))
    wall, cpu = time.monotonic() - began, time.process_time() - spent
    await asyncio.gather(*(session.close() for session in sessions))
    return sum(counts), wall, cpu


async def one_core(figures: Figures, seconds: float) -> None:
    """Ciphered reads on loopback, simulators in another process; the reference in the same run."""
    async with meters(16, 0) as places:
        reads, wall, cpu = await load(places, seconds)
        figures.add("ciphered reads, client CPU", reads / cpu, "reads/s of a core", "goal 2,500")
        figures.add("ciphered reads, wall clock", reads / wall, "reads/s", "meters on another core")
        if not PEERS.exists():
            figures.rows.append(("gurux-dlms, same reads", "-", "make interop installs it"))
            return
        place = places[0]
        job = {
            "host": "127.0.0.1", "port": place["port"], "client_sap": 1, "server_address": 1,
            "authentication": "hls5", "password": "", "link": "wrapper",
            "title": b"GURUX001".hex(),
            "encryption_key": place["encryption_key"],
            "authentication_key": place["authentication_key"], "counter": 1 << 29,
            "seconds": seconds,
        }  # fmt: skip
        told = await gurux(job)
        theirs = told["reads"] / told["cpu_seconds"]
        ratio = f"ours is {reads / cpu / theirs:.1f} times as fast"
        figures.add("gurux-dlms, client CPU", theirs, "reads/s of a core", ratio)
        wall = told["reads"] / told["seconds"]
        figures.add("gurux-dlms, wall clock", wall, "reads/s", "one session, it knows no more")


async def gurux(job: dict[str, Any]) -> dict[str, float]:
    child = await asyncio.create_subprocess_exec(
        str(PEERS), str(ROOT / "tests/benchmarks/gurux_reads.py"),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    out, _ = await child.communicate(json.dumps(job).encode())
    if child.returncode:
        raise RuntimeError("gurux-dlms did not finish its reads; its trace is above")
    found: dict[str, float] = json.loads(out)
    return found


async def at_latency(figures: Figures, seconds: float) -> None:
    """200 meters whose answers take 150 ms: nobody can do more than 200 / 0.15 reads a second."""
    async with meters(METERS, LATENCY * 1000) as places:
        reads, wall, cpu = await load(places, max(seconds, 3.0))
    bound = METERS / LATENCY
    note = f"goal 1,200; the client takes {cpu / wall:.0%} of a core"
    figures.add(f"{METERS} meters at 150 ms", reads / wall, "reads/s", note)
    figures.add("latency bound", bound, "reads/s", f"reached to {reads / wall / bound:.1%}")


def month_of_profile(figures: Figures) -> None:
    """31 days of quarter hours, as one answer; the general decoder on the same octets beside it."""
    begin = datetime(2026, 3, 1, 16, tzinfo=UTC)
    octets = encode(
        array(
            structure(
                octet_string(encode_moment(begin + timedelta(minutes=15 * n), deviation=-480)),
                unsigned(0),
                double_long_unsigned(n * 7919 % 900),
            )
            for n in range(ROWS)
        )
    )
    energy = profile.CaptureObject(class_id=3, name=CHANNEL_NAME[Channel.IMPORT_INTERVAL_WH])
    layout = profile.Layout.of((profile.CLOCK_COLUMN, profile.STATUS_COLUMN, energy), 900)
    quick = best(lambda: read_columns(octets, layout, (2,)))
    rows = best(lambda: profile.decode_rows(decode_whole(octets), layout))
    note = f"{rows * 1000:.1f} ms row by row; goal 9 ms"
    figures.add(f"profile of {ROWS} rows", quick * 1000, "ms", note)


def best(work: Any) -> float:
    times = []
    for _ in range(7):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


async def on_rtu(figures: Figures, seconds: float) -> None:
    for baud in (9600, 19200):
        share = await rtu_share(baud=baud, seconds=min(seconds, 5.0))
        note = f"{share.reads_per_s:.1f} reads/s; {share.of_wire:.0%} of the bare octets"
        figures.add(f"{share.name}, of the bound", share.of_bus * 100, "%", note)


AGENT = """
import asyncio, sys
from pathlib import Path
from edge.config import load_config
from edge.run import run
asyncio.run(run(load_config(Path(sys.argv[1])), stop=asyncio.Event(),
                ready=lambda: print("ready", flush=True), status={}))
"""


async def agent_memory(figures: Figures, seconds: float) -> None:
    """An agent with 200 ciphered meters polls them every second, as its own process."""
    with tempfile.TemporaryDirectory(prefix="ml-rss-") as name:
        folder = Path(name)
        async with meters(METERS, 0) as places:
            with EmbeddedBroker(LocalBroker(folder=folder / "mqtt", port=free_port())) as broker:
                config = agent_config(folder, places, broker.address.host, broker.address.port)
                child = await asyncio.create_subprocess_exec(
                    sys.executable, "-c", AGENT, str(config),
                    stdout=subprocess.PIPE, cwd=ROOT, env=environment(),
                )  # fmt: skip
                assert child.stdout is not None
                await child.stdout.readline()
                await asyncio.sleep(max(15.0, seconds))
                known = psutil.Process(child.pid)
                before, rss = sum(known.cpu_times()[:2]), known.memory_info().rss
                await asyncio.sleep(5)
                cpu = (sum(known.cpu_times()[:2]) - before) / 5
                child.kill()
                await child.wait()
    note = f"goal 80 MiB; {cpu:.0%} of a core at one read-out a second each"
    figures.add(f"RSS of an agent, {METERS} meters", rss / 2**20, "MiB", note)


def agent_config(folder: Path, places: list[dict[str, Any]], host: str, port: int) -> Path:
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
    scale = TimeScale(
        wall_origin=datetime.now(UTC), origin=datetime(2026, 3, 1, tzinfo=UTC), speed=1
    )
    plain = {
        "concentrator": "C-bench", "broker": {"host": host, "port": port},
        "time_scale": str(scale), "outbox": str(folder / "outbox.sqlite"),
        "keys_file": str(keys_file), "control_public_key": "00" * 32, "poll_seconds": 1.0,
        "profile_seconds": 60.0, "concurrency": 16, "meters": rows,
    }  # fmt: skip
    path = folder / "edge.json"
    path.write_text(json.dumps(plain))
    return path


FLEET = """
import asyncio, sys
from datetime import UTC, datetime
from pathlib import Path
from protocols.timeline import TimeScale
from simulators.run import SimulatorConfig, run
folder = Path(sys.argv[1])
scale = TimeScale(wall_origin=datetime.now(UTC), origin=datetime(2026, 3, 1, tzinfo=UTC), speed=1)
config = SimulatorConfig(seed=1, scale=scale, truth=folder / "truth.sqlite",
                         fleet_file=folder / "fleet.json", customers=1923)
status = {}
asyncio.run(run(config, stop=asyncio.Event(), ready=lambda: print(status["meters"], flush=True),
                status=status))
"""


async def big_fleet(figures: Figures) -> None:
    """2,000 meters in one simulator process: time to ready, memory, CPU while nobody asks."""
    with tempfile.TemporaryDirectory(prefix="ml-fleet-") as name:
        began = time.monotonic()
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", FLEET, name, stdout=subprocess.PIPE, cwd=ROOT, env=environment()
        )
        assert child.stdout is not None
        count = int(await child.stdout.readline())
        ready = time.monotonic() - began
        known = psutil.Process(child.pid)
        before = sum(known.cpu_times()[:2])
        await asyncio.sleep(3)
        cpu, rss = (sum(known.cpu_times()[:2]) - before) / 3, known.memory_info().rss
        child.kill()
        await child.wait()
    figures.add(f"{count:,} simulated meters ready", ready, "s", "one process")
    figures.add(f"RSS of {count:,} simulated meters", rss / 2**20, "MiB", f"{cpu:.1%} CPU idle")


if __name__ == "__main__":
    main()
