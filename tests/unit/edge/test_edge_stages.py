"""The table of a command, walked over every stage and event."""

from itertools import product

import pytest

from edge.outbox.stages import TABLE, CommandEvent, next_stage
from protocols.mqtt.downlink import Verb
from protocols.mqtt.uplink import FINAL, Stage

E, S = CommandEvent, Stage

EXPECTED = {
    None: {E.ADMIT: S.ACCEPTED, E.REFUSE: S.REFUSED, E.LAPSE: S.EXPIRED},
    S.ACCEPTED: {
        E.CHALLENGE: S.CHALLENGE, E.BEGIN: S.STARTED, E.REFUSE: S.REFUSED, E.LAPSE: S.EXPIRED,
    },
    S.CHALLENGE: {E.GO: S.STARTED, E.REFUSE: S.REFUSED, E.LAPSE: S.EXPIRED, E.RESTART: S.EXPIRED},
    S.STARTED: {
        E.SUCCEED: S.DONE, E.ARM: S.ARMED, E.FAIL: S.FAILED, E.LOSE: S.UNKNOWN,
        E.RESTART: S.UNKNOWN,
    },
    S.UNKNOWN: {E.SUCCEED: S.DONE, E.ARM: S.ARMED, E.FAIL: S.FAILED},
}  # fmt: skip


@pytest.mark.parametrize(("stage", "event"), list(product([None, *S], E)))
@pytest.mark.parametrize("verb", Verb)
def test_every_pair_goes_where_the_drawing_says_or_nowhere(
    stage: Stage | None, event: CommandEvent, verb: Verb
) -> None:
    expected = EXPECTED.get(stage, {}).get(event)
    if event is (E.BEGIN if verb is Verb.DISCONNECT else E.CHALLENGE):
        expected = None
    assert next_stage(stage, event, verb) is expected


def test_nothing_moves_an_end() -> None:
    assert not [pair for pair in TABLE if pair[0] in FINAL]


def test_every_stage_can_reach_an_end() -> None:
    reaching = set(FINAL)
    while True:
        more = {stage for (stage, _), target in TABLE.items() if target in reaching} - reaching
        if not more:
            break
        reaching |= more
    assert reaching == {None, *S}


@pytest.mark.req("D9")
def test_a_disconnect_starts_only_by_a_go() -> None:
    ways = [
        (stage, event)
        for stage, event in product([None, *S], E)
        if next_stage(stage, event, Verb.DISCONNECT) is S.STARTED
    ]
    assert ways == [(S.CHALLENGE, E.GO)]
