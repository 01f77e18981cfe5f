"""Findings on a real database: gaps, silence, missing registers, acquisition figures."""

from datetime import datetime, timedelta

import pytest

from cloud.store.db import Database
from cloud.vee import service as vee
from cloud.vee.model import ExceptionKind, WatchPolicy
from protocols.timeline import Interval
from tests.integration.ingest_kit import (
    M1,
    M2,
    M3,
    ORIGIN,
    SLOT,
    UP1,
    a_batch,
    build_network,
    registers,
    send,
    slots,
)

HOUR = timedelta(hours=1)
POLICY = WatchPolicy(silent_after_ms=6 * 3_600_000, missing_days=3)


@pytest.fixture(autouse=True)
def _network(db: Database) -> None:
    build_network(db)


def open_gaps(db: Database) -> list[tuple[int, int]]:
    """Open gaps as slot numbers, half-open."""
    with db.transaction() as conn:
        found = vee.open_exceptions(conn, ExceptionKind.GAP)
    step = timedelta(seconds=SLOT)
    return sorted(
        ((gap.range_start - ORIGIN) // step, (gap.range_end - ORIGIN) // step) for gap in found
    )


@pytest.mark.req("B12")
def test_a_gap_opens_behind_the_newest_interval_and_closes_when_filled(db: Database) -> None:
    send(db, a_batch(1, slots(M1, {0: 1, 1: 1})))
    assert open_gaps(db) == []
    send(db, a_batch(2, slots(M1, {5: 1, 8: 1})))
    assert open_gaps(db) == [(2, 5), (6, 8)]
    send(db, a_batch(3, slots(M1, {3: 1, 6: 1})))
    assert open_gaps(db) == [(2, 3), (4, 5), (7, 8)]
    send(db, a_batch(4, slots(M1, {2: 1, 4: 1, 7: 1})))
    assert open_gaps(db) == []
    with db.transaction() as conn:
        day = Interval(start=ORIGIN, end=ORIGIN + timedelta(days=90))
        (row,) = vee.statistics(conn, day)
        assert (row.unit, row.kind, row.still_open) == ("T-01", ExceptionKind.GAP, 0)


def test_history_before_the_first_interval_opens_a_gap_up_to_it(db: Database) -> None:
    send(db, a_batch(1, slots(M1, {10: 1})))
    send(db, a_batch(2, slots(M1, {4: 1, 5: 1})))
    assert open_gaps(db) == [(6, 10)]


def sweep(db: Database, now: datetime) -> dict[ExceptionKind, set[str]]:
    vee.sweep(db, policy=POLICY, now=now)
    with db.transaction() as conn:
        found = vee.open_exceptions(conn)
    return {
        kind: {item.meter for item in found if item.kind is kind} for kind in ExceptionKind
    }  # fmt: skip


def test_a_meter_is_silent_until_it_is_heard_again(db: Database) -> None:
    send(db, a_batch(1, registers(M1, {1: 10, 8: 20})))
    send(db, a_batch(2, registers(M2, {1: 10})))
    found = sweep(db, ORIGIN + 9 * HOUR)
    assert found[ExceptionKind.SILENT] == {M2, M3}
    assert found == sweep(db, ORIGIN + 10 * HOUR)
    send(db, a_batch(3, registers(M2, {11: 20})))
    assert sweep(db, ORIGIN + 12 * HOUR)[ExceptionKind.SILENT] == {M3}


@pytest.mark.req("E1")
def test_registers_missing_for_the_configured_days_become_an_exception(db: Database) -> None:
    send(db, a_batch(1, registers(M1, {1: 10, 8: 20})))
    # intervals alone do not help: what is billed is the register
    send(db, a_batch(2, slots(M1, {100: 5})))
    just_before = ORIGIN + timedelta(days=3) + 7.9 * HOUR
    assert M1 not in sweep(db, just_before)[ExceptionKind.MISSING_REGISTERS]
    found = sweep(db, ORIGIN + timedelta(days=3) + 8 * HOUR)
    assert found[ExceptionKind.MISSING_REGISTERS] == {M1, M2, M3}
    with db.transaction() as conn:
        (item,) = vee.open_exceptions(conn, ExceptionKind.MISSING_REGISTERS, usage_point=UP1)
        assert item.range_start == ORIGIN + 8 * HOUR
    send(db, a_batch(3, registers(M1, {81: 30})))
    found = sweep(db, ORIGIN + 82 * HOUR)
    assert found[ExceptionKind.MISSING_REGISTERS] == {M2, M3}


@pytest.mark.req("C11")
def test_missing_registers_are_counted_by_unit_and_day(db: Database) -> None:
    sweep(db, ORIGIN + timedelta(days=3))
    with db.transaction() as conn:
        span = Interval(start=ORIGIN, end=ORIGIN + timedelta(days=4))
        by_kind = {row.kind: row for row in vee.statistics(conn, span)}
    missing = by_kind[ExceptionKind.MISSING_REGISTERS]
    assert (missing.unit, missing.opened, missing.still_open) == ("T-01", 3, 3)
    assert missing.day == (ORIGIN + timedelta(days=3)).date()


@pytest.mark.req("A8")
def test_coverage_and_success_rate_of_acquisition(db: Database) -> None:
    send(db, a_batch(1, [*registers(M1, {1: 10}), *slots(M1, {0: 1, 1: 1, 3: 1})]))
    send(db, a_batch(2, registers(M2, {20: 10})))
    with db.transaction() as conn:
        now = ORIGIN + 21 * HOUR
        found = vee.acquisition(conn, now=now, within=2 * HOUR)
        assert (found.installed, found.heard, found.coverage_permille) == (3, 1, 333)
        assert (found.slots_expected, found.slots_present, found.success_permille) == (4, 3, 750)
        whole = vee.acquisition(conn, now=now, within=24 * HOUR)
        assert whole.coverage_permille == 666
