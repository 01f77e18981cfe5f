"""Field work on a real database: raised once, told by SMS, reported, verified, back to control."""

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.control import service as control
from cloud.control.model import RelayPosition
from cloud.messages import service as messages
from cloud.store.db import Database
from cloud.work import service as work
from cloud.work.model import Order, OrderId, OrderKind, Refusal, VisitOutcome
from protocols.errors import RefusedError
from protocols.mqtt.uplink import Stage
from tests.integration.control_kit import (
    NOW,
    StillClock,
    ack,
    audited,
    build,
    challenged,
    cut,
    pay,
    point,
    texts,
)

KEY = Ed25519PrivateKey.generate()


@pytest.fixture
def street(db: Database) -> Database:
    build(db, 1, 2)
    work.set_crew(db, crew="aziz", phone="+998901112233", language="uz", now=NOW)
    return db


def refusal_of(call: Callable[[], object]) -> Refusal:
    with pytest.raises(RefusedError) as caught:
        call()
    return Refusal(caught.value.refusal)


def failed_cut(db: Database, number: int, clock: StillClock) -> Order:
    command = challenged(db, number, clock, KEY)
    control.outgoing(db, clock)
    ack(
        db, command, number, Stage.FAILED, at=clock.move(seconds=9), reason="relay_did_not_move",
        evidence={"attempts": 3},
    )  # fmt: skip
    assert work.follow_outcomes(db, now=clock.now()) == 1
    assert work.follow_outcomes(db, now=clock.now()) == 0
    with db.transaction() as conn:
        [order] = work.orders_of(conn, point(number))
    return order


def report(db: Database, order: Order, outcome: VisitOutcome, **more: object) -> Order:
    said: dict[str, object] = {
        "outcome": outcome, "register_wh": 12_000, "note": "", "actor": "user:aziz",
        "idempotency_key": "phone-1", "now": NOW, **more,
    }  # fmt: skip
    return work.report(db, order.id, **said)  # type: ignore[arg-type]


@pytest.mark.req("E3", "E4", "E5", "D20")
def test_a_failed_cut_is_done_on_site_and_reported_back(street: Database) -> None:
    clock = StillClock()
    order = failed_cut(street, 1, clock)
    assert (order.kind, order.state.value, order.crew) == (
        OrderKind.CUT_FAILURE, "assigned", "user:aziz",
    )  # fmt: skip
    with street.transaction() as conn:
        [sms] = messages.messages_of(conn, "user:aziz")
    assert (sms.phone, sms.kind.value) == ("+998901112233", "work_order")
    assert order.id in sms.text
    assert "joyida uzing" in sms.text
    assert order.summary == "relay_did_not_move"

    done = report(street, order, VisitOutcome.CUT, now=clock.move(hours=3))
    assert (done.state.value, done.register_wh) == ("done", 12_000)
    with street.transaction() as conn:
        supply = control.supply_of(conn, point(1))
        [request] = control.requests_of(conn, point(1))
    assert (supply.relay_state, supply.state_source) == (RelayPosition.DISCONNECTED, "field")
    assert (supply.cut_for_arrears, request.state.value) == (True, "cut")
    assert texts(street, point(1)) == ["supply_cut"]
    assert (
        refusal_of(lambda: work.verify(street, order.id, actor="user:aziz", now=NOW))
        is Refusal.SAME_PERSON
    )
    work.verify(street, order.id, actor="user:reza", now=clock.now())
    with street.transaction() as conn:
        found = work.order_of(conn, order.id)
    assert found is not None
    assert found.state.value == "verified"
    assert audited(street, clock.now()) == {}


@pytest.mark.req("E6")
def test_what_a_crew_cut_a_crew_restores_after_the_payment(street: Database) -> None:
    clock = StillClock()
    order = failed_cut(street, 1, clock)
    report(street, order, VisitOutcome.CUT, now=clock.now())
    pay(street, 1, now=clock.move(hours=1))
    assert work.follow_outcomes(street, now=clock.now()) == 1
    with street.transaction() as conn:
        restore = next(o for o in work.orders(conn) if o.kind is OrderKind.RESTORE_FAILURE)
    report(street, restore, VisitOutcome.RESTORED, now=clock.move(hours=1))
    with street.transaction() as conn:
        supply = control.supply_of(conn, point(1))
    assert (supply.relay_state, supply.restore_due_at) == (RelayPosition.CONNECTED, None)
    assert texts(street, point(1))[0] == "supply_restored"


@pytest.mark.req("D20")
def test_reports_repeat_and_only_the_same_one_is_the_same(street: Database) -> None:
    order = failed_cut(street, 1, StillClock())
    assert (
        refusal_of(lambda: report(street, order, VisitOutcome.CUT, register_wh=None))
        is Refusal.REGISTER_MISSING
    )
    assert refusal_of(lambda: report(street, order, VisitOutcome.NOT_CUT)) is Refusal.NOTE_MISSING
    first = report(street, order, VisitOutcome.NOT_CUT, note="nobody opened")
    assert report(street, order, VisitOutcome.NOT_CUT, note="nobody opened") == first
    assert refusal_of(lambda: report(street, order, VisitOutcome.CUT)) is Refusal.OTHER_REPORT
    assert (
        refusal_of(lambda: report(street, order, VisitOutcome.CUT, idempotency_key="phone-2"))
        is Refusal.WRONG_STATE
    )
    work.reopen(street, order.id, actor="user:reza", reason="go again", now=NOW)
    again = report(street, order, VisitOutcome.CUT, idempotency_key="phone-2")
    assert again.outcome is VisitOutcome.CUT


@pytest.mark.req("E7")
def test_orders_on_one_page_and_each_crews_own(street: Database) -> None:
    clock = StillClock()
    work.set_crew(street, crew="vali", phone="+998901112244", language="uz", now=NOW)
    first, second = failed_cut(street, 1, clock), failed_cut(street, 2, clock)
    assert {first.crew, second.crew} == {"user:aziz", "user:vali"}  # the least busy goes
    work.assign(street, second.id, crew="aziz", actor="user:reza", now=NOW)
    with street.transaction() as conn:
        assert len(work.orders(conn)) == 2
        assert {o.id for o in work.orders(conn, crew="aziz")} == {first.id, second.id}
        assert work.orders(conn, crew="vali") == []
    assert (
        refusal_of(lambda: work.assign(street, first.id, crew="nobody", actor="user:reza", now=NOW))
        is Refusal.UNKNOWN_CREW
    )
    assert (
        refusal_of(
            lambda: work.assign(street, OrderId("W-9"), crew="aziz", actor="user:reza", now=NOW)
        )
        is Refusal.UNKNOWN_ORDER
    )


def test_no_second_job_of_a_kind_while_one_waits(street: Database) -> None:
    clock = StillClock()
    cut(street, 1, clock, KEY)
    pay(street, 1, now=clock.now())
    for _ in range(3):
        with street.transaction() as conn:
            command = control.supply_of(conn, point(1)).open_command
        assert command is not None
        ack(street, command, 1, Stage.FAILED, at=clock.move(seconds=1))
        work.follow_outcomes(street, now=clock.now())
        clock.move(seconds=25)
        control.restore_due(street, clock)
    with street.transaction() as conn:
        assert [o.kind for o in work.orders(conn)] == [OrderKind.RESTORE_FAILURE]


def test_an_order_without_a_crew_waits_to_be_given(db: Database) -> None:
    build(db, 1)
    order = failed_cut(db, 1, StillClock())
    assert (order.state.value, order.crew) == ("raised", None)
    assert refusal_of(lambda: report(db, order, VisitOutcome.CUT)) is Refusal.WRONG_STATE
