"""Checks of days and hours: every minute of every day type in every month has one TouPeriod."""

from billing.tariffs.model import Refusal, Tariff
from billing.tariffs.rules.calendar import NONE, hours_of
from billing.tariffs.rules.refusing import refused
from protocols.errors import RefusedError


def check_calendar(tariff: Tariff) -> None:
    """Refuse a calendar in which a day has no type, or two. Raises: RefusedError `tariffs.tou`."""
    types = tariff.calendar.day_types
    names = [each.name for each in types]
    if len(set(names)) < len(names):
        raise _tou("calendar: two day types have one name", "rename one")
    claimed = sorted(day for each in types for day in each.weekdays)
    if claimed != [1, 2, 3, 4, 5, 6, 7]:
        raise _tou(
            f"calendar: day types claim the weekdays {claimed}",
            "each weekday, 1 to 7, belongs to exactly one day type",
        )
    days = [each.date for each in tariff.calendar.special_days]
    if len(set(days)) < len(days):
        raise _tou("calendar: a date is special twice", "keep one of them")
    for special in tariff.calendar.special_days:
        if special.day_type not in names:
            raise _tou(
                f"calendar: {special.date} is of day type {special.day_type}, which is not there",
                f"use one of {', '.join(names)}",
            )


def check_hours(tariff: Tariff) -> None:
    """Refuse TouPeriods that leave a minute out or claim it twice. Raises: RefusedError."""
    names = [period.name for period in tariff.touperiods]
    if len(set(names)) < len(names):
        raise _tou("two TouPeriods have one name", "rename one")
    types = [each.name for each in tariff.calendar.day_types]
    for period in tariff.touperiods:
        for span in period.spans:
            if span.to_minute <= span.from_minute:
                raise _tou(
                    f"TouPeriod {period.name}: a span ends where or before it starts",
                    "write hours over midnight as two spans, the second from 00:00",
                )
            if set(span.day_types) - set(types):
                raise _tou(
                    f"TouPeriod {period.name}: day types {span.day_types} are not in the calendar",
                    f"use {', '.join(types)}",
                )
    try:
        hours = hours_of(tariff)
    except ValueError as error:
        raise _tou(f"TouPeriod {error}", "each minute belongs to exactly one period") from error
    gaps = (hours == NONE).nonzero()
    if len(gaps[0]):
        month, kind, minute = (int(each[0]) for each in gaps)
        raise _tou(
            f"no TouPeriod has {minute // 60:02}:{minute % 60:02} of day type {types[kind]} in "
            f"month {month + 1}",
            "cover 24 hours of every day type in all 12 months",
        )


def _tou(message: str, fix: str) -> RefusedError:
    return refused(Refusal.TOU, message, fix)
