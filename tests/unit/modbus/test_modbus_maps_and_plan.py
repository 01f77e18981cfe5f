"""Register maps are checked field by field; the plan asks little and never tears a value."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import PeerError
from protocols.modbus.plan import ReadRequest, Value, identity_in, requests_for, values_in
from protocols.modbus.registers import MapError, load_map, parse_map, shipped_models
from protocols.modbus.scaling import WordOrder, WordType, encode, registers_of
from protocols.reading import Channel

HEAD = """
model: bench
source: none, made up for this test
probe: {fc: 3, address: 0x10, type: u16, expect: [45, 65]}
serial: {baud: 9600, parity: N, gap_ms: 60, timeout_ms: 300}
max_registers: 20
"""
ENERGY = '{obis: "1-0:1.8.0*255", fc: 3, address: 0, type: u32, scale: -2, unit: kWh}'


def bench(*points, extra=""):
    lines = "\n".join(f"  - {point}" for point in points)
    return parse_map(f"{HEAD}{extra}\npoints:\n{lines}")


@pytest.mark.req("A9")
@pytest.mark.parametrize("model", shipped_models())
def test_every_shipped_map_loads_and_reads_energy_and_power(model):
    found = load_map(model)
    channels = {point.channel for point in found.points}
    assert {Channel.IMPORT_WH, Channel.POWER_W, Channel.VOLTAGE_L1_MV} <= channels
    for request in requests_for(found, ("fast", "slow")):
        assert 1 <= request.count <= found.max_registers


@pytest.mark.req("A9")
def test_at_least_two_makes_are_shipped():
    assert {"sdm630", "abb_b23"} <= set(shipped_models())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD + "points: []", "points"),
        (HEAD.replace("9600", "-1") + f"points: [{ENERGY}]", "serial.baud"),
        (HEAD + f"points: [{ENERGY}, {ENERGY}]", "listed twice"),
        (HEAD + "points: [" + ENERGY.replace("1.8.0", "9.9.9") + "]", "no channel of ours"),
        (HEAD + "points: [" + ENERGY.replace("kWh", "V") + "]", "cannot be in 'V'"),
        (HEAD + "points: [" + ENERGY.replace("address: 0", "address: 0xFFFF") + "]", "runs past"),
        (HEAD + "points: [" + ENERGY.replace("fc: 3", "fc: 6") + "]", "fc"),
        (HEAD + f"holes: [[1, 4]]\npoints: [{ENERGY}]", "declared hole"),
        (HEAD + "points: [" + ENERGY.replace("scale: -2", "float_scale: -1") + "]", "float_scale"),
        (HEAD.replace("u16, expect", "u16, scale: 1, expect") + f"points: [{ENERGY}]", "probe"),
        (HEAD + f"speed: 3\npoints: [{ENERGY}]", "speed"),
        ("- just\n- a list", "map"),
        ("{", "not YAML"),
    ],
)
def test_a_wrong_map_is_refused_naming_the_field(text, message):
    with pytest.raises(MapError, match=message):
        parse_map(text)


def test_an_unknown_model_is_refused_naming_those_we_have():
    with pytest.raises(MapError, match="abb_b23"):
        load_map("../secrets")


def test_neighbours_travel_together_and_holes_and_limits_part_them():
    power = '{obis: "1-0:1.7.0*255", fc: 3, address: 10, type: i32, unit: W}'
    volt = '{obis: "1-0:32.7.0*255", fc: 3, address: 14, type: u16, scale: -1, unit: V}'
    together = requests_for(bench(ENERGY, power, volt), ("fast",))
    assert together == (ReadRequest(fc=3, address=0, count=17),)  # the probe at 16 too
    parted = requests_for(bench(ENERGY, power, volt, extra="holes: [[4, 6]]"), ("fast",))
    assert [(r.address, r.count) for r in parted] == [(0, 2), (10, 7)]
    far = power.replace("10", "11")
    assert [r.address for r in requests_for(bench(ENERGY, far), ("fast",))] == [0, 11]
    small = bench(ENERGY, power, volt).model_copy(update={"max_registers": 12})
    assert [(r.address, r.count) for r in requests_for(small, ("fast",))] == [(0, 12), (14, 3)]


@given(
    st.lists(
        st.tuples(st.integers(0, 300), st.sampled_from([WordType.U16, WordType.U32, WordType.U64])),
        min_size=1, max_size=8,
    ),
    st.integers(4, 60),
)  # fmt: skip
def test_a_value_lies_whole_in_one_request(places, limit):
    channels = ["1.7.0", "32.7.0", "52.7.0", "72.7.0", "31.7.0", "51.7.0", "71.7.0", "14.7.0"]
    units = ["W", "V", "V", "V", "A", "A", "A", "Hz"]
    points = [
        f'{{obis: "1-0:{code}*255", fc: 3, address: {address}, type: {kind.value}, unit: {unit}}}'
        for code, unit, (address, kind) in zip(channels, units, places, strict=False)
    ]
    found = bench(*points).model_copy(update={"max_registers": limit})
    requests = requests_for(found, ("fast",))
    for point in (*found.points, found.probe):
        assert any(
            r.address <= point.address and point.end <= r.address + r.count for r in requests
        )
    longest = max(registers_of(point.type) for point in found.points)
    # values that overlap one another in a careless map may still not exceed the model's limit
    assert all(request.count <= max(limit, longest) for request in requests)


def test_values_carry_raw_and_scaler_in_channel_units():
    found = load_map("abb_b23")
    answers = {r: [0] * r.count for r in requests_for(found, ("fast", "slow"))}
    put(answers, 3, 0x5000, encode(WordType.U64, 1_234_567, WordOrder.BIG))
    put(answers, 3, 0x5004, (0xFFFF,) * 4)
    put(answers, 3, 0x5B14, encode(WordType.I32, -250_00, WordOrder.BIG))
    put(answers, 3, 0x5B00, encode(WordType.U32, 2301, WordOrder.BIG))
    put(answers, 3, 0x8900, encode(WordType.U32, 31_000_001, WordOrder.BIG))
    values = {value.channel: value for value in values_in(found, ("fast", "slow"), answers)}
    assert values[Channel.IMPORT_WH] == Value(channel=Channel.IMPORT_WH, raw=1_234_567, scaler=1)
    assert Channel.EXPORT_WH not in values, "all ones mean that the meter has no such value"
    assert values[Channel.POWER_W].raw * 10 ** values[Channel.POWER_W].scaler == -250
    assert values[Channel.VOLTAGE_L1_MV].raw * 10**2 == 230_100
    assert identity_in(found, answers) == "31000001"


def test_a_scale_register_beside_the_value_is_read_and_used():
    point = ENERGY.replace("scale: -2", "scale: 0, scale_from: 4")
    found = bench(point)
    (request, _) = requests_for(found, ("fast",))
    assert (request.address, request.count) == (0, 5)
    probe = ReadRequest(fc=3, address=16, count=1)
    told = values_in(found, ("fast",), {request: [0, 77, 0, 0, 0xFFFE], probe: [50]})
    assert told == (Value(channel=Channel.IMPORT_WH, raw=77, scaler=1),)
    assert values_in(found, ("fast",), {request: [0, 77, 0, 0, 0x8000], probe: [50]}) == ()


def test_a_short_answer_is_refused():
    found = load_map("sdm630")
    answers = {r: [0] * (r.count - 1) for r in requests_for(found, ("fast", "slow"))}
    with pytest.raises(PeerError, match=r"modbus\.shape"):
        values_in(found, ("fast",), answers)
    with pytest.raises(PeerError, match="no answer covers"):
        identity_in(found, {})


def put(answers, fc, address, words):
    for request, found in answers.items():
        if request.fc == fc and request.address <= address < request.address + request.count:
            start = address - request.address
            found[start : start + len(words)] = words
            return
    raise AssertionError(f"no request covers {address:#x}")
