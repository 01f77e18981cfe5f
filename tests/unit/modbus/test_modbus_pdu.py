"""Frames out of a stream, requests out of frames."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import PeerError
from protocols.modbus.pdu import (
    ExceptionCode,
    Frame,
    FrameReader,
    RequestRefusedError,
    exception_answer,
    frame_octets,
    read_answer,
    read_request,
)
from protocols.modbus.plan import ReadRequest

FRAMES = st.builds(
    Frame,
    transaction=st.integers(0, 65_535),
    unit=st.integers(0, 255),
    pdu=st.binary(min_size=1, max_size=253),
)


@given(st.lists(FRAMES, max_size=5), st.integers(1, 40))
def test_frames_come_out_however_the_stream_is_cut(frames, size):
    stream = b"".join(frame_octets(frame) for frame in frames)
    reader = FrameReader()
    found = []
    for start in range(0, len(stream), size):
        found += reader.feed(stream[start : start + size])
    assert found == frames


@pytest.mark.parametrize(
    "header", [struct.pack(">HHHB", 1, 7, 6, 1), struct.pack(">HHHB", 1, 0, 1, 1),
               struct.pack(">HHHB", 1, 0, 255, 1)],
)  # fmt: skip
def test_what_is_no_modbus_tcp_is_refused(header):
    with pytest.raises(PeerError, match=r"modbus\.frame"):
        FrameReader().feed(header)


def test_a_read_request_is_understood():
    request = read_request(bytes.fromhex("0400480004"))
    assert request == ReadRequest(fc=4, address=0x48, count=4)


@pytest.mark.parametrize(
    ("pdu", "code"),
    [
        ("", ExceptionCode.ILLEGAL_FUNCTION),
        ("0600480004", ExceptionCode.ILLEGAL_FUNCTION),
        ("04004800", ExceptionCode.ILLEGAL_VALUE),
        ("0400480000", ExceptionCode.ILLEGAL_VALUE),
        ("040048007e", ExceptionCode.ILLEGAL_VALUE),
        ("04ffff0002", ExceptionCode.ILLEGAL_ADDRESS),
    ],
)
def test_a_request_that_cannot_be_served_names_its_exception(pdu, code):
    with pytest.raises(RequestRefusedError) as caught:
        read_request(bytes.fromhex(pdu))
    assert caught.value.code is code


def test_answers_are_framed_as_the_specification_shows():
    # Modbus Application Protocol V1.1b3 section 6.3, the example of holding registers 108-110
    assert read_answer(3, (0x022B, 0, 0x64)).hex() == "0306022b00000064"
    assert exception_answer(3, ExceptionCode.ILLEGAL_ADDRESS).hex() == "8302"
