"""The turns of checks that need weeks: each usage point once in so many days, and what rests."""

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from cloud.vee.rules.rule_sets import rule_set_for
from cloud.vee.rules.turns import days_back, has_turn, turns_after
from cloud.vee.service import shipped_rule_sets
from protocols.identity import UsagePointId

POINTS = st.integers(0, 10**9).map(lambda n: UsagePointId(f"UP-{n}"))
DAYS = st.dates(date(2000, 1, 1), date(2100, 1, 1))


def test_the_shipped_rules_look_six_weeks_back() -> None:
    rules = rule_set_for(shipped_rule_sets(), "household", date(2026, 1, 1))
    assert days_back(rules) == 7 + 35


@given(POINTS, DAYS, st.integers(1, 31))
def test_each_has_one_turn_in_so_many_days(point: UsagePointId, day: date, every: int) -> None:
    row = [day + timedelta(days=n) for n in range(every)]
    assert sum(has_turn(point, each, every) for each in row) == 1


@given(POINTS, DAYS, st.integers(1, 31), st.integers(1, 60), st.integers(0, 90))
def test_what_rests_on_a_day_are_just_the_turns_that_look_at_it(
    point: UsagePointId, day: date, every: int, back: int, ahead: int
) -> None:
    last = day + timedelta(days=ahead)
    plain = [
        each
        for n in range(1, ahead + 1)
        if has_turn(point, each := day + timedelta(days=n), every)
        and each - timedelta(days=back - 1) <= day
    ]
    assert turns_after(point, day, last, every=every, back=back) == plain
