"""Months and reading cycles from days: sums of what adds up, unions of what does not."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date

from cloud.rollups.model import Basis, Bound, DayFigures, PeriodFigures
from cloud.rollups.rules.days import days_between


def month_span(day: date) -> tuple[date, date]:
    """Return the first day of the day's month and of the next one."""
    first = day.replace(day=1)
    return first, date(first.year + first.month // 12, first.month % 12 + 1, 1)


def month_name(first: date) -> str:
    """Return `2026-03`."""
    return f"{first:%Y-%m}"


def fold(days: Mapping[date, DayFigures], first: date, until: date) -> PeriodFigures:
    """
    Return the days of `[first, until)` together; a day that is absent counts as not told.

    Where every day is told by registers, the sum is the advance from `opening` to `closing`.
    """
    found = [days[day] for day in days_between(first, until) if day in days]
    told = [each.wh for each in found if each.wh is not None]
    summed = [each.interval_wh for each in found if each.interval_wh is not None]
    openings = [each.opening for each in found if each.opening is not None]
    closings = [each.closing for each in found if each.closing is not None]
    slot_qualities = register_qualities = bases = 0
    for each in found:
        slot_qualities |= each.slot_qualities
        bases |= int(each.basis) if each.basis is not Basis.UNKNOWN else 0
    for bound in (*openings, *closings):
        register_qualities |= bound.qualities
    return PeriodFigures(
        first_day=first, until_day=until, days_told=len(told),
        slots=sum(each.slots for each in found), missing=sum(each.missing for each in found),
        slot_qualities=slot_qualities, register_qualities=register_qualities, bases=bases,
        interval_wh=sum(summed) if summed else None,
        opening=_plain(openings[0]) if openings else None,
        closing=_plain(closings[-1]) if closings else None,
        wh=sum(told) if told else None,
    )  # fmt: skip


def _plain(bound: Bound) -> Bound:
    """Return a bound without qualities: those of a period stand in one set for all its bounds."""
    return replace(bound, qualities=0)
