"""
Frames on the line.

PUBLISHED frames stand, octet for octet, in tutorials and meter manuals on the web; HAND frames
were computed from the standard's rules by hand (address low octet first, + 33h, sum).
"""

import pytest

from protocols.dlt645.frame import (
    BROADCAST,
    WILDCARD,
    Control,
    Frame,
    FrameReader,
    decode_frame,
    encode_address,
    encode_frame,
)
from protocols.errors import PeerError

PUBLISHED = [
    # who is alone on the line?
    ("68 AA AA AA AA AA AA 68 13 00 DF 16", WILDCARD, Control.READ_ADDRESS, ""),
    # import total of whoever is there
    ("68 AA AA AA AA AA AA 68 11 04 33 33 34 33 AE 16", WILDCARD, Control.READ, "00000100"),
    # import total of meter 161, and its answer: 0.26 kWh
    ("68 61 01 00 00 00 00 68 11 04 33 33 34 33 14 16", "000000000161", Control.READ, "00000100"),
    ("68 61 01 00 00 00 00 68 91 08 33 33 34 33 59 33 33 33 8A 16", "000000000161", 0x91,
     "00000100 26000000"),
    # voltage of phase A, and its answer: 100.1 V
    ("68 61 01 00 00 00 00 68 11 04 33 34 34 35 17 16", "000000000161", Control.READ, "00010102"),
    ("68 61 01 00 00 00 00 68 91 06 33 34 34 35 34 43 10 16", "000000000161", 0x91,
     "00010102 0110"),
]  # fmt: skip
HAND = [
    # broadcast time 2026-11-21 09:30:05
    ("68 99 99 99 99 99 99 68 08 06 38 63 3C 54 44 59 3C 16", BROADCAST, Control.BROADCAST_TIME,
     "053009211126"),
    # a refusal: no such item
    ("68 12 90 78 56 34 12 68 D1 01 35 8D 16", "123456789012", 0xD1, "02"),
]  # fmt: skip


@pytest.mark.req("A9")
@pytest.mark.parametrize(("octets", "address", "control", "data"), PUBLISHED + HAND)
def test_a_known_frame_is_read_and_written_octet_for_octet(octets, address, control, data):
    frame = Frame(address=address, control=int(control), content=bytes.fromhex(data))
    assert decode_frame(bytes.fromhex(octets)) == frame
    assert encode_frame(frame) == bytes.fromhex(octets)
    assert decode_frame(bytes.fromhex("FEFEFEFE" + octets.replace(" ", ""))) == frame


GOOD = bytes.fromhex("68610100000000689108333334335933333 38A16".replace(" ", ""))


@pytest.mark.parametrize(
    ("spoilt", "code"),
    [
        (GOOD[:11], "dlt645.short"),
        (b"\x67" + GOOD[1:], "dlt645.start"),
        (GOOD[:7] + b"\x00" + GOOD[8:], "dlt645.start"),
        (GOOD[:9] + b"\x07" + GOOD[10:], "dlt645.length"),
        (GOOD[:-2] + b"\x8b\x16", "dlt645.checksum"),
        (GOOD[:-1] + b"\x17", "dlt645.end"),
        (b"\x68\x6f" + GOOD[2:-2] + b"\x98\x16", "dlt645.address"),
    ],
)
def test_a_spoilt_frame_says_what_is_wrong(spoilt, code):
    with pytest.raises(PeerError) as error:
        decode_frame(spoilt)
    assert error.value.code == code


@pytest.mark.parametrize("noise", [b"", b"\x00\xff", b"\x68", b"\x68\x68\x16", GOOD[:13], GOOD[1:]])
def test_a_frame_is_found_behind_noise_and_split_anywhere(noise):
    for cut in range(len(GOOD) + 1):
        reader = FrameReader()
        stream = noise + b"\xfe\xfe" + GOOD
        found = reader.feed(stream[: len(noise) + cut]) + reader.feed(stream[len(noise) + cut :])
        # what looks like the start of a longer frame is given up once more octets have come
        found = found or reader.feed(bytes(300))
        assert [frame.content for frame in found] == [bytes.fromhex("0000010026000000")]


def test_frames_glued_together_are_two():
    assert len(FrameReader().feed(GOOD + GOOD)) == 2


def test_what_never_ends_is_given_up():
    reader = FrameReader()
    for _ in range(400):
        assert reader.feed(b"\x68" * 97) == []
    assert len(reader.pending) < 4096
    assert reader.skipped > 10_000


@pytest.mark.parametrize("address", ["1234567890123", "12345678901A", "A12345678901", "x"])
def test_an_address_that_cannot_be_is_refused(address):
    with pytest.raises(ValueError, match="12 digits"):
        encode_address(address)


def test_a_short_address_and_a_shortened_one():
    assert encode_address("161").hex() == "610100000000"
    assert encode_address("AAAAAAAA1234").hex() == "3412aaaaaaaa"
