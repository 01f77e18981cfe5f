r"""
Starts the processes of an installation, starts again what dies, and ends all of them.

    starting -> ready -> down -> starting ...   back-off 0.2 s doubling to 5 s
       |          \-> ended                      when the supervisor ends
       \-> failed                               `add` raises on a first start; later tried again

Children end with this process, even by `kill -9`: the kernel signals each (see `tether`).
What runs is written to `status.json`, atomically, whenever it changes and once a second.
"""

import asyncio
import contextlib
import json
import logging
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

import psutil

from cloud.store.rim import ended
from meterloop.embedded.spawn import EmbeddedError

_LOG = logging.getLogger(__name__)
_FIRST_PAUSE, _LONGEST_PAUSE, _STEADY = 0.2, 5.0, 10.0
_END_DEADLINE = 12.0


class State(StrEnum):
    """What a child does now."""

    STARTING = "starting"
    READY = "ready"
    DOWN = "down"
    FAILED = "failed"
    ENDED = "ended"


class ChildFailedError(Exception):
    """A child ended before it was ready the first time; the message holds its last words."""

    def __init__(self, name: str, reason: str, log: Path) -> None:
        """Say what happened and where to read more."""
        super().__init__(f"{name} did not start: {reason} Fix: read {log}")
        self.name = name
        self.reason = reason
        self.log = log


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """
    One process to keep alive.

    It is ready when it prints a line `{"event": "ready", ...}`, or when `probe` says so. `prepare`
    runs before each start, off the event loop; it may wait for what a killed forerunner left.
    """

    name: str
    command: Callable[[], Sequence[str]]
    probe: Callable[[], bool] | None = None
    prepare: Callable[[], None] | None = None
    end_signal: signal.Signals = signal.SIGTERM
    environment: Mapping[str, str] = field(default_factory=dict)
    deadline: float = 45.0


@dataclass(slots=True, kw_only=True)
class ChildStatus:
    """A row of the status table. `told` is the ready line, `health` the newest `/healthz`."""

    name: str
    state: State = State.STARTING
    pid: int = 0
    restarts: int = 0
    healthz: int = 0
    ready_seconds: float = 0.0
    told: dict[str, Any] = field(default_factory=dict)
    health: dict[str, int | str] = field(default_factory=dict)
    rss_bytes: int = 0
    cpu_seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Return the row of `status.json`."""
        return {
            "name": self.name, "state": self.state.value, "pid": self.pid,
            "restarts": self.restarts, "healthz": self.healthz,
            "ready_seconds": round(self.ready_seconds, 3), "health": dict(self.health),
            "rss_bytes": self.rss_bytes, "cpu_seconds": round(self.cpu_seconds, 2),
        }  # fmt: skip


class Supervisor:
    """Keeps children alive between `async with` and its end."""

    def __init__(self, folder: Path) -> None:
        """Keep logs in `folder/logs` and the status in `folder/run/status.json`."""
        self._logs = folder / "logs"
        self._status_file = folder / "run" / "status.json"
        self._rows: dict[str, ChildStatus] = {}
        self._children: dict[str, Child] = {}
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._drains: set[asyncio.Task[None]] = set()
        self._watch: asyncio.Task[None] | None = None
        self._ending = False
        self.keeps_open: tuple[int, ...] = ()
        """Files that every child holds open: the lock of the folder."""

    async def __aenter__(self) -> Self:
        """Make the folders and begin to watch."""
        self._logs.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._status_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._watch = asyncio.create_task(self._watch_health())
        return self

    async def __aexit__(self, *_: object) -> None:
        """End every child, the newest first."""
        await self.end()

    def status(self) -> list[ChildStatus]:
        """Return the rows of the status table in the order of starting."""
        return list(self._rows.values())

    def row(self, name: str) -> ChildStatus:
        """Return one row. Raises KeyError when no such child was added."""
        return self._rows[name]

    async def add(self, *children: Child) -> None:
        """
        Start `children` together and return when all are ready.

        Raises: ChildFailedError when one ends, or is not ready in time, on this first start.
        """
        for child in children:
            if child.name in self._children:
                raise ValueError(f"two children are named {child.name}")
            self._children[child.name] = child
            self._rows[child.name] = ChildStatus(name=child.name)
        starts = [asyncio.create_task(self._start(child)) for child in children]
        done, waiting = await asyncio.wait(starts, return_when=asyncio.FIRST_EXCEPTION)
        errors = [error for task in done if (error := task.exception()) is not None]
        if errors:
            await ended(*waiting)
            raise errors[0]
        for child in children:
            self._keepers[child.name] = asyncio.create_task(self._keep(child))

    async def end(self) -> None:
        """End every child, newest first within the order of starting; kill what lingers."""
        self._ending = True
        for keeper in self._keepers.values():
            keeper.cancel()
        if self._watch is not None:
            self._watch.cancel()
        names = list(self._children)
        servers = [name for name in names if self._children[name].probe is not None]
        programs = [name for name in names if name not in servers]
        await asyncio.gather(*(self._end_one(name) for name in programs))
        for name in reversed(servers):
            await self._end_one(name)
        self._write()

    async def _end_one(self, name: str) -> None:
        process, child = self._processes.get(name), self._children[name]
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(child.end_signal)
            try:
                async with asyncio.timeout(_END_DEADLINE):
                    await process.wait()
            except TimeoutError:
                _LOG.warning("supervisor.killed_late_child", extra={"fields": {"child": name}})
                _kill_group(process.pid)
                await process.wait()
        self._rows[name].state = State.ENDED

    async def _start(self, child: Child) -> None:
        """Start once and return when ready. Raises ChildFailedError."""
        row, log = self._rows[child.name], self._logs / f"{child.name}.log"
        row.state, row.health, row.healthz = State.STARTING, {}, 0
        began = asyncio.get_running_loop().time()
        try:
            if child.prepare is not None:
                await asyncio.to_thread(child.prepare)
            await self._launch(child, log)
            async with asyncio.timeout(child.deadline):
                await self._await_ready(child, row)
            row.state = State.READY
        except TimeoutError:
            _kill_group(row.pid)
            raise ChildFailedError(child.name, f"not ready in {child.deadline:g} s.", log) from None
        finally:
            if row.state is State.STARTING:
                row.state = State.FAILED
            row.ready_seconds = asyncio.get_running_loop().time() - began
            self._write()

    async def _launch(self, child: Child, log: Path) -> None:
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *child.command(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output if child.probe is not None else asyncio.subprocess.PIPE,
                stderr=output,
                env=os.environ | child.environment,
                start_new_session=True,
                pass_fds=self.keeps_open,
                limit=1 << 20,
            )
        self._processes[child.name] = process
        self._rows[child.name].pid = process.pid
        self._write()

    async def _await_ready(self, child: Child, row: ChildStatus) -> None:
        process, log = self._processes[child.name], self._logs / f"{child.name}.log"
        if child.probe is not None:
            while process.returncode is None:
                if await asyncio.to_thread(child.probe):
                    return
                await asyncio.sleep(0.03)
        else:
            assert process.stdout is not None
            async for line in process.stdout:
                told = _ready_line(line)
                if told is not None:
                    row.told, row.healthz = told, int(told.get("healthz", 0))
                    drain = asyncio.create_task(_drain(process.stdout))
                    self._drains.add(drain)
                    drain.add_done_callback(self._drains.discard)
                    return
        code = await process.wait()
        raise ChildFailedError(child.name, f"ended with {code}: {_last_words(log)}", log)

    async def _keep(self, child: Child) -> None:
        row, pause = self._rows[child.name], _FIRST_PAUSE
        loop = asyncio.get_running_loop()
        while not self._ending:
            since = loop.time()
            code = await self._processes[child.name].wait()
            if self._ending:
                return
            row.state, row.health = State.DOWN, {}
            _kill_group(row.pid)  # nothing of a dead child may linger beside its successor
            row.restarts += 1
            self._write()
            _LOG.warning(
                "supervisor.child_died", extra={"fields": {"child": child.name, "code": code}}
            )
            pause = (
                _FIRST_PAUSE if loop.time() - since > _STEADY else min(pause * 2, _LONGEST_PAUSE)
            )
            await asyncio.sleep(pause)
            try:
                await self._start(child)
            except (ChildFailedError, EmbeddedError, OSError) as error:
                _LOG.warning(
                    "supervisor.restart_failed",
                    extra={"fields": {"child": child.name, "why": str(error)[:400]}},
                )

    async def _watch_health(self) -> None:
        while True:
            for row in self._rows.values():
                _measure(row)
                if row.healthz and row.state is State.READY:
                    row.health = await _healthz(row.healthz)
            self._write()
            await asyncio.sleep(1.0)

    def _write(self) -> None:
        table = {
            "supervisor": os.getpid(),
            "at": datetime.now(UTC).isoformat(),
            "processes": [row.as_json() for row in self._rows.values()],
        }
        partial = self._status_file.with_suffix(".partial")
        partial.write_text(json.dumps(table, indent=1), encoding="utf-8")
        partial.replace(self._status_file)


def _kill_group(pid: int) -> None:
    if pid > 1:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


def _ready_line(line: bytes) -> dict[str, Any] | None:
    try:
        told = json.loads(line)
    except ValueError:
        return None
    return told if isinstance(told, dict) and told.get("event") == "ready" else None


async def _drain(stream: asyncio.StreamReader) -> None:
    """Read on, so that a chatty child never blocks on a full pipe."""
    while await stream.read(1 << 16):
        pass


def _last_words(log: Path, *, octets: int = 4096) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - octets))
        lines = file.read().decode(errors="replace").strip().splitlines()
    return " | ".join(lines[-4:])[-900:] or "it said nothing."


def _measure(row: ChildStatus) -> None:
    try:
        process = psutil.Process(row.pid) if row.pid else None
        if process is None:
            return
        family = [process, *process.children(recursive=True)]
        row.rss_bytes = sum(member.memory_info().rss for member in family)
        spent = [member.cpu_times() for member in family]
        row.cpu_seconds = sum(times.user + times.system for times in spent)
    except psutil.Error:  # it ended between two looks
        return


async def _healthz(port: int) -> dict[str, int | str]:
    try:
        async with asyncio.timeout(1.0):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /healthz HTTP/1.0\r\n\r\n")
            answer = await reader.read(1 << 16)
            writer.close()
        body = json.loads(answer.partition(b"\r\n\r\n")[2])
        return dict(body["status"])
    except (OSError, TimeoutError, ValueError, KeyError):
        return {}
