"""Checks that need weeks, in the daily run: use and peaks beside a usage point's own history."""

from dataclasses import replace
from datetime import date, timedelta

import pytest

from cloud.store.db import Database
from cloud.usage.agent import RawSupply
from cloud.vee import service as vee
from cloud.vee.model import ExceptionKind
from cloud.vee.rules.turns import has_turn
from tests.integration.ingest_kit import UP1
from tests.integration.vee_kit import (
    POLICY,
    Sender,
    build_one,
    date_of,
    end_of,
    rows,
    slots_of,
    truth,
    work,
)

LAST = 36
DAILY = replace(POLICY, long_every=1, queue_from="warning")
WEEKLY = replace(DAILY, long_every=7)


def sent(db: Database, *, last: int = LAST, without: range = range(0), high: bool = True) -> Sender:
    """Days up to the one after the last; three times as much in the seven up to the last."""
    build_one(db)
    tell = Sender(db)
    other = {n: 3 * truth(n) for day in range(last - 6, last + 1) for n in slots_of(day)}
    for first in range(0, last + 2, 7):
        slots = [n for d in range(first, min(first + 7, last + 2)) for n in slots_of(d)]
        tell(rows([n for n in slots if n not in without], other=other if high else None))
    return tell


def long_ones(db: Database) -> dict[tuple[str, date], tuple[int | None, int | None]]:
    with db.transaction() as conn:
        return {
            (each.kind.value, each.day): (each.value, each.allowed)
            for each in vee.queue(conn, limit=10_000)
            if each.kind in {ExceptionKind.HIGH_LOW, ExceptionKind.HISTORICAL_MAX} and each.day
        }


@pytest.mark.req("B5", "B17")
def test_a_week_unlike_the_weeks_before_is_told_with_its_share(db: Database) -> None:
    sent(db)
    work(db, LAST, policy=DAILY)
    found = long_ones(db)
    value, allowed = found["high_low", date_of(LAST)]
    # all days are alike but for a few Wh, so the week is three times its history
    assert allowed == 2_000
    assert value is not None
    assert 2_980 < value < 3_020
    value, allowed = found["historical_max", date_of(LAST)]
    assert allowed == 1_500
    assert value is not None
    assert 2_900 < value < 3_100
    # one higher day of seven is no higher week, and before it there was nothing to tell
    assert ("high_low", date_of(LAST - 6)) not in found
    assert min(day for _, day in found) == date_of(LAST - 6)


def test_nothing_is_told_where_every_week_is_alike(db: Database) -> None:
    sent(db, high=False)
    work(db, LAST, policy=DAILY)
    assert long_ones(db) == {}


def test_each_usage_point_has_its_turn_once_a_week(db: Database) -> None:
    sent(db)
    work(db, LAST, policy=WEEKLY)
    weekly = long_ones(db)
    vee.validate_days(
        db, RawSupply(), [(UP1, date_of(day)) for day in range(1, LAST + 1)],
        now=end_of(LAST) + timedelta(hours=2), policy=DAILY,
    )  # fmt: skip
    daily = long_ones(db)
    assert weekly == {
        (kind, day): found for (kind, day), found in daily.items() if has_turn(UP1, day, 7)
    }
    assert weekly.keys() < daily.keys()


def test_a_late_reading_has_the_turns_looked_at_again_that_rest_on_it(db: Database) -> None:
    # 13 days before the last week give no verdict, the 5 that come late make them 18
    last, hole = 24, range(slots_of(3).start, slots_of(7).stop)
    tell = sent(db, last=last, without=hole)
    work(db, last, policy=DAILY)
    assert long_ones(db) == {}
    tell(rows(list(hole)))
    work(db, last, policy=DAILY)
    late = long_ones(db)
    assert ("high_low", date_of(last)) in late
    vee.validate_days(
        db, RawSupply(), [(UP1, date_of(day)) for day in range(last + 1)],
        now=end_of(last) + timedelta(hours=2), policy=DAILY,
    )  # fmt: skip
    assert late == long_ones(db)
