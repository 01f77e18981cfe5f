"""
The buffer of a profile as columns, read at once where every row has the same fixed layout.

A meter that neither compresses nulls nor mixes types sends each row with the same octets at the
same places but for the numbers. Such a buffer is one matrix: tags and lengths are compared for all
rows together, then each column is cut out whole. Any other buffer, and any buffer that the general
decoder would refuse, gives None: the general decoder alone says what is wrong with it.
*Source*: IEC 62056-6-2 clause 4.1.5 (tags, widths), clause 4.1.6.1 (date-time), class_id 7.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from protocols.dlms.axdr import LIMITS, decode_whole
from protocols.dlms.classes import clock
from protocols.dlms.classes.profile import Layout, ProfileRow, decode_rows, status_bits
from protocols.dlms.leaf import read_length
from protocols.dlms.values import Tag, as_integer
from protocols.errors import PeerError
from protocols.timeline import to_ms

_Ints = NDArray[np.int64]
_Octets = NDArray[np.uint8]
_NUMBERS = {
    int(Tag.INTEGER): ">i1",
    int(Tag.UNSIGNED): ">u1",
    int(Tag.ENUM): ">u1",
    int(Tag.LONG): ">i2",
    int(Tag.LONG_UNSIGNED): ">u2",
    int(Tag.DOUBLE_LONG): ">i4",
    int(Tag.DOUBLE_LONG_UNSIGNED): ">u4",
    int(Tag.LONG64): ">i8",
    int(Tag.LONG64_UNSIGNED): ">u8",
}
_WIDTH = {tag: np.dtype(form).itemsize for tag, form in _NUMBERS.items()} | {
    int(Tag.FLOAT32): 4,
    int(Tag.FLOAT64): 8,
    int(Tag.BCD): 1,
    int(Tag.DATE_TIME): clock.OCTETS,
}
_MOST = 1 << 62
"""Numbers beyond this are no energy, and differences of smaller ones fit 64 bits."""
_YEARS = (1900, 9000)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileColumns:
    """
    Rows of a profile in the meter's order, as columns of equal length.

    *Units*: `starts_ms` in ms since 1970 UTC, `status` the bits of `protocols.reading.Status`.
    `numbers` holds the columns that were asked for.
    """

    starts_ms: _Ints
    status: _Ints
    numbers: dict[int, _Ints]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.starts_ms)

    def sorted(self) -> "ProfileColumns":
        """Return the same rows in order of time; equal starts keep their order."""
        order = np.argsort(self.starts_ms, kind="stable")
        return ProfileColumns(
            starts_ms=self.starts_ms[order],
            status=self.status[order],
            numbers={at: column[order] for at, column in self.numbers.items()},
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
    numbers: dict[int, _Ints] = {}
    for at in wanted:
        column = [as_integer(row.values[at]) for row in rows]
        if any(abs(number) >= _MOST for number in column):
            raise PeerError("dlms.profile", f"column {at} holds a number beyond 62 bits")
        numbers[at] = np.array(column, dtype=np.int64)
    return ProfileColumns(
        starts_ms=np.array([to_ms(row.start) for row in rows], dtype=np.int64),
        status=np.array([int(row.status) for row in rows], dtype=np.int64),
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
    table = np.frombuffer(octets, dtype=np.uint8, offset=begin).reshape(count, stride)
    if (table[:, fixed] != table[0, fixed]).any():
        return None
    stamp = cells[layout.clock]
    if stamp.width != clock.OCTETS:
        return None
    moments = _moments(table[:, stamp.at : stamp.at + clock.OCTETS], rule)
    if moments is None:
        return None
    ends_ms, clock_status = moments
    numbers: dict[int, _Ints] = {}
    status = None if layout.status is None else [layout.status]
    for at in {*wanted, *(status or ())}:
        column = _numbers(table, cells[at])
        if column is None:
            return None
        numbers[at] = column
    told = numbers[layout.status] if layout.status is not None else np.zeros(count, np.int64)
    return ProfileColumns(
        starts_ms=ends_ms - layout.period * 1000,
        status=_joined(told, clock_status),
        numbers={at: numbers[at] for at in wanted},
    )


def _numbers(table: _Octets, cell: _Cell) -> _Ints | None:
    form = _NUMBERS.get(cell.tag)
    if form is None:
        return None
    packed = np.ascontiguousarray(table[:, cell.at : cell.at + cell.width])
    column = packed.view(form)[:, 0]
    if cell.width == 8 and (column.astype(np.float64) >= _MOST).any():
        return None
    numbers = column.astype(np.int64)
    if cell.width == 8 and (numbers <= -_MOST).any():
        return None
    return numbers


def _joined(told: _Ints, clock_status: _Ints) -> _Ints:
    """Return the interval's status from the status column and the clock's own doubts."""
    pairs = (told & 0xFF) << 8 | clock_status
    kinds, which = np.unique(pairs, return_inverse=True)
    bits = [status_bits(kind >> 8, kind & 0xFF) for kind in kinds.tolist()]
    return np.array(bits, dtype=np.int64)[which]


def _moments(stamps: _Octets, rule: clock.ClockRule) -> tuple[_Ints, _Ints] | None:
    """Return instants in ms and clock status of 12-octet stamps; None when one is not whole."""
    parts = stamps.astype(np.int64)
    year = parts[:, 0] << 8 | parts[:, 1]
    month, day, hour, minute = parts[:, 2], parts[:, 3], parts[:, 5], parts[:, 6]
    second = np.where(parts[:, 7] == 0xFF, 0, parts[:, 7])
    hundredths = np.where(parts[:, 8] == 0xFF, 0, parts[:, 8])
    deviation = (parts[:, 9] << 8 | parts[:, 10]).astype(np.int16).astype(np.int64)
    silent = deviation == clock.UNSPECIFIED_DEVIATION
    if rule.assumed_deviation is None and silent.any():
        return None
    used = np.where(silent, rule.assumed_deviation or 0, deviation * rule.sign)
    sound = (
        (year >= _YEARS[0]) & (year <= _YEARS[1]) & (month >= 1) & (month <= 12) & (day >= 1)
        & (hour < 24) & (minute < 60) & (second < 60) & (hundredths <= 99)
        & (np.abs(used) <= clock.MAX_DEVIATION)
    )  # fmt: skip
    if not sound.all():
        return None
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    begins = months.astype("datetime64[D]").astype(np.int64)
    after = (months + 1).astype("datetime64[D]").astype(np.int64)
    days = begins + day - 1
    if (days >= after).any():
        return None
    minutes = (days * 24 + hour) * 60 + minute + used
    told = parts[:, 11]
    status = np.where(told == clock.STATUS_UNSPECIFIED, 0, told & 0x8F)
    return (minutes * 60 + second) * 1000 + hundredths * 10, status
