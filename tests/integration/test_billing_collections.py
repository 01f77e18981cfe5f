"""The road to a cut on a real database, together with control's requests and approvals."""

from datetime import timedelta

import psycopg
import pytest

from billing.collections import service as collections
from billing.collections.model import CaseState
from billing.customers import service as customers
from billing.customers.model import Threshold, ThresholdLevel
from billing.payments import service as payments
from billing.prepaid import service as prepaid
from cloud.control import service as control
from cloud.control.model import RelayPosition, RequestState
from cloud.messages import service as messages
from cloud.store.db import Database
from protocols.errors import RefusedError
from tests.integration.billing_kit import HOUR, ORIGIN, YUAN, customer, order, read, street

UP = "UP-000001"
DAY = timedelta(hours=24)


def turn(db: Database, at) -> None:
    prepaid.sweep(db, now=at)
    collections.step(db, now=at)


def case_of(db: Database):
    with db.transaction() as conn:
        return collections.cases_of(conn, UP)[0]


def fall(db: Database, *people, relay: bool = True):
    """Let the first customer fall below zero at ORIGIN + 1 h; return when."""
    street(db, *(people or (customer(1),)), relay=relay)
    at = ORIGIN + HOUR
    read(db, UP, at, 1_110_000)
    turn(db, at)
    return at


def due(db: Database, at, wh: int = 1_111_000):
    """Let the notice period run out with a fresh register; return when."""
    later = at + DAY
    read(db, UP, later, wh)
    turn(db, later)
    return later


@pytest.mark.req("D3", "D4", "D5", "I1", "I5", "C1")
def test_a_debt_is_dunned_noticed_recomputed_and_requested(db: Database) -> None:
    at = fall(db)
    case = case_of(db)
    assert case.state is CaseState.NOTICE
    assert case.notice_ends_at == at + DAY
    with db.transaction() as conn:
        told = {message.kind.value for message in messages.messages_of(conn, UP)}
    assert told == {"dunning", "cut_notice"}
    turn(db, at + DAY - timedelta(seconds=1))
    assert case_of(db).state is CaseState.NOTICE
    later = due(db, at)
    case = case_of(db)
    assert case.state is CaseState.CUT_CANDIDATE
    turn(db, later)
    case = case_of(db)
    assert case.state is CaseState.REQUESTED
    with db.transaction() as conn:
        request = control.request_of(conn, case.request_id)
        steps = collections.transitions_of(conn, case.id)
    assert request.state is RequestState.REQUESTED
    assert request.requested_by == "system:billing"
    assert request.figures["available_micros"] == 50 * YUAN - 57_720_000
    assert request.figures["register_wh"] == 1_111_000
    assert request.figures["rule"] == "collections.v1"
    assert [step.became for step in steps] == [
        "reminded", "overdue", "notice", "cut_candidate", "requested",
    ]  # fmt: skip
    assert steps[3].figures["tariff_hash"]


@pytest.mark.req("D5")
def test_two_approvals_then_the_fee_is_computed_again(db: Database) -> None:
    later = due(db, fall(db))
    turn(db, later)
    request = case_of(db).request_id
    for actor in ("user:lin", "user:aziz"):
        control.approve(db, request, actor=actor, now=later)
    assert collections.step(db, now=later).rechecked == 1
    with db.transaction() as conn:
        assert control.request_of(conn, request).state is RequestState.RECHECKED


@pytest.mark.req("D5", "D15")
def test_paying_between_approval_and_cut_ends_both(db: Database) -> None:
    later = due(db, fall(db))
    turn(db, later)
    request = case_of(db).request_id
    for actor in ("user:lin", "user:aziz"):
        control.approve(db, request, actor=actor, now=later)
    payments.pay(db, order(1, "t", 30), now=later)
    turn(db, later)
    with db.transaction() as conn:
        assert control.request_of(conn, request).state is RequestState.CANCELLED
    assert case_of(db).state is CaseState.PAID
    assert case_of(db).closed_at == later


def test_paying_too_little_starts_the_notice_anew(db: Database) -> None:
    later = due(db, fall(db))
    turn(db, later)
    payments.pay(db, order(1, "t", 1), now=later)
    collections.step(db, now=later)
    case = case_of(db)
    assert case.state is CaseState.NOTICE
    assert case.notice_ends_at == later + DAY


@pytest.mark.req("D8")
def test_a_protected_customer_is_dunned_but_never_requested(db: Database) -> None:
    later = due(db, fall(db, customer(1, protection="hospital")))
    turn(db, later)
    case = case_of(db)
    assert (case.state, case.reason) == (CaseState.PROTECTED, "protected_customer")
    with db.transaction() as conn:
        assert [r.state for r in control.requests_of(conn, UP)] == [RequestState.REFUSED]
    turn(db, later + HOUR)
    assert case_of(db).state is CaseState.PROTECTED
    payments.pay(db, order(1, "t", 30), now=later + HOUR)
    turn(db, later + HOUR)
    assert case_of(db).state is CaseState.PAID


@pytest.mark.req("D5")
def test_nobody_is_cut_on_registers_that_are_missing(db: Database) -> None:
    at = fall(db)
    for hours in (25, 30, 60):
        turn(db, at + timedelta(hours=hours))
    assert case_of(db).state is CaseState.NOTICE
    read(db, UP, at + timedelta(hours=61), 1_112_000)
    turn(db, at + timedelta(hours=61))
    assert case_of(db).state is CaseState.CUT_CANDIDATE


def test_a_meter_without_a_switch_goes_to_the_field(db: Database) -> None:
    later = due(db, fall(db, relay=False))
    turn(db, later)
    assert (case_of(db).state, case_of(db).reason) == (CaseState.FIELD, "no_switch")


def test_a_lost_answer_of_control_is_found_again(db: Database) -> None:
    later = due(db, fall(db))
    mine = control.request_disconnect(
        db, usage_point=UP, requested_by="system:billing", reason="lost", figures={}, now=later
    )
    turn(db, later)
    case = case_of(db)
    assert (case.state, case.request_id) == (CaseState.REQUESTED, mine)


@pytest.mark.req("F8", "I6")
def test_without_automatic_dunning_a_person_gives_the_notice(db: Database) -> None:
    street(db, customer(1))
    customers.set_threshold(
        db,
        Threshold(level=ThresholdLevel.AGREEMENT, target="SA-000001", auto_dun=False),
        actor="user:lin", now=ORIGIN,
    )  # fmt: skip
    at = ORIGIN + HOUR
    with pytest.raises(RefusedError, match="no_case"):
        collections.give_notice(db, UP, actor="user:lin", now=at)
    read(db, UP, at, 1_110_000)
    turn(db, at)
    due(db, at)
    assert case_of(db).state is CaseState.OVERDUE
    collections.give_notice(db, UP, actor="user:lin", now=at + DAY)
    assert (case_of(db).state, case_of(db).notice_ends_at) == (CaseState.NOTICE, at + 2 * DAY)
    with pytest.raises(RefusedError, match="not_overdue"):
        collections.give_notice(db, UP, actor="user:lin", now=at + DAY)


@pytest.mark.req("I2", "I5")
def test_debtors_are_listed_by_area_largest_debt_first(db: Database) -> None:
    at = fall(db, customer(1), customer(2), customer(3))
    read(db, "UP-000002", at, 1_200_000)
    read(db, "UP-000003", at, 1_070_000)
    turn(db, at)
    with db.transaction() as conn:
        found = collections.debtors(conn, transformer="T-01")
        assert collections.debtors(conn, transformer="T-02") == []
    assert [debtor.case.usage_point for debtor in found] == ["UP-000002", UP]
    assert found[0].available_micros == 50 * YUAN - 104 * YUAN


def test_killed_at_any_point_a_step_repeats_without_doing_twice(db: Database) -> None:
    later = due(db, fall(db))
    for _ in range(3):
        turn(db, later)
    with db.transaction() as conn:
        assert len(control.requests_of(conn, UP)) == 1
        assert len(collections.cases_of(conn, UP)) == 1
        kinds = [message.kind.value for message in messages.messages_of(conn, UP)]
    assert sorted(kinds) == ["cut_notice", "dunning"]


@pytest.mark.req("I6")
def test_the_portal_may_give_a_notice_but_not_rewrite_a_case(
    db: Database, database_dsn: str
) -> None:
    at = fall(db)
    with Database(database_dsn, user="meterloop_portal") as portal:
        with pytest.raises(RefusedError, match="not_overdue"):
            collections.give_notice(portal, UP, actor="user:lin", now=at)
        with pytest.raises(psycopg.errors.InsufficientPrivilege), portal.transaction() as conn:
            conn.execute("DELETE FROM collections.transition")


@pytest.mark.req("D20")
def test_a_crew_that_cut_by_hand_moves_the_case_and_paying_lifts_it(db: Database) -> None:
    later = due(db, fall(db))
    turn(db, later)
    request = case_of(db).request_id
    with db.transaction() as conn:
        conn.execute("UPDATE control.request SET state = 'failed' WHERE id = %s", (request,))
        conn.execute(
            "INSERT INTO control.outcome (usage_point, request, verb, result, cause, at)"
            " VALUES (%s, %s, 'disconnect', 'failed', 'stuck', %s)",
            (UP, request, later),
        )
    turn(db, later)
    assert case_of(db).state is CaseState.FIELD
    with db.transaction() as conn:
        control.field_report(
            conn, UP, relay_state=RelayPosition.DISCONNECTED, actor="user:aziz", ref="W-1",
            now=later,
        )  # fmt: skip
    turn(db, later)
    assert case_of(db).state is CaseState.CUT
    payments.pay(db, order(1, "t", 30), now=later)
    turn(db, later)
    assert case_of(db).state is CaseState.RECONNECT_DUE
    with db.transaction() as conn:
        control.field_report(
            conn, UP, relay_state=RelayPosition.ARMED, actor="user:aziz", ref="W-1", now=later
        )
    turn(db, later)
    assert (case_of(db).state, case_of(db).reason) == (CaseState.RESTORED, "armed")
