"""SunSpec: the marker is found, the models are walked, the map reads what the meter measures."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import PeerError
from protocols.modbus.pdu import RequestRefusedError
from protocols.modbus.plan import identity_in, requests_for, values_in
from protocols.modbus.scaling import WordOrder, WordType, encode
from protocols.modbus.sunspec import (
    BASES,
    FLOAT_MODELS,
    INTEGER_MODELS,
    Model,
    SunSpecMeter,
    map_of,
    survey,
)
from protocols.reading import Channel
from simulators.meter.register_bank import SunSpecBank
from tests.unit.modbus.meter_kit import HandTime, meter_of

GROUPS = ("fast", "slow")


def walk(ask, most=200):
    """Run a survey against a function of a request."""
    walking = survey()
    asked = []
    try:
        request = next(walking)
        for _ in range(most):
            asked.append(request)
            request = walking.send(ask(request))
    except StopIteration as found:
        return found.value, asked
    raise AssertionError("the walk does not end")


def asking(bank):
    def ask(request):
        try:
            return bank.words(request)
        except RequestRefusedError:
            return None

    return ask


def in_units(value):
    return value.raw * 10**value.scaler if value.scaler >= 0 else value.raw // 10**-value.scaler


@pytest.mark.req("A9")
@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("number", [*INTEGER_MODELS, *FLOAT_MODELS])
def test_a_meter_that_describes_itself_is_read_back(number, base):
    phases = 3 if number in {203, 204, 213} else 1
    meter, _ = meter_of("sunspec", HandTime(), kind="head" if phases == 3 else "customer")
    bank = SunSpecBank(meter, number, base)
    found, _ = walk(asking(bank))
    assert found.meter.id == number
    assert (found.maker, found.type, found.serial) == ("Meterloop", "Simulated", meter.spec.serial)
    assert [model.id for model in found.models] == [1, 64_001, number]
    register_map = map_of(found)
    requests = requests_for(register_map, GROUPS)
    assert all(request.count <= 125 for request in requests)
    energy = [p for p in register_map.points if p.group == "slow"]
    for point in energy:
        assert any(
            r.address <= point.address and (point.scale_from or point.address) < r.address + r.count
            for r in requests
        ), "a counter and its scale come from one request"
    answers = {request: bank.words(request) for request in requests}
    values = {value.channel: value for value in values_in(register_map, GROUPS, answers)}
    shown = meter.snapshot()
    assert in_units(values[Channel.IMPORT_WH]) == shown.register_wh
    assert in_units(values[Channel.EXPORT_WH]) == 0
    assert in_units(values[Channel.POWER_W]) == shown.power_w
    assert abs(in_units(values[Channel.VOLTAGE_L1_MV]) - shown.voltage_mv[0]) <= 100
    assert abs(in_units(values[Channel.CURRENT_L1_MA]) - shown.current_ma[0]) <= 10
    assert abs(in_units(values[Channel.FREQUENCY_MHZ]) - shown.frequency_mhz) <= 10
    assert (Channel.VOLTAGE_L3_MV in values) == (phases == 3), "8000h and NaN are absent, not 0"
    assert identity_in(register_map, answers) == meter.spec.serial


def described(*blocks, base=40000):
    words = {base: 0x5375, base + 1: 0x6E53}
    place = base + 2
    for number, length in blocks:
        words[place], words[place + 1] = number, length
        place += 2 + length
    return lambda r: [words.get(a, 0) for a in range(r.address, r.address + r.count)]


@pytest.mark.parametrize(
    ("ask", "code"),
    [
        (lambda request: None, "sunspec.absent"),
        (lambda request: [0] * request.count, "sunspec.absent"),
        (described((1, 66), (0xFFFF, 0)), "sunspec.no_meter"),
        (described((0xFFFF, 0)), "sunspec.no_meter"),
        (described((203, 104), (0xFFFF, 0)), "sunspec.shape"),
        (described((1, 0)), "sunspec.shape"),
        (described((1, 0xFFF0)), "sunspec.shape"),
    ],
)
def test_a_description_that_leads_nowhere_is_told(ask, code):
    with pytest.raises(PeerError) as caught:
        walk(ask)
    assert caught.value.code == code


def test_integers_are_preferred_to_floats_that_lose_watt_hours():
    found, _ = walk(described((213, 124), (203, 105), (0xFFFF, 0)))
    assert found.meter.id == 203


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_any_answers_end_the_walk_in_a_meter_or_a_peer_error(data):
    def ask(request):
        kind = data.draw(st.sampled_from(["words", "none", "short", "marker", "meter"]))
        match kind:
            case "none":
                return None
            case "marker":
                return [0x5375, 0x6E53] + [0] * (request.count - 2)
            case "meter":
                return [203, 105] + [0] * (request.count - 2)
            case "short":
                return [0] * data.draw(st.integers(0, request.count))
        return data.draw(
            st.lists(st.integers(0, 0xFFFF), min_size=request.count, max_size=request.count)
        )

    try:
        found, asked = walk(ask)
    except PeerError:
        return
    assert len(asked) < 80
    map_of(found)


def test_an_absent_value_is_absent_and_a_missing_scale_too():
    block = Model(id=201, address=100, length=105)
    meter = SunSpecMeter(maker="", type="", serial="", models=(block,), meter=block, common=None)
    register_map = map_of(meter)
    words = [0] * 107
    words[0] = 201
    words[16], words[17] = 0x8000, 0xFFFE  # frequency absent
    words[18], words[22] = 1234, 0x8000  # power without a scale
    words[8], words[15] = 2301, 0xFFFF
    words[46:48] = encode(WordType.ACC32, 0xFFFF_FFFF, WordOrder.BIG)
    answers = {
        r: words[r.address - 100 : r.address - 100 + r.count]
        for r in requests_for(register_map, GROUPS)
    }
    values = {value.channel: in_units(value) for value in values_in(register_map, GROUPS, answers)}
    assert Channel.FREQUENCY_MHZ not in values
    assert Channel.POWER_W not in values
    assert values[Channel.VOLTAGE_L1_MV] == 230_100
    assert values[Channel.IMPORT_WH] == 0xFFFF_FFFF
