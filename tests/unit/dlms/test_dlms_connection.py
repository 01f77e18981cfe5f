"""Client and server joined by nothing but octets: blocks, lists, refusals, both glo forms."""

from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.dlms import acse
from protocols.dlms.apdu import (
    Access,
    Action,
    ActionAnswer,
    Get,
    GetBlock,
    GetNext,
    ServiceException,
    SetAnswer,
    decode_response,
    encode_request,
    encode_response,
)
from protocols.dlms.association import Authentication, ClientState
from protocols.dlms.classes.association_ln import REPLY_TO_HLS
from protocols.dlms.client import ClientConnection, ClientSettings, Opened, Released
from protocols.dlms.initiate import OURS, Conformance, InitiateRequest
from protocols.dlms.security import Keys
from protocols.dlms.server import CounterFloor
from protocols.dlms.values import array, integer, octet_string, unsigned
from protocols.dlms.wrapper import Unwrapper, pack
from protocols.errors import PeerError
from tests.unit.dlms import connection_kit
from tests.unit.dlms.connection_kit import (
    LONG,
    METHOD,
    MISSING,
    SMALL,
    Memory,
    converse,
)

opened = partial(connection_kit.opened, max_pdu=1024)
pair = partial(connection_kit.pair, max_pdu=1024)
ALL = pytest.mark.parametrize("authentication", list(Authentication))


@ALL
class TestServices:
    def test_one_value(self, authentication):
        client, server, _ = opened(authentication)
        assert converse(client, server, client.get(SMALL)) == ((unsigned(7),), 1)

    def test_a_list_with_a_missing_one(self, authentication):
        client, server, _ = opened(authentication)
        answer, _ = converse(client, server, client.get(SMALL, MISSING, SMALL))
        assert answer == (unsigned(7), Access.UNDEFINED, unsigned(7))

    @pytest.mark.parametrize("length", [0, 900, 970, 1000, 1024, 1100, 5000, 70000])
    def test_a_long_value_comes_in_blocks(self, authentication, length):
        client, server, device = opened(authentication, device=Memory(length))
        answer, trips = converse(client, server, client.get(LONG))
        assert answer == (device.values[LONG],)
        assert trips >= -(-length // 1024)

    def test_a_long_list_comes_in_blocks(self, authentication):
        client, server, device = opened(authentication)
        answer, trips = converse(client, server, client.get(LONG, MISSING, SMALL))
        assert answer == (device.values[LONG], Access.UNDEFINED, unsigned(7))
        assert trips > 4

    def test_set(self, authentication):
        client, server, device = opened(authentication)
        answer, _ = converse(client, server, client.set(SMALL, array([integer(-3)])))
        assert answer == SetAnswer(invoke=answer.invoke, result=Access.SUCCESS)
        assert device.values[SMALL] == array([integer(-3)])
        answer, _ = converse(client, server, client.set(MISSING, integer(0)))
        assert answer.result is Access.DENIED

    def test_act(self, authentication):
        client, server, device = opened(authentication)
        answer, _ = converse(client, server, client.act(METHOD, integer(0)))
        assert (answer.result, answer.returned) == (Access.SUCCESS, unsigned(1))
        assert device.acted == [integer(0)]
        answer, _ = converse(client, server, client.act(MISSING))
        assert (answer.result, answer.returned) == (Access.UNDEFINED, None)

    def test_release_and_open_again(self, authentication):
        client, server, _ = opened(authentication)
        assert converse(client, server, client.release())[0] == Released()
        assert client.state is ClientState.IDLE
        assert isinstance(converse(client, server, client.open())[0], Opened)

    def test_one_octet_at_a_time(self, authentication):
        client, server, _ = opened(authentication)
        answers = b"".join(server.receive(bytes((octet,))) for octet in client.get(SMALL))
        turns = [client.receive(bytes((octet,))) for octet in answers]
        assert [turn.answer for turn in turns if turn.answer] == [(unsigned(7),)]

    def test_two_requests_at_once_are_our_own_mistake(self, authentication):
        client, _, _ = opened(authentication)
        client.get(SMALL)
        with pytest.raises(RuntimeError, match="cannot ask"):
            client.get(SMALL)

    def test_no_frame_exceeds_what_either_side_takes(self, authentication):
        client, server, _ = opened(authentication, client={"max_pdu": 256})
        octets = client.get(LONG, SMALL)
        while True:
            answer = server.receive(octets)
            assert len(answer) - 8 <= 256
            turn = client.receive(answer)
            if turn.answer is not None:
                break
            octets = turn.send

    def test_a_request_longer_than_granted_is_not_sent(self, authentication):
        without = OURS & ~Conformance.BLOCK_SET
        client, _, _ = opened(authentication, max_pdu=128, conformance=without)
        with pytest.raises(ValueError, match="granted"):
            client.set(SMALL, octet_string(bytes(200)))
        assert client.state is ClientState.READY


@given(st.integers(0, 3000), st.integers(96, 1200))
@settings(max_examples=60, deadline=None)
def test_any_length_arrives_whole_whatever_the_pdu_size(length, pdu):
    client, server, device = opened(
        Authentication.HLS5, device=Memory(length), max_pdu=pdu, client={"max_pdu": pdu}
    )
    assert converse(client, server, client.get(LONG))[0] == (device.values[LONG],)


def test_both_ciphered_forms_are_read():
    for service_glo in (False, True):
        client, server, _ = opened(Authentication.HLS5, service_glo=service_glo)
        octets = server.receive(client.get(SMALL))
        assert octets[8] == (0xCC if service_glo else 0xDB)
        assert client.receive(octets).answer == (unsigned(7),)


def test_what_is_granted_is_what_both_can_do():
    client, _, _ = opened(Authentication.NONE)
    granted = client.granted.conformance
    assert Conformance.SELECTIVE_ACCESS in granted
    assert Conformance.GENERAL_BLOCK_TRANSFER not in granted


@pytest.mark.req("D9")
class TestRefusals:
    def test_a_wrong_password(self):
        client, server, device = pair(Authentication.LLS)
        client._settings = replace(client._settings, password=b"guess")
        with pytest.raises(PeerError) as refused:
            converse(client, server, client.open())
        assert refused.value.code == "dlms.rejected"
        assert refused.value.evidence["diagnostic"] == acse.Diagnostic.AUTHENTICATION_FAILURE
        assert device.acted == []

    def test_no_service_before_the_association(self):
        _, server, device = pair(Authentication.LLS)
        request = encode_request(Action(invoke=1, method=METHOD, parameter=integer(0)))
        (answer,) = Unwrapper().feed(server.receive(pack(1, 1, request)))
        assert isinstance(decode_response(answer.apdu), ServiceException)
        assert device.acted == []

    def test_no_plain_service_inside_a_ciphered_association(self):
        _, server, device = opened(Authentication.HLS5)
        request = encode_request(Action(invoke=1, method=METHOD, parameter=integer(0)))
        (answer,) = Unwrapper().feed(server.receive(pack(1, 1, request)))
        assert decode_response(answer.apdu).service == 5
        assert device.acted == []

    def test_no_service_before_the_proof(self):
        """A client with the keys that skips pass 3 is told no and must begin again."""
        client, server, device = pair(Authentication.HLS5)
        client.receive(server.receive(client.open()))
        assert client.state is ClientState.PROVING
        skipped = Action(invoke=2, method=METHOD, parameter=integer(0))
        answer = server.receive(client._protect(encode_request(skipped)))
        client._invoke = skipped.invoke
        with pytest.raises(PeerError) as refused:
            client.receive(answer)
        assert refused.value.code == "dlms.authentication"
        assert device.acted == []

    def test_a_wrong_proof(self):
        client, server, device = pair(Authentication.HLS5)
        client.receive(server.receive(client.open()))
        wrong = Action(
            invoke=client._invoke, method=REPLY_TO_HLS, parameter=octet_string(bytes(17))
        )
        with pytest.raises(PeerError) as refused:
            client.receive(server.receive(client._protect(encode_request(wrong))))
        assert refused.value.code == "dlms.authentication"
        assert device.acted == []

    def test_a_repeated_request_is_answered_with_the_counter(self):
        client, server, device = opened(Authentication.HLS5)
        order = client.act(METHOD, integer(0))
        client.receive(server.receive(order))
        (answer,) = Unwrapper().feed(server.receive(order))
        refused = decode_response(answer.apdu)
        assert (refused.service, refused.counter) == (6, 4)
        assert len(device.acted) == 1
        assert converse(client, server, client.get(SMALL))[0] == (unsigned(7),)

    def test_a_repeated_request_on_another_connection(self):
        floor = CounterFloor()
        client, server, device = opened(Authentication.HLS5, client_counter=floor)
        order = client.act(METHOD, integer(0))
        client.receive(server.receive(order))
        client2, server2, device2 = pair(Authentication.HLS5, client_counter=floor)
        assert decode_response(Unwrapper().feed(server2.receive(client2.open()))[0].apdu) == (
            ServiceException(state=1, service=6, counter=4)
        )
        assert device2.acted == []
        assert len(device.acted) == 1

    def test_a_flipped_bit_in_a_request_orders_nothing(self):
        client, server, device = opened(Authentication.HLS5)
        order = bytearray(client.act(METHOD, integer(0)))
        for at in range(20, len(order)):
            touched = bytearray(order)
            touched[at] ^= 4
            server.receive(bytes(touched))
        assert device.acted == []
        server.receive(bytes(order))
        assert len(device.acted) == 1

    def test_an_unknown_access_point_gets_no_association(self):
        _, server, _ = pair(Authentication.NONE)
        initiate = InitiateRequest(conformance=Conformance.GET, max_pdu=0).encode()
        aarq = acse.encode_aarq(acse.Aarq(context=acse.Context.LN_PLAIN, initiate=initiate))
        for source, destination in ((99, 1), (1, 99)):
            octets = server.receive(pack(source, destination, aarq))
            (answer,) = Unwrapper().feed(octets)
            assert isinstance(decode_response(answer.apdu), ServiceException)

    @pytest.mark.parametrize("mechanism", [2, 3, 4, 6, 7])
    def test_other_mechanisms_are_refused_clearly(self, mechanism):
        _, server, _ = pair(Authentication.HLS5)
        aarq = acse.Aarq(
            context=acse.Context.LN_CIPHERED, mechanism=mechanism, authentication=bytes(16)
        )
        (answer,) = Unwrapper().feed(server.receive(pack(1, 1, acse.encode_aarq(aarq))))
        aare = acse.decode_aare(answer.apdu)
        assert aare.result == acse.Result.REJECTED_PERMANENT
        assert aare.diagnostic == acse.Diagnostic.MECHANISM_UNRECOGNISED

    def test_an_action_answer_to_a_get(self):
        client, _server, _ = opened(Authentication.NONE)
        client.get(SMALL)
        other = ActionAnswer(invoke=client._invoke, result=Access.SUCCESS)
        with pytest.raises(PeerError) as refused:
            client.receive(pack(1, 1, encode_response(other)))
        assert refused.value.code == "dlms.unexpected"
        assert client.state is ClientState.BROKEN


def test_an_exception_leaves_the_association_usable():
    client, server, _ = opened(Authentication.HLS5)
    client.get(SMALL)
    turn = client.receive(pack(1, 1, bytes.fromhex("D80103")))
    assert turn.answer == ServiceException(state=1, service=3)
    assert converse(client, server, client.get(SMALL))[0] == (unsigned(7),)


def feed_blocks(client, blocks):
    for number, raw, last in blocks:
        block = GetBlock(invoke=client._invoke, last=last, block=number, raw=raw)
        client.receive(pack(1, 1, encode_response(block)))


@pytest.mark.parametrize(
    "blocks",
    [
        [(2, b"ab", False)],
        [(1, b"ab", False), (1, b"ab", False)],
        [(1, b"ab", False), (3, b"ab", True)],
        [(1, b"", False)],
    ],
    ids=["starts-late", "repeats", "skips", "empty"],
)
def test_blocks_out_of_order_end_the_transfer(blocks):
    client, _, _ = opened(Authentication.NONE)
    client.get(LONG)
    with pytest.raises(PeerError) as refused:
        feed_blocks(client, blocks)
    assert refused.value.code == "dlms.blocks"


def test_an_endless_answer_ends():
    client, _, _ = pair(Authentication.NONE)
    client._settings = replace(client._settings, max_answer=10_000)
    server = pair(Authentication.NONE)[1]
    converse(client, server, client.open())
    client.get(LONG)
    with pytest.raises(PeerError) as refused:
        feed_blocks(client, [(number, bytes(1000), False) for number in range(1, 100)])
    assert refused.value.code == "dlms.too_long"


def test_a_block_that_was_not_asked_for_is_refused_by_the_server():
    _client, server, _ = opened(Authentication.NONE)
    (answer,) = Unwrapper().feed(
        server.receive(pack(1, 1, encode_request(GetNext(invoke=1, block=4))))
    )
    assert decode_response(answer.apdu).error is Access.NO_LONG_GET
    server.receive(pack(1, 1, encode_request(Get(invoke=2, attributes=(LONG,)))))
    (answer,) = Unwrapper().feed(
        server.receive(pack(1, 1, encode_request(GetNext(invoke=2, block=7))))
    )
    assert decode_response(answer.apdu).error is Access.BLOCK_NUMBER_INVALID


def test_hls_without_keys_is_our_own_mistake():
    with pytest.raises(ValueError, match="keys"):
        ClientConnection(
            ClientSettings(client_sap=1, server_sap=1, authentication=Authentication.HLS5),
            counter=lambda: 1,
        )
    with pytest.raises(ValueError, match="16 octets"):
        Keys(encryption=bytes(16), authentication=b"")
