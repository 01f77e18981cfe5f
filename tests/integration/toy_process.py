"""A small process in the frame of all others, for the tests of frame and supervisor."""

import asyncio
import logging
import sys
from collections.abc import Callable

from meterloop.frame import Part, Status, run_process


async def good(stop: asyncio.Event, ready: Callable[[], None], status: Status) -> None:
    """Serve until told to stop."""
    status["turns"] = 7
    logging.getLogger("toy").info("toy.started", extra={"fields": {"count": 1}})
    ready()
    await stop.wait()


async def slow(stop: asyncio.Event, ready: Callable[[], None], status: Status) -> None:
    """Become ready after a second."""
    await asyncio.sleep(1.0)
    await good(stop, ready, status)


async def broken(stop: asyncio.Event, ready: Callable[[], None], status: Status) -> None:
    """Fail a moment after it was ready."""
    ready()
    await asyncio.sleep(0.2)
    raise AssertionError("the toy broke")


async def stillborn(stop: asyncio.Event, ready: Callable[[], None], status: Status) -> None:
    """Fail at once."""
    raise ValueError("no key named tariff in toy.toml")


if __name__ == "__main__":
    names = sys.argv[1].split(",")
    sys.exit(run_process("toy", [Part(name=name, run=globals()[name]) for name in names]))
