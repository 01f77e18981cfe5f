"""The Persian (Solar Hijri) calendar, by arithmetic, for the years 1178 to 1633 A.P."""

from dataclasses import dataclass
from datetime import date

_BREAKS = (
    -61, 9, 38, 199, 426, 686, 756, 818, 1111, 1181, 1210, 1635, 2060, 2097, 2192, 2262, 2324,
    2394, 2456, 3178,
)  # fmt: skip
"""*Source*: K. M. Borkowski, The Persian calendar for 3000 years (1996): years where the 33-year
rhythm of leap years breaks."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class PersianDate:
    """A civil day: year A.P., month 1-12, day 1-31."""

    year: int
    month: int
    day: int


def persian_of(day: date) -> PersianDate:
    """
    Return the Persian date of a Gregorian civil day.

    Raises: ValueError outside 1800-2254, where the arithmetic is not proven.
    """
    if not 1800 <= day.year <= 2254:
        raise ValueError(f"no Persian date is known for {day.isoformat()}")
    year = day.year - 621
    _, new_year = _year(year)
    passed = day.toordinal() - new_year.toordinal()
    if passed < 0:
        year -= 1
        passed += 179 + (1 if _year(year)[0] == 0 else 0)
        # the Gregorian year began inside the last half of the Persian one: count from 1 Mehr
        return PersianDate(year=year, month=7 + passed // 30, day=passed % 30 + 1)
    if passed <= 185:
        return PersianDate(year=year, month=1 + passed // 31, day=passed % 31 + 1)
    passed -= 186
    return PersianDate(year=year, month=7 + passed // 30, day=passed % 30 + 1)


def _year(year: int) -> tuple[int, date]:
    """Return years since the last leap year (0: leap) and the Gregorian day of 1 Farvardin."""
    gregorian = year + 621
    leaps, last = -14, _BREAKS[0]
    jump = 0
    for brk in _BREAKS[1:]:
        jump = brk - last
        if year < brk:
            break
        leaps += jump // 33 * 8 + jump % 33 // 4
        last = brk
    since = year - last
    leaps += since // 33 * 8 + (since % 33 + 3) // 4
    if jump % 33 == 4 and jump - since == 4:
        leaps += 1
    gregorian_leaps = gregorian // 4 - (gregorian // 100 + 1) * 3 // 4 - 150
    march = 20 + leaps - gregorian_leaps
    if jump - since < 6:
        since = since - jump + (jump + 4) // 33 * 33
    leap = ((since + 1) % 33 - 1) % 4
    if leap == -1:
        leap = 4
    return leap, date(gregorian, 3, march)
