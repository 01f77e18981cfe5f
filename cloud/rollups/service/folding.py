"""Months and reading cycles that follow from days: made when they end, and made anew with a day."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from cloud.assets import service as assets
from cloud.cycles.model import CycleId, CycleState, ReadSpan
from cloud.cycles.service import planning
from cloud.cycles.service import reports as cycles
from cloud.rollups.model import DayFigures, DayRollup, Mark, PeriodChange, PeriodKind, PeriodRollup
from cloud.rollups.rules import periods as rules
from cloud.rollups.store import queue, versions
from cloud.rollups.store.queue import Key
from cloud.rollups.store.versions import PeriodKey
from cloud.store.db import Connection
from protocols.identity import UsagePointId
from protocols.timeline import local_date

Span = tuple[date, date]
"""First day, and the day after the last."""

_CYCLES = 100
_ONE = timedelta(days=1)


def fold_periods(
    conn: Connection,
    changes: Mapping[Key, tuple[Mark, DayRollup | None, DayRollup]],
    now: datetime,
) -> dict[Key, list[PeriodChange]]:
    """Write the versions of months and cycles that follow from changed days; tell of each day."""
    holding: dict[PeriodKey, tuple[Span, list[Key]]] = {}
    for point, day in changes:
        span = rules.month_span(day)
        month = (point, PeriodKind.MONTH, rules.month_name(span[0]))
        holding.setdefault(month, (span, []))[1].append((point, day))
    zones = {point: after.zone for (point, _), (_, _, after) in changes.items()}
    for read in cycles.spans_of_points(conn, sorted(zones)):
        span = _days_of(read, zones[read.usage_point])
        held = [
            key for key in changes if key[0] == read.usage_point and span[0] <= key[1] < span[1]
        ]
        if held:
            holding[read.usage_point, PeriodKind.CYCLE, str(read.cycle)] = (span, held)
    found = _write(conn, {key: span for key, (span, _) in holding.items()}, now)
    told = defaultdict[Key, list[PeriodChange]](list)
    for period, change in found.items():
        for key in holding[period][1]:
            told[key].append(change)
    return {key: told[key] for key in changes}


def fold_cycles(conn: Connection, now: datetime) -> int:
    """Write the roll-ups of cycles that were closed since; return how many versions that are."""
    closed = [each.id for each in planning.cycles(conn, state=CycleState.CLOSED, limit=_CYCLES)]
    made = 0
    for id_ in sorted(set(closed) - queue.cycles_seen(conn, closed)):
        made += _fold_cycle(conn, CycleId(id_), now)
        queue.insert_cycle_seen(conn, id_, now)
    return made


def _fold_cycle(conn: Connection, id_: CycleId, now: datetime) -> int:
    reads = cycles.spans_of_cycle(conn, id_)
    points = assets.usage_points(conn, [read.usage_point for read in reads])
    zones = {each.id: each.zone for each in points}
    wanted = {
        (read.usage_point, PeriodKind.CYCLE, str(id_)): _days_of(read, zones[read.usage_point])
        for read in reads
    }
    return len(_write(conn, wanted, now))


def _days_of(read: ReadSpan, zone: str) -> Span:
    """Return the civil days from the one of the figure before up to the one of the figure."""
    place = ZoneInfo(zone)
    return local_date(read.since, place), local_date(read.until, place)


def _write(
    conn: Connection, wanted: Mapping[PeriodKey, Span], now: datetime
) -> dict[PeriodKey, PeriodChange]:
    """Write a version of each period that is whole and differs; return how each changed."""
    wanted = {key: span for key, span in wanted.items() if span[0] < span[1]}
    before = versions.periods_at(conn, sorted(wanted))
    # a month in its course is asked for, not kept; no zone is more than a day ahead
    wanted = {
        key: span
        for key, span in wanted.items()
        if key in before or span[1] - _ONE <= now.date() + _ONE
    }
    days = _days(conn, wanted)
    fresh: list[PeriodRollup] = []
    for key, span in sorted(wanted.items()):
        old = before.get(key)
        own = days[key]
        if old is None and not own:
            continue
        if old is None and key[1] is PeriodKind.MONTH and max(own) < span[1] - _ONE:
            continue
        figures = rules.fold(own, *span)
        if old is None or old.figures != figures:
            fresh.append(
                PeriodRollup(
                    usage_point=key[0], kind=key[1], name=key[2], known_at=now, figures=figures,
                    version=old.version + 1 if old else 1,
                )
            )  # fmt: skip
    if fresh:
        versions.insert_periods(conn, fresh, now)
    changed = {}
    for each in fresh:
        key = (each.usage_point, each.kind, each.name)
        old = before.get(key)
        changed[key] = PeriodChange(
            kind=each.kind, name=each.name, version=each.version,
            wh_before=old.figures.wh if old else None, wh_after=each.figures.wh,
        )  # fmt: skip
    return changed


def _days(
    conn: Connection, wanted: Mapping[PeriodKey, Span]
) -> dict[PeriodKey, dict[date, DayFigures]]:
    by_span = defaultdict[Span, list[PeriodKey]](list)
    for key, span in wanted.items():
        by_span[span].append(key)
    found: dict[PeriodKey, dict[date, DayFigures]] = {key: {} for key in wanted}
    for span, keys in by_span.items():
        rolled = defaultdict[UsagePointId, dict[date, DayFigures]](dict)
        for each in versions.days_in(conn, sorted({key[0] for key in keys}), *span):
            rolled[each.usage_point][each.day] = each.figures
        for key in keys:
            found[key] = rolled[key[0]]
    return found
