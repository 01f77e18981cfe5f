"""HDLC: frames as published, streams cut by length, links that survive loss in either direction."""

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dlms.hdlc import Deframer, Frame, HdlcAddress, checksum, decode_address
from protocols.dlms.hdlc_client import HdlcClient, HdlcSettings, LinkState
from protocols.dlms.hdlc_control import (
    LinkLimits,
    Unnumbered,
    decode_limits,
    information,
    receive_ready,
)
from protocols.dlms.hdlc_server import HdlcServerConnection, HdlcServerLink
from protocols.errors import PeerError

CLIENT = HdlcAddress(logical=16).encode()
SERVER = HdlcAddress.of_server(1)


def test_the_check_sequence_is_crc_16_x25() -> None:
    # catalogue value of CRC-16/X-25 ("check" of 123456789 is 906E), low octet first
    assert checksum(b"123456789") == bytes.fromhex("6E90")


@pytest.mark.parametrize(
    ("text", "control", "fields"),
    [
        # SNRM and UA with parameters, as any meter and its reader exchange them
        ("7EA0070321930F017E", Unnumbered.SNRM, ""),
        ("7EA01E210373C37A81801205018006018007040000000108040000000153 3B7E", Unnumbered.UA,
         "818012050180060180070400000001080400000001"),
        ("7EA00703215303C77E", Unnumbered.DISC, ""),
    ],
)  # fmt: skip
def test_known_frames_decode_and_encode_to_the_same_octets(
    text: str, control: int, fields: str
) -> None:
    octets = bytes.fromhex(text)
    (frame,) = Deframer().feed(octets)
    assert frame.control == control
    assert frame.text == bytes.fromhex(fields)
    assert frame.encode() == octets


@pytest.mark.parametrize(
    ("address", "octets"),
    [
        (HdlcAddress.of_server(1), "03"),
        (HdlcAddress.of_server(1, 17), "0223"),
        (HdlcAddress.of_server(1, 17, octets=4), "00020023"),
        (HdlcAddress.of_server(1, 0x3FFF), "0002FEFF"),
        (HdlcAddress.of_server(0x1234, 0x2345), "48688C8B"),
    ],
)
@pytest.mark.req("A1")
def test_addresses_of_one_two_and_four_octets(address: HdlcAddress, octets: str) -> None:
    assert address.encode() == bytes.fromhex(octets)
    assert decode_address(address.encode()) == address


@pytest.mark.parametrize("octets", ["", "02", "020405", "0101", "0204060801"])
def test_what_is_no_address_is_refused(octets: str) -> None:
    with pytest.raises(PeerError) as refused:
        decode_address(bytes.fromhex(octets))
    assert refused.value.code == "hdlc.address"


texts = st.one_of(
    st.binary(max_size=300), st.lists(st.just(0x7E), max_size=300).map(bytes)
)  # flags everywhere are what breaks those who search for them
frames = st.builds(
    Frame,
    destination=st.sampled_from([b"\x21", b"\x03"]),
    source=st.sampled_from([b"\x03", b"\x02\x23", b"\x00\x02\x00\x23"]),
    control=st.integers(0, 255),
    text=texts,
    segmented=st.booleans(),
)


@given(st.lists(frames, max_size=5), st.lists(st.integers(1, 40), max_size=60))
def test_a_stream_is_cut_by_length_whatever_stands_in_it(
    sent: list[Frame], cuts: list[int]
) -> None:
    stream = b"".join(frame.encode() for frame in sent)
    deframer, got = Deframer(), []
    for size in cuts:
        got += deframer.feed(stream[:size])
        stream = stream[size:]
    assert got + deframer.feed(stream) == sent
    assert deframer.damaged == 0


@given(st.lists(frames, min_size=1, max_size=4))
def test_one_flag_may_close_a_frame_and_open_the_next(sent: list[Frame]) -> None:
    stream = b"\x7e" + b"".join(frame.encode()[1:] for frame in sent)
    assert Deframer().feed(stream) == sent


@given(st.binary(max_size=20), frames, st.integers(0, 2000), st.integers(1, 255))
def test_noise_and_a_spoilt_frame_cost_at_most_themselves(
    noise: bytes, frame: Frame, place: int, flip: int
) -> None:
    octets = bytearray(frame.encode())
    octets[1 + place % (len(octets) - 2)] ^= flip
    deframer = Deframer()
    got = deframer.feed(noise + bytes(octets))
    assert frame not in got
    deframer.reset()  # what a time-out does
    assert deframer.feed(frame.encode())[-1:] == [frame]


@given(st.binary(max_size=4000))
def test_any_octets_are_cut_in_bounded_memory(octets: bytes) -> None:
    deframer = Deframer()
    deframer.feed(octets)
    assert len(deframer._buffer) <= 2049


@given(st.binary(max_size=40))
def test_any_parameters_parse_or_are_refused(octets: bytes) -> None:
    with contextlib.suppress(PeerError):
        limits = decode_limits(octets)
        assert 16 <= limits.send <= 2030


@given(st.integers(32, 2030), st.integers(32, 2030))
def test_both_ends_agree_on_the_smaller_sizes(ours: int, theirs: int) -> None:
    client = LinkLimits(send=ours, receive=ours)
    server = LinkLimits(send=theirs, receive=theirs)
    granted = server.with_peer(decode_limits(client.encode()))
    assert client.with_peer(decode_limits(granted.encode())) == granted
    assert granted == LinkLimits(send=min(ours, theirs), receive=min(ours, theirs))


def test_a_meter_that_says_nothing_takes_128() -> None:
    assert decode_limits(b"") == LinkLimits(send=128, receive=128)


class Pair:
    """A client and a meter's link on a line that may lose frames, told by `lose(number)`."""

    def __init__(
        self,
        answer: Callable[[bytes], bytes],
        *,
        client_octets: int = 128,
        meter_octets: int = 128,
        lose: Callable[[int], bool] = lambda _: False,
    ) -> None:
        self.obeyed: list[bytes] = []
        self.client = HdlcClient(
            HdlcSettings(client_sap=16, server=SERVER, segment_octets=client_octets)
        )

        def obey(apdu: bytes) -> bytes:
            self.obeyed.append(apdu)
            return answer(apdu)

        self.server = HdlcServerConnection({}, segment_octets=meter_octets)
        limits = LinkLimits(send=meter_octets, receive=meter_octets)
        self.link = HdlcServerLink(answer=obey, offered=limits, max_apdu=65_535)
        self.lose = lose
        self.passed = 0
        self.longest = 0

    def exchange(self, octets: bytes) -> bytes:
        """Carry until the exchange is over; return its APDU."""
        for _ in range(5000):
            turn = self.client.receive(self.carry(self.meter(self.carry(octets))))
            if turn.done:
                return turn.apdu
            octets = turn.send or self.client.timeout()
        raise AssertionError("an exchange without end")

    def carry(self, octets: bytes) -> bytes:
        if not octets:
            return b""
        self.passed += 1
        self.longest = max(self.longest, len(octets))
        return b"" if self.lose(self.passed) else octets

    def meter(self, octets: bytes) -> bytes:
        answers = b""
        for frame in Deframer().feed(octets):
            snrm = frame.control == Unnumbered.SNRM
            answer = self.link.connect(frame) if snrm else self.link.on_frame(frame)
            answers += answer.encode() if answer else b""
        return answers


@pytest.mark.req("A1")
@pytest.mark.parametrize(("client_octets", "meter_octets"), [(128, 128), (64, 2030), (2030, 64)])
@pytest.mark.parametrize("size", [1, 124, 125, 126, 500, 5000])
def test_long_apdus_go_in_segments_both_ways(
    client_octets: int, meter_octets: int, size: int
) -> None:
    pair = Pair(lambda apdu: apdu[::-1], client_octets=client_octets, meter_octets=meter_octets)
    pair.exchange(pair.client.connect())
    apdu = bytes(index * 7 & 0xFF for index in range(size))
    for _ in range(9):  # beyond the numbers modulo 8
        assert pair.exchange(pair.client.send(apdu)) == apdu[::-1]
    assert pair.obeyed == [apdu] * 9
    assert pair.longest <= min(client_octets, meter_octets) + 14
    assert pair.client.state is LinkState.READY


@pytest.mark.req("A1")
@given(st.sets(st.integers(1, 60), max_size=12), st.integers(1, 600))
def test_lost_frames_are_sent_again_and_no_request_is_obeyed_twice(
    lost: set[int], size: int
) -> None:
    pair = Pair(lambda apdu: apdu * 2, lose=lost.__contains__)
    apdu = bytes(size)
    got, given_up = [], ""
    try:
        pair.exchange(pair.client.connect())
        for _ in range(4):
            got.append(pair.exchange(pair.client.send(apdu)))
    except PeerError as error:
        given_up = error.code
    assert given_up in {"", "hdlc.timeout"}
    assert not given_up or len(lost) >= 3  # it takes three losses in a row
    assert got == [apdu * 2] * (4 if not given_up else len(got))
    assert len(got) <= len(pair.obeyed) <= len(got) + bool(given_up)
    assert all(obeyed == apdu for obeyed in pair.obeyed)


def test_late_answers_are_known_by_their_number() -> None:
    pair = Pair(lambda apdu: apdu)
    pair.exchange(pair.client.connect())
    first = pair.client.send(b"one")
    late = pair.meter(first)
    again = pair.meter(pair.client.timeout())
    assert pair.client.receive(late).apdu == b"one"
    second = pair.client.send(b"two")
    assert not pair.client.receive(again).done
    assert pair.client.receive(pair.meter(second)).apdu == b"two"
    assert pair.obeyed == [b"one", b"two"]


def test_a_meter_that_needs_time_is_asked_for_its_answer_and_not_again_for_the_deed() -> None:
    client = HdlcClient(HdlcSettings(client_sap=16, server=SERVER))
    client.connect()
    client.receive(_from_meter(Unnumbered.UA))
    client.send(b"\xc3")
    assert client.receive(_from_meter(receive_ready(1))).send == b""
    (asked,) = Deframer().feed(client.timeout())
    assert asked.control == receive_ready(0)
    answer = _from_meter(information(sent=0, expected=1), b"\xe6\xe7\x00\xc7")
    assert client.receive(answer).apdu == b"\xc7"


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ((Unnumbered.FRMR, b"\x10\x00\x01"), "hdlc.rejected"),
        ((Unnumbered.DM, b""), "hdlc.disconnected"),
        ((information(sent=3, expected=1), b"\xe6\xe7\x00\xc7"), "hdlc.sequence"),
        ((information(sent=0, expected=0), b"\xe6\xe7\x00\xc7"), "hdlc.sequence"),
        ((information(sent=0, expected=1), b"\xc7\xc7\xc7\xc7"), "hdlc.llc"),
        ((information(sent=0, expected=1), bytes(129)), "hdlc.too_long"),
        ((information(sent=0, expected=1), b""), "hdlc.too_long"),
    ],
)
def test_a_meter_that_breaks_the_rules_is_a_typed_error(
    frame: tuple[int, bytes], code: str
) -> None:
    client = HdlcClient(HdlcSettings(client_sap=16, server=SERVER))
    client.connect()
    client.receive(_from_meter(Unnumbered.UA))
    client.send(b"\xc3")
    with pytest.raises(PeerError) as broken:
        client.receive(_from_meter(*frame))
    assert broken.value.code == code
    assert client.state is LinkState.BROKEN


def test_frames_of_other_stations_are_counted_and_left_alone() -> None:
    client = HdlcClient(HdlcSettings(client_sap=16, server=SERVER))
    client.connect()
    other = Frame(destination=CLIENT, source=b"\x05", control=Unnumbered.UA).encode()
    assert not client.receive(other).done
    assert client.foreign == 1
    meter = HdlcServerConnection({}, server_sap=1, physical=17)
    for wrong in (HdlcAddress.of_server(2), HdlcAddress.of_server(1, 18)):
        snrm = Frame(destination=wrong.encode(), source=CLIENT, control=Unnumbered.SNRM)
        assert meter.receive(snrm.encode()) == b""


def test_a_client_without_a_link_hears_dm_and_a_wrong_frame_is_rejected() -> None:
    meter = HdlcServerConnection({})
    for control in (Unnumbered.DISC, information(sent=0, expected=0), Unnumbered.SNRM):
        asked = Frame(destination=SERVER.encode(), source=CLIENT, control=control, text=b"")
        (answer,) = Deframer().feed(meter.receive(asked.encode()))
        assert answer.control == Unnumbered.DM
    pair = Pair(lambda apdu: apdu)
    pair.exchange(pair.client.connect())
    strange = Frame(destination=SERVER.encode(), source=CLIENT, control=0xEF)
    (answer,) = Deframer().feed(pair.meter(strange.encode()))
    assert answer.control == Unnumbered.FRMR
    assert answer.text == bytes((0xEF, 0x00, 0x01))


@given(st.binary(max_size=200))
def test_a_meter_and_a_client_take_any_octets(octets: bytes) -> None:
    pair = Pair(lambda apdu: apdu)
    pair.exchange(pair.client.connect())
    server, client = SERVER.encode(), CLIENT
    for control in octets[:20]:
        wild = Frame(destination=server, source=client, control=control, text=octets[20:])
        pair.meter(wild.encode())
        HdlcServerConnection({}).receive(octets + wild.encode())
        if pair.client.state is LinkState.READY:
            pair.client.send(b"\xc0")
        try:
            pair.client.receive(_from_meter(control, octets[20:]))
        except PeerError:
            return


def _from_meter(control: int, text: bytes = b"") -> bytes:
    return Frame(destination=CLIENT, source=SERVER.encode(), control=control, text=text).encode()
