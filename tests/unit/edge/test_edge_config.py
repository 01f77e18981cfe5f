"""A configuration with a missing or wrong value names the key; keys never show."""

import json
from pathlib import Path
from typing import Any

import pytest

from edge.config import ConfigError, config_from_json, load_config, load_keys
from protocols.identity import MeterId


def plain(**changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "concentrator": "C-01",
        "broker": {"host": "127.0.0.1", "port": 1883},
        "time_scale": "",
        "outbox": "edge/C-01.sqlite",
        "keys_file": "edge/C-01.keys",
        "control_public_key": "ab" * 32,
        "meters": [
            {
                "meter": "M-000042", "usage_point": "UP-000042", "protocol": "dlms",
                "host": "127.0.0.1", "port": 4059, "client_sap": 1, "server_sap": 1,
                "authentication": "hls5", "interval_seconds": 1800, "has_relay": True,
                "history_from": "2026-01-01T00:00:00Z", "timeout_seconds": 3.0,
            }
        ],
    }  # fmt: skip
    return base | changes


def test_a_good_file_is_read_with_its_defaults(tmp_path: Path) -> None:
    path = tmp_path / "edge.json"
    path.write_text(json.dumps(plain()))
    config = load_config(path)
    assert config.meters[0].meter == "M-000042"
    assert config.meters[0].has_relay
    assert (config.poll_seconds, config.concurrency) == (2.0, 8)
    assert config.time_scale.speed == 1


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"concentrator": "no spaces"}, "concentrator"),
        ({"control_public_key": "ab"}, "control_public_key"),
        ({"poll_seconds": 0}, "poll_seconds"),
        ({"colour": "red"}, "colour"),
        ({"time_scale": "fast"}, "time_scale"),
        ({"broker": {"host": "x"}}, "broker.port"),
        ({"meters": [plain()["meters"][0] | {"protocol": "smoke"}]}, "meters.0.protocol"),
        ({"meters": [plain()["meters"][0] | {"history_from": "2026-01-01T00:00:00"}]}, "zone"),
        ({"meters": plain()["meters"] * 2}, "M-000042"),
    ],
)
def test_a_wrong_value_is_named(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        config_from_json(json.dumps(plain(**changes)))


def test_a_missing_key_and_a_missing_file_are_named(tmp_path: Path) -> None:
    text = plain()
    del text["outbox"]
    with pytest.raises(ConfigError, match="outbox"):
        config_from_json(json.dumps(text))
    with pytest.raises(ConfigError, match="nothing.json"):
        load_config(tmp_path / "nothing.json")


def keys_at(tmp_path: Path, content: str, mode: int = 0o600) -> Path:
    path = tmp_path / "keys.json"
    path.write_text(content)
    path.chmod(mode)
    return path


def test_keys_are_read_and_never_shown(tmp_path: Path) -> None:
    secret = "00112233445566778899aabbccddeeff"
    ring = load_keys(
        keys_at(
            tmp_path,
            json.dumps({"system_title": "4d4c4f4f50303031", "M-1": {"encryption_key": secret}}),
        )
    )
    assert ring.of(MeterId("M-1")).encryption_key == bytes.fromhex(secret)
    assert ring.of(MeterId("M-2")).password == b""
    assert "0011" not in repr(ring)
    assert "\\x11" not in repr(ring.of(MeterId("M-1")))


@pytest.mark.parametrize(
    ("content", "mode"),
    [
        ('{"system_title": "4d4c4f4f50303031"}', 0o644),
        ('{"system_title": "4d"}', 0o600),
        ('{"M-1": {"password": "00"}}', 0o600),
        ('{"system_title": "4d4c4f4f50303031", "M-1": {"encryption_key": "c0ffee"}}', 0o600),
        ('{"system_title": "4d4c4f4f50303031", "M-1": {"password": "hidden"}}', 0o600),
        ("not json", 0o600),
    ],
)
def test_bad_keys_are_refused_without_showing_them(tmp_path: Path, content: str, mode: int) -> None:
    with pytest.raises(ConfigError) as caught:
        load_keys(keys_at(tmp_path, content, mode))
    assert "hidden" not in str(caught.value)
    assert "c0ffee" not in str(caught.value)
