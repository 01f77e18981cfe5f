"""Ciphered forms, dedicated keys, suite 2 and hashed proofs: each in both roles, each attacked."""

import hashlib
from dataclasses import replace
from typing import ClassVar

import pytest

from protocols.dlms.apdu import (
    ServiceException,
    decode_response,
)
from protocols.dlms.association import Authentication
from protocols.dlms.client import ClientSettings, Opened
from protocols.dlms.general_glo import Form
from protocols.dlms.hls import Secret, Side, check_proof, prove
from protocols.dlms.security import Keys, seal, unseal, unwrap_key, wrap_key
from protocols.dlms.server import CounterFloor
from protocols.dlms.values import octet_string, unsigned
from protocols.dlms.wrapper import Unwrapper, pack
from protocols.errors import PeerError
from tests.unit.dlms.connection_kit import (
    DEDICATED,
    ECHO,
    KEYS,
    SERVER_TITLE,
    SMALL,
    converse,
    opened,
    pair,
)

KEYS_2 = Keys(encryption=bytes(range(32)), authentication=bytes(range(32, 64)))


def ciphered(form, **more):
    return opened(dedicated_key=DEDICATED if form.dedicated else b"", client={"form": form}, **more)


@pytest.mark.req("D9")
@pytest.mark.parametrize("form", list(Form))
class TestForms:
    TAG: ClassVar = {
        Form.GENERAL_GLO: (0xDB, 0xDB),
        Form.SERVICE_GLO: (0xC8, 0xCC),
        Form.GENERAL_DED: (0xDC, 0xDC),
        Form.SERVICE_DED: (0xD0, 0xD4),
    }

    def test_both_directions_speak_it(self, form):
        client, server, _ = ciphered(form)
        asked = client.get(SMALL)
        told = server.receive(asked)
        assert (asked[8], told[8]) == self.TAG[form]
        assert client.receive(told).answer == (unsigned(7),)
        answer, _ = converse(client, server, client.act(ECHO, octet_string(bytes(3000))))
        assert answer.returned == octet_string(bytes(3000))

    def test_every_flipped_bit_is_noticed(self, form):
        client, server, _ = ciphered(form)
        told = server.receive(client.get(SMALL))
        for bit in range(8 * 8, len(told) * 8):
            touched = bytearray(told)
            touched[bit // 8] ^= 1 << bit % 8
            state, floor = client.state, client.server_counter
            with pytest.raises(PeerError):
                client.receive(bytes(touched))
            client.state = state
            client._framing._unwrapper._buffer.clear()
            assert client.server_counter == floor
        assert client.receive(told).answer == (unsigned(7),)

    def test_a_replayed_answer_is_refused(self, form):
        client, server, _ = ciphered(form)
        told = server.receive(client.get(SMALL))
        client.receive(told)
        client.get(SMALL)
        with pytest.raises(PeerError) as refused:
            client.receive(told)
        assert refused.value.code == "dlms.replayed"

    def test_our_own_request_reflected_is_refused(self, form):
        client, _, _ = ciphered(form)
        asked = client.get(SMALL)
        with pytest.raises(PeerError) as refused:
            client.receive(asked)
        assert refused.value.code in ("dlms.title", "dlms.choice", "dlms.plain_answer")

    def test_a_plain_answer_is_refused(self, form):
        client, _server, _ = ciphered(form)
        client.get(SMALL)
        plain = bytes((0xC4, 1, 0xC0 | client._invoke, 0, 0x11, 7))
        with pytest.raises(PeerError) as refused:
            client.receive(pack(1, 1, plain))
        assert refused.value.code == "dlms.plain_answer"

    def test_a_repeated_order_acts_once(self, form):
        client, server, device = ciphered(form)
        order = client.act(ECHO, unsigned(1))
        client.receive(server.receive(order))
        (answer,) = Unwrapper().feed(server.receive(order))
        assert isinstance(decode_response(answer.apdu), ServiceException)
        assert len(device.acted) == 1
        assert converse(client, server, client.get(SMALL))[0] == (unsigned(7),)

    def test_a_plain_order_is_refused(self, form):
        _, server, device = ciphered(form)
        order = bytes.fromhex("C301C1") + ECHO.encode() + b"\x01\x11\x01"
        (answer,) = Unwrapper().feed(server.receive(pack(1, 1, order)))
        assert decode_response(answer.apdu).service == 5
        assert device.acted == []


@pytest.mark.req("D9")
class TestDedicatedKey:
    def test_counters_begin_at_nothing_with_every_association(self):
        client, server, _ = ciphered(Form.SERVICE_DED)
        for _ in range(2):
            asked = client.get(SMALL)
            told = server.receive(asked)
            assert int.from_bytes(asked[11:15], "big") == 0
            assert int.from_bytes(told[11:15], "big") == 0
            assert client.receive(told).answer == (unsigned(7),)
            converse(client, server, client.release())
            converse(client, server, client.open())

    def test_global_counters_rest_meanwhile(self):
        floor = CounterFloor()
        client, server, _ = ciphered(Form.GENERAL_DED, client_counter=floor)
        before, seen = floor.value, client.server_counter
        for _ in range(3):
            converse(client, server, client.get(SMALL))
        assert (floor.value, client.server_counter) == (before, seen)

    def test_a_key_that_was_not_agreed(self):
        client, _server, _ = ciphered(Form.GENERAL_GLO)
        client.get(SMALL)
        stranger = Keys(encryption=DEDICATED, authentication=KEYS.authentication)
        sealed = seal(stranger, SERVER_TITLE, 5, bytes.fromhex("C401C1001107"))
        answer = b"\xdc\x08" + SERVER_TITLE + bytes((len(sealed),)) + sealed
        with pytest.raises(PeerError) as refused:
            client.receive(pack(1, 1, answer))
        assert refused.value.code == "dlms.dedicated_key"

    def test_it_fits_the_suite_and_the_association(self):
        with pytest.raises(ValueError, match="dedicated"):
            pair(client={"form": Form.SERVICE_DED})
        with pytest.raises(ValueError, match="ciphered"):
            pair(Authentication.NONE, dedicated_key=DEDICATED)
        client, server, _ = pair(dedicated_key=bytes(32))
        with pytest.raises(PeerError) as refused:
            converse(client, server, client.open())
        assert refused.value.code == "dlms.rejected"


@pytest.mark.req("D9")
class TestSuite2:
    def test_everything_works_under_long_keys(self):
        client, server, _ = opened(keys=KEYS_2, dedicated_key=bytes(32))
        asked = client.get(SMALL)
        assert asked[8 + 11] == 0x32
        assert client.receive(server.receive(asked)).answer == (unsigned(7),)

    def test_keys_of_two_suites_do_not_mix(self):
        with pytest.raises(ValueError, match="suite"):
            Keys(encryption=bytes(16), authentication=bytes(32))
        with pytest.raises(ValueError, match="suite"):
            Keys(encryption=bytes(24), authentication=bytes(24))

    @pytest.mark.parametrize(("suite", "word"), [(0, "give the keys"), (1, "not spoken")])
    def test_another_suite_is_named(self, suite, word):
        sealed = bytes((0x30 | suite,)) + bytes(30)
        with pytest.raises(PeerError, match=word) as refused:
            unseal(KEYS_2, SERVER_TITLE, sealed)
        assert refused.value.code == "dlms.security_control"

    def test_a_meter_of_the_other_suite_is_refused(self):
        client, _, _ = pair(keys=KEYS_2)
        _, server, _ = pair(keys=KEYS)
        with pytest.raises(PeerError) as refused:
            converse(client, server, client.open())
        assert refused.value.code == "dlms.rejected"


def test_key_wrap_is_the_one_of_the_rfc():
    """*Source*: RFC 3394 section 4.1, 128 bits of key data with a 128-bit KEK."""
    kek = bytes.fromhex("000102030405060708090A0B0C0D0E0F")
    key = bytes.fromhex("00112233445566778899AABBCCDDEEFF")
    wrapped = bytes.fromhex("1FA68B0A8112B447AEF34BD8FB5A7B829D3E862371D2CFE5")
    assert wrap_key(kek, key) == wrapped
    assert unwrap_key(kek, wrapped) == key
    for wrong in (wrapped[:-1], wrapped[:-1] + b"\x00", b"", bytes(24)):
        with pytest.raises(PeerError) as refused:
            unwrap_key(kek, wrong)
        assert refused.value.code == "dlms.key_wrap"


HASHED = [Authentication.HLS_MD5, Authentication.HLS_SHA1, Authentication.HLS_SHA256]


@pytest.mark.parametrize("authentication", HASHED)
@pytest.mark.parametrize("is_ciphered", [False, True])
class TestHashedProofs:
    def make(self, authentication, is_ciphered):
        return pair(authentication, client={"ciphered": is_ciphered}, ciphered=is_ciphered)

    def test_both_sides_prove_themselves(self, authentication, is_ciphered):
        client, server, _ = self.make(authentication, is_ciphered)
        assert isinstance(converse(client, server, client.open())[0], Opened)
        assert converse(client, server, client.get(SMALL))[0] == (unsigned(7),)

    def test_a_wrong_secret_at_either_side(self, authentication, is_ciphered):
        client, server, _ = self.make(authentication, is_ciphered)
        client._secret = replace(client._secret, password=b"guess")
        with pytest.raises(PeerError) as refused:
            converse(client, server, client.open())
        assert refused.value.code == "dlms.authentication"

    def test_our_own_challenge_reflected(self, authentication, is_ciphered):
        client, server, _ = self.make(authentication, is_ciphered)
        client._challenge = bytes(range(200, 216))
        with pytest.raises(PeerError) as refused:
            converse(client, server, client.open())
        assert refused.value.code == "dlms.rejected"

    def test_no_order_before_the_proof(self, authentication, is_ciphered):
        client, server, device = self.make(authentication, is_ciphered)
        client.receive(server.receive(client.open()))
        order = bytes.fromhex("C301C1") + ECHO.encode() + b"\x01\x11\x01"
        server.receive(client._protect(order))
        assert device.acted == []


def test_the_proofs_are_those_of_the_standard():
    side = Side(title=b"C" * 8, challenge=b"CtoS", peer_title=b"S" * 8, peer_challenge=b"StoC")
    for kind, text in (
        (Authentication.HLS_MD5, hashlib.md5(b"StoC" + b"pw")),
        (Authentication.HLS_SHA1, hashlib.sha1(b"StoC" + b"pw")),
        (
            Authentication.HLS_SHA256,
            hashlib.sha256(b"pw" + b"C" * 8 + b"S" * 8 + b"StoC" + b"CtoS"),
        ),
    ):
        secret = Secret(authentication=kind, password=b"pw")
        assert prove(secret, side, 0) == text.digest()
        check_proof(secret, side.turned(), prove(secret, side, 0))
        with pytest.raises(PeerError):
            check_proof(secret, side, prove(secret, side, 0))


@pytest.mark.parametrize("kind", [Authentication.HLS_MD5, Authentication.HLS_SHA1])
def test_broken_hashes_are_off_unless_allowed(kind):
    with pytest.raises(ValueError, match="weak_hls"):
        ClientSettings(client_sap=1, server_sap=1, authentication=kind, password=b"x")


def test_a_proof_of_nothing_is_our_own_mistake():
    with pytest.raises(ValueError, match="secret"):
        Secret(authentication=Authentication.HLS_SHA256)


@pytest.mark.parametrize("kind", [Authentication.LLS, Authentication.HLS5])
@pytest.mark.parametrize("is_ciphered", [False, True])
def test_ciphering_is_a_choice_of_its_own(kind, is_ciphered):
    client, server, _ = opened(kind, client={"ciphered": is_ciphered}, ciphered=is_ciphered)
    asked = client.get(SMALL)
    assert (asked[8] == 0xDB) is is_ciphered
    assert client.receive(server.receive(asked)).answer == (unsigned(7),)
