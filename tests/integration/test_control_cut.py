"""The road of a cut on a real database, from the wish to the open switch and back to power."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.control import service as control
from cloud.control.model import Refusal, RelayPosition
from cloud.control.service.sweep import SeenRelay
from cloud.signer import service as signer
from cloud.store import audit
from cloud.store.db import Database
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
    confirm,
    cut,
    jobs,
    pay,
    point,
    rechecked,
    refusal_of,
    relay_of,
    state_of,
    texts,
    verbs,
)

KEY = Ed25519PrivateKey.generate()
NONE: dict[str, int] = {}


@pytest.fixture
def street(db: Database) -> Database:
    build(db, 1, 2, 3)
    return db


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
