"""Words to integers and back, whatever the words."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import PeerError
from protocols.modbus.scaling import WordOrder, WordType, decode, encode, is_float, registers_of

_BOUNDS = {
    WordType.U16: (0, 2**16 - 1),
    WordType.I16: (-(2**15), 2**15 - 1),
    WordType.U32: (0, 2**32 - 1),
    WordType.I32: (-(2**31), 2**31 - 1),
    WordType.U64: (0, 2**64 - 1),
    WordType.I64: (-(2**63), 2**63 - 1),
    WordType.ACC32: (0, 2**32 - 1),
    WordType.BCD32: (0, 99_999_999),
}


@given(st.data(), st.sampled_from(sorted(_BOUNDS)), st.sampled_from(list(WordOrder)))
def test_integers_come_back_as_sent(data, kind, order):
    raw = data.draw(st.integers(*_BOUNDS[kind]))
    words = encode(kind, raw, order)
    assert len(words) == registers_of(kind)
    assert decode(kind, words, order) == raw


@given(st.integers(0, 16_383_999), st.sampled_from(list(WordOrder)))
def test_f32_energy_in_kwh_is_exact_to_the_watt_hour_below_16_384_kwh(wh, order):
    assert decode(WordType.F32, encode(WordType.F32, wh, order, resolution=-3), order,
                  resolution=-3) == wh  # fmt: skip


def test_f32_loses_watt_hours_above_as_the_handbook_warns():
    wh = 2**24 + 1
    words = encode(WordType.F32, wh, WordOrder.BIG, resolution=0)
    assert decode(WordType.F32, words, WordOrder.BIG) == wh - 1


@pytest.mark.parametrize(
    ("value", "resolution", "raw"),
    [(230.06, -1, 2301), (0.5, 0, 1), (-0.5, 0, -1), (1.5, 0, 2), (1250.0, 2, 13), (0.0, -3, 0)],
)
def test_a_float_is_rounded_once_half_away_from_zero(value, resolution, raw):
    words = struct.unpack(">2H", struct.pack(">f", value))
    assert decode(WordType.F32, words, WordOrder.BIG, resolution=resolution) == raw


def test_words_of_a_document_example_decode_in_both_orders():
    # 230.2 V as Eastron's protocol document prints it: 43 66 33 34
    assert decode(WordType.F32, (0x4366, 0x3334), WordOrder.BIG, resolution=-1) == 2302
    assert decode(WordType.F32, (0x3334, 0x4366), WordOrder.LITTLE, resolution=-1) == 2302


def test_not_a_number_is_no_value_and_infinity_is_a_broken_meter():
    assert decode(WordType.F32, (0x7FC0, 0), WordOrder.BIG) is None
    with pytest.raises(PeerError, match=r"modbus\.value"):
        decode(WordType.F32, (0x7F80, 0), WordOrder.BIG)
    with pytest.raises(PeerError, match=r"modbus\.value"):
        decode(WordType.BCD32, (0x12A4, 0x5678), WordOrder.BIG)


@pytest.mark.parametrize("words", [(), (1,), (1, 2, 3), (1, 65_536), (-1, 0)])
def test_a_wrong_number_of_words_or_no_word_is_refused(words):
    with pytest.raises(PeerError, match=r"modbus\.shape"):
        decode(WordType.U32, words, WordOrder.BIG)


@pytest.mark.parametrize(
    ("kind", "raw"),
    [(WordType.U16, 65_536), (WordType.U32, -1), (WordType.BCD32, 10**8), (WordType.I16, 40_000)],
)
def test_what_does_not_fit_is_not_sent(kind, raw):
    with pytest.raises(ValueError, match="fit"):
        encode(kind, raw, WordOrder.BIG)


def test_only_the_ieee_types_are_rounded():
    assert [kind for kind in WordType if is_float(kind)] == [WordType.F32, WordType.F64]
