"""
The wire as it was once agreed: golden payloads that are never edited.

Each `protocols/mqtt/schema/{message}.v1.json` holds the message as JSON and its CBOR as hex. What
an older concentrator sends must be read by every later cloud, so a change that fails here needs a
version of its own and new golden files beside these.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import protocols.mqtt
from protocols.events import EndDeviceEvent, EventCode
from protocols.identity import BatchId, CommandId, ConcentratorId, MeterId, UsagePointId
from protocols.mqtt import envelope
from protocols.mqtt.downlink import (
    Command,
    Go,
    Verb,
    Watch,
    body_of,
    open_signed,
    sign,
    watch_from_plain,
    watch_to_plain,
)
from protocols.mqtt.live import (
    LiveBalance,
    LiveReading,
    LiveSupply,
    live_from_bytes,
    live_to_bytes,
)
from protocols.mqtt.receipt import (
    AckReceipt,
    BatchReceipt,
    Custody,
    receipt_from_plain,
    receipt_to_plain,
)
from protocols.mqtt.topics import Live
from protocols.mqtt.uplink import (
    Ack,
    DataBatch,
    RelayReport,
    Stage,
    ack_from_plain,
    ack_to_plain,
    batch_from_plain,
    batch_to_plain,
    columns_of,
)
from protocols.reading import RelayReading, RelayState

SCHEMA = Path(protocols.mqtt.__file__).parent / "schema"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)

BATCH = DataBatch(
    id=BatchId(concentrator=ConcentratorId("C-01"), boot=1_782_907_200_000, seq=17),
    made_at=NOON,
    meters=(MeterId("M-000042"), MeterId("M-H01")),
    columns=columns_of(
        {
            "meter": [0, 0, 1],
            "channel": [1, 3, 10],
            "at_ms": [1_782_907_199_000, 1_782_905_400_000, 1_782_907_199_500],
            "seconds": [0, 1800, 0],
            "received_ms": [1_782_907_200_000, 1_782_907_200_000, 1_782_907_199_900],
            "raw": [123_456_789, 250, -1_500],
            "scaler": [0, 0, -1],
            "status": [0, 32, 0],
        }
    ),
    relays=(
        RelayReport(
            meter=MeterId("M-000042"),
            at=NOON,
            relay=RelayReading(
                output_closed=True, control_state=RelayState.CONNECTED, control_mode=4
            ),
        ),
    ),
    events=(
        EndDeviceEvent(
            meter=MeterId("M-H01"), code=EventCode.CLOCK_DRIFT, at=NOON, detail="offset 420000 ms"
        ),
    ),
)
COMMAND = Command(
    id=CommandId("cmd-000007"),
    concentrator=ConcentratorId("C-01"),
    meter=MeterId("M-000042"),
    verb=Verb.DISCONNECT,
    not_before=NOON,
    expires=datetime(2026, 7, 1, 12, 2, tzinfo=UTC),
    issuer="system:control",
    epoch=3,
)
GO = Go(
    id=COMMAND.id, concentrator=COMMAND.concentrator, meter=COMMAND.meter, nonce=bytes(range(16))
)
ACK = Ack(
    id=COMMAND.id,
    meter=COMMAND.meter,
    stage=Stage.CHALLENGE,
    at=NOON,
    nonce=bytes(range(16)),
    evidence={"attempts": 0},
)
WATCH = Watch(meter=MeterId("M-000042"), wall_seconds=45)

PLAIN: dict[str, tuple[Any, Callable[[Any], Any], Callable[[Any], Any]]] = {
    "batch": (BATCH, batch_to_plain, batch_from_plain),
    "ack": (ACK, ack_to_plain, ack_from_plain),
    "batch_receipt": (
        BatchReceipt(boot=1_782_907_200_000, seq=17, custody=Custody.STORED),
        receipt_to_plain,
        receipt_from_plain,
    ),
    "ack_receipt": (
        AckReceipt(id=COMMAND.id, stage=Stage.CHALLENGE),
        receipt_to_plain,
        receipt_from_plain,
    ),
    "watch": (WATCH, watch_to_plain, watch_from_plain),
}
TOKEN = replace(
    COMMAND,
    id=CommandId("cmd-000008"),
    verb=Verb.DELIVER_TOKEN,
    args={"opaque": bytes(range(20)), "kind": "sts"},
)
SIGNED: dict[str, Command | Go] = {"command": COMMAND, "go": GO, "command_token": TOKEN}
LIVE = {
    "live_reading": (
        Live.READING,
        LiveReading(
            usage_point=UsagePointId("UP-000042"), at_ms=1_782_907_199_000,
            wall_ms=1_782_907_200_000, quality="raw", register_wh=123_456_789, today_wh=4_210,
            power_w=640, voltage_mv=229_800, current_ma=2_790,
        ),
    ),
    "live_balance": (
        Live.BALANCE,
        LiveBalance(
            usage_point=UsagePointId("UP-000042"), available_micros=-1_250_000,
            cost_today_micros=2_189_200, today_wh=4_210, as_of_register_wh=123_456_789,
            at_ms=1_782_907_199_000, tariff_hash="3f1c",
        ),
    ),
    "live_supply": (
        Live.SUPPLY,
        LiveSupply(
            usage_point=UsagePointId("UP-000042"), state="disconnected",
            at_ms=1_782_907_199_000, command="cmd-000007",
        ),
    ),
}  # fmt: skip


def golden(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((SCHEMA / f"{name}.v1.json").read_bytes())
    return loaded


def as_json(plain: Any) -> Any:
    """Return a plain value as JSON shows it: arrays as lists, octets as hex."""
    if isinstance(plain, dict):
        return {key: as_json(value) for key, value in plain.items()}
    if isinstance(plain, list):
        return [as_json(value) for value in plain]
    if isinstance(plain, envelope.Packed):
        return plain.numbers.tolist()
    return plain.hex() if isinstance(plain, bytes) else plain


def same(one: Any, other: Any) -> bool:
    if isinstance(one, DataBatch):
        return as_json(batch_to_plain(one)) == as_json(batch_to_plain(other))
    return bool(one == other)


@pytest.mark.req("A11")
@pytest.mark.parametrize("name", PLAIN)
def test_what_was_once_sent_is_still_read(name: str) -> None:
    message, _, read = PLAIN[name]
    stored = golden(name)
    payload = bytes.fromhex(stored["cbor"])
    assert same(read(envelope.decode(payload, envelope.CBOR)), message)


@pytest.mark.req("A11")
@pytest.mark.parametrize("name", PLAIN)
def test_what_is_sent_now_is_what_was_agreed(name: str) -> None:
    message, write, _ = PLAIN[name]
    stored = golden(name)
    assert as_json(write(message)) == stored["message"]
    assert envelope.encode(write(message), envelope.CBOR).hex() == stored["cbor"]


@pytest.mark.parametrize("name", ["batch", "batch_receipt", "ack_receipt", "watch"])
def test_the_same_message_as_json_is_read_as_well(name: str) -> None:
    message, _, read = PLAIN[name]
    payload = json.dumps(golden(name)["message"]).encode()
    assert same(read(envelope.decode(payload, envelope.JSON)), message)


@pytest.mark.parametrize("name", SIGNED)
def test_signed_messages_are_the_same_octets(name: str) -> None:
    """Ed25519 is deterministic, so even the signature is golden."""
    stored = golden(name)
    payload = bytes.fromhex(stored["cbor"])
    assert stored["public_key"] == KEY.public_key().public_bytes_raw().hex()
    assert open_signed(payload, KEY.public_key()) == SIGNED[name]
    assert sign(SIGNED[name], KEY) == payload
    body = envelope.decode(body_of(SIGNED[name]), envelope.CBOR)
    assert as_json(body) == stored["message"]


@pytest.mark.parametrize("name", LIVE)
def test_live_messages_are_the_same_json(name: str) -> None:
    what, message = LIVE[name]
    payload = json.dumps(golden(name)["message"]).encode()
    assert live_from_bytes(what, payload) == message
    assert json.loads(live_to_bytes(message)) == golden(name)["message"]


def test_every_golden_file_is_looked_at() -> None:
    known = {*PLAIN, *SIGNED, *LIVE, "state"}
    assert {path.name.removesuffix(".v1.json") for path in SCHEMA.iterdir()} == known


def test_presence_is_the_small_json_that_others_read() -> None:
    message = golden("state")["message"]
    assert message["online"] is True
    assert isinstance(message["boot"], int)
