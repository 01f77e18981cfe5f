"""
Profile generic, class 7: columns are read from the meter, stamps are turned into interval starts.

A meter stamps the END of an interval (00:00 belongs to yesterday); we name intervals by their
start. A null column repeats the row before; a null clock is the previous stamp plus the capture
period. Nothing is assumed about order or number of columns.
*Source*: IEC 62056-6-2 class_id 7, attributes 2-4, selective access by range and by entry.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache

from protocols.dlms.apdu import Attribute
from protocols.dlms.classes.clock import CLASS_ID as CLOCK_CLASS
from protocols.dlms.classes.clock import (
    STANDARD,
    ClockRule,
    ClockStatus,
    decode_moment,
    encode_moment,
)
from protocols.dlms.obis import CLOCK, LOAD_PROFILE, PROFILE_STATUS, Obis, obis_text
from protocols.dlms.values import (
    NULL,
    Value,
    array,
    as_integer,
    as_items,
    as_octets,
    double_long_unsigned,
    integer,
    long_unsigned,
    octet_string,
    structure,
)
from protocols.errors import PeerError
from protocols.reading import Status

CLASS_ID = 7
BUFFER = 2
CAPTURE_OBJECTS = 3
CAPTURE_PERIOD = 4
BY_RANGE = 1
BY_ENTRY = 2
MAX_COLUMNS = 64
_MAX_PERIOD = 31 * 86_400
_KNOWN_STATUS = sum(Status) & 0xFF
"""The bits that a meter may set; those above are our own words about a reading."""
_NO_DOUBT = Status(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureObject:
    """One column: an attribute of an object; `piece` 0 is the whole attribute."""

    class_id: int
    name: Obis
    index: int = 2
    piece: int = 0

    def encode(self) -> Value:
        """Return the capture_object_definition."""
        return structure(
            long_unsigned(self.class_id),
            octet_string(self.name),
            integer(self.index),
            long_unsigned(self.piece),
        )

    def __str__(self) -> str:
        """Return `3/1-0:1.29.0*255/2`."""
        return f"{self.class_id}/{obis_text(self.name)}/{self.index}"


CLOCK_COLUMN = CaptureObject(class_id=CLOCK_CLASS, name=CLOCK)
STATUS_COLUMN = CaptureObject(class_id=1, name=PROFILE_STATUS)


def decode_capture_object(value: Value) -> CaptureObject:
    """Return a column. Raises: PeerError `dlms.type`, `dlms.obis`."""
    class_id, name, index, piece = as_items(value, count=4)
    octets = as_octets(name)
    obis_text(octets)
    return CaptureObject(
        class_id=as_integer(class_id),
        name=Obis(octets),
        index=as_integer(index),
        piece=as_integer(piece),
    )


def decode_capture_objects(value: Value) -> tuple[CaptureObject, ...]:
    """Return the columns in order. Raises: PeerError `dlms.type`, `dlms.profile`."""
    columns = as_items(value)
    if not 1 <= len(columns) <= MAX_COLUMNS:
        raise PeerError("dlms.profile", f"a profile of {len(columns)} columns")
    return tuple(decode_capture_object(column) for column in columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """
    What one profile captures. *Units*: `period` in seconds.

    Raises (`of`): PeerError `dlms.profile` without a clock column or a usable period.
    """

    columns: tuple[CaptureObject, ...]
    period: int
    clock: int
    status: int | None

    @classmethod
    def of(cls, columns: tuple[CaptureObject, ...], period: int) -> "Layout":
        """Find the clock and the status among the columns."""
        clocks = [at for at, column in enumerate(columns) if _is_clock(column)]
        statuses = [at for at, column in enumerate(columns) if column.name == PROFILE_STATUS]
        if len(clocks) != 1 or not 1 <= period <= _MAX_PERIOD:
            raise PeerError(
                "dlms.profile", f"{len(clocks)} clock columns, capture period {period} s"
            )
        status = statuses[0] if statuses else None
        return cls(columns=columns, period=period, clock=clocks[0], status=status)

    def find(self, name: Obis) -> int | None:
        """Return the column that holds the value of `name`, if there is one."""
        for at, column in enumerate(self.columns):
            if column.name == name and column.index == 2 and not column.piece:
                return at
        return None


def _is_clock(column: CaptureObject) -> bool:
    return column.class_id == CLOCK_CLASS and column.name == CLOCK


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileRow:
    """One interval `[start, start + period)`; `values` by column, null repeated already."""

    start: datetime
    status: Status
    values: tuple[Value, ...]


def decode_rows(value: Value, layout: Layout, rule: ClockRule = STANDARD) -> list[ProfileRow]:
    """
    Return the rows of a buffer in the meter's order.

    Raises: PeerError `dlms.profile` for a row of another width or a null with nothing before it,
    `dlms.clock`, `dlms.type`.
    """
    period = timedelta(seconds=layout.period)
    rows: list[ProfileRow] = []
    before: tuple[Value, ...] = ()
    end: datetime | None = None
    doubt = _NO_DOUBT
    for record in as_items(value):
        cells = as_items(record)
        if len(cells) != len(layout.columns):
            raise PeerError("dlms.profile", f"a row of {len(cells)}, not {len(layout.columns)}")
        stamp = cells[layout.clock]
        if stamp == NULL:
            if end is None:
                raise PeerError("dlms.profile", "the first row has no stamp")
            end += period
        else:
            moment = decode_moment(as_octets(stamp), rule)
            end, doubt = moment.instant, _doubt(moment.status)
        cells = _repeat_nulls(cells, before, layout.clock)
        status = doubt
        if layout.status is not None:
            told = as_integer(cells[layout.status])
            status = status_of(told & _KNOWN_STATUS | int(doubt))
        rows.append(ProfileRow(start=end - period, status=status, values=cells))
        before = cells
    return rows


@cache
def status_of(bits: int) -> Status:
    """Return the flags; making one anew for each row would cost more than all else."""
    return Status(bits)


def status_bits(told: int, clock_status: int) -> int:
    """Return the bits of `Status` for what a row's status column and its stamp say."""
    return told & _KNOWN_STATUS | int(_doubt(ClockStatus(clock_status)))


@cache
def _doubt(told: ClockStatus) -> Status:
    """Return what the clock's own status says about the interval."""
    status = _NO_DOUBT
    if told & (ClockStatus.INVALID | ClockStatus.DOUBTFUL):
        status |= Status.CLOCK_INVALID
    if told & ClockStatus.DAYLIGHT_SAVING:
        status |= Status.DAYLIGHT_SAVING
    return status


def _repeat_nulls(
    cells: tuple[Value, ...], before: tuple[Value, ...], clock: int
) -> tuple[Value, ...]:
    if NULL not in cells:
        return cells
    if not before:
        if any(cell == NULL for at, cell in enumerate(cells) if at != clock):
            raise PeerError("dlms.profile", "the first row repeats a value that is not there")
        return cells
    return tuple(
        before[at] if cell == NULL and at != clock else cell for at, cell in enumerate(cells)
    )


def by_range(
    first_end: datetime,
    last_end: datetime,
    *,
    deviation: int,
    columns: Sequence[CaptureObject] = (),
    name: Obis = LOAD_PROFILE,
) -> Attribute:
    """Return a buffer's rows whose END stamp is `first_end..last_end`, both in; no columns: all."""
    selection = structure(
        CLOCK_COLUMN.encode(),
        octet_string(encode_moment(first_end, deviation=deviation)),
        octet_string(encode_moment(last_end, deviation=deviation)),
        array(column.encode() for column in columns),
    )
    return _buffer(name, BY_RANGE, selection)


def by_entry(
    first: int,
    last: int,
    *,
    first_column: int = 1,
    last_column: int = 0,
    name: Obis = LOAD_PROFILE,
) -> Attribute:
    """Return a buffer's entries `first..last` and columns, all counted from 1; 0 is the last."""
    selection = structure(
        double_long_unsigned(first),
        double_long_unsigned(last),
        long_unsigned(first_column),
        long_unsigned(last_column),
    )
    return _buffer(name, BY_ENTRY, selection)


def _buffer(name: Obis, selector: int, selection: Value) -> Attribute:
    return Attribute(
        class_id=CLASS_ID, name=name, index=BUFFER, selector=selector, selection=selection
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeWanted:
    """What a range selector asks for: END stamps, both in, and which columns (empty: all)."""

    first_end: datetime
    last_end: datetime
    columns: tuple[CaptureObject, ...] = ()


def decode_range(value: Value, rule: ClockRule = STANDARD) -> RangeWanted:
    """Return a range over the clock. Raises: PeerError `dlms.profile`, others as decoding."""
    restricting, first, last, columns = as_items(value, count=4)
    if not _is_clock(decode_capture_object(restricting)):
        raise PeerError("dlms.profile", "a range over another column than the clock")
    return RangeWanted(
        first_end=decode_moment(as_octets(first), rule).instant,
        last_end=decode_moment(as_octets(last), rule).instant,
        columns=tuple(decode_capture_object(column) for column in as_items(columns)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class EntriesWanted:
    """What an entry selector asks for, counted from 1; a last of 0 is the end."""

    first: int
    last: int
    first_column: int
    last_column: int

    @property
    def rows(self) -> slice:
        """Return the rows as a slice."""
        return slice(self.first - 1, self.last or None)

    @property
    def columns(self) -> slice:
        """Return the columns as a slice."""
        return slice(self.first_column - 1, self.last_column or None)


def decode_entry_selection(value: Value) -> EntriesWanted:
    """Return which entries and columns. Raises: PeerError `dlms.profile`, others as decoding."""
    numbers = [as_integer(part) for part in as_items(value, count=4)]
    for first, last in (numbers[:2], numbers[2:]):
        if first < 1 or last < 0 or (last and last < first):
            raise PeerError("dlms.profile", f"entries or columns {first}..{last}")
    return EntriesWanted(
        first=numbers[0], last=numbers[1], first_column=numbers[2], last_column=numbers[3]
    )


def decode_entries(value: Value) -> tuple[int, int]:
    """Return first and last entry, counted from 1; last 0 is the end. Raises: PeerError."""
    wanted = decode_entry_selection(value)
    return wanted.first, wanted.last


def encode_rows(rows: Sequence[Sequence[Value]]) -> Value:
    """Return a buffer of rows."""
    return array(structure(*row) for row in rows)
