"""Rules of keep-power and of tokens: what an end without an answer may be taken for."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from cloud.control import rules
from cloud.control.model import KeepPower, KeepRelease, Refusal, TokenState
from edge.downlink.admit import Reason
from protocols.identity import UsagePointId

NOW = datetime(2026, 6, 2, 10, 30, tzinfo=UTC)
RELEASE = KeepRelease(
    id="R-000001", usage_point=UsagePointId("UP-000001"), requested_by="user:reza",
    reason="hospital moved out", requested_at=NOW, expires_at=NOW + timedelta(hours=1),
)  # fmt: skip
ENDS = ("done", "refused", "failed", "expired")


def test_the_words_of_the_edge_are_the_edges() -> None:
    assert (rules.DID_NOT_MOVE, rules.TOKEN_REPEATED, rules.TOKEN_REFUSED) == (
        Reason.DID_NOT_MOVE, Reason.TOKEN_REPEATED, Reason.TOKEN_REFUSED,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("actor", "changes", "refusal"),
    [
        ("user:lin", {}, None),
        ("user:Reza", {}, Refusal.SAME_PERSON),
        ("user:reza", {}, Refusal.SAME_PERSON),
        ("system:billing", {}, Refusal.NOT_A_PERSON),
        ("user:", {}, Refusal.NOT_A_PERSON),
        ("user:lin", {"expires_at": NOW}, Refusal.REQUEST_EXPIRED),
        ("user:lin", {"approved_by": "user:aziz"}, Refusal.WRONG_STATE),
        ("user:lin", {"closed_at": NOW}, Refusal.WRONG_STATE),
    ],
)
def test_a_meter_may_trip_again_by_two_people(
    actor: str, changes: dict[str, object], refusal: Refusal | None
) -> None:
    release = replace(RELEASE, **changes)  # type: ignore[arg-type]
    assert rules.refuse_keep_release(release, actor=actor, now=NOW) is refusal


@pytest.mark.parametrize(("before", "on", "result"), [*product(KeepPower, (True, False), ENDS)])
def test_cuts_stay_locked_unless_the_meter_surely_keeps_no_power(
    before: KeepPower, on: bool, result: str
) -> None:
    after = rules.keep_power_after(before, on=on, result=result, reason="meter_silent")
    if result == "done":
        assert after is (KeepPower.ON if on else KeepPower.OFF)
    elif before is KeepPower.ON or not on:
        assert after is before
    else:
        assert after is (KeepPower.OFF if result == "refused" else KeepPower.UNKNOWN)


def test_a_meter_that_was_read_and_keeps_no_power_locks_nothing() -> None:
    after = rules.keep_power_after(
        KeepPower.ORDERED, on=True, result="failed", reason=rules.DID_NOT_MOVE
    )
    assert after is KeepPower.OFF


@pytest.mark.parametrize(
    ("before", "result", "reason", "began", "good", "after"),
    [
        ("ordered", "done", "", True, True, "done"),
        ("ordered", "refused", "token_shape", False, True, "refused"),
        ("ordered", "refused", "token_repeated", False, True, "doubtful"),
        ("ordered", "failed", "token_refused", True, True, "refused"),
        ("ordered", "failed", "token_doubtful", True, True, "doubtful"),
        ("ordered", "expired", "", False, True, "waiting"),
        ("ordered", "expired", "", False, False, "expired"),
        ("ordered", "expired", "", True, True, "doubtful"),
        # the answer of an earlier command that came late
        ("doubtful", "done", "", True, True, "done"),
        ("expired", "done", "", True, False, "done"),
        ("waiting", "done", "", True, True, "done"),
        ("done", "refused", "token_repeated", False, True, None),
        ("done", "done", "", True, True, None),
        ("doubtful", "failed", "token_refused", True, True, None),
        ("refused", "expired", "", False, True, None),
    ],
)
def test_a_token_waits_again_only_where_it_surely_did_not_begin(
    before: str, result: str, reason: str, began: bool, good: bool, after: str | None
) -> None:
    found = rules.token_after(
        TokenState(before), result=result, reason=reason, began=began, still_good=good
    )
    assert found == (TokenState(after) if after else None)
