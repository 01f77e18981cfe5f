"""
The ingest process as it is started: readings in, usage derived, figures by hand brought along.

It stands here because cycles is the topmost of what runs there.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

from cloud.cycles.service import delivering
from cloud.ingest.service import Derive
from cloud.ingest.service.retention import StillNeeded
from cloud.store.clock import Clock
from cloud.store.db import Database
from cloud.store.rim import Rows, Status, count, rest, until_first
from cloud.usage import agent as usage_agent
from cloud.usage import service as usage
from cloud.usage.agent import IngestConfig
from cloud.vee.service import Changed

__all__ = ["IngestConfig", "run"]

_LOG = logging.getLogger(__name__)
_POLL_SECONDS = 1.0


async def run(
    config: IngestConfig,
    *,
    stop: asyncio.Event,
    ready: Callable[[], None],
    status: Status,
    derive: Derive = usage.derive,
    changed: Changed | None = None,
    asked: Sequence[StillNeeded] = (),
) -> None:
    """Run what `cloud.usage.agent` runs, and deliver believed figures, until `stop`."""
    await until_first(
        usage_agent.run(
            config,
            stop=stop,
            ready=ready,
            status=status,
            derive=derive,
            changed=changed,
            asked=asked,
        ),
        _deliver(config, stop=stop, status=status, derive=derive),
    )


async def _deliver(
    config: IngestConfig, *, stop: asyncio.Event, status: Status, derive: Derive
) -> None:
    clock = Clock(scale=config.scale)
    rows = Rows("cycles", _LOG, status)
    with Database(config.dsn, user=config.role, application="meterloop-cycles", size=1) as db:
        while not stop.is_set():
            brought = await rows.ask(delivering.deliver, db, clock, derive=derive)
            if brought:
                count(status, "figures_by_hand", brought)
            await rest(stop, _POLL_SECONDS)
