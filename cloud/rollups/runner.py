"""
The worker of the distributed runner as it is started: records in, roll-ups kept by who leads.

It stands here for the reason that `cloud.rollups.agent` does.
"""

import asyncio
from collections.abc import Callable

from cloud.ingest.agent.answers import Status
from cloud.ingest.runner.settings import WorkerConfig
from cloud.rollups import service
from cloud.rollups.agent import keep
from cloud.store.rim import until_first
from cloud.usage import runner as usage_runner

__all__ = ["WorkerConfig", "run"]


async def run(
    config: WorkerConfig, *, stop: asyncio.Event, ready: Callable[[], None], status: Status
) -> None:
    """Run what `cloud.usage.runner` runs and, while leading, keep roll-ups, until `stop`."""
    await until_first(
        usage_runner.run(
            config,
            stop=stop,
            ready=ready,
            status=status,
            derive=service.derive,
            changed=service.want,
        ),
        keep(config, stop=stop, status=status, leads=lambda: status.get("leads") == 1),
    )
