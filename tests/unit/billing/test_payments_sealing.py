"""The seal of kept messages: what was sealed comes back whole or not at all."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.payments.model import Direction, PeerMessage, SealedMessage
from billing.payments.rules import sealing
from protocols.errors import RefusedError

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
RING = sealing.parse_ring(json.dumps({"current": "b", "keys": {"a": "11" * 32, "b": "22" * 32}}))
NONCE = bytes(range(12))


def kept_message(**changes: Any) -> PeerMessage:
    base = PeerMessage(
        id=1, channel="bank", peer_txn_id="t", direction=Direction.ASKED, at_wall=NOON,
        kept_until_wall=NOON, key_id="b", octets=0,
    )  # fmt: skip
    return replace(base, **changes)


@given(words=st.binary(max_size=200), place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_sealed_words_come_back_and_no_bit_of_them_changes_unseen(
    words: bytes, place: int, bit: int
) -> None:
    message = kept_message()
    sealed = sealing.seal(message, words, RING, nonce=NONCE)
    found = SealedMessage(message=message, nonce=NONCE, sealed=sealed)
    assert sealing.unseal(found, RING) == words
    wrong = bytearray(sealed)
    wrong[place % len(wrong)] ^= 1 << bit
    strangers = [
        replace(found, sealed=bytes(wrong)), replace(found, nonce=bytes(12)),
        *(replace(found, message=kept_message(**change)) for change in (
            {"channel": "bank2"}, {"peer_txn_id": "u"}, {"direction": Direction.ANSWERED},
            {"at_wall": NOON + timedelta(seconds=1)}, {"key_id": "a"}, {"key_id": "c"},
        )),
    ]  # fmt: skip
    for stranger in strangers:
        with pytest.raises(RefusedError, match=r"payments\.sealed"):
            sealing.unseal(stranger, RING)


@pytest.mark.parametrize("text", [
    "[]", "{}", '{"current": "a", "keys": {}}', '{"current": "a", "keys": {"a": "11"}}',
    '{"current": "a", "keys": {"a": "' + "zz" * 32 + '"}}', '{"current": "a", "keys": 3}',
    "nothing",
])  # fmt: skip
def test_a_key_file_that_is_wrong_is_refused_without_telling_a_key(text: str) -> None:
    with pytest.raises(ValueError, match=r"key|JSON|Expecting|current") as caught:
        sealing.parse_ring(text)
    assert "zz" not in str(caught.value)
