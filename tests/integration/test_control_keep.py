"""Keep-power from the cloud: one person to keep, two to end it, and the locks of the database."""

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.control import service as control
from cloud.control.model import KeepPower, NewToken, Refusal, RelayPosition
from cloud.signer import service as signer
from cloud.store.db import Database
from protocols.errors import RefusedError
from protocols.identity import CommandId
from protocols.mqtt.uplink import Stage
from tests.integration.control_kit import (
    NOW,
    StillClock,
    ack,
    approve_twice,
    ask,
    audited,
    build,
    challenged,
    command_state,
    cut,
    meter,
    ordered,
    point,
    state_of,
)

KEY = Ed25519PrivateKey.generate()


def keep(db: Database, number: int, *, actor: str = "user:reza") -> CommandId:
    return control.keep_power(
        db, point(number), actor=actor, reason="a ventilator at home", now=NOW
    )


def kept(db: Database, number: int, clock: StillClock) -> CommandId:
    """Bring a meter to keep power, proven."""
    order = keep(db, number)
    carried(db, order, number, clock)
    return order


def carried(
    db: Database, order: CommandId, number: int, clock: StillClock, end: Stage = Stage.DONE,
    *, reason: str = "",
) -> None:  # fmt: skip
    """Sign, send and end an order."""
    control.prepare(db, clock)
    signer.sign_waiting(db, KEY, clock)
    assert order in [item.key for item in control.outgoing(db, clock)]
    for stage in (Stage.ACCEPTED, Stage.STARTED):
        ack(db, order, number, stage, at=clock.now())
    ack(db, order, number, end, at=clock.move(seconds=1), reason=reason)


def keeping(db: Database, number: int) -> KeepPower:
    with db.transaction() as conn:
        return control.supply_of(conn, point(number)).keep_power


def refused(refusal: Refusal) -> "pytest.RaisesExc[RefusedError]":
    return pytest.raises(RefusedError, check=lambda error: error.refusal is refusal)


@pytest.mark.req("D8")
def test_one_person_keeps_power_and_two_end_it(db: Database) -> None:
    build(db, 1, keeps_power=True)
    clock = StillClock()
    kept(db, 1, clock)
    assert keeping(db, 1) is KeepPower.ON
    with refused(Refusal.KEEPS_POWER):
        ask(db, 1, now=clock.now())

    wish = control.request_end_keep_power(
        db, point(1), actor="user:reza", reason="moved out", now=clock.now()
    )
    with refused(Refusal.REQUEST_OPEN):
        control.request_end_keep_power(
            db, point(1), actor="user:lin", reason="moved out", now=clock.now()
        )
    for actor, refusal in (
        ("user:Reza", Refusal.SAME_PERSON), ("system:control", Refusal.NOT_A_PERSON),
    ):  # fmt: skip
        with refused(refusal):
            control.approve_end_keep_power(db, wish.id, actor=actor, now=clock.now())
    order = control.approve_end_keep_power(db, wish.id, actor="user:lin", now=clock.now())
    assert keeping(db, 1) is KeepPower.ON, "an order proves nothing"
    carried(db, order, 1, clock)
    assert keeping(db, 1) is KeepPower.OFF
    with db.transaction() as conn:
        assert control.release_of(conn, point(1)) is None
    ask(db, 1, now=clock.now())
    assert audited(db, clock.now()) == {}


@pytest.mark.req("D8")
def test_an_order_to_keep_power_takes_back_a_cut_on_its_way(db: Database) -> None:
    build(db, 1, 2, 3, keeps_power=True)
    clock = StillClock()
    waiting = ask(db, 1)
    approve_twice(db, waiting)
    keep(db, 1)
    assert state_of(db, waiting) == "cancelled"

    command = ordered(db, 2, clock)
    keep(db, 2)
    assert command_state(db, command) == "cancelled"

    # let go already: the switch may open at any moment, so power is owed
    gone = challenged(db, 3, clock, KEY)
    assert f"{gone}/go" in [item.key for item in control.outgoing(db, clock)]
    keep(db, 3)
    with db.transaction() as conn:
        verbs = [row.verb for row in control.commands_of(conn, point(3)) if row.ended_at is None]
    assert sorted(verbs) == ["disconnect", "keep_power", "reconnect"]


def test_a_go_is_not_given_once_the_meter_was_told_to_keep_power(
    db: Database, database_dsn: str
) -> None:
    build(db, 1, keeps_power=True)
    clock = StillClock()
    command = challenged(db, 1, clock, KEY)
    with psycopg.connect(database_dsn) as conn:
        # a writer that forgot to take the cut back
        conn.execute("UPDATE control.supply_state SET keep_power = 'ordered'")
    assert [item.key for item in control.outgoing(db, clock)] == []
    assert command_state(db, command) == "cancelled"


@pytest.mark.parametrize(
    ("end", "reason", "after"),
    [
        (Stage.FAILED, "relay_did_not_move", KeepPower.OFF),
        (Stage.FAILED, "meter_silent", KeepPower.UNKNOWN),
        (Stage.REFUSED, "no_keep_power", KeepPower.OFF),
        (Stage.EXPIRED, "expired", KeepPower.UNKNOWN),
    ],
)
def test_what_is_not_known_to_have_failed_locks_cuts(
    db: Database, end: Stage, reason: str, after: KeepPower
) -> None:
    build(db, 1, keeps_power=True)
    clock = StillClock()
    carried(db, keep(db, 1), 1, clock, end, reason=reason)
    assert keeping(db, 1) is after
    if after is KeepPower.OFF:
        ask(db, 1, now=clock.now())
    else:
        with refused(Refusal.KEEPS_POWER):
            ask(db, 1, now=clock.now())


def test_a_done_that_comes_late_is_followed_unless_a_newer_order_was_given(db: Database) -> None:
    build(db, 1, keeps_power=True)
    clock = StillClock()
    order = keep(db, 1)
    control.prepare(db, clock)
    signer.sign_waiting(db, KEY, clock)
    control.outgoing(db, clock)
    clock.move(seconds=200)
    control.expire_commands(db, clock)
    assert (command_state(db, order), keeping(db, 1)) == ("expired", KeepPower.UNKNOWN)
    ack(db, order, 1, Stage.DONE, at=clock.now())
    assert keeping(db, 1) is KeepPower.ON

    wish = control.request_end_keep_power(
        db, point(1), actor="user:reza", reason="moved", now=clock.now()
    )
    end = control.approve_end_keep_power(db, wish.id, actor="user:lin", now=clock.now())
    control.prepare(db, clock)
    clock.move(seconds=200)
    control.expire_commands(db, clock)
    newer = control.keep_power(db, point(1), actor="user:lin", reason="back", now=clock.now())
    carried(db, newer, 1, clock)
    ack(db, end, 1, Stage.DONE, at=clock.now())
    assert keeping(db, 1) is KeepPower.ON, "the newer order has the last word"


@pytest.mark.req("D8")
def test_who_may_not_order_and_what_cannot_be_ordered(db: Database) -> None:
    build(db, 1, keeps_power=True)
    build(db, 2, 901)
    with refused(Refusal.NOT_A_PERSON):
        keep(db, 1, actor="system:billing")
    with refused(Refusal.NO_REASON):
        control.keep_power(db, point(1), actor="user:reza", reason="  ", now=NOW)
    with refused(Refusal.NO_KEEP_POWER):
        keep(db, 2)
    with refused(Refusal.NO_SWITCH):
        keep(db, 901)
    with refused(Refusal.NOT_KEPT):
        control.request_end_keep_power(db, point(1), actor="user:reza", reason="x", now=NOW)
    keep(db, 1)
    with refused(Refusal.COMMAND_OPEN):
        keep(db, 1)
    control.protect(
        db, level="usage_point", target=point(1), reason="hospital", actor="user:lin", now=NOW
    )
    with refused(Refusal.PROTECTED_CUSTOMER):
        control.request_end_keep_power(db, point(1), actor="user:reza", reason="x", now=NOW)


@pytest.mark.req("D8")
def test_the_database_itself_wants_two_people_for_the_end(db: Database, database_dsn: str) -> None:
    build(db, 1, keeps_power=True)
    clock = StillClock()
    kept(db, 1, clock)
    wish = control.request_end_keep_power(
        db, point(1), actor="user:reza", reason="moved", now=clock.now()
    )
    insert = (
        "INSERT INTO control.command (usage_point, meter, concentrator, verb, epoch, issued_by,"
        " issued_at, keep_release) VALUES (%s, %s, 'C-01', 'end_keep_power', 1, 'x', %s, %s)"
    )
    values = (point(1), meter(1), clock.now(), wish.id)
    with psycopg.connect(database_dsn) as conn:
        for statement, parameters, constraint in (
            (insert, values, "control_not_approved"),
            (insert, (*values[:3], None), "control_not_approved"),
            (
                "UPDATE control.keep_release SET approved_by = 'user:REZA', approved_at = now()",
                (), "keep_release_two_people",
            ),
            (
                "UPDATE control.keep_release SET approved_by = 'system:x', approved_at = now()",
                (), "keep_release_by_people",
            ),
            ("UPDATE control.keep_release SET requested_by = 'user:lin'", (), "control_rewrite"),
        ):  # fmt: skip
            with pytest.raises(psycopg.IntegrityError) as caught, conn.transaction():
                conn.execute(statement, parameters)
            assert caught.value.diag.constraint_name == constraint
    # one approval is good for one command
    order = control.approve_end_keep_power(db, wish.id, actor="user:lin", now=clock.now())
    carried(db, order, 1, clock, Stage.FAILED, reason="meter_silent")
    with psycopg.connect(database_dsn) as conn:
        with pytest.raises(psycopg.IntegrityError) as caught:
            conn.execute(insert, values)
        assert caught.value.diag.constraint_name == "control_not_approved"


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("meterloop_billing", "INSERT INTO control.keep_release (usage_point) VALUES ('UP')"),
        ("meterloop_control", "INSERT INTO control.keep_release (usage_point) VALUES ('UP')"),
        ("meterloop_control", "UPDATE control.keep_release SET approved_by = 'user:x'"),
        ("meterloop_signer", "UPDATE control.token SET state = 'waiting'"),
        ("meterloop_billing", "UPDATE control.token SET opaque = 'x'"),
    ],
)
def test_no_process_writes_what_is_anothers(database_dsn: str, role: str, statement: str) -> None:
    with psycopg.connect(database_dsn) as conn:
        conn.execute(f"SET ROLE {role}")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute(statement)


@pytest.mark.req("D8")
def test_meters_of_protected_supplies_are_told_where_the_policy_wants_it(db: Database) -> None:
    build(db, 1, 2, transformer="T-07", keeps_power=True)
    build(db, 3, transformer="T-07")
    build(db, 4, transformer="T-08", keeps_power=True)
    clock = StillClock()
    control.protect(
        db, level="transformer", target="T-07", reason="hospital", actor="user:lin", now=NOW
    )
    assert control.push_keep_power(db, clock) == 0, "not unless somebody wants it"
    control.set_policy(db, actor="user:lin", now=NOW, push_keep_power=True)
    assert control.push_keep_power(db, clock) == 2
    assert control.push_keep_power(db, clock) == 0, "each once"
    with db.transaction() as conn:
        orders = {n: control.commands_of(conn, point(n)) for n in (1, 2, 3, 4)}
    assert {n: [row.verb for row in found] for n, found in orders.items()} == {
        1: ["keep_power"], 2: ["keep_power"], 3: [], 4: [],
    }  # fmt: skip
    carried(db, orders[1][0].id, 1, clock)
    carried(db, orders[2][0].id, 2, clock, Stage.FAILED, reason="meter_silent")
    assert control.push_keep_power(db, clock) == 0, "not at once again"
    clock.move(seconds=901)
    assert (keeping(db, 1), keeping(db, 2)) == (KeepPower.ON, KeepPower.UNKNOWN)
    assert control.push_keep_power(db, clock) == 1
    # a protection that ends makes no meter trip again by itself
    control.unprotect(
        db, level="transformer", target="T-07", actor="user:lin", reason="x", now=clock.now()
    )
    assert keeping(db, 1) is KeepPower.ON
    assert audited(db, clock.now()) == {}


def test_a_wish_that_nobody_approves_lapses(db: Database) -> None:
    build(db, 1, keeps_power=True)
    clock = StillClock()
    kept(db, 1, clock)
    wish = control.request_end_keep_power(
        db, point(1), actor="user:reza", reason="moved", now=clock.now()
    )
    assert control.expire_releases(db, now=clock.now()) == 0
    clock.move(hours=97)
    with refused(Refusal.REQUEST_EXPIRED):
        control.approve_end_keep_power(db, wish.id, actor="user:lin", now=clock.now())
    assert control.expire_releases(db, now=clock.now()) == 1
    with refused(Refusal.WRONG_STATE):
        control.withdraw_end_keep_power(
            db, wish.id, actor="user:reza", reason="late", now=clock.now()
        )


def test_a_switch_is_read_on_demand_and_keeps_no_reconnect_waiting(db: Database) -> None:
    build(db, 1, keeps_power=True)
    clock = StillClock()
    cut(db, 1, clock, KEY)
    order = control.read_relay(db, point(1), actor="user:reza", reason="look", now=clock.now())
    with refused(Refusal.COMMAND_OPEN):
        control.read_relay(db, point(1), actor="user:lin", reason="look", now=clock.now())
    back = control.request_reconnect(
        db, point(1), actor="user:reza", reason="paid in cash", now=clock.now()
    )
    carried(db, order, 1, clock)
    assert command_state(db, order) == "done"
    carried(db, back, 1, clock)
    with db.transaction() as conn:
        assert control.supply_of(conn, point(1)).relay_state is RelayPosition.CONNECTED


@pytest.mark.req("D8")
def test_the_audit_sees_what_went_past_every_guard(db: Database, database_dsn: str) -> None:
    build(db, 1, keeps_power=True, token_kind="sts")
    clock = StillClock()
    kept(db, 1, clock)
    wish = control.request_end_keep_power(
        db, point(1), actor="user:reza", reason="moved", now=clock.now()
    )
    end = control.approve_end_keep_power(db, wish.id, actor="user:lin", now=clock.now())
    carried(db, end, 1, clock)
    taken = control.deliver_token(
        db, NewToken(source="bank", key="K", usage_point=point(1), kind="sts", opaque=b"1"),
        actor="system:bank", now=clock.now(),
    )  # fmt: skip
    orders = []
    for _ in range(2):
        [order] = control.issue_tokens(db, clock)
        control.prepare(db, clock)
        clock.move(seconds=200)
        control.expire_commands(db, clock)
        orders.append(order)
    assert taken.state == "waiting"
    assert audited(db, clock.now()) == {}
    for order in orders:
        ack(db, order, 1, Stage.DONE, at=clock.now())
    assert audited(db, clock.now()) == {"C4": 1}
    with psycopg.connect(database_dsn) as conn:
        conn.execute("SET session_replication_role = replica")
        conn.execute("ALTER TABLE control.keep_release DROP CONSTRAINT keep_release_two_people")
        conn.execute("UPDATE control.keep_release SET approved_by = requested_by")
    assert audited(db, clock.now()) == {"C3": 1, "C4": 1, "S2": 1}
