"""Cuts and reconnects that fail, answers that are lost, late, foreign or repeated."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.control import service as control
from cloud.control.model import RelayPosition
from cloud.control.service.sweep import SeenRelay
from cloud.store.db import Database
from protocols.mqtt.uplink import Stage
from protocols.reading import RelayReading, RelayState
from tests.integration.control_kit import (
    CONCENTRATOR,
    NOW,
    StillClock,
    ack,
    ask,
    audited,
    build,
    challenged,
    command_state,
    cut,
    jobs,
    newest_request,
    ordered,
    pay,
    point,
    relay_of,
    state_of,
    verbs,
)

KEY = Ed25519PrivateKey.generate()
NONE: dict[str, int] = {}


@pytest.fixture
def street(db: Database) -> Database:
    build(db, 1, 2, 3)
    return db


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


def test_a_switch_closed_without_payment_is_for_inspection(street: Database) -> None:
    clock = StillClock()
    cut(street, 1, clock, KEY)
    closed = RelayReading(output_closed=True, control_state=RelayState.CONNECTED, control_mode=4)
    seen = SeenRelay(point(1), clock.move(hours=1), closed)
    assert control.reconcile(street, [seen], now=clock.now()) == 1
    assert jobs(street) == ["exception"]
    assert state_of(street, ask(street, 1, now=clock.now())) == "requested"  # D7: again
