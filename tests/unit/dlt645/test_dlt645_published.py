"""
Frames that others have published, to the values they tell.

*Source*: "DL/T 645-2007, common frames" (the meter 000000000161, read and answered); a converter
maker's forum (652022122003 and 652022122018); a tutorial on both editions (000102030425); a meter
programmer's log (001500076004). Sums are those of the sources.
"""

import pytest

from protocols.dlt645.frame import WILDCARD, Control, decode_address, decode_frame, encode_frame
from protocols.dlt645.items import ITEMS, decode_fields, split_di

REQUESTS = {
    "import": ("68 61 01 00 00 00 00 68 11 04 33 33 34 33 14 16", 0x00010000),
    "export": ("68 61 01 00 00 00 00 68 11 04 33 33 35 33 15 16", 0x00020000),
    "reactive-1": ("68 61 01 00 00 00 00 68 11 04 33 33 36 33 16 16", 0x00030000),
    "reactive-2": ("68 61 01 00 00 00 00 68 11 04 33 33 37 33 17 16", 0x00040000),
    "voltage-a": ("68 61 01 00 00 00 00 68 11 04 33 34 34 35 17 16", 0x02010100),
    "current-a": ("68 61 01 00 00 00 00 68 11 04 33 34 35 35 18 16", 0x02020100),
    "combined": ("68 03 20 12 22 20 65 68 11 04 33 33 33 33 8D 16", 0x00000000),
    "voltages": ("FE FE FE FE 68 18 20 12 22 20 65 68 11 04 33 32 34 35 A4 16", 0x0201FF00),
    "import-other": ("68 25 04 03 02 01 00 68 11 04 33 33 34 33 E1 16", 0x00010000),
    "import-last": ("68 04 60 07 00 15 00 68 11 04 33 33 34 33 32 16", 0x00010000),
}
# what the answer holds: 0.01 kWh is ten watt-hours, 0.1 V a hundred millivolts
ANSWERS = {
    "import": ("68 61 01 00 00 00 00 68 91 08 33 33 34 33 59 33 33 33 8A 16", (26,), 1),
    "export": ("68 61 01 00 00 00 00 68 91 08 33 33 35 33 59 34 33 33 8C 16", (126,), 1),
    "import-other": ("68 25 04 03 02 01 00 68 91 08 33 33 34 33 75 39 45 33 8B 16", (120_642,), 1),
    "voltage-a": ("68 61 01 00 00 00 00 68 91 06 33 34 34 35 34 43 10 16", (1001,), 2),
    "voltages": (
        "FE FE FE FE 68 18 20 12 22 20 65 68 91 0A 33 32 34 35 33 33 33 33 C7 56 13 16",
        (0, 0, 2394), 2,
    ),
}  # fmt: skip
# items that we do not read: their octets are told, least digit first
OTHERS = {
    "reactive-1": ("68 61 01 00 00 00 00 68 91 08 33 33 36 33 59 33 34 33 8D 16", "26000100"),
    "reactive-2": ("68 61 01 00 00 00 00 68 91 08 33 33 37 33 56 33 34 33 8B 16", "23000100"),
    "combined": (
        "68 03 20 12 22 20 65 68 91 08 33 33 33 33 33 33 33 33 DD 16", "00000000",
    ),
}  # fmt: skip


def wire(text):
    return bytes.fromhex(text)


@pytest.mark.req("A9")
@pytest.mark.parametrize("name", REQUESTS)
def test_a_published_question_is_read_and_written_octet_for_octet(name):
    text, di = REQUESTS[name]
    frame = decode_frame(wire(text))
    assert (frame.control, split_di(frame.content)) == (Control.READ, (di, b""))
    assert encode_frame(frame) == wire(text).lstrip(b"\xfe")


@pytest.mark.req("A9")
@pytest.mark.parametrize("name", ANSWERS)
def test_a_published_answer_tells_its_published_value(name):
    text, values, scaler = ANSWERS[name]
    asked, answered = decode_frame(wire(REQUESTS[name][0])), decode_frame(wire(text))
    assert answered.address == asked.address
    assert answered.is_answer
    di, rest = split_di(answered.content)
    assert di == REQUESTS[name][1]
    assert decode_fields(ITEMS[di], rest) == values
    assert ITEMS[di].scaler == scaler


@pytest.mark.parametrize("name", OTHERS)
def test_a_published_answer_of_an_item_that_we_do_not_read(name):
    text, content = OTHERS[name]
    frame = decode_frame(wire(text))
    assert split_di(frame.content) == (REQUESTS[name][1], bytes.fromhex(content))
    assert encode_frame(frame) == wire(text)


def test_the_published_search_for_an_address_and_its_answer():
    asked = decode_frame(wire("FE FE FE 68 AA AA AA AA AA AA 68 13 00 DF 16"))
    assert (asked.address, asked.control) == (WILDCARD, Control.READ_ADDRESS)
    told = decode_frame(wire("FE FE FE FE 68 04 60 07 00 15 00 68 93 06 37 93 3A 33 48 33 9B 16"))
    assert decode_address(told.content) == told.address == "001500076004"
