"""The nightly hand of ingest: days that are past are packed, months past the policy are let go."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import Protocol

from cloud.ingest import service
from cloud.ingest.rules.retention import RetentionPolicy
from cloud.ingest.service import retention
from cloud.ingest.service.retention import StillNeeded
from cloud.store.clock import Clock
from cloud.store.db import Database, TransientDatabaseError
from protocols.errors import RefusedError

_ACTOR = "system:ingest"
_LOG = logging.getLogger(__name__)


class Keeping(Protocol):
    """What of a configuration this needs. *Units*: wall seconds; `retain_hour` is a UTC hour."""

    @property
    def keep_wall_seconds(self) -> float:
        """How often days are looked after."""

    @property
    def retain_hour(self) -> int:
        """When in the night months are looked after, once a day."""

    @property
    def retention(self) -> RetentionPolicy:
        """How long what is kept."""


async def keep(
    config: Keeping,
    db: Database,
    clock: Clock,
    *,
    count: Callable[[str], None],
    leads: Callable[[], bool] = lambda: True,
    asked: Sequence[StillNeeded] = (),
) -> None:
    """
    Pack and drop for ever, while `leads`; what fails waits for the next time.

    `asked` are those who may still need the intervals of a month.
    """
    night: date | None = None
    while True:
        await asyncio.sleep(config.keep_wall_seconds)
        if not leads():
            continue
        try:
            await asyncio.to_thread(_close, config, db, clock, count)
            now = clock.now()
            if now.hour == config.retain_hour and now.date() != night:
                await asyncio.to_thread(_retain, config, db, clock, count, asked)
                night = now.date()
        except TransientDatabaseError as error:
            _LOG.warning("ingest.days.waiting", extra={"fields": {"cause": str(error)[:200]}})


def _close(config: Keeping, db: Database, clock: Clock, count: Callable[[str], None]) -> None:
    span = timedelta(days=config.retention.rows_days)
    for day, rows in service.close_past_days(db, now=clock.now(), keep=span).items():
        count("days_packed")
        _LOG.info("ingest.day.packed", extra={"fields": {"day": day.isoformat(), "rows": rows}})


def _retain(
    config: Keeping,
    db: Database,
    clock: Clock,
    count: Callable[[str], None],
    asked: Sequence[StillNeeded],
) -> None:
    with db.transaction() as conn:
        found = retention.due(conn, config.retention)
        needs = retention.needed(conn, found.due[0], asked, now=clock.now()) if found.due else []
    for need in needs:
        fields = {"who": need.who, "what": need.what, "count": need.count,
                  "first_day": need.first_day.isoformat()}  # fmt: skip
        _LOG.warning("ingest.month.needed", extra={"fields": fields})
    for month in found.waiting:
        _LOG.warning("ingest.month.unreleased", extra={"fields": {"month": f"{month:%Y-%m}"}})
    try:
        gone = retention.retain(db, config.retention, actor=_ACTOR, now=clock.now(), asked=asked)
    except RefusedError as error:
        _LOG.warning("ingest.month.kept", extra={"fields": {"cause": str(error)[:300]}})
        return
    for month, went in gone.items():
        count("months_dropped")
        _LOG.info(
            "ingest.month.dropped",
            extra={"fields": {"month": f"{month:%Y-%m}", "readings": went.readings}},
        )
