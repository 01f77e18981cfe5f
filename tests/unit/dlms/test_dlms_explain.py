"""Captured frames in words, layer by layer; a typed end where they are corrupt."""

import json

import pytest
from typer.testing import CliRunner

from meterloop.cli import app
from protocols.dlms import acse
from protocols.dlms.apdu import Get, GetAnswer, encode_request, encode_response
from protocols.dlms.axdr import encode
from protocols.dlms.ciphering import CounterFloor
from protocols.dlms.classes.register import ScalerUnit
from protocols.dlms.explain import KeyBook, explain
from protocols.dlms.gbt import GeneralSender
from protocols.dlms.hdlc import Frame, HdlcAddress
from protocols.dlms.notification import (
    DataNotification,
    EventNotification,
    Listener,
    decode_notification,
)
from protocols.dlms.obis import CLOCK, obis
from protocols.dlms.reference import Attribute
from protocols.dlms.security import ENCRYPTED, Keys, seal
from protocols.dlms.values import double_long_unsigned, octet_string, structure, unsigned
from protocols.dlms.wrapper import pack
from protocols.errors import PeerError

KEYS = Keys(
    encryption=bytes.fromhex("000102030405060708090A0B0C0D0E0F"),
    authentication=bytes.fromhex("D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF"),
)
TITLE = bytes.fromhex("4D4D4D0000BC614E")
GREEN_BOOK_GLO = "C81E 30 01234567 411312FF935A47566827C467BC 7D825C3BE4A77C3FCC056B6B"
IMPORT = Attribute(class_id=3, name=obis("1-0:1.8.0"), index=2)
SCALER = Attribute(class_id=3, name=obis("1-0:1.8.0"), index=3)


def layers(octets, book=None):
    return [
        [(layer.name, layer.fields) for layer in frame.layers] for frame in explain(octets, book)
    ]


def names(octets, book=None):
    return [[layer.name for layer in frame.layers] for frame in explain(octets, book)]


def test_the_published_ciphered_get():
    book = KeyBook(keys=KEYS, client_title=TITLE)
    ((ciphering, get),) = layers(bytes.fromhex(GREEN_BOOK_GLO.replace(" ", "")), book)
    assert ciphering[1]["authenticated"] is True
    assert (ciphering[1]["counter"], ciphering[1]["suite"]) == (0x01234567, 0)
    assert get[0] == "get"
    assert get[1]["attributes"] == [
        {"class": 8, "class_name": "clock", "obis": "0-0:1.0.0*255", "index": 2}
    ]


def test_without_the_key_it_stays_closed_and_is_no_error():
    ((ciphering,),) = layers(bytes.fromhex(GREEN_BOOK_GLO.replace(" ", "")))
    assert ciphering[1]["closed"] == "no key was given"


def test_a_tampered_frame_stops_it():
    octets = bytearray.fromhex(GREEN_BOOK_GLO.replace(" ", ""))
    octets[12] ^= 1
    with pytest.raises(PeerError) as refused:
        layers(bytes(octets), KeyBook(keys=KEYS, client_title=TITLE))
    assert refused.value.code == "dlms.tag_mismatch"


def conversation():
    """A reading in the wrapper: scaler and value of one register."""
    scale = ScalerUnit(scaler=-1, unit=30).encode()
    talk = [
        (True, encode_request(Get(invoke=1, attributes=(SCALER,)))),
        (
            False,
            encode_response(GetAnswer(invoke=1, values=(scale,))),
        ),
        (True, encode_request(Get(invoke=2, attributes=(IMPORT,)))),
        (False, encode_response(GetAnswer(invoke=2, values=(double_long_unsigned(12345),)))),
    ]
    return b"".join(pack(16, 1, apdu) if up else pack(1, 16, apdu) for up, apdu in talk)


def test_a_value_gets_the_unit_and_scaler_read_before():
    told = layers(conversation())
    assert [name for frame in told for name, _ in frame][:2] == ["wrapper", "get"]
    (value,) = told[3][1][1]["values"]
    assert (value["obis"], value["reading"]) == ("1-0:1.8.0*255", "1234.5 Wh")


def hdlc(apdu, *, size=10, down=False):
    client, server = HdlcAddress(logical=16), HdlcAddress.of_server(1, 17)
    text = (b"\xe6\xe7\x00" if down else b"\xe6\xe6\x00") + apdu
    parts = [text[at : at + size] for at in range(0, len(text), size)]
    ends = (client, server) if down else (server, client)
    return b"".join(
        Frame(
            destination=ends[0].encode(),
            source=ends[1].encode(),
            control=0x10,
            text=part,
            segmented=part is not parts[-1],
        ).encode()
        for part in parts
    )


def test_hdlc_segments_are_put_together():
    octets = hdlc(encode_request(Get(invoke=1, attributes=(IMPORT,))))
    told = names(octets)
    assert told == [["hdlc"], ["hdlc", "llc", "get"]]
    shared = octets.replace(b"\x7e\x7e", b"\x7e")
    assert names(shared) == told


def test_a_wrong_check_sequence_stops_it():
    octets = bytearray(hdlc(encode_request(Get(invoke=1, attributes=(IMPORT,)))))
    octets[-3] ^= 1
    with pytest.raises(PeerError) as refused:
        layers(bytes(octets))
    assert refused.value.code == "hdlc.frame"
    assert refused.value.evidence["frame"] == 2


def test_general_blocks_are_put_together():
    answer = encode_response(GetAnswer(invoke=1, values=(octet_string(bytes(300)),)))
    sender = GeneralSender(answer, size=100)
    blocks = [sender.blocks(after=after)[0] for after in range(4)]
    told = names(b"".join(pack(1, 16, block) for block in blocks))
    assert told[0] == ["wrapper", "general-block"]
    assert told[3] == ["wrapper", "general-block", "get-answer"]


@pytest.mark.parametrize("cut", [n for n in range(1, 30) if n != 17])
def test_a_frame_cut_anywhere_is_a_typed_error(cut):
    octets = conversation()[:-cut]
    with pytest.raises(PeerError) as refused:
        layers(octets)
    assert refused.value.code.startswith("dlms.")


def test_passwords_are_not_told():
    aarq = acse.Aarq(context=1, mechanism=acse.Mechanism.LLS, authentication=b"hush-hush")
    told = str(layers(acse.encode_aarq(aarq) if aarq.initiate else _with_initiate(aarq)))
    assert "hush" not in told
    assert b"hush-hush".hex() not in told
    assert "password of 9 octets" in told


def _with_initiate(aarq):
    initiate = bytes.fromhex("01000000065F1F0400007E1F04B0")
    return acse.encode_aarq(
        acse.Aarq(
            context=aarq.context,
            mechanism=aarq.mechanism,
            authentication=aarq.authentication,
            initiate=initiate,
        )
    )


class TestCommand:
    def run(self, *arguments):
        return CliRunner().invoke(app, ["dlms", "decode", *arguments])

    def test_json(self):
        done = self.run("--json", "--hex", conversation().hex())
        assert done.exit_code == 0
        frames = json.loads(done.stdout)["frames"]
        assert frames[3]["layers"][1]["values"][0]["reading"] == "1234.5 Wh"

    def test_text_from_a_file_with_keys(self, tmp_path):
        frames, keys = tmp_path / "frames.txt", tmp_path / "keys.json"
        frames.write_text(GREEN_BOOK_GLO)
        keys.write_text(
            json.dumps(
                {
                    "encryption_key": KEYS.encryption.hex(),
                    "authentication_key": KEYS.authentication.hex(),
                    "client_title": TITLE.hex(),
                }
            )
        )
        keys.chmod(0o600)
        done = self.run("--file", str(frames), "--key-file", str(keys))
        assert done.exit_code == 0
        assert "0-0:1.0.0*255 clock attribute 2" in done.stdout
        keys.chmod(0o644)
        done = self.run("--file", str(frames), "--key-file", str(keys))
        assert (done.exit_code, "chmod 600" in done.output) == (2, True)

    def test_a_corrupt_frame_is_named(self):
        done = self.run("--json", "--hex", conversation()[:-1].hex())
        assert done.exit_code == 1
        error = json.loads(done.stdout)["error"]
        assert error["code"] == "dlms.truncated"
        assert "frame 4" in error["message"]

    @pytest.mark.parametrize("arguments", [(), ("--hex", "zz"), ("--file", "/no/such")])
    def test_a_wrong_call_says_what_to_do(self, arguments):
        assert self.run(*arguments).exit_code == 2


PUSH = bytes.fromhex("0F000000010C07EA0304030C000000FE2000") + encode(structure(unsigned(5)))
EVENT = b"\xc2\x00\x00\x08" + CLOCK + b"\x02" + encode(unsigned(5))


def listener(**more):
    floor = CounterFloor()
    return Listener(
        keys_of=lambda title: KEYS if title == TITLE else None, floor_of=lambda title: floor, **more
    )


def pushed(text, *, counter=5, title=TITLE):
    sealed = seal(KEYS, title, counter, text)
    return b"\xdb\x08" + title + bytes((len(sealed),)) + sealed


class TestNotifications:
    def test_both_kinds(self):
        push = decode_notification(PUSH)
        assert isinstance(push, DataNotification)
        assert (push.invoke, push.at.isoformat()) == (1, "2026-03-04T04:00:00+00:00")
        event = decode_notification(EVENT)
        assert isinstance(event, EventNotification)
        assert (event.attribute.name, event.value, event.at) == (CLOCK, unsigned(5), None)

    @pytest.mark.req("D9")
    def test_a_ciphered_push_is_proven_once(self):
        hearing = listener()
        heard = hearing.hear(pushed(PUSH))
        assert (heard.authenticated, heard.title) == (True, TITLE)
        for counter in (5, 4):
            with pytest.raises(PeerError) as refused:
                hearing.hear(pushed(PUSH, counter=counter))
            assert refused.value.code == "dlms.replayed"
        assert hearing.hear(pushed(PUSH, counter=6)).authenticated

    @pytest.mark.req("D9")
    def test_every_flipped_bit_is_noticed(self):
        frame = pushed(PUSH)
        for bit in range(len(frame) * 8):
            touched = bytearray(frame)
            touched[bit // 8] ^= 1 << bit % 8
            with pytest.raises(PeerError):
                listener().hear(bytes(touched))

    def test_an_unknown_meter_and_a_plain_push_are_refused(self):
        with pytest.raises(PeerError) as refused:
            listener().hear(pushed(PUSH, title=bytes(8)))
        assert refused.value.code == "dlms.unknown_title"
        with pytest.raises(PeerError) as refused:
            listener().hear(PUSH)
        assert refused.value.code == "dlms.plain_push"
        assert listener(allow_plain=True).hear(PUSH).authenticated is False

    def test_encrypted_without_a_tag_only_where_allowed_and_never_as_proven(self):
        sealed = seal(KEYS, TITLE, 9, PUSH)
        bare = bytes((ENCRYPTED,)) + sealed[1:-12]
        frame = b"\xdb\x08" + TITLE + bytes((len(bare),)) + bare
        with pytest.raises(PeerError) as refused:
            listener().hear(frame)
        assert refused.value.code == "dlms.security_control"
        heard = listener(allow_untagged=True).hear(frame)
        assert heard.authenticated is False
        assert heard.notification == decode_notification(PUSH)

    def test_an_event_in_its_own_ciphered_form(self):
        sealed = seal(KEYS, TITLE, 9, EVENT)
        heard = listener(title=TITLE).hear(b"\xca" + bytes((len(sealed),)) + sealed)
        assert heard.notification == decode_notification(EVENT)
        assert heard.authenticated
