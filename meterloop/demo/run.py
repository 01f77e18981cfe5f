"""
`meterloop demo`: prepare the town, start everything, fill it, tell the story, end it all cleanly.

The same run serves people at a terminal, plain logs, and the acceptance test, which reads the one
JSON summary that a headless run prints at its end.
"""

import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

from cloud.store.clock import Clock
from cloud.store.db import Database, TransientDatabaseError
from cloud.store.rim import ended
from meterloop.audit.service import audit_installation
from meterloop.demo import town as demo_town
from meterloop.demo.cast import Cast
from meterloop.demo.stage import Log
from meterloop.demo.story import tell
from meterloop.demo.table import Screen, plain
from meterloop.demo.town import Town
from meterloop.stack import Stack

_NOTE_SECONDS = 0.5
_SETTLE_SECONDS = 45.0
_INTERRUPTED = 130


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """What the command line says."""

    data: Path
    headless: bool = False
    leave: bool = False
    seed: int = 1
    speed: int = 4320
    port: int = 0
    dlt645: int = 0
    as_json: bool = False


@dataclass(slots=True, kw_only=True)
class _Times:
    """Seconds of wall time since the start, by milestone."""

    began: float = field(default_factory=time.monotonic)
    marks: dict[str, float] = field(default_factory=dict)

    def mark(self, name: str) -> None:
        self.marks[name] = round(time.monotonic() - self.began, 2)


@dataclass(slots=True, kw_only=True)
class _Run:
    """Everything one run of the demo holds together."""

    options: DemoOptions
    town: Town
    stack: Stack
    clock: Clock
    screen: Screen
    log: Log
    times: _Times = field(default_factory=_Times)
    stop: asyncio.Event = field(default_factory=asyncio.Event)


def play(options: DemoOptions) -> int:
    """Run the demo and return the exit code: 0 only if every step and every invariant holds."""
    try:
        return asyncio.run(_play(options))
    except KeyboardInterrupt:
        return _INTERRUPTED


async def _play(options: DemoOptions) -> int:
    times, log = _Times(), Log()
    town = await asyncio.to_thread(
        demo_town.prepare,
        options.data,
        seed_number=options.seed,
        speed=options.speed,
        port=options.port,
        dlt645=options.dlt645,
    )
    run = _Run(
        options=options,
        town=town,
        stack=Stack(town.installation),
        clock=Clock(scale=town.scale),
        screen=Screen(log=log, title=f"Meterloop demo, 1 day = {86_400 / town.scale.speed:g} s"),
        log=log,
        times=times,
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, run.stop.set)
    with _shown(run):
        async with run.stack:
            times.mark("database_and_broker")
            noting = asyncio.create_task(_note_time(options.data, run.clock))
            try:
                return await _live(run)
            finally:
                noting.cancel()
                demo_town.note_time(options.data, town.scale)


async def _live(run: _Run) -> int:
    stack = run.stack
    await _start(run)
    cast = Cast(town=run.town, portal_url=stack.portal_url, dsn=stack.dsn, clock=run.clock)
    telling = asyncio.create_task(tell(cast, run.log))
    stopping = asyncio.create_task(run.stop.wait())
    try:
        await asyncio.wait([telling, stopping], return_when=asyncio.FIRST_COMPLETED)
        if not telling.done():
            return _INTERRUPTED
        telling.result()
        run.times.mark("story")
        found = await _audited(run)
        run.times.mark("audit")
        ok = _conclude(run, found)
        if not run.options.leave:
            await run.stop.wait()
        return 0 if ok else 1
    finally:
        await ended(telling, stopping)
        cast.close()


async def _start(run: _Run) -> None:
    """Fill the database, start every process, and tell where to look."""
    stack = run.stack
    with Database(stack.dsn, application="meterloop-demo", size=2) as owner:
        await asyncio.to_thread(demo_town.fill, owner, run.town, clock=run.clock)
    run.times.mark("filled")
    await stack.start_simulator()
    await asyncio.gather(stack.start_services(), stack.start_edges())
    run.times.mark("ready")
    run.screen.url = f"{stack.portal_url}/tour"
    run.screen.people = [
        *((roles[0].value, login) for login, _, _, roles in demo_town.STAFF),
        ("customer", "maryam"),
    ]
    if not _on_terminal(run.options):
        _say(f"ready in {run.times.marks['ready']} s at {run.screen.url}")


def _conclude(run: _Run, found: dict[str, Any]) -> bool:
    """Print the summary where it is wanted and return whether all is well."""
    wrong = {name: count for name, count in found["violations"].items() if count}
    ok = not run.log.failed and not wrong
    if run.options.headless:
        summary = {
            **found,
            "ok": ok,
            "portal": run.stack.portal_url,
            "milestones_seconds": run.times.marks,
            "story": [line.as_json() for line in run.log.lines],
            "failed_steps": [f"{line.track}.{line.code}" for line in run.log.failed],
            "processes": [row.as_json() for row in run.stack.supervisor.status()],
        }
        sys.stdout.write(json.dumps(summary, ensure_ascii=False) + "\n")
        sys.stdout.flush()
    run.screen.note = (
        "[green]every step and every invariant holds[/]"
        if ok
        else f"[red]{len(run.log.failed)} steps failed; violations: {wrong or 'none'}[/]"
    )
    return ok


async def _audited(run: _Run) -> dict[str, Any]:
    """
    Return the audit once what is on its way has arrived: conservation is judged at rest.

    The audit is asked again until it is clean or the time to settle is over; a true violation
    stays and is reported, a reading in flight is not one.
    """
    deadline = time.monotonic() + _SETTLE_SECONDS
    while True:
        try:
            report = await asyncio.to_thread(
                audit_installation, run.town.installation, dsn=run.stack.dsn, now=run.clock.now()
            )
        except TransientDatabaseError:
            if time.monotonic() > deadline:
                raise
        else:
            if not report.total or time.monotonic() > deadline:
                return report.as_json()
        await asyncio.sleep(1.0)


async def _note_time(data: Path, clock: Clock) -> None:
    while True:
        await asyncio.to_thread(demo_town.note_time, data, clock.scale)
        await asyncio.sleep(_NOTE_SECONDS)


def _on_terminal(options: DemoOptions) -> bool:
    return sys.stdout.isatty() and not options.headless


@contextlib.contextmanager
def _shown(run: _Run) -> Iterator[None]:
    """Show the table on a terminal, or a plain line per step elsewhere."""
    if not _on_terminal(run.options):
        as_json = run.options.as_json
        run.log.listeners.append(
            lambda line: _say(json.dumps(line.as_json()) if as_json else plain(line))
        )
        yield
        return
    supervisor = run.stack.supervisor
    with Live(get_renderable=lambda: run.screen.render(supervisor.status()), console=Console()):
        yield


def _say(text: str) -> None:
    """Tell progress on standard error; standard output is for the summary alone."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
