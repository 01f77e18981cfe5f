"""Whatever octets arrive, DL/T 645 decoders parse them or raise `PeerError`, and soon."""

from datetime import datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.dlt645 import exchange, items, records
from protocols.dlt645.frame import (
    Control,
    Frame,
    FrameReader,
    decode_frame,
    encode_frame,
)
from protocols.errors import PeerError
from simulators.meter.dlt645_server import Dlt645Station
from tests.unit.simulators.sim_dlt645_kit import WallMeter

ADDRESS = "123456789012"

addresses = st.integers(0, 10**12 - 1).map(lambda number: f"{number:012d}")
frames = st.builds(
    Frame, address=addresses, control=st.integers(0, 255), content=st.binary(max_size=255)
)


@given(frames, st.integers(0, 4))
@settings(max_examples=300)
def test_any_frame_comes_back(frame, wake):
    octets = encode_frame(frame, wake=wake)
    assert decode_frame(octets) == frame
    assert FrameReader().feed(octets) == [frame]


@given(st.data())
@settings(max_examples=300)
def test_a_spoilt_record_is_a_record_or_a_peer_error(data):
    record = records.LoadRecord(at=datetime(2026, 1, 1), import_raw=12345678)
    octets = bytearray(records.encode_record(record) * 3)
    for _ in range(data.draw(st.integers(1, 4))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    try:
        records.decode_records(bytes(octets))
    except PeerError:
        return


@given(frames, st.lists(st.one_of(st.binary(max_size=80), st.just(b"\x68" * 12)), max_size=6))
@settings(max_examples=300)
def test_a_reader_never_raises_and_finds_its_way_back(frame, chunks):
    reader = FrameReader()
    for chunk in chunks:
        reader.feed(chunk)
    reader.feed(bytes(300))  # no frame is longer: what was begun is over
    assert reader.feed(encode_frame(frame, wake=4)) == [frame]


@given(frames)
@settings(max_examples=500)
def test_any_frame_is_judged_and_its_content_told_or_refused(frame):
    questions = [
        exchange.read(ADDRESS, items.IMPORT.di),
        exchange.read_next(ADDRESS, items.IMPORT.di, 1),
        exchange.read_address(),
        exchange.token(ADDRESS, items.RECHARGE, b"\x01", operator=bytes(4)),
    ]
    for question in questions:
        question.expect.judge(frame)
        try:
            question.expect.content(frame)
        except PeerError as error:
            if not error.code.startswith("dlt645."):
                raise


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_a_meter_answers_any_frame_with_a_frame_or_silence(data):
    meter = WallMeter(data.draw(st.sampled_from(["dlt645_relay", "dlt645_pilot"]))).meter
    station = Dlt645Station(meter)
    known = st.sampled_from([*items.ITEMS, items.DATE, items.TIME, items.STATE_WORD_3,
                             0x06040001, 0x05060101, items.RECHARGE, items.MAX_DEMAND])  # fmt: skip
    for _ in range(3):
        body = data.draw(st.binary(max_size=40))
        if data.draw(st.booleans()):
            body = items.encode_di(data.draw(known)) + body
        elif data.draw(st.booleans()):
            body = meter.spec.password + bytes(4) + body
        frame = Frame(
            address=data.draw(st.sampled_from([meter.spec.serial, "A" * 12, "9" * 12])),
            control=data.draw(st.sampled_from([*Control, 0x00, 0x91, 0x7F])),
            content=body,
        )
        said = station.receive(encode_frame(frame))
        assert not said or decode_frame(said).is_answer
