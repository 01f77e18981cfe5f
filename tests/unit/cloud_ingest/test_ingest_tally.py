"""Slots by hour: counted as one by one counting does, expected as the grid says."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.ingest.rules.homes import cells_of
from cloud.ingest.rules.packing import DAY_MS
from cloud.ingest.rules.tally import HOUR_MS, Change, expected, starts_by_hour, tally_of
from protocols.reading import Channel

_IMPORT = int(Channel.IMPORT_INTERVAL_WH)
_LENGTHS = st.sampled_from([300, 900, 1800, 2700, 3600, 7200, 86_400])
_DAY0 = 20_000


@st.composite
def readings(draw: st.DrawFn) -> tuple[np.ndarray, ...]:
    """Ordered new readings of a few series, with the place of each one's concentrator."""
    rows = []
    for series in range(1, draw(st.integers(1, 5)) + 1):
        length, place = draw(_LENGTHS), draw(st.integers(0, 2))
        channel = draw(st.sampled_from([_IMPORT, int(Channel.EXPORT_INTERVAL_WH)]))
        if draw(st.booleans()):
            starts = list(range(0, DAY_MS, length * 1000))
        else:
            many = 2 * DAY_MS // (length * 1000)
            starts = [n * length * 1000 for n in draw(st.sets(st.integers(0, many), max_size=9))]
        rows += [(series, place, channel, _DAY0 * DAY_MS + at, length) for at in sorted(starts)]
    table = np.array(rows, dtype=np.int64).reshape(-1, 5)
    return tuple(table.T)


@pytest.mark.req("A8")
@given(readings())
def test_a_tally_counts_every_import_slot_once(columns: tuple[np.ndarray, ...]) -> None:
    series, place, channel, at_ms, seconds = columns
    found = tally_of(
        cells_of(series, at_ms, seconds), place=place, channel=channel, at_ms=at_ms,
        seconds=seconds,
    )  # fmt: skip
    counted = Counter(
        (int(p), int(at) // DAY_MS, int(at) % DAY_MS // HOUR_MS)
        for p, c, at in zip(place, channel, at_ms, strict=True)
        if c == _IMPORT
    )
    told = {
        (int(p), int(day), hour): int(slots[hour])
        for p, day, slots in zip(found.place, found.day, found.slots, strict=True)
        for hour in range(24)
        if slots[hour]
    }
    assert told == dict(counted)
    pairs = list(zip(found.place.tolist(), found.day.tolist(), strict=True))
    assert len(pairs) == len(set(pairs))


@given(_LENGTHS, st.integers(480_000, 490_000), st.integers(1, 60))
def test_starts_by_hour_are_the_grid(length: int, hour: int, hours: int) -> None:
    grid = [
        sum(second % length == 0 for second in range((hour + n) * 3600, (hour + n + 1) * 3600))
        for n in range(min(hours, 3))
    ]
    assert starts_by_hour(length, hour, hours)[:3].tolist() == grid


@given(
    st.lists(st.tuples(_LENGTHS, st.integers(0, 500)), max_size=3),
    st.lists(
        st.tuples(_LENGTHS, st.integers(-3, 30), st.none() | st.integers(0, 40)), max_size=4
    ),
)  # fmt: skip
def test_expected_slots_are_those_that_lie_within_the_time_of_each_meter(
    steady: list[tuple[int, int]], parts: list[tuple[int, int, int | None]]
) -> None:
    hour, hours = 480_003, 24
    quarter = HOUR_MS // 4
    begin, end = hour * HOUR_MS, (hour + hours) * HOUR_MS
    changes = [
        Change(
            seconds=length,
            since_ms=begin + since * quarter + 1,
            until_ms=None if until is None else begin + until * quarter + 2,
        )
        for length, since, until in parts
    ]
    counted: Counter[int] = Counter()
    for length, meters in steady:
        for start in range(-(-begin // (length * 1000)) * length * 1000, end, length * 1000):
            counted[start // HOUR_MS - hour] += meters
    for one in changes:
        step = one.seconds * 1000
        for start in range(-(-begin // step) * step, end, step):
            inside = one.until_ms is None or start + step <= one.until_ms
            counted[start // HOUR_MS - hour] += one.since_ms <= start and inside
    wanted = expected(steady, changes, hour=hour, hours=hours)
    assert wanted.tolist() == [counted[n] for n in range(hours)]
