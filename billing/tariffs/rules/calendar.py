"""Civil time of a tariff: which TouPeriod an instant lies in, and how long a period is."""

import calendar as civil
from datetime import UTC, date, datetime, timedelta

import numpy as np
import numpy.typing as npt

from billing.money import IntArray
from billing.tariffs.model import Calendar, Tariff
from billing.tariffs.model.calendar import MINUTES
from billing.tariffs.model.numbers import DAY_PARTS, MONTH_PARTS

NONE = -1


def hours_of(tariff: Tariff) -> npt.NDArray[np.int16]:
    """
    Return which TouPeriod each minute has: *shape* (12 months, day types, 1440), -1 where none.

    Raises: ValueError when two periods claim a minute.
    """
    types = [each.name for each in tariff.calendar.day_types]
    found = np.full((12, len(types), MINUTES), NONE, dtype=np.int16)
    if not tariff.touperiods:
        found[:] = 0
    for number, period in enumerate(tariff.touperiods):
        for span in period.spans:
            for month in span.months:
                for name in span.day_types or types:
                    part = found[month - 1, types.index(name), span.from_minute : span.to_minute]
                    if (part != NONE).any():
                        rival = tariff.touperiods[int(part[part != NONE][0])].name
                        raise ValueError(
                            f"{period.name} overlaps {rival} in month {month}, day type {name}"
                        )
                    part[:] = number
    return found


def day_type_of(calendar: Calendar, day: date) -> int:
    """Return the number of a day's type."""
    names = [each.name for each in calendar.day_types]
    for special in calendar.special_days:
        if special.date == day:
            return names.index(special.day_type)
    weekday = day.isoweekday()
    return next(n for n, each in enumerate(calendar.day_types) if weekday in each.weekdays)


def periods_of(tariff: Tariff, start: datetime, seconds: int, count: int) -> IntArray:
    """
    Return the TouPeriod of each of `count` intervals that follow one another from `start`.

    Raises: ValueError when an interval lies in two.
    """
    if len(tariff.touperiods) < 2:
        return np.zeros(count, dtype=np.int64)
    hours, zone = hours_of(tariff), tariff.zone_info
    types: dict[date, int] = {}
    found = np.empty(count, dtype=np.int64)
    first = start.astimezone(UTC)
    for n in range(count):
        claimed = set()
        for second in (*range(0, seconds, 60), seconds - 1):
            local = (first + timedelta(seconds=n * seconds + second)).astimezone(zone)
            day = local.date()
            if day not in types:
                types[day] = day_type_of(tariff.calendar, day)
            claimed.add(int(hours[day.month - 1, types[day], local.hour * 60 + local.minute]))
        if len(claimed) > 1:
            raise ValueError(f"the interval that ends after {local} lies in two TouPeriods")
        found[n] = claimed.pop()
    return found


def months_between(start: date, end: date) -> int:
    """
    Return the months of local days `[start, end)` in `MONTH_PARTS`.

    A step from a day to the same day of the next month (or to that month's last, when it has no
    such day) is one month; else every day is its share of its own month.
    """
    whole = (end.year - start.year) * 12 + end.month - start.month
    anchor = min(start.day, civil.monthrange(end.year, end.month)[1])
    if whole and end.day == anchor:
        return whole * MONTH_PARTS
    parts = 0
    day = start
    while day < end:
        length = civil.monthrange(day.year, day.month)[1]
        first_of_next = date(day.year, day.month, 1) + timedelta(days=length)
        stop = min(end, first_of_next)
        parts += (stop - day).days * MONTH_PARTS // length
        day = stop
    return parts


def days_between(start: date, end: date) -> int:
    """Return the days of `[start, end)` in `DAY_PARTS`."""
    return (end - start).days * DAY_PARTS


def ladder_start(tariff: Tariff, reset: str, day: date) -> date:
    """
    Return the day on which the ladder that `day` lies in began: its counter is the use since then.

    Raises: ValueError for `period`, which the caller itself cuts.
    """
    match reset:
        case "calendar_year":
            return date(day.year, 1, 1)
        case "purchase_month":
            return day.replace(day=1)
        case "tariff_year":
            month, first = (int(part) for part in tariff.tariff_year_start.split("-"))
            start = date(day.year, month, first)
            return start if start <= day else date(day.year - 1, month, first)
    raise ValueError(f"a ladder of the {reset} begins where its caller says")
