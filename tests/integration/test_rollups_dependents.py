"""What a late reading changed in money: drawn days, the balance, charges and bills."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from billing.bills.service import dependents
from billing.prepaid import service as prepaid
from cloud.rollups import service as rollups
from cloud.rollups.model import Dependent, DependentKind
from cloud.store.db import Database
from protocols.identity import MeterId, UsagePointId
from protocols.reading import Channel
from tests.integration.billing_kit import customer, rows, street
from tests.integration.ingest_kit import a_batch
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
