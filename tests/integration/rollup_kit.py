"""Roll-ups in tests: batches stored as the process does, turns, and an oracle written apart."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from cloud.ingest import service as ingest
from cloud.rollups import service as rollups
from cloud.store.db import Database
from protocols.mqtt.uplink import DataBatch
from tests.integration.ingest_kit import (
    M1,
    M2,
    ORIGIN,
    ROLLOVER_WH,
    SLOT,
    UP1,
    UP2,
    Row,
    arrival_of,
    payload_of,
)

ZONE = ZoneInfo("Asia/Shanghai")
LATER = ORIGIN + timedelta(days=60)
POINTS = {M1: UP1, M2: UP2}

DAYS = (
    "SELECT DISTINCT ON (usage_point, day) usage_point, day, zone, slots, missing, interval_wh,"
    " slot_qualities, from_at, from_wh, from_quality, to_at, to_wh, to_quality, basis, wh"
    " FROM rollups.day ORDER BY usage_point, day, version DESC"
)
PERIODS = (
    "SELECT DISTINCT ON (usage_point, kind, name) usage_point, kind, name, first_day, until_day,"
    " days, days_told, slots, missing, slot_qualities, register_qualities, bases, interval_wh,"
    " from_at, from_wh, to_at, to_wh, wh"
    " FROM rollups.period ORDER BY usage_point, kind, name, version DESC"
)
"""What holds now, without version and knowledge time: those tell the story, not the result."""


def deliver(db: Database, batch: DataBatch, *, now: datetime = LATER) -> Any:
    """Store a batch as the process does: usage derived, ended days noted."""
    arrival = arrival_of(
        payload_of(batch), concentrator=batch.id.concentrator, hint=batch.id, now=now
    )
    return ingest.store_batch(db, arrival, derive=rollups.derive)


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a day must be. *Units*: Wh."""

    slots: int
    missing: int
    interval_wh: int | None
    opening: tuple[datetime, int] | None
    closing: tuple[datetime, int] | None

    @property
    def wh(self) -> int | None:
        """The energy of the day."""
        if self.opening and self.closing:
            return self.closing[1] - self.opening[1]
        return self.interval_wh


def oracle(rows: Iterable[Row], day: date, meter: str) -> Expected:
    """A day of one meter of the kit, hung at the origin, reckoned reading by reading."""
    begin = datetime(day.year, day.month, day.day, tzinfo=ZONE).astimezone(UTC)
    after = day + timedelta(days=1)
    end = datetime(after.year, after.month, after.day, tzinfo=ZONE).astimezone(UTC)
    read = sorted({(at, wh) for m, channel, at, wh in rows if m == meter and channel == 1})
    total, before, climbed = 0, None, list[tuple[datetime, int]]()
    for at, wh in read:
        step = wh if before is None else wh - before
        total += step + (ROLLOVER_WH if step < 0 else 0)
        before = wh
        climbed.append((at, total))
    closing = [each for each in climbed if each[0] <= end]
    opening = [each for each in climbed if each[0] <= begin] or closing[:1]
    held = {at: wh for m, channel, at, wh in rows if m == meter and channel == 3}
    starts = []
    at = begin
    while at < end:
        if at >= ORIGIN:
            starts.append(at)
        at += timedelta(seconds=SLOT)
    there = [held[at] for at in starts if at in held]
    if not opening:
        first = None
    elif opening[-1][0] <= begin:
        first = opening[-1]
    else:
        first = opening[0]
    return Expected(
        slots=len(starts), missing=len(starts) - len(there),
        interval_wh=sum(there) if there else None,
        opening=first, closing=closing[-1] if closing else None,
    )  # fmt: skip


def days_touched(rows: Sequence[Row], meter: str) -> list[date]:
    """The days that readings of a meter lie in, and all between."""
    seen = [at.astimezone(ZONE).date() for m, _, at, _ in rows if m == meter]
    first, last = min(seen), max(seen)
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]
