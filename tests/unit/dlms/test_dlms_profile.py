"""Profile generic: columns as the meter has them, END stamps to starts, nulls repeated."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dlms.axdr import decode_whole, encode
from protocols.dlms.classes import profile
from protocols.dlms.classes.clock import encode_moment
from protocols.dlms.classes.register import CHANNEL_NAME
from protocols.dlms.values import (
    NULL,
    array,
    as_integer,
    double_long_unsigned,
    octet_string,
    structure,
    unsigned,
)
from protocols.errors import PeerError
from protocols.reading import Channel, Status

ENERGY = profile.CaptureObject(class_id=3, name=CHANNEL_NAME[Channel.IMPORT_INTERVAL_WH])
MIDNIGHT = datetime(2026, 3, 4, 16, 0, tzinfo=UTC)  # 00:00 of 5 March in China
LAYOUT = profile.Layout.of((profile.CLOCK_COLUMN, profile.STATUS_COLUMN, ENERGY), 1800)


def stamp(instant, status=0):
    return octet_string(encode_moment(instant, deviation=-480)[:-1] + bytes((status,)))


def row(instant, status, wh):
    return structure(stamp(instant), unsigned(status), double_long_unsigned(wh))


def test_a_stamp_of_midnight_belongs_to_the_day_before():
    (read,) = profile.decode_rows(array([row(MIDNIGHT, 0, 250)]), LAYOUT)
    assert read.start == MIDNIGHT - timedelta(minutes=30)
    assert as_integer(read.values[2]) == 250


@given(st.permutations([0, 1, 2]), st.lists(st.integers(0, 9000), min_size=1, max_size=30))
def test_columns_stand_where_the_meter_says(order, energies):
    columns = [profile.CLOCK_COLUMN, profile.STATUS_COLUMN, ENERGY]
    layout = profile.Layout.of(tuple(columns[at] for at in order), 900)
    rows = []
    for count, wh in enumerate(energies):
        end = MIDNIGHT + timedelta(seconds=900 * count)
        cells = [stamp(end), unsigned(count % 2), double_long_unsigned(wh)]
        rows.append(structure(*(cells[at] for at in order)))
    read = profile.decode_rows(decode_whole(encode(array(rows))), layout)
    at = layout.find(ENERGY.name)
    assert [as_integer(r.values[at]) for r in read] == energies
    assert [r.status for r in read] == [Status(n % 2) for n in range(len(energies))]
    assert [r.start for r in read] == [
        MIDNIGHT + timedelta(seconds=900 * (n - 1)) for n in range(len(energies))
    ]


def test_null_compression_gives_the_same_rows():
    plain = array([row(MIDNIGHT + timedelta(minutes=30 * n), 2, 77) for n in range(4)])
    packed = array([row(MIDNIGHT, 2, 77), *[structure(NULL, NULL, NULL) for _ in range(3)]])

    def told(buffer):
        rows = profile.decode_rows(buffer, LAYOUT)
        return [(r.start, r.status, as_integer(r.values[2])) for r in rows]

    assert told(packed) == told(plain)


def test_a_null_clock_after_a_new_stamp_goes_on_from_it():
    gap = MIDNIGHT + timedelta(hours=5)
    rows = profile.decode_rows(
        array([row(MIDNIGHT, 0, 1), row(gap, 0, 2), structure(NULL, unsigned(0), NULL)]), LAYOUT
    )
    assert [r.start for r in rows] == [
        MIDNIGHT - timedelta(minutes=30),
        gap - timedelta(minutes=30),
        gap,
    ]
    assert as_integer(rows[2].values[2]) == 2


@pytest.mark.parametrize(
    "first",
    [
        structure(NULL, unsigned(0), double_long_unsigned(1)),
        structure(stamp(MIDNIGHT), NULL, double_long_unsigned(1)),
        structure(stamp(MIDNIGHT), unsigned(0)),
    ],
    ids=["no-stamp", "nothing-to-repeat", "narrow"],
)
def test_a_first_row_must_be_whole(first):
    with pytest.raises(PeerError) as refused:
        profile.decode_rows(array([first]), LAYOUT)
    assert refused.value.code == "dlms.profile"


def test_status_joins_the_profile_byte_and_the_clocks_own_doubt():
    cells = structure(stamp(MIDNIGHT, 0x82), unsigned(0x24 | 0x10), double_long_unsigned(1))
    (read,) = profile.decode_rows(array([cells]), LAYOUT)
    assert read.status == (
        Status.DATA_NOT_VALID
        | Status.CLOCK_ADJUSTED
        | Status.CLOCK_INVALID
        | Status.DAYLIGHT_SAVING
    )


def test_without_a_status_column_there_is_no_status():
    layout = profile.Layout.of((profile.CLOCK_COLUMN, ENERGY), 900)
    (read,) = profile.decode_rows(
        array([structure(stamp(MIDNIGHT), double_long_unsigned(3))]), layout
    )
    assert read.status == Status(0)


@pytest.mark.parametrize(
    ("columns", "period"),
    [
        ((ENERGY,), 900),
        ((profile.CLOCK_COLUMN, profile.CLOCK_COLUMN), 900),
        ((profile.CLOCK_COLUMN, ENERGY), 0),
        ((profile.CLOCK_COLUMN, ENERGY), 2**32 - 1),
    ],
)
def test_a_profile_that_cannot_be_placed_in_time_is_refused(columns, period):
    with pytest.raises(PeerError) as refused:
        profile.Layout.of(columns, period)
    assert refused.value.code == "dlms.profile"


def test_capture_objects_come_back():
    columns = (profile.CLOCK_COLUMN, ENERGY)
    told = array(column.encode() for column in columns)
    assert profile.decode_capture_objects(decode_whole(encode(told))) == columns
    for wrong in (array([]), array([profile.CLOCK_COLUMN.encode()] * 65)):
        with pytest.raises(PeerError):
            profile.decode_capture_objects(wrong)


def test_a_range_comes_back():
    asked = profile.by_range(MIDNIGHT, MIDNIGHT + timedelta(days=1), deviation=-480)
    wanted = profile.decode_range(decode_whole(encode(asked.selection)))
    assert (wanted.first_end, wanted.last_end) == (MIDNIGHT, MIDNIGHT + timedelta(days=1))
    assert wanted.columns == ()
    assert asked.selector == 1


def test_entries_come_back():
    asked = profile.by_entry(3, 9)
    assert profile.decode_entries(asked.selection) == (3, 9)
    with pytest.raises(PeerError):
        profile.decode_entries(profile.by_entry(9, 3).selection)


def test_a_range_of_some_columns_comes_back():
    asked = profile.by_range(
        MIDNIGHT, MIDNIGHT, deviation=0, columns=[profile.CLOCK_COLUMN, ENERGY]
    )
    wanted = profile.decode_range(decode_whole(encode(asked.selection)))
    assert wanted.columns == (profile.CLOCK_COLUMN, ENERGY)


@pytest.mark.parametrize(
    ("columns", "chosen"), [((1, 0), "abc"), ((2, 2), "b"), ((2, 0), "bc"), ((1, 2), "ab")]
)
def test_entries_of_some_columns_come_back(columns, chosen):
    asked = profile.by_entry(2, 3, first_column=columns[0], last_column=columns[1])
    wanted = profile.decode_entry_selection(decode_whole(encode(asked.selection)))
    assert ([1, 2, 3, 4][wanted.rows], "abc"[wanted.columns]) == ([2, 3], chosen)


@pytest.mark.parametrize("columns", [(0, 0), (3, 2)])
def test_columns_that_are_none_are_refused(columns):
    asked = profile.by_entry(1, 0, first_column=columns[0], last_column=columns[1])
    with pytest.raises(PeerError) as refused:
        profile.decode_entry_selection(asked.selection)
    assert refused.value.code == "dlms.profile"
