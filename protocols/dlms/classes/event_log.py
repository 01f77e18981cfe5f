"""
Event logs: profiles without a period whose rows are an instant and a code.

Columns are the meter's own affair: a log may hold running hours or the value that was exceeded
beside the two that matter, in any order. *Source*: IEC 62056-6-2 class_id 7; IEC 62056-6-1 names
0-0:96.11.e (event codes) and 0-0:99.98.e (logs).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from protocols.dlms.classes import profile
from protocols.dlms.classes.clock import CLASS_ID as CLOCK_CLASS
from protocols.dlms.classes.clock import STANDARD, ClockRule, decode_moment
from protocols.dlms.classes.profile import CaptureObject
from protocols.dlms.obis import Obis
from protocols.dlms.reference import Attribute
from protocols.dlms.values import NULL, Value, as_integer, as_items, as_octets
from protocols.errors import PeerError

MAX_ENTRIES = 20_000
_EVENT_CODE = bytes((96, 11))


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLayout:
    """
    Where a log keeps instant and code.

    Raises (`of`): PeerError `dlms.event_log` where it keeps not exactly one of each.
    """

    width: int
    clock: int
    code: int

    @classmethod
    def of(cls, columns: Sequence[CaptureObject]) -> "LogLayout":
        """Find instant and code among the columns."""
        clocks = [at for at, column in enumerate(columns) if column.class_id == CLOCK_CLASS]
        codes = [at for at, column in enumerate(columns) if column.name[2:4] == _EVENT_CODE]
        if len(clocks) != 1 or len(codes) != 1:
            raise PeerError(
                "dlms.event_log", f"{len(clocks)} clocks and {len(codes)} codes in an event log"
            )
        return cls(width=len(columns), clock=clocks[0], code=codes[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """One row: the meter's own instant and number."""

    at: datetime
    code: int


def attribute(log: Obis, index: int) -> Attribute:
    """Return an attribute of a log."""
    return Attribute(class_id=profile.CLASS_ID, name=log, index=index)


def decode_log(value: Value, layout: LogLayout, rule: ClockRule = STANDARD) -> list[LogEntry]:
    """
    Return the rows in the meter's order; a null code is that of the row before.

    Raises: PeerError `dlms.event_log` for a row of another width or too many of them,
    `dlms.clock`, `dlms.type`.
    """
    rows = as_items(value)
    if len(rows) > MAX_ENTRIES:
        raise PeerError("dlms.event_log", f"a log of {len(rows)} rows")
    entries: list[LogEntry] = []
    for row in rows:
        cells = as_items(row)
        if len(cells) != layout.width:
            raise PeerError("dlms.event_log", f"a row of {len(cells)}, not {layout.width}")
        told = cells[layout.code]
        if told == NULL and not entries:
            raise PeerError("dlms.event_log", "the first row repeats a code that is not there")
        code = entries[-1].code if told == NULL else as_integer(told)
        at = decode_moment(as_octets(cells[layout.clock]), rule).instant
        entries.append(LogEntry(at=at, code=code))
    return entries
