"""Intervals, grids, local days of 23, 24 and 25 hours, and the one factor of time."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.timeline import (
    EPOCH,
    Interval,
    TimeScale,
    floor_to_grid,
    from_ms,
    grid_starts,
    local_date,
    local_day,
    local_year,
    to_ms,
)

BERLIN = ZoneInfo("Europe/Berlin")
TEHRAN = ZoneInfo("Asia/Tehran")
ZONES = ["Europe/Berlin", "Asia/Tehran", "Asia/Shanghai", "Asia/Tashkent", "Australia/Lord_Howe"]
INSTANTS = st.datetimes(
    min_value=datetime(1990, 1, 1), max_value=datetime(2080, 1, 1), timezones=st.just(UTC)
)


@pytest.mark.parametrize(
    ("day", "zone", "hours"),
    [
        (date(2026, 3, 29), BERLIN, 23),
        (date(2026, 10, 25), BERLIN, 25),
        (date(2026, 7, 1), BERLIN, 24),
        (date(2022, 3, 22), TEHRAN, 23),
        (date(2026, 3, 22), TEHRAN, 24),
        (date(2026, 4, 5), ZoneInfo("Australia/Lord_Howe"), 24.5),
    ],
)
def test_a_local_day_is_as_long_as_the_clock_change_makes_it(
    day: date, zone: ZoneInfo, hours: float
) -> None:
    span = local_day(day, zone)
    assert span.length == timedelta(hours=hours)
    assert len(list(grid_starts(span, 1800))) == hours * 2


@given(day=st.dates(date(1995, 1, 1), date(2060, 1, 1)), zone=st.sampled_from(ZONES))
def test_local_days_meet_without_gap_and_hold_their_own_instants(day: date, zone: str) -> None:
    there = ZoneInfo(zone)
    today, tomorrow = local_day(day, there), local_day(day + timedelta(days=1), there)
    assert today.end == tomorrow.start
    assert local_date(today.start, there) == day
    assert local_date(today.end - timedelta(milliseconds=1), there) == day


def test_a_local_year_is_made_of_its_days() -> None:
    year = local_year(2026, BERLIN)
    assert year.start == local_day(date(2026, 1, 1), BERLIN).start
    assert year.end == local_day(date(2026, 12, 31), BERLIN).end


@given(instant=INSTANTS)
def test_milliseconds_round_down_and_come_back(instant: datetime) -> None:
    back = from_ms(to_ms(instant))
    assert timedelta() <= instant - back < timedelta(milliseconds=1)
    assert to_ms(back) == to_ms(instant)


def test_before_1970_milliseconds_round_down_as_well() -> None:
    assert to_ms(EPOCH - timedelta(microseconds=1)) == -1


def test_a_naive_instant_is_refused() -> None:
    with pytest.raises(ValueError, match="naive"):
        to_ms(datetime(2026, 1, 1))
    with pytest.raises(ValueError, match="zone-aware"):
        Interval(start=datetime(2026, 1, 1), end=datetime(2026, 1, 2, tzinfo=UTC))


@pytest.mark.parametrize("seconds", [0, -1])
def test_an_empty_or_backward_interval_is_refused(seconds: int) -> None:
    with pytest.raises(ValueError, match="end after"):
        Interval(start=EPOCH, end=EPOCH + timedelta(seconds=seconds))


@given(instant=INSTANTS, seconds=st.sampled_from([1, 60, 900, 1800, 3600, 86_400]))
def test_the_grid_floor_is_the_latest_grid_instant(instant: datetime, seconds: int) -> None:
    floor = floor_to_grid(instant, seconds)
    assert to_ms(floor) % (seconds * 1000) == 0
    assert floor <= instant < floor + timedelta(seconds=seconds)


@given(start=INSTANTS, length=st.integers(1, 200_000), seconds=st.sampled_from([900, 1800, 3600]))
def test_grid_starts_are_the_whole_slots_inside(start: datetime, length: int, seconds: int) -> None:
    span = Interval(start=start, end=start + timedelta(seconds=length))
    step = timedelta(seconds=seconds)
    starts = list(grid_starts(span, seconds))
    assert all(span.start <= item and item + step <= span.end for item in starts)
    assert all(later - earlier == step for earlier, later in pairwise(starts))
    if starts:
        assert starts[0] - step < span.start
        assert starts[-1] + 2 * step > span.end
    else:
        assert span.length < 2 * step


@given(instant=INSTANTS, wall=INSTANTS, origin=INSTANTS, speed=st.integers(1, 100_000))
def test_a_scale_goes_both_ways_and_through_text(
    instant: datetime, wall: datetime, origin: datetime, speed: int
) -> None:
    scale = TimeScale(wall_origin=wall, origin=origin, speed=speed)
    assert TimeScale.parse(str(scale)) == scale
    assert scale.at(wall) == origin
    near = origin + timedelta(seconds=speed * 7)
    assert scale.wall_at(near) == wall + timedelta(seconds=7)
    assert scale.stretch(2) == timedelta(seconds=2 * speed)


def test_no_text_is_the_identity_and_bad_text_says_what_is_expected() -> None:
    assert TimeScale.parse("").at(EPOCH) == EPOCH
    for text in ("fast", "1,2,3", "a,b", "2026-01-01T00:00:00+00:00,x,1"):
        with pytest.raises(ValueError, match="WALL,ORIGIN,SPEED"):
            TimeScale.parse(text)
    with pytest.raises(ValueError, match="speed"):
        TimeScale(speed=0)
