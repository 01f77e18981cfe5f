"""Long requests and answers, lists, blocks of both kinds and what a wrong order of them does."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.dlms.apdu import (
    Access,
    DataBlock,
    Get,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
)
from protocols.dlms.association import Authentication
from protocols.dlms.gbt import GeneralBlock, GeneralReceiver, GeneralSender, decode_block
from protocols.dlms.initiate import OFFERED, OURS, Conformance
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
from tests.unit.dlms.connection_kit import (
    ECHO,
    LONG,
    MISSING,
    NO_METHOD,
    SMALL,
    converse,
    opened,
)

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
