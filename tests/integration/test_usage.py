"""Usage on a real database: cumulative over rollover and exchange, daily use, live readings."""

from datetime import date, timedelta
from zoneinfo import ZoneInfo

import pytest

from cloud.assets import service as assets
from cloud.store.db import Database
from cloud.usage import service as usage
from protocols.reading import Quality, Status
from protocols.timeline import Interval
from tests.integration.ingest_kit import (
    M1,
    M2,
    ORIGIN,
    SPARE,
    UP1,
    UP2,
    a_batch,
    build_network,
    registers,
    send,
    slots,
    usage_rows,
)

SHANGHAI = ZoneInfo("Asia/Shanghai")


@pytest.fixture(autouse=True)
def _network(db: Database) -> None:
    build_network(db)


def cumulative(db: Database, point: str) -> list[int]:
    return [row[4] for row in usage_rows(db)[0] if row[0] == point]


@pytest.mark.req("B14")
def test_a_register_that_rolls_over_keeps_counting(db: Database) -> None:
    send(db, a_batch(1, registers(M2, {1: 99_000, 2: 99_900})))
    send(db, a_batch(2, registers(M2, {3: 300, 4: 900})))
    assert cumulative(db, UP2) == [99_000, 99_900, 100_300, 100_900]


def test_an_earlier_reading_that_comes_late_shifts_what_follows_the_rollover(db: Database) -> None:
    send(db, a_batch(1, registers(M2, {3: 300, 4: 900})))
    assert cumulative(db, UP2) == [300, 900]
    send(db, a_batch(2, registers(M2, {1: 99_000, 2: 99_900})))
    assert cumulative(db, UP2) == [99_000, 99_900, 100_300, 100_900]


def test_a_fall_that_no_rollover_explains_is_refused(db: Database) -> None:
    send(db, a_batch(1, registers(M2, {1: 60_000})))
    # from 60 000 to 5 000 by rollover would be 45 kWh in an hour on a 20 kW meter
    outcome = send(db, a_batch(2, registers(M2, {1.1: 5000})))
    assert outcome.account.quarantined == 1


@pytest.mark.req("B14", "N2")
@pytest.mark.parametrize("figures", [(5000, 20), (None, None)])
def test_usage_goes_on_across_a_meter_exchange(
    db: Database, figures: tuple[int | None, int | None]
) -> None:
    final, initial = figures
    send(db, a_batch(1, registers(M1, {1: 4000, 9: 4990})))
    at = ORIGIN + timedelta(hours=10)
    assets.exchange(
        db, usage_point=UP1, new_meter=SPARE, at=at, final_wh=final, initial_wh=initial,
        actor="user:lin", now=at,
    )  # fmt: skip
    outcome = send(db, a_batch(2, registers(SPARE, {11: 30, 12: 80})))
    assert outcome.account.stored == 2
    # with figures: 4990 + (5000 - 4990) + (30 - 20); without: the unseen part is not invented
    first = 5010 if final is not None else 4990
    assert cumulative(db, UP1) == [4000, 4990, first, first + 50]
    assert [live.register_wh for live in outcome.live] == [first + 50]
    # a late last reading of the old meter moves only what rests on it
    send(db, a_batch(3, registers(M1, {9.5: 4995})))
    shift = 0 if final is not None else 5
    expected = [4000, 4990, 4995, first + shift, first + shift + 50]
    assert cumulative(db, UP1) == expected
    # the old meter says no more after it was taken off
    late = send(db, a_batch(4, registers(M1, {11: 5100})))
    assert late.account.quarantined == 1


def test_usage_can_be_thrown_away_and_made_again(db: Database) -> None:
    send(db, a_batch(1, registers(M2, {1: 99_000, 2: 99_900})))
    send(db, a_batch(2, registers(M2, {3: 300})))
    before = usage_rows(db)
    with db.transaction() as conn:
        for table in ("segment", "newest"):
            conn.execute(f"TRUNCATE usage.{table}")  # type: ignore[arg-type]
        assert usage.rebuild(conn, UP1, now=ORIGIN) == 0
        assert usage.rebuild(conn, UP2, now=ORIGIN) == 3
    after = usage_rows(db)
    assert after[:2] == before[:2]
    assert [row for row in after[2] if row[0] == UP2] == before[2]
    assert [row for row in after[3] if row[0] == UP2] == before[3]


@pytest.mark.req("B11")
def test_doubtful_values_are_kept_and_marked(db: Database) -> None:
    send(db, a_batch(1, registers(M1, {1: 100}), change={"status": int(Status.CLOCK_INVALID)}))
    # 8 kW contract: more than 4 kWh in half an hour is questionable
    send(db, a_batch(2, slots(M1, {0: 4000, 1: 4001})))
    span = Interval(start=ORIGIN, end=ORIGIN + timedelta(days=1))
    with db.transaction() as conn:
        found = usage.first_register(conn, UP1)
        assert found is not None
        assert found.quality is Quality.QUESTIONABLE
        assert [i.quality for i in usage.intervals(conn, UP1, span)] == [
            Quality.VALID, Quality.QUESTIONABLE,
        ]  # fmt: skip


@pytest.mark.req("B14", "B16")
def test_days_and_averages_come_from_registers(db: Database) -> None:
    # hours 16, 40, 64 after the origin are midnights in Shanghai
    values = {1: 1000, 16: 2000, 20: 2500, 40: 12_000, 50: 13_000, 64: 22_000, 70: 22_600}
    send(db, a_batch(1, registers(M1, values)))
    span = Interval(start=ORIGIN, end=ORIGIN + timedelta(hours=71))
    with db.transaction() as conn:
        days = usage.daily(conn, UP1, span, SHANGHAI)
        assert [(day.day, day.wh) for day in days] == [
            (date(2026, 3, 1), 1000), (date(2026, 3, 2), 10_000), (date(2026, 3, 3), 10_000),
            (date(2026, 3, 4), 600),
        ]  # fmt: skip
        assert [day.quality for day in days] == [
            Quality.QUESTIONABLE, Quality.VALID, Quality.VALID, Quality.VALID,
        ]  # fmt: skip
        now = ORIGIN + timedelta(hours=71)
        # 21 600 Wh in 69 hours
        assert usage.average_daily_wh(conn, UP1, now) == 7513
        # since the register at or before 48 h ago: 20 600 Wh in 54 h
        two = usage.average_daily_wh(conn, UP1, now, days=2)
        assert two == (22_600 - 2500) * 24 // 50
        assert usage.average_daily_wh(conn, UP2, now) is None
        assert usage.daily(conn, UP2, span, SHANGHAI)[0].wh is None


@pytest.mark.req("A2")
def test_the_register_of_a_date_is_the_last_at_or_before_it(db: Database) -> None:
    send(db, a_batch(1, registers(M1, {1: 1000, 5: 1500})))
    with db.transaction() as conn:
        for hours, wh in ((1, 1000), (4.9, 1000), (5, 1500), (99, 1500)):
            found = usage.register_at(conn, UP1, ORIGIN + timedelta(hours=hours))
            assert found is not None
            assert (found.cumulative_wh, found.meter) == (wh, M1)
        assert usage.register_at(conn, UP1, ORIGIN) is None


@pytest.mark.req("C4")
def test_the_live_reading_counts_today_in_the_zone_of_the_usage_point(db: Database) -> None:
    send(db, a_batch(1, registers(M1, {1: 1000, 15.9: 2000})))
    (live,) = send(db, a_batch(2, registers(M1, {17: 2300}))).live
    assert (live.register_wh, live.today_wh) == (2300, 300)
    # a backfilled older register is no newer news
    (live,) = send(db, a_batch(3, registers(M1, {15.95: 2100}))).live
    assert (live.register_wh, live.today_wh) == (2300, 200)
    assert live.at_ms == int((ORIGIN + timedelta(hours=17)).timestamp() * 1000)
