"""
Frames as published, octet for octet.

*Source*: DLMS UA Green Book (1000-2), AARQ/AARE examples, GET examples, and the AES-GCM examples
with EK 00..0F, AK D0..DF, title 4D4D4D0000BC614E, counter 01234567.
"""

import pytest

from protocols.dlms import acse
from protocols.dlms.apdu import (
    Access,
    Attribute,
    Get,
    GetAnswer,
    GetBlock,
    ServiceException,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
)
from protocols.dlms.classes.register import decode_scaler_unit
from protocols.dlms.general_glo import decode_ciphered, encode_glo_initiate, encode_service_glo
from protocols.dlms.initiate import Conformance, InitiateRequest, InitiateResponse
from protocols.dlms.initiate import decode_request as decode_initiate_request
from protocols.dlms.initiate import decode_response as decode_initiate_response
from protocols.dlms.obis import CLOCK, DEVICE_NAME, obis
from protocols.dlms.security import (
    AUTHENTICATED,
    Keys,
    check_gmac,
    gmac,
    seal,
    unseal,
)
from protocols.dlms.values import integer, octet_string
from protocols.errors import PeerError

KEYS = Keys(
    encryption=bytes.fromhex("000102030405060708090A0B0C0D0E0F"),
    authentication=bytes.fromhex("D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF"),
)
TITLE = bytes.fromhex("4D4D4D0000BC614E")
COUNTER = 0x01234567
GET_CLOCK = bytes.fromhex("C0010000080000010000FF0200")
INITIATE = bytes.fromhex("01011000112233445566778899AABBCCDDEEFF0000065F1F0400007E1F04B0")


def octets(text):
    return bytes.fromhex(text.replace(" ", "").replace("\n", ""))


class TestAssociation:
    AARQ_PLAIN = octets("601D A109060760857405080101 BE10040E01000000065F1F0400007E1F04B0")
    AARQ_LLS = octets(
        """6036 A109060760857405080101 8A020780 8B0760857405080201 AC0A80083132333435363738
        BE10040E01000000065F1F0400007E1F04B0"""
    )
    AARQ_HLS = octets(
        """6036 A109060760857405080101 8A020780 8B0760857405080205 AC0A80084B35366956616759
        BE10040E01000000065F1F0400007E1F04B0"""
    )
    AARE_PLAIN = octets(
        """6129 A109060760857405080101 A203020100 A305A103020100
        BE10040E0800065F1F040000501F01F40007"""
    )
    AARE_HLS = octets(
        """6142 A109060760857405080101 A203020100 A305A10302010E 88020780 890760857405080205
        AA0A8008503677524A323146 BE10040E0800065F1F040000501F01F40007"""
    )

    @pytest.mark.parametrize(
        ("frame", "mechanism", "authentication"),
        [(AARQ_PLAIN, 0, b""), (AARQ_LLS, 1, b"12345678"), (AARQ_HLS, 5, b"K56iVagY")],
    )
    def test_aarq(self, frame, mechanism, authentication):
        aarq = acse.decode_aarq(frame)
        assert (aarq.context, aarq.mechanism) == (acse.Context.LN_PLAIN, mechanism)
        assert aarq.authentication == authentication
        assert acse.encode_aarq(aarq) == frame
        initiate = decode_initiate_request(aarq.initiate)
        assert (initiate.conformance & Conformance.GET, initiate.max_pdu) == (Conformance.GET, 1200)

    def test_aare(self):
        aare = acse.decode_aare(self.AARE_PLAIN)
        assert (aare.result, aare.diagnostic) == (acse.Result.ACCEPTED, acse.Diagnostic.NONE)
        assert acse.encode_aare(aare) == self.AARE_PLAIN
        granted = decode_initiate_response(aare.initiate)
        assert granted.max_pdu == 500
        assert granted.encode() == aare.initiate
        assert Conformance.SELECTIVE_ACCESS in granted.conformance

    def test_aare_that_asks_for_the_proof(self):
        aare = acse.decode_aare(self.AARE_HLS)
        assert aare.diagnostic == acse.Diagnostic.AUTHENTICATION_REQUIRED
        assert aare.authentication == b"P6wRJ21F"
        assert acse.encode_aare(aare) == self.AARE_HLS

    def test_initiate_with_a_dedicated_key(self):
        request = decode_initiate_request(INITIATE)
        assert request.dedicated_key == bytes.fromhex("00112233445566778899AABBCCDDEEFF")
        assert request.max_pdu == 1200
        proposed = InitiateRequest(conformance=Conformance.GET, max_pdu=900)
        assert decode_initiate_request(proposed.encode()) == proposed

    def test_a_release_may_say_nothing_or_something(self):
        acse.decode_release(octets("6200"), acse.RLRQ)
        acse.decode_release(octets("6303800100"), acse.RLRE)
        assert acse.encode_release(acse.RLRQ) == octets("6203800100")


class TestServices:
    def test_get_of_the_clock(self):
        get = decode_request(GET_CLOCK)
        assert get == Get(invoke=0, attributes=(Attribute(class_id=8, name=CLOCK, index=2),))

    def test_get_of_the_device_name(self):
        request = Get(invoke=1, attributes=(Attribute(class_id=1, name=DEVICE_NAME, index=2),))
        assert encode_request(request) == octets("C001C1 0001 00002A0000FF 02 00")

    def test_get_with_list(self):
        frame = octets("C003C1 02 0001 0000800000FF 02 00 0001 0000800100FF 02 00")
        request = decode_request(frame)
        assert [str(attribute) for attribute in request.attributes] == [
            "1/0-0:128.0.0*255/2",
            "1/0-0:128.1.0*255/2",
        ]
        assert encode_request(request) == frame

    def test_answers(self):
        assert decode_response(octets("C401C1 00 0904 01020304")) == GetAnswer(
            invoke=1, values=(octet_string(b"\1\2\3\4"),)
        )
        assert decode_response(octets("C401C1 01 03")) == GetAnswer(
            invoke=1, values=(Access.DENIED,)
        )
        assert decode_response(octets("C401C1 01 63")).values == (Access.OTHER,)
        assert decode_response(octets("C403C1 02 00 0F05 01 04")) == GetAnswer(
            invoke=1, values=(integer(5), Access.UNDEFINED), listed=True
        )
        assert decode_response(octets("C402C1 00 00000001 00 02 0102")) == GetBlock(
            invoke=1, last=False, block=1, raw=b"\1\2"
        )

    def test_an_exception_may_carry_the_counter(self):
        frame = octets("D8 02 06 00001234")
        told = decode_response(frame)
        assert told == ServiceException(state=2, service=6, counter=0x1234)
        assert encode_response(told) == frame
        assert decode_response(octets("D8 01 02")).counter is None

    def test_scaler_and_unit_of_a_register(self):
        answer = decode_response(octets("C401C1 00 0202 0FFF 161E"))
        read = decode_scaler_unit(answer.values[0])
        assert (read.scaler, read.unit) == (-1, 30)


@pytest.mark.req("D9")
class TestSuite0:
    def test_authenticated(self):
        sealed = seal(KEYS, TITLE, COUNTER, GET_CLOCK, control=AUTHENTICATED)
        assert encode_service_glo(0xC0, sealed) == octets(
            "C81E 10 01234567 C0010000080000010000FF0200 06725D910F9221D263877516"
        )
        assert unseal(KEYS, TITLE, sealed, control=AUTHENTICATED) == (COUNTER, GET_CLOCK)

    def test_authenticated_and_encrypted(self):
        sealed = seal(KEYS, TITLE, COUNTER, GET_CLOCK)
        assert encode_service_glo(0xC0, sealed) == octets(
            "C81E 30 01234567 411312FF935A47566827C467BC 7D825C3BE4A77C3FCC056B6B"
        )
        assert unseal(KEYS, TITLE, sealed) == (COUNTER, GET_CLOCK)

    def test_ciphered_initiate(self):
        frame = encode_glo_initiate(0x21, seal(KEYS, TITLE, COUNTER, INITIATE))
        assert frame == octets(
            """2130 30 01234567 801302FF8A7874133D414CED25B42534D28DB0047720606B175BD52211BE68
            41DB204D39EE6FDB8E356855"""
        )
        envelope = decode_ciphered(frame, 0x21)
        assert unseal(KEYS, TITLE, envelope.sealed) == (COUNTER, INITIATE)

    @pytest.mark.parametrize(
        ("title", "counter", "challenge", "answer"),
        [
            ("4D4D4D0000000001", 1, b"P6wRJ21F", "10 00000001 1A52FE7DD3E72748973C1E28"),
            ("4D4D4D0000BC614E", COUNTER, b"K56iVagY", "10 01234567 FE1466AFB3DBCD4F9389E2B7"),
        ],
        ids=["pass-3", "pass-4"],
    )
    def test_gmac_passes(self, title, counter, challenge, answer):
        name = bytes.fromhex(title)
        assert gmac(KEYS, name, counter, challenge) == octets(answer)
        assert check_gmac(KEYS, name, challenge, octets(answer)) == counter

    def test_every_flipped_bit_of_a_sealed_text_is_noticed(self):
        sealed = seal(KEYS, TITLE, COUNTER, GET_CLOCK)
        for bit in range(len(sealed) * 8):
            touched = bytearray(sealed)
            touched[bit // 8] ^= 1 << bit % 8
            with pytest.raises(PeerError) as noticed:
                unseal(KEYS, TITLE, bytes(touched))
            assert noticed.value.code in ("dlms.tag_mismatch", "dlms.security_control")

    def test_another_title_or_key_does_not_open(self):
        sealed = seal(KEYS, TITLE, COUNTER, GET_CLOCK)
        other = Keys(encryption=KEYS.encryption, authentication=bytes(16))
        for keys, title in ((KEYS, bytes(8)), (other, TITLE)):
            with pytest.raises(PeerError, match="tag"):
                unseal(keys, title, sealed)

    def test_encryption_without_authentication_is_refused(self):
        unsafe = bytes((0x20,)) + COUNTER.to_bytes(4, "big") + bytes(30)
        with pytest.raises(PeerError) as refused:
            unseal(KEYS, TITLE, unsafe)
        assert refused.value.code == "dlms.security_control"

    def test_keys_do_not_show(self):
        assert "0102" not in repr(KEYS)
        assert "\\x01" not in repr(KEYS)


def test_a_granted_pdu_too_small_to_work_is_refused():
    response = InitiateResponse(conformance=Conformance.GET, max_pdu=12)
    with pytest.raises(PeerError, match="cannot work"):
        decode_initiate_response(response.encode())


def test_obis_keeps_all_six_groups():
    assert obis("1-0:1.8.0*101") == bytes((1, 0, 1, 8, 0, 101))
    assert obis("1-1:1.8.0") == bytes((1, 1, 1, 8, 0, 255))
    for wrong in ("1-0:1.8.0*256", "1.8.0", "1-0:1.8", ""):
        with pytest.raises(ValueError, match="OBIS"):
            obis(wrong)
