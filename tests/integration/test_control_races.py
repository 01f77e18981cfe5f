"""Races at one supply on a real database: two connections, every order, many trials (C1, G2)."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

import psycopg
import pytest

from cloud.control import service as control
from cloud.control.model import RequestId
from cloud.control.service import issue
from cloud.control.service.sweep import release
from cloud.store.db import Database
from protocols.errors import RefusedError
from protocols.identity import CommandId
from tests.integration.control_kit import (
    NOW,
    StillClock,
    approve_twice,
    ask,
    audited,
    build,
    point,
    rechecked,
    state_of,
)

TRIALS = 150
MOST_SECONDS = 12.0
"""Trials are bounded by time too: on a busy machine fewer run, at least `LEAST` of each race."""
LEAST = 20


@pytest.fixture
def pair(database_dsn: str, db: Database) -> Iterator[tuple[Database, Database]]:
    build(db, 1)
    with (
        Database(database_dsn, user="meterloop_control", size=1) as hand,
        Database(database_dsn, user="meterloop_billing", size=1) as billing,
    ):
        yield hand, billing


def seed_rechecked(dsn: str, count: int) -> list[RequestId]:
    """Insert supplies `UP-000100..` whose requests wait at the gate, by the shortest way."""
    numbers = list(range(100, 100 + count))
    with psycopg.connect(dsn) as owner, owner.cursor() as rows:
        rows.executemany(
            "INSERT INTO control.supply_state (usage_point, transformer, changed_at)"
            " VALUES (%s, 'T-01', %s)",
            [(point(n), NOW) for n in numbers],
        )
        rows.executemany(
            "INSERT INTO control.request (id, usage_point, state, requested_by, reason, figures,"
            " epoch, created_at, expires_at, rechecked_at)"
            " VALUES (%s, %s, 'rechecked', 'system:billing', 'arrears', '{}', 1, %s, %s, %s)",
            [(f"K-R{n}", point(n), NOW, NOW + timedelta(days=4), NOW) for n in numbers],
        )
        rows.executemany(
            "INSERT INTO control.approval (request, position, actor, at) VALUES (%s, %s, %s, %s)",
            [
                (f"K-R{n}", i, who, NOW)
                for n in numbers
                for i, who in ((1, "user:a"), (2, "user:b"))
            ],
        )
    return [RequestId(f"K-R{n}") for n in numbers]


def install_meters(dsn: str, count: int) -> None:
    with psycopg.connect(dsn) as owner, owner.cursor() as rows:
        for n in range(100, 100 + count):
            rows.execute(
                "INSERT INTO assets.usage_point (id, kind, transformer, zone)"
                " VALUES (%s, 'customer', 'T-01', 'UTC')", (point(n),),
            )  # fmt: skip
            rows.execute(
                "INSERT INTO assets.meter (id, model, protocol, max_w, has_relay,"
                " can_close_remotely) VALUES (%s, 'toy', 'dlms', 20000, true, true)", (f"M-R{n}",),
            )  # fmt: skip
            rows.execute(
                "INSERT INTO assets.installation (meter, usage_point, concentrator, installed_at)"
                " VALUES (%s, %s, 'C-01', %s)", (f"M-R{n}", point(n), NOW - timedelta(days=9)),
            )  # fmt: skip


def race(count: int, left: Callable[[int], None], right: Callable[[int], None]) -> int:
    """Run both sides of each trial at once from two threads; return how many trials ran."""
    gate = threading.Barrier(2)
    began = time.monotonic()
    ran = [0, 0]
    goes_on = [True]

    def side(index: int, act: Callable[[int], None]) -> None:
        for trial in range(count):
            gate.wait(timeout=30)
            if not goes_on[0]:
                return
            if (trial + index) % 3 == 0:
                time.sleep(0.0007 * (trial % 5))  # let each side be the first in turn
            act(trial)
            ran[index] += 1
            gate.wait(timeout=30)
            if index == 0:
                late = time.monotonic() - began > MOST_SECONDS and trial >= LEAST
                goes_on[0] = not late

    with ThreadPoolExecutor(2) as pool:
        sides = [pool.submit(side, index, act) for index, act in enumerate((left, right))]
        for each in sides:
            each.result(timeout=100)
    return min(ran)


def pay(billing: Database, n: int) -> None:
    with billing.transaction() as conn:
        control.payment_registered(conn, point(n), ref=f"P-{n}", restores=True, now=NOW)


@pytest.mark.req("D15")
def test_no_cut_is_ordered_after_a_payment_however_they_race(
    pair: tuple[Database, Database], database_dsn: str, db: Database
) -> None:
    hand, billing = pair
    install_meters(database_dsn, TRIALS)
    requests = seed_rechecked(database_dsn, TRIALS)
    won = {"cut": 0, "paid": 0}

    def order(trial: int) -> None:
        try:
            command = issue.issue_one(hand, requests[trial], point(100 + trial), now=NOW)
        except RefusedError:
            command = None
        won["cut" if command else "paid"] += 1

    ran = race(TRIALS, order, lambda trial: pay(billing, 100 + trial))
    assert ran >= LEAST
    with psycopg.connect(database_dsn) as owner:
        # whichever was first, nothing that could still cut is left
        live = owner.execute(
            "SELECT count(*) FROM control.command WHERE verb = 'disconnect' AND ended_at IS NULL"
        ).fetchone()
        after = owner.execute(
            "SELECT count(*) FROM control.command AS c JOIN control.supply_event AS e"
            " ON e.usage_point = c.usage_point AND e.epoch = 2 AND e.lock_seq < c.lock_seq"
            " WHERE c.verb = 'disconnect'"
        ).fetchone()
    assert (live, after) == ((0,), (0,))
    assert won["cut"] + won["paid"] == ran
    assert won["cut"] > 0, f"the race was one-sided: {won}"
    assert won["paid"] > 0, f"the race was one-sided: {won}"
    assert audited(db, NOW).keys() <= {"S2"}  # the seeded approvals stand in no audit event


@pytest.mark.req("D15")
def test_no_go_leaves_after_a_payment_and_one_that_left_is_undone(
    pair: tuple[Database, Database], database_dsn: str, db: Database
) -> None:
    hand, billing = pair
    clock = StillClock()
    install_meters(database_dsn, TRIALS)
    requests = seed_rechecked(database_dsn, TRIALS)
    commands: list[CommandId] = []
    for index, request in enumerate(requests):
        command = issue.issue_one(hand, request, point(100 + index), now=NOW)
        assert command is not None
        commands.append(command)
    control.prepare(hand, clock)
    with psycopg.connect(database_dsn) as owner:
        owner.execute(
            "UPDATE control.command SET state = 'challenged', nonce = convert_to(id, 'UTF8')"
        )
        owner.execute(
            "INSERT INTO control.go (command, nonce, made_at, body, signature)"
            " SELECT id, nonce, %s, 'body', 'signature' FROM control.command", (NOW,),
        )  # fmt: skip
    left: dict[int, bool] = {}

    def let_go(trial: int) -> None:
        left[trial] = release(hand, clock, commands[trial], point(100 + trial))

    ran = race(TRIALS, let_go, lambda trial: pay(billing, 100 + trial))
    assert ran >= LEAST
    with db.transaction() as conn:
        for trial in range(ran):
            states = {c.verb: c.state.value for c in control.commands_of(conn, point(100 + trial))}
            # a go that left in time is followed by the payment's own reconnect; else there is none
            expected = (
                {"disconnect": "released", "reconnect": "issued"}
                if left[trial]
                else {"disconnect": "cancelled"}
            )
            assert states == expected
    assert len(set(left.values())) == 2, "the race was one-sided"
    assert audited(db, NOW).keys() <= {"S2"}  # the seeded approvals stand in no audit event


def test_no_cut_is_ordered_against_a_hold_however_they_race(
    pair: tuple[Database, Database], database_dsn: str
) -> None:
    hand, billing = pair
    trials = TRIALS // 2
    install_meters(database_dsn, trials)
    requests = seed_rechecked(database_dsn, trials)

    def order(trial: int) -> None:
        try:
            issue.issue_one(hand, requests[trial], point(100 + trial), now=NOW)
        except RefusedError:
            return

    def hold(trial: int) -> None:
        with billing.transaction() as conn:
            control.hold(
                conn, point(100 + trial), kind="dispute", ref="C-1", reason="disputed",
                actor="user:reza", now=NOW,
            )  # fmt: skip

    assert race(trials, order, hold) >= LEAST
    with psycopg.connect(database_dsn) as owner:
        live = owner.execute(
            "SELECT count(*) FROM control.command AS c JOIN control.hold AS h USING (usage_point)"
            " WHERE c.ended_at IS NULL"
        ).fetchone()
    assert live == (0,)


@pytest.mark.req("D2")
@pytest.mark.parametrize("second", ["user:lin", "user:reza"])
def test_approvals_at_the_same_time_never_make_one_person_two(
    db: Database, database_dsn: str, second: str
) -> None:
    trials = 25
    build(db, *range(1, trials + 1))
    requests = [ask(db, n) for n in range(1, trials + 1)]
    with (
        Database(database_dsn, user="meterloop_portal", size=1) as one,
        Database(database_dsn, user="meterloop_portal", size=1) as two,
    ):

        def by(screen: Database, actor: str) -> Callable[[int], None]:
            def act(trial: int) -> None:
                try:
                    control.approve(screen, requests[trial], actor=actor, now=NOW)
                except RefusedError:
                    return

            return act

        ran = race(trials, by(one, "user:reza"), by(two, second))
    expected = "approved_2" if second == "user:lin" else "approved_1"
    assert {state_of(db, request) for request in requests[:ran]} == {expected}


@contextmanager
def held_open(db: Database) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A transaction that commits when the block ends."""
    with db.transaction() as conn:
        yield conn


def later(pool: ThreadPoolExecutor, call: Callable[[], object]) -> Future[object]:
    """Start `call` elsewhere and see that it waits for a lock."""
    started = pool.submit(call)
    time.sleep(0.3)
    assert not started.done(), "it did not wait for the supply's row"
    return started


def test_a_cut_waits_for_a_payment_under_way_and_then_sees_it(
    pair: tuple[Database, Database], db: Database
) -> None:
    hand, billing = pair
    request = rechecked(db, 1)
    with ThreadPoolExecutor(1) as pool:
        with held_open(billing) as conn:
            control.payment_registered(conn, point(1), ref="P", restores=True, now=NOW)
            cut = later(pool, lambda: issue.issue_one(hand, request, point(1), now=NOW))
        assert cut.result(timeout=60) is None
    assert state_of(db, request) == "cancelled"


def test_a_payment_waits_for_a_cut_under_way_and_then_takes_it_back(
    pair: tuple[Database, Database], db: Database
) -> None:
    hand, billing = pair
    request = rechecked(db, 1)
    clock = StillClock()
    with ThreadPoolExecutor(1) as pool:
        with held_open(hand) as conn:
            # the gate's lock, then everything the issue does, in one open transaction
            assert control.supply_of(conn, point(1)).open_command is None
            conn.execute("SELECT 1 FROM control.supply_state WHERE usage_point = 'UP-000001'"
                         " FOR UPDATE")  # fmt: skip
            payment = later(pool, lambda: pay_one(billing))
        payment.result(timeout=60)
    assert state_of(db, request) == "cancelled"
    assert control.issue_due(hand, clock) == []


def pay_one(billing: Database) -> None:
    pay(billing, 1)


def test_even_a_bare_insert_waits_for_the_payment_and_is_refused(
    pair: tuple[Database, Database], db: Database, database_dsn: str
) -> None:
    _, billing = pair
    request = rechecked(db, 1)

    def rogue() -> str:
        with psycopg.connect(database_dsn) as owner:
            try:
                owner.execute(
                    "INSERT INTO control.command (usage_point, meter, concentrator, verb, request,"
                    " epoch, issued_by, issued_at) VALUES ('UP-000001', 'M-000001', 'C-01',"
                    " 'disconnect', %s, 1, 'user:root', %s)", (request, NOW),
                )  # fmt: skip
            except psycopg.IntegrityError as error:
                return error.diag.constraint_name or ""
        return "accepted"

    with ThreadPoolExecutor(1) as pool:
        with held_open(billing) as conn:
            control.payment_registered(conn, point(1), ref="P", restores=True, now=NOW)
            insert = later(pool, rogue)
        assert insert.result(timeout=60) == "control_epoch"


@pytest.mark.req("D2")
def test_the_second_approval_waits_for_the_first(db: Database, database_dsn: str) -> None:
    build(db, 1)
    request = ask(db, 1)
    insert = "INSERT INTO control.approval VALUES (%s, %s, %s, now())"

    def second(position: int, actor: str) -> str:
        with psycopg.connect(database_dsn) as conn:
            try:
                conn.execute(insert, (request, position, actor))
            except psycopg.IntegrityError as error:
                return error.diag.constraint_name or ""
        return "accepted"

    with ThreadPoolExecutor(1) as pool, psycopg.connect(database_dsn) as first:
        first.execute(insert, (request, 1, "user:reza"))
        waiting = later(pool, lambda: second(2, "user:REZA"))
        first.commit()
        assert waiting.result(timeout=60) == "approval_two_people"
    assert second(1, "user:lin") == "approval_pk"
    assert second(2, "system:lin") == "approval_by_person"
    assert second(2, "system:billing") in {"approval_not_requester", "approval_by_person"}
    assert second(2, "user:lin") == "accepted"


@pytest.mark.req("D2")
def test_whoever_asked_cannot_approve_even_by_hand(db: Database, database_dsn: str) -> None:
    build(db, 1)
    request = ask(db, 1, by="user:maryam")
    with psycopg.connect(database_dsn) as owner, pytest.raises(psycopg.IntegrityError) as caught:
        owner.execute(
            "INSERT INTO control.approval VALUES (%s, 1, 'user:Maryam', now())", (request,)
        )
    assert caught.value.diag.constraint_name == "approval_not_requester"
    approve_twice(db, request)
