"""The two DL/T 645 meters on the wall: what they obey, and Chongqing's external breaker."""

import pytest

from protocols.dlt645.exchange import ErrorWord, freeze, read, read_address
from protocols.dlt645.frame import BROADCAST, Control, Frame
from protocols.dlt645.items import DATE_TIME, IMPORT, VOLTAGES, encode_di
from protocols.dlt645.relay import Order, StateWord
from protocols.reading import RelayState
from simulators.faults import Fault
from simulators.fleet import Fleet, make_fleet
from tests.unit.simulators.sim_dlt645_kit import ORIGIN, WallMeter

PILOT, RELAY = "dlt645_pilot", "dlt645_relay"
DONE, REFUSED = 0x9C, 0xDC


def word(state):
    return (state.relay_open, state.command_open)


@pytest.mark.req("D9", "D10", "D11", "D12", "D17")
def test_the_pilot_breaker_trips_at_once_and_is_closed_by_hand_after_a_minute():
    wall = WallMeter(PILOT)
    assert word(wall.state()) == (False, False)
    assert wall.order(Order.TRIP).control == DONE
    assert word(wall.state()) == (True, True)
    assert wall.meter.snapshot().power_w == 0
    for seconds, may_close in ((0, False), (59, False), (60, True)):
        before = wall.now
        wall.now += seconds * 1000
        assert word(wall.state()) == (True, not may_close)
        if not may_close:
            assert not wall.meter.press()
            assert not wall.meter.crew_closes()
            wall.now = before
    # no order closes it, not even now
    assert wall.order(Order.CLOSE).control == REFUSED
    assert wall.order(Order.ALLOW_CLOSE).control == DONE
    assert word(wall.state()) == (True, False)
    assert wall.meter.press()
    assert word(wall.state()) == (False, False)
    causes = [cause for *_, cause in wall.ledger.moves]
    assert causes == ["remote_disconnect", "close_allowed", "manual_reconnect"]
    tripped, allowed = (at for at, *_ in wall.ledger.moves[:2])
    assert allowed - tripped == 60_000


@pytest.mark.req("D16")
def test_a_restore_lifts_the_pilots_trip_before_the_minute_is_over_and_no_more():
    wall = WallMeter(PILOT)
    wall.order(Order.TRIP)
    assert wall.order(Order.ALLOW_CLOSE).control == DONE
    assert word(wall.state()) == (True, False)
    assert wall.meter.control_state is RelayState.ARMED
    assert wall.meter.crew_closes()


@pytest.mark.req("D9")
@pytest.mark.parametrize("model", [PILOT, RELAY])
@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"password": b"\x02\x00\x00\x00"}, ErrorWord.PASSWORD),
        ({"valid_for": -1}, ErrorWord.OTHER),
    ],
)
def test_an_order_is_authenticated_and_in_time_or_nothing_moves(model, changes, error):
    wall = WallMeter(model)
    for order in Order:
        answer = wall.order(order, **changes)
        assert (answer.control, answer.content) == (REFUSED, bytes((error,)))
    assert wall.ledger.moves == []
    assert wall.ledger.settings == {}


@pytest.mark.req("C13", "D6")
def test_a_relay_inside_the_meter_opens_arms_and_closes_as_told():
    wall = WallMeter(RELAY)
    for order, expected in (
        (Order.ALLOW_CLOSE, (False, False)),  # closed stays closed
        (Order.TRIP, (True, True)),
        (Order.TRIP, (True, True)),
        (Order.ALLOW_CLOSE, (True, False)),
        (Order.CLOSE, (False, False)),
        (Order.TRIP, (True, True)),
        (Order.CLOSE, (False, False)),
    ):
        assert wall.order(order).control == DONE
        assert word(wall.state()) == expected
    wall.order(Order.TRIP)
    wall.now += 3_600_000
    assert word(wall.state()) == (True, True)
    assert not wall.meter.press()


@pytest.mark.req("D8")
@pytest.mark.parametrize("model", [PILOT, RELAY])
def test_a_meter_that_keeps_power_refuses_every_trip_until_it_may_not(model):
    wall = WallMeter(model)
    assert wall.order(Order.KEEP_POWER).control == DONE
    assert wall.state() == StateWord(
        relay_open=False, command_open=False, keeps_power=True, word=0x1000
    )
    for _ in range(3):
        assert wall.order(Order.TRIP).control == REFUSED
    assert wall.ledger.moves == []
    assert wall.order(Order.END_KEEP_POWER).control == DONE
    assert wall.order(Order.TRIP).control == DONE
    assert word(wall.state()) == (True, True)


def test_a_stuck_relay_answers_success_and_stays():
    wall = WallMeter(RELAY)
    wall.meter.faults.add(Fault.STUCK_RELAY)
    assert wall.order(Order.TRIP).control == DONE
    assert word(wall.state()) == (False, False)


def test_a_frame_for_another_meter_or_for_nobody_is_not_answered():
    wall = WallMeter(RELAY)
    question = encode_di(IMPORT.di)
    for frame in (
        Frame(address="000000000001", control=Control.READ, content=question),
        Frame(address=wall.address, control=0x91, content=question),
        Frame(address=BROADCAST, control=Control.READ, content=question),
        freeze(BROADCAST).frame,
    ):
        assert wall.objects.answer(frame) is None
    assert wall.meter.remembered("frozen_ms") > 0
    found = wall.ask(read_address())
    assert (found.address, found.content[::-1].hex()) == (wall.address, wall.address)


@pytest.mark.parametrize("di", [0x04FFFFFF, VOLTAGES.di, DATE_TIME, 0x06010001, 0x05060100])
def test_what_a_meter_has_not_it_says_so(di):
    wall = WallMeter(RELAY)
    answer = wall.ask(read(wall.address, di, bytes(6)))
    assert (answer.control, answer.content) == (0xD1, bytes((ErrorWord.NO_SUCH_ITEM,)))


def test_a_fleet_has_such_meters_only_when_it_is_asked_for_them():
    plain = make_fleet(seed=7, customers=50, origin=ORIGIN)
    mixed = make_fleet(seed=7, customers=50, origin=ORIGIN, dlt645=3, close_allowed_seconds=7)
    assert not any(meter.protocol == "dlt645" for meter in plain.meters)
    changed = [meter for meter in mixed.meters if meter not in plain.meters]
    assert [meter.model for meter in changed] == [RELAY, PILOT, RELAY]
    assert [meter.close_allowed_seconds for meter in changed] == [None, 7, None]
    assert Fleet.from_json(mixed.to_json()) == mixed
