"""
Event logs and alarm registers of a simulated DLMS meter, numbered as IDIS numbers them.

*Source*: IEC 62056-6-2 class_id 7; IDIS package 2 (0-0:99.98.e, 0-0:96.11.e, 0-0:97.98.e).
"""

from collections.abc import Callable
from functools import partial

from protocols.dlms.classes import profile
from protocols.dlms.classes.register import DATA_CLASS, VALUE
from protocols.dlms.event_codes import alarm_name, log_name
from protocols.dlms.obis import obis
from protocols.dlms.reference import Access, Attribute, Got
from protocols.dlms.values import Value, array, as_integer, double_long_unsigned, unsigned
from protocols.errors import PeerError
from protocols.timeline import to_ms
from simulators.meter.dlms_parts import Part, stamp
from simulators.meter.event_book import LOGS, Entry, EventBook
from simulators.meter.state import Snapshot

_IN_USE, _MOST = 7, 8
_CAPACITY = 500


def logs_of(book: EventBook) -> Part:
    """Return the objects that show what a meter wrote down."""
    part = Part()
    for log in LOGS:
        _add_log(part, book, log)
    name = alarm_name(1)
    part.tell(DATA_CLASS, name, VALUE, lambda _: double_long_unsigned(book.alarms))
    part.writers[DATA_CLASS, bytes(name), VALUE] = lambda value: book.clear_alarms(
        as_integer(value)
    )
    return part


def _add_log(part: Part, book: EventBook, log: int) -> None:
    columns = (
        profile.CLOCK_COLUMN,
        profile.CaptureObject(class_id=DATA_CLASS, name=obis(f"0-0:96.11.{log}")),
    )
    told = array(column.encode() for column in columns)
    name = log_name(log)
    constants: dict[int, Callable[[], Value]] = {
        profile.CAPTURE_OBJECTS: lambda: told,
        profile.CAPTURE_PERIOD: lambda: double_long_unsigned(0),
        _IN_USE: lambda: double_long_unsigned(len(book.entries(log))),
        _MOST: lambda: double_long_unsigned(_CAPACITY),
    }
    part.tell_all(profile.CLASS_ID, name, constants)
    part.tell(profile.CLASS_ID, name, profile.BUFFER, lambda _: _rows(book.entries(log)))
    key = (profile.CLASS_ID, bytes(name), profile.BUFFER)
    part.selectors[key] = partial(_selected, book, log)


def _selected(book: EventBook, log: int, attribute: Attribute, _now: Snapshot) -> Got:
    entries = book.entries(log)
    if attribute.selection is None:
        return _rows(entries)
    try:
        if attribute.selector == profile.BY_ENTRY:
            first, last = profile.decode_entries(attribute.selection)
            return _rows(entries[first - 1 : last or None])
        if attribute.selector != profile.BY_RANGE:
            return Access.SCOPE_VIOLATED
        wanted = profile.decode_range(attribute.selection)
    except PeerError:
        return Access.SCOPE_VIOLATED
    if wanted.columns:
        return Access.SCOPE_VIOLATED
    first_ms, last_ms = to_ms(wanted.first_end), to_ms(wanted.last_end)
    return _rows(tuple(one for one in entries if first_ms <= one.device_ms <= last_ms))


def _rows(entries: tuple[Entry, ...]) -> Value:
    return profile.encode_rows([[stamp(one.device_ms), unsigned(one.code)] for one in entries])
