"""Rules of roll-ups: slots, registers, periods, hours, and which days readings touch."""

import json
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.rollups.model import (
    Basis,
    Bound,
    DayFigures,
    Refusal,
    mask_of,
    qualities_of,
)
from cloud.rollups.rules import days as rules
from cloud.rollups.rules.hours import by_window, read_frame, windows_of
from cloud.rollups.rules.periods import fold, month_span
from cloud.rollups.rules.touching import Stay, Times, only_today, touched_days
from protocols.errors import RefusedError
from protocols.identity import UsagePointId
from protocols.reading import Quality
from protocols.timeline import from_ms, local_date, local_day, to_ms

BERLIN = ZoneInfo("Europe/Berlin")
QUALITIES = st.sets(st.sampled_from(list(Quality)))


@given(QUALITIES)
def test_a_set_of_qualities_survives_its_bits(found: set[Quality]) -> None:
    assert qualities_of(mask_of(found)) == found


@pytest.mark.req("B14")
@pytest.mark.parametrize(
    ("day", "count"), [((2026, 3, 28), 96), ((2026, 3, 29), 92), ((2026, 10, 25), 100)]
)
def test_a_day_owes_as_many_quarter_hours_as_its_clock_has(
    day: tuple[int, int, int], count: int
) -> None:
    span = local_day(date(*day), BERLIN)
    starts = rules.slot_starts(span, 900)
    assert len(starts) == count
    assert np.unique(np.diff(starts)).tolist() == [900_000]
    always = rules.owed(starts, 900, 0, np.iinfo(np.int64).max)
    codes = np.zeros((1, count), dtype=np.int8)
    codes[0, 5] = -1
    counted = rules.count_slots(np.full((1, count), 7), codes, always[None, :])
    assert (counted.slots[0], counted.missing[0], counted.wh[0]) == (count, 1, 7 * (count - 1))


def test_a_slot_that_a_meter_did_not_hang_for_is_not_owed() -> None:
    starts = rules.slot_starts(local_day(date(2026, 3, 28), BERLIN), 3600)
    since, until = int(starts[3]) + 1, int(starts[10]) + 3_600_000
    owed = rules.owed(starts, 3600, since, until)
    assert np.flatnonzero(owed).tolist() == [4, 5, 6, 7, 8, 9, 10]


AT = datetime(2026, 3, 1, tzinfo=UTC)


@st.composite
def registers_by_day(draw: st.DrawFn) -> dict[date, DayFigures]:
    """Days of one month that share their registers, as neighbours do."""
    steps = draw(st.lists(st.integers(0, 90_000), min_size=1, max_size=31))
    found, wh, quality = {}, draw(st.integers(0, 10**9)), mask_of([Quality.VALID])
    for n, step in enumerate(steps):
        opening = Bound(at=AT + timedelta(days=n), wh=wh, qualities=quality)
        wh += step
        quality = mask_of([draw(st.sampled_from(list(Quality)))])
        slots = draw(st.integers(0, 100))
        missing = draw(st.integers(0, slots))
        found[date(2026, 3, 1) + timedelta(days=n)] = DayFigures(
            slots=slots, missing=missing,
            interval_wh=draw(st.integers(0, 90_000)) if missing < slots else None,
            slot_qualities=mask_of(draw(QUALITIES)) if missing < slots else 0,
            opening=opening, closing=Bound(at=AT + timedelta(days=n + 1), wh=wh, qualities=quality),
        )  # fmt: skip
    return found


@pytest.mark.req("B14")
@given(registers_by_day(), st.data())
def test_a_period_is_the_sum_of_its_days_however_it_is_cut(
    days: dict[date, DayFigures], data: st.DataObject
) -> None:
    first, until = month_span(date(2026, 3, 9))
    whole = fold(days, first, until)
    told = sorted(days)
    assert whole.wh == days[told[-1]].closing.wh - days[told[0]].opening.wh  # type: ignore[union-attr]
    cut = first + timedelta(days=data.draw(st.integers(1, 30)))
    parts = [fold(days, first, cut), fold(days, cut, until)]
    assert whole.wh == sum(part.wh or 0 for part in parts)
    assert whole.interval_wh == (
        sum(part.interval_wh or 0 for part in parts)
        if any(part.interval_wh is not None for part in parts)
        else None
    )
    for name in ("days_told", "slots", "missing", "days"):
        assert getattr(whole, name) == sum(getattr(part, name) for part in parts)
    assert whole.qualities == parts[0].qualities | parts[1].qualities
    assert whole.qualities == frozenset().union(*(day.qualities for day in days.values()))


def test_intervals_stand_in_only_where_no_two_registers_do() -> None:
    bound = Bound(at=AT, wh=500, qualities=2)
    alone = DayFigures(
        slots=96, missing=0, interval_wh=70, slot_qualities=2, opening=None, closing=None
    )
    assert (alone.basis, alone.wh) == (Basis.INTERVALS, 70)
    both = DayFigures(
        slots=96, missing=0, interval_wh=70, slot_qualities=2, opening=bound,
        closing=Bound(at=AT + timedelta(days=1), wh=580, qualities=16),
    )  # fmt: skip
    assert (both.basis, both.wh) == (Basis.REGISTERS, 80)
    assert both.qualities == {Quality.VALID, Quality.QUESTIONABLE}
    none = DayFigures(
        slots=96, missing=96, interval_wh=None, slot_qualities=0, opening=None, closing=None
    )
    assert (none.basis, none.wh) == (Basis.UNKNOWN, None)


FRAME = {
    "name": "three rates", "otherwise": "flat",
    "windows": [
        {"name": "peak", "days": [1, 2, 3, 4, 5], "from": "08:00", "to": "11:30"},
        {"name": "valley", "from": "22:00", "to": "06:00"},
    ],
}  # fmt: skip


@pytest.mark.req("B14")
@given(
    st.dates(date(2025, 1, 1), date(2027, 1, 1)),
    st.lists(st.none() | st.integers(0, 5000), min_size=100, max_size=100),
)
def test_named_hours_add_up_to_the_day_on_any_day(day: date, values: list[int | None]) -> None:
    frame = read_frame(json.dumps(FRAME).encode())
    starts = rules.slot_starts(local_day(day, BERLIN), 900).tolist()
    names = windows_of(frame, starts, BERLIN)
    slots = [None if wh is None else (wh, 2) for wh in values[: len(starts)]]
    found = by_window(frame, names, slots)
    assert [each.name for each in found] == ["peak", "valley", "flat"]
    assert sum(each.wh for each in found) == sum(slot[0] for slot in slots if slot)
    assert sum(each.slots for each in found) == len(starts)
    assert sum(each.missing for each in found) == slots.count(None)
    # said again, slot by slot, from what the clock on the wall shows
    for start, name in zip(starts, names, strict=True):
        local = from_ms(start).astimezone(BERLIN)
        if local.hour >= 22 or local.hour < 6:
            assert name == "valley"
        elif local.weekday() < 5 and "08:00" <= f"{local:%H:%M}" < "11:30":
            assert name == "peak"
        else:
            assert name == "flat"


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"windows": []}, "windows"),
        ({"windows": [{"name": "x", "from": "25:00", "to": "06:00"}]}, "windows.0.from"),
        ({"windows": [{"name": "x", "days": [8], "from": "01:00", "to": "06:00"}]}, "days are 1"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_windows_that_say_nothing_are_refused_with_the_place(
    change: dict[str, object], place: str
) -> None:
    with pytest.raises(RefusedError, match=place) as error:
        read_frame(json.dumps({**FRAME, **change}).encode())
    assert error.value.refusal is Refusal.FRAME


POINTS = [UsagePointId(f"UP-{n}") for n in range(3)]
ZONES = ["Asia/Shanghai", "Europe/Berlin", "Asia/Tehran"]
NOW = datetime(2026, 4, 2, 12, tzinfo=UTC)


@st.composite
def read_rows(draw: st.DrawFn) -> list[tuple[int, int, bool]]:
    """(meter, ms, is it a register) around a change of the clock, often at a midnight."""
    rows = []
    for _ in range(draw(st.integers(0, 30))):
        meter = draw(st.integers(0, 2))
        if draw(st.booleans()):
            day = date(2026, 3, 25) + timedelta(days=draw(st.integers(0, 9)))
            at = to_ms(local_day(day, ZoneInfo(ZONES[meter])).start)
        else:
            at = to_ms(datetime(2026, 3, 25, tzinfo=UTC)) + draw(st.integers(0, 9 * 86_400_000))
        rows.append((meter, at, draw(st.booleans())))
    return rows


@given(read_rows())
def test_readings_touch_the_days_that_a_plain_walk_over_them_finds(
    rows: list[tuple[int, int, bool]],
) -> None:
    since = to_ms(datetime(2026, 3, 26, 7, tzinfo=UTC))
    moved = to_ms(datetime(2026, 3, 30, tzinfo=UTC))
    # the last meter moved from the second point to the third
    stays = [
        [Stay(usage_point=POINTS[0], zone=ZONES[0], since_ms=since, until_ms=None)],
        [],
        [
            Stay(usage_point=POINTS[1], zone=ZONES[1], since_ms=since, until_ms=moved),
            Stay(usage_point=POINTS[2], zone=ZONES[2], since_ms=moved + 1, until_ms=None),
        ],
    ]
    wanted: dict[tuple[str, date], list[int]] = {}
    for meter, at, register in rows:
        for stay in stays[meter]:
            if not stay.since_ms <= at <= (stay.until_ms or at):
                continue
            zone = ZoneInfo(stay.zone)
            own = local_date(from_ms(at), zone)
            days = [own]
            if register and to_ms(local_day(own, zone).start) == at:
                days.append(own - timedelta(days=1))
            for day in days:
                if local_day(day, zone).end <= NOW:
                    wanted.setdefault((stay.usage_point, day), []).append(at)
    columns = [
        Times(
            meter=np.array([m for m, _, r in rows if r is kind], dtype=np.int64),
            at_ms=np.array([at for _, at, r in rows if r is kind], dtype=np.int64),
            registers=kind,
        )
        for kind in (True, False)
    ]
    found = touched_days(stays, columns, to_ms(NOW))
    told = {
        (point, day): (count, first, last)
        for point, day, count, first, last in zip(
            found.usage_points, found.days, found.readings, found.first_ms, found.last_ms,
            strict=True,
        )
    }  # fmt: skip
    assert told == {key: (len(at), min(at), max(at)) for key, at in wanted.items()}


@given(read_rows(), st.integers(-3, 3), st.sampled_from([-1, 0, 1, 40_000_000]))
def test_readings_that_are_all_of_today_touch_no_day_that_ended(
    rows: list[tuple[int, int, bool]], days: int, ms: int
) -> None:
    midnight = local_day(date(2026, 3, 30) + timedelta(days=days), ZoneInfo(ZONES[0])).start
    now = midnight + timedelta(milliseconds=ms)
    columns = [
        Times(
            meter=np.zeros(len(some), dtype=np.int64), at_ms=np.array(some, dtype=np.int64),
            registers=kind,
        )
        for kind in (True, False)
        for some in ([at for _, at, r in rows if r is kind],)
    ]  # fmt: skip
    stays = [[Stay(usage_point=POINTS[0], zone=ZONES[0], since_ms=0, until_ms=None)]]
    begun = to_ms(local_day(local_date(now, ZoneInfo(ZONES[0])), ZoneInfo(ZONES[0])).start)
    if only_today(columns, [ZONES[0]], now):
        assert touched_days(stays, columns, to_ms(now)).days == []
    else:
        assert min(at for _, at, _ in rows) <= begun


def test_a_register_at_midnight_is_not_of_today_alone() -> None:
    start = local_day(date(2026, 3, 30), ZoneInfo(ZONES[0])).start
    for ms, alone in ((0, False), (1, True)):
        column = Times(
            meter=np.zeros(1, dtype=np.int64), at_ms=np.array([to_ms(start) + ms]), registers=True
        )
        assert only_today([column], ZONES[:1], start + timedelta(hours=1)) is alone
    # what has begun in the east may not have begun in the west
    assert not only_today([column], ZONES, start + timedelta(hours=8))
