"""Roll-ups on a real database: right whatever the order, versioned, and told why they changed."""

from datetime import date, timedelta

import pytest

from cloud.rollups import service as rollups
from cloud.rollups.model import Basis, Cause, PeriodKind
from cloud.store.db import Database
from protocols.reading import Quality
from tests.integration.ingest_kit import (
    M1,
    UP1,
    UP2,
    a_batch,
    build_network,
    registers,
    slots,
)
from tests.integration.rollup_kit import LATER, deliver


@pytest.fixture(autouse=True)
def _network(db: Database) -> None:
    build_network(db)


# hours 16, 40, 64 after the origin are midnights in Shanghai
SECOND = date(2026, 3, 2)


@pytest.mark.req("B14")
def test_a_day_says_slots_registers_and_what_it_rests_on(db: Database) -> None:
    deliver(db, a_batch(1, registers(M1, {1: 1000, 16: 2000, 40: 12_000})))
    deliver(db, a_batch(2, slots(M1, dict.fromkeys(range(32, 79), 200))))
    kept = rollups.keep(db, now=LATER)
    assert kept.days > 0
    with db.transaction() as conn:
        (day,) = rollups.days(conn, [UP1], SECOND, SECOND + timedelta(days=1))
        rest = rollups.days(conn, [UP2], SECOND, SECOND + timedelta(days=1))
    assert rest == []
    figures = day.figures
    assert (figures.slots, figures.missing, figures.interval_wh) == (48, 1, 9400)
    assert (figures.basis, figures.wh) == (Basis.REGISTERS, 10_000)
    assert figures.qualities == {Quality.VALID}
    assert (day.version, day.known_at, day.zone) == (1, LATER, "Asia/Shanghai")


def test_a_late_reading_makes_a_version_and_says_what_it_changed(db: Database) -> None:
    deliver(db, a_batch(1, registers(M1, {1: 1000, 16: 2000, 39: 11_000, 63: 21_000, 88: 30_000})))
    rollups.keep(db, now=LATER)
    late = LATER + timedelta(hours=1)
    deliver(db, a_batch(2, registers(M1, {40: 11_500})), now=late)
    kept = rollups.keep(db, now=late)
    with db.transaction() as conn:
        found = rollups.recomputes_of(conn, UP1)
        told = {each.after.day: each for each in found}
        # the register at midnight moved: the day it ends and the day it begins, no other
        assert sorted(told) == [SECOND, date(2026, 3, 3)]
        own, carried = told[SECOND], told[date(2026, 3, 3)]
        assert (own.mark.cause, own.mark.readings, own.difference_wh) == (Cause.READING, 1, 500)
        assert (carried.mark.cause, carried.difference_wh) == (Cause.READING, -500)
        assert [each.after.version for each in found] == [2, 2]
        then = rollups.days(conn, [UP1], SECOND, date(2026, 3, 4), as_of=LATER)
        assert [each.figures.wh for each in then] == [9000, 10_000]
        now = rollups.days(conn, [UP1], SECOND, date(2026, 3, 4), as_of=late)
        assert [each.figures.wh for each in now] == [9500, 9500]
    assert kept.recomputes == 2
    # March ended before: its total is the same, its version too
    assert kept.periods == 0


def test_a_late_register_runs_through_all_days_that_rest_on_it(db: Database) -> None:
    deliver(db, a_batch(1, registers(M1, {1: 1000})))
    deliver(db, a_batch(2, registers(M1, {24 * 40: 50_000})))
    rollups.keep(db, now=LATER)
    late = LATER + timedelta(hours=1)
    deliver(db, a_batch(3, registers(M1, {24 * 10: 9000})), now=late)
    rollups.keep(db, now=late)
    with db.transaction() as conn:
        found = rollups.recomputes_of(conn, UP1)
        day = date(2026, 3, 11)
        touched = sorted(each.after.day for each in found)
        assert touched == [day + timedelta(days=n) for n in range(31)]
        causes = [each.mark.cause for each in sorted(found, key=lambda each: each.after.day)]
        assert causes == [Cause.READING, *[Cause.CARRIED] * 30]
        month = rollups.month(conn, UP1, day)
        assert month is not None
        assert (month.version, month.figures.wh) == (2, 8000)
        (kept,) = rollups.periods(conn, UP1, PeriodKind.MONTH, day, date(2026, 4, 1))
        assert kept == month
        before = rollups.month(conn, UP1, day, as_of=LATER)
        assert before is not None
        assert (before.version, before.figures.wh) == (1, 0)
        # days of April are there, but it has not ended
        april = rollups.month(conn, UP1, date(2026, 4, 5))
        assert april is not None
        assert april.figures.wh == 50_000 - 9000
