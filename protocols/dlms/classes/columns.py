"""
The buffer of a profile as columns, read at once where every row has the same fixed layout.

A meter that neither compresses nulls nor mixes types sends each row with the same octets at the
same places but for the numbers. Such a buffer is one matrix: tags and lengths are compared for all
rows together, then every row is cut by one pattern. Any other buffer, and any buffer that the
general decoder would refuse, gives None: the general decoder alone says what is wrong with it.
Plain lists, no numpy: that package alone would take a sixth of the memory of an agent.
*Source*: IEC 62056-6-2 clause 4.1.5 (tags, widths), clause 4.1.6.1 (date-time), class_id 7.
"""

import struct
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date
from typing import Any

from protocols.dlms.axdr import LIMITS, decode_whole
from protocols.dlms.classes import clock
from protocols.dlms.classes.profile import Layout, ProfileRow, decode_rows, status_bits
from protocols.dlms.leaf import read_length
from protocols.dlms.values import Tag, as_integer
from protocols.errors import PeerError
from protocols.timeline import to_ms

_NUMBERS = {
    int(Tag.INTEGER): "b",
    int(Tag.UNSIGNED): "B",
    int(Tag.ENUM): "B",
    int(Tag.LONG): "h",
    int(Tag.LONG_UNSIGNED): "H",
    int(Tag.DOUBLE_LONG): "i",
    int(Tag.DOUBLE_LONG_UNSIGNED): "I",
    int(Tag.LONG64): "q",
    int(Tag.LONG64_UNSIGNED): "Q",
}
_WIDTH = {tag: struct.calcsize(f">{form}") for tag, form in _NUMBERS.items()} | {
    int(Tag.FLOAT32): 4,
    int(Tag.FLOAT64): 8,
    int(Tag.BCD): 1,
    int(Tag.DATE_TIME): clock.OCTETS,
}
_MOST = 1 << 62
"""Numbers beyond this are no energy, and differences of smaller ones fit 64 bits."""
_YEARS = range(1900, 9001)
_EPOCH_DAY = date(1970, 1, 1).toordinal()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileColumns:
    """
    Rows of a profile in the meter's order, as columns of equal length.

    *Units*: `starts_ms` in ms since 1970 UTC, `status` the bits of `protocols.reading.Status`.
    `numbers` holds the columns that were asked for.
    """

    starts_ms: Sequence[int]
    status: Sequence[int]
    numbers: dict[int, Sequence[int]]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.starts_ms)

    def sorted(self) -> "ProfileColumns":
        """Return the same rows in order of time; equal starts keep their order."""
        order = sorted(range(len(self)), key=self.starts_ms.__getitem__)
        return ProfileColumns(
            starts_ms=[self.starts_ms[row] for row in order],
            status=[self.status[row] for row in order],
            numbers={at: [column[row] for row in order] for at, column in self.numbers.items()},
        )


def read_columns(
    octets: bytes, layout: Layout, wanted: Sequence[int], rule: clock.ClockRule = clock.STANDARD
) -> ProfileColumns:
    """
    Return the columns `wanted` of an encoded buffer, the quick way where its layout allows.

    Raises: PeerError as `decode_rows`, and `dlms.profile` for a number beyond 62 bits.
    """
    quick = fixed_columns(octets, layout, wanted, rule)
    if quick is not None:
        return quick
    return columns_of(decode_rows(decode_whole(octets), layout, rule), wanted)


def columns_of(rows: Sequence[ProfileRow], wanted: Sequence[int]) -> ProfileColumns:
    """Return rows as columns. Raises: PeerError `dlms.type`, `dlms.profile`."""
    numbers: dict[int, Sequence[int]] = {}
    for at in wanted:
        column = [as_integer(row.values[at]) for row in rows]
        if any(abs(number) >= _MOST for number in column):
            raise PeerError("dlms.profile", f"column {at} holds a number beyond 62 bits")
        numbers[at] = column
    return ProfileColumns(
        starts_ms=[to_ms(row.start) for row in rows],
        status=[int(row.status) for row in rows],
        numbers=numbers,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cell:
    tag: int
    at: int
    width: int


def _first_row(octets: bytes, offset: int, columns: int) -> tuple[list[_Cell], list[int]] | None:
    """Return the cells of the first row and the places of its tags and lengths."""
    if octets[offset : offset + 1] != bytes((Tag.STRUCTURE,)):
        return None
    if octets[offset + 1 : offset + 2] != bytes((columns,)):
        return None
    cells: list[_Cell] = []
    fixed = [0, 1]
    at = 2
    for _ in range(columns):
        tag = octets[offset + at] if offset + at < len(octets) else -1
        fixed.append(at)
        at += 1
        if tag == Tag.OCTET_STRING and octets[offset + at : offset + at + 1] == b"\x0c":
            fixed.append(at)
            at += 1
            width = clock.OCTETS
        elif tag in _WIDTH:
            width = _WIDTH[tag]
        else:
            return None
        cells.append(_Cell(tag=tag, at=at, width=width))
        at += width
    cells.append(_Cell(tag=-1, at=at, width=0))
    return cells, fixed


def fixed_columns(
    octets: bytes, layout: Layout, wanted: Sequence[int], rule: clock.ClockRule = clock.STANDARD
) -> ProfileColumns | None:
    """Return the columns, or None where the general decoder must look."""
    if octets[:1] != bytes((Tag.ARRAY,)):
        return None
    try:
        count, begin = read_length(octets, 1)
    except PeerError:
        return None
    width = len(layout.columns)
    first = _first_row(octets, begin, width) if count and width < 0x80 else None
    if first is None or count * (width + 1) > LIMITS.elements:
        return None
    cells, fixed = first
    stride = cells.pop().at
    if begin + count * stride != len(octets):
        return None
    body = octets[begin:]
    if any(body[at::stride] != body[at : at + 1] * count for at in fixed):
        return None
    if cells[layout.clock].width != clock.OCTETS:
        return None
    asked = {*wanted} if layout.status is None else {*wanted, layout.status}
    if any(cells[at].tag not in _NUMBERS for at in asked):
        return None
    pattern, places = _pattern(cells, stride, asked | {layout.clock}, layout.clock)
    found = list(zip(*pattern.iter_unpack(body), strict=True))
    return _joined(found, places, layout, wanted, rule)


def _pattern(
    cells: Sequence[_Cell], stride: int, asked: AbstractSet[int], stamp: int
) -> tuple[struct.Struct, dict[int, int]]:
    """Return what cuts one row, and where its cells stand in the cut; a stamp becomes three."""
    form, at, fields = ">", 0, 0
    places: dict[int, int] = {}
    for index in sorted(asked):
        cell = cells[index]
        places[index] = fields
        form += f"{cell.at - at}x" + ("4sx4s3s" if index == stamp else _NUMBERS[cell.tag])
        fields += 3 if index == stamp else 1
        at = cell.at + cell.width
    return struct.Struct(f"{form}{stride - at}x"), places


def _joined(
    found: Sequence[tuple[Any, ...]],
    places: dict[int, int],
    layout: Layout,
    wanted: Sequence[int],
    rule: clock.ClockRule,
) -> ProfileColumns | None:
    """Return what was cut as columns; None for a stamp that is not whole or a number too big."""
    days, times, tails = found[places[layout.clock] :][:3]
    ends = _ends(days, times, tails, rule)
    numbers: dict[int, Sequence[int]] = {at: found[places[at]] for at in wanted}
    if any(max(column) >= _MOST or min(column) <= -_MOST for column in numbers.values()):
        return None
    if ends is None:
        return None
    told = (0,) * len(ends) if layout.status is None else found[places[layout.status]]
    period = layout.period * 1000
    return ProfileColumns(
        starts_ms=[end - period for end in ends], status=_status(told, tails), numbers=numbers
    )


def _status(told: Iterable[int], tails: Iterable[bytes]) -> list[int]:
    """Return the interval's status from the status column and the clock's own doubts."""
    pairs = list(zip(told, tails, strict=True))
    bits = {
        (told, tail): status_bits(
            told & 0xFF, 0 if tail[2] == clock.STATUS_UNSPECIFIED else tail[2] & 0x8F
        )
        for told, tail in set(pairs)
    }
    return [bits[pair] for pair in pairs]


def _ends(
    days: Sequence[bytes], times: Sequence[bytes], tails: Sequence[bytes], rule: clock.ClockRule
) -> list[int] | None:
    """
    Return the instants in ms of stamps cut into day, time and tail; None when one is not whole.

    Each kind of part is looked at once: a month has 31 days, 96 times and one or two tails.
    """
    day_ms = {day: _day_ms(day) for day in set(days)}
    time_ms = {time: _time_ms(time) for time in set(times)}
    west_ms = {tail: _west_ms(tail, rule) for tail in set(tails)}
    if None in day_ms.values() or None in time_ms.values() or None in west_ms.values():
        return None
    return [
        (day_ms[day] or 0) + (time_ms[time] or 0) + (west_ms[tail] or 0)
        for day, time, tail in zip(days, times, tails, strict=True)
    ]


def _day_ms(octets: bytes) -> int | None:
    year = octets[0] << 8 | octets[1]
    if year not in _YEARS:
        return None
    try:
        day = date(year, octets[2], octets[3])
    except ValueError:
        return None
    return (day.toordinal() - _EPOCH_DAY) * 86_400_000


def _time_ms(octets: bytes) -> int | None:
    hour, minute, second, hundredths = octets
    second = 0 if second == 0xFF else second
    hundredths = 0 if hundredths == 0xFF else hundredths
    if hour >= 24 or minute >= 60 or second >= 60 or hundredths >= 100:
        return None
    return ((hour * 60 + minute) * 60 + second) * 1000 + hundredths * 10


def _west_ms(octets: bytes, rule: clock.ClockRule) -> int | None:
    """Return what is added to local time to have UTC."""
    deviation = int.from_bytes(octets[:2], "big", signed=True)
    if deviation != clock.UNSPECIFIED_DEVIATION:
        used = deviation * rule.sign
    elif rule.assumed_deviation is None:
        return None
    else:
        used = rule.assumed_deviation
    return used * 60_000 if abs(used) <= clock.MAX_DEVIATION else None
