"""When a route is read, billed and collected: a timetable and the days nobody works."""

from collections.abc import Set as AbstractSet
from datetime import date, timedelta

from cloud.cycles.model import Dates, Refusal, Timetable
from protocols.errors import RefusedError

_LAST_DAY_OF_ALL_MONTHS = 28
_LONGEST = 60


def refuse_timetable(table: Timetable) -> None:
    """Raise RefusedError for a timetable that some month cannot have."""
    wrong = ""
    if not 1 <= table.opens_day <= _LAST_DAY_OF_ALL_MONTHS:
        wrong = "reading must open on a day from 1 to 28, which every month has"
    elif not 1 <= table.reading_days <= _LONGEST:
        wrong = f"reading lasts 1 to {_LONGEST} days"
    elif not 0 <= table.sales_after <= table.collection_after <= _LONGEST:
        wrong = f"bills follow reading and collection follows bills, within {_LONGEST} days"
    elif table.every_months not in {1, 2, 3, 4, 6, 12} or not 1 <= table.from_month <= 12:
        wrong = "a route is read every 1, 2, 3, 4, 6 or 12 months, from a month 1 to 12"
    if wrong:
        raise RefusedError(Refusal.TIMETABLE, wrong, fix="change the route's timetable")


def dates_of(table: Timetable, year: int, month: int, idle: AbstractSet[date]) -> Dates | None:
    """
    Return the days of a period, None where the route is not read in that month.

    Each day that nobody works (`idle`: weekends and holidays) moves to the next that somebody does;
    the order opens <= due <= sales <= collection always holds.
    """
    if (month - table.from_month) % table.every_months:
        return None
    opens = _working(date(year, month, table.opens_day), idle)
    due = _working(opens + timedelta(days=table.reading_days - 1), idle)
    return Dates(
        period=f"{year:04}-{month:02}",
        opens=opens,
        due=due,
        sales=_working(due + timedelta(days=table.sales_after), idle),
        collection=_working(due + timedelta(days=table.collection_after), idle),
    )


def weekends(year: int, days: AbstractSet[int]) -> set[date]:
    """Return every day of `year` and the next whose ISO weekday (1 Monday) is one of `days`."""
    first = date(year, 1, 1)
    return {
        day
        for n in range(2 * 366)
        if (day := first + timedelta(days=n)).isoweekday() in days and day.year <= year + 1
    }


def _working(day: date, idle: AbstractSet[date]) -> date:
    for n in range(_LONGEST):
        if (found := day + timedelta(days=n)) not in idle:
            return found
    raise RefusedError(
        Refusal.TIMETABLE, f"nobody works for {_LONGEST} days from {day}", fix="mend the calendar"
    )
