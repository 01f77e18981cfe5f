"""Damage on a line, one answer at a time: whole frames become what the plan says, and no other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dlms.wrapper import Unwrapper, pack
from protocols.modbus.pdu import Frame, FrameReader, frame_octets
from simulators.line_faults import LineFault, LinePlan, crc16, damaged, of_another_unit

FRAME = pack(1, 1, bytes.fromhex("C401C1000904") + b"abcd")


def always(fault, **options):
    return LinePlan(permille={fault: 1000}, **options)


def octets_of(plan, answer=FRAME):
    return [delivery.octets for delivery in plan.on_answer(answer)]


def test_a_plan_without_faults_lets_everything_pass_after_its_latency():
    (delivery,) = LinePlan(latency_seconds=0.15).on_answer(FRAME)
    assert (delivery.after_seconds, delivery.octets) == (0.15, FRAME)


def test_a_paused_plan_harms_nothing():
    assert octets_of(always(LineFault.SILENCE, paused=True)) == [FRAME]


@given(st.integers(0, 10_000))
def test_each_damage_is_what_its_name_says(seed):
    garbled = octets_of(always(LineFault.GARBLE, seed=seed))[0]
    assert len(garbled) == len(FRAME)
    assert sum(a != b for a, b in zip(garbled, FRAME, strict=True)) == 1
    short = octets_of(always(LineFault.TRUNCATE, seed=seed))[0]
    assert FRAME.startswith(short)
    assert short != FRAME
    noisy = octets_of(always(LineFault.NOISE, seed=seed))[0]
    assert noisy.endswith(FRAME)
    assert set(noisy[: -len(FRAME)]) <= {0, 0xFF}
    assert octets_of(always(LineFault.HEADLESS, seed=seed)) == [FRAME[1:]]
    assert b"".join(octets_of(always(LineFault.SPLIT, seed=seed))) == FRAME
    assert octets_of(always(LineFault.SILENCE, seed=seed)) == []
    assert octets_of(always(LineFault.CUT, seed=seed)) == [FRAME, None]


def test_glue_sticks_the_answer_before_to_this_one():
    plan = always(LineFault.GLUE)
    plan.on_answer(b"first")
    assert octets_of(plan, b"second") == [b"firstsecond"]


def test_shares_are_kept_and_counted_and_the_same_seed_strikes_the_same():
    shares = {LineFault.GARBLE: 100, LineFault.SILENCE: 50}
    one, two = LinePlan(permille=shares, seed=3), LinePlan(permille=shares, seed=3)
    assert [octets_of(one) for _ in range(4000)] == [octets_of(two) for _ in range(4000)]
    assert 300 < one.struck[LineFault.GARBLE] < 500
    assert 130 < one.struck[LineFault.SILENCE] < 270


@pytest.mark.parametrize("shares", [{LineFault.GARBLE: 1001}, {LineFault.CUT: -1}])
def test_shares_that_cannot_be_are_refused(shares):
    with pytest.raises(ValueError, match="permille"):
        LinePlan(permille=shares)


def test_another_unit_answers_in_a_frame_that_is_whole():
    (wpdu,) = Unwrapper().feed(of_another_unit(FRAME))
    assert (wpdu.source, wpdu.destination, wpdu.apdu) == (2, 1, FRAME[8:])
    tcp = frame_octets(Frame(transaction=7, unit=3, pdu=b"\x04\x02\x00\x05"))
    (frame,) = FrameReader().feed(of_another_unit(tcp))
    assert (frame.transaction, frame.unit, frame.pdu) == (7, 4, b"\x04\x02\x00\x05")
    rtu = b"\x01\x04\x02\x00\x05"
    rtu += crc16(rtu, 0xA001)
    other = of_another_unit(rtu)
    assert other[0] == 2
    assert crc16(other[:-2], 0xA001) == other[-2:]


def test_published_check_sums():
    """Modbus over Serial Line V1.02 appendix B; CRC-16/X-25 of "123456789" is 906E."""
    assert crc16(b"\x02\x07", 0xA001) == b"\x41\x12"
    assert crc16(b"123456789", 0x8408, 0xFFFF) == b"\x6e\x90"


def test_another_hdlc_station_has_right_check_sums():
    # SNRM's answer: UA from server 1 to client 16, no information field
    body = bytes.fromhex("A007210373")
    frame = b"\x7e" + body + crc16(body, 0x8408, 0xFFFF) + b"\x7e"
    other = of_another_unit(frame)
    assert other != frame
    assert len(other) == len(frame)
    assert crc16(other[1:-3], 0x8408, 0xFFFF) == other[-3:-1]
    assert other[3] == 0x21
    assert other[4] == 0x01


def test_another_dlt645_meter_has_a_right_sum():
    body = bytes.fromhex("68112233445566689104333334336868")
    frame = b"\xfe\xfe" + body + bytes((sum(body) & 0xFF, 0x16))
    other = of_another_unit(frame)
    assert other[3] == 0x10
    assert other[-2] == sum(other[2:-2]) & 0xFF


@given(st.binary(max_size=60))
def test_any_octets_can_be_damaged(octets):
    for fault in LineFault:
        assert isinstance(damaged(fault, octets, b"x", 99), bytes)
