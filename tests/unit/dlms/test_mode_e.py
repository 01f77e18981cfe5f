"""Sign-on by IEC 62056-21 and the hand-over to HDLC, both sides."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dlms.mode_e import Identification, ModeEMeter, SignOn, choice, fastest, sign_on
from protocols.errors import PeerError

METER = Identification(maker="MLP", name="M-000042", baud_character="5", speaks_hdlc=True)


@pytest.mark.req("A1")
def test_both_sides_agree_on_hdlc_and_its_rate() -> None:
    meter, client = ModeEMeter(METER, address="21000042"), SignOn()
    assert sign_on("21000042") == b"/?21000042!\r\n"
    line = meter.receive(sign_on("21000042"))
    assert line == b"/MLP5\\2M-000042\r\n"
    assert client.identification(line[:4]) is None
    found = client.identification(line[4:])
    assert found == METER
    chosen = choice(fastest(found, 115_200))
    assert chosen == b"\x06252\r\n"
    assert client.confirmed(meter.receive(chosen), chosen)
    assert meter.handed_over == 9600


def test_the_rate_is_what_both_can_do() -> None:
    assert fastest(METER, 4800) == "4"
    assert fastest(METER, 100) == "0"


def test_noise_and_the_echo_of_an_optical_head_are_passed_over() -> None:
    client = SignOn()
    assert client.identification(b"\xff\x00" + sign_on()) is None
    assert client.identification(METER.encode()) == METER


def test_a_meter_answers_for_itself_alone_and_keeps_to_its_rate() -> None:
    meter = ModeEMeter(METER, address="21000042")
    assert meter.receive(sign_on("21000043")) == b""
    assert meter.receive(sign_on()) == METER.encode()
    assert meter.receive(choice("6")) == b""
    assert meter.receive(b"\x06050\r\n") == b""
    assert meter.handed_over == 0


@pytest.mark.parametrize(
    ("octets", "code"),
    [
        (b"/MLP5M-000042\r\n", "mode_e.no_hdlc"),
        (b"/M1P5\\2M-000042\r\n", "mode_e.identification"),
        (b"/" + bytes(200), "mode_e.line"),
    ],
)
def test_what_is_no_mode_e_meter_is_a_typed_error(octets: bytes, code: str) -> None:
    with pytest.raises(PeerError) as refused:
        SignOn().identification(octets)
    assert refused.value.code == code


def test_another_choice_than_ours_is_refused() -> None:
    with pytest.raises(PeerError) as refused:
        SignOn().confirmed(b"\x06050\r\n", choice("5"))
    assert refused.value.code == "mode_e.choice"


@given(st.lists(st.binary(max_size=60), max_size=8))
def test_any_octets_pass_or_are_refused(pieces: list[bytes]) -> None:
    meter, client = ModeEMeter(METER), SignOn()
    try:
        for piece in pieces:
            meter.receive(piece)
            client.identification(piece)
    except PeerError:
        return
    assert len(client._buffer) <= 200
    assert len(meter._buffer) <= 96


def test_an_address_that_is_none_is_our_own_mistake() -> None:
    with pytest.raises(ValueError, match="letters"):
        sign_on("!")
