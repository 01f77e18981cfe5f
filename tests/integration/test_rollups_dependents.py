"""What a late reading changed in money: drawn days, the balance, charges and bills."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest

from billing.bills.model import Gate
from billing.bills.service import dependents
from billing.bills.service import run as runs
from billing.prepaid import service as prepaid
from cloud.assets import model as things
from cloud.assets import service as assets
from cloud.rollups import service as rollups
from cloud.rollups.model import Dependent, DependentKind
from cloud.store.db import Database
from protocols.identity import MeterId, TransformerId, UsagePointId
from protocols.reading import Channel
from tests.integration.billing_kit import customer, rows, street
from tests.integration.bills_kit import FEB, JAN, NOW, ZONE, book, household
from tests.integration.ingest_kit import C1, a_batch
from tests.integration.rollup_kit import deliver

METER, POINT = MeterId("M-000001"), UsagePointId("UP-000001")


def march(day: int, hour: float) -> datetime:
    """An instant of March 2026, UTC; the civil day of the street ends at 16:00."""
    return datetime(2026, 3, day, tzinfo=UTC) + timedelta(hours=hour)


def read(db: Database, seq: int, values: Mapping[datetime, int], now: datetime) -> None:
    """Registers come in one batch."""
    batch = a_batch(seq, [(METER, Channel.IMPORT_WH, at, wh) for at, wh in values.items()])
    assert deliver(db, batch, now=now).account.stored == len(values)


def told(found: list[Any]) -> dict[tuple[int, DependentKind], Dependent]:
    """Dependents by day of March and kind."""
    return {
        (each.after.day.day, dependent.kind): dependent
        for each in found
        for dependent in each.dependents
    }


def test_a_late_reading_moves_energy_between_drawn_days_and_leaves_the_balance(
    db: Database,
) -> None:
    street(db, customer(1))
    days = [
        {march(10, 5): 1_001_000, march(10, 15): 1_005_000}, {march(11, 10): 1_012_000},
        {march(12, 10): 1_020_000}, {march(13, 10): 1_030_000},
    ]  # fmt: skip
    for n, values in enumerate(days):
        read(db, n + 2, values, march(10 + n, 16))
        prepaid.sweep(db, now=march(11 + n, 8))
    now = march(14, 9)
    rollups.keep(db, now=now)
    late = now + timedelta(hours=1)
    read(db, 1, {march(10, 15.5): 1_006_000}, late)
    rollups.keep(db, now=late)
    assert rollups.find_dependents(db, dependents.find, now=late) == 2
    assert rollups.find_dependents(db, dependents.find, now=late) == 0
    with db.transaction() as conn:
        found = told(rollups.recomputes_of(conn, POINT))
    drawn = dict(rows(db, "SELECT extract(day FROM day)::int, amount_micros FROM prepaid.drawdown"))
    first = found[10, DependentKind.DRAWN_DAY]
    second = found[11, DependentKind.DRAWN_DAY]
    assert (first.wh_before, first.wh_after) == (5000, 6000)
    assert (second.wh_before, second.wh_after) == (7000, 6000)
    assert (first.micros_before, second.micros_before) == (drawn[10], drawn[11])
    # what the first day drew too little the second drew too much: together the same
    assert first.micros_after is not None
    assert second.micros_after is not None
    assert first.micros_after - drawn[10] == drawn[11] - second.micros_after > 0
    assert {first.state, second.state} == {"carried_on"}
    balance = found[10, DependentKind.BALANCE]
    assert (balance.state, balance.micros_after) == ("unchanged", balance.micros_before)
    assert balance.account == "AC-000001"


def test_a_late_reading_behind_the_newest_day_changes_what_is_left(db: Database) -> None:
    street(db, customer(1))
    now = march(12, 12)
    read(db, 1, {march(10, 5): 1_001_000, march(11, 10): 1_012_000}, now)
    prepaid.sweep(db, now=now)
    rollups.keep(db, now=now)
    late = now + timedelta(hours=1)
    # the last word on the 11th comes late; the balance was told without it
    read(db, 2, {march(11, 15): 1_015_000}, late)
    rollups.keep(db, now=late)
    rollups.find_dependents(db, dependents.find, now=late)
    with db.transaction() as conn:
        (found,) = rollups.recomputes_of(conn, POINT)
        by_kind = {each.kind: each for each in found.dependents}
    assert found.difference_wh == 3000
    day = by_kind[DependentKind.DRAWN_DAY]
    assert (day.wh_before, day.wh_after, day.state) == (11_000, 14_000, "carried_on")
    assert day.micros_before is not None
    assert day.micros_after is not None
    assert day.micros_after > day.micros_before
    # at its own instant the register is the same: what came after is new use, not a correction
    balance = by_kind[DependentKind.BALANCE]
    assert (balance.wh_before, balance.wh_after) == (1_012_000, 1_012_000)


@pytest.mark.req("B14")
def test_nobody_pays_at_a_point_and_nothing_rests_on_it(db: Database) -> None:
    street(db, customer(1))
    now = march(12, 12)
    read(db, 1, {march(10, 5): 1_001_000, march(11, 10): 1_012_000}, now)
    rollups.keep(db, now=now)
    read(db, 2, {march(11, 15): 1_015_000}, now)
    rollups.keep(db, now=now)
    assert rollups.find_dependents(db, dependents.find, now=now) == 1
    with db.transaction() as conn:
        (found,) = rollups.recomputes_of(conn, POINT)
    assert found.looked
    assert found.dependents == ()


def metered(db: Database) -> None:
    """A household of the book with a meter since December."""
    since = datetime(2025, 12, 1, tzinfo=UTC)
    assets.register(
        db,
        things.Registration(
            transformers=(things.Transformer(id=TransformerId("T-01")),),
            concentrators=(things.Concentrator(id=C1),),
            usage_points=(
                things.UsagePoint(
                    id=POINT, kind=things.PointKind.CUSTOMER, transformer=TransformerId("T-01"),
                    zone="Asia/Shanghai",
                ),
            ),
            meters=(
                things.Meter(id=METER, model="x", protocol="dlms", has_relay=False,
                             can_close_remotely=False),
            ),
            installations=(
                things.Installation(
                    meter=METER, usage_point=POINT, concentrator=C1, installed_at=since
                ),
            ),
        ),
        now=since,
    )  # fmt: skip
    book(db, household(1))


def local(day: date, hour: float) -> datetime:
    """An instant of the household's clock."""
    return (datetime.combine(day, time(0), ZONE) + timedelta(hours=hour)).astimezone(UTC)


def test_a_bill_is_priced_again_with_the_register_it_lacked(db: Database) -> None:
    metered(db)
    read(
        db, 1,
        {
            local(JAN, 0): 1_000_000, local(date(2026, 1, 15), 5): 1_040_000,
            local(date(2026, 1, 31), 12): 1_100_000, local(date(2026, 2, 10), 12): 1_150_000,
        },
        NOW,
    )  # fmt: skip
    rollups.keep(db, now=NOW)
    run = runs.open_run(
        db, start=JAN, end=FEB, zone=ZONE, actor="user:reza", now=NOW, gate=Gate()
    )  # fmt: skip
    runs.advance(db, run.id, now=NOW)
    late = NOW + timedelta(hours=1)
    read(
        db, 2,
        {local(date(2026, 1, 31), 20): 1_105_000, local(date(2026, 1, 15), 9): 1_041_000},
        late,
    )  # fmt: skip
    rollups.keep(db, now=late)
    rollups.find_dependents(db, dependents.find, now=late)
    with db.transaction() as conn:
        last, *_ = rollups.recomputes_of(conn, POINT, date(2026, 1, 31))
        inside, *_ = rollups.recomputes_of(conn, POINT, date(2026, 1, 15))
    (bill,) = last.dependents
    assert (bill.kind, bill.state) == (DependentKind.BILL, "differs")
    # 100 kWh: 52 + 3 + 13 %; 105 kWh: 54.6 + 3 + 13 %
    assert (bill.micros_before, bill.micros_after) == (62_150_000, 65_090_000)
    assert (bill.wh_before, bill.wh_after) == (100_000, 105_000)
    # a day within the bill moved, but the bill rests on the registers of its ends
    (same,) = inside.dependents
    assert (same.state, same.micros_after) == ("same", 62_150_000)
    assert [(each.name, each.wh_before, each.wh_after) for each in last.periods] == [
        ("2026-01", 100_000, 105_000)
    ]
