"""Follows control's outcomes and missing registers, raises and settles what crews have to do."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from cloud.control import agent as control_agent
from cloud.store.clock import Clock
from cloud.store.db import Database, TransientDatabaseError
from cloud.store.rim import Status, count, ended, rest
from cloud.upkeep import agent as upkeep_agent
from cloud.work import service
from protocols.timeline import TimeScale

_LOG = logging.getLogger(__name__)
_POLL_SECONDS = 0.2
_TURNS_BETWEEN = 25
"""Missing registers are a matter of days: they are looked for every 25th turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkConfig:
    """Where the database is."""

    dsn: str
    scale: TimeScale = field(default_factory=TimeScale)
    user: str = "meterloop_control"


async def run(
    config: WorkConfig,
    *,
    stop: asyncio.Event,
    ready: Callable[[], None],
    status: Status,
) -> None:
    """Follow until `stop`; a database that is away is tried again."""
    clock = Clock(scale=config.scale)
    turn = 0
    with Database(config.dsn, user=config.user, application="meterloop-work", size=1) as db:
        ready()
        while not stop.is_set():
            try:
                raised = await asyncio.to_thread(service.follow_outcomes, db, now=clock.now())
                if turn % _TURNS_BETWEEN == 0:
                    more, settled = await asyncio.to_thread(
                        service.follow_missing, db, now=clock.now()
                    )
                    raised += more
                    if settled:
                        count(status, "orders_settled", settled)
                turn += 1
            except TransientDatabaseError as error:
                cause = type(error).__name__
                _LOG.warning("work.database.away", extra={"fields": {"cause": cause}})
                raised = 0
            if raised:
                count(status, "orders_raised", raised)
                _LOG.info("work.orders.raised", extra={"fields": {"count": raised}})
            await rest(stop, _POLL_SECONDS)


async def run_with_control(
    config: control_agent.ControlConfig,
    *,
    stop: asyncio.Event,
    ready: Callable[[], None],
    status: Status,
) -> None:
    """Run control's agent, upkeep's and this one in one process; the end of one ends all."""
    follow = WorkConfig(dsn=config.dsn, scale=config.scale, user=config.user)
    upkeep = upkeep_agent.UpkeepConfig(
        dsn=config.dsn,
        broker=config.broker,
        scale=config.scale,
        user=config.user,
        client_id=f"{config.client_id}-upkeep",
    )
    tasks = [
        asyncio.ensure_future(control_agent.run(config, stop=stop, ready=ready, status=status)),
        asyncio.ensure_future(run(follow, stop=stop, ready=lambda: None, status=status)),
        asyncio.ensure_future(
            upkeep_agent.run(upkeep, stop=stop, ready=lambda: None, status=status)
        ),
    ]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        if stop.is_set():
            await asyncio.wait(tasks, timeout=10)
    finally:
        await ended(*tasks)
