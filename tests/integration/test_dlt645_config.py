"""From a line in `meters_file` to a DL/T 645 driver, and `meterloop read` with it."""

import asyncio
import json
from dataclasses import replace
from datetime import timedelta

import pytest

from edge.acquire.drivers import build_driver
from edge.clock import EdgeClock
from edge.config import ConfigError, KeyRing, MeterKeys, config_from_json
from meterloop.cli import ask
from protocols.dlt645.relay import Edition
from protocols.errors import PeerError
from protocols.identity import MeterId
from tests.integration.dlt645_kit import on_wire
from tests.patient_loop import patiently

METER = MeterId("M-000003")
ENTRY = {
    "meter": METER, "usage_point": "UP-000003", "protocol": "dlt645", "serial": "210000420017",
    "host": "127.0.0.1", "port": 4001, "history_from": "2026-11-01T00:00:00Z",
}  # fmt: skip


def config_of(**changes):
    plain = {
        "concentrator": "C-01", "broker": {"host": "localhost", "port": 1883},
        "outbox": "o", "keys_file": "k", "control_public_key": "0" * 64,
        "meters": [ENTRY | changes],
    }  # fmt: skip
    return config_from_json(json.dumps(plain)).meters[0]


def driver_of(password=b"", **changes):
    keys = KeyRing(system_title=bytes(8), meters={METER: MeterKeys(password=password)})
    return build_driver(config_of(**changes), keys, None, EdgeClock())


@pytest.mark.req("A9", "D12")
def test_what_the_entry_says_is_what_the_driver_does():
    plain = driver_of()._target
    assert (plain.closes_remotely, plain.arms_itself, plain.edition) == (
        True, False, Edition.SUPPLEMENT,
    )  # fmt: skip
    pilot = driver_of(
        b"\x02\x11\x22\x33", closes_remotely=False, arms_itself=True, dlt645_edition="2007",
        has_relay=True, interval_seconds=900, utc_offset_minutes=-60,
    )  # fmt: skip
    assert pilot.has_relay
    assert pilot.has_profile
    assert pilot._target == replace(
        plain, closes_remotely=False, arms_itself=True, edition=Edition.FIRST, has_relay=True,
        interval_seconds=900, utc_offset=timedelta(hours=-1), password=b"\x02\x11\x22\x33",
    )  # fmt: skip
    assert repr(pilot._target.password)[2:-1] not in repr(pilot._target)


def test_meters_behind_one_gateway_share_its_line():
    one, two = driver_of(), driver_of(serial="210000420018")
    assert one._line is two._line


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"serial": ""}, "needs serial"),
        ({"serial": "12345678901x"}, "needs serial"),
        ({"serial": "1234567890123"}, "needs serial"),
        ({"dlt645_edition": "1997"}, "dlt645_edition"),
        ({"host": ""}, "host and port, or serial_port"),
        ({"utc_offset_minutes": 10_000}, "utc_offset_minutes"),
    ],
)
def test_an_entry_that_cannot_be_says_which_key(changes, said):
    with pytest.raises(ConfigError, match=said):
        config_of(**changes)


def test_a_password_of_another_length_is_told_but_not_shown():
    with pytest.raises(ConfigError, match="4 octets") as error:
        driver_of(b"secret")
    assert "secret" not in str(error.value)


@pytest.mark.req("A1", "A9")
def test_a_serial_meter_is_read_by_its_entry_as_read_does_it(tmp_path):
    async def scenario():
        async with on_wire("dlt645_pilot", tmp_path) as at:
            entry = ENTRY | {
                "meter": at.meter.spec.meter, "serial": at.meter.spec.serial, "host": "",
                "port": 0, "serial_port": str(at.wire.path), "baud": 2400, "parity": "E",
                "has_relay": True,
            }  # fmt: skip
            answer = await ask._read(entry, None, EdgeClock().scale, tmp_path / "counters")
            assert answer["identity"] == at.meter.spec.serial
            shown = at.meter.snapshot()
            assert answer["registers"]["1-0:1.8.0*255"] == f"{shown.register_wh // 10}e1"
            with pytest.raises(PeerError):
                await ask._read(
                    entry | {"serial": "000000000001", "timeout_seconds": 0.2}, None,
                    EdgeClock().scale, tmp_path / "counters",
                )  # fmt: skip

    patiently(asyncio.wait_for(scenario(), 30))
