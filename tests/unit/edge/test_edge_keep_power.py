"""Keep-power at the edge: who may be told, what proves it, and that it withdraws a cut."""

import pytest

from edge.downlink.admit import Admission, Reason, Scope, judge
from edge.downlink.execute import outcome_of
from edge.outbox.stages import CommandEvent
from protocols.mqtt.downlink import KEEPING, Verb
from protocols.reading import RelayReading, RelayState
from tests.unit.edge.edge_kit import CONCENTRATOR, METER, NOON, command

KEEPER = Scope(concentrator=CONCENTRATOR, relays={METER: True}, keepers=frozenset({METER}))
PLAIN = Scope(concentrator=CONCENTRATOR, relays={METER: True})


@pytest.mark.req("D8")
@pytest.mark.parametrize("verb", sorted(KEEPING))
@pytest.mark.parametrize("trusted", [True, False])
def test_only_a_meter_that_can_keep_power_is_told_to(verb, trusted):
    order = command(verb)
    told = judge(order, KEEPER, now=NOON, clock_trusted=trusted)
    assert told.admission is Admission.ADMIT
    refused = judge(order, PLAIN, now=NOON, clock_trusted=trusted)
    assert (refused.admission, refused.reason) == (Admission.REFUSE, Reason.NO_KEEP_POWER)


def reading(keeps, *, closed=True, state=RelayState.CONNECTED, arms=False):
    return RelayReading(
        output_closed=closed, control_state=state, control_mode=4, keeps_power=keeps,
        arms_itself=arms,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("verb", "keeps", "there"),
    [
        (Verb.KEEP_POWER, True, True),
        (Verb.KEEP_POWER, False, False),
        (Verb.KEEP_POWER, None, False),
        (Verb.END_KEEP_POWER, False, True),
        (Verb.END_KEEP_POWER, True, False),
        (Verb.END_KEEP_POWER, None, False),
    ],
)
def test_only_the_meters_own_word_proves_it(verb, keeps, there):
    assert (outcome_of(verb, reading(keeps)) is CommandEvent.SUCCEED) is there


@pytest.mark.req("D11", "D12")
def test_a_breaker_that_arms_itself_is_cut_when_it_is_open_and_only_then():
    armed = {"closed": False, "state": RelayState.ARMED}
    assert outcome_of(Verb.DISCONNECT, reading(None, **armed, arms=True)) is CommandEvent.SUCCEED
    assert outcome_of(Verb.DISCONNECT, reading(None, **armed)) is None
    assert outcome_of(Verb.DISCONNECT, reading(None, arms=True)) is None
    assert outcome_of(Verb.RECONNECT, reading(None, **armed, arms=True)) is CommandEvent.ARM


def test_what_the_type_tells_does_not_make_two_readings_differ():
    assert reading(None) == reading(None, arms=True) == reading(True)
