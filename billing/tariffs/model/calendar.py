"""Days and hours of a tariff: civil time in its zone, so a day may have 23 or 25 hours."""

import re
from datetime import date
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from billing.tariffs.model.numbers import Part

_HOUR = re.compile(r"([01]\d|2[0-4]):([0-5]\d)")
NAME = r"^[a-z][a-z0-9_]{0,31}$"
MINUTES = 24 * 60


def _minute(text: Any) -> int:
    found = _HOUR.fullmatch(text) if isinstance(text, str) else None
    minute = int(found[1]) * 60 + int(found[2]) if found else MINUTES + 1
    if minute > MINUTES:
        raise ValueError("an hour is text from '00:00' to '24:00'")
    return minute


MinuteText = Annotated[int, BeforeValidator(_minute)]
Month = Annotated[int, Field(ge=1, le=12)]
EVERY_MONTH = tuple(range(1, 13))


class DayType(Part):
    """A kind of day: the ISO weekdays (Monday is 1) that are so unless they are special."""

    name: str = Field(pattern=NAME)
    weekdays: tuple[Annotated[int, Field(ge=1, le=7)], ...] = ()


class SpecialDay(Part):
    """One date that is of another type than its weekday: a holiday, a Sunday worked."""

    date: date
    day_type: str
    name: str = ""


class Calendar(Part):
    """Every weekday belongs to exactly one day type; special days go before weekdays."""

    day_types: tuple[DayType, ...] = (DayType(name="every", weekdays=(1, 2, 3, 4, 5, 6, 7)),)
    special_days: tuple[SpecialDay, ...] = ()


class TouSpan(Part):
    """
    Minutes `[from, to)` of the local day, in these months and day types (none named: all).

    A span never runs over midnight: a night is written as two spans, because the day type of its
    second half is the next day's.
    """

    months: tuple[Month, ...] = EVERY_MONTH
    day_types: tuple[str, ...] = ()
    from_minute: MinuteText = Field(alias="from")
    to_minute: MinuteText = Field(alias="to")


class TouPeriod(Part):
    """A named set of hours: peak, flat, valley; `season` may be part of the name."""

    name: str = Field(pattern=NAME)
    spans: tuple[TouSpan, ...] = Field(min_length=1)
