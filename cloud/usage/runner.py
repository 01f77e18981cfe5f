"""
The worker of the distributed runner: records in, usage derived in the same transaction, one watch.

It stands here for the reason that `cloud.usage.agent` does. Only the worker that holds the first
partition watches for silence, validates days, packs past days and lets old months go: each of them
would find the same things at once.
"""

import asyncio
from collections.abc import Callable, Sequence

from cloud.ingest.agent.answers import Status
from cloud.ingest.agent.keeping import keep
from cloud.ingest.runner import worker
from cloud.ingest.runner.settings import WorkerConfig
from cloud.ingest.service import Derive
from cloud.ingest.service.retention import StillNeeded
from cloud.store.clock import Clock
from cloud.store.db import Database
from cloud.store.rim import count, until_first
from cloud.usage import service
from cloud.usage.agent import validate, watch
from cloud.vee.service import Changed

__all__ = ["WorkerConfig", "run"]


async def run(
    config: WorkerConfig,
    *,
    stop: asyncio.Event,
    ready: Callable[[], None],
    status: Status,
    derive: Derive = service.derive,
    changed: Changed | None = None,
    asked: Sequence[StillNeeded] = (),
) -> None:
    """Store records, derive usage and, while leading, watch and validate days until `stop`."""

    def leads() -> bool:
        return status.get("leads") == 1

    async with asyncio.TaskGroup() as group:
        group.create_task(worker.run(config, stop=stop, ready=ready, status=status, derive=derive))
        group.create_task(watch(config, stop=stop, status=status, leads=leads))
        group.create_task(validate(config, stop=stop, status=status, leads=leads, changed=changed))
        group.create_task(_keep(config, stop=stop, status=status, leads=leads, asked=asked))


async def _keep(
    config: WorkerConfig,
    *,
    stop: asyncio.Event,
    status: Status,
    leads: Callable[[], bool],
    asked: Sequence[StillNeeded],
) -> None:
    """Pack past days and let old months go while leading, until `stop`."""
    with Database(config.dsn, user=config.role, application="meterloop-keeper", size=1) as db:
        await until_first(
            keep(
                config, db, Clock(scale=config.scale),
                count=lambda name: count(status, name), leads=leads, asked=asked,
            ),
            stop.wait(),
        )  # fmt: skip
