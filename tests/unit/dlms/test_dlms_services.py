"""Long requests and answers, lists, dedicated keys, suite 2, hashed proofs, general blocks."""

import hashlib
import itertools
from dataclasses import replace
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.dlms.apdu import (
    Access,
    Attribute,
    DataBlock,
    Get,
    ServiceException,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
)
from protocols.dlms.association import Authentication
from protocols.dlms.client import ClientConnection, ClientSettings, Opened
from protocols.dlms.gbt import GeneralBlock, GeneralReceiver, GeneralSender, decode_block
from protocols.dlms.general_glo import Form
from protocols.dlms.hls import Secret, Side, check_proof, prove
from protocols.dlms.initiate import OFFERED, OURS, Conformance
from protocols.dlms.obis import obis
from protocols.dlms.security import Keys, seal, unseal, unwrap_key, wrap_key
from protocols.dlms.server import AccessRefusedError, CounterFloor, ServerConnection, ServerProfile
from protocols.dlms.values import array, octet_string, unsigned
from protocols.dlms.wrapper import Unwrapper, pack
from protocols.dlms.writing import (
    ActionAnswerBlock,
    ActionBlock,
    ActionGoOn,
    ActionList,
    ActionListAnswer,
    ActionNext,
    Outcome,
    SetBlock,
    SetEnd,
    SetGoOn,
    SetList,
    SetListAnswer,
)
from protocols.errors import PeerError

KEYS = Keys(encryption=bytes(range(16)), authentication=bytes(range(16, 32)))
KEYS_2 = Keys(encryption=bytes(range(32)), authentication=bytes(range(32, 64)))
CLIENT_TITLE, SERVER_TITLE = b"CLI\0\0\0\0\1", b"SRV\0\0\0\0\2"
DEDICATED = bytes(range(50, 66))
SMALL = Attribute(class_id=1, name=obis("0-0:96.1.0"), index=2)
LONG = Attribute(class_id=1, name=obis("0-0:96.1.1"), index=2)
MISSING = Attribute(class_id=1, name=obis("0-0:96.1.9"), index=2)
ECHO = Attribute(class_id=18, name=obis("0-0:44.0.0"), index=2)
NO_METHOD = replace(ECHO, index=9)


class Memory:
    def __init__(self, long_octets=5000):
        self.values = {SMALL: unsigned(7), LONG: octet_string(bytes(long_octets))}
        self.acted = []

    def get(self, attributes):
        return tuple(self.values.get(attribute, Access.UNDEFINED) for attribute in attributes)

    def set(self, attribute, value):
        if attribute not in self.values:
            raise AccessRefusedError(Access.DENIED)
        self.values[attribute] = value

    def act(self, method, parameter):
        if method != ECHO:
            raise AccessRefusedError(Access.UNDEFINED)
        self.acted.append(parameter)
        return parameter


def pair(
    authentication=Authentication.HLS5,
    *,
    keys=KEYS,
    dedicated_key=b"",
    max_pdu=512,
    server_counter=-1,
    client=None,
    **profile,
):
    device = Memory()
    count, server_count = itertools.count(1), itertools.count(1000)
    talker = ClientConnection(
        ClientSettings(
            client_sap=1,
            server_sap=1,
            authentication=authentication,
            password=b"secret",
            title=CLIENT_TITLE,
            keys=keys,
            weak_hls=True,
            **(client or {}),
        ),
        counter=lambda: next(count),
        challenge=bytes(range(100, 116)),
        dedicated_key=dedicated_key,
        server_counter=server_counter,
    )
    meter = ServerConnection(
        {
            1: ServerProfile(
                device=device,
                authentication=authentication,
                password=b"secret",
                title=SERVER_TITLE,
                keys=keys,
                counter=lambda: next(server_count),
                challenge=lambda: bytes(range(200, 216)),
                max_pdu=max_pdu,
                **profile,
            )
        }
    )
    return talker, meter, device


def converse(client, server, octets):
    for trip in range(1, 5000):
        turn = client.receive(server.receive(octets))
        if turn.answer is not None:
            return turn.answer, trip
        octets = turn.send
        assert octets
    raise AssertionError("no end")


def opened(authentication=Authentication.HLS5, **more):
    client, server, device = pair(authentication, **more)
    answer, _ = converse(client, server, client.open())
    assert isinstance(answer, Opened)
    return client, server, device


BOTH = pytest.mark.parametrize("authentication", [Authentication.NONE, Authentication.HLS5])


@BOTH
class TestLong:
    @pytest.mark.parametrize("length", [0, 400, 480, 512, 3000, 70_000])
    def test_a_set_of_any_length(self, authentication, length):
        client, server, device = opened(authentication)
        answer, trips = converse(client, server, client.set(SMALL, octet_string(bytes(length))))
        assert answer.result is Access.SUCCESS
        assert device.values[SMALL] == octet_string(bytes(length))
        assert trips >= -(-length // 512)

    @pytest.mark.parametrize("length", [0, 400, 480, 512, 3000, 70_000])
    def test_an_action_with_a_parameter_and_an_answer_of_any_length(self, authentication, length):
        client, server, device = opened(authentication)
        wanted = octet_string(bytes(length))
        answer, _ = converse(client, server, client.act(ECHO, wanted))
        assert (answer.result, answer.returned) == (Access.SUCCESS, wanted)
        assert device.acted == [wanted]

    @pytest.mark.parametrize("length", [10, 3000])
    def test_lists(self, authentication, length):
        client, server, device = opened(authentication)
        text = octet_string(bytes(length))
        answer, _ = converse(
            client, server, client.set_list([(SMALL, text), (MISSING, text), (LONG, unsigned(1))])
        )
        assert answer.results == (Access.SUCCESS, Access.DENIED, Access.SUCCESS)
        assert (device.values[SMALL], device.values[LONG]) == (text, unsigned(1))
        answer, _ = converse(
            client, server, client.act_list([(ECHO, text), (NO_METHOD, None), (ECHO, None)])
        )
        assert answer.outcomes == (
            Outcome(Access.SUCCESS, text),
            Outcome(Access.UNDEFINED),
            Outcome(Access.SUCCESS),
        )

    def test_no_frame_is_longer_than_granted(self, authentication):
        client, server, _ = opened(authentication, max_pdu=200)
        octets = client.act(ECHO, octet_string(bytes(2000)))
        while octets:
            assert len(octets) - 8 <= 200
            answer = server.receive(octets)
            assert len(answer) - 8 <= 200
            octets = client.receive(answer).send

    def test_a_refused_long_set_is_told(self, authentication):
        client, server, _ = opened(authentication)
        answer, _ = converse(client, server, client.set(MISSING, octet_string(bytes(2000))))
        assert answer.result is Access.DENIED


@given(st.integers(0, 2500), st.integers(110, 600))
@settings(max_examples=60, deadline=None)
def test_any_length_goes_out_whole_whatever_the_pdu_size(length, pdu):
    client, server, device = opened(max_pdu=pdu)
    answer, _ = converse(client, server, client.set(SMALL, octet_string(bytes(length))))
    assert answer.result is Access.SUCCESS
    assert device.values[SMALL] == octet_string(bytes(length))


def block(number, raw=b"ab", *, last=False):
    return DataBlock(last=last, number=number, raw=raw)


REQUESTS = [
    SetList(invoke=1, attributes=(SMALL, LONG), values=(unsigned(1), array([unsigned(2)]))),
    SetBlock(invoke=2, attributes=(SMALL,), block=block(1)),
    SetBlock(invoke=2, attributes=(SMALL, LONG), listed=True, block=block(1)),
    SetBlock(invoke=2, block=block(2, last=True)),
    ActionList(invoke=3, methods=(ECHO, ECHO), parameters=(unsigned(1), unsigned(2))),
    ActionBlock(invoke=4, methods=(ECHO,), block=block(1)),
    ActionBlock(invoke=4, methods=(ECHO, NO_METHOD), listed=True, block=block(1)),
    ActionBlock(invoke=4, block=block(7, b"", last=True)),
    ActionNext(invoke=5, block=3),
]
RESPONSES = [
    SetGoOn(invoke=1, block=9),
    SetEnd(invoke=1, block=9, results=(Access.DENIED,)),
    SetEnd(invoke=1, block=9, results=(Access.DENIED, Access.SUCCESS), listed=True),
    SetListAnswer(invoke=1, results=(Access.SUCCESS, Access.OTHER)),
    ActionAnswerBlock(invoke=1, block=block(1, last=True)),
    ActionGoOn(invoke=1, block=2),
    ActionListAnswer(invoke=1, outcomes=(Outcome(Access.SUCCESS, unsigned(1)), Outcome(Access(4)))),
]


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda item: type(item).__name__)
def test_requests_come_back(request_):
    assert decode_request(encode_request(request_)) == request_


@pytest.mark.parametrize("response", RESPONSES, ids=lambda item: type(item).__name__)
def test_answers_come_back(response):
    assert decode_response(encode_response(response)) == response


def ask(server, request):
    (answer,) = Unwrapper().feed(server.receive(pack(1, 1, encode_request(request))))
    return decode_response(answer.apdu)


class TestBlocksOutOfOrder:
    """What a client sends wrongly changes nothing in the device."""

    def test_a_piece_without_a_beginning(self):
        _, server, device = opened(Authentication.NONE)
        answer = ask(server, SetBlock(invoke=1, block=block(2, last=True)))
        assert answer.results == (Access.NO_LONG_SET,)
        answer = ask(server, ActionBlock(invoke=1, block=block(2, last=True)))
        assert answer.result is Access.NO_LONG_SET
        assert device.values[SMALL] == unsigned(7)

    def test_a_piece_twice_or_skipped(self):
        _, server, device = opened(Authentication.NONE)
        for wrong in (1, 3):
            ask(server, SetBlock(invoke=1, attributes=(SMALL,), block=block(1, b"\x11")))
            answer = ask(server, SetBlock(invoke=1, block=block(wrong, b"\x09", last=True)))
            assert answer.results == (Access.BLOCK_NUMBER_INVALID,)
            answer = ask(server, SetBlock(invoke=1, block=block(2, b"\x09", last=True)))
            assert answer.results == (Access.NO_LONG_SET,)
        assert device.values[SMALL] == unsigned(7)

    def test_pieces_that_make_no_value(self):
        _, server, device = opened(Authentication.NONE)
        answer = ask(
            server, SetBlock(invoke=1, attributes=(SMALL,), block=block(1, b"\x0c", last=True))
        )
        assert answer.results == (Access.TYPE_UNMATCHED,)
        assert device.values[SMALL] == unsigned(7)

    def test_another_request_ends_the_transfer(self):
        _, server, device = opened(Authentication.NONE)
        ask(server, SetBlock(invoke=1, attributes=(SMALL,), block=block(1, b"\x11")))
        ask(server, Get(invoke=2, attributes=(SMALL,)))
        answer = ask(server, SetBlock(invoke=3, block=block(2, b"\x09", last=True)))
        assert answer.results == (Access.NO_LONG_SET,)
        assert device.values[SMALL] == unsigned(7)

    @pytest.mark.parametrize("confirmed", [0, 2, 5])
    def test_a_meter_that_confirms_another_block(self, confirmed):
        client, _, _ = opened(Authentication.NONE)
        client.set(SMALL, octet_string(bytes(2000)))
        answer = SetGoOn(invoke=client._invoke, block=confirmed)
        with pytest.raises(PeerError) as refused:
            client.receive(pack(1, 1, encode_response(answer)))
        assert refused.value.code == "dlms.blocks"

    def test_a_meter_that_claims_success_before_the_end(self):
        client, _, _ = opened(Authentication.NONE)
        client.set(SMALL, octet_string(bytes(2000)))
        answer = SetEnd(invoke=client._invoke, block=1, results=(Access.SUCCESS,))
        with pytest.raises(PeerError) as refused:
            client.receive(pack(1, 1, encode_response(answer)))
        assert refused.value.code == "dlms.blocks"


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


def general(**more):
    return opened(conformance=OFFERED, general_blocks=True, **more)


def feed_all(receiver, blocks):
    for octets in blocks:
        receiver.feed(octets)


class TestGeneralBlocks:
    @BOTH
    @pytest.mark.parametrize("length", [10, 480, 512, 600, 5000, 100_000])
    def test_long_answers_arrive_whole(self, authentication, length):
        client, server, device = general(authentication=authentication)
        device.values[LONG] = octet_string(bytes(length))
        answer, trips = converse(client, server, client.get(LONG))
        assert answer == (device.values[LONG],)
        assert trips >= length // 512

    def test_they_are_general_blocks(self):
        client, server, _ = general()
        told = server.receive(client.get(LONG))
        assert told[8] == 0xE0
        assert len(told) - 8 <= 512

    def test_each_block_confirms_the_confirmation_that_asked_for_it(self):
        client, server, _ = general()
        told = server.receive(client.get(LONG))
        for number in range(1, 6):
            asked = client.receive(told).send
            assert decode_block(asked[8:]).number == number
            told = server.receive(asked)
            block = decode_block(told[8:])
            assert (block.number, block.acknowledged) == (number + 1, number)

    def test_blocks_that_nobody_agreed_to(self):
        client, _, _ = opened(conformance=OURS)
        client.get(SMALL)
        made = GeneralBlock(last=True, number=1, acknowledged=0, text=b"\xc4")
        with pytest.raises(PeerError) as refused:
            client.receive(pack(1, 1, made.encode()))
        assert refused.value.code == "dlms.unexpected"
        assert Conformance.GENERAL_BLOCK_TRANSFER not in client.granted.conformance

    @pytest.mark.req("D9")
    def test_what_they_hold_must_be_ciphered(self):
        client, _, _ = general()
        client.get(SMALL)
        plain = bytes((0xC4, 1, 0xC0 | client._invoke, 0, 0x11, 7))
        made = GeneralBlock(last=True, number=1, acknowledged=0, text=plain)
        with pytest.raises(PeerError) as refused:
            client.receive(pack(1, 1, made.encode()))
        assert refused.value.code == "dlms.plain_answer"

    def test_an_endless_answer_ends(self):
        receiver = GeneralReceiver(limit=1000)
        blocks = [
            GeneralBlock(last=False, number=number, acknowledged=0, text=bytes(100)).encode()
            for number in range(1, 100)
        ]
        with pytest.raises(PeerError) as refused:
            feed_all(receiver, blocks)
        assert refused.value.code == "dlms.too_long"

    def test_a_repeated_block_for_ever_ends(self):
        receiver = GeneralReceiver(limit=1000)
        made = GeneralBlock(last=False, number=2, acknowledged=0).encode()
        with pytest.raises(PeerError) as refused:
            feed_all(receiver, [made] * 100_000)
        assert refused.value.code == "dlms.blocks"

    @given(st.binary(max_size=900), st.integers(10, 90), st.integers(1, 9), st.data())
    @settings(max_examples=100, deadline=None)
    def test_windows_and_lost_blocks(self, apdu, size, window, draw):
        """Blocks may be lost on the way: what is confirmed is sent on from, until all is there."""
        sender = GeneralSender(apdu or b"x", size=size, window=window)
        receiver = GeneralReceiver(limit=10_000)
        after, whole = 0, None
        for _ in range(3000):
            confirmed = None
            sent = sender.blocks(after=after)
            lost = draw.draw(st.integers(-4 * len(sent), len(sent) - 1))
            for at, octets in enumerate(sent):
                # a window's last block is repeated by time-out; here it is never lost
                if at == lost and at < len(sent) - 1:
                    continue
                step = receiver.feed(octets)
                whole = whole or step.whole
                if step.confirm:
                    confirmed = decode_block(step.confirm).acknowledged
            if whole is not None:
                break
            if confirmed is not None:
                after = confirmed
        assert whole == (apdu or b"x")
