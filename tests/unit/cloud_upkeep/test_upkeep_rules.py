"""Who may ask for and approve what, and how a rollout spreads, halts and ends."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.assets.model import Meter
from cloud.upkeep import rules
from cloud.upkeep.model import (
    ERRAND_MOVES,
    FINAL_ERRAND,
    OPEN_ERRAND,
    ROLLOUT_MOVES,
    RUNNING,
    Errand,
    ErrandEvent,
    ErrandState,
    Image,
    Kind,
    Refusal,
    Rollout,
    RolloutEvent,
    RolloutId,
    RolloutState,
    Stages,
    Target,
    Wish,
)
from protocols.identity import CommandId, ConcentratorId, MeterId

NOW = datetime(2026, 6, 2, 10, 0, tzinfo=UTC)
TARGET = Target(concentrator=ConcentratorId("C-01"), meter=MeterId("M-1"))
SETTINGS = Wish(
    kind=Kind.CONFIGURATION, requested_by="user:reza", reason="quieter", stages=Stages(),
    until=NOW + timedelta(hours=1), settings={"poll_seconds": 60},
    targets=(Target(concentrator=ConcentratorId("C-01"), meter=MeterId("C-01")),),
)  # fmt: skip
FIRMWARE = replace(
    SETTINGS, kind=Kind.FIRMWARE, settings=None, image=bytes(32), targets=(TARGET,)
)  # fmt: skip


def rollout(**changes: object) -> Rollout:
    plain = Rollout(
        id=RolloutId("RO-1"), kind=Kind.FIRMWARE, state=RolloutState.ASKED, cause="",
        requested_by="user:reza", reason="why", requested_at=NOW, approved_by=None,
        until=NOW + timedelta(hours=1), stages=Stages(first=2, success_permille=500, most_open=2),
        settings=None, image=bytes(32), activate=True, activate_at=None, ended_at=None,
    )  # fmt: skip
    return replace(plain, **changes)  # type: ignore[arg-type]


def errands(*states: ErrandState) -> list[Errand]:
    return [
        Errand(
            id=CommandId(f"upkeep-{at}"), rollout=RolloutId("RO-1"), position=at,
            kind=Kind.FIRMWARE, concentrator=ConcentratorId("C-01"), meter=MeterId(f"M-{at}"),
            sealed=None, source=None, revision=None, state=state, expires=None, progress=None,
            ended_at=None,
            end_reason="", evidence=None,
        )
        for at, state in enumerate(states)
    ]  # fmt: skip


W, S, D, F = ErrandState.WAITING, ErrandState.STARTED, ErrandState.DONE, ErrandState.FAILED


def test_every_pair_of_state_and_event_moves_as_drawn_or_not_at_all() -> None:
    for state in RolloutState:
        for event in RolloutEvent:
            assert rules.move_rollout(state, event) == ROLLOUT_MOVES.get((state, event))
            if state not in RUNNING | {RolloutState.ASKED}:
                assert rules.move_rollout(state, event) is None, "an end is for good"
    for errand in ErrandState:
        for step in ErrandEvent:
            after = rules.move_errand(errand, step)
            assert after == ERRAND_MOVES.get((errand, step))
            if errand in FINAL_ERRAND:
                assert after is None, "an end is for good"
    for errand in OPEN_ERRAND:
        assert rules.move_errand(errand, ErrandEvent.EXPIRED) is ErrandState.EXPIRED
    for sent in (ErrandState.DISPATCHED, ErrandState.ACCEPTED, ErrandState.STARTED):
        assert rules.move_errand(sent, ErrandEvent.CANCEL) is None, (
            "what was sent is not taken back"
        )


def test_a_good_wish_is_taken() -> None:
    assert rules.refuse_wish(SETTINGS, now=NOW) is None
    assert rules.refuse_wish(FIRMWARE, now=NOW) is None


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"requested_by": "system:billing"}, Refusal.NOT_A_PERSON),
        ({"requested_by": "user:"}, Refusal.NOT_A_PERSON),
        ({"reason": " "}, Refusal.NO_REASON),
        ({"targets": ()}, Refusal.NO_TARGETS),
        ({"targets": (TARGET, TARGET)}, Refusal.BUSY),
        ({"stages": Stages(first=0)}, Refusal.STAGES),
        ({"stages": Stages(success_permille=1001)}, Refusal.STAGES),
        ({"stages": Stages(most_open=0)}, Refusal.STAGES),
        ({"until": NOW}, Refusal.EXPIRED),
        ({"until": NOW + timedelta(days=8)}, Refusal.EXPIRED),
        ({"activate_at": NOW + timedelta(hours=2)}, Refusal.EXPIRED),
        ({"activate_at": NOW + timedelta(minutes=2)}, Refusal.ACTIVATION),
        ({"settings": {"outbox": 3}}, Refusal.SETTING),
        ({"settings": {"poll_seconds": 0}}, Refusal.SETTING),
        ({"settings": {"poll_seconds": float("nan")}}, Refusal.SETTING),
        ({"settings": {"concurrency": 1.5}}, Refusal.SETTING),
        ({"settings": {"concurrency": True}}, Refusal.SETTING),
        ({"kind": Kind.REKEY, "targets": (TARGET,)}, Refusal.NO_KEYS),
        ({"kind": Kind.REKEY, "targets": (replace(TARGET, sealed=bytes(257)),)}, Refusal.NO_KEYS),
    ],
)
def test_a_wish_that_cannot_stand_is_refused(changes: dict[str, object], refusal: Refusal) -> None:
    refused = rules.refuse_wish(replace(SETTINGS, **changes), now=NOW)  # type: ignore[arg-type]
    assert refused is not None
    assert refused[0] is refusal


def test_a_refused_setting_names_key_and_range() -> None:
    refused = rules.refuse_wish(replace(SETTINGS, settings={"concurrency": 0}), now=NOW)
    assert refused is not None
    assert "concurrency" in refused[1]
    assert "1 to 1000" in refused[1]


def test_firmware_is_for_dlms_meters_of_its_model() -> None:
    meter = Meter(
        id=MeterId("M-1"), model="toy", protocol="dlms", has_relay=True, can_close_remotely=True
    )
    image = Image(
        sha256=bytes(32), model="toy", version="2", identifier=b"2", octets=1, block_octets=8192,
        uploaded_by="user:reza", uploaded_at=NOW,
    )  # fmt: skip
    assert rules.refuse_meter(Kind.FIRMWARE, meter, image) is None
    other = rules.refuse_meter(Kind.FIRMWARE, replace(meter, model="other"), image)
    modbus = rules.refuse_meter(Kind.REKEY, replace(meter, protocol="modbus"), None)
    assert other is not None
    assert other[0] is Refusal.OTHER_MODEL
    assert modbus is not None
    assert modbus[0] is Refusal.NO_KEYS


@pytest.mark.parametrize(
    ("changes", "actor", "refusal"),
    [
        ({}, "user:lin", None),
        ({}, "user:reza", Refusal.SAME_PERSON),
        ({}, "user:REZA", Refusal.SAME_PERSON),
        ({}, "system:control", Refusal.NOT_A_PERSON),
        ({"kind": Kind.CONFIGURATION}, "user:lin", Refusal.NO_APPROVAL_NEEDED),
        ({"state": RolloutState.HALTED}, "user:lin", Refusal.WRONG_STATE),
        ({"until": NOW}, "user:lin", Refusal.EXPIRED),
    ],
)
def test_who_may_approve(changes: dict[str, object], actor: str, refusal: Refusal | None) -> None:
    assert rules.refuse_approval(rollout(**changes), actor, now=NOW) is refusal


def test_the_first_few_go_alone_and_the_rest_follow_after_success() -> None:
    first = rollout(state=RolloutState.FIRST)
    assert rules.next_step(first, errands(W, W, W), now=NOW).issue == ("upkeep-0", "upkeep-1")
    assert rules.next_step(first, errands(D, S, W), now=NOW).issue == ()
    assert rules.next_step(first, errands(D, F, W), now=NOW).event is RolloutEvent.SPREAD
    rest = rollout(state=RolloutState.REST)
    assert rules.next_step(rest, errands(D, F, W, W, W), now=NOW).issue == ("upkeep-2", "upkeep-3")
    assert rules.next_step(rest, errands(D, D, S, W, W), now=NOW).issue == ("upkeep-3",)


def test_too_few_successes_halt_it_at_either_stage() -> None:
    first = rollout(state=RolloutState.FIRST)
    step = rules.next_step(first, errands(F, F, W), now=NOW)
    assert step.event is RolloutEvent.HALT
    assert step.cause == "0 of 2 succeeded; at least 500 in 1000 must"
    rest = rollout(state=RolloutState.REST)
    assert rules.next_step(rest, errands(D, F, F, W), now=NOW).event is RolloutEvent.HALT
    assert rules.next_step(rest, errands(D, F, D, W), now=NOW).event is None


def test_it_ends_when_every_target_has_ended() -> None:
    first = rollout(state=RolloutState.FIRST)
    rest = rollout(state=RolloutState.REST)
    assert rules.next_step(first, errands(D, D), now=NOW).event is RolloutEvent.FINISH
    assert rules.next_step(rest, errands(D, D, D), now=NOW).event is RolloutEvent.FINISH
    assert rules.next_step(rest, errands(D, D, S), now=NOW).event is None
    assert rules.next_step(rollout(state=RolloutState.HALTED), errands(W), now=NOW).issue == ()


def test_what_nobody_approves_lapses() -> None:
    asked = rollout()
    assert rules.next_step(asked, errands(W), now=NOW).event is None
    late = rules.next_step(asked, errands(W), now=asked.until)
    assert late.event is RolloutEvent.LAPSE


@given(
    st.lists(st.sampled_from(list(ErrandState)), min_size=1, max_size=8),
    st.sampled_from(sorted(RUNNING)),
    st.integers(1, 8),
    st.integers(1, 8),
)
def test_never_more_under_way_than_allowed_and_never_past_the_first_stage(
    states: list[ErrandState], state: RolloutState, first: int, most_open: int
) -> None:
    stages = Stages(first=first, success_permille=0, most_open=most_open)
    found = errands(*states)
    step = rules.next_step(rollout(state=state, stages=stages), found, now=NOW)
    chosen = [item for item in found if item.id in step.issue]
    assert all(item.state is W for item in chosen)
    under_way = sum(item.state in OPEN_ERRAND and item.state is not W for item in found)
    assert not chosen or under_way + len(chosen) <= most_open or state is RolloutState.FIRST
    assert len(chosen) <= most_open
    if state is RolloutState.FIRST:
        assert all(item.position < first for item in chosen)
