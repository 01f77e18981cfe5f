"""
One reader's way to see figures: digits, separators, units, calendar and zone.

Integers in, text out: Wh, W, mV, micros, UTC instants. Nothing here is a float. Rounding is for
the eye only (half away from zero); `exact` forms never round.
"""

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from portal.i18n import RTL, Words
from protocols.persian import persian_of
from protocols.quantities import rescale

_ASCII = "0123456789"
_DIGITS = {"fa": "۰۱۲۳۴۵۶۷۸۹"}
_SEPARATORS: dict[str, tuple[str, str]] = {
    "fa": ("٫", "٬"),
    "zh": (".", ","),
    "uz": (",", "\u00a0"),
    "ru": (",", "\u00a0"),
    "en": (".", ","),
}
"""Decimal mark and group mark. *Source*: Unicode CLDR 46, numbers of each locale."""
_FROM_ANY = str.maketrans("۰۱۲۳۴۵۶۷۸۹٠١٢٣٤٥٦٧٨٩يك٫", "01234567890123456789یک.")
_PLACES = {"CNY": 2, "IRR": 0, "UZS": 2, "RUB": 2}
"""Decimals of a currency in daily use. *Source*: ISO 4217, IRR as used without dinars."""


def plain_digits(text: str) -> str:
    """Return typed text with ASCII digits and Persian ya and kaf, ready for search and numbers."""
    return text.translate(_FROM_ANY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Formats for one person. `zone` is where the supply lies, not where the browser is."""

    language: str
    calendar: str = "gregorian"
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))

    @property
    def words(self) -> Words:
        """Return the texts of the language."""
        return Words(self.language)

    @property
    def direction(self) -> str:
        """Return `rtl` or `ltr`."""
        return "rtl" if self.language in RTL else "ltr"

    def digits(self, text: str) -> str:
        """Return `text` with the digits of the language."""
        own = _DIGITS.get(self.language)
        return text.translate(str.maketrans(_ASCII, own)) if own else text

    def number(self, value: int, *, scale: int = 0, least: int = 0, most: int = 0) -> str:
        """
        Return value * 10**-scale with between `least` and `most` decimals.

        *Units*: none. Trailing zeros beyond `least` are dropped.
        """
        most = max(least, min(most, 18))
        shown = rescale(value, most - scale)
        whole, part = divmod(abs(shown), 10**most)
        decimals = f"{part:0{most}}" if most else ""
        while len(decimals) > least and decimals.endswith("0"):
            decimals = decimals[:-1]
        mark, group = _SEPARATORS[self.language]
        text = f"{whole:,}".replace(",", group) + (mark + decimals if decimals else "")
        return self.digits(self._negative(text) if shown < 0 else text)

    def decimal(self, text: str, *, most: int) -> str:
        """Return a decimal text of ours, such as `1234.50`, in the reader's digits."""
        whole, _, part = text.partition(".")
        return self.number(int(whole + part), scale=len(part), most=most)

    def kwh(self, wh: int, places: int = 2) -> str:
        """Return energy with its unit, rounded to `places`."""
        return self.words("unit.kwh", n=self.number(wh, scale=3, least=places, most=places))

    def kwh_exact(self, wh: int) -> str:
        """Return energy with its unit to the watt-hour."""
        return self.words("unit.kwh", n=self.number(wh, scale=3, least=1, most=3))

    def kw(self, watts: int) -> str:
        """Return power as a bare number of kilowatts; the unit stands beside it on the page."""
        return self.number(watts, scale=3, least=2, most=2)

    def volts(self, millivolts: int) -> str:
        """Return a voltage with its unit."""
        return self.words("unit.volt", n=self.number(millivolts, scale=3, least=1, most=1))

    def amps(self, milliamperes: int) -> str:
        """Return a current with its unit."""
        return self.words("unit.ampere", n=self.number(milliamperes, scale=3, least=1, most=1))

    def money(self, micros: int, currency: str) -> str:
        """Return an amount as on a purse: rounded to the currency's daily decimals."""
        return self._priced(micros, currency, most=0)

    def money_exact(self, micros: int, currency: str) -> str:
        """Return an amount to the micro-unit, so that printed lines add up to the printed sum."""
        return self._priced(micros, currency, most=6)

    def _priced(self, micros: int, currency: str, *, most: int) -> str:
        places, words = _PLACES.get(currency, 2), self.words
        number = self.number(abs(micros), scale=6, least=places, most=max(places, most))
        key = f"currency.{currency}"
        # nothing that rounds to zero is shown as owed
        owed = micros < 0 and any(mark in number for mark in self.digits("123456789"))
        if owed and self.language in RTL:
            number, owed = self._negative(number), False
        text = words(key, n=number) if words.has(key) else f"{number} {currency}"
        return self._negative(text) if owed else text

    def _negative(self, text: str) -> str:
        """Put the minus where it is read; among right-to-left words it needs an isolate."""
        return f"\u2066\u2212{text}\u2069" if self.language in RTL else f"\u2212{text}"

    def local(self, instant: datetime) -> datetime:
        """Return the instant on the wall of the supply's zone."""
        return instant.astimezone(self.zone)

    def day(self, day: date) -> str:
        """Return a civil day in words."""
        if self.calendar == "persian":
            found = persian_of(day)
            year, month, number, family = found.year, found.month, found.day, "persian"
        else:
            year, month, number, family = day.year, day.month, day.day, "gregorian"
        words = self.words
        return self.digits(
            words("date.day", d=str(number), m=words(f"month.{family}.{month}"), y=str(year))
        )

    def month_key(self, day: date) -> str:
        """Return the short form of the month a civil day lies in: year/month."""
        if self.calendar == "persian":
            found = persian_of(day)
            return self.digits(f"{found.year}/{found.month}")
        return self.digits(f"{day.year}/{day.month}")

    def date(self, instant: datetime) -> str:
        """Return the civil day of an instant."""
        return self.day(self.local(instant).date())

    def time(self, instant: datetime) -> str:
        """Return hours and minutes."""
        return self.digits(f"{self.local(instant):%H:%M}")

    def moment(self, instant: datetime) -> str:
        """Return day and time."""
        return self.words("date.moment", day=self.date(instant), time=self.time(instant))

    def day_key(self, instant: datetime) -> str:
        """Return the short form used under charts: day/month and time."""
        local = self.local(instant)
        if self.calendar == "persian":
            found = persian_of(local.date())
            return self.digits(f"{found.month}/{found.day} {local:%H:%M}")
        return self.digits(f"{local.month}/{local.day} {local:%H:%M}")

    def duration(self, span: timedelta) -> str:
        """Return a length of time in its two largest units."""
        minutes = max(0, int(span.total_seconds())) // 60
        words = self.words
        days, hours, rest = minutes // 1440, minutes // 60 % 24, minutes % 60
        if days:
            return words("span.days", d=self.number(days), h=self.number(hours))
        if hours:
            return words("span.hours", h=self.number(hours), m=self.number(rest))
        return words("span.minutes", m=self.number(rest))

    def ago(self, seconds: int) -> str:
        """Return an age in wall time: `4 s ago`."""
        words = self.words
        if seconds < 90:
            return words("ago.seconds", n=self.number(max(0, seconds)))
        if seconds < 5400:
            return words("ago.minutes", n=self.number(seconds // 60))
        return words("ago.hours", n=self.number(seconds // 3600))
