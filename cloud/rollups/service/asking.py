"""What others ask of roll-ups: days, months, cycles, why they changed, and what rests on them."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta

from cloud.ingest.model import Need
from cloud.rollups.model import Change, DayRollup, KeptDay, PeriodKind, PeriodRollup, Recompute
from cloud.rollups.rules import periods as rules
from cloud.rollups.service.terms import Finder
from cloud.rollups.store import queue, recomputes, versions
from cloud.store.db import Connection, Database
from protocols.identity import UsagePointId

_LOOK = 500
_NEEDS = {"day": "days that are not rolled up yet", "zone": "zones whose days are not all listed"}


def days(
    conn: Connection,
    usage_points: Sequence[UsagePointId],
    first: date,
    until: date,
    *,
    as_of: datetime | None = None,
) -> list[DayRollup]:
    """
    Return the roll-ups of days in `[first, until)` by point and day; a day without one is absent.

    With `as_of` they are those that were told at that time, whatever came later.
    """
    return versions.days_in(conn, usage_points, first, until, as_of)


def versions_of_day(conn: Connection, usage_point: UsagePointId, day: date) -> list[DayRollup]:
    """Return every version of one day, oldest first."""
    return versions.versions_of_day(conn, usage_point, day)


def periods(
    conn: Connection,
    usage_point: UsagePointId,
    kind: PeriodKind,
    first: date,
    until: date,
    *,
    as_of: datetime | None = None,
) -> list[PeriodRollup]:
    """Return the kept roll-ups of a kind that touch `[first, until)`, oldest first."""
    return versions.periods_of(conn, usage_point, kind, (first, until), as_of)


def month(
    conn: Connection, usage_point: UsagePointId, day: date, *, as_of: datetime | None = None
) -> PeriodRollup | None:
    """
    Return the month that holds `day`: as kept, or, while it runs, of its days so far (version 0).

    None where no day of it was rolled up.
    """
    first, until = rules.month_span(day)
    name = rules.month_name(first)
    key = (usage_point, PeriodKind.MONTH, name)
    kept = versions.periods_at(conn, [key], as_of).get(key)
    if kept is not None:
        return kept
    found = versions.days_in(conn, [usage_point], first, until, as_of)
    if not found:
        return None
    return PeriodRollup(
        usage_point=usage_point, kind=PeriodKind.MONTH, name=name, version=0,
        known_at=max(each.known_at for each in found),
        figures=rules.fold({each.day: each.figures for each in found}, first, until),
    )  # fmt: skip


def recomputes_of(
    conn: Connection, usage_point: UsagePointId, day: date | None = None, *, limit: int = 100
) -> list[Recompute]:
    """Return why days of a point have other versions, newest first, with all that rests on them."""
    return recomputes.recomputes_of(conn, usage_point, day, limit)


def kept_of(
    conn: Connection, usage_point: UsagePointId, day: date | None = None, *, limit: int = 100
) -> list[KeptDay]:
    """Return days of a point that were to be looked at again after their intervals were let go."""
    return recomputes.kept_of(conn, usage_point, day, limit)


def waiting(conn: Connection, now: datetime) -> tuple[int, int, int]:
    """Return transactions not looked at yet, days that wait, and those of them that are due."""
    return queue.waiting(conn, now)


def needed(conn: Connection, until: date, _now: datetime) -> list[Need]:
    """
    Return which days before `until` wait to be rolled up: their intervals are still needed.

    A civil day may begin a day before the UTC day of its name, so one day more is asked for.
    """
    return [
        Need(who="rollups", what=_NEEDS[kind], count=count, first_day=first, example=one)
        for kind, count, first, one in queue.waiting_before(conn, until + timedelta(days=1))
    ]


def find_dependents(db: Database, finder: Finder, *, now: datetime) -> int:
    """
    Ask `finder` what had used the days of recomputes that nobody asked about; return how many.

    Idempotent: what was asked about once is never asked about again.
    """
    with db.transaction() as conn:
        found = recomputes.unlooked(conn, _LOOK)
        if not found:
            return 0
        told = finder(
            conn,
            [
                Change(
                    usage_point=each.after.usage_point, day=each.after.day, zone=each.after.zone,
                    before=each.before.figures if each.before else None,
                    after=each.after.figures, at=each.after.known_at,
                )
                for each in found
            ],
        )  # fmt: skip
        answers = {each.id: answer for each, answer in zip(found, told, strict=True)}
        recomputes.insert_dependents(conn, answers, now)
        return len(found)
