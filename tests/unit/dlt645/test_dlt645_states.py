"""State words bit by bit, and the times of event records."""

from datetime import datetime

import pytest

from protocols.dlt645 import bcd, states
from protocols.errors import PeerError
from protocols.events import EventCode

AT = datetime(2026, 3, 4, 18, 7, 9)


@pytest.mark.parametrize(
    ("word", "bit", "begins", "detail", "ends"),
    [
        (1, 2, EventCode.BATTERY_LOW, "clock", None),
        (1, 4, EventCode.CURRENT_REVERSED, "active power", EventCode.CURRENT_NORMAL),
        (4, 0, EventCode.PHASE_LOST, "L1", EventCode.PHASE_BACK),
        (5, 1, EventCode.UNDERVOLTAGE, "L2", EventCode.VOLTAGE_NORMAL),
        (6, 8, EventCode.CURRENT_TRANSFORMER, "L3", EventCode.CURRENT_NORMAL),
        (7, 5, EventCode.POWER_DOWN, "", EventCode.POWER_UP),
        (7, 0, EventCode.PHASE_ORDER, "voltages", None),
        (7, 15, EventCode.METER_OTHER, "", None),
    ],
)
def test_a_bit_that_rises_is_an_event_and_one_that_falls_where_its_end_has_a_name(
    word, bit, begins, detail, ends
):
    (risen,) = states.changes(word, 0, 1 << bit)
    assert (risen.meaning.code, risen.meaning.detail) == (begins, detail)
    assert risen.origin == f"dlt645/state{word}/{bit}"
    fallen = [change.meaning.code for change in states.changes(word, 1 << bit, 0)]
    assert fallen == ([] if ends is None else [ends])


def test_what_stays_as_it_was_is_no_event_nor_is_how_demand_is_reckoned():
    assert states.changes(4, 0b1011, 0b1011) == ()
    assert states.changes(1, 0, 0b10) == ()


def test_a_word_goes_low_octet_first():
    assert states.decode_word(bytes.fromhex("1001")) == 0x0110
    assert states.encode_word(0x0110).hex() == "1001"
    with pytest.raises(PeerError, match="2 octets"):
        states.decode_word(b"\x00")


def test_a_record_tells_begin_and_end_whatever_follows_them():
    begin, end = bcd.encode_date_time(AT), bcd.encode_date_time(AT.replace(hour=19))
    assert states.decode_record(begin + end + bytes(48)) == (AT, AT.replace(hour=19))
    assert states.decode_record(begin + bytes(6)) == (AT, None)
    assert states.decode_record(bytes(12)) is None
    for octets in (begin, b"\x99" * 12):
        with pytest.raises(PeerError):
            states.decode_record(octets)
