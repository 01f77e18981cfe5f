"""Days validated on a real database: estimates under the register, late values, any order."""

import pytest

from cloud.store.db import Database
from cloud.vee import service as vee
from tests.integration.ingest_kit import ORIGIN, UP1, tables
from tests.integration.vee_kit import (
    FINDINGS,
    OVERLAYS,
    PER_DAY,
    Sender,
    build_one,
    date_of,
    end_of,
    register,
    rows,
    said,
    slots_of,
    truth,
    work,
)


@pytest.fixture(autouse=True)
def _network(db: Database) -> None:
    build_one(db)


@pytest.fixture
def tell(db: Database) -> Sender:
    return Sender(db)


def whole(days: int, *, without: range | None = None) -> list[int]:
    """Slots of the days 0 .. `days`, but those left out."""
    left_out = without or range(0)
    return [n for day in range(days + 1) for n in slots_of(day) if n not in left_out]


def midnights(days: int) -> list[int]:
    return [0, *(slots_of(day).stop for day in range(days + 1))]


@pytest.mark.req("B17")
def test_a_gap_is_filled_under_the_register_when_its_day_is_complete(
    db: Database, tell: Sender
) -> None:
    gap = range(slots_of(4).start + 10, slots_of(4).start + 20)
    tell(rows(whole(5, without=gap), reads=midnights(5)))
    done = work(db, 4)
    assert (done.estimated, done.missing) == (10, 0)
    found = said(db)
    assert set(found) == set(gap)
    assert {kind for kind, _ in found.values()} == {1}
    # measured and estimated add up to the register's advance, to the watt-hour
    assert sum(wh for _, wh in found.values()) == sum(truth(n) for n in gap)
    assert work(db, 4).changed == 0


def test_a_day_that_lacks_nothing_leaves_no_row(db: Database, tell: Sender) -> None:
    tell(rows(whole(3), reads=midnights(3)))
    assert work(db, 2).days == 3
    with db.transaction() as conn:
        assert vee.waiting(conn) == (0, 0)
        points = {row[0] for row in conn.execute("SELECT usage_point FROM vee.day")}
    assert UP1 not in points
    assert said(db) == {}


def test_no_day_ends_while_the_whole_stream_stands_still(db: Database, tell: Sender) -> None:
    tell(rows(whole(2), reads=midnights(2)))
    assert work(db, 5).days == 2
    tell(rows([slots_of(3).start + 5]))
    # day 2 has ended now, day 3 has not: nothing newer than its end was heard of
    assert work(db, 5).days == 1


def test_a_late_value_takes_the_place_of_the_estimate(db: Database, tell: Sender) -> None:
    gap = range(slots_of(4).start + 10, slots_of(4).start + 20)
    tell(rows(whole(5, without=gap), reads=midnights(5)))
    work(db, 4)
    late = list(gap)[:4]
    tell(rows(late))
    with db.transaction() as conn:
        assert vee.waiting(conn) == (0, 1)
    work(db, 4)
    found = said(db)
    assert set(found) == set(gap) - set(late)
    assert sum(wh for _, wh in found.values()) == sum(truth(n) for n in gap if n not in late)
    tell(rows([n for n in gap if n not in late]))
    work(db, 4)
    assert said(db) == {}
    with db.transaction() as conn:
        versions = conn.execute(
            "SELECT version, estimated, missing FROM vee.day WHERE usage_point = %s AND day = %s"
            " ORDER BY version", (UP1, date_of(4)),
        ).fetchall()  # fmt: skip
    assert versions == [(1, 10, 0), (2, 6, 0), (3, 0, 0)]


def test_a_gap_over_midnight_is_one_stretch_from_either_side(db: Database, tell: Sender) -> None:
    gap = range(slots_of(4).stop - 6, slots_of(4).stop + 9)
    ends = [0, slots_of(4).start, slots_of(5).stop]
    tell(rows(whole(6, without=gap), reads=ends))
    work(db, 4)
    # day 5 is not over: what day 4 lacks is a guess that no register holds
    assert set(said(db)) == {n for n in gap if n in slots_of(4)}
    work(db, 5)
    found = said(db)
    assert set(found) == set(gap)
    assert sum(wh for _, wh in found.values()) == sum(truth(n) for n in gap)


def test_what_contradicts_the_register_is_refused_and_told(db: Database, tell: Sender) -> None:
    start = slots_of(4).start
    gap = range(start + 10, start + 14)
    extra = {start + 30: truth(start + 30) + 3000}
    tell(rows(whole(5, without=gap), reads=midnights(5), other=extra))
    done = work(db, 4)
    assert (done.estimated, done.missing) == (0, 4)
    assert said(db) == {}
    (found,) = [row for row in tables(db, FINDINGS)[0] if row[2] == "not_estimated"]
    assert (found[0], found[1], found[6]) == (UP1, date_of(4), 4)
    assert found[-1] == "measured_exceeds_register"
    assert found[4] == ORIGIN + (gap.start * (end_of(0) - ORIGIN) / slots_of(0).stop)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1), (1, 3, 0, 2)])
def test_any_order_of_batches_and_runs_says_the_same(db: Database, order: tuple[int, ...]) -> None:
    tell = Sender(db)
    hole = {*range(slots_of(3).stop - 5, slots_of(3).stop + 7), slots_of(5).start + 4}
    all_ = [n for n in whole(7) if n not in hole]
    parts = [rows(all_[n::4], reads=midnights(7)[n::4]) for n in range(4)]
    for n, part in enumerate(order):
        tell(parts[part])
        tell(parts[part])
        work(db, 3 + n)
    work(db, 6)
    once = tables(db, OVERLAYS, FINDINGS)
    assert {n for n, (kind, _) in said(db).items() if kind == 1} == hole
    total = sum(wh for _, wh in said(db).values())
    assert total == sum(truth(n) for n in hole)
    assert register(PER_DAY) > 0
    with db.transaction() as conn:
        points = {row[0] for row in conn.execute("SELECT DISTINCT usage_point FROM vee.overlay")}
    assert points == {UP1}
    work(db, 6)
    assert tables(db, OVERLAYS, FINDINGS) == once
