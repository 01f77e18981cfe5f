"""Date-times: UTC = local + deviation, and every way a stamp can leave something out."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dlms.classes.clock import ClockRule, ClockStatus, decode_moment, encode_moment
from protocols.errors import PeerError

INSTANTS = st.datetimes(
    min_value=datetime(1990, 1, 1), max_value=datetime(2090, 1, 1), timezones=st.just(UTC)
).map(lambda at: at.replace(microsecond=at.microsecond // 10_000 * 10_000))
NOON = bytes.fromhex("07EA0304FF0C000000")


def stamp(deviation, status=0):
    return NOON + deviation.to_bytes(2, "big", signed=True) + bytes((status,))


@given(INSTANTS, st.integers(-840, 840), st.sampled_from([1, -1]))
def test_what_is_written_is_read_again(instant, deviation, sign):
    rule = ClockRule(sign=sign)
    read = decode_moment(encode_moment(instant, deviation=deviation, rule=rule), rule)
    assert (read.instant, read.deviation) == (instant, deviation)


def test_china_sends_minus_480():
    assert decode_moment(stamp(-480)).instant == datetime(2026, 3, 4, 4, 0, tzinfo=UTC)
    assert decode_moment(stamp(-480)).deviation == -480


def test_deviation_zero_is_utc_and_not_unspecified():
    read = decode_moment(stamp(0), ClockRule(assumed_deviation=-480))
    assert read.instant == datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
    assert read.deviation == 0


def test_an_unspecified_deviation_needs_a_configured_one():
    with pytest.raises(PeerError, match="no instant"):
        decode_moment(stamp(-0x8000))
    read = decode_moment(stamp(-0x8000), ClockRule(assumed_deviation=-480))
    assert read.instant == datetime(2026, 3, 4, 4, 0, tzinfo=UTC)
    assert read.deviation is None


def test_a_profile_that_flips_the_sign():
    read = decode_moment(stamp(480), ClockRule(sign=-1))
    assert read.instant == datetime(2026, 3, 4, 4, 0, tzinfo=UTC)


def test_status_ff_means_nothing_is_said():
    assert decode_moment(stamp(0, 0xFF)).status == ClockStatus(0)
    assert decode_moment(stamp(0, 0x81)).status == (
        ClockStatus.INVALID | ClockStatus.DAYLIGHT_SAVING
    )


def test_unspecified_seconds_and_hundredths_are_zero():
    octets = bytearray(stamp(0))
    octets[7] = octets[8] = 0xFF
    assert decode_moment(bytes(octets)).instant == datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(("at", "octet"), [(0, 0), (2, 13), (2, 0xFF), (3, 31), (3, 0), (5, 24),
                                           (6, 60), (7, 60), (8, 100), (9, 0x7F)])  # fmt: skip
def test_an_impossible_field_is_the_meters_fault(at, octet):
    octets = bytearray(stamp(0))
    octets[at] = octet
    if at == 0:
        octets[1] = 0
    if at == 3 and octet == 31:
        octets[2] = 2
    with pytest.raises(PeerError) as refused:
        decode_moment(bytes(octets))
    assert refused.value.code == "dlms.clock"


@pytest.mark.parametrize("length", [0, 11, 13])
def test_another_length_is_no_stamp(length):
    with pytest.raises(PeerError, match="12 octets"):
        decode_moment(bytes(length))


def test_the_last_hours_of_the_calendar_do_not_break_it():
    late = (9999).to_bytes(2, "big") + bytes((12, 31, 5, 23, 59, 59, 0)) + b"\x03\x48\x00"
    with pytest.raises(PeerError):
        decode_moment(late)


def test_a_naive_instant_is_our_own_mistake():
    with pytest.raises(ValueError, match="naive"):
        encode_moment(datetime(2026, 1, 1))


def test_the_weekday_is_local():
    late_sunday = datetime(2026, 3, 1, 20, 0, tzinfo=UTC)
    assert encode_moment(late_sunday, deviation=-480)[4] == 1
    assert encode_moment(late_sunday)[4] == 7
    assert late_sunday + timedelta(hours=8) == datetime(2026, 3, 2, 4, 0, tzinfo=UTC)
