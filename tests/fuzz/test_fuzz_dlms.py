"""Totality: any octets at all parse or raise PeerError within 50 ms; nothing else comes out."""

import contextlib
import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocols.dlms import acse, apdu, axdr
from protocols.dlms.association import Authentication
from protocols.dlms.client import ClientConnection, ClientSettings
from protocols.dlms.obis import obis
from protocols.dlms.server import ServerConnection, ServerProfile
from protocols.dlms.values import array, integer, unsigned
from protocols.dlms.wrapper import Unwrapper, pack
from protocols.errors import PeerError
from tests.fuzz.decoders import DLMS, KEYS, TYPED_OBJECTS, check
from tests.unit.dlms.test_dlms_typed_classes import OBJECTS

FRAMES = [
    bytes.fromhex(text)
    for text in (
        "601DA109060760857405080101BE10040E01000000065F1F0400007E1F04B0",
        "6036A1090607608574050801018A0207808B0760857405080201AC0A80083132333435363738"
        "BE10040E01000000065F1F0400007E1F04B0",
        "6142A109060760857405080101A203020100A305A10302010E88020780890760857405080205"
        "AA0A8008503677524A323146BE10040E0800065F1F040000501F01F40007",
        "C0010000080000010000FF0200",
        "C003C10200010000800000FF020000010000800100FF0200",
        "C001C100070100630100FF02010102040204120008090600000100 00FF0F02120000"
        "090C07EA0304030000000000000009 0C07EA03040300000000000000010 0".replace(" ", "")
        + "0100",
        "C401C1000904 01020304".replace(" ", ""),
        "C403C102000F050104",
        "C402C10000000001000201 02".replace(" ", ""),
        "C701C1000100090 3010203".replace(" ", ""),
        "D80206000012 34".replace(" ", ""),
        "DB084D4D4D0000BC614E1E3001234567411312FF935A47566827C467BC7D825C3BE4A77C3FCC056B6B",
        "CC1E3001234567411312FF935A47566827C467BC7D825C3BE4A77C3FCC056B6B",
        "0102020 20600000001110 5".replace(" ", "") + "02020600000001" + "1105",
        "1302020611060600000001 05".replace(" ", ""),
        "07EA0304FF0C000000FE2000",
        "01000000065F1F0400007E1F04B0",
        "0800065F1F040000501F01F40007",
        "6203800100",
        "7EA00802232193E0BE7E",
        "0F000000010C07EA0304030C000000FE2000020211050600000001",
        "C20100080000010000FF02110500",
        "C102C1000100006001 00FF020000000000010311".replace(" ", "") + "0911",
        "C103C1010000000202AABB",
        "C104C1020001000060010 0FF02000001000060 0101FF0200021101 1102".replace(" ", ""),
        "C304C10012000 02C0000FF0200000000010311 0911".replace(" ", ""),
        "C306C1010000000202AABB",
        "C303C10100120000 2C0000FF0201 1101".replace(" ", ""),
        "C302C100000001",
        "C502C100000001",
        "C504C1020003 00000002".replace(" ", ""),
        "C702C1010000000103 000100 0005".replace(" ", ""),
        "C703C1020001001101 0400".replace(" ", ""),
        "E081000100000 6C401C1001107".replace(" ", "") + "0000",
        "DC084D4D4D0000BC614E1E3001234567411312FF935A47566827C467BC7D825C3BE4A77C3FCC056B6B",
        "D41E3001234567411312FF935A47566827C467BC7D825C3BE4A77C3FCC056B6B",
    )
    if len(text) % 2 == 0
]


TYPED = {
    f"typed-{type(thing).__name__}": b"".join(axdr.encode(value) for value in thing.encode())
    for thing in OBJECTS
}


@st.composite
def spoilt(draw, frames=FRAMES):
    """A known frame with octets changed, cut out, doubled or put in."""
    octets = bytearray(draw(st.sampled_from(frames)))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, max(0, len(octets) - 1)))
        how = draw(st.sampled_from(["set", "cut", "double", "insert", "end"]))
        if how == "set" and octets:
            octets[at] = draw(st.integers(0, 255))
        elif how == "cut":
            del octets[at : at + draw(st.integers(1, 8))]
        elif how == "double":
            octets[at:at] = octets[at : at + draw(st.integers(1, 16))]
        elif how == "insert":
            octets[at:at] = draw(st.binary(max_size=6))
        else:
            del octets[at:]
    return bytes(octets)


OCTETS = st.one_of(st.binary(max_size=400), spoilt())


@pytest.mark.parametrize("name", [name for name in DLMS if name not in TYPED_OBJECTS])
@given(octets=OCTETS)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_decoder_is_total(name, octets):
    check(DLMS[name], octets, "dlms.", "hdlc.", "mode_e.")


@pytest.mark.parametrize("name", TYPED)
@given(octets=st.one_of(st.binary(max_size=400), spoilt(list(TYPED.values()))))
@settings(max_examples=300, deadline=None)
def test_every_typed_object_is_total(name, octets):
    check(DLMS[name], octets, "dlms.")


def test_every_typed_object_has_a_known_beginning():
    assert TYPED.keys() == TYPED_OBJECTS.keys()
    for name, octets in TYPED.items():
        DLMS[name](octets)


@given(OCTETS)
@settings(max_examples=300, deadline=None)
def test_what_parses_as_a_request_is_written_the_same(octets):
    """Not the same octets (a sender may spend more of them), but the same meaning."""
    try:
        request = apdu.decode_request(octets)
    except PeerError:
        return
    if "nan" not in repr(request):
        assert apdu.decode_request(apdu.encode_request(request)) == request


class Echo:
    """A device that answers anything with something."""

    def get(self, attributes):
        return tuple(array([unsigned(1), integer(-1)]) for _ in attributes)

    def set(self, attribute, value):
        pass

    def act(self, method, parameter):
        return parameter


def server():
    count = itertools.count()
    return ServerConnection(
        {
            authentication: ServerProfile(
                device=Echo(),
                authentication=kind,
                title=bytes(8),
                keys=KEYS,
                counter=lambda: next(count),
                challenge=lambda: bytes(16),
            )
            for authentication, kind in ((1, Authentication.HLS5), (16, Authentication.NONE))
        }
    )


@given(st.lists(st.tuples(st.sampled_from([1, 16, 99]), OCTETS), max_size=8))
@settings(max_examples=300, deadline=None)
def test_a_server_answers_every_frame_of_anyone(frames):
    talker = server()
    for source, octets in frames:
        if octets:
            answers = Unwrapper().feed(talker.receive(pack(source, 1, octets)))
            assert len(answers) == 1
            assert answers[0].destination == source


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_a_server_takes_any_stream(octets):
    talker = server()
    with contextlib.suppress(PeerError):
        assert isinstance(talker.receive(octets), bytes)


def client(kind):
    count = itertools.count()
    return ClientConnection(
        ClientSettings(
            client_sap=1, server_sap=1, authentication=kind, title=b"CLIENT-1", keys=KEYS
        ),
        counter=lambda: next(count),
        challenge=bytes(16),
    )


ASKED = apdu.Attribute(class_id=3, name=obis("1-0:1.8.0"), index=2)


@pytest.mark.parametrize("kind", [Authentication.HLS5, Authentication.NONE])
@given(answers=st.lists(OCTETS, min_size=1, max_size=4))
@settings(max_examples=300, deadline=None)
def test_a_client_survives_every_answer(kind, answers):
    talker = client(kind)
    if kind is Authentication.NONE:
        aare = FRAMES[2].replace(bytes.fromhex("02010E"), bytes.fromhex("020100"))
        talker.open()
        assert talker.receive(pack(1, 1, aare)).answer is not None
        talker.get(ASKED)
    else:
        talker.open()
    for octets in answers:
        if not octets:
            continue
        try:
            turn = talker.receive(pack(1, 1, octets))
        except PeerError:
            return
        if turn.answer is not None:
            return


@pytest.mark.parametrize(
    "octets",
    [
        b"\x02\x01" * 30_000,
        b"\x01\x82\xff\xf0" + b"\x00" * 65_520,
        b"\x02\x7f" + b"\x01\x82\x01\xf0" + b"\x00" * 65_000,
        b"\x13\x01\xff\xff\x01\xff\xff\x01\xff\xff\x00\x82\xff\xf0" + b"\x00" * 65_520,
        b"\x13\x01\xff\xff\x01\xff\xff\x01\xff\xff\x11\x82\xff\xf0" + b"\x00" * 65_520,
        b"\x13" + b"\x02\x08" * 8 + b"\x11" * 200 + b"\x82\xff\x00" + b"\x00" * 65_280,
        b"\x09\x84\xff\xff\xff\xff" + b"\x00" * 65_000,
        b"\x60\x82\xff\xf0" + b"\xa1\x00" * 32_000,
        b"\x01\x82\x7f\xf0" + b"\x02\x00" * 32_752,
    ],
    ids=[
        "deep",
        "nulls",
        "short-list",
        "compact-bomb",
        "compact-many",
        "compact-deep",
        "long",
        "acse",
        "hollow",
    ],
)
def test_the_worst_frames_are_quick(octets):
    for decoder in (axdr.decode, acse.decode_aarq, apdu.decode_response):
        check(decoder, octets)
