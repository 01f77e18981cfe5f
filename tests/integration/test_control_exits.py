"""What stops a cut on its way, what only delays it, and who may not ask or approve."""

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.control import service as control
from cloud.control.model import Refusal
from cloud.signer import service as signer
from cloud.store.db import Database
from tests.integration.control_kit import (
    NOW,
    StillClock,
    approve_twice,
    ask,
    audited,
    build,
    challenged,
    command_state,
    confirm,
    cut,
    newest_request,
    ordered,
    pay,
    point,
    rechecked,
    refusal_of,
    state_of,
    verbs,
)

KEY = Ed25519PrivateKey.generate()
NONE: dict[str, int] = {}


@pytest.fixture
def street(db: Database) -> Database:
    build(db, 1, 2, 3)
    return db


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
