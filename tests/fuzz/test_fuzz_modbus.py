"""Whatever octets arrive, Modbus decoders parse them or raise their typed errors."""

from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import PeerError
from protocols.modbus.pdu import FrameReader, RequestRefusedError, read_request
from protocols.modbus.plan import identity_in, requests_for, values_in
from protocols.modbus.registers import MapError, load_map, parse_map, shipped_models
from protocols.modbus.scaling import WordOrder, WordType, decode

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


@given(st.text(max_size=200))
def test_any_text_is_a_map_or_a_map_error(text):
    try:
        parse_map(text)
    except MapError:
        return
