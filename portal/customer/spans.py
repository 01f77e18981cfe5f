"""Which days a page is about: one day, a month or a year of the reader's own calendar."""

from dataclasses import dataclass
from datetime import date, timedelta

from portal.auth.model import AccessRefusal
from portal.fmt import Reader, persian_of, plain_digits
from protocols.errors import RefusedError

KINDS = ("day", "month", "year")
_EARLIEST, _LATEST = date(1990, 1, 1), date(2199, 12, 31)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Local days `[first, last]`, and the days on which its neighbours of the kind lie."""

    kind: str
    first: date
    last: date

    @property
    def before(self) -> date:
        """Return a day of the span before."""
        return self.first - timedelta(days=1)

    @property
    def after(self) -> date:
        """Return a day of the span that follows."""
        return self.last + timedelta(days=1)

    def name(self, fmt: Reader) -> str:
        """Return the span as people call it."""
        if self.kind == "day":
            return fmt.day(self.first)
        return fmt.words("bill.span", a=fmt.day(self.first), b=fmt.day(self.last))


def span_of(kind: str, on: str, *, today: date, calendar: str) -> Span:
    """
    Return the span of `kind` that holds the day `on` (ISO; empty: today).

    Raises: RefusedError `bad_input` for another kind or a day that is none.
    """
    try:
        day = date.fromisoformat(plain_digits(on)) if on else today
    except ValueError as error:
        raise _bad(on) from error
    if kind not in KINDS or not _EARLIEST <= day <= _LATEST:
        raise _bad(f"{kind} {on}")
    if kind == "day":
        return Span(kind=kind, first=day, last=day)
    first = _month_first(day, calendar) if kind == "month" else _year_first(day, calendar)
    # longer than any month or year, shorter than two: a day of the next one
    ahead = first + timedelta(days=40 if kind == "month" else 400)
    last = _month_first(ahead, calendar) if kind == "month" else _year_first(ahead, calendar)
    return Span(kind=kind, first=first, last=last - timedelta(days=1))


def _month_first(day: date, calendar: str) -> date:
    number = persian_of(day).day if calendar == "persian" else day.day
    return day - timedelta(days=number - 1)


def _year_first(day: date, calendar: str) -> date:
    if calendar != "persian":
        return date(day.year, 1, 1)
    found = persian_of(day)
    months = found.month - 1
    return day - timedelta(days=min(months, 6) * 31 + max(0, months - 6) * 30 + found.day - 1)


def _bad(said: str) -> RefusedError:
    return RefusedError(
        AccessRefusal.BAD_INPUT, f"no such span: {said[:40]!r}",
        fix="span is day, month or year; on is a day such as 2026-11-18",
    )  # fmt: skip
