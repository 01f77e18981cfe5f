"""Spans of days, pictures and pasted files: what the pages of money are made of."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.bills.service.asking import Reason
from billing.rating.rules.compiler import compile_tariff
from billing.rating.rules.trace import trace_of
from billing.rating.rules.usage import use_of
from billing.tariffs import service as tariffs
from billing.tariffs.model import UsageCase
from billing.tariffs.rules import canonical, digest, read_tariff
from portal import drawing
from portal.customer.bills import part_of
from portal.customer.spans import KINDS, span_of
from portal.fmt import persian_of
from portal.staff.settlement import rows_of
from protocols.errors import RefusedError

DAYS = st.dates(min_value=date(1991, 1, 1), max_value=date(2190, 12, 31))
HEAD = "peer_txn_id,account,amount,currency,peer_time\n"


@given(DAYS, st.sampled_from(KINDS), st.sampled_from(["persian", "gregorian"]))
def test_spans_follow_one_another_without_gap_or_overlap(
    day: date, kind: str, calendar: str
) -> None:
    span = span_of(kind, day.isoformat(), today=day, calendar=calendar)
    assert span.first <= day <= span.last
    following = span_of(kind, span.after.isoformat(), today=day, calendar=calendar)
    assert following.first == span.last + timedelta(days=1)
    assert following.before == span.last


@given(DAYS)
def test_a_persian_year_begins_on_the_first_of_farvardin(day: date) -> None:
    span = span_of("year", day.isoformat(), today=day, calendar="persian")
    first, last = persian_of(span.first), persian_of(span.last)
    assert (first.month, first.day) == (1, 1)
    assert (first.year, last.year, last.month) == (first.year, first.year, 12)


@pytest.mark.parametrize(
    ("kind", "on"), [("week", ""), ("day", "2026-02-30"), ("day", "0001-01-01")]
)
def test_a_span_that_is_none_is_refused(kind: str, on: str) -> None:
    with pytest.raises(RefusedError, match="no such span"):
        span_of(kind, on, today=date(2026, 11, 18), calendar="gregorian")


def test_persian_digits_name_a_day() -> None:
    span = span_of("day", "۲۰۲۶-۱۱-۱۸", today=date(2020, 1, 1), calendar="persian")
    assert span.first == date(2026, 11, 18)


@given(st.lists(st.integers(-(10**15), 10**15), max_size=366))
def test_bars_keep_their_values_and_stay_in_the_picture(values: list[int]) -> None:
    boxes = drawing.bars([(value, "bar", "") for value in values])
    assert [box.value for box in boxes] == values
    for box, value in zip(boxes, values, strict=True):
        assert 0 <= box.x <= box.x + box.width <= drawing.WIDE
        assert box.y + box.height == drawing.HIGH
        assert (box.height > 0) == (value > 0)


@given(st.integers(0, 9_000_000), st.integers(0, 9_000_000))
def test_a_ladder_holds_all_that_was_used(before: int, used: int) -> None:
    steps = [
        drawing.Step(over=0, upto=2_400_000, price=520_000),
        drawing.Step(over=2_400_000, upto=4_800_000, price=570_000),
        drawing.Step(over=4_800_000, upto=None, price=820_000),
    ]
    boxes = drawing.ladder(steps, since=before, now=before + used)
    assert sum(box.value for box in boxes if box.kind == "now") == used
    assert sum(box.value for box in boxes if box.kind == "before") == before
    assert all(0 <= box.x <= box.x + box.width <= drawing.WIDE for box in boxes)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=1440))
def test_a_strip_of_hours_has_no_hole(minutes: list[int]) -> None:
    boxes = drawing.strip(minutes)
    assert sum(box.width for box in boxes) == drawing.WIDE
    assert [box.value for box in boxes] == [
        value for n, value in enumerate(minutes) if n == 0 or minutes[n - 1] != value
    ]


def test_a_pasted_file_is_read_exactly() -> None:
    row = rows_of(HEAD + "a-1,AC-1,12.50,CNY,2026-11-18T12:00:00+08:00\n")[0]
    assert (row.peer_txn_id, row.account, row.amount_micros) == ("a-1", "AC-1", 12_500_000)
    assert row.peer_time.utcoffset() == timedelta(hours=8)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("id,amount\n", 1),
        (HEAD + "a,b,1.00,CNY\n", 2),
        (HEAD + "a,b,1.00,CNY,2026-11-18T12:00:00Z,more\n", 2),
        (HEAD + "a,b,1.00,CNY,2026-11-18T12:00:00Z\nc,d,much,CNY,2026-11-18T12:00:00Z\n", 3),
        (HEAD + "a,b,1.00,CNY,yesterday\n", 2),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(RefusedError, match=f"line {line} of the file"):
        rows_of(text)


def test_a_time_of_use_bill_is_drawn_by_hours_and_on_its_ladder() -> None:
    document = tariffs.shipped("zj-household-tou")
    tariff = read_tariff(document)
    compiled = compile_tariff(tariff, digest(canonical(document)))
    case = tariff.test_cases[0]
    assert isinstance(case, UsageCase)
    use = use_of(tariff, case.usage)
    rows = tuple(trace_of(compiled, use))
    part = part_of(Reason(tariff=tariff, compiled=compiled, use=use, rows=rows))
    assert sum(row.amount_micros for row in rows if row.counts) == case.total
    assert [(box.said, box.value) for box in part.hours] == list(
        zip(("peak", "valley"), use.energy_wh, strict=True)
    )
    assert sum(box.value for box in part.ladder if box.kind == "now") == sum(use.energy_wh)
    assert len(part.strips) == 1
