"""
NEM12 files: interval data of the Australian market, read strictly and written.

Records: 100 header, 200 what is measured, 300 one day, 400 the quality of a part of that day, 500
what the meter showed, 900 end. A value is the energy of the interval that *ends* at its place, so
the first of a day covers midnight to the first step; here intervals are named by their start. Days
are market days: UTC+10 all the year.

A spreadsheet that opened such a file writes long numbers as 2.00405E+11 and dates its own way. What
stood there before cannot be known, so the file is refused, never guessed.

*Source*: AEMO Meter Data File Format specification NEM12 & NEM13 (through its public readers and
writers; the full text was not at hand).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from protocols.errors import PeerError
from protocols.timeline import to_ms

MARKET_OFFSET = timedelta(hours=10)
LONGEST_LINE = 40_000
MOST_LINES = 2_000_000
_MOST_DIGITS = 15

UNITS: dict[str, tuple[int, int]] = {
    "wh": (72, 0), "kwh": (72, 3), "mwh": (72, 6),
    "varh": (73, 0), "kvarh": (73, 3), "mvarh": (73, 6),
}  # fmt: skip
"""Unit of the file to the unit code of IEC 61968-9 (Wh, varh) and a power of ten."""

ACTUAL, NULL, VARIABLE = "A", "N", "V"
FLAGS = frozenset("AEFNS")
"""Actual, estimate, final substitute, null, substitute."""

_MANGLED = re.compile(r"^[+-]?\d+([.,]\d+)?E[+-]?\d+$", re.IGNORECASE)
_DATE_OF_A_SHEET = re.compile(r"^\d{1,4}[/.-]\d{1,2}[/.-]\d{1,4}")
_NUMBER = re.compile(r"^(-?)(\d{1,15})(?:\.(\d{0,9}))?$")
_QUALITY = re.compile(r"^[AEFNSV](\d\d)?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """
    One market day. *Shape*: `wh` and `quality` have one place per interval, in order of time.

    *Units*: Wh or varh; None where the file says null. `quality` is the flag with its method
    (`A`, `S14`).
    """

    day: date
    wh: tuple[int | None, ...]
    quality: tuple[str, ...]
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One 200 record and the days below it. `unit` is the code of IEC 61968-9: 72 Wh, 73 varh."""

    nmi: str
    configuration: str
    register: str
    suffix: str
    serial: str
    unit: int
    minutes: int
    days: tuple[Day, ...]

    def start_ms(self, day: Day) -> int:
        """Return when the first interval of a day starts."""
        midnight = datetime.combine(day.day, datetime.min.time(), tzinfo=UTC)
        return to_ms(midnight - MARKET_OFFSET)


@dataclass(frozen=True, slots=True, kw_only=True)
class Nem12:
    """A whole file: who sent it to whom, and its streams in their order."""

    sender: str
    receiver: str
    streams: tuple[Stream, ...]


def read_nem12(octets: bytes) -> Nem12:
    """
    Return what a file says; every octet string either parses or is refused.

    Raises: PeerError `nem12.mangled` (a spreadsheet has been at it), `nem12.shape`, `nem12.unit`,
    `nem12.quality`, naming the line.
    """
    try:
        text = octets.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PeerError("nem12.shape", "the file is no text") from error
    reader = _Reader()
    for number, line in enumerate(text.splitlines(), 1):
        if number > MOST_LINES or len(line) > LONGEST_LINE:
            raise _fault("nem12.shape", number, "more than such a file holds")
        if line.strip():
            reader.feed(number, [field.strip() for field in line.split(",")])
    return reader.whole()


class _Reader:
    """The records of one file in their order."""

    def __init__(self) -> None:
        self.header: tuple[str, str] | None = None
        self.streams: list[Stream] = []
        self.head: dict[str, str] | None = None
        self.unit, self.power, self.minutes = 0, 0, 0
        self.days: list[Day] = []
        self.open: tuple[int, Day] | None = None
        self.parts: list[tuple[int, int, str]] = []
        self.ended = False

    def feed(self, number: int, fields: Sequence[str]) -> None:
        if self.ended:
            raise _fault("nem12.shape", number, "a record after the end record 900")
        _check_mangled(number, fields)
        kind = fields[0]
        if self.header is None and kind != "100":
            raise _fault("nem12.shape", number, "the first record is not 100")
        match kind:
            case "100":
                self._start(number, fields)
            case "200":
                self._stream(number, fields)
            case "300":
                self._day(number, fields)
            case "400":
                self._part(number, fields)
            case "500":
                if self.head is None:
                    raise _fault("nem12.shape", number, "record 500 without a 200 before it")
            case "900":
                self._close(number)
                self.ended = True
            case _:
                raise _fault("nem12.shape", number, f"record {kind[:8]!r} is not known")

    def whole(self) -> Nem12:
        if self.header is None or not self.ended:
            raise _fault("nem12.shape", 0, "the file has no end record 900: a part is missing")
        return Nem12(sender=self.header[0], receiver=self.header[1], streams=tuple(self.streams))

    def _start(self, number: int, fields: Sequence[str]) -> None:
        if self.header is not None:
            raise _fault("nem12.shape", number, "a second header record 100")
        if len(fields) < 5 or fields[1].upper() != "NEM12":
            raise _fault("nem12.shape", number, "the header does not say NEM12")
        if not re.fullmatch(r"\d{12}|\d{14}|", fields[2]):
            raise _fault("nem12.shape", number, "the header's time is not YYYYMMDDhhmm")
        self.header = (fields[3], fields[4])

    def _stream(self, number: int, fields: Sequence[str]) -> None:
        self._close(number)
        if len(fields) < 9:
            raise _fault("nem12.shape", number, "record 200 has fewer than nine fields")
        names = ("nmi", "configuration", "register", "suffix", "stream", "serial")
        self.head = dict(zip(names, fields[1:7], strict=True))
        if not re.fullmatch(r"[A-Za-z0-9]{1,11}", self.head["nmi"]):
            raise _fault("nem12.shape", number, "the NMI is not one to eleven letters and digits")
        found = UNITS.get(fields[7].lower())
        if found is None:
            raise _fault("nem12.unit", number, f"unit {fields[7][:12]!r} is no energy")
        self.unit, self.power = found
        if not re.fullmatch(r"\d{1,2}", fields[8]) or int(fields[8]) not in (5, 15, 30):
            raise _fault("nem12.shape", number, f"intervals of {fields[8][:8]!r} minutes")
        self.minutes = int(fields[8])

    def _day(self, number: int, fields: Sequence[str]) -> None:
        if self.head is None:
            raise _fault("nem12.shape", number, "record 300 without a 200 before it")
        self._finish(number)
        count = 1440 // self.minutes
        if len(fields) < count + 3:
            raise _fault("nem12.shape", number, f"a day of {self.minutes} min has {count} values")
        quality = fields[count + 2]
        if not _QUALITY.fullmatch(quality):
            raise _fault("nem12.quality", number, f"quality {quality[:8]!r} after {count} values")
        wh: tuple[int | None, ...] = tuple(_energies(number, fields[2 : count + 2], self.power))
        if quality[0] == NULL:
            wh = (None,) * count
        reason = fields[count + 4] if len(fields) > count + 4 else ""
        self.open = (
            number,
            Day(day=_date(number, fields[1]), wh=wh, quality=(quality,) * count, reason=reason),
        )
        self.parts = []

    def _part(self, number: int, fields: Sequence[str]) -> None:
        if self.open is None:
            raise _fault("nem12.shape", number, "record 400 without a 300 before it")
        if len(fields) < 4 or not all(re.fullmatch(r"\d{1,4}", each) for each in fields[1:3]):
            raise _fault("nem12.shape", number, "record 400 names no intervals")
        first, last = int(fields[1]), int(fields[2])
        expected = self.parts[-1][1] + 1 if self.parts else 1
        if first != expected or not first <= last <= 1440 // self.minutes:
            raise _fault("nem12.quality", number, f"intervals {first}..{last} do not follow on")
        if not _QUALITY.fullmatch(fields[3]) or fields[3][0] == VARIABLE:
            raise _fault("nem12.quality", number, f"quality {fields[3][:8]!r}")
        self.parts.append((first, last, fields[3]))

    def _finish(self, number: int) -> None:
        """Put the parts of the open day in place."""
        if self.open is None:
            return
        line, day = self.open
        variable = day.quality[0][0] == VARIABLE
        if variable and (not self.parts or self.parts[-1][1] != len(day.wh)):
            raise _fault("nem12.quality", line, "quality V needs records 400 for every interval")
        if self.parts and not variable:
            raise _fault("nem12.quality", number, "records 400 below a day that is not V")
        if variable:
            quality = tuple(
                flag for first, last, flag in self.parts for _ in range(last - first + 1)
            )
            wh = tuple(
                None if flag[0] == NULL else value
                for value, flag in zip(day.wh, quality, strict=True)
            )
            day = Day(day=day.day, wh=wh, quality=quality, reason=day.reason)
        self.days.append(day)
        self.open, self.parts = None, []

    def _close(self, number: int) -> None:
        self._finish(number)
        if self.head is not None:
            self.streams.append(
                Stream(
                    nmi=self.head["nmi"], configuration=self.head["configuration"],
                    register=self.head["register"], suffix=self.head["suffix"],
                    serial=self.head["serial"], unit=self.unit, minutes=self.minutes,
                    days=tuple(self.days),
                )
            )  # fmt: skip
        self.head, self.days = None, []


def _check_mangled(number: int, fields: Sequence[str]) -> None:
    """Refuse what a spreadsheet leaves: exponents, and dates of its own form."""
    for place, field in enumerate(fields, 1):
        if _MANGLED.fullmatch(field) and not (fields[0] == "200" and place in (5, 6, 7)):
            raise _fault("nem12.mangled", number, f"field {place} is {field[:24]!r}")
        dates = {"100": (3,), "300": (2,), "200": (10,)}.get(fields[0], ())
        if place in dates and _DATE_OF_A_SHEET.match(field):
            raise _fault("nem12.mangled", number, f"field {place} is the date {field[:24]!r}")


def _date(number: int, text: str) -> date:
    try:
        if len(text) != 8 or not text.isdecimal():
            raise ValueError(text)
        if not 1990 <= int(text[:4]) < 2100:
            raise ValueError(text)
        return date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError as error:
        raise _fault("nem12.shape", number, f"{text[:12]!r} is no day YYYYMMDD") from error


def _energies(number: int, fields: Sequence[str], power: int) -> Iterator[int]:
    """
    Yield whole watt-hours of decimal texts, halves up.

    What rounding takes from one interval the next one gets, so that the day's sum stays.
    """
    scale = 10**9
    carried = 0
    for field in fields:
        found = _NUMBER.fullmatch(field)
        if found is None:
            raise _fault("nem12.shape", number, f"{field[:24]!r} is no value")
        sign, whole, part = found[1], found[2], (found[3] or "").ljust(9, "0")
        exact = int(whole + part) * 10**power * (-1 if sign else 1)
        wh = (2 * (exact + carried) + scale) // (2 * scale)
        if abs(wh) >= 10**_MOST_DIGITS:
            raise _fault("nem12.shape", number, f"{field[:24]!r} is no energy of one interval")
        carried += exact - wh * scale
        yield wh


def write_nem12(file: Nem12, *, made: datetime) -> str:
    """
    Return the text of a file, values in kWh or kVArh with three decimals, lines ended by CRLF.

    Reading it gives the same streams. A missing value is written 0 with quality N.
    """
    stamp = (made.astimezone(UTC) + MARKET_OFFSET).strftime("%Y%m%d%H%M")
    lines = [f"100,NEM12,{stamp},{file.sender},{file.receiver}"]
    for stream in file.streams:
        uom = "kWh" if stream.unit == UNITS["wh"][0] else "kVArh"
        lines.append(
            f"200,{stream.nmi},{stream.configuration},{stream.register},{stream.suffix},,"
            f"{stream.serial},{uom},{stream.minutes},"
        )
        for day in stream.days:
            lines.extend(_day_lines(day))
    return "\r\n".join([*lines, "900"]) + "\r\n"


def _day_lines(day: Day) -> list[str]:
    flags = [NULL if wh is None else flag for wh, flag in zip(day.wh, day.quality, strict=True)]
    same = len(set(flags)) == 1
    values = ",".join(_kwh(wh or 0) for wh in day.wh)
    flag = flags[0] if same else VARIABLE
    lines = [f"300,{day.day:%Y%m%d},{values},{flag},,{day.reason},,"]
    first = 0
    for place in range(1, len(flags) + 1):
        if not same and (place == len(flags) or flags[place] != flags[first]):
            lines.append(f"400,{first + 1},{place},{flags[first]},,")
            first = place
    return lines


def _kwh(wh: int) -> str:
    return f"{'-' if wh < 0 else ''}{abs(wh) // 1000}.{abs(wh) % 1000:03}"


def _fault(code: str, number: int, what: str) -> PeerError:
    place = f"line {number}: " if number else ""
    return PeerError(code, place + what, evidence={"line": number})
