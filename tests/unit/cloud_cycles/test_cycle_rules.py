"""Dates, shares, doubts and files of reading cycles."""

import contextlib
import csv
import io
import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cloud.cycles.model import (
    CYCLE_MOVES,
    TASK_MOVES,
    CycleEvent,
    CycleId,
    CycleState,
    Doubt,
    Entry,
    HighLow,
    MissCode,
    Reader,
    ReaderId,
    Source,
    Task,
    TaskEvent,
    TaskId,
    TaskState,
    Timetable,
)
from cloud.cycles.rules import dates, entries, handheld, sharing
from cloud.cycles.rules.handheld import Form, kwh_of, wh_of
from protocols.errors import RefusedError
from protocols.identity import ConcentratorId, MeterId, UsagePointId

NOON = datetime(2026, 3, 20, 12, tzinfo=UTC)
LAST = NOON - timedelta(days=30)
LIMITS = HighLow()


def a_task(**changes: Any) -> Task:
    fields: dict[str, Any] = {
        "id": TaskId(7), "cycle": CycleId(1), "position": 1, "usage_point": UsagePointId("UP-1"),
        "meter": MeterId("M-1"), "concentrator": ConcentratorId("C-1"), "reader": ReaderId("r1"),
        "state": TaskState.ASSIGNED, "last_at": LAST, "last_wh": 1_000_000, "daily_wh": 8_000,
    }  # fmt: skip
    return Task(**{**fields, **changes})


def an_entry(**changes: Any) -> Entry:
    fields: dict[str, Any] = {
        "key": "key-00000001", "task": TaskId(7), "source": Source.HANDHELD, "at": NOON,
        "wh": 1_240_000,
    }  # fmt: skip
    return Entry(**{**fields, **changes})


@pytest.mark.parametrize("state", CycleState)
@pytest.mark.parametrize("event", CycleEvent)
def test_every_pair_of_the_cycle_table(state: CycleState, event: CycleEvent) -> None:
    if (state, event) in CYCLE_MOVES:
        assert entries.move_cycle(state, event) is CYCLE_MOVES[state, event]
        assert state not in {CycleState.CLOSED, CycleState.CANCELLED}, "ends stay ends"
    else:
        with pytest.raises(RefusedError, match="cycles.wrong_state"):
            entries.move_cycle(state, event)


@pytest.mark.parametrize("state", TaskState)
@pytest.mark.parametrize("event", TaskEvent)
def test_every_pair_of_the_task_table(state: TaskState, event: TaskEvent) -> None:
    if (state, event) in TASK_MOVES:
        assert entries.move_task(state, event) is TASK_MOVES[state, event]
    else:
        with pytest.raises(RefusedError, match="cycles.wrong_state"):
            entries.move_task(state, event)
    if event in {TaskEvent.ACCEPT, TaskEvent.REJECT, TaskEvent.KEEP}:
        assert ((state, event) in TASK_MOVES) == (state is TaskState.IN_REVIEW)


tables = st.builds(
    Timetable,
    opens_day=st.integers(1, 28), reading_days=st.integers(1, 20), sales_after=st.integers(0, 5),
    collection_after=st.integers(5, 30), every_months=st.sampled_from([1, 2, 3, 4, 6, 12]),
    from_month=st.integers(1, 12),
)  # fmt: skip


@pytest.mark.req("B1")
@given(table=tables, year=st.integers(2024, 2040), closed=st.sets(st.integers(0, 364), max_size=40))
def test_dates_are_working_days_in_order_and_come_as_often_as_said(
    table: Timetable, year: int, closed: set[int]
) -> None:
    idle = dates.weekends(year, {6, 7}) | {date(year, 1, 1) + timedelta(days=n) for n in closed}
    dates.refuse_timetable(table)
    found = [dates.dates_of(table, year, month, idle) for month in range(1, 13)]
    made = [one for one in found if one is not None]
    assert len(made) == 12 // table.every_months
    assert len({one.period for one in made}) == len(made)
    for one in made:
        assert one.opens <= one.due <= one.sales <= one.collection
        assert not {one.opens, one.due, one.sales, one.collection} & idle


def test_friday_can_be_the_day_of_rest() -> None:
    idle = dates.weekends(2026, {5})
    one = dates.dates_of(
        Timetable(opens_day=20, reading_days=1, sales_after=0, collection_after=0), 2026, 3, idle
    )
    assert one is not None
    assert one.opens == date(2026, 3, 21), "the 20th of March 2026 is a Friday"


@pytest.mark.parametrize(
    "changes",
    [{"opens_day": 29}, {"opens_day": 0}, {"reading_days": 0}, {"sales_after": 9},
     {"every_months": 5}, {"from_month": 13}, {"collection_after": 90}],
)  # fmt: skip
def test_a_timetable_that_some_month_cannot_have_is_refused(changes: dict[str, int]) -> None:
    fields = {"opens_day": 1, "reading_days": 5, "sales_after": 2, "collection_after": 8, **changes}
    with pytest.raises(RefusedError, match="cycles.timetable"):
        dates.refuse_timetable(Timetable(**fields))


readers = st.lists(
    st.tuples(st.integers(0, 300), st.booleans()), max_size=8,
).map(lambda told: [
    Reader(id=ReaderId(f"r{n}"), name="", login=f"user:r{n}", unit="u", daily=daily, on_duty=duty)
    for n, (daily, duty) in enumerate(told)
])  # fmt: skip


@pytest.mark.req("B8")
@given(points=st.integers(0, 3000), staff=readers, days=st.integers(1, 10))
def test_shares_are_runs_within_what_each_manages_and_reach_as_far_as_staff(
    points: int, staff: list[Reader], days: int
) -> None:
    shared = sharing.share(points, staff, days)
    most = {one.id: one.daily * days for one in staff if one.on_duty}
    assert len(shared) == points
    reached = [one for one in shared if one is not None]
    assert len(reached) == min(points, sum(most.values()))
    assert shared[: len(reached)] == reached, "who cannot be reached is at the end of the walk"
    runs = [one for n, one in enumerate(reached) if n == 0 or reached[n - 1] != one]
    assert len(runs) == len(set(runs)), "one run of neighbours each"
    for one in set(reached):
        assert reached.count(one) <= most[one]
        fair = len(reached) * most[one] / sum(most.values())
        assert abs(reached.count(one) - fair) < 1


@pytest.mark.req("B5", "B11")
@pytest.mark.parametrize(
    ("changes", "task", "doubts"),
    [
        ({}, {}, ()),
        ({"wh": 1_480_000}, {}, ()),
        ({"wh": 1_480_001}, {}, (Doubt.HIGH,)),
        ({"wh": 1_119_999}, {}, (Doubt.LOW,)),
        ({"wh": 1_120_000}, {}, ()),
        ({"wh": 1_000_000}, {}, (Doubt.ZERO_USE,)),
        ({"wh": 1_000_000}, {"daily_wh": 90}, ()),
        ({"wh": 9_000_000}, {"daily_wh": None}, ()),
        ({"wh": 999_000}, {}, (Doubt.BELOW_LAST,)),
        ({"wh": 99_000_000}, {}, (Doubt.IMPOSSIBLE,)),
        ({"meter": MeterId("M-2")}, {}, (Doubt.OTHER_METER,)),
        ({}, {"state": TaskState.READ}, (Doubt.SECOND_FIGURE,)),
        ({}, {"last_wh": None, "last_at": None}, ()),
        ({"wh": None, "miss": MissCode.VACANT}, {}, ()),
    ],
)
def test_what_speaks_against_a_figure(
    changes: dict[str, Any], task: dict[str, Any], doubts: tuple[Doubt, ...]
) -> None:
    found = entries.doubts_of(
        an_entry(**changes), a_task(**task), max_w=20_000, rollover_wh=None, limits=LIMITS
    )
    assert found == doubts


def test_a_register_that_rolled_over_is_believed_and_one_that_fell_is_not() -> None:
    task = a_task(last_wh=99_900_000)
    rolled = entries.doubts_of(
        an_entry(wh=140_000), task, max_w=20_000, rollover_wh=100_000_000, limits=LIMITS
    )
    assert rolled == ()
    fell = entries.doubts_of(
        an_entry(wh=90_000_000), task, max_w=20_000, rollover_wh=100_000_000, limits=LIMITS
    )
    assert fell == (Doubt.BELOW_LAST,)


@pytest.mark.parametrize(
    ("changes", "task"),
    [
        ({"wh": None}, {}),
        ({"miss": MissCode.VACANT}, {}),
        ({"wh": -1}, {}),
        ({"wh": 10**14}, {}),
        ({"at": NOON + timedelta(hours=2)}, {}),
        ({"at": LAST}, {}),
        ({"wh": None, "miss": MissCode.OTHER}, {}),
        ({"photo": "abc"}, {}),
        ({"note": "x" * 501}, {}),
    ],
)
def test_what_is_no_entry_is_refused_with_its_fix(
    changes: dict[str, Any], task: dict[str, Any]
) -> None:
    entries.refuse_entry(an_entry(), a_task(), now=NOON)
    with pytest.raises(RefusedError, match="cycles.entry") as refused:
        entries.refuse_entry(an_entry(**changes), a_task(**task), now=NOON)
    assert refused.value.fix


@given(wh=st.integers(0, 10**13 - 1))
def test_kilowatt_hours_come_back(wh: int) -> None:
    assert wh_of(kwh_of(wh)) == wh


@pytest.mark.parametrize(
    ("text", "wh"),
    [("1234,5", 1_234_500), ("0", 0), ("۱۲۳۴٫۵".replace("٫", "."), 1_234_500), (" 7.001 ", 7_001)],
)
def test_digits_of_every_script(text: str, wh: int) -> None:
    assert wh_of(text) == wh


@pytest.mark.parametrize("text", ["", "1.2345", "-1", "1e3", "12 345", "٫", "99999999999", "½"])
def test_what_no_display_shows_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="kWh"):
        wh_of(text)


@pytest.mark.req("B9")
def test_the_list_goes_out_with_what_is_believed() -> None:
    text = handheld.written([a_task()], Form.CSV, LIMITS, due=NOON)
    [row] = list(csv.DictReader(io.StringIO(text)))
    assert (row["task"], row["last_kwh"], row["low_kwh"], row["high_kwh"]) == (
        "7", "1000.000", "1120.000", "1480.000",
    )  # fmt: skip
    plain = json.loads(handheld.written([a_task(daily_wh=None)], Form.JSON, LIMITS, due=NOON))
    assert plain["tasks"][0]["high_kwh"] == ""


@pytest.mark.req("B9")
@pytest.mark.parametrize("form", Form)
def test_good_lines_are_taken_and_wrong_ones_told(form: Form) -> None:
    good = {"key": "dev1-000001", "task": "7", "read_at": "2026-03-20T20:00:00+08:00",
            "register_kwh": "1240", "observations": "seal_broken; unsafe"}  # fmt: skip
    rows = [
        good,
        {**good, "key": "short"},
        {**good, "read_at": "2026-03-20T20:00:00"},
        {**good, "read_at": "yesterday"},
        {**good, "register_kwh": "12e4"},
        {**good, "register_kwh": "", "miss": "asleep"},
        {**good, "observations": "ghost"},
        {**good, "task": "seven"},
        {**good, "key": "dev1-000002", "register_kwh": "", "miss": "no_access"},
    ]
    if form is Form.JSON:
        text = json.dumps({"entries": rows})
    else:
        out = io.StringIO()
        told = csv.DictWriter(out, handheld.BACK)
        told.writeheader()
        told.writerows(rows)
        text = "\ufeff" + out.getvalue()
    taken, wrong = handheld.parsed(text, form)
    assert [(one.key, one.wh, one.miss) for one in taken] == [
        ("dev1-000001", 1_240_000, None), ("dev1-000002", None, MissCode.NO_ACCESS),
    ]  # fmt: skip
    assert taken[0].at == NOON
    assert [one.row for one in wrong] == [2, 3, 4, 5, 6, 7, 8]
    assert all(one.why for one in wrong)


@pytest.mark.parametrize(
    ("text", "form"),
    [("a,b\n1,2\n", Form.CSV), ("", Form.CSV), ("key,task,read_at,price\n", Form.CSV),
     ("{", Form.JSON), ("[]", Form.JSON), ('{"entries": 3}', Form.JSON),
     ('key,task,read_at\n"a', Form.CSV)],
)  # fmt: skip
def test_a_file_that_is_none_is_refused_whole(text: str, form: Form) -> None:
    with pytest.raises(RefusedError, match="cycles.file"):
        handheld.parsed(text, form)


@given(text=st.text(max_size=200), form=st.sampled_from(Form))
def test_any_text_is_read_or_refused(text: str, form: Form) -> None:
    with contextlib.suppress(RefusedError):
        handheld.parsed(text, form)


@given(last=st.integers(0, 10**9), used=st.integers(0, 10**6), wraps=st.booleans())
def test_use_is_what_was_used(last: int, used: int, wraps: bool) -> None:
    counter = 10**9 + 1
    assume(wraps or last + used < counter)
    shown = (last + used) % counter
    assert entries.use_between(last, shown, counter if wraps else None) == used
