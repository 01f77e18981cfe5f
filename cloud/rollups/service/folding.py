"""Months and reading cycles that follow from days: made when they end, and made anew with a day."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from cloud.assets import service as assets
from cloud.cycles.model import CycleId, CycleState, ReadSpan
from cloud.cycles.service import planning
from cloud.cycles.service import reports as cycles
from cloud.rollups.model import PeriodChange, PeriodFigures, PeriodKind, PeriodRollup
from cloud.rollups.rules import periods as rules
from cloud.rollups.store import columns, queue, versions
from cloud.rollups.store.queue import Key, Lot
from cloud.rollups.store.versions import PeriodKey
from cloud.store.db import Connection
from protocols.identity import UsagePointId
from protocols.timeline import Interval, local_date, local_day

Span = tuple[date, date]
"""First day, and the day after the last."""

_CYCLES = 100
_ONE = timedelta(days=1)


def fold_periods(
    conn: Connection, changed: Mapping[Key, str], now: datetime
) -> tuple[int, dict[Key, list[PeriodChange]]]:
    """
    Write the versions of months and cycles that follow from changed days, by the day's zone.

    Returns how many versions that are, and of each day the periods that changed with it.
    """
    holding: dict[PeriodKey, tuple[Span, list[Key]]] = {}
    months: dict[date, Span | None] = {}
    for point, day in changed:
        if day not in months:
            span = rules.month_span(day)
            # no zone is more than a day ahead; a month in its course is asked for, never kept
            months[day] = span if span[1] - _ONE <= now.date() + _ONE else None
        span_of_day = months[day]
        if span_of_day is not None:
            month = (point, PeriodKind.MONTH, rules.month_name(span_of_day[0]))
            holding.setdefault(month, (span_of_day, []))[1].append((point, day))
    _hold_cycles(conn, changed, holding)
    found = _write(conn, {key: span for key, (span, _) in holding.items()}, now)
    told = defaultdict[Key, list[PeriodChange]](list)
    for period, change in found.items():
        for key in holding[period][1]:
            told[key].append(change)
    return len(found), dict(told)


def _hold_cycles(
    conn: Connection,
    changed: Mapping[Key, str],
    holding: dict[PeriodKey, tuple[Span, list[Key]]],
) -> None:
    """Add the closed cycles that hold changed days."""
    if not changed:
        return
    days = defaultdict[UsagePointId, list[date]](list)
    for point, day in changed:
        days[point].append(day)
    every = [day for _, day in changed]
    around = Interval(
        start=local_day(min(every) - _ONE, ZoneInfo("UTC")).start,
        end=local_day(max(every) + _ONE, ZoneInfo("UTC")).end,
    )
    for read in cycles.spans_of_points(conn, list(days), around):
        own = days[read.usage_point]
        span = _days_of(read, changed[read.usage_point, own[0]])
        held = [(read.usage_point, day) for day in own if span[0] <= day < span[1]]
        if held:
            holding[read.usage_point, PeriodKind.CYCLE, str(read.cycle)] = (span, held)


def list_cycles(conn: Connection, now: datetime) -> bool:
    """Put the points of cycles that were closed since on the list; tell whether there were any."""
    closed = [each.id for each in planning.cycles(conn, state=CycleState.CLOSED, limit=_CYCLES)]
    fresh = sorted(set(closed) - queue.cycles_seen(conn, closed))
    for id_ in fresh:
        points = [read.usage_point for read in cycles.spans_of_cycle(conn, CycleId(id_))]
        queue.insert_lots(conn, points, due_at=now, now=now, cycle=id_)
        queue.insert_cycle_seen(conn, id_, now)
    return bool(fresh)


def fold_cycles(conn: Connection, lots: Sequence[Lot], now: datetime) -> int:
    """Write the roll-ups of closed cycles for the points of lots; return how many versions."""
    made = 0
    for lot in lots:
        zones = assets.zones_of(conn, lot.usage_points)
        wanted = {
            (read.usage_point, PeriodKind.CYCLE, str(read.cycle)): _days_of(
                read, zones[read.usage_point]
            )
            for read in cycles.spans_of_points(conn, lot.usage_points)
            if read.cycle == lot.cycle
        }
        made += len(_write(conn, wanted, now))
    return made


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
    # what has not ended is not kept; no zone is more than a day ahead
    wanted = {
        key: span
        for key, span in wanted.items()
        if key in before or span[1] - _ONE <= now.date() + _ONE
    }
    folded = _folded(conn, wanted)
    fresh: list[PeriodRollup] = []
    for key in sorted(folded):
        figures, newest = folded[key]
        old = before.get(key)
        if old is None and key[1] is PeriodKind.MONTH and newest < wanted[key][1] - _ONE:
            continue
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


def _folded(
    conn: Connection, wanted: Mapping[PeriodKey, Span]
) -> dict[PeriodKey, tuple[PeriodFigures, date]]:
    """Return the figures of each period of which a day is there, and the newest such day."""
    by_span = defaultdict[Span, list[PeriodKey]](list)
    for key, span in wanted.items():
        by_span[span].append(key)
    found: dict[PeriodKey, tuple[PeriodFigures, date]] = {}
    for (first, until), keys in by_span.items():
        names = sorted({key[0] for key in keys})
        kept = columns.within(conn, names, first.toordinal(), until.toordinal())
        place = {name: n for n, name in enumerate(names)}
        size = len(keys)
        spans = rules.Spans(
            point=np.fromiter((place[key[0]] for key in keys), np.int64, size),
            first=np.full(size, first.toordinal()), until=np.full(size, until.toordinal()),
        )  # fmt: skip
        newest = np.zeros(len(names), dtype=np.int64)
        newest[kept.at] = kept.day  # rising within a point: the last one stays
        folded = rules.fold_many(kept.at, kept.day, kept.table, spans)
        for key, figures in zip(keys, folded, strict=True):
            if figures is not None:
                found[key] = figures, date.fromordinal(int(newest[place[key[0]]]))
    return found
