"""From configuration to what each poller is told; asked again whenever settings change."""

import asyncio
from datetime import timedelta

from edge.acquire.plan import Cadence
from edge.acquire.poll import MeterPlan
from edge.config import EdgeConfig, MeterConfig

_BUS_PATIENCE = 5
"""Logs of meters that share a line are read so many times less often: the bus is the limit."""


def plan_of(config: EdgeConfig, meter: MeterConfig) -> MeterPlan:
    """Return how one meter is read."""
    return MeterPlan(
        interval_seconds=meter.interval_seconds,
        history_from=meter.history_from,
        cadence=Cadence(
            poll=config.poll_seconds,
            watched=min(config.watched_seconds, config.poll_seconds),
            profile=config.profile_seconds,
            backfill_pause=config.backfill_pause_seconds,
            chunk=timedelta(days=config.backfill_days),
            offline=config.offline_poll_seconds,
            events=config.events_seconds * (_BUS_PATIENCE if meter.shared_line else 1),
        ),
        clock_limit=timedelta(seconds=config.clock_limit_seconds),
        clock_rules=config.clock_rules_of(meter),
    )


def turns_of(config: EdgeConfig) -> dict[str, asyncio.Semaphore]:
    """
    Return how many visits may be under way on each line.

    Who shares a line waits for that line, and must not hold up those that have their own.
    """
    lines = {meter.shared_line for meter in config.meters}
    return {line: asyncio.Semaphore(config.concurrency) for line in lines}
