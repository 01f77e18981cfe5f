"""
Letting the intervals of old months go: counted, after somebody's word, and never silently.

    here -> released (exported, or declared needless) -> dropped        registers stay for ever

Whoever computes with intervals is asked before each month goes: days that are not rolled up yet,
use that is not billed, runs that are open, bills in dispute keep it.

What is due follows from the policy and from the day that readings have reached by their own
instants: a clock of ours that runs ahead lets nothing go. The database refuses whatever the
migration lists, so that neither this code nor a hand at the console can be wrong about it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol

from cloud.ingest.model import MonthCount, MonthKept, Need, Refusal
from cloud.ingest.rules.retention import MonthPart, RetentionPolicy, months_due, next_month
from cloud.ingest.store import retention as store
from cloud.store import audit
from cloud.store.db import Connection, Database
from protocols.errors import RefusedError


class StillNeeded(Protocol):
    """Who computes with intervals: roll-ups here, and billing, which this code does not know."""

    def __call__(self, conn: Connection, until: date, now: datetime, /) -> Sequence[Need]:
        """Return what needs intervals of UTC days before `until`; nothing where none does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What a policy says of what is here. `due` and `waiting` are oldest first."""

    reached: date | None
    keep_from: date | None
    kept: tuple[MonthKept, ...]
    due: tuple[date, ...]
    waiting: tuple[date, ...]
    """Due, and neither exported nor declared needless: they stay, and so do later ones."""


def due(conn: Connection, policy: RetentionPolicy) -> Due:
    """Return which months are past the policy, and which of them nobody has released."""
    kept = store.months_kept(conn)
    reached = store.reached_day(conn)
    keep_from = policy.keep_from(reached)
    past = months_due([each.month for each in kept], keep_from)
    released = {each.month for each in kept if each.how}
    return Due(
        reached=reached, keep_from=keep_from, kept=tuple(kept), due=tuple(past),
        waiting=tuple(month for month in past if month not in released),
    )  # fmt: skip


def needed(
    conn: Connection, month: date, asked: Sequence[StillNeeded], *, now: datetime
) -> list[Need]:
    """Return why the intervals of a month, and of those before it, may not go."""
    return [need for ask in asked for need in ask(conn, next_month(month), now)]


def retain(
    db: Database,
    policy: RetentionPolicy,
    *,
    actor: str,
    now: datetime,
    asked: Sequence[StillNeeded] = (),
) -> dict[date, MonthCount]:
    """
    Drop every month that is due and released, oldest first; return what went.

    Stops at the first that is not released or that any of `asked` still needs. Raises:
    RefusedError KEPT or BUSY; what went before that is gone for good, each month in a transaction
    of its own with its audit row.
    """
    with db.transaction() as conn:
        found = due(conn, policy)
    gone: dict[date, MonthCount] = {}
    for month in found.due:
        if month in found.waiting or found.keep_from is None:
            break
        with db.transaction() as conn:
            if needed(conn, month, asked, now=now):
                break
            went = store.drop_month(conn, month, keep_from=found.keep_from, actor=actor, now=now)
            if went is None:
                continue
            audit.record(
                conn, at=now, actor=actor, action="ingest.month_dropped", entity="readings_month",
                entity_id=f"{month:%Y-%m}", before=_plain(went),
                reason=f"packed_months {policy.packed_months}",
            )  # fmt: skip
        gone[month] = went
    return gone


def release(
    conn: Connection,
    month: date,
    *,
    how: str,
    evidence: str,
    readings: int,
    actor: str,
    now: datetime,
) -> None:
    """
    Write down that a month may go: `exported` with its digest, or `declared` with a reason.

    Raises: RefusedError UNKNOWN where no intervals of it are here.
    """
    if month not in {each.month for each in store.months_kept(conn)}:
        raise RefusedError(
            Refusal.UNKNOWN, f"no packed intervals of {month:%Y-%m} are here",
            fix="meterloop readings retain --dry-run lists the months",
        )  # fmt: skip
    store.release_month(
        conn, month, how=how, evidence=evidence, readings=readings, actor=actor, now=now
    )
    audit.record(
        conn, at=now, actor=actor, action="ingest.month_released", entity="readings_month",
        entity_id=f"{month:%Y-%m}", after={"how": how, "readings": readings}, reason=evidence,
    )  # fmt: skip


def count_month(conn: Connection, month: date) -> MonthCount:
    """Return how many packed intervals a month has."""
    return store.count_month(conn, month)


def parts_of_month(conn: Connection, month: date) -> Iterator[list[MonthPart]]:
    """Yield the packed intervals of a month for an export, some series at a time."""
    return store.parts_of_month(conn, month)


def kept_from(conn: Connection) -> date | None:
    """Return the first day of which intervals are kept; None while every day is."""
    return store.kept_from(conn)


def _plain(count: MonthCount) -> dict[str, int]:
    return {
        "series_days": count.series_days, "readings": count.readings, "octets": count.octets,
    }  # fmt: skip


__all__: Sequence[str] = (
    "Due", "StillNeeded", "count_month", "due", "kept_from", "needed", "parts_of_month", "release",
    "retain",
)  # fmt: skip
