"""
State words and event records of a simulated DL/T 645 meter, from its line and its own logs.

*Source*: DL/T 645-2007 annex C (state words), table A.4 (records: begin, end, energies).
"""

from datetime import datetime

from protocols.dlt645 import bcd, states
from protocols.dlt645.exchange import ErrorWord
from protocols.timeline import from_ms
from simulators.meter.dlt645_refusal import ZONE, RefusedError
from simulators.meter.event_book import FRAUD, POWER_DOWN, POWER_UP, STANDARD, EventBook
from simulators.meter.state import Snapshot

_WORD_OF = {di: word for word, di in states.WORDS.items()}
_LOW_MV, _HIGH_MV = 198_000, 242_000
_UNDER, _OVER = 1 << 1, 1 << 2
_FIRST_PHASE_WORD = 4
_WRITTEN = {
    states.POWER_CUT: (STANDARD, POWER_DOWN, POWER_UP),
    states.METER_COVER: (FRAUD, 44, 45),
    states.TERMINAL_COVER: (FRAUD, 40, 41),
}
_RECORDS = 0x03
_KEPT = 10
_NO_TIME = bytes(6)


def told_event(book: EventBook, di: int, snapshot: Snapshot) -> bytes | None:
    """Return a state word or an event record, None for another item. Raises: RefusedError."""
    if di in _WORD_OF:
        return _told_word(_WORD_OF[di], snapshot)
    return _event_record(book, di) if di >> 24 == _RECORDS else None


def _told_word(word: int, snapshot: Snapshot) -> bytes:
    phase = word - _FIRST_PHASE_WORD
    if not 0 <= phase <= 2:
        return states.encode_word(0)  # batteries are full and no fault is planted there
    if phase >= len(snapshot.voltage_mv):
        raise RefusedError(ErrorWord.NO_SUCH_ITEM)
    voltage = snapshot.voltage_mv[phase]
    low = _UNDER if voltage < _LOW_MV else 0
    return states.encode_word(low | (_OVER if voltage > _HIGH_MV else 0))


def _event_record(book: EventBook, di: int) -> bytes:
    """Return the nth newest record of a kind."""
    first = di - di % 0x100 + 1
    if first not in _WRITTEN or not 1 <= di % 0x100 <= _KEPT:
        raise RefusedError(ErrorWord.NO_SUCH_ITEM)
    log, begins, ends = _WRITTEN[first]
    spans: list[tuple[int, int | None]] = []
    for entry in book.entries(log):
        if entry.code == begins:
            spans.append((entry.device_ms, None))
        elif entry.code == ends and spans:
            spans[-1] = (spans[-1][0], entry.device_ms)
    if di % 0x100 > len(spans):
        return _NO_TIME * 2
    begin, end = spans[-(di % 0x100)]
    return _encoded(begin) + (_NO_TIME if end is None else _encoded(end))


def _encoded(device_ms: int) -> bytes:
    local: datetime = from_ms(device_ms).astimezone(ZONE).replace(tzinfo=None)
    return bcd.encode_date_time(local)
