"""An order at one meter: verdicts are read from the switch, never believed."""

import asyncio

import pytest

from edge.acquire.driver import ReadOut
from edge.downlink.admit import Reason
from edge.downlink.execute import Limits, Switching, Verdict, outcome_of
from edge.outbox.stages import CommandEvent
from protocols.errors import PeerError
from protocols.mqtt.downlink import Verb
from protocols.reading import RelayReading, RelayState
from tests.unit.edge.edge_kit import CLOSED, OPEN, READY, HandClock, ScriptedMeter

LIMITS = Limits(pause=0.0, read_back=1.0, power_falls=1.0, unknown=2.0, reach=4.0)
LOST = PeerError("dlms.timeout", "no answer")


def switching(
    meter: ScriptedMeter,
    verb: Verb,
    refusals: list[Reason | None] | None = None,
    visits: list[ReadOut] | None = None,
) -> Switching:
    answers = refusals if refusals is not None else []
    return Switching(
        meter,
        verb,
        clock=HandClock(tick=0.25).clock(),
        limits=LIMITS,
        may_operate=lambda: answers.pop(0) if answers else None,
        on_visit=(visits if visits is not None else []).append,
    )


def carried_out(meter: ScriptedMeter, verb: Verb, **rest: list[Reason | None]) -> Verdict:
    return asyncio.run(switching(meter, verb, **rest).carry_out())  # type: ignore[arg-type]


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("state", RelayState)
@pytest.mark.parametrize("verb", Verb)
def test_what_a_switch_proves(verb: Verb, state: RelayState, closed: bool) -> None:
    outcome = outcome_of(
        verb, RelayReading(output_closed=closed, control_state=state, control_mode=4)
    )
    proves = {
        (Verb.DISCONNECT, RelayState.DISCONNECTED, False): CommandEvent.SUCCEED,
        (Verb.RECONNECT, RelayState.CONNECTED, True): CommandEvent.SUCCEED,
        (Verb.RECONNECT, RelayState.ARMED, False): CommandEvent.ARM,
        (Verb.RECONNECT, RelayState.ARMED, True): CommandEvent.ARM,
    }
    expected = (
        CommandEvent.SUCCEED if verb is Verb.READ_RELAY else proves.get((verb, state, closed))
    )
    assert outcome is expected


@pytest.mark.req("D9", "D13")
def test_a_disconnect_is_done_when_the_switch_reads_open_and_power_is_gone() -> None:
    meter, visits = ScriptedMeter(), []
    verdict = asyncio.run(switching(meter, Verb.DISCONNECT, visits=visits).carry_out())
    assert verdict.event is CommandEvent.SUCCEED
    assert meter.acts == ["disconnect"]
    before, after = verdict.evidence["before"], verdict.evidence["after"]
    assert (before["output_closed"], before["power_w"]) == (1, 500)
    assert (after["output_closed"], after["control_state"], after["power_w"]) == (0, 0, 0)
    assert verdict.evidence["attempts"] == 1
    assert len(visits) == 2, "what was read on the way goes up as well"


def test_a_stuck_switch_fails_after_three_tries() -> None:
    meter = ScriptedMeter(stuck=True)
    verdict = carried_out(meter, Verb.DISCONNECT)
    assert (verdict.event, verdict.reason) == (CommandEvent.FAIL, Reason.DID_NOT_MOVE)
    assert meter.acts == ["disconnect"] * 3
    assert verdict.evidence["after"]["output_closed"] == 1


def test_an_open_switch_is_not_asked_again() -> None:
    meter = ScriptedMeter(relay=OPEN)
    verdict = carried_out(meter, Verb.DISCONNECT)
    assert verdict.event is CommandEvent.SUCCEED
    assert meter.acts == []


def test_a_lost_answer_is_followed_by_reading_not_by_repeating() -> None:
    meter = ScriptedMeter(lost_answers=1)
    verdict = carried_out(meter, Verb.DISCONNECT)
    assert verdict.event is CommandEvent.SUCCEED
    assert meter.acts == ["disconnect"]


def test_power_through_a_switch_that_reads_open_is_a_failure() -> None:
    verdict = carried_out(ScriptedMeter(leak_w=300), Verb.DISCONNECT)
    assert (verdict.event, verdict.reason) == (CommandEvent.FAIL, Reason.POWER_FLOWS)


def test_a_refusal_right_before_the_act_stops_it() -> None:
    meter = ScriptedMeter(stuck=True)
    verdict = carried_out(meter, Verb.DISCONNECT, refusals=[None, Reason.GO_LAPSED])
    assert (verdict.event, verdict.reason) == (CommandEvent.FAIL, Reason.GO_LAPSED)
    assert meter.acts == ["disconnect"]


def test_a_silent_meter_is_not_cut_blindly() -> None:
    meter = ScriptedMeter(silent=True)
    verdict = carried_out(meter, Verb.DISCONNECT)
    assert (verdict.event, verdict.reason) == (CommandEvent.FAIL, Reason.METER_SILENT)
    assert meter.acts == []


def test_a_cut_waits_for_a_meter_that_answers_late() -> None:
    # a link that was down for seconds ended a cut as failed and sent a crew
    meter = ScriptedMeter(faults=[LOST] * 10)
    verdict = carried_out(meter, Verb.DISCONNECT)
    assert verdict.event is CommandEvent.SUCCEED
    assert meter.acts == ["disconnect"]


@pytest.mark.parametrize(
    ("refusal", "told"),
    [(Reason.GO_LAPSED, Reason.METER_SILENT), (Reason.SUPERSEDED, Reason.SUPERSEDED)],
)
def test_a_cut_stops_waiting_when_it_may_no_longer_act(refusal: Reason, told: Reason) -> None:
    meter = ScriptedMeter(faults=[LOST] * 2)
    verdict = carried_out(meter, Verb.DISCONNECT, refusals=[None, refusal])
    assert (verdict.event, verdict.reason) == (CommandEvent.FAIL, told)
    assert meter.acts == []


def test_a_meter_that_goes_silent_after_the_act_leaves_it_unknown_until_read() -> None:
    class Falls(ScriptedMeter):
        async def operate(self, verb: Verb) -> None:
            await super().operate(verb)
            self.silent = True

    meter = Falls()
    story = switching(meter, Verb.DISCONNECT)
    assert asyncio.run(story.carry_out()).event is CommandEvent.LOSE
    meter.silent = False
    verdict = asyncio.run(story.resolve())
    assert verdict.event is CommandEvent.SUCCEED
    assert meter.acts == ["disconnect"]


def test_unknown_has_a_deadline() -> None:
    meter = ScriptedMeter(silent=True)
    verdict = asyncio.run(switching(meter, Verb.DISCONNECT).resolve())
    assert (verdict.event, verdict.reason) == (CommandEvent.FAIL, Reason.METER_SILENT)


def test_a_doubtful_disconnect_that_did_not_act_is_failed_not_repeated() -> None:
    meter = ScriptedMeter(relay=CLOSED)
    verdict = asyncio.run(switching(meter, Verb.DISCONNECT).resolve())
    assert (verdict.event, verdict.reason) == (CommandEvent.FAIL, Reason.DID_NOT_MOVE)
    assert meter.acts == []


def test_a_doubtful_reconnect_is_repeated_once_the_switch_is_seen_open() -> None:
    meter = ScriptedMeter(relay=OPEN)
    verdict = asyncio.run(switching(meter, Verb.RECONNECT).resolve())
    assert verdict.event is CommandEvent.SUCCEED
    assert meter.acts == ["reconnect"]


@pytest.mark.req("D9")
@pytest.mark.parametrize(
    ("arms", "event", "relay"),
    [(False, CommandEvent.SUCCEED, CLOSED), (True, CommandEvent.ARM, READY)],
)
def test_a_reconnect_is_done_or_armed(arms: bool, event: CommandEvent, relay: RelayReading) -> None:
    meter = ScriptedMeter(relay=OPEN, arms=arms)
    verdict = carried_out(meter, Verb.RECONNECT)
    assert verdict.event is event
    assert verdict.relay == relay


def test_reading_the_switch_moves_nothing() -> None:
    meter = ScriptedMeter()
    verdict = carried_out(meter, Verb.READ_RELAY)
    assert verdict.event is CommandEvent.SUCCEED
    assert verdict.evidence["after"]["control_state"] == 1
    assert meter.acts == []
