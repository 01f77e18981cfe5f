"""No password, no key and no token stands on a tape; everything else does, frame for frame."""

import contextlib
import struct
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dlms import acse, hdlc
from protocols.dlms.apdu import Action, Attribute, Get, Set, encode_request
from protocols.dlms.initiate import OURS, InitiateRequest
from protocols.dlms.obis import obis
from protocols.dlms.values import octet_string
from protocols.dlms.wrapper import Unwrapper, pack
from protocols.dlt645 import frame as dlt645
from protocols.modbus import rtu
from protocols.modbus.pdu import Frame, frame_octets
from protocols.tape.lines import Piece, Side, TapeError, head_line, parse_tape, piece_line
from protocols.tape.redact import Redactor

SECRET = b"S3cr3t-0f-meter!"
INITIATE = InitiateRequest(conformance=OURS, max_pdu=1024).encode()


def aarq(mechanism, authentication, initiate=INITIATE, context=acse.Context.LN_PLAIN):
    return acse.encode_aarq(
        acse.Aarq(
            context=context, mechanism=mechanism, authentication=authentication, initiate=initiate
        )
    )


def written(class_id, index, secret=SECRET):
    name = obis("0-0:40.0.0")
    attribute = Attribute(class_id=class_id, name=name, index=index)
    return encode_request(Set(invoke=1, attribute=attribute, value=octet_string(secret)))


def invoked(class_id, index):
    method = Attribute(class_id=class_id, name=obis("0-0:40.0.0"), index=index)
    return encode_request(Action(invoke=1, method=method, parameter=octet_string(SECRET)))


SECRETS = {
    "lls": aarq(acse.Mechanism.LLS, SECRET),
    "hls-manufacturer": aarq(acse.Mechanism.HLS_MANUFACTURER, SECRET),
    "dedicated-key": aarq(
        acse.Mechanism.NONE, b"", initiate=b"\x01\x01\x10" + SECRET + INITIATE[2:]
    ),
    "set-lls-secret": written(15, 7),
    "hash-proof": invoked(15, 1),
    "new-hls-secret": invoked(15, 2),
    "new-keys": invoked(64, 2),
    "token": invoked(115, 1),
    "damaged-aarq": b"\x60\x20\xac\xff" + SECRET + b"\x00" * 12,
    "set-in-blocks": b"\xc1\x02\x41\x00\x0f"
    + bytes(6)
    + b"\x07\x00\x00\x00\x00\x00\x01\x10"
    + SECRET,
    "general-blocks": b"\xe0\xc0\x00\x01\x00\x00\x10" + SECRET,
}


def one(redactor, octets):
    ((said, withheld),) = redactor.client(octets)
    return said, withheld


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_blanked_and_the_frame_stays_whole(name):
    apdu = SECRETS[name]
    said, withheld = one(Redactor(), pack(1, 1, apdu))
    assert SECRET not in said
    assert not withheld
    (wpdu,) = Unwrapper().feed(said)
    assert len(wpdu.apdu) == len(apdu)
    assert wpdu.apdu[0] == apdu[0]


@pytest.mark.parametrize("name", SECRETS)
def test_in_hdlc_the_check_sums_are_made_anew(name):
    server = hdlc.HdlcAddress.of_server(1, 17)
    frame = hdlc.Frame(
        destination=server.encode(),
        source=b"\x03",
        control=0x10,
        text=b"\xe6\xe6\x00" + SECRETS[name],
    )
    said, withheld = one(Redactor(), frame.encode())
    assert SECRET not in said
    assert not withheld
    (found,) = hdlc.Deframer().feed(said)
    assert (found.destination, found.control) == (frame.destination, frame.control)
    assert len(found.text) == len(frame.text)


def test_a_long_request_in_hdlc_segments_tells_nothing():
    redactor = Redactor()
    for index, segmented in enumerate((True, True, False)):
        text = (b"\xe6\xe6\x00\x60" if index == 0 else b"") + SECRET
        frame = hdlc.Frame(
            destination=b"\x03", source=b"\x21", control=2 * index, text=text, segmented=segmented
        )
        said, _ = one(redactor, frame.encode())
        assert SECRET not in said


def test_an_honest_session_stands_there_octet_for_octet():
    asked = Attribute(class_id=3, name=obis("1-0:1.8.0"), index=2)
    for apdu in (
        aarq(acse.Mechanism.NONE, b""),
        aarq(acse.Mechanism.HLS_GMAC, SECRET, b"\x21\x03abc", acse.Context.LN_CIPHERED),
        encode_request(Get(invoke=1, attributes=(asked,))),
        encode_request(Get(invoke=1, attributes=(asked, asked))),
        written(8, 2),
        b"\xdb\x08TITLE-01" + b"\x20" + bytes(32),
        acse.encode_release(acse.RLRQ),
    ):
        frame = pack(16, 1, apdu)
        assert one(Redactor(), frame) == (frame, False)


def test_an_answer_that_repeats_a_secret_is_blanked():
    redactor = Redactor()
    asked = Attribute(class_id=15, name=obis("0-0:40.0.0"), index=7)
    redactor.client(pack(1, 1, encode_request(Get(invoke=1, attributes=(asked,)))))
    said, _ = redactor.meter(pack(1, 1, b"\xc4\x01\xc1\x00\x09\x10" + SECRET))
    assert SECRET not in said
    asked = Attribute(class_id=3, name=obis("1-0:1.8.0"), index=2)
    redactor.client(pack(1, 1, encode_request(Get(invoke=1, attributes=(asked,)))))
    answer = pack(1, 1, b"\xc4\x01\xc1\x00\x06\x00\x00\x00\x05")
    assert redactor.meter(answer) == (answer, False)


@pytest.mark.parametrize(
    ("control", "text", "kept"),
    [
        (dlt645.Control.WRITE, b"\x01\x01\x00\x04" + SECRET[:4] + b"OPER" + b"value", b"value"),
        (dlt645.Control.RELAY, SECRET[:4] + b"OPER" + b"\x1a\x00", b"\x1a\x00"),
        (dlt645.Control.CHANGE_PASSWORD, b"\x01\x0c\x00\x04" + SECRET[:8], b""),
        (dlt645.Control.CLEAR_METER, SECRET[:4] + b"OPER", b""),
        (dlt645.Control.SECURITY, b"\xff\x02\x01\x07" + SECRET, b""),
    ],
)
def test_dlt645_passwords_are_blanked(control, text, kept):
    frame = dlt645.Frame(address="000000000042", control=control, content=text)
    said, withheld = one(Redactor(), dlt645.encode_frame(frame, wake=2))
    assert not withheld
    assert said.startswith(b"\xfe\xfe\x68")
    found = dlt645.decode_frame(said)
    assert SECRET[:4] not in found.content
    assert found.content.endswith(kept)
    assert len(found.content) == len(text)


def test_values_written_over_modbus_are_blanked_and_reads_are_not():
    write = struct.pack(">BHHB", 16, 0x18, 2, 4) + SECRET[:4]
    said, _ = one(Redactor(), frame_octets(Frame(transaction=9, unit=1, pdu=write)))
    assert SECRET[:4] not in said
    assert said[:13] == frame_octets(Frame(transaction=9, unit=1, pdu=write))[:13]
    said, _ = one(Redactor(), rtu.framed(1, write))
    assert SECRET[:4] not in said
    assert rtu.crc16(said) == 0
    read = rtu.framed(6, b"\x04\x00\x48\x00\x02")
    assert one(Redactor(), read) == (read, False)


def test_what_is_no_frame_is_counted_and_not_kept():
    redactor = Redactor()
    assert redactor.client(b"login: " + SECRET) == []
    assert redactor.flush() == [(b"*" * 23, True)]


def test_a_frame_in_pieces_is_put_together_before_it_is_judged():
    redactor = Redactor()
    frame = pack(1, 1, SECRETS["lls"])
    for octet in frame[:-1]:
        assert redactor.client(bytes((octet,))) == []
    ((said, withheld),) = redactor.client(frame[-1:])
    assert (len(said), withheld) == (len(frame), False)
    assert SECRET not in said


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=120)), max_size=12))
def test_any_session_can_be_redacted_and_no_octet_is_lost(talk):
    redactor = Redactor()
    given_octets = kept = 0
    for from_client, octets in talk:
        if from_client:
            given_octets += len(octets)
            kept += sum(len(said) for said, _ in redactor.client(octets))
        else:
            assert len(redactor.meter(octets)[0]) == len(octets)
    kept += sum(len(said) for said, _ in redactor.flush())
    assert kept == given_octets


@given(st.binary(min_size=1, max_size=200))
def test_any_apdu_can_be_redacted(apdu):
    (said, _) = one(Redactor(), pack(1, 1, apdu))
    assert len(said) == len(apdu) + 8


STARTED = datetime(2026, 3, 1, 8, tzinfo=UTC)


@given(
    st.lists(
        st.builds(
            Piece,
            us=st.integers(0, 10**12),
            side=st.sampled_from(Side),
            octets=st.binary(max_size=50),
            withheld=st.booleans(),
        )
    )
)
def test_a_tape_is_read_as_it_was_written(pieces):
    text = "\n".join([head_line("192.0.2.10:4059", STARTED), *map(piece_line, pieces)])
    tape = parse_tape(text)
    assert (tape.peer, tape.started, list(tape.pieces)) == ("192.0.2.10:4059", STARTED, pieces)


def test_sessions_end_where_a_side_closed():
    piece = Piece(us=1, side=Side.CLIENT, octets=b"a")
    ends = Piece(us=2, side=Side.METER, closes=True)
    text = "\n".join([head_line("p", STARTED), *map(piece_line, [piece, ends, ends, piece, piece])])
    assert [len(session) for session in parse_tape(text).sessions()] == [1, 2]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "line 1"),
        ("hello", "line 1"),
        ('{"meterloop_tape": 2, "peer": "p", "started": "2026-03-01T08:00:00+00:00"}', "line 1"),
        ('{"meterloop_tape": 1, "peer": "p", "started": "yesterday"}', "line 1"),
        (head_line("p", STARTED) + '\n{"us": 1, "from": "thief", "hex": ""}', "line 2"),
        (head_line("p", STARTED) + '\n\n{"us": -1, "from": "meter", "hex": ""}', "line 3"),
        (head_line("p", STARTED) + '\n{"us": 1, "from": "meter", "hex": "0g"}', "line 2"),
        (head_line("p", STARTED) + "\n[1]", "line 2"),
    ],
)
def test_what_is_no_tape_says_which_line(text, line):
    with pytest.raises(TapeError, match=line):
        parse_tape(text)


@given(st.text(max_size=200))
def test_any_text_is_a_tape_or_says_why(text):
    with contextlib.suppress(TapeError):
        assert parse_tape(text).pieces is not None
