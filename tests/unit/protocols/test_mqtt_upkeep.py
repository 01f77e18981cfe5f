"""Settings, firmware and keys on the wire: what is signed comes back, what is wrong is named."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import PeerError
from protocols.identity import CommandId, ConcentratorId, MeterId
from protocols.mqtt import topics
from protocols.mqtt.downlink import Command, Verb, open_signed, seal, sign
from protocols.mqtt.upkeep import (
    SETTINGS,
    Block,
    ConfigOrder,
    Fetch,
    FirmwareOrder,
    NewKeys,
    block_from_plain,
    block_to_plain,
    config_body,
    fault_of,
    fetch_from_plain,
    fetch_to_plain,
    firmware_args,
    firmware_of,
    open_config,
    open_keys,
    seal_keys,
    sign_config,
)

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key()
C, M = ConcentratorId("C-01"), MeterId("M-000001")
ORDER = ConfigOrder(
    id=CommandId("upkeep-1"), concentrator=C, revision=3, issued_at=AT, issuer="ann",
    settings={"poll_seconds": 5.5, "concurrency": 4},
)  # fmt: skip
IMAGE = FirmwareOrder(image=bytes(32), size=100_000, identifier=b"fw-2", block=8192)


def _command(verb: Verb, args: dict[str, Any]) -> Command:
    return Command(
        id=CommandId("upkeep-2"), concentrator=C, meter=M, verb=verb, not_before=AT,
        expires=AT.replace(hour=13), issuer="ann", epoch=0, args=args,
    )  # fmt: skip


def test_order_of_settings_comes_back_as_it_was_signed() -> None:
    assert open_config(sign_config(ORDER, KEY), PUBLIC) == ORDER
    ending = replace(ORDER, expires=AT.replace(day=2))
    assert open_config(sign_config(ending, KEY), PUBLIC) == ending


def test_tampered_order_and_other_kind_of_message_are_refused() -> None:
    body = config_body(ORDER)
    wrong = seal(body.replace(b"ann", b"eve"), KEY.sign(body))
    with pytest.raises(PeerError) as caught:
        open_config(wrong, PUBLIC)
    assert caught.value.code == "config.signature"
    command = sign(_command(Verb.READ_RELAY, {}), KEY)
    with pytest.raises(PeerError) as caught:
        open_config(command, PUBLIC)
    assert caught.value.code == "config.shape"
    with pytest.raises(PeerError) as caught:
        open_signed(sign_config(ORDER, KEY), PUBLIC)
    assert caught.value.code == "command.shape"


@pytest.mark.parametrize(
    "change",
    [
        {"revision": 0}, {"revision": True}, {"settings": {"poll_seconds": "5"}},
        {"settings": {"poll_seconds": float("nan")}}, {"settings": {1: 5}}, {"id": "a/b"},
        {"concentrator": "#"}, {"expires_ms": "soon"}, {"v": 2}, {"settings": {"x": True}},
    ],
)  # fmt: skip
def test_order_of_another_shape_is_refused(change: dict[str, Any]) -> None:
    body = cbor2.dumps({**cbor2.loads(config_body(ORDER)), **change})
    with pytest.raises(PeerError) as caught:
        open_config(seal(body, KEY.sign(body)), PUBLIC)
    assert caught.value.code == "config.shape"


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_setting_is_taken_to_both_ends_of_its_range_and_no_further(name: str) -> None:
    allowed = SETTINGS[name]
    assert fault_of({name: allowed.least}) == "" == fault_of({name: allowed.most})
    for value in (allowed.least - 1, allowed.most + 1):
        fault = fault_of({name: value})
        assert fault.startswith(f"{name}: ")
        assert f"from {allowed.least} to {allowed.most}" in fault


def test_unknown_setting_and_part_of_a_whole_are_named() -> None:
    assert fault_of({"broker": 1}).startswith("broker: no such setting")
    assert fault_of({"concurrency": 2.5}).startswith("concurrency: must be a whole number")


def test_firmware_order_comes_back() -> None:
    assert firmware_of(_command(Verb.FIRMWARE, firmware_args(IMAGE))) == IMAGE
    later = replace(IMAGE, activate=True, activate_at=AT)
    assert firmware_of(_command(Verb.FIRMWARE, firmware_args(later))) == later
    assert IMAGE.blocks == 13


@pytest.mark.parametrize(
    "change",
    [
        {"image": b"short"}, {"size": 0}, {"size": 1 << 40}, {"identifier": b""}, {"block": 1},
        {"block": None}, {"activate": 1}, {"activate_at_ms": 5},
        {"activate": True, "activate_at_ms": 1 << 80},
    ],
)  # fmt: skip
def test_firmware_order_of_another_shape_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(PeerError) as caught:
        firmware_of(_command(Verb.FIRMWARE, {**firmware_args(IMAGE), **change}))
    assert caught.value.code == "command.firmware"


def test_fetch_and_block_come_back_and_wrong_ones_are_refused() -> None:
    fetch = Fetch(image=bytes(32), index=2, block=8192)
    assert fetch_from_plain(fetch_to_plain(fetch)) == fetch
    block = Block(image=bytes(32), index=2, octets=b"abc")
    assert block_from_plain(block_to_plain(block)) == block
    changes: list[dict[str, Any]] = [{"index": -1}, {"image": b""}, {"v": 0}]
    for wrong in ({"block": 1}, *changes):
        with pytest.raises(PeerError):
            fetch_from_plain({**fetch_to_plain(fetch), **wrong})
    for wrong in ({"octets": bytes(65_537)}, *changes):
        with pytest.raises(PeerError):
            block_from_plain({**block_to_plain(block), **wrong})


LEAVES = st.none() | st.integers() | st.binary(max_size=40) | st.text(max_size=8)


@given(st.recursive(LEAVES, lambda inner: st.dictionaries(st.text(max_size=8), inner, max_size=4)))
def test_whatever_else_comes_is_refused(value: Any) -> None:
    for read in (fetch_from_plain, block_from_plain):
        with pytest.raises(PeerError):
            read(value)


@pytest.mark.parametrize("octets", [16, 32])
def test_sealed_keys_open_for_their_concentrator_and_meter_alone(octets: int) -> None:
    keys = NewKeys(encryption_key=bytes([1]) * octets, authentication_key=bytes([2]) * octets)
    transport = bytes(range(32))
    args = seal_keys(keys, transport, nonce=bytes(12), concentrator=C, meter=M)
    assert len(args["sealed"]) <= 256
    command = _command(Verb.REKEY, dict(args))
    assert open_keys(command, transport) == keys
    for other in (replace(command, meter=MeterId("M-2")),
                  replace(command, concentrator=ConcentratorId("C-02")),
                  replace(command, args={"sealed": args["sealed"][:-1] + b"\0"}),
                  replace(command, args={"sealed": b""}), replace(command, args={})):  # fmt: skip
        with pytest.raises(PeerError) as caught:
            open_keys(other, transport)
        assert caught.value.code == "command.rekey"
    assert keys.encryption_key.hex() not in repr(keys)


def test_topics_of_upkeep() -> None:
    assert topics.down_config(C) == "ami/v1/C-01/down/config"
    assert topics.down_firmware(C) == "ami/v1/C-01/down/fw"
    assert topics.up_fetch(C) == "ami/v1/C-01/up/fetch"
    assert topics.concentrator_of(topics.up_fetch(C)) == C
