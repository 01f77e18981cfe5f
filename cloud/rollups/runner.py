"""
The worker of the distributed runner as it is started: records in, roll-ups kept beside the others.

It stands here for the reason that `cloud.rollups.agent` does.
"""

import asyncio
from collections.abc import Callable, Sequence

from cloud.ingest.agent.answers import Status
from cloud.ingest.runner.settings import WorkerConfig
from cloud.ingest.service.retention import StillNeeded
from cloud.rollups import service
from cloud.rollups.agent import keep
from cloud.store.rim import until_first
from cloud.usage import runner as usage_runner

__all__ = ["WorkerConfig", "run"]


async def run(
    config: WorkerConfig,
    *,
    stop: asyncio.Event,
    ready: Callable[[], None],
    status: Status,
    asked: Sequence[StillNeeded] = (),
) -> None:
    """
    Run what `cloud.usage.runner` runs and keep roll-ups, until `stop`.

    Before old months go, roll-ups are asked for what they still need, and so are `asked`.
    """
    await until_first(
        usage_runner.run(
            config,
            stop=stop,
            ready=ready,
            status=status,
            derive=service.derive,
            changed=service.want,
            asked=[service.needed, *asked],
        ),
        keep(config, stop=stop, status=status),
    )
