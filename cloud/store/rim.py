"""
What the agents of the cloud have in common: rests, work side by side, sessions, calls to rows.

Broker and database may go away at any time and come back; an agent outlives both.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any

import aiomqtt

from cloud.store.broker import client_of
from cloud.store.db import TransientDatabaseError
from protocols.mqtt.broker import BrokerAddress

FIRST_PAUSE = 0.2
LONGEST_PAUSE = 5.0
CANCEL_AGAIN = 7.0

Status = MutableMapping[str, int | str]


def count(status: Status, name: str, number: int = 1) -> None:
    """Add to a number that `status` shows."""
    status[name] = int(status.get(name, 0)) + number


async def rest(stop: asyncio.Event, seconds: float) -> None:
    """Wait so long, or until `stop`. *Units*: wall seconds."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


async def until_first(*work: Coroutine[Any, Any, Any]) -> None:
    """Work side by side until one ends; the others are cancelled. Raises what the one raised."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await ended(*tasks)
    for task in done:
        task.result()


async def ended(*tasks: asyncio.Future[Any]) -> None:
    """
    Cancel tasks until each has ended; what they raise stays with them.

    Once is not always enough: `asyncio.wait_for` of Python 3.11, under many a library's call, loses
    a cancel that comes at the moment its wait is over, and the task goes on as if nobody had asked.
    The second time is later than any last words.
    """
    going = {task for task in tasks if not task.done()}
    while going:
        for task in going:
            task.cancel()
        _, going = await asyncio.wait(going, timeout=CANCEL_AGAIN)
    for task in tasks:
        # looked at, so that nobody reports it as never looked at
        _ = task.cancelled() or task.exception()


async def keep_session(
    broker: BrokerAddress,
    client_id: str,
    serve: Callable[[aiomqtt.Client], Awaitable[None]],
    *,
    stop: asyncio.Event,
    lost: Callable[[str], None],
) -> None:
    """
    Connect and `serve` until `stop`; when the broker goes away, say so to `lost` and try again.

    Pauses grow from 0.2 to 5 seconds while nobody answers.
    """
    pause = FIRST_PAUSE
    while not stop.is_set():
        try:
            async with client_of(broker, client_id) as client:
                pause = FIRST_PAUSE
                await serve(client)
        except (aiomqtt.MqttError, OSError) as error:
            lost(str(error)[:200])
        await rest(stop, pause)
        pause = min(pause * 2, LONGEST_PAUSE)


class Rows:
    """Blocking calls to the database, made in threads; None is the answer while it is away."""

    def __init__(self, agent: str, log: logging.Logger, status: Status) -> None:
        """Say who calls: `agent` begins the names of its log events."""
        self._away = f"{agent}.database.away"
        self._log = log
        self._status = status

    async def ask(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return what a blocking call returns, or None while the database is away."""
        try:
            return await asyncio.to_thread(call, *args, **kwargs)
        except TransientDatabaseError as error:
            count(self._status, "database_away")
            self._log.warning(self._away, extra={"fields": {"cause": type(error).__name__}})
            await asyncio.sleep(FIRST_PAUSE)
            return None
