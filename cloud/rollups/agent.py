"""
The ingest process as it is started: readings in, days validated, roll-ups kept right.

It stands here because rollups is the topmost of what runs there.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

from cloud.cycles import agent as cycles_agent
from cloud.ingest.service.retention import StillNeeded
from cloud.rollups import service
from cloud.store.clock import Clock
from cloud.store.db import Database
from cloud.store.rim import Rows, Status, count, rest, until_first
from cloud.usage.agent import IngestConfig

__all__ = ["IngestConfig", "keep", "run"]

_LOG = logging.getLogger(__name__)
_POLL_SECONDS = 1.0


async def run(
    config: IngestConfig,
    *,
    stop: asyncio.Event,
    ready: Callable[[], None],
    status: Status,
    asked: Sequence[StillNeeded] = (),
) -> None:
    """
    Run what `cloud.cycles.agent` runs, and keep roll-ups, until `stop`.

    Before old months go, roll-ups are asked for what they still need, and so are `asked`.
    """
    await until_first(
        cycles_agent.run(
            config, stop=stop, ready=ready, status=status, derive=service.derive,
            changed=service.want, asked=[service.needed, *asked],
        ),
        keep(config, stop=stop, status=status),
    )  # fmt: skip


async def keep(
    config: IngestConfig,
    *,
    stop: asyncio.Event,
    status: Status,
) -> None:
    """Roll up what is due until `stop`; each turn takes parts that no other process has."""
    clock = Clock(scale=config.scale)
    rows = Rows("rollups", _LOG, status)
    with Database(config.dsn, user=config.role, application="meterloop-rollups", size=1) as db:
        while not stop.is_set():
            done = await rows.ask(service.turn, db, now=clock.now())
            if done is not None:
                kept, more = done
                count(status, "rolled_up", kept.days)
                count(status, "recomputed", kept.recomputes)
                if more:
                    continue
            await rest(stop, _POLL_SECONDS)
