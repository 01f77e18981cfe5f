"""What numbers in logs mean by profile and log, and how the rows of a log are read."""

from datetime import UTC, datetime, timedelta

import pytest

from protocols.dlms.classes.clock import CLASS_ID as CLOCK_CLASS
from protocols.dlms.classes.clock import encode_moment
from protocols.dlms.classes.event_log import LogEntry, LogLayout, decode_log
from protocols.dlms.classes.profile import CLOCK_COLUMN, CaptureObject
from protocols.dlms.event_codes import (
    MOST_LOGS,
    Dialect,
    alarm_name,
    alarm_origin,
    alarms_in,
    log_name,
    meaning_of,
    origin_of,
)
from protocols.dlms.event_codes_spodes import SPODES_LOGS
from protocols.dlms.obis import CLOCK, obis, obis_text
from protocols.dlms.values import NULL, array, octet_string, structure, unsigned
from protocols.errors import PeerError
from protocols.events import EventCode

AT = datetime(2026, 3, 4, 10, 15, tzinfo=UTC)
CODE = CaptureObject(class_id=1, name=obis("0-0:96.11.1"))
HOURS = CaptureObject(class_id=3, name=obis("0-0:96.8.0"))


@pytest.mark.parametrize(
    ("dialect", "log", "code", "event", "detail"),
    [
        (Dialect.IDIS, 0, 1, EventCode.POWER_DOWN, ""),
        (Dialect.IDIS, 0, 5, EventCode.CLOCK_ADJUSTED, "new time"),
        (Dialect.IDIS, 1, 40, EventCode.TERMINAL_COVER_OPENED, ""),
        (Dialect.IDIS, 1, 46, EventCode.WRONG_PASSWORD, ""),
        (Dialect.IDIS, 1, 50, EventCode.REPLAY, ""),
        (Dialect.IDIS, 2, 62, EventCode.RELAY_OPENED_REMOTELY, ""),
        (Dialect.IDIS, 2, 68, EventCode.RELAY_FAILED, ""),
        (Dialect.DSMR4, 4, 80, EventCode.OVERVOLTAGE, "L1"),
        (Dialect.DSMR4, 4, 85, EventCode.VOLTAGE_NORMAL, "L3"),
        (Dialect.SMR5, 4, 80, EventCode.VOLTAGE_SAG, "L1"),
        (Dialect.SMR5, 4, 85, EventCode.VOLTAGE_SWELL, "L3"),
        (Dialect.IDIS, 4, 86, EventCode.PHASE_LOST, "L1"),
        (Dialect.IDIS, 4, 92, EventCode.PHASE_BACK, "L3"),
        (Dialect.IDIS, 3, 113, EventCode.SUBMETER_TAMPER, "channel 2"),
        (Dialect.IDIS, 0, 255, EventCode.LOG_CLEARED, ""),
        (Dialect.IDIS, 0, 200, EventCode.METER_OTHER, ""),
        (Dialect.SPODES, 0, 3, EventCode.PHASE_LOST, "L2"),
        (Dialect.SPODES, 0, 28, EventCode.PHASE_BACK, "all phases"),
        (Dialect.SPODES, 1, 23, EventCode.CURRENT_WITHOUT_VOLTAGE, "L3"),
        (Dialect.SPODES, 2, 3, EventCode.RELAY_OPENED_REMOTELY, ""),
        (Dialect.SPODES, 3, 3, EventCode.CLOCK_ADJUSTED, ""),
        (Dialect.SPODES, 4, 3, EventCode.TERMINAL_COVER_OPENED, ""),
        (Dialect.SPODES, 7, 18, EventCode.HARDWARE_OK, "timebase"),
        (Dialect.SPODES, 9, 1, EventCode.METER_OTHER, ""),
    ],
)
def test_a_number_means_what_its_profile_and_log_say(dialect, log, code, event, detail):
    meaning = meaning_of(dialect, log, code)
    assert (meaning.code, meaning.detail) == (event, detail)


def test_the_spodes_tables_are_as_long_as_the_standards_and_have_no_holes():
    longest = {log: max(table) for log, table in SPODES_LOGS.items()}
    assert longest == {0: 28, 1: 38, 2: 18, 3: 86, 4: 4, 5: 2, 6: 2, 7: 19, 8: 2}
    assert all(sorted(table) == list(range(1, max(table) + 1)) for table in SPODES_LOGS.values())


def test_names_and_origins_keep_profile_log_and_code():
    assert obis_text(log_name(MOST_LOGS - 1)) == "0-0:99.98.11*255"
    assert obis_text(alarm_name(3)) == "0-0:97.98.2*255"
    assert origin_of(Dialect.SPODES, 2, 3) == "spodes/99.98.2/3"
    assert origin_of(Dialect.IDIS, 1, 46, 3) == "idis/99.98.1/46#3"
    assert alarm_origin(Dialect.IDIS, 1, 13) == "idis/97.98.0/13"


def test_alarms_are_the_bits_that_stand():
    found = alarms_in(1, 1 << 0 | 1 << 13 | 1 << 29 | 1 << 5)
    assert [(bit, meaning.code, meaning.detail) for bit, meaning in found] == [
        (0, EventCode.CLOCK_INVALID, ""),
        (5, EventCode.METER_OTHER, ""),
        (13, EventCode.TAMPER, ""),
        (29, EventCode.PHASE_LOST, "L2"),
    ]
    assert [meaning.code for _, meaning in alarms_in(3, 1)] == [EventCode.LAST_GASP]


def stamp(seconds):
    return octet_string(encode_moment(AT + timedelta(seconds=seconds), deviation=-480))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_a_log_is_read_by_its_columns_wherever_they_stand(order):
    columns = [CLOCK_COLUMN, CODE, HOURS]
    layout = LogLayout.of([columns[at] for at in order])
    rows = [(stamp(0), unsigned(46), unsigned(9)), (stamp(1), NULL, NULL)]
    told = array(structure(*(row[at] for at in order)) for row in rows)
    assert decode_log(told, layout) == [
        LogEntry(at=AT, code=46), LogEntry(at=AT + timedelta(seconds=1), code=46),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "columns",
    [
        [CLOCK_COLUMN],
        [CODE],
        [CLOCK_COLUMN, CODE, CODE],
        [CLOCK_COLUMN, CaptureObject(class_id=CLOCK_CLASS, name=CLOCK), CODE],
        [CLOCK_COLUMN, HOURS],
    ],
)
def test_a_log_without_one_clock_and_one_code_is_none(columns):
    with pytest.raises(PeerError) as caught:
        LogLayout.of(columns)
    assert caught.value.code == "dlms.event_log"


@pytest.mark.parametrize(
    "rows",
    [
        [structure(stamp(0))],
        [structure(stamp(0), NULL)],
        [structure(stamp(0), unsigned(1), unsigned(1))],
    ],
)
def test_rows_of_another_shape_are_refused(rows):
    with pytest.raises(PeerError) as caught:
        decode_log(array(rows), LogLayout.of([CLOCK_COLUMN, CODE]))
    assert caught.value.code == "dlms.event_log"


def test_a_stamp_that_is_none_is_refused_not_guessed():
    rows = [structure(octet_string(b"\xff" * 12), unsigned(1))]
    with pytest.raises(PeerError) as caught:
        decode_log(array(rows), LogLayout.of([CLOCK_COLUMN, CODE]))
    assert caught.value.code == "dlms.clock"
