"""Comparisons with the truth, each on the smallest history that tells right from wrong."""

import pytest

from meterloop.audit.model import EndedCommand, OutboxState, SwitchMove
from meterloop.audit.rules import (
    REMOTE_CUT,
    altered_intervals,
    altered_registers,
    cuts_without_go,
    lost_intervals,
    outcomes_against_switch,
    protected_cuts,
)
from protocols.identity import MeterId

METER = "M-1"


def outbox(
    *,
    mark: int = 100,
    holes: tuple[tuple[int, int], ...] = (),
    pending: frozenset[tuple[str, int]] = frozenset(),
) -> OutboxState:
    return OutboxState(
        concentrator="C-01", marks={MeterId(METER): mark}, holes={MeterId(METER): holes},
        pending=pending, numbers=frozenset(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("stored", "quarantined", "kept", "lost"),
    [
        ({10: 1}, frozenset(), outbox(), []),
        ({}, frozenset(), outbox(), ["M-1 at 10"]),
        ({}, frozenset({(METER, 10)}), outbox(), []),
        ({}, frozenset({("M-2", 10)}), outbox(), ["M-1 at 10"]),
        ({}, frozenset(), outbox(pending=frozenset({(METER, 10)})), []),
        ({}, frozenset(), outbox(mark=10), []),
        ({}, frozenset(), outbox(holes=((10, 20),)), []),
        ({}, frozenset(), outbox(holes=((0, 10),)), ["M-1 at 10"]),
    ],
)
def test_an_interval_is_lost_when_nobody_keeps_it(
    stored: dict[int, int],
    quarantined: frozenset[tuple[str, int]],
    kept: OutboxState,
    lost: list[str],
) -> None:
    assert list(lost_intervals(METER, {10: 1}, stored, quarantined, kept)) == lost


def test_another_agents_meter_is_none_of_this_outbox() -> None:
    assert list(lost_intervals("M-2", {10: 1}, {}, frozenset(), outbox())) == []


def test_stored_values_must_be_the_true_ones() -> None:
    assert list(altered_intervals(METER, {10: 5}, {10: 5})) == []
    assert "truly 5" in next(altered_intervals(METER, {10: 5}, {10: 6}))
    assert "never had" in next(altered_intervals(METER, {}, {10: 6}))
    assert list(altered_registers(METER, {10: frozenset({7})}, {10: 7, 11: 9})) == []
    assert "answered [7]" in next(altered_registers(METER, {10: frozenset({7})}, {10: 8}))


def move(
    at_ms: int, cause: str = REMOTE_CUT, *, closed: bool = False, state: int = 0
) -> SwitchMove:
    return SwitchMove(at_ms=at_ms, closed=closed, control_state=state, cause=cause)


@pytest.mark.parametrize(
    ("moves", "released", "wrong"),
    [
        ([move(10)], [9], 0),
        ([move(10)], [], 1),
        ([move(10)], [11], 1),
        ([move(10), move(20)], [9], 1),
        ([move(10), move(20)], [9, 19], 0),
        ([move(10, "field")], [], 0),
    ],
)
def test_each_go_allows_one_opening_after_it(
    moves: list[SwitchMove], released: list[int], wrong: int
) -> None:
    assert len(list(cuts_without_go(METER, moves, released))) == wrong


def test_a_protected_supply_is_never_opened_from_afar() -> None:
    assert list(protected_cuts({METER: 10}, {METER: [move(9), move(11, "field")]})) == []
    assert list(protected_cuts({METER: 10}, {METER: [move(10)]})) == ["M-1 at 10"]


def command(verb: str, result: str) -> EndedCommand:
    return EndedCommand(
        id="CM-1", meter=METER, usage_point="UP-1", verb=verb, result=result,
        issued_ms=10, ended_ms=20, released=True,
    )  # fmt: skip


OPENED, CLOSED = move(12), move(12, "remote_reconnect", closed=True, state=1)
ARMED = move(12, "remote_reconnect", state=2)
BEFORE = move(5)


@pytest.mark.parametrize(
    ("verb", "result", "moves", "contradicted"),
    [
        ("disconnect", "done", [OPENED], False),
        ("disconnect", "done", [], True),
        ("disconnect", "done", [BEFORE], False),
        ("disconnect", "done", [move(21)], True),
        ("disconnect", "failed", [OPENED], True),
        ("disconnect", "failed", [], False),
        ("disconnect", "expired", [OPENED], True),
        ("disconnect", "refused", [BEFORE], False),
        ("reconnect", "done", [BEFORE, CLOSED], False),
        ("reconnect", "done", [BEFORE], True),
        ("reconnect", "done", [], False),
        ("reconnect", "armed", [BEFORE, ARMED], False),
        ("reconnect", "armed", [BEFORE], True),
        ("read_relay", "done", [OPENED], False),
    ],
)
def test_an_outcome_must_match_the_switch(
    verb: str, result: str, moves: list[SwitchMove], *, contradicted: bool
) -> None:
    wrong = list(outcomes_against_switch([command(verb, result)], {METER: moves}))
    assert bool(wrong) is contradicted
