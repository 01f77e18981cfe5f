"""
The ingest process: batches in, usage derived in the same transaction, a watch over what is missing.

It stands here because it joins ingest, vee and usage, of which usage is the topmost.
"""

import asyncio
import logging
from collections.abc import Callable

from cloud.ingest import agent as ingest_agent
from cloud.ingest.agent import IngestConfig
from cloud.ingest.agent.answers import Status
from cloud.store.clock import Clock
from cloud.store.db import Database, TransientDatabaseError
from cloud.store.rim import count, rest
from cloud.usage import service
from cloud.vee import service as vee
from cloud.vee.model import WatchPolicy

__all__ = ["IngestConfig", "run"]

_LOG = logging.getLogger(__name__)


async def run(
    config: IngestConfig, *, stop: asyncio.Event, ready: Callable[[], None], status: Status
) -> None:
    """Store batches, derive usage and watch for silence until `stop`."""
    async with asyncio.TaskGroup() as group:
        group.create_task(
            ingest_agent.run(config, stop=stop, ready=ready, status=status, derive=service.derive)
        )
        group.create_task(watch(config, stop=stop, status=status))


async def watch(
    config: IngestConfig,
    *,
    stop: asyncio.Event,
    status: Status,
    leads: Callable[[], bool] = lambda: True,
) -> None:
    """
    Open and close exceptions while `leads`, until `stop`.

    It starts late, so that our own absence is not their silence.
    """
    clock = Clock(scale=config.scale)
    policy = WatchPolicy(
        silent_after_ms=int(
            clock.wall_span(config.silent_after_wall_seconds).total_seconds() * 1000
        ),
        missing_days=config.missing_days,
    )
    with Database(config.dsn, user=config.role, application="meterloop-ingest-watch", size=1) as db:
        await rest(stop, config.silent_after_wall_seconds)
        while not stop.is_set():
            try:
                if leads():
                    await asyncio.to_thread(vee.sweep, db, policy=policy, now=clock.now())
                    count(status, "sweeps")
            except TransientDatabaseError as error:
                _LOG.warning("vee.database.away", extra={"fields": {"cause": str(error)[:200]}})
            await rest(stop, config.sweep_wall_seconds)
