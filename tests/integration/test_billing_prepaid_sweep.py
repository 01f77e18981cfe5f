"""The sweep of millions on a small town: columns, two readers, snapshots, a second opinion."""

import importlib
import json
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

from billing.customers import service as customers
from billing.customers.model import Threshold, ThresholdLevel
from billing.prepaid import service as prepaid
from billing.prepaid import store
from billing.prepaid.model import ExceptionKind
from billing.rating import service as rating
from billing.tariffs import service as tariffs
from cloud.store.db import Database
from protocols.errors import RefusedError
from protocols.timeline import Interval, to_ms
from tests.integration.billing_kit import CODE, HOUR, ORIGIN, YUAN, customer, read, rows, street
from tests.integration.usage_kit import say_register

PEOPLE = 40
SHANGHAI = ZoneInfo("Asia/Shanghai")
# the package's functions have the names of their modules
SCREEN = importlib.import_module("billing.prepaid.service.screen")
SWEEP = importlib.import_module("billing.prepaid.service.sweep")


def _town(db: Database) -> None:
    street(db, *(customer(n, opening_year_wh=2_390_000 + n * 500) for n in range(1, PEOPLE + 1)))
    customers.set_threshold(
        db,
        Threshold(level=ThresholdLevel.AGREEMENT, target="SA-000007", reminder_micros=49 * YUAN),
        actor="user:lin", now=ORIGIN,
    )  # fmt: skip
    prepaid.sweep(db, now=ORIGIN)


def _read_all(db: Database, hour: int) -> None:
    for n in range(1, PEOPLE + 1):
        read(db, f"UP-{n:06}", ORIGIN + hour * HOUR, 1_000_000 + hour * n * 1_000)


def _crossings(db: Database) -> list[tuple[object, ...]]:
    return rows(
        db,
        "SELECT agreement, kind, level, crossing_no, available_micros, register_wh"
        " FROM prepaid.crossing ORDER BY 1, 2, 3, 4",
    )


@pytest.mark.req("C1", "C4")
@pytest.mark.parametrize("moved_only", [False, True])
def test_two_readers_and_snapshots_cross_what_single_rows_do(
    db: Database, monkeypatch: pytest.MonkeyPatch, *, moved_only: bool
) -> None:
    _town(db)
    hours = (1, 2, 3)
    monkeypatch.setattr(SWEEP, "WRITE_BACK", 0)
    monkeypatch.setattr(SCREEN, "FEW", 0)
    monkeypatch.setattr(store.columns, "RANGE", 7)
    monkeypatch.setattr(store.columns, "PAGES", 1)
    monkeypatch.setattr(store.columns, "PROBES", 7)
    for hour in hours:
        _read_all(db, hour)
        prepaid.sweep(db, now=ORIGIN + hour * HOUR, moved_only=moved_only)
    large = _crossings(db)
    with db.transaction() as conn:
        balances = [prepaid.balance_of(conn, f"UP-{n:06}", ORIGIN + 3 * HOUR) for n in range(1, 41)]
        assert prepaid.audit_fees(conn).count == 0
        blocks = store.snapshot_blocks(conn, 100)
        numbers = dict(rows(db, "SELECT point, usage_point FROM prepaid.state"))
    newest = {
        numbers[point]: fee
        for block in reversed(blocks)
        for point, fee in zip(block.point.tolist(), block.fee_micros.tolist(), strict=True)
    }
    assert newest == {each.usage_point: each.fee_micros for each in balances}
    assert {kind for _, kind, *_ in large} == {"reminder", "zero", "cut", "tier"}
    assert len({row[:4] for row in large}) == len(large)
    for agreement, kind, _, _, available, _ in large:
        own = 49 * YUAN if agreement == "SA-000007" else 20 * YUAN
        assert kind == "tier" or available < (own if kind == "reminder" else 0)


def test_what_did_not_move_is_not_priced(db: Database) -> None:
    _town(db)
    read(db, "UP-000003", ORIGIN + HOUR, 1_001_000)
    swept = prepaid.sweep(db, now=ORIGIN + HOUR, moved_only=True)
    assert [live.usage_point for live in swept.changed] == ["UP-000003"]
    assert swept.points < PEOPLE
    assert prepaid.sweep(db, now=ORIGIN + HOUR).points == PEOPLE


@pytest.mark.req("C1")
def test_between_two_looks_at_all_only_new_registers_are_priced(db: Database) -> None:
    _town(db)
    day = timedelta(hours=24)
    for hour, priced in ((1, {"UP-000003"}), (2, {"UP-000004"}), (26, None)):
        at = ORIGIN + hour * HOUR
        read(db, f"UP-{2 + hour:06}", at, 1_000_500)
        swept = prepaid.sweep(db, now=at, every_account_each=day)
        told = {live.usage_point for live in swept.changed}
        assert told == priced if priced else swept.points == PEOPLE


@pytest.mark.req("C9")
def test_a_day_of_states_left_behind_is_drawn_at_its_own_last_register(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    _town(db)
    monkeypatch.setattr(SWEEP, "WRITE_BACK", 0)
    for hour in (1, 11, 13):  # the day ends at hour 12
        _read_all(db, hour)
        prepaid.sweep(db, now=ORIGIN + hour * HOUR)
    drawn = rows(db, "SELECT DISTINCT register_at, day::text FROM prepaid.drawdown")
    assert drawn == [(ORIGIN + 11 * HOUR, "2026-03-10")]
    with db.transaction() as conn:
        assert prepaid.audit_drawdowns(conn).count == 0
        assert prepaid.audit_fees(conn).count == 0


def test_the_newest_register_follows_corrections_and_derivations(db: Database) -> None:
    street(db, customer(1))
    newest = "SELECT cumulative_wh, at_ms >= 0 FROM usage.newest WHERE usage_point = 'UP-000001'"
    read(db, "UP-000001", ORIGIN + 2 * HOUR, 1_002_000)
    read(db, "UP-000001", ORIGIN + HOUR, 1_001_000)  # late
    assert rows(db, newest) == [(1_002_000, True)]
    say_register(db, "UP-000001", ORIGIN + 2 * HOUR, 1_001_500)
    assert rows(db, newest) == [(1_001_500, True)]
    say_register(db, "UP-000001", ORIGIN + 2 * HOUR, 0, kind=3)
    assert rows(db, newest) == [(1_001_000, True)]
    say_register(db, "UP-000001", ORIGIN + HOUR, 0, kind=3)
    assert rows(db, newest) == [(0, False)]


@pytest.mark.req("C11")
def test_exceptions_are_counted_by_unit_day_and_section(db: Database) -> None:
    _town(db)
    late = ORIGIN + timedelta(hours=30)
    read(db, "UP-000001", late, 1_000_100)
    prepaid.sweep(db, now=late)
    read(db, "UP-000002", late + HOUR, 1_000_100)
    prepaid.sweep(db, now=late + HOUR)
    span = Interval(start=ORIGIN, end=late + 2 * HOUR)
    with db.transaction() as conn:
        found = prepaid.exception_counts(conn, span, SHANGHAI)
    assert [(each.section, each.kind, each.began, each.standing) for each in found] == [
        ("C-01", ExceptionKind.MISSING_REGISTER, PEOPLE - 1, PEOPLE - 2)
    ]
    assert (found[0].unit, found[0].day.isoformat()) == ("T-01", "2026-03-11")


@pytest.mark.req("C7")
def test_a_second_opinion_that_differs_stops_publishing_until_it_is_lifted(db: Database) -> None:
    _town(db)
    _read_all(db, 1)
    prepaid.sweep(db, now=ORIGIN + HOUR)
    agrees = prepaid.shadow_check(db, now=ORIGIN + HOUR, per_10000=10_000)
    assert (agrees.checked, agrees.differing) == (PEOPLE, 0)
    assert prepaid.shadow_when_due(db, now=ORIGIN + 2 * HOUR) is None
    rows(db, "UPDATE prepaid.state SET fee_micros = fee_micros + 1"
             " WHERE agreement = 'SA-000005' RETURNING 1")  # fmt: skip
    found = prepaid.shadow_check(db, now=ORIGIN + 3 * HOUR, per_10000=10_000)
    assert found.differing == 1
    assert found.examples[0].startswith("SA-000005 at ")
    following = json.loads(tariffs.shipped(CODE))
    following.update(version=following["version"] + 1, valid_from="2027-01-01")
    document = json.dumps(following).encode()
    with pytest.raises(RefusedError, match=r"tariffs\.frozen"):
        rating.publish(db, document, actor="user:reza", now=ORIGIN)
    tariffs.lift_freeze(db, actor="user:lin", reason="the state was changed by hand", now=ORIGIN)
    rating.publish(db, document, actor="user:reza", now=ORIGIN)
    with pytest.raises(RefusedError, match=r"tariffs\.not_frozen"):
        tariffs.lift_freeze(db, actor="user:lin", reason="again", now=ORIGIN)


def test_an_agreement_priced_by_more_than_energy_waits_and_harms_nobody(db: Database) -> None:
    street(db, customer(1), customer(2, tariff_code="cn-industry-two-part"))
    rating.publish(db, tariffs.shipped("cn-industry-two-part"), actor="user:reza", now=ORIGIN)
    for n in (1, 2):
        read(db, f"UP-{n:06}", ORIGIN + HOUR, 1_010_000)
    for hour in (1, 2):
        assert prepaid.sweep(db, now=ORIGIN + hour * HOUR).points == 1
        with db.transaction() as conn:
            standing = [(each.agreement, each.kind) for each in prepaid.exceptions(conn)]
        assert standing == [("SA-000002", ExceptionKind.NO_TARIFF)]
    with db.transaction() as conn:
        assert prepaid.balance_of(conn, "UP-000001", ORIGIN + HOUR).fee_micros == 5_200_000


def _octets_differ(db: Database) -> list[tuple[object, ...]]:
    """Return points whose octets are not what their own row says."""
    return rows(
        db,
        "SELECT s.point FROM prepaid.state AS s LEFT JOIN prepaid.hot AS h USING (point)"
        " WHERE h.octets IS NULL OR substr(h.octets, 1, 8) <> int8send(s.point)"
        " OR substr(h.octets, 41, 8) <> int8send(s.register_wh)"
        " OR substr(h.octets, 57, 8) <> int8send(s.fee_micros)"
        " OR substr(h.octets, 65, 8) <> int8send(s.drawn_micros)"
        " OR substr(h.octets, 73, 8) <> int8send(s.available_micros)",
    )


def test_octets_follow_every_write_of_a_state(db: Database) -> None:
    _town(db)
    assert _octets_differ(db) == []
    for hour in (1, 2, 13):  # the last draws a day
        _read_all(db, hour)
        prepaid.sweep(db, now=ORIGIN + hour * HOUR)
        assert _octets_differ(db) == []
    rows(db, "DELETE FROM prepaid.state WHERE agreement = 'SA-000001' RETURNING 1")
    assert rows(db, "SELECT count(*) FROM prepaid.hot") == [(PEOPLE - 1,)]


def test_a_point_that_moved_twice_is_priced_once_at_its_newest(db: Database) -> None:
    _town(db)
    read(db, "UP-000003", ORIGIN + HOUR, 1_001_000)
    read(db, "UP-000003", ORIGIN + 2 * HOUR, 1_002_000)
    read(db, "UP-000004", ORIGIN + HOUR, 1_001_000)
    swept = prepaid.sweep(db, now=ORIGIN + 2 * HOUR, moved_only=True)
    assert swept.points == 2
    told = {live.usage_point: live.as_of_register_wh for live in swept.changed}
    assert told == {"UP-000003": 1_002_000, "UP-000004": 1_001_000}
    assert prepaid.sweep(db, now=ORIGIN + 2 * HOUR, moved_only=True).points == 0
    assert rows(db, "SELECT count(*) FROM usage.moves") == [(0,)]


def test_moves_that_were_let_go_of_are_found_in_the_registers(
    db: Database, database_dsn: str
) -> None:
    _town(db)
    read(db, "UP-000003", ORIGIN + HOUR, 1_001_000)
    with Database(database_dsn) as owner:
        rows(owner, "SELECT usage.forget_moves(pg_current_xact_id())::text")
    read(db, "UP-000004", ORIGIN + HOUR, 1_001_000)
    swept = prepaid.sweep(db, now=ORIGIN + HOUR, moved_only=True)
    assert {live.usage_point for live in swept.changed} == {"UP-000003", "UP-000004"}


def test_a_move_under_way_while_a_sweep_runs_is_found_by_the_next(
    db: Database, database_dsn: str
) -> None:
    _town(db)
    with Database(database_dsn) as other, other.transaction() as conn:
        conn.execute(
            "UPDATE usage.newest SET cumulative_wh = 1001000, at_ms = %s,"
            " moved = pg_current_xact_id() WHERE usage_point = 'UP-000005'",
            [to_ms(ORIGIN + HOUR)],
        )
        read(db, "UP-000003", ORIGIN + HOUR, 1_001_000)
        first = prepaid.sweep(db, now=ORIGIN + HOUR, moved_only=True)
    second = prepaid.sweep(db, now=ORIGIN + HOUR, moved_only=True)
    assert {live.usage_point for live in first.changed} == {"UP-000003"}
    assert "UP-000005" in {live.usage_point for live in second.changed}
