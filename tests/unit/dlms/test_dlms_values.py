"""A-XDR: everything written comes back, everything too much is refused."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dlms.axdr import LIMITS, Limits, decode, decode_whole, encode
from protocols.dlms.leaf import read_length, write_length
from protocols.dlms.values import (
    NULL,
    BitString,
    Tag,
    Value,
    array,
    as_integer,
    as_items,
    as_octets,
    as_text,
    octet_string,
    structure,
    unsigned,
)
from protocols.errors import PeerError


def integers(tag, bits, *, signed):
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    return st.integers(low, high).map(lambda number: Value(int(tag), number))


LEAVES = st.one_of(
    st.just(NULL),
    st.booleans().map(lambda truth: Value(Tag.BOOLEAN, truth)),
    integers(Tag.INTEGER, 8, signed=True),
    integers(Tag.BCD, 8, signed=True),
    integers(Tag.LONG, 16, signed=True),
    integers(Tag.DOUBLE_LONG, 32, signed=True),
    integers(Tag.LONG64, 64, signed=True),
    integers(Tag.UNSIGNED, 8, signed=False),
    integers(Tag.ENUM, 8, signed=False),
    integers(Tag.LONG_UNSIGNED, 16, signed=False),
    integers(Tag.DOUBLE_LONG_UNSIGNED, 32, signed=False),
    integers(Tag.LONG64_UNSIGNED, 64, signed=False),
    st.floats(width=32, allow_nan=False).map(lambda number: Value(Tag.FLOAT32, number)),
    st.floats(allow_nan=False).map(lambda number: Value(Tag.FLOAT64, number)),
    st.binary(max_size=300).map(lambda text: Value(Tag.OCTET_STRING, text)),
    st.text(string.printable, max_size=40).map(lambda text: Value(Tag.VISIBLE_STRING, text)),
    st.text(max_size=40).map(lambda text: Value(Tag.UTF8_STRING, text)),
    st.binary(min_size=12, max_size=12).map(lambda text: Value(Tag.DATE_TIME, text)),
    st.binary(min_size=5, max_size=5).map(lambda text: Value(Tag.DATE, text)),
    st.binary(min_size=4, max_size=4).map(lambda text: Value(Tag.TIME, text)),
    st.binary(max_size=40).flatmap(
        lambda octets: st.integers(max(0, len(octets) * 8 - 7), len(octets) * 8).map(
            lambda bits: Value(Tag.BIT_STRING, BitString(bits, octets))
        )
    ),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=5).flatmap(
        lambda items: st.sampled_from([array(items), structure(*items)])
    ),
    max_leaves=40,
)


@given(VALUES)
def test_what_is_written_is_read_again(value):
    assert decode_whole(encode(value)) == value


@given(VALUES, st.binary(max_size=8))
def test_the_end_of_a_value_is_found(value, rest):
    octets = encode(value)
    assert decode(octets + rest) == (value, len(octets))


@given(VALUES)
def test_no_beginning_of_a_value_is_a_value(value):
    octets = encode(value)
    for end in range(len(octets)):
        with pytest.raises(PeerError):
            decode_whole(octets[:end])


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=20)), min_size=1, max_size=20))
def test_compact_arrays(rows):
    items = tuple(structure(unsigned(number), octet_string(text)) for number, text in rows)
    value = Value(int(Tag.COMPACT_ARRAY), items)
    assert decode_whole(encode(value)) == value
    nested = structure(value, array([unsigned(1)]), value)
    assert decode_whole(encode(nested)) == nested


def test_a_compact_array_of_arrays():
    items = tuple(array([unsigned(n), unsigned(n + 1)]) for n in range(3))
    value = Value(int(Tag.COMPACT_ARRAY), items)
    assert encode(value) == bytes.fromhex("13 01 0002 11 06 000101020203")
    assert decode_whole(encode(value)) == value


@pytest.mark.parametrize(
    "items", [(), (unsigned(1), NULL), (NULL, NULL), (array([]),), (array([NULL, unsigned(1)]),)]
)
def test_what_has_no_one_shape_is_no_compact_array(items):
    with pytest.raises(ValueError, match=r"compact|octets"):
        encode(Value(int(Tag.COMPACT_ARRAY), items))


@given(st.integers(0, 2**32 - 1))
def test_lengths(length):
    octets = write_length(length)
    assert read_length(octets, 0) == (length, len(octets))


def test_lengths_beyond_127_have_a_length_octet():
    assert write_length(127) == b"\x7f"
    assert write_length(128) == b"\x81\x80"
    assert write_length(300) == b"\x82\x01\x2c"
    assert encode(octet_string(bytes(200)))[:3] == b"\x09\x81\xc8"
    for indefinite in (b"\x80", b"\x85\0\0\0\0\0"):
        with pytest.raises(PeerError, match="definite"):
            read_length(indefinite, 0)


@pytest.mark.parametrize(
    ("octets", "code"),
    [
        (b"", "dlms.truncated"),
        (b"\x06\0\0", "dlms.truncated"),
        (b"\x09\x05ab", "dlms.truncated"),
        (b"\x02\x05\x00\x00", "dlms.truncated"),
        (b"\x01\x84\xff\xff\xff\xff", "dlms.truncated"),
        (b"\x07", "dlms.tag"),
        (b"\xfe", "dlms.tag"),
        (b"\x0c\x01\xff", "dlms.text"),
        (b"\x02\x01" * 17 + b"\0", "dlms.too_deep"),
        (b"\0\0", "dlms.trailing"),
        (b"\x13\x00\x02\0\0", "dlms.length"),
        (b"\x13\x13\x00", "dlms.tag"),
        (b"\x13" + b"\x01\x00\x01" * 10 + b"\x11\x01\0", "dlms.too_deep"),
        (b"\x13\x01\xff\xff\x00\x01\0", "dlms.too_many"),
        (b"\x13\x02\x82\xff\xff" + b"\0" * 65535 + b"\x01\0", "dlms.too_many"),
    ],
)
def test_bad_octets_have_a_name(octets, code):
    with pytest.raises(PeerError) as refused:
        decode_whole(octets)
    assert refused.value.code == code


def test_the_number_of_elements_is_bounded():
    many = encode(array([NULL] * 50))
    assert decode(many, limits=Limits(elements=50))[0] == array([NULL] * 50)
    with pytest.raises(PeerError, match="elements"):
        decode(many, limits=Limits(elements=49))
    assert LIMITS.depth == 16


@pytest.mark.parametrize(
    "value",
    [
        Value(Tag.UNSIGNED, 256),
        Value(Tag.INTEGER, "1"),
        Value(Tag.OCTET_STRING, "text"),
        Value(Tag.UTF8_STRING, b"octets"),
        Value(99, 1),
    ],
)
def test_what_does_not_fit_its_tag_is_our_own_mistake(value):
    with pytest.raises(ValueError, match=r"data type"):
        encode(value)


def test_another_type_than_expected_is_the_peers_fault():
    for opener in (as_integer, as_octets, as_items, as_text):
        with pytest.raises(PeerError) as refused:
            opener(NULL)
        assert refused.value.code == "dlms.type"
    with pytest.raises(PeerError):
        as_items(structure(NULL), count=2)
    assert as_text(octet_string(b"M-000042")) == "M-000042"
