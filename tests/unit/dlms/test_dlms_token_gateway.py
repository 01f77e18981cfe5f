"""Class 115: status codes both ways, and what is no token."""

import pytest

from protocols.dlms.classes import token_gateway
from protocols.dlms.classes.token_gateway import TokenCode, TokenStatus
from protocols.dlms.values import (
    BitString,
    array,
    enum,
    octet_string,
    structure,
    unsigned,
)
from protocols.errors import PeerError


@pytest.mark.parametrize("code", list(TokenCode))
def test_a_status_comes_out_as_it_went_in(code):
    status = TokenStatus(code=code, bits=BitString(3, b"\xa0"))
    assert token_gateway.decode_status(status.encode()) == status


def test_a_code_is_refused_pending_or_executed_and_only_one_of_them():
    refused = [code for code in TokenCode if code.refused]
    pending = [code for code in TokenCode if code.pending]
    assert [int(code) for code in refused] == [4, 5, 6, 7]
    assert [int(code) for code in pending] == [0, 1, 2, 8]


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (structure(enum(9), TokenStatus(code=TokenCode.EXECUTED).encode()), "dlms.token"),
        (structure(enum(3), unsigned(0)), "dlms.type"),
        (structure(enum(3)), "dlms.type"),
        (unsigned(3), "dlms.type"),
    ],
)
def test_what_is_no_status_is_refused(value, code):
    with pytest.raises(PeerError) as caught:
        token_gateway.decode_status(value)
    assert caught.value.code == code


def test_descriptions_are_octets_and_bounded():
    told = (b"\x01", b"STS")
    assert token_gateway.decode_descriptions(token_gateway.encode_descriptions(told)) == told
    with pytest.raises(PeerError, match="65 descriptions"):
        token_gateway.decode_descriptions(array([octet_string(b"")] * 65))


@pytest.mark.parametrize("length", [0, 257])
def test_a_token_that_no_command_carries_is_no_parameter(length):
    with pytest.raises(ValueError, match="1 to 256"):
        token_gateway.enter_parameter(bytes(length))
