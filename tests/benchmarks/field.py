"""
Figures of the field on this machine, each beside its reference in the same run.

    python tests/benchmarks/field.py [--json] [--seconds 5]

Ciphered reads of one core (beside gurux-dlms, where `make interop` has installed it); 200 meters at
150 ms latency beside what latency allows; a month of profile beside the general decoder; RTU beside
what the baud rate allows; memory of an agent with 200 meters; 2,000 meters in one simulator.
Nothing is asserted.
"""

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
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil

from edge.acquire.dlms_session import (
    COUNTER_BLOCK,
    CounterBlock,
    DlmsSession,
    DlmsTarget,
    KnownMeter,
)
from protocols.dlms.axdr import decode_whole, encode
from protocols.dlms.classes import profile
from protocols.dlms.classes.clock import encode_moment
from protocols.dlms.classes.columns import read_columns
from protocols.dlms.classes.register import CHANNEL_NAME, register
from protocols.dlms.values import array, double_long_unsigned, octet_string, structure, unsigned
from protocols.reading import Channel
from tests.benchmarks.agent_part import ciphered_agent, environment, mixed_agent
from tests.benchmarks.figures import Figures, options_of
from tests.benchmarks.rtu_part import rtu_share

ROOT = Path(__file__).parents[2]
PEERS = ROOT / ".venv-interop" / "bin" / "python"
METERS = 200
LATENCY = 0.150
ENERGY = register(Channel.IMPORT_WH)
ROWS = 2976
GOAL_READS = 2500.0
_COUNTERS = itertools.count(1, COUNTER_BLOCK)


class Counters:
    """Counters in memory that rise over all runs: what is measured is the protocol, not a disk."""

    def reserve(self, system_title: bytes, key_id: str, block: int) -> range:
        first = next(_COUNTERS)
        return range(first, first + min(block, COUNTER_BLOCK))

    def raise_to(self, system_title: bytes, key_id: str, floor: int) -> None:
        raise AssertionError("a fresh meter refused a fresh counter")


def main() -> None:
    """Measure and print."""
    options = options_of(__doc__, seconds=5.0)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16_384), hard))
    figures = Figures()
    asyncio.run(measure(figures, options.seconds))
    figures.show("the field on this machine", table=not options.json)


async def measure(figures: Figures, seconds: float) -> None:
    await one_core(figures, seconds)
    await at_latency(figures, seconds)
    month_of_profile(figures)
    await on_rtu(figures, seconds)
    async with meters(METERS, 0) as places:
        await ciphered_agent(figures, seconds, places)
    await mixed_agent(figures, seconds)
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
        ours, note = reads / cpu, "beside the goal"
        figures.add(
            "ciphered reads, client CPU", ours, "reads/s of a core", note, beside=GOAL_READS
        )
        figures.add("ciphered reads, wall clock", reads / wall, "reads/s", "meters on another core")
        if not PEERS.exists():
            figures.missing("beside gurux-dlms, same reads", "make interop installs it")
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
        note = "client CPU; the reference is theirs, one session, for it knows no more"
        figures.add("beside gurux-dlms, same reads", ours, "reads/s of a core", note, beside=theirs)


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
    note = f"beside the bound; goal 1,200; the client takes {cpu / wall:.0%} of a core"
    bound = METERS / LATENCY
    figures.add(f"{METERS} meters at 150 ms", reads / wall, "reads/s", note, beside=bound)


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
    note = "beside the general decoder, row by row; goal 9 ms"
    figures.add(f"profile of {ROWS} rows", quick * 1000, "ms", note, beside=rows * 1000)


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
        note = f"beside the bus's bound; {share.of_wire:.0%} of the bare octets"
        bound = share.reads_per_s / share.of_bus
        figures.add(share.name, share.reads_per_s, "reads/s", note, beside=bound)


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
