"""
Figures of the loop on this machine: cold start, readings/s, CPU and memory, latency to the page.

    PYTHONPATH=. python tests/benchmarks/loop.py [--json] [--seconds 20]

Prints a table and one JSON object. References (raw COPY, a bare read loop) are measured in the
same run, so that ratios mean something on a noisy machine. Nothing is asserted.
"""

import asyncio
import contextlib
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg

from cloud.store.clock import Clock
from cloud.store.db import Database
from edge.acquire.dlms import DlmsDriver
from edge.acquire.drivers import build_driver
from edge.clock import EdgeClock
from edge.config import config_from_json, load_keys
from edge.outbox import Outbox
from meterloop.config import Installation
from meterloop.demo import town as demo_town
from meterloop.demo.cast import Cast, Supply
from meterloop.demo.town import Town
from meterloop.stack import Stack, edge_settings
from tests.benchmarks.figures import Figures, options_of

MARYAM = Supply(number=42, login="maryam")
_COPY_ROWS = 200_000
GOAL_SECONDS = 5.0


def main() -> None:
    """Measure and print."""
    options = options_of(__doc__, seconds=20.0)
    figures = Figures()
    asyncio.run(measure(figures, options.seconds))
    figures.show("the loop on this machine", table=not options.json)


async def measure(figures: Figures, seconds: float) -> None:
    with tempfile.TemporaryDirectory(prefix="ml-bench-") as folder:
        await at_full_speed(figures, Path(folder) / "fast", seconds)
        await at_speed_one(figures, Path(folder) / "slow", seconds)


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds from nothing to ready, and what one driver alone can read meanwhile."""

    cold: float
    bare: float


@contextlib.asynccontextmanager
async def running(
    folder: Path, *, speed: int, poll: float, profile: float
) -> AsyncIterator[tuple[Stack, Town, Start]]:
    """Start the whole demo town without its story; the reference is measured on the way."""
    began = time.monotonic()
    town = demo_town.prepare(folder, seed_number=1, speed=speed, port=0)
    sections = tuple(
        section.model_copy(
            update={"poll_seconds": poll, "profile_seconds": profile, "concurrency": 16}
        )
        for section in town.installation.concentrator
    )
    installation = town.installation.model_copy(update={"concentrator": sections})
    clock = Clock(scale=town.scale)
    async with Stack(installation) as stack:
        with Database(stack.dsn, application="bench", size=1) as owner:
            await asyncio.to_thread(demo_town.fill, owner, town, clock=clock)
        await stack.start_simulator()
        paused = time.monotonic()
        bare = await bare_reads(installation, stack)
        began += time.monotonic() - paused
        await asyncio.gather(stack.start_services(), stack.start_edges())
        yield stack, town, Start(cold=time.monotonic() - began, bare=bare)


async def at_full_speed(figures: Figures, folder: Path, seconds: float) -> None:
    """Poll 208 meters as fast as the agents can and count committed rows."""
    async with running(folder, speed=4320, poll=0.05, profile=1.0) as (stack, town, start):
        figures.add("cold start to ready", start.cold, "s", "empty folder, packages installed")
        bare = start.bare
        figures.add("bare driver loop", bare, "reads/s", "one LLS meter, no cloud; the reference")
        await asyncio.sleep(5)
        before, spent = await committed(stack.dsn), cpu_of(stack)
        began = time.monotonic()
        await asyncio.sleep(seconds)
        after, wall = await committed(stack.dsn), time.monotonic() - began
        rows, reads = (after[0] - before[0]) / wall, (after[1] - before[1]) / wall
        copy = await asyncio.to_thread(raw_copy, stack.dsn)
        meters = len(town.fleet.meters)
        figures.add("raw COPY, same columns", copy, "rows/s", "the reference of the next")
        figures.add("meter to committed row", rows, "rows/s", f"{meters} meters", beside=copy)
        note = "beside the bare driver loop, one meter's"
        figures.add("register rows of these", reads, "rows/s", note, beside=bare)
        now = cpu_of(stack)
        for row in stack.supervisor.status():
            share = (now[row.name] - spent.get(row.name, 0.0)) / wall * 100
            figures.add(f"CPU {row.name}", share, "% of a core")
            figures.add(f"RSS {row.name}", row.rss_bytes / 2**20, "MiB")


async def at_speed_one(figures: Figures, folder: Path, seconds: float) -> None:
    """Real time: from a register's change at the meter to the customer's page."""
    async with running(folder, speed=1, poll=2.0, profile=60.0) as (stack, town, _):
        clock = Clock(scale=town.scale)
        cast = Cast(town=town, portal_url=stack.portal_url, dsn=stack.dsn, clock=clock)
        try:
            lags = await stream_lags(cast, seconds=max(60.0, 3 * seconds))
            report_lags(figures, "register change to live stream", lags)
            if chromium := shutil.which("chromium"):
                lags = await page_lags(cast, chromium, seconds=max(60.0, 3 * seconds))
                report_lags(figures, "register change to page", lags)
            else:
                figures.missing("register change to page", "no chromium here")
        finally:
            await cast.leave()
            cast.close()


def report_lags(figures: Figures, name: str, lags: list[float]) -> None:
    if not lags:
        figures.missing(name, "the register did not move")
        return
    figures.add(f"{name}, median", statistics.median(lags), "s", f"{len(lags)} changes, speed 1")
    figures.add(f"{name}, worst", max(lags), "s", "beside the goal", beside=GOAL_SECONDS)


async def changes(cast: Cast, seen: dict[int, float], stop: asyncio.Event) -> None:
    """Note when the meter itself first showed each register value."""
    while not stop.is_set():
        register = int((await cast.look(MARYAM))["register_wh"])
        seen.setdefault(register, time.monotonic())
        await asyncio.sleep(0.05)


async def stream_lags(cast: Cast, *, seconds: float) -> list[float]:
    """Return seconds from each change of the register to its event on the live stream."""
    seen: dict[int, float] = {}
    stop = asyncio.Event()
    watcher = asyncio.create_task(changes(cast, seen, stop))
    arrived: dict[int, float] = {}
    browser = await cast.browser(MARYAM.login)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds), browser.live(MARYAM.usage_point) as lines:
            async for line in lines:
                if line.startswith("data: "):
                    event = json.loads(line.removeprefix("data: "))
                    if event.get("k") == "reading":
                        arrived.setdefault(int(event["wh"]), time.monotonic())
    stop.set()
    await watcher
    return lags_of(seen, arrived)


async def page_lags(cast: Cast, chromium: str, *, seconds: float) -> list[float]:
    """Return seconds from each change of the register to the text on the page in a browser."""
    from playwright.async_api import async_playwright

    seen: dict[int, float] = {}
    arrived: dict[int, float] = {}
    stop = asyncio.Event()
    watcher = asyncio.create_task(changes(cast, seen, stop))
    async with async_playwright() as play:
        browser = await play.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        page = await browser.new_page(locale="en")
        await page.goto(f"{cast.portal_url}/sign-in")
        await page.fill("#login", MARYAM.login)
        await page.fill("#password", cast.town.credentials[MARYAM.login])
        await page.click("main button.main")
        await page.wait_for_selector("#live-power")
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            shown = await page.get_attribute("#live-power", "data-register-wh")
            if shown:
                arrived.setdefault(int(shown), time.monotonic())
            await asyncio.sleep(0.05)
        await browser.close()
    stop.set()
    await watcher
    return lags_of(seen, arrived)


def lags_of(seen: dict[int, float], arrived: dict[int, float]) -> list[float]:
    """Pair each value told with the moment the meter first showed it; skip the first, half seen."""
    first = min(seen, default=0)
    return [arrived[wh] - seen[wh] for wh in sorted(arrived) if wh in seen and wh != first]


async def bare_reads(installation: Installation, stack: Stack) -> float:
    """Return full read-outs per second of one LLS meter by its driver alone."""
    section = installation.concentrator[0]
    settings = edge_settings(installation, section, broker=stack.broker)
    config = config_from_json(json.dumps(settings))
    keys = load_keys(Path(section.keys_file))
    plain = next(meter for meter in config.meters if meter.authentication == "lls")
    with tempfile.TemporaryDirectory() as folder:
        outbox = Outbox(Path(folder) / "bench.sqlite", wall_ms=1)
        driver = build_driver(plain, keys, outbox.counters, EdgeClock(scale=config.time_scale))
        assert isinstance(driver, DlmsDriver)
        await driver.read_now()
        count, began = 0, time.monotonic()
        while time.monotonic() - began < 3:
            await driver.read_now()
            count += 1
        took = time.monotonic() - began
        await driver.close()
        outbox.close()
    return count / took


async def committed(dsn: str) -> tuple[int, int]:
    """Return rows of intervals and registers together, and registers alone."""

    def ask() -> tuple[int, int]:
        with psycopg.connect(dsn) as connection:
            row = connection.execute(
                "SELECT (SELECT count(*) FROM ingest.interval_reading),"
                " (SELECT count(*) FROM ingest.register_reading)"
            ).fetchone()
        assert row is not None
        return int(row[0]) + int(row[1]), int(row[1])

    return await asyncio.to_thread(ask)


def raw_copy(dsn: str) -> float:
    """Return rows per second of a binary COPY of interval rows into an equal, unindexed table."""
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TEMP TABLE copied (LIKE ingest.reading) ON COMMIT DROP")
        rows = connection.execute("SELECT * FROM ingest.stored LIMIT 20000").fetchall()
        many = (rows * (_COPY_ROWS // max(1, len(rows)) + 1))[:_COPY_ROWS]
        began = time.monotonic()
        with connection.cursor().copy("COPY copied FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["int4", "timestamptz", "int8", "int8", "timestamptz", "int8"])
            for row in many:
                copy.write_row(row)
        return len(many) / (time.monotonic() - began)


def cpu_of(stack: Stack) -> dict[str, float]:
    """Return CPU seconds of each process and its children."""
    spent = {}
    for row in stack.supervisor.status():
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(row.pid)
            family = [process, *process.children(recursive=True)]
            spent[row.name] = sum(sum(member.cpu_times()[:2]) for member in family)
    return spent


if __name__ == "__main__":
    main()
