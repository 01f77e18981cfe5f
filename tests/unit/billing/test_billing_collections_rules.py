"""The case's state machine walked over every pair, and the rules beside it."""

import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest

import billing.collections.model as model
from billing.collections import rules
from billing.collections.model import ENDS, MOVES, CaseEvent, CaseState
from billing.prepaid.model import Balance, BalanceQuality
from cloud.control.model import Refusal, RequestState

NOW = datetime(2026, 3, 10, tzinfo=UTC)
BALANCE = Balance(
    usage_point="UP-1", account="AC-1", agreement="SA-1", currency="CNY",
    available_micros=-1, lower_micros=-1, posted_micros=0, fee_micros=1, drawn_micros=0,
    cost_today_micros=1, today_wh=1, year_wh=1, tier=1, next_tier_wh=None,
    price_micros_per_kwh=520_000, reminder_micros=20, cut_micros=0, as_of_register_wh=1,
    as_of_register_at=NOW, as_of_ledger=1, tariff_code="t", tariff_hash="h",
    quality=BalanceQuality.ACTUAL,
)  # fmt: skip


def table_of_docstring() -> dict[tuple[str, str], str]:
    lines = [line for line in (model.__doc__ or "").splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    events = cells[0][1:]
    return {
        (row[0], event): target
        for row in cells[2:]
        for event, target in zip(events, row[1:], strict=True)
        if target
    }


@pytest.mark.req("I1", "D4")
def test_the_drawn_table_is_the_one_that_runs() -> None:
    drawn = table_of_docstring()
    assert {(state.value, event.value): to.value for (state, event), to in MOVES.items()} == drawn
    assert len(drawn) > 20


@pytest.mark.parametrize("state", list(CaseState))
@pytest.mark.parametrize("event", list(CaseEvent))
def test_every_pair_moves_as_drawn_or_not_at_all(state: CaseState, event: CaseEvent) -> None:
    target = rules.move(state, event)
    drawn = table_of_docstring().get((state.value, event.value))
    assert (target.value if target else None) == drawn
    if state in ENDS:
        assert target is None


def test_before_the_cut_every_state_is_left_by_paying() -> None:
    before = set(CaseState) - ENDS - {CaseState.CUT, CaseState.RECONNECT_DUE}
    for state in before:
        pays = CaseEvent.PLAN_PAID if state is CaseState.INSTALMENT else CaseEvent.PAID
        assert rules.move(state, pays) is CaseState.PAID


def test_a_plan_stops_every_case_before_its_cut_and_an_end_closes_all() -> None:
    before = set(CaseState) - ENDS - {CaseState.CUT, CaseState.RECONNECT_DUE, CaseState.INSTALMENT}
    for state in before:
        assert rules.move(state, CaseEvent.PLANNED) is CaseState.INSTALMENT
    assert rules.move(CaseState.INSTALMENT, CaseEvent.PLAN_LOST) is CaseState.OVERDUE
    assert rules.move(CaseState.INSTALMENT, CaseEvent.STILL_DUE) is None
    for state in set(CaseState) - ENDS:
        assert rules.move(state, CaseEvent.ENDED) is CaseState.CLOSED


def test_only_a_candidate_becomes_a_request() -> None:
    sources = [state for (state, _), to in MOVES.items() if to is CaseState.REQUESTED]
    assert sources == [CaseState.CUT_CANDIDATE]
    assert [s for (s, _), to in MOVES.items() if to is CaseState.CUT_CANDIDATE] == [
        CaseState.NOTICE
    ]


@pytest.mark.req("D5")
def test_a_cut_is_due_only_below_both_lines_on_a_register_that_is_there() -> None:
    assert rules.still_due(BALANCE) is True
    assert rules.still_due(replace(BALANCE, available_micros=0)) is False
    assert rules.still_due(replace(BALANCE, cut_micros=-5)) is False
    assert rules.still_due(replace(BALANCE, cut_micros=-5, available_micros=-6)) is True
    assert rules.still_due(replace(BALANCE, quality=BalanceQuality.MISSING)) is None


def test_power_comes_back_only_above_zero() -> None:
    def paid(state: CaseState, left: int) -> bool:
        return rules.is_paid(
            state, available_micros=left, below_reminder=left < 20, below_zero=left < 0
        )

    assert not paid(CaseState.CUT, 0)
    assert paid(CaseState.CUT, 1)
    assert paid(CaseState.NOTICE, 0)
    assert not paid(CaseState.NOTICE, -1)
    assert not paid(CaseState.REMINDED, 19)
    assert paid(CaseState.REMINDED, 20)


def test_words_of_control_are_understood() -> None:
    assert rules.event_of_request(RequestState.CUT, "") is CaseEvent.CUT
    assert rules.event_of_request(RequestState.FAILED, "") is CaseEvent.FAILED
    assert rules.event_of_request(RequestState.CANCELLED, "not_due") is CaseEvent.CANCELLED
    assert (
        rules.event_of_request(RequestState.CANCELLED, Refusal.PROTECTED_CUSTOMER)
        is CaseEvent.PROTECTED
    )
    assert rules.event_of_request(RequestState.APPROVED_1, "") is None
    assert rules.event_of_refusal(Refusal.PROTECTED_CUSTOMER) is CaseEvent.PROTECTED
    assert rules.event_of_refusal(Refusal.NO_SWITCH) is CaseEvent.FAILED
    assert rules.event_of_refusal(Refusal.ON_HOLD) is CaseEvent.HELD
    assert rules.event_of_refusal(Refusal.ALREADY_CUT) is CaseEvent.CUT
    assert rules.event_of_refusal(Refusal.REQUEST_OPEN) is None


def test_figures_of_a_request_are_plain_and_name_their_rule() -> None:
    figures = rules.figures_of(BALANCE, computed_at=NOW)
    assert figures["rule"] == "collections.v1"
    assert all(re.fullmatch(r"int|str", type(value).__name__) for value in figures.values())
