"""
The worker of the distributed runner: records in, usage derived in the same transaction, one watch.

It stands here for the reason that `cloud.usage.agent` does. Only the worker that holds the first
partition watches for silence and validates days: in each of them the same things would be found.
"""

import asyncio
from collections.abc import Callable

from cloud.ingest.agent.answers import Status
from cloud.ingest.runner import worker
from cloud.ingest.runner.settings import WorkerConfig
from cloud.ingest.service import Derive
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
) -> None:
    """Store records, derive usage and, while leading, watch and validate days until `stop`."""

    def leads() -> bool:
        return status.get("leads") == 1

    async with asyncio.TaskGroup() as group:
        group.create_task(worker.run(config, stop=stop, ready=ready, status=status, derive=derive))
        group.create_task(watch(config, stop=stop, status=status, leads=leads))
        group.create_task(validate(config, stop=stop, status=status, leads=leads, changed=changed))
