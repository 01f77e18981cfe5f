"""What becomes a job, and what a crew may report."""

from dataclasses import replace
from datetime import UTC, datetime
from itertools import product

import pytest

from cloud.control.model import Outcome, RequestId
from cloud.work import rules
from cloud.work.model import (
    ORDER_MOVES,
    Order,
    OrderEvent,
    OrderId,
    OrderKind,
    OrderState,
    Refusal,
    Report,
    VisitOutcome,
)
from protocols.identity import CommandId, UsagePointId

NOW = datetime(2026, 6, 2, 10, 30, tzinfo=UTC)
POINT = UsagePointId("UP-000077")
OUTCOME = Outcome(
    seq=9, usage_point=POINT, request=RequestId("K-1"), command=CommandId("CM-1"),
    verb="disconnect", result="failed", cause="relay_did_not_move", at=NOW, request_state="failed",
)  # fmt: skip
ORDER = Order(
    id=OrderId("W-1"), kind=OrderKind.CUT_FAILURE, usage_point=POINT, cause_key="cut:K-1",
    summary="relay_did_not_move", state=OrderState.ASSIGNED, crew="user:aziz", raised_at=NOW,
    assigned_at=NOW, done_at=None, verified_at=None, verified_by=None, outcome=None,
    register_wh=None, note="",
)  # fmt: skip
REPORT = Report(
    outcome=VisitOutcome.CUT, register_wh=12_345, note="", actor="user:aziz", idempotency_key="a"
)


@pytest.mark.req("E3", "E6", "D14")
@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({}, OrderKind.CUT_FAILURE),
        ({"result": "expired"}, OrderKind.CUT_FAILURE),
        ({"request_state": "rechecked"}, None),
        ({"request_state": "cut", "result": "done"}, None),
        ({"result": "cancelled", "request_state": "cancelled"}, None),
        ({"verb": "reconnect", "request": None, "request_state": ""}, OrderKind.RESTORE_FAILURE),
        ({"verb": "reconnect", "result": "refused"}, OrderKind.RESTORE_FAILURE),
        ({"verb": "reconnect", "result": "expired"}, None),
        ({"verb": "reconnect", "result": "done"}, None),
        ({"verb": "alarm", "result": "overdue", "cause": "late"}, OrderKind.RESTORE_FAILURE),
        ({"verb": "alarm", "result": "failed", "cause": "self_reconnected"}, OrderKind.EXCEPTION),
    ],
)
def test_what_becomes_a_job(change: dict[str, object], kind: OrderKind | None) -> None:
    job = rules.job_for(replace(OUTCOME, **change))  # type: ignore[arg-type]
    assert (job.kind if job else None) == kind


def test_each_try_of_one_request_is_one_job() -> None:
    again = replace(OUTCOME, seq=10, command=CommandId("CM-2"))
    first, second = rules.job_for(OUTCOME), rules.job_for(again)
    assert first is not None
    assert second is not None
    assert first.key == second.key


@pytest.mark.parametrize(("state", "event"), list(product(OrderState, OrderEvent)))
def test_every_pair_of_the_order(state: OrderState, event: OrderEvent) -> None:
    expected = {
        ("raised", "assign"): "assigned", ("assigned", "assign"): "assigned",
        ("assigned", "report"): "done", ("done", "verify"): "verified",
        ("done", "reopen"): "assigned", ("raised", "settle"): "verified",
        ("assigned", "settle"): "verified",
    }  # fmt: skip
    found = rules.move_order(state, event)
    assert (found.value if found else None) == expected.get((state.value, event.value))
    assert len(ORDER_MOVES) == len(expected)


@pytest.mark.req("D20")
def test_the_eleven_codes_are_those_of_the_source() -> None:
    names = {
        1: "WARNED", 2: "PAID", 3: "DEADLINE_GRANTED", 4: "INSTALMENTS", 5: "CUT",
        6: "SELF_RECONNECTED", 7: "IDLE", 8: "ALREADY_CUT", 9: "REMOVAL_WARNING",
        10: "HARD_TO_COLLECT", 11: "NOT_CUT",
    }  # fmt: skip
    assert {code: VisitOutcome(code).name for code in range(1, 12)} == names


@pytest.mark.req("D20", "E5")
@pytest.mark.parametrize(
    ("report", "order", "refusal"),
    [
        ({}, {}, None),
        ({"actor": "user:other"}, {}, Refusal.NOT_YOURS),
        ({}, {"state": OrderState.DONE}, Refusal.WRONG_STATE),
        ({}, {"state": OrderState.RAISED, "crew": None}, Refusal.WRONG_STATE),
        ({"register_wh": None}, {}, Refusal.REGISTER_MISSING),
        ({"register_wh": -1}, {}, Refusal.REGISTER_NEGATIVE),
        ({"outcome": VisitOutcome.ALREADY_CUT, "register_wh": None}, {}, Refusal.REGISTER_MISSING),
        ({"outcome": VisitOutcome.NOT_CUT, "note": " "}, {}, Refusal.NOTE_MISSING),
        ({"outcome": VisitOutcome.NOT_CUT, "note": "dog"}, {}, None),
        ({"outcome": VisitOutcome.PAID, "register_wh": None}, {}, None),
    ],
)
def test_what_a_crew_may_report(
    report: dict[str, object], order: dict[str, object], refusal: Refusal | None
) -> None:
    found = rules.refuse_report(replace(ORDER, **order), replace(REPORT, **report))  # type: ignore[arg-type]
    assert found is refusal


def test_whoever_did_a_job_does_not_judge_it() -> None:
    done = replace(ORDER, state=OrderState.DONE)
    assert rules.refuse_verify(done, "user:aziz") is Refusal.SAME_PERSON
    assert rules.refuse_verify(done, "user:reza") is None
    assert rules.refuse_verify(ORDER, "user:reza") is Refusal.WRONG_STATE
