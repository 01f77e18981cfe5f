"""A meter whose whole truth is known, sent in parts, for tests of validation of days."""

from collections.abc import Collection, Mapping
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from cloud.assets import service as assets
from cloud.assets.model import (
    Concentrator,
    Installation,
    Meter,
    PointKind,
    Registration,
    Transformer,
    UsagePoint,
)
from cloud.store.db import Database
from cloud.usage.agent import RawSupply
from cloud.vee import service as vee
from cloud.vee.model import DayPolicy, Validated
from protocols.identity import MeterId, TransformerId, UsagePointId
from protocols.reading import Channel
from tests.integration.ingest_kit import C1, M1, ORIGIN, SLOT, UP1, Row, a_batch, send

ZONE = ZoneInfo("Asia/Shanghai")
STEP = timedelta(seconds=SLOT)
PER_DAY = 86_400 // SLOT
FIRST = 32
"""Slots from the installation to the first midnight of the zone: the first day is a short one."""
POLICY = DayPolicy(wait_ms=3_600_000, at_once=50)


def truth(slot: int) -> int:
    """Wh of a slot after the origin: a daily shape that is a little other every day."""
    hour = slot % PER_DAY
    return 80 + 7 * hour + (40 if hour in {20, 21} else 0) + 3 * ((slot // PER_DAY) % 5)


def register(slot: int) -> int:
    """Wh of the register at the start of a slot."""
    return sum(truth(each) for each in range(slot))


def slots_of(day: int) -> range:
    """Slots after the origin of the n-th civil day, 0 the short first."""
    start = FIRST + (day - 1) * PER_DAY if day else 0
    return range(start, FIRST + day * PER_DAY)


def date_of(day: int) -> date:
    """Date of the n-th civil day."""
    return ORIGIN.astimezone(ZONE).date() + timedelta(days=day)


def end_of(day: int) -> datetime:
    """End of the n-th civil day."""
    return ORIGIN + STEP * slots_of(day).stop


def rows(
    slots: Collection[int], *, reads: Collection[int] = (), meter: MeterId = M1,
    other: Mapping[int, int] | None = None,
) -> list[Row]:  # fmt: skip
    """Intervals of the slots, and registers at the starts of those in `reads`."""
    wrong = other or {}
    return [
        (meter, Channel.IMPORT_INTERVAL_WH, ORIGIN + STEP * n, wrong.get(n, truth(n)))
        for n in slots
    ] + [(meter, Channel.IMPORT_WH, ORIGIN + STEP * n, register(n)) for n in reads]


def build_one(db: Database, *, interval_seconds: int | None = SLOT) -> None:
    """One meter at one usage point of 8 kW, installed at the origin; None: it has no profile."""
    assets.register(
        db,
        Registration(
            transformers=(Transformer(id=TransformerId("T-01")),),
            usage_points=(
                UsagePoint(
                    id=UP1, kind=PointKind.CUSTOMER, transformer=TransformerId("T-01"),
                    zone=ZONE.key, capacity_w=8000,
                ),
            ),
            concentrators=(Concentrator(id=C1),),
            meters=(
                Meter(
                    id=M1, model="x", protocol="dlms", has_relay=True, can_close_remotely=True,
                    interval_seconds=interval_seconds, control_mode=4, max_w=20_000,
                ),
            ),
            installations=(
                Installation(meter=M1, usage_point=UP1, concentrator=C1, installed_at=ORIGIN),
            ),
        ),
        now=ORIGIN,
    )  # fmt: skip


class Sender:
    """Sends batches under numbers of their own."""

    def __init__(self, db: Database) -> None:
        """Begin with the first number."""
        self.db, self.seq = db, 0

    def __call__(self, rows_: list[Row], **how: Any) -> None:
        """Send rows as one batch."""
        self.seq += 1
        send(self.db, a_batch(self.seq, rows_), **how)


def work(db: Database, day: int, **how: Any) -> Validated:
    """Validate all that is complete an hour after the end of the n-th civil day."""
    how.setdefault("policy", POLICY)
    return vee.work_all(db, RawSupply(), now=end_of(day) + timedelta(hours=1), **how)


OVERLAYS = (
    "SELECT o.usage_point, o.day, o.layer, o.seconds, o.since, o.offset_s, o.kind, o.wh, o.low_wh,"
    " o.high_wh, o.made, o.rule_hash FROM vee.overlay AS o WHERE NOT EXISTS (SELECT FROM"
    " vee.overlay AS x WHERE x.usage_point = o.usage_point AND x.day = o.day AND x.layer = o.layer"
    " AND x.seconds = o.seconds AND x.version > o.version) AND cardinality(o.kind) > 0"
    " ORDER BY 1, 2, 3, 4"
)
"""What stands of every day, whatever was said before."""

FINDINGS = (
    "SELECT usage_point, day, kind, severity, range_start, range_end, places, value, allowed,"
    " detail FROM vee.exception WHERE closed_at IS NULL AND day IS NOT NULL ORDER BY 1, 2, 3"
)


def said(db: Database, point: UsagePointId = UP1) -> dict[int, tuple[int, int]]:
    """Kind and Wh of every slot after the origin over which the machine says something."""
    with db.transaction() as conn:
        found = conn.execute(OVERLAYS).fetchall()
    return {
        (row[4] - ORIGIN) // STEP + offset // SLOT: (kind, wh)
        for row in found
        if row[0] == point and row[2] == "machine"
        for offset, kind, wh in zip(row[5], row[6], row[7], strict=True)
    }
