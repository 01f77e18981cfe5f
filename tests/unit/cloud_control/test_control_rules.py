"""The last gate and the state machines of control, every pair of them."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.control import rules
from cloud.control.model import (
    COMMAND_MOVES,
    FINAL_COMMAND,
    GONE,
    OPEN_REQUEST,
    REQUEST_MOVES,
    CommandEvent,
    CommandState,
    DisconnectRequest,
    Policy,
    Refusal,
    RequestEvent,
    RequestId,
    RequestState,
    SupplyState,
    Verdict,
)
from protocols.identity import CommandId, UsagePointId
from protocols.mqtt.uplink import FINAL, Stage

NOW = datetime(2026, 6, 2, 10, 30, tzinfo=UTC)
POINT = UsagePointId("UP-000001")
POLICY = Policy(
    zone="UTC", window_start_hour=8, window_end_hour=15, weekdays=(1, 2, 3, 4),
    max_cuts_per_hour=5, max_cuts_per_day=10, max_cuts_per_transformer_day=2,
    request_valid_hours=96, recheck_valid_hours=24, command_ttl_seconds=60, handshake_seconds=30,
    restore_retry_seconds=20, restore_alarm_seconds=900, cut_tries=3,
)  # fmt: skip
SUPPLY = SupplyState(usage_point=POINT, protected=False, epoch=3, cuts_left=1)
REQUEST = DisconnectRequest(
    id=RequestId("K-000001"), usage_point=POINT, state=RequestState.RECHECKED,
    requested_by="system:billing", reason="arrears", epoch=3, created_at=NOW,
    expires_at=NOW + timedelta(hours=1), approved_by=("user:reza", "user:lin"), rechecked_at=NOW,
)  # fmt: skip

FAULTS: list[tuple[Refusal, dict[str, Any], dict[str, Any], datetime]] = [
    (Refusal.PROTECTED_CUSTOMER, {"protected": True}, {}, NOW),
    (Refusal.PAYMENT_REGISTERED, {"epoch": 4}, {}, NOW),
    (Refusal.NOT_APPROVED, {}, {"approved_by": ("user:reza",)}, NOW),
    (Refusal.REQUEST_EXPIRED, {}, {"expires_at": NOW - timedelta(hours=5)}, NOW),
    (Refusal.ON_HOLD, {"held": True}, {}, NOW),
    (Refusal.RECHECK_STALE, {}, {"rechecked_at": NOW - timedelta(hours=30)}, NOW),
    (Refusal.HALTED, {"halted": True}, {}, NOW),
    (Refusal.COMMAND_OPEN, {"open_command": CommandId("CM-1")}, {}, NOW),
    (Refusal.LIMIT_REACHED, {"cuts_left": 0}, {}, NOW),
    (Refusal.OUTSIDE_WINDOW, {}, {}, NOW.replace(hour=7, minute=59)),
]
"""Each reason alone, in the gate's order of severity."""


def gate(request: DisconnectRequest, supply: SupplyState, now: datetime) -> Refusal | None:
    return rules.refuse_disconnect(request, supply, POLICY, now=now)


def test_nothing_stands_against_it() -> None:
    assert gate(REQUEST, SUPPLY, NOW) is None


@pytest.mark.req("D8", "D2")
@pytest.mark.parametrize(("refusal", "supply", "request_", "now"), FAULTS)
def test_each_reason_alone_refuses(
    refusal: Refusal, supply: dict[str, Any], request_: dict[str, Any], now: datetime
) -> None:
    assert gate(replace(REQUEST, **request_), replace(SUPPLY, **supply), now) is refusal


@given(st.sets(st.integers(0, len(FAULTS) - 1), min_size=1))
def test_the_gravest_of_several_reasons_is_told(chosen: set[int]) -> None:
    supply, request = SUPPLY, REQUEST
    now = NOW
    for index in sorted(chosen, reverse=True):
        _, on_supply, on_request, at = FAULTS[index]
        supply, request = replace(supply, **on_supply), replace(request, **on_request)
        now = at if at != NOW else now
    assert gate(request, supply, now) is FAULTS[min(chosen)][0]


@pytest.mark.req("D2")
@pytest.mark.parametrize(
    ("asked", "approved", "enough"),
    [
        ("system:billing", ("user:a", "user:b"), True),
        ("user:a", ("user:a", "user:b"), False),
        ("user:A", ("user:a", "user:b"), False),
        ("user:c", ("user:a", "user:A"), False),
        ("user:c", ("user:a", "system:b"), False),
        ("user:c", (), False),
    ],
)
def test_two_people_are_two_people(asked: str, approved: tuple[str, ...], enough: bool) -> None:
    assert rules.two_people(asked, approved) is enough


@pytest.mark.parametrize(
    ("local", "inside"),
    [
        ("2026-06-02T08:00", True), ("2026-06-02T07:59", False), ("2026-06-02T14:59", True),
        ("2026-06-02T15:00", False), ("2026-06-04T12:00", True), ("2026-06-05T12:00", False),
    ],
)  # fmt: skip
def test_hours_and_weekdays_are_those_of_the_place(local: str, inside: bool) -> None:
    # Shanghai is eight hours ahead; Friday is no day to cut before a weekend
    now = datetime.fromisoformat(local + "+08:00")
    policy = replace(POLICY, zone="Asia/Shanghai")
    assert rules.in_window(policy, now=now) is inside


def test_the_go_asks_again_what_may_have_changed() -> None:
    ordered = replace(REQUEST, state=RequestState.ORDERED)
    limit = timedelta(seconds=30)

    def go(request: DisconnectRequest, supply: SupplyState, waited: timedelta) -> Refusal | None:
        return rules.refuse_go(request, supply, challenged_for=waited, limit=limit)

    assert go(ordered, SUPPLY, limit) is None
    assert go(ordered, SUPPLY, limit + timedelta(microseconds=1)) is Refusal.REQUEST_EXPIRED
    assert go(ordered, replace(SUPPLY, protected=True), limit) is Refusal.PROTECTED_CUSTOMER
    assert go(ordered, replace(SUPPLY, epoch=4), limit) is Refusal.PAYMENT_REGISTERED
    assert go(ordered, replace(SUPPLY, held=True), limit) is Refusal.ON_HOLD
    assert go(ordered, replace(SUPPLY, halted=True), limit) is Refusal.HALTED
    assert go(REQUEST, SUPPLY, limit) is Refusal.WRONG_STATE
    alone = replace(ordered, approved_by=("user:lin",))
    assert go(alone, SUPPLY, limit) is Refusal.NOT_APPROVED


def test_what_forbids_ends_a_request_and_what_delays_does_not() -> None:
    waiting = {r for r, *_ in FAULTS if rules.verdict_of(r) is Verdict.WAIT}
    assert waiting == {
        Refusal.HALTED, Refusal.COMMAND_OPEN, Refusal.LIMIT_REACHED, Refusal.OUTSIDE_WINDOW,
    }  # fmt: skip
    assert rules.verdict_of(Refusal.NOT_APPROVED) is Verdict.REFUSE
    assert rules.verdict_of(Refusal.RECHECK_STALE) is Verdict.RECHECK
    assert rules.verdict_of(Refusal.BACKSTOP) is Verdict.CANCEL


def reachable(moves: Mapping[tuple[Any, Any], Any], start: StrEnum) -> set[StrEnum]:
    found, todo = {start}, [start]
    while todo:
        here = todo.pop()
        for (state, _), target in moves.items():
            if state == here and target not in found:
                found.add(target)
                todo.append(target)
    return found


@pytest.mark.parametrize(("state", "event"), list(product(RequestState, RequestEvent)))
def test_every_pair_of_the_request(state: RequestState, event: RequestEvent) -> None:
    target = rules.move_request(state, event)
    steps = {
        (RequestState.REQUESTED, RequestEvent.APPROVE): RequestState.APPROVED_1,
        (RequestState.APPROVED_1, RequestEvent.APPROVE): RequestState.APPROVED_2,
        (RequestState.APPROVED_2, RequestEvent.RECHECK): RequestState.RECHECKED,
        (RequestState.RECHECKED, RequestEvent.ORDER): RequestState.ORDERED,
        (RequestState.RECHECKED, RequestEvent.STALE): RequestState.APPROVED_2,
        (RequestState.ORDERED, RequestEvent.RETRY): RequestState.RECHECKED,
        (RequestState.ORDERED, RequestEvent.DONE): RequestState.CUT,
        (RequestState.ORDERED, RequestEvent.FAIL): RequestState.FAILED,
        (RequestState.FAILED, RequestEvent.DONE): RequestState.CUT,
    }
    if event in {RequestEvent.CANCEL, RequestEvent.REFUSE} and state in OPEN_REQUEST:
        name = "cancelled" if event is RequestEvent.CANCEL else "refused"
        assert target == RequestState(name)
    else:
        assert target == steps.get((state, event))


def test_no_request_reaches_an_order_but_over_both_approvals_and_the_recheck() -> None:
    assert reachable(REQUEST_MOVES, RequestState.REQUESTED) == set(RequestState)
    for cut_off in (RequestEvent.APPROVE, RequestEvent.RECHECK):
        fewer = {key: value for key, value in REQUEST_MOVES.items() if key[1] is not cut_off}
        assert RequestState.ORDERED not in reachable(fewer, RequestState.REQUESTED)


@pytest.mark.parametrize(("state", "event"), list(product(CommandState, CommandEvent)))
def test_every_pair_of_the_command(state: CommandState, event: CommandEvent) -> None:
    target = rules.move_command(state, event)
    rank = list(CommandState).index
    if state in FINAL_COMMAND:
        assert target is None  # an end is for good
        return
    if event is CommandEvent.CANCEL:
        assert target == (None if state in GONE else CommandState.CANCELLED)
    elif event is CommandEvent.RELEASE:
        challenged = state is CommandState.CHALLENGED
        assert target == (CommandState.RELEASED if challenged else None)
    elif event.value in {stage.value for stage in FINAL}:
        assert target == CommandState(event.value)
    else:
        wanted = {
            CommandEvent.DISPATCH: CommandState.DISPATCHED,
            CommandEvent.ACCEPTED: CommandState.ACCEPTED,
            CommandEvent.CHALLENGE: CommandState.CHALLENGED,
            CommandEvent.STARTED: CommandState.STARTED,
            CommandEvent.UNKNOWN: CommandState.UNKNOWN,
        }[event]
        assert target == (wanted if rank(wanted) > rank(state) else None)


def test_every_stage_of_the_edge_is_an_event_and_every_command_can_end() -> None:
    assert {stage.value for stage in Stage} <= {event.value for event in CommandEvent}
    for state in set(CommandState) - FINAL_COMMAND:
        assert reachable(COMMAND_MOVES, state) & FINAL_COMMAND


@pytest.mark.req("D14", "D7")
@pytest.mark.parametrize(
    ("result", "tries", "event"),
    [
        ("failed", 2, RequestEvent.RETRY), ("failed", 3, RequestEvent.FAIL),
        ("expired", 1, RequestEvent.RETRY), ("expired", 4, RequestEvent.FAIL),
        ("refused", 1, RequestEvent.FAIL),
    ],
)  # fmt: skip
def test_a_failed_cut_is_tried_again_until_it_becomes_a_job(
    result: str, tries: int, event: RequestEvent
) -> None:
    assert rules.after_failed_cut(result=result, tries=tries, policy=POLICY) is event


@pytest.mark.parametrize(
    ("supply", "facts", "refusal"),
    [
        ({}, {}, None),
        ({"protected": True, "held": True}, {}, Refusal.PROTECTED_CUSTOMER),
        ({"held": True}, {"has_relay": False}, Refusal.ON_HOLD),
        ({}, {"has_relay": False}, Refusal.NO_SWITCH),
        ({"cut_for_arrears": True}, {"has_open_request": True}, Refusal.ALREADY_CUT),
        ({}, {"has_open_request": True}, Refusal.REQUEST_OPEN),
    ],
)
def test_what_may_be_asked_for(
    supply: dict[str, Any], facts: dict[str, bool], refusal: Refusal | None
) -> None:
    known = {"has_relay": True, "has_open_request": False, **facts}
    assert rules.refuse_request(replace(SUPPLY, **supply), **known) is refusal


@pytest.mark.req("D2")
@pytest.mark.parametrize(
    ("change", "supply", "actor", "refusal"),
    [
        ({}, {}, "user:vera", None),
        ({}, {}, "system:billing", Refusal.NOT_A_PERSON),
        ({}, {}, "user:", Refusal.NOT_A_PERSON),
        ({"state": RequestState.APPROVED_2}, {}, "user:vera", Refusal.WRONG_STATE),
        ({"approved_by": ("user:vera",)}, {}, "user:Vera", Refusal.SAME_PERSON),
        ({"requested_by": "user:vera"}, {}, "user:vera", Refusal.SAME_PERSON),
        ({}, {"protected": True}, "user:vera", Refusal.PROTECTED_CUSTOMER),
        ({}, {"epoch": 4}, "user:vera", Refusal.PAYMENT_REGISTERED),
        ({"expires_at": NOW}, {}, "user:vera", Refusal.REQUEST_EXPIRED),
        ({}, {"held": True}, "user:vera", Refusal.ON_HOLD),
    ],
)
def test_who_may_approve(
    change: dict[str, Any], supply: dict[str, Any], actor: str, refusal: Refusal | None
) -> None:
    asked = replace(REQUEST, state=RequestState.REQUESTED, approved_by=())
    found = rules.refuse_approval(
        replace(asked, **change), replace(SUPPLY, **supply), actor=actor, now=NOW
    )
    assert found is refusal
