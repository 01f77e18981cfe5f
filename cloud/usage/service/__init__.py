"""
The one door to consumption: registers, intervals, days, averages of a usage point.

Usage is raw by reference: segments say which meter's figures speak for a usage point when, and over
them stands what validation or a person says (`cloud.vee`). Every read takes `as_of`, a time of
knowledge: the answer is then the one that was given at that time. None is now.
"""

from datetime import datetime

from cloud.ingest import service as ingest
from cloud.ingest.service import Derive
from cloud.store.db import Database
from cloud.usage.service.days import average_daily_wh, daily
from cloud.usage.service.deriving import derive
from cloud.usage.service.instants import (
    AtInstants,
    at_instants,
    first_register,
    latest_registers,
    register_at,
    registers_at_each,
)
from cloud.usage.service.matrices import matrix
from cloud.usage.service.proving import contradictions
from cloud.usage.service.reading import (
    interval_columns,
    intervals,
    raw_registers,
    raw_slots,
    register_columns,
    registers,
    segments_of,
)
from cloud.usage.service.segments import (
    apply_ratio,
    change_ratio,
    check_ratio,
    rebuild,
    rebuild_many,
    refresh,
)

__all__ = [
    "AtInstants", "apply_ratio", "at_instants", "average_daily_wh", "change_ratio", "check_ratio",
    "contradictions", "daily",
    "derive",
    "first_register", "interval_columns", "intervals", "latest_registers", "matrix",
    "raw_registers", "raw_slots", "rebuild", "rebuild_many", "redrive", "refresh",
    "register_at", "register_columns", "registers", "registers_at_each", "segments_of",
]  # fmt: skip


def redrive(
    db: Database,
    quarantine_id: int,
    *,
    actor: str,
    now: datetime,
    wall_now: datetime,
    derive: Derive = derive,
) -> int:
    """
    Judge a quarantined row or payload once more and derive usage from it; return rows stored.

    Raises: RefusedError with the cause that still stands, or when it is settled or unknown.
    """
    account = ingest.redrive(
        db, quarantine_id, actor=actor, now=now, wall_now=wall_now, derive=derive
    )
    return account.stored
