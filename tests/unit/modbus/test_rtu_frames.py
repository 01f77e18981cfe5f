"""RTU framing: published frames, and the answer found among whatever surrounds it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.modbus.pdu import exception_answer, read_answer, read_request
from protocols.modbus.plan import ReadRequest
from protocols.modbus.rtu import RequestReader, RtuRead, crc16, framed
from protocols.modbus.scaling import WordOrder, WordType, decode

UNIT = st.integers(1, 247)
WORD = st.integers(0, 0xFFFF)


@st.composite
def reads(draw):
    count = draw(st.integers(1, 125))
    address = draw(st.integers(0, 0x10000 - count))
    return RtuRead(
        unit=draw(UNIT),
        request=ReadRequest(fc=draw(st.sampled_from([3, 4])), address=address, count=count),
    )


def answer_to(read, words):
    return framed(read.unit, read_answer(read.request.fc, words))


def words_for(read):
    return st.lists(WORD, min_size=read.request.count, max_size=read.request.count)


def fed(search, octets, cuts):
    """Feed in pieces; return what was found."""
    places = sorted({cut % (len(octets) + 1) for cut in cuts})
    for start, end in zip([0, *places], [*places, len(octets)], strict=True):
        if (found := search.feed(octets[start:end])) is not None:
            return found
    return None


def test_the_published_crc_and_frames():
    # MODBUS over Serial Line V1.02, 6.2.2: CRC of 02 07 is 1241h, sent low octet first
    assert framed(2, b"\x07") == bytes.fromhex("02 07 41 12")
    assert crc16(b"123456789") == 0x4B37
    # Eastron SDM630 protocol document: read L1 voltage of unit 1, answer 230.2 V
    read = RtuRead(unit=1, request=ReadRequest(fc=4, address=0, count=2))
    assert read.octets == bytes.fromhex("01 04 00 00 00 02 71 CB")
    found = read.search().feed(bytes.fromhex("01 04 04 43 66 33 34 1B 38"))
    assert found is not None
    assert found.words == (0x4366, 0x3334)


# what is asked -> what is answered, and the values that the source gives
PUBLISHED = {
    # Eastron SDM630 protocol document: voltage of phase 1 is 230.2 V
    "sdm630": ("01 04 00 00 00 02 71 CB", "01 04 04 43 66 33 34 1B 38", [23020]),
    # Eastron SDM320Y manual: width of a pulse is 100 ms
    "sdm320y": ("01 03 00 0C 00 02 04 08", "01 03 04 42 C8 00 00 6F B5", [10000]),
    # KBR multicomp F144 manual: 235.35 V, 110.20 A, 50.012 Hz
    "multicomp": (
        "01 04 00 01 00 06 21 C8", "01 04 0C 43 6B 5A B4 42 DC 67 20 42 48 0C 63 AF 7C",
        [23535, 11020, 5001],
    ),
}  # fmt: skip


@pytest.mark.req("A6")
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_exchange_tells_its_published_values(name):
    asked, answered, hundredths = PUBLISHED[name]
    octets = bytes.fromhex(asked)
    assert crc16(octets) == 0
    fc, address, count = octets[1], *(int.from_bytes(octets[at : at + 2], "big") for at in (2, 4))
    read = RtuRead(unit=1, request=ReadRequest(fc=fc, address=address, count=count))
    assert read.octets == octets
    found = read.search().feed(bytes.fromhex(answered))
    pairs = [found.words[at : at + 2] for at in range(0, count, 2)]
    values = [decode(WordType.F32, pair, WordOrder.BIG, resolution=-2) for pair in pairs]
    assert values == hundredths


def test_a_published_exchange_of_one_register():
    # Applent AT381x manual: automatic saving is 1
    read = RtuRead(unit=1, request=ReadRequest(fc=3, address=0x300C, count=1))
    assert read.octets == bytes.fromhex("01 03 30 0C 00 01 4B 09")
    assert read.search().feed(bytes.fromhex("01 03 02 00 01 79 84")).words == (1,)


def test_the_example_of_the_application_protocol():
    """*Source*: MODBUS Application Protocol V1.1b3, 6.3, registers 108 to 110."""
    asked = read_request(bytes.fromhex("03 00 6B 00 03"))
    assert asked == ReadRequest(fc=3, address=107, count=3)
    assert read_answer(3, (0x022B, 0, 0x64)) == bytes.fromhex("03 06 02 2B 00 00 00 64")
    asked = read_request(bytes.fromhex("04 00 08 00 01"))
    assert asked == ReadRequest(fc=4, address=8, count=1)
    assert read_answer(4, (0x000A,)) == bytes.fromhex("04 02 00 0A")


@given(st.data(), reads(), st.lists(st.integers(0, 2**16), max_size=6))
@settings(max_examples=200, deadline=None)
def test_the_answer_is_found_in_any_pieces_behind_any_junk(data, read, cuts):
    words = data.draw(words_for(read))
    foreign = data.draw(
        st.lists(
            st.tuples(UNIT.filter(lambda unit: unit != read.unit), words_for(read)), max_size=2
        )
    )
    before = b"".join(framed(unit, read_answer(read.request.fc, w)) for unit, w in foreign)
    before += data.draw(st.sampled_from([b"", b"\x00", b"\xff", b"\x00\xff\xff"]))
    if data.draw(st.booleans()):
        before = read.octets + before  # the adapter hears what it sends
    found = fed(read.search(), before + answer_to(read, words), cuts)
    assert found is not None
    assert found.words == tuple(words)
    assert found.exception == 0


@given(st.data(), reads(), st.binary(max_size=40), st.lists(st.integers(0, 2**16), max_size=4))
@settings(max_examples=200, deadline=None)
def test_noise_of_any_kind_costs_no_answer(data, read, noise, cuts):
    words = data.draw(words_for(read))
    octets = noise + answer_to(read, words)
    found = fed(read.search(), octets, cuts)
    # noise that is a whole frame for us cannot be made by chance; anything else is stepped over
    assert found is not None
    assert found.words == tuple(words)


@given(st.data(), reads())
@settings(max_examples=200, deadline=None)
def test_one_spoilt_octet_is_never_a_value(data, read):
    frame = bytearray(answer_to(read, data.draw(words_for(read))))
    place = data.draw(st.integers(0, len(frame) - 1))
    frame[place] ^= data.draw(st.integers(1, 255))
    assert read.search().feed(bytes(frame)) is None


@given(st.data(), reads(), reads())
@settings(max_examples=200, deadline=None)
def test_an_answer_of_another_unit_function_or_size_is_none(data, read, other):
    octets = answer_to(other, data.draw(words_for(other)))
    same = (
        read.unit == other.unit
        and read.request.fc == other.request.fc
        and read.request.count == other.request.count
    )
    assert (read.search().feed(octets) is not None) == same


@given(reads(), st.integers(1, 255))
def test_an_exception_is_an_answer_to_its_function_alone(read, code):
    pdu = exception_answer(read.request.fc, code)
    found = read.search().feed(framed(read.unit, pdu))
    assert found is not None
    assert found.exception == code
    other = 7 - read.request.fc
    assert read.search().feed(framed(read.unit, exception_answer(other, code))) is None
    assert read.search().feed(framed(read.unit % 247 + 1, pdu)) is None


@given(st.data(), reads())
@settings(max_examples=100, deadline=None)
def test_what_follows_an_answer_makes_it_doubtful_unless_it_can_be_none_of_ours(data, read):
    words = data.draw(words_for(read))
    frame = answer_to(read, words)
    search = read.search()
    assert search.feed(frame + b"\x00\xff") is not None
    assert search.rest == b"\x00\xff"
    foreign = framed(read.unit % 247 + 1, read_answer(read.request.fc, words))
    assert not search.contradicts(search.rest + foreign + b"\xff")
    assert search.contradicts(frame)
    assert search.contradicts(search.rest + frame[:1] if read.unit not in {0, 255} else frame)
    assert search.contradicts(b"\x55")


def test_a_frame_inside_a_foreign_frame_is_not_ours():
    read = RtuRead(unit=5, request=ReadRequest(fc=3, address=0, count=1))
    inner = answer_to(read, [0x1234])
    outer = framed(9, read_answer(3, [int.from_bytes(inner[i : i + 2], "big") for i in (0, 2, 4)]))
    assert inner[:-1] in outer
    carried = framed(9, bytes((3, 8)) + inner + b"\x00")
    assert read.search().feed(carried) is None


@given(st.lists(st.binary(max_size=400), max_size=8), reads())
@settings(max_examples=300, deadline=None)
def test_any_octets_at_all_are_taken(chunks, read):
    search = read.search()
    for chunk in chunks:
        found = search.feed(chunk)
        if found is not None:
            assert found.exception or len(found.words) == read.request.count
            break


@given(st.lists(reads(), max_size=5), st.binary(max_size=7), st.lists(st.integers(0, 2**16)))
@settings(max_examples=100, deadline=None)
def test_a_meter_finds_the_requests_in_what_it_hears(asked, noise, cuts):
    reader = RequestReader()
    octets = noise + b"".join(read.octets for read in asked)
    places = sorted({cut % (len(octets) + 1) for cut in cuts})
    found = []
    for start, end in zip([0, *places], [*places, len(octets)], strict=True):
        found += reader.feed(octets[start:end])
    assert [(frame.unit, framed(frame.unit, frame.pdu)) for frame in found] == [
        (read.unit, read.octets) for read in asked
    ]
