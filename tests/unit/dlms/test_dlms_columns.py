"""A profile read as columns tells what the row decoder tells, for every buffer; and quickly."""

import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.dlms.axdr import decode_whole, encode
from protocols.dlms.classes import profile
from protocols.dlms.classes.clock import ClockRule, encode_moment
from protocols.dlms.classes.columns import columns_of, fixed_columns, read_columns
from protocols.dlms.classes.register import CHANNEL_NAME
from protocols.dlms.values import (
    NULL,
    Tag,
    Value,
    array,
    double_long_unsigned,
    octet_string,
    structure,
    unsigned,
)
from protocols.errors import PeerError
from protocols.reading import Channel
from protocols.timeline import to_ms

ENERGY = profile.CaptureObject(class_id=3, name=CHANNEL_NAME[Channel.IMPORT_INTERVAL_WH])
REGISTER = profile.CaptureObject(class_id=3, name=CHANNEL_NAME[Channel.IMPORT_WH])
COLUMNS = (profile.CLOCK_COLUMN, profile.STATUS_COLUMN, ENERGY)
LAYOUT = profile.Layout.of(COLUMNS, 900)
BEGIN = datetime(2026, 3, 4, 16, 0, tzinfo=UTC)

RANGES = {
    Tag.INTEGER: (-128, 127),
    Tag.UNSIGNED: (0, 255),
    Tag.ENUM: (0, 255),
    Tag.LONG: (-(2**15), 2**15 - 1),
    Tag.LONG_UNSIGNED: (0, 2**16 - 1),
    Tag.DOUBLE_LONG: (-(2**31), 2**31 - 1),
    Tag.DOUBLE_LONG_UNSIGNED: (0, 2**32 - 1),
    Tag.LONG64: (-(2**63), 2**63 - 1),
    Tag.LONG64_UNSIGNED: (0, 2**64 - 1),
}


def month(rows=2976):
    buffer = array(
        structure(
            octet_string(encode_moment(BEGIN + timedelta(minutes=15 * n), deviation=-480)),
            unsigned(0x20 if n % 97 == 0 else 0),
            double_long_unsigned(n * 7919 % 900),
        )
        for n in range(rows)
    )
    return encode(buffer)


def told(octets, layout, wanted, rule):
    """What the general decoder says: rows or the code of its refusal."""
    try:
        rows = profile.decode_rows(decode_whole(octets), layout, rule)
        columns = columns_of(rows, wanted)
    except PeerError as error:
        return error.code
    return plain(columns)


def plain(columns):
    return (
        list(columns.starts_ms),
        list(columns.status),
        {at: list(column) for at, column in columns.numbers.items()},
    )


@st.composite
def stamps(draw):
    """Mostly sound stamps; a few with fields left open, odd or impossible."""
    at = BEGIN + timedelta(seconds=draw(st.integers(-(10**9), 10**9)))
    octets = bytearray(encode_moment(at, deviation=draw(st.sampled_from([-480, 0, 60]))))
    octets[11] = draw(st.sampled_from([0, 0, 1, 0x80, 0x82, 0xFF]))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        place = draw(st.integers(0, 11))
        octets[place] = draw(st.sampled_from([0xFF, 0, 0x80, 13, 31, 60, 99]))
    if draw(st.integers(0, 9)) == 0:
        octets[9:11] = b"\x80\x00"
    return bytes(octets)


@st.composite
def buffers(draw):
    """A layout in any order, and rows that mostly keep it; sometimes octets are spoilt."""
    order = draw(st.permutations([*COLUMNS, REGISTER]))
    kinds = [draw(st.sampled_from([*RANGES, Tag.BCD, Tag.FLOAT32])) for _ in order]
    clock_tag = draw(st.sampled_from([Tag.OCTET_STRING, Tag.DATE_TIME]))
    rows = []
    for _ in range(draw(st.integers(0, 6))):
        cells = []
        for column, kind in zip(order, kinds, strict=True):
            if column is profile.CLOCK_COLUMN:
                cells.append(Value(int(clock_tag), draw(stamps())))
            elif draw(st.integers(0, 19)) == 0:
                cells.append(NULL)
            elif kind in RANGES:
                cells.append(Value(int(kind), draw(st.integers(*RANGES[kind]))))
            else:
                cells.append(Value(int(kind), 1))
        rows.append(structure(*cells))
    octets = bytearray(encode(array(rows)))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1]))):
        octets[draw(st.integers(0, len(octets) - 1))] = draw(st.integers(0, 255))
    return bytes(octets), profile.Layout.of(tuple(order), 900)


@given(
    buffers(),
    st.sampled_from([ClockRule(), ClockRule(assumed_deviation=-480), ClockRule(sign=-1)]),
)
@settings(max_examples=600, deadline=None)
def test_both_ways_tell_the_same(buffer, rule):
    octets, layout = buffer
    wanted = (layout.find(ENERGY.name), layout.find(REGISTER.name))
    general = told(octets, layout, wanted, rule)
    quick = fixed_columns(octets, layout, wanted, rule)
    if quick is not None:
        assert plain(quick) == general
    if isinstance(general, str):
        with pytest.raises(PeerError, match=general):
            read_columns(octets, layout, wanted, rule)
    else:
        assert plain(read_columns(octets, layout, wanted, rule)) == general


def test_the_common_month_goes_the_quick_way_and_is_right():
    octets = month()
    quick = fixed_columns(octets, LAYOUT, (2,))
    assert quick is not None
    assert plain(quick) == told(octets, LAYOUT, (2,), ClockRule())
    assert quick.starts_ms[0] == to_ms(BEGIN - timedelta(minutes=15))
    assert quick.numbers[2][1] == 7919 % 900


def test_a_month_is_read_in_far_less_than_nine_milliseconds():
    octets = month()
    took = []
    for _ in range(9):
        begun = time.process_time()
        columns = read_columns(octets, LAYOUT, (2,))
        took.append(time.process_time() - begun)
    assert len(columns) == 2976
    assert min(took) < 0.009


def test_null_compression_takes_the_general_way():
    first = structure(
        octet_string(encode_moment(BEGIN, deviation=-480)), unsigned(0), double_long_unsigned(5)
    )
    octets = encode(array([first, *[structure(NULL, NULL, NULL)] * 3]))
    assert fixed_columns(octets, LAYOUT, (2,)) is None
    columns = read_columns(octets, LAYOUT, (2,))
    assert columns.numbers[2] == [5] * 4
    assert [b - a for a, b in pairwise(columns.starts_ms)] == [900_000] * 3


@pytest.mark.parametrize("number", [2**62, 2**64 - 1])
def test_a_number_beyond_any_energy_is_refused(number):
    layout = profile.Layout.of((profile.CLOCK_COLUMN, ENERGY), 900)
    row = structure(
        octet_string(encode_moment(BEGIN, deviation=0)), Value(int(Tag.LONG64_UNSIGNED), number)
    )
    with pytest.raises(PeerError) as refused:
        read_columns(encode(array([row])), layout, (1,))
    assert refused.value.code == "dlms.profile"


def test_a_meter_cannot_say_what_is_ours_to_say():
    told_by_meter = double_long_unsigned(0xFFFF_FF01)
    stamp = octet_string(encode_moment(BEGIN, deviation=0))
    octets = encode(array([structure(stamp, told_by_meter, double_long_unsigned(5))]))
    general = profile.decode_rows(decode_whole(octets), LAYOUT)
    assert list(read_columns(octets, LAYOUT, (2,)).status) == [int(general[0].status)] == [1]


def test_rows_in_any_order_are_sorted_and_keep_their_values():
    rows = [
        structure(
            octet_string(encode_moment(BEGIN + timedelta(minutes=15 * n), deviation=0)),
            unsigned(n),
            double_long_unsigned(n),
        )
        for n in (3, 1, 2)
    ]
    columns = read_columns(encode(array(rows)), LAYOUT, (2,)).sorted()
    assert columns.numbers[2] == [1, 2, 3]
    assert columns.status == [1, 2, 3]
