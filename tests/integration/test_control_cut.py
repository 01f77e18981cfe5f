"""The road of a cut on a real database, from the wish to the open switch, and its exits."""

from collections.abc import Callable

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.control import service as control
from cloud.control.model import Refusal, RelayPosition
from cloud.control.service.sweep import SeenRelay
from cloud.signer import service as signer
from cloud.store import audit
from cloud.store.db import Database
from protocols.errors import RefusedError
from protocols.mqtt.downlink import Command, Go, Verb, open_signed
from protocols.mqtt.uplink import Stage
from protocols.reading import RelayReading, RelayState
from tests.integration.control_kit import (
    CONCENTRATOR,
    NOW,
    StillClock,
    ack,
    approve_twice,
    ask,
    audited,
    build,
    challenged,
    command_state,
    confirm,
    cut,
    jobs,
    ordered,
    pay,
    point,
    rechecked,
    state_of,
    texts,
)

KEY = Ed25519PrivateKey.generate()
NONE: dict[str, int] = {}


@pytest.fixture
def street(db: Database) -> Database:
    build(db, 1, 2, 3)
    return db


def refusal_of(call: Callable[[], object]) -> Refusal:
    with pytest.raises(RefusedError) as caught:
        call()
    return Refusal(caught.value.refusal)


def relay_of(db: Database, number: int) -> RelayPosition:
    with db.transaction() as conn:
        return control.supply_of(conn, point(number)).relay_state


def verbs(db: Database, number: int) -> list[tuple[str, str]]:
    with db.transaction() as conn:
        return [(c.verb, c.state.value) for c in control.commands_of(conn, point(number))]


@pytest.mark.req("D1", "D2", "D5", "D6", "D13", "F4")
def test_a_cut_needs_two_people_a_recheck_and_a_handshake(street: Database) -> None:
    clock = StillClock()
    request = ask(street, 1, by="user:maryam")
    assert control.issue_due(street, clock) == []
    control.approve(street, request, actor="user:reza", now=NOW)
    assert control.issue_due(street, clock) == []
    control.approve(street, request, actor="user:lin", now=NOW)
    assert control.issue_due(street, clock) == []
    with street.transaction() as conn:
        assert [item.request for item in control.pending_rechecks(conn)] == [request]
    assert confirm(street, request)
    [command] = control.issue_due(street, clock)
    assert state_of(street, request) == "ordered"

    control.prepare(street, clock)
    assert control.outgoing(street, clock) == []  # nobody has signed it
    assert signer.sign_waiting(street, KEY, clock) == (1, 0)
    [sent] = control.outgoing(street, clock)
    order = open_signed(sent.payload, KEY.public_key())
    assert isinstance(order, Command)
    assert (order.id, order.verb, sent.concentrator) == (command, Verb.DISCONNECT, CONCENTRATOR)

    ack(street, command, 1, Stage.ACCEPTED, at=NOW)
    ack(street, command, 1, Stage.CHALLENGE, at=NOW, nonce=b"n" * 16)
    assert control.outgoing(street, clock) == []
    assert signer.sign_waiting(street, KEY, clock) == (1, 0)
    [sent] = control.outgoing(street, clock)
    go = open_signed(sent.payload, KEY.public_key())
    assert isinstance(go, Go)
    assert go.nonce == b"n" * 16
    ack(street, command, 1, Stage.STARTED, at=NOW)
    done_at = clock.move(seconds=3)
    ack(street, command, 1, Stage.DONE, at=done_at, evidence={"after": {"output_closed": 0}})

    assert state_of(street, request) == "cut"
    assert relay_of(street, 1) is RelayPosition.DISCONNECTED
    assert texts(street, point(1)) == ["supply_cut"]
    with street.transaction() as conn:
        [outcome] = control.outcomes_after(conn, 0)
        assert (outcome.request, outcome.result) == (request, "done")
        assert len(audit.history(conn, entity="command", entity_id=command)) >= 4
    assert audited(street, clock.now()) == NONE


@pytest.mark.req("D15", "D17")
def test_payment_after_the_cut_brings_power_back_in_its_own_transaction(street: Database) -> None:
    clock = StillClock()
    cut(street, 1, clock, KEY)
    with street.transaction() as conn:
        before = control.supply_of(conn, point(1)).epoch
        after = control.payment_registered(
            conn, point(1), ref="P-1", restores=True, now=clock.now()
        )
        assert after.epoch == before + 1
        # still inside the payment: the reconnect is part of it
        [newest, _] = control.commands_of(conn, point(1))
        assert (newest.verb, newest.state.value) == ("reconnect", "issued")
    control.prepare(street, clock)
    signer.sign_waiting(street, KEY, clock)
    assert [item.key for item in control.outgoing(street, clock)] == [newest.id]
    ack(street, newest.id, 1, Stage.ACCEPTED, at=clock.now())
    ack(street, newest.id, 1, Stage.DONE, at=clock.move(seconds=1))
    assert relay_of(street, 1) is RelayPosition.CONNECTED
    assert texts(street, point(1)) == ["supply_restored", "supply_cut"]
    assert jobs(street) == []
    assert audited(street, clock.now()) == NONE


@pytest.mark.req("D15")
def test_a_payment_that_is_too_small_restores_nothing_but_fences_off_the_cut(
    street: Database,
) -> None:
    clock = StillClock()
    cut(street, 1, clock, KEY)
    pay(street, 1, restores=False, now=clock.now())
    assert verbs(street, 1) == [("disconnect", "done")]
    request = rechecked(street, 2)
    pay(street, 2, restores=False)
    assert state_of(street, request) == "cancelled"
    assert control.issue_due(street, clock) == []


@pytest.mark.req("D17")
def test_armed_tells_the_customer_to_press_and_the_report_shows_the_press(
    street: Database,
) -> None:
    clock = StillClock()
    cut(street, 1, clock, KEY)
    pay(street, 1, now=clock.now())
    with street.transaction() as conn:
        command = control.supply_of(conn, point(1)).open_command
    assert command is not None
    ack(street, command, 1, Stage.ARMED, at=clock.move(seconds=1))
    assert relay_of(street, 1) is RelayPosition.ARMED
    assert texts(street, point(1))[0] == "supply_armed"
    closed = RelayReading(output_closed=True, control_state=RelayState.CONNECTED, control_mode=3)
    pressed = SeenRelay(point(1), clock.move(seconds=30), closed)
    assert control.reconcile(street, [pressed], now=clock.now()) == 1
    assert relay_of(street, 1) is RelayPosition.CONNECTED
    assert texts(street, point(1))[0] == "supply_restored"
    assert audited(street, clock.now()) == NONE


@pytest.mark.req("D16", "D12")
def test_where_nothing_closes_remotely_the_reconnect_only_lifts_the_trip(db: Database) -> None:
    build(db, 5, closes=False)
    clock = StillClock()
    cut(db, 5, clock, KEY)
    pay(db, 5, now=clock.now())
    control.prepare(db, clock)
    signer.sign_waiting(db, KEY, clock)
    [sent] = control.outgoing(db, clock)
    order = open_signed(sent.payload, KEY.public_key())
    assert isinstance(order, Command)
    assert (order.verb, order.args) == (Verb.RECONNECT, {"lift_only": True})
    # and no further cut follows the payment
    assert control.issue_due(db, clock) == []


def to_requested(db: Database, clock: StillClock) -> str:
    return ask(db, 1, now=clock.now())


def to_approved(db: Database, clock: StillClock) -> str:
    request = ask(db, 1, now=clock.now())
    approve_twice(db, request, now=clock.now())
    return request


def to_rechecked(db: Database, clock: StillClock) -> str:
    return rechecked(db, 1, now=clock.now())


def to_ordered(db: Database, clock: StillClock) -> str:
    ordered(db, 1, clock)
    return newest_request(db)


def to_challenged(db: Database, clock: StillClock) -> str:
    challenged(db, 1, clock, KEY)
    return newest_request(db)


def newest_request(db: Database) -> str:
    with db.transaction() as conn:
        return control.requests_of(conn, point(1))[0].id


STAGES = (to_requested, to_approved, to_rechecked, to_ordered, to_challenged)


@pytest.mark.req("D5")
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("event", ["paid", "held", "protected", "withdrawn"])
def test_every_exit_stops_a_cut_that_was_not_let_go(
    street: Database, stage: Callable[..., str], event: str
) -> None:
    clock = StillClock()
    request = stage(street, clock)
    if event == "paid":
        pay(street, 1)
    elif event == "held":
        with street.transaction() as conn:
            control.hold(
                conn, point(1), kind="dispute", ref="C-9", reason="disputed", actor="user:reza",
                now=NOW,
            )  # fmt: skip
    elif event == "protected":
        control.protect(
            street, level="transformer", target="T-01", reason="hospital", actor="user:lin", now=NOW
        )
    else:
        control.withdraw(street, request, actor="user:maryam", reason="mistake", now=NOW)
    assert state_of(street, request) == "cancelled"
    signer.sign_waiting(street, KEY, clock)
    assert control.issue_due(street, clock) == []
    assert control.outgoing(street, clock) == []
    assert all(state == "cancelled" for _, state in verbs(street, 1))
    assert audited(street, clock.now()) == NONE


@pytest.mark.req("D15")
def test_a_payment_while_the_switch_opens_is_followed_by_power(street: Database) -> None:
    clock = StillClock()
    command = challenged(street, 1, clock, KEY)
    control.outgoing(street, clock)  # the go has left: nothing can take it back
    pay(street, 1, now=clock.now())
    assert [verb for verb, _ in verbs(street, 1)] == ["reconnect", "disconnect"]
    with street.transaction() as conn:
        reconnect = control.commands_of(conn, point(1))[0].id
    # the edge was quicker with the reconnect, then the cut went through after all
    ack(street, reconnect, 1, Stage.DONE, at=clock.move(seconds=1))
    ack(street, command, 1, Stage.DONE, at=clock.move(seconds=1))
    assert verbs(street, 1)[0] == ("reconnect", "issued")
    with street.transaction() as conn:
        last = control.commands_of(conn, point(1))[0].id
    ack(street, last, 1, Stage.DONE, at=clock.move(seconds=1))
    assert relay_of(street, 1) is RelayPosition.CONNECTED
    assert audited(street, clock.now()) == NONE


@pytest.mark.req("D8")
def test_a_protected_customer_is_refused_with_the_reason_and_the_refusal_is_kept(
    street: Database,
) -> None:
    control.protect(
        street, level="usage_point", target=point(1), reason="dialysis at home", actor="user:lin",
        now=NOW,
    )  # fmt: skip
    assert refusal_of(lambda: ask(street, 1)) is Refusal.PROTECTED_CUSTOMER
    assert refusal_of(lambda: ask(street, 1)) is Refusal.PROTECTED_CUSTOMER
    with street.transaction() as conn:
        [row] = [item for item in control.cut_board(conn) if item.request.usage_point == point(1)]
    assert (row.request.state.value, row.request.cause) == ("refused", "protected_customer")
    assert (row.protected, row.protection_reason) == (True, "dialysis at home")
    control.unprotect(
        street, level="usage_point", target=point(1), actor="user:lin", reason="moved", now=NOW
    )
    assert state_of(street, ask(street, 1)) == "requested"


@pytest.mark.req("D8")
@pytest.mark.parametrize("level", ["transformer", "usage_point"])
def test_protection_holds_at_each_level_and_for_supplies_opened_later(
    street: Database, level: str
) -> None:
    target = "T-01" if level == "transformer" else point(4)
    control.protect(street, level=level, target=target, reason="winter", actor="user:lin", now=NOW)
    build(street, 4)
    assert refusal_of(lambda: ask(street, 4)) is Refusal.PROTECTED_CUSTOMER
    if level == "usage_point":
        assert state_of(street, ask(street, 1)) == "requested"


@pytest.mark.req("D8")
def test_a_protection_ends_with_its_time(street: Database) -> None:
    clock = StillClock()
    control.protect(
        street, level="usage_point", target=point(1), reason="illness", actor="user:lin", now=NOW,
        until=clock.move(days=1),
    )  # fmt: skip
    assert control.end_lapsed_protections(street, now=NOW) == 0
    assert control.end_lapsed_protections(street, now=clock.move(hours=1)) == 1
    assert state_of(street, ask(street, 1, now=clock.now())) == "requested"


@pytest.mark.req("D2")
def test_approvals_by_the_wrong_people_are_refused(street: Database) -> None:
    request = ask(street, 1, by="user:maryam")

    def by(actor: str) -> Refusal:
        return refusal_of(lambda: control.approve(street, request, actor=actor, now=NOW))

    assert by("user:maryam") is Refusal.SAME_PERSON
    assert by("user:Maryam") is Refusal.SAME_PERSON
    assert by("system:billing") is Refusal.NOT_A_PERSON
    assert by("user:") is Refusal.NOT_A_PERSON
    control.approve(street, request, actor="user:lin", now=NOW)
    assert by("user:LIN") is Refusal.SAME_PERSON
    control.approve(street, request, actor="user:reza", now=NOW)
    assert by("user:vera") is Refusal.WRONG_STATE


@pytest.mark.req("D5")
def test_billing_may_only_confirm_or_cancel_and_only_at_the_present_epoch(
    street: Database,
) -> None:
    request = ask(street, 1)
    approve_twice(street, request)
    assert not control.confirm_recheck(
        street, request, epoch=1, still_due=False, figures={}, now=NOW
    )
    assert state_of(street, request) == "cancelled"
    request = ask(street, 2)
    approve_twice(street, request)
    assert not control.confirm_recheck(
        street, request, epoch=7, still_due=True, figures={}, now=NOW
    )
    assert state_of(street, request) == "cancelled"


def test_hours_limits_and_the_halt_switch_delay_and_then_let_pass(street: Database) -> None:
    clock = StillClock()
    requests = [rechecked(street, n) for n in (1, 2, 3)]

    def waits() -> set[str]:
        with street.transaction() as conn:
            found = [control.request_of(conn, item) for item in requests]
        return {item.waits_for for item in found if item and item.state == "rechecked"}

    control.halt(street, actor="user:reza", reason="calls", now=NOW)
    assert control.issue_due(street, clock) == []
    assert waits() == {"halted"}
    control.resume(street, actor="user:reza", reason="quiet again", now=NOW)
    control.set_policy(street, actor="user:lin", now=NOW, window_start_hour=20)
    assert control.issue_due(street, clock) == []
    assert waits() == {"outside_window"}
    control.set_policy(
        street, actor="user:lin", now=NOW, window_start_hour=0, max_cuts_per_transformer_day=2
    )
    assert len(control.issue_due(street, clock)) == 2
    assert waits() == {"limit_reached"}
    clock.move(hours=15)  # the next day
    assert len(control.issue_due(street, clock)) == 1
    assert audited(street, NOW) == NONE


def test_halt_stops_a_cut_between_challenge_and_go(street: Database) -> None:
    clock = StillClock()
    command = challenged(street, 1, clock, KEY)
    control.halt(street, actor="user:reza", reason="stop", now=NOW)
    assert control.outgoing(street, clock) == []
    assert command_state(street, command) == "cancelled"


def test_a_recheck_that_waited_too_long_is_asked_for_again(street: Database) -> None:
    clock = StillClock()
    request = rechecked(street, 1)
    clock.move(hours=25)
    assert control.issue_due(street, clock) == []
    assert state_of(street, request) == "approved_2"
    assert confirm(street, request, now=clock.now())
    assert len(control.issue_due(street, clock)) == 1


def test_a_request_that_is_too_old_ends(street: Database) -> None:
    clock = StillClock()
    request = ask(street, 1)
    assert control.expire_requests(street, now=clock.move(hours=95)) == 0
    assert control.expire_requests(street, now=clock.move(hours=2)) == 1
    assert state_of(street, request) == "cancelled"


@pytest.mark.req("D14")
def test_a_stuck_switch_fails_after_its_tries_and_is_listed(street: Database) -> None:
    clock = StillClock()
    command = challenged(street, 1, clock, KEY)
    control.outgoing(street, clock)
    ack(street, command, 1, Stage.STARTED, at=NOW)
    ack(
        street, command, 1, Stage.FAILED, at=NOW, reason="relay_did_not_move",
        evidence={"attempts": 3},
    )  # fmt: skip
    with street.transaction() as conn:
        [row] = control.cut_board(conn)
    assert (row.request.state.value, row.request.tries) == ("failed", 3)
    assert jobs(street) == ["cut_failure"]
    assert audited(street, clock.now()) == NONE


@pytest.mark.req("D7", "D14")
def test_a_cut_nobody_answered_is_tried_again_through_the_whole_gate(street: Database) -> None:
    clock = StillClock()
    for number in (1, 2, 3):
        if number == 1:
            ordered(street, 1, clock)
        else:
            [_] = control.issue_due(street, clock)
            control.prepare(street, clock)
        clock.move(seconds=70)
        assert control.expire_commands(street, clock) == 1
    assert state_of(street, newest_request(street)) == "failed"
    assert [state for _, state in verbs(street, 1)] == ["expired"] * 3
    assert jobs(street) == ["cut_failure"]
    assert audited(street, clock.now()) == NONE


@pytest.mark.parametrize(
    ("closed", "state"), [(False, "done"), (True, "failed"), (None, "expired")]
)
def test_a_lost_answer_is_judged_by_the_switch_as_reported(
    street: Database, closed: bool | None, state: str
) -> None:
    clock = StillClock()
    command = challenged(street, 1, clock, KEY)
    control.outgoing(street, clock)
    if closed is not None:
        control_state = RelayState.CONNECTED if closed else RelayState.DISCONNECTED
        relay = RelayReading(output_closed=closed, control_state=control_state, control_mode=4)
        control.reconcile(
            street, [SeenRelay(point(1), clock.move(seconds=9), relay)], now=clock.now()
        )
    clock.move(seconds=65)
    assert control.expire_commands(street, clock) == 0  # its answer may still come
    clock.move(seconds=60)
    assert control.expire_commands(street, clock) == 1
    assert command_state(street, command) == state
    assert audited(street, clock.now()) == NONE


def test_the_truth_that_comes_late_is_followed_though_the_outcome_stands(
    street: Database,
) -> None:
    clock = StillClock()
    command = challenged(street, 1, clock, KEY)
    control.outgoing(street, clock)
    clock.move(seconds=200)
    control.expire_commands(street, clock)
    pay(street, 1, now=clock.now())
    ack(street, command, 1, Stage.DONE, at=clock.move(seconds=5))
    assert command_state(street, command) == "expired"
    assert relay_of(street, 1) is RelayPosition.DISCONNECTED
    assert verbs(street, 1)[0] == ("reconnect", "issued")


def test_acks_of_others_and_repeats_never_act(street: Database) -> None:
    clock = StillClock()
    command = challenged(street, 1, clock, KEY)
    assert not ack(street, command, 2, Stage.CHALLENGE, at=NOW, nonce=b"x" * 16)
    foreign = type(CONCENTRATOR)("C-99")
    assert not ack(street, command, 1, Stage.FAILED, at=NOW, concentrator=foreign)
    assert not ack(street, type(command)("CM-unknown"), 1, Stage.ACCEPTED, at=NOW)
    assert not ack(street, command, 1, Stage.ACCEPTED, at=NOW)  # a repeat
    assert command_state(street, command) == "challenged"
    other = ordered(street, 2, clock)
    # a nonce that another handshake used is no fresh nonce
    ack(street, other, 2, Stage.CHALLENGE, at=NOW, nonce=command.encode()[-16:])
    assert command_state(street, other) == "cancelled"


def test_a_challenge_older_than_the_handshake_gets_no_go(street: Database) -> None:
    clock = StillClock()
    command = challenged(street, 1, clock, KEY)
    clock.move(seconds=31)
    assert control.outgoing(street, clock) == []
    assert command_state(street, command) == "cancelled"


@pytest.mark.req("E6")
def test_a_reconnect_that_fails_becomes_a_job_at_once_and_is_tried_again(
    street: Database,
) -> None:
    clock = StillClock()
    cut(street, 1, clock, KEY)
    pay(street, 1, now=clock.now())
    with street.transaction() as conn:
        command = control.supply_of(conn, point(1)).open_command
    assert command is not None
    ack(street, command, 1, Stage.FAILED, at=clock.move(seconds=1), reason="relay_did_not_move")
    assert jobs(street) == ["restore_failure"]
    assert control.restore_due(street, clock) == 0  # not at once again
    clock.move(seconds=25)
    assert control.restore_due(street, clock) == 1
    assert verbs(street, 1)[0] == ("reconnect", "issued")


@pytest.mark.req("E6")
def test_power_owed_for_too_long_is_told_once(street: Database) -> None:
    clock = StillClock()
    cut(street, 1, clock, KEY)
    pay(street, 1, now=clock.now())
    control.prepare(street, clock)
    clock.move(seconds=901)
    control.restore_due(street, clock)
    control.restore_due(street, clock)
    assert jobs(street) == ["restore_failure"]


def test_what_cannot_be_asked_for(street: Database) -> None:
    build(street, 901)
    clock = StillClock()
    assert refusal_of(lambda: ask(street, 901)) is Refusal.NO_SWITCH
    assert refusal_of(lambda: ask(street, 444)) is Refusal.UNKNOWN_SUPPLY
    ask(street, 2)
    assert refusal_of(lambda: ask(street, 2)) is Refusal.REQUEST_OPEN
    cut(street, 1, clock, KEY)
    assert refusal_of(lambda: ask(street, 1)) is Refusal.ALREADY_CUT
    with street.transaction() as conn:
        control.hold(
            conn, point(3), kind="promise", ref="H-1", reason="pays on Friday",
            actor="user:reza", now=NOW, until=clock.move(days=2),
        )  # fmt: skip
    assert refusal_of(lambda: ask(street, 3)) is Refusal.ON_HOLD
    assert state_of(street, ask(street, 3, now=clock.move(days=1))) == "requested"


def test_an_operator_orders_power_back(street: Database) -> None:
    clock = StillClock()
    cut(street, 1, clock, KEY)
    command = control.request_reconnect(
        street, point(1), actor="user:reza", reason="cut by mistake", now=clock.now()
    )
    again = refusal_of(
        lambda: control.request_reconnect(
            street, point(1), actor="user:reza", reason="again", now=clock.now()
        )
    )
    assert again is Refusal.COMMAND_OPEN
    ack(street, command, 1, Stage.DONE, at=clock.move(seconds=1))
    refused = refusal_of(
        lambda: control.request_reconnect(
            street, point(1), actor="user:reza", reason="why", now=clock.now()
        )
    )
    assert refused is Refusal.NOT_CUT


def test_a_switch_closed_without_payment_is_for_inspection(street: Database) -> None:
    clock = StillClock()
    cut(street, 1, clock, KEY)
    closed = RelayReading(output_closed=True, control_state=RelayState.CONNECTED, control_mode=4)
    seen = SeenRelay(point(1), clock.move(hours=1), closed)
    assert control.reconcile(street, [seen], now=clock.now()) == 1
    assert jobs(street) == ["exception"]
    assert state_of(street, ask(street, 1, now=clock.now())) == "requested"  # D7: again


GUARDED = {
    "control_protected": "UPDATE control.supply_state SET protected = true",
    "control_epoch": "UPDATE control.supply_state SET epoch = epoch + 1",
    "control_not_approved": "UPDATE control.request SET requested_by = 'user:lin'",
    "control_halted": "UPDATE control.halt SET halted = true",
    "control_hold": (
        "INSERT INTO control.hold (usage_point, kind, ref, reason, actor, placed_at)"
        " VALUES ('UP-000001', 'dispute', 'x', 'x', 'user:x', '2026-06-01')"
    ),
}


@pytest.mark.req("D2", "D8")
@pytest.mark.parametrize("constraint", GUARDED)
def test_the_database_itself_refuses_a_cut_whoever_inserts_it(
    street: Database, database_dsn: str, constraint: str
) -> None:
    request = rechecked(street, 1)
    insert = (
        "INSERT INTO control.command (usage_point, meter, concentrator, verb, request, epoch,"
        " issued_by, issued_at) VALUES ('UP-000001', 'M-000001', 'C-01', 'disconnect', %s, 1,"
        " 'user:root', %s)"
    )
    with psycopg.connect(database_dsn) as owner:
        owner.execute(GUARDED[constraint])
        with pytest.raises(psycopg.IntegrityError) as caught:
            owner.execute(insert, (request, NOW))
        assert caught.value.diag.constraint_name == constraint
    with psycopg.connect(database_dsn) as owner:
        owner.execute(insert, (request, NOW))  # nothing stands against it: accepted
        with pytest.raises(psycopg.IntegrityError) as caught:
            owner.execute(insert, (request, NOW))
        assert caught.value.diag.constraint_name == "control_command_open"


def test_each_role_may_write_only_its_part(street: Database, database_dsn: str) -> None:
    request = rechecked(street, 1)
    cut_row = (
        "INSERT INTO control.command (usage_point, meter, concentrator, verb, request, epoch,"
        f" issued_by, issued_at) VALUES ('UP-000001', 'M-000001', 'C-01', 'disconnect',"
        f" '{request}', 1, 'x', '2026-06-02')"
    )
    forbidden = [
        ("meterloop_billing", cut_row),
        ("meterloop_portal", cut_row),
        ("meterloop_signer", cut_row),
        ("meterloop_ingest", cut_row),
        ("auditor", cut_row),
        ("meterloop_control", "UPDATE control.command SET signature = '\\x00'"),
        ("meterloop_control", "INSERT INTO signer.signature (command, part, verb, usage_point,"
         " at, wall_at, digest) VALUES ('a', 'go', 'x', 'x', now(), now(), '')"),
        ("meterloop_control", "UPDATE signer.policy SET max_cuts_per_day = 100000"),
        ("meterloop_billing", "INSERT INTO control.approval VALUES ('K-1', 1, 'user:a', now())"),
        ("meterloop_control", "INSERT INTO control.approval VALUES ('K-1', 1, 'user:a', now())"),
        ("meterloop_portal", "INSERT INTO control.go (command, nonce, made_at, body)"
         " VALUES ('a', 'a', now(), 'a')"),
        ("meterloop_signer", "UPDATE signer.policy SET max_cuts_per_day = 100000"),
        ("meterloop_portal", "DELETE FROM control.approval"),
        ("meterloop_control", "DELETE FROM control.outcome"),
    ]  # fmt: skip
    for role, statement in forbidden:
        with psycopg.connect(database_dsn, user=role) as conn:
            with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.IntegrityError)):
                conn.execute(statement)


@pytest.mark.req("D6", "D15")
def test_the_whole_road_with_every_process_under_its_own_role(
    street: Database, database_dsn: str
) -> None:
    clock = StillClock()
    with (
        Database(database_dsn, user="meterloop_billing", size=1) as billing,
        Database(database_dsn, user="meterloop_portal", size=1) as portal,
        Database(database_dsn, user="meterloop_control", size=1) as hand,
        Database(database_dsn, user="meterloop_signer", size=1) as pen,
        Database(database_dsn, user="auditor", size=1) as auditor,
    ):
        request = ask(billing, 1)
        approve_twice(portal, request)
        assert confirm(billing, request)
        [command] = control.issue_due(hand, clock)
        control.prepare(hand, clock)
        signer.sign_waiting(pen, KEY, clock)
        assert len(control.outgoing(hand, clock)) == 1
        ack(hand, command, 1, Stage.CHALLENGE, at=NOW, nonce=b"k" * 16)
        signer.sign_waiting(pen, KEY, clock)
        assert len(control.outgoing(hand, clock)) == 1
        ack(hand, command, 1, Stage.STARTED, at=NOW)
        ack(hand, command, 1, Stage.DONE, at=clock.move(seconds=1))
        pay(billing, 1, now=clock.now())
        control.prepare(hand, clock)
        signer.sign_waiting(pen, KEY, clock)
        [reconnect] = control.outgoing(hand, clock)
        ack(hand, command.__class__(reconnect.key), 1, Stage.DONE, at=clock.move(seconds=1))
        assert jobs(hand, now=clock.now()) == []
        control.restore_due(hand, clock)
        control.expire_commands(hand, clock)
        control.take_signer_refusals(hand, now=clock.now())
        shown = control.unpublished(hand)
        control.published(hand, shown)
        assert audited(auditor, clock.now()) == NONE
    assert relay_of(street, 1) is RelayPosition.CONNECTED
