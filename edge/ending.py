"""Ending tasks of the agent for certain."""

import asyncio
from typing import Any

_CANCEL_AGAIN = 7.0


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
        _, going = await asyncio.wait(going, timeout=_CANCEL_AGAIN)
    for task in tasks:
        # looked at, so that nobody reports it as never looked at
        _ = task.cancelled() or task.exception()
