"""
The ingest process: batches in, usage derived in the same transaction, a watch over what is missing.

Beside them complete days are validated, and days again of which something came late. It stands
here because it joins ingest, vee and usage, of which usage is the topmost.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import timedelta

import numpy as np

from cloud.ingest import agent as ingest_agent
from cloud.ingest.agent import IngestConfig
from cloud.ingest.agent.answers import Status
from cloud.ingest.service import Derive
from cloud.ingest.service.retention import StillNeeded
from cloud.store.clock import Clock
from cloud.store.db import Connection, Database, TransientDatabaseError
from cloud.store.rim import count, rest
from cloud.usage import service
from cloud.vee import service as vee
from cloud.vee.model import DayPolicy, Supplied, WatchPolicy
from cloud.vee.service import Changed
from protocols.identity import UsagePointId
from protocols.timeline import Interval

__all__ = ["IngestConfig", "RawSupply", "run"]

_LOG = logging.getLogger(__name__)

_LEAST_WAIT = timedelta(hours=1)
"""How long after its end a day is complete at the earliest: what the profile reads bring late."""

_TURNS_BETWEEN = 10
"""Whether a day has ended is asked every 10th turn: it takes a look at all that is installed."""


class RawSupply:
    """What the meters of usage points said, for validation."""

    def raw(
        self, conn: Connection, usage_points: Sequence[UsagePointId], span: Interval, seconds: int
    ) -> Supplied:
        """Return intervals of `seconds` and cumulative registers, both without overlay."""
        until = Interval(start=span.start, end=span.end + timedelta(milliseconds=1))
        slots, said, _ = service.raw_slots(conn, usage_points, span)
        reads, read_status = service.raw_registers(conn, usage_points, until)
        fits = slots.seconds == seconds
        return Supplied(
            point=slots.point[fits], start_ms=slots.start_ms[fits], wh=slots.wh[fits],
            status=said[fits], read_point=reads.point, read_at_ms=reads.at_ms, read_wh=reads.wh,
            read_status=read_status,
        )  # fmt: skip

    def registers(
        self, conn: Connection, usage_points: Sequence[UsagePointId], span: Interval
    ) -> Supplied:
        """Return cumulative registers alone, without overlay."""
        until = Interval(start=span.start, end=span.end + timedelta(milliseconds=1))
        reads, status = service.raw_registers(conn, usage_points, until)
        none = np.zeros(0, dtype=np.int64)
        return Supplied(
            point=none, start_ms=none, wh=none, status=none, read_point=reads.point,
            read_at_ms=reads.at_ms, read_wh=reads.wh, read_status=status,
        )  # fmt: skip

    def refresh(self, conn: Connection, usage_points: Sequence[UsagePointId]) -> None:
        """Look up the newest registers anew."""
        service.refresh(conn, usage_points)


async def run(
    config: IngestConfig,
    *,
    stop: asyncio.Event,
    ready: Callable[[], None],
    status: Status,
    derive: Derive = service.derive,
    changed: Changed | None = None,
    asked: Sequence[StillNeeded] = (),
) -> None:
    """
    Store batches, derive usage, watch for silence and validate days until `stop`.

    `changed` hears in the same transaction of every day over which something else stands now;
    `asked` are those who may still need intervals of old months.
    """
    async with asyncio.TaskGroup() as group:
        group.create_task(
            ingest_agent.run(
                config, stop=stop, ready=ready, status=status, derive=derive, asked=asked
            )
        )
        group.create_task(watch(config, stop=stop, status=status))
        group.create_task(validate(config, stop=stop, status=status, changed=changed))


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


async def validate(
    config: IngestConfig,
    *,
    stop: asyncio.Event,
    status: Status,
    leads: Callable[[], bool] = lambda: True,
    changed: Changed | None = None,
) -> None:
    """Validate complete days, and days again of which something came late, until `stop`."""
    clock = Clock(scale=config.scale)
    wait = max(_LEAST_WAIT, clock.wall_span(config.silent_after_wall_seconds))
    policy = DayPolicy(wait_ms=wait // timedelta(milliseconds=1))
    supply = RawSupply()

    def once(db: Database, turn: int) -> bool:
        if turn % _TURNS_BETWEEN == 0:
            vee.advance(db, now=clock.now(), policy=policy)
        done = vee.work_once(db, supply, now=clock.now(), policy=policy, changed=changed)
        if done is not None:
            count(status, "days_validated", done.days)
        return done is not None

    turn = 0
    with Database(config.dsn, user=config.role, application="meterloop-ingest-vee", size=1) as db:
        while not stop.is_set():
            more = False
            try:
                if leads():
                    more = await asyncio.to_thread(once, db, turn)
                    turn += 1
            except TransientDatabaseError as error:
                _LOG.warning("vee.database.away", extra={"fields": {"cause": str(error)[:200]}})
            if not more:
                await rest(stop, config.sweep_wall_seconds)
