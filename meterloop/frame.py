"""
The frame of every process: JSON logs, signals, a ready line, `/healthz` on a loopback port.

A process is one or more long-running parts. It is ready when each part is, it ends when a signal
asks, and a part that fails takes the process with it: the supervisor starts it again.
"""

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

_HOST = "127.0.0.1"
_END_DEADLINE = 8.0
_LOG = logging.getLogger(__name__)

Status = MutableMapping[str, int | str]
Runner = Callable[[asyncio.Event, Callable[[], None], Status], Awaitable[None]]
"""Runs until the event is set; calls back once it serves; keeps its counters in the mapping."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One long-running coroutine of a process."""

    name: str
    run: Runner


@dataclass(slots=True, kw_only=True)
class _State:
    """What `/healthz` tells."""

    process: str
    waiting: set[str]
    status: dict[str, dict[str, int | str]] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        return not self.waiting

    def as_json(self) -> bytes:
        counters: dict[str, int | str] = {}
        for name, values in self.status.items():
            prefix = f"{name}." if len(self.status) > 1 else ""
            counters |= {f"{prefix}{key}": value for key, value in values.items()}
        body = {"process": self.process, "ready": self.ready, "status": counters}
        return json.dumps(body).encode()


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, event, and the fields the caller gave."""

    def __init__(self, process: str) -> None:
        """Name the process in every line."""
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "event": record.getMessage(),
        }
        fields = getattr(record, "fields", None)
        if isinstance(fields, Mapping):
            line |= {key: value for key, value in fields.items() if key not in line}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def log_as_json(process: str, *, level: int = logging.INFO) -> None:
    """Send every log record to standard error as JSON lines."""
    rim = logging.StreamHandler(sys.stderr)
    rim.setFormatter(JsonLines(process))
    root = logging.getLogger()
    root.handlers[:] = [rim]
    root.setLevel(level)
    for noisy in ("httpx", "httpcore", "uvicorn.access", "psycopg.pool", "pymodbus", "mqtt"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def run_process(name: str, parts: Sequence[Part], *, told: Mapping[str, Any] | None = None) -> int:
    """
    Run `parts` as the process `name` until SIGTERM or SIGINT and return the exit code.

    `told` is added to the ready line; it must hold no secret.
    """
    log_as_json(name)
    return asyncio.run(_run(name, parts, dict(told or {})))


async def _run(name: str, parts: Sequence[Part], told: dict[str, Any]) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    state = _State(process=name, waiting={part.name for part in parts})
    server = await asyncio.start_server(
        lambda reader, writer: _answer(state, reader, writer),
        _HOST,
        int(os.environ.get("METERLOOP_HEALTHZ_PORT", "0")),
    )
    port = server.sockets[0].getsockname()[1]

    def ready(part: str) -> None:
        if part in state.waiting:
            state.waiting.discard(part)
            if state.ready:
                line = {"event": "ready", "process": name, "pid": os.getpid(), "healthz": port}
                sys.stdout.write(json.dumps(line | told) + "\n")
                sys.stdout.flush()

    def start(part: Part) -> asyncio.Task[None]:
        status = state.status.setdefault(part.name, {})

        async def body() -> None:
            await part.run(stop, lambda: ready(part.name), status)

        return asyncio.create_task(body(), name=part.name)

    tasks = [start(part) for part in parts]
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
    asked = stop.is_set()
    stop.set()
    _, late = await asyncio.wait(tasks, timeout=_END_DEADLINE)
    for task in late:
        _LOG.warning("frame.part_ended_late", extra={"fields": {"part": task.get_name()}})
        task.cancel()
    server.close()
    stopping.cancel()
    return _verdict(tasks, asked=asked)


def _verdict(tasks: Sequence[asyncio.Task[None]], *, asked: bool) -> int:
    failed = False
    for task in tasks:
        error = task.exception() if task.done() and not task.cancelled() else None
        if error is not None:
            failed = True
            _LOG.error(
                "frame.part_failed", exc_info=error, extra={"fields": {"part": task.get_name()}}
            )
        elif not asked:
            _LOG.error("frame.part_ended", extra={"fields": {"part": task.get_name()}})
    return 1 if failed or not asked else 0


async def _answer(
    state: _State, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Answer one request of HTTP/1.0: 200 when ready, 503 before, 404 elsewhere."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        async with asyncio.timeout(2):
            request = await reader.readuntil(b"\r\n\r\n")
        path = [*request.split(b" ", 2), b""][1]
        if path == b"/healthz":
            code, body = ("200 OK" if state.ready else "503 Starting"), state.as_json()
        else:
            code, body = "404 Not Found", b"{}"
        head = f"HTTP/1.0 {code}\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()
    writer.close()
