"""Whatever octets arrive, Modbus decoders parse them or raise their typed errors."""

import time
from importlib.resources import files

from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import PeerError
from protocols.modbus.pdu import FrameReader, RequestRefusedError, read_request
from protocols.modbus.plan import ReadRequest, identity_in, requests_for, values_in
from protocols.modbus.registers import MapError, load_map, parse_map, shipped_models
from protocols.modbus.rtu import RtuRead
from protocols.modbus.scaling import WordOrder, WordType, decode
from tests.fuzz.decoders import SLOWEST_SECONDS

WORD = st.integers(0, 0xFFFF)


@given(st.lists(st.binary(max_size=300), max_size=6))
@settings(max_examples=300)
def test_any_stream_is_frames_or_a_peer_error(chunks):
    reader = FrameReader()
    try:
        for chunk in chunks:
            for frame in reader.feed(chunk):
                try:
                    read_request(frame.pdu)
                except RequestRefusedError:
                    continue
    except PeerError:
        return


@given(
    st.sampled_from(list(WordType)), st.lists(WORD, max_size=5), st.sampled_from(list(WordOrder)),
    st.integers(-18, 18),
)  # fmt: skip
@settings(max_examples=500)
def test_any_words_decode_or_are_a_peer_error(kind, words, order, resolution):
    try:
        raw = decode(kind, words, order, resolution=resolution)
    except PeerError:
        return
    assert raw is None or type(raw) is int


@given(st.sampled_from(shipped_models()), st.data())
@settings(max_examples=150)
def test_any_answers_give_values_or_a_peer_error(model, data):
    found = load_map(model)
    answers = {}
    for request in requests_for(found, ("fast", "slow")):
        size = data.draw(st.sampled_from([request.count, request.count, request.count - 1, 0]))
        answers[request] = data.draw(st.lists(WORD, min_size=size, max_size=size))
    try:
        values = values_in(found, ("fast", "slow"), answers)
        identity_in(found, answers)
    except PeerError:
        return
    assert all(type(value.raw) is int for value in values)


@st.composite
def damaged_maps(draw):
    """A shipped map with a few characters changed, lines lost, or lines repeated."""
    model = draw(st.sampled_from(shipped_models()))
    text = (files("protocols.modbus") / "meters" / f"{model}.yaml").read_text(encoding="utf-8")
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(text)))
        match draw(st.sampled_from(["insert", "cut", "line", "swap"])):
            case "insert":
                text = text[:place] + draw(st.text(max_size=5)) + text[place:]
            case "cut":
                text = text[:place] + text[place + draw(st.integers(1, 40)) :]
            case "line":
                lines = text.splitlines(keepends=True)
                text = "".join(lines) + draw(st.sampled_from(lines or [""]))
            case "swap":
                text = text.replace(*draw(st.sampled_from(_SWAPS)), 1)
    return text


_SWAPS = (
    (":", ""), ("{", "["), ("0x", "0y"), ("f32", "f99"), ("fc: 4", "fc: four"), ("}", ""),
    ("scale: -", "scale: 1e"), ("model:", "model: &x"), ("points", "pints"), ("-", "*x"),
)  # fmt: skip


@given(damaged_maps())
@settings(max_examples=200, deadline=None)
def test_a_damaged_map_is_a_map_or_an_error_with_file_and_fix(text):
    told = None
    try:
        parse_map(text, source="street.yaml")
    except MapError as error:
        told = error
    if told is not None:
        assert told.source == "street.yaml"
        assert told.fix
        assert str(told).startswith("street.yaml: ")


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=1024),
            st.sampled_from([b"\x01\x04\xfa" * 341, b"\x01\x04" * 512, b"\x01\x84" * 512]),
        ),
        max_size=5,
    ),
    st.integers(1, 125),
)
@settings(max_examples=150, deadline=None)
def test_any_octets_on_a_serial_line_are_searched_in_bounded_time(chunks, count):
    read = RtuRead(unit=1, request=ReadRequest(fc=4, address=0, count=count))

    def slowest() -> float:
        search, slow = read.search(), 0.0
        for chunk in chunks:
            began = time.thread_time()
            found = search.feed(chunk)
            slow = max(slow, time.thread_time() - began)
            if found is not None:
                assert found.exception or len(found.words) == count
                break
        return slow

    # a collection of garbage may fall into one run, not into both
    assert slowest() < SLOWEST_SECONDS or slowest() < SLOWEST_SECONDS


@given(st.text(max_size=200))
def test_any_text_is_a_map_or_a_map_error(text):
    try:
        parse_map(text)
    except MapError:
        return
