"""Totality of what is no meter's frame: MQTT payloads, Modbus words, tapes and configurations."""

import json
from datetime import UTC, datetime
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import protocols.mqtt
from protocols.cim.readings import Series
from protocols.cim.wire import to_json, to_xml
from protocols.identity import CommandId, ConcentratorId
from protocols.mqtt import envelope
from protocols.mqtt.upkeep import (
    ConfigOrder,
    Fetch,
    FirmwareOrder,
    config_body,
    fetch_to_plain,
    firmware_args,
)
from protocols.reading import Channel, Quality
from tests.fuzz.decoders import DLT645, FILES, MODBUS, MQTT, check

MESSAGES = ("payload.", "batch.", "ack.", "receipt.", "watch.", "command.", "live.",
            "config.", "fetch.", "block.")  # fmt: skip
SETTINGS = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])

TAPE = (
    b'{"meterloop_tape": 1, "peer": "192.0.2.10:4059", "started": "2026-03-01T08:00:00+00:00"}\n'
    b'{"us": 1520, "from": "client", "hex": "0001"}\n'
    b'{"us": 9900, "from": "meter", "hex": "2a2a", "withheld": true}\n'
    b'{"us": 12000, "from": "client", "event": "close"}\n'
)
EDGE = json.dumps(
    {
        "concentrator": "C-01",
        "broker": {"host": "127.0.0.1", "port": 1883},
        "time_scale": "",
        "outbox": "edge/C-01.sqlite",
        "keys_file": "edge/C-01.keys",
        "control_public_key": "ab" * 32,
        "meters": [{"meter": "M-1", "protocol": "dlms", "host": "h", "port": 1}],
    }
).encode()
INSTALLATION = b"""
data = "data"
[[concentrator]]
id = "C-01"
config = "c1.json"
[broker]
host = "127.0.0.1"
port = 1883
"""


READINGS = Series(
    meter="M-1", channel=Channel.IMPORT_INTERVAL_WH, seconds=900,
    at_ms=np.array([0, 900_000]), value=np.array([250, 251]),
    quality=(Quality.VALID, Quality.ESTIMATED),
)  # fmt: skip


def payloads() -> list[bytes]:
    """Return every golden message of the wire in each of its forms."""
    found = []
    for file in (files(protocols.mqtt) / "schema").iterdir():
        golden = json.loads(file.read_bytes())
        plain = golden["message"]
        found.append(json.dumps(plain).encode())
        found += [envelope.encode(plain, kind) for kind in (envelope.CBOR, envelope.JSON_DEFLATE)]
        if "cbor" in golden:
            found.append(bytes.fromhex(golden["cbor"]))
    order = ConfigOrder(
        id=CommandId("upkeep-1"),
        concentrator=ConcentratorId("C-01"),
        revision=3,
        issued_at=datetime(2026, 7, 1, tzinfo=UTC),
        issuer="fuzz",
        settings={"poll_seconds": 2.5, "concurrency": 8},
    )
    firmware = FirmwareOrder(image=bytes(32), size=9000, identifier=b"FW1", block=256)
    found += [config_body(order), envelope.encode(firmware_args(firmware), envelope.CBOR)]
    fetch = Fetch(image=bytes(32), index=1, block=256)
    return [*found, envelope.encode(fetch_to_plain(fetch), envelope.CBOR)]


MAPS = [
    file.read_bytes()
    for file in (files("protocols.modbus") / "meters").iterdir()
    if file.name.endswith(".yaml")
]
NEM12 = (
    b"100,NEM12,200505181432,A,B\n200,NMI1,E1,1,E1,N1,S1,kWh,30,\n300,20050301,"
    + b"1.5," * 48
    + b"V,,,,\n400,1,20,A,,\n400,21,48,N,,\n900\n"
)
SEEDS = {
    "mqtt": payloads(),
    "files": [NEM12, TAPE, EDGE, INSTALLATION, to_xml([READINGS]), to_json([READINGS])],
    "maps": MAPS,
    "modbus": [
        bytes.fromhex("00010000000601030000000A"),
        bytes.fromhex("0104040000000BBBF3"),
        bytes.fromhex("00CB0069" + "0000" * 105 + "FFFF0000"),
    ],
    "dlt645": [bytes.fromhex("FEFE681209563412006891083333333333333333E616")],
}


@st.composite
def spoilt(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A known text with octets changed, cut out, doubled or put in."""
    octets = bytearray(draw(st.sampled_from(seeds)))
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


def any_of(kind: str) -> st.SearchStrategy[bytes]:
    return st.one_of(st.binary(max_size=400), spoilt(SEEDS[kind]))


@pytest.mark.parametrize("name", MQTT)
@given(octets=any_of("mqtt"))
@SETTINGS
def test_any_payload_is_a_message_or_refused(name, octets):
    check(MQTT[name], octets, *MESSAGES)


@pytest.mark.parametrize("name", FILES)
@given(octets=any_of("files"))
@SETTINGS
def test_any_file_is_read_or_refused(name, octets):
    check(FILES[name], octets)


@pytest.mark.parametrize("name", [name for name in MODBUS if name != "modbus-map"])
@given(octets=any_of("modbus"))
@SETTINGS
def test_any_words_are_values_or_refused(name, octets):
    check(MODBUS[name], octets, "modbus.", "sunspec.")


@given(octets=any_of("maps"))
@SETTINGS
def test_any_map_is_read_or_refused(octets):
    check(MODBUS["modbus-map"], octets)


@pytest.mark.parametrize("name", DLT645)
@given(octets=any_of("dlt645"))
@SETTINGS
def test_any_dlt645_octets_are_read_or_refused(name, octets):
    check(DLT645[name], octets, "dlt645.")


def test_a_bound_that_is_broken_is_noticed():
    """The bound is of processor time: a decoder that counts for long fails, one that waits not."""
    with pytest.raises(AssertionError, match="octets"):
        check(lambda octets: sum(range(20_000_000)), b"slow")
    with pytest.raises(IndexError):
        check(lambda octets: octets[9], b"short")
