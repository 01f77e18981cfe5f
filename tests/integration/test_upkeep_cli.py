"""The verbs of upkeep as people type them: two people, files of keys, refusals with a fix line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cloud.store.db import Database
from cloud.upkeep import service as upkeep
from meterloop.cli import app
from protocols.identity import MeterId
from protocols.mqtt.downlink import Command, Verb
from protocols.mqtt.upkeep import open_keys
from tests.integration.control_kit import CONCENTRATOR, NOW, build
from tests.integration.people_kit import make_people, sign_in

Type = Callable[..., dict[str, Any]]
TRANSPORT = bytes(range(32))


@pytest.fixture
def typed(db: Database, database_dsn: str, tmp_path: Path) -> Type:
    """Type a verb as somebody and return its JSON answer."""
    build(db, 1, 2)
    file = tmp_path / "installation.toml"
    file.write_text(f'data = "{tmp_path}"\n[database]\ndsn = "{database_dsn}"\n')

    people = ("lin", "reza")
    make_people(db, *people)
    for one in people:
        sign_in(one, file, tmp_path / one)

    def run(*words: str, by: str = "reza", fails: bool = False) -> dict[str, Any]:
        result = CliRunner(env={"XDG_CONFIG_HOME": str(tmp_path / by)}).invoke(
            app, ["upkeep", *words, "--config", str(file), "--json"]
        )
        assert (result.exit_code != 0) is fails, result.output
        answer: dict[str, Any] = json.loads(result.stdout)
        return answer

    return run


def test_settings_are_given_by_one_person(typed: Type) -> None:
    order = ("configure", "--concentrator", CONCENTRATOR, "--reason", "less traffic")
    given = typed(*order, "--set", "poll_seconds=60", "--set", "backfill_pause_seconds=0.5")
    assert given["state"] == "first"
    assert given["settings"] == {"poll_seconds": 60, "backfill_pause_seconds": 0.5}
    assert [row["meter"] for row in given["targets"]] == [CONCENTRATOR]
    wrong = typed(*order, "--set", "concurrency=0", fails=True)["error"]
    assert wrong["code"] == "upkeep.setting"
    assert "concurrency" in wrong["message"]
    unread = typed(*order, "--set", "concurrency", fails=True)["error"]
    assert "NAME=NUMBER" in unread["message"]


def test_firmware_takes_a_second_person(typed: Type, tmp_path: Path) -> None:
    file = tmp_path / "fw.bin"
    file.write_bytes(bytes(range(256)) * 100)
    order = ("firmware", "--file", str(file), "--model", "toy", "--version", "2.1", "--every",
             "--reason", "clock fault")  # fmt: skip
    asked = typed(*order)
    assert (asked["state"], len(asked["targets"])) == ("asked", 2)
    alone = typed("approve", asked["rollout"], fails=True)["error"]
    assert (alone["code"], alone["fix"]) == ("upkeep.same_person", "let somebody else approve it")
    assert typed("approve", asked["rollout"], by="lin")["state"] == "first"
    busy = typed("firmware", "--image", asked["image"][:12], "--meter", "M-000001", "--reason",
                 "again", fails=True)["error"]  # fmt: skip
    assert busy["code"] == "upkeep.target_busy"
    assert typed("stop", asked["rollout"], "--reason", "enough", by="lin")["state"] == "halted"
    [row] = typed("show")["rollouts"]
    assert (row["state"], row["cause"]) == ("halted", "enough")
    [image] = typed("show", "--images")["images"]
    assert (image["octets"], image["uploaded_by"]) == (25_600, "user:reza")
    unbrought = typed("activate", "--image", image["image"], "--every", "--reason", "now",
                      fails=True)["error"]  # fmt: skip
    assert unbrought["code"] == "upkeep.image_not_in_meter"


def test_new_keys_leave_this_desk_sealed(typed: Type, db: Database, tmp_path: Path) -> None:
    keys, out = tmp_path / "keys.json", tmp_path / "new.json"
    keys.write_text(json.dumps({"system_title": "00" * 8, "transport_key": TRANSPORT.hex()}))
    order = ("rekey", "--meter", "M-000001", "--keys", str(keys), "--out", str(out),
             "--reason", "yearly")  # fmt: skip
    open_to_all = typed(*order, fails=True)["error"]
    assert "chmod 600" in open_to_all["message"]
    keys.chmod(0o600)
    asked = typed(*order)
    assert asked["state"] == "asked"
    assert out.stat().st_mode & 0o777 == 0o600
    new = json.loads(out.read_text())["M-000001"]
    assert new["encryption_key"] not in json.dumps(asked)
    with db.transaction() as conn:
        [errand] = upkeep.errands_of(conn, asked["rollout"])
    sealed = Command(
        id=errand.id, concentrator=CONCENTRATOR, meter=MeterId("M-000001"), verb=Verb.REKEY,
        not_before=NOW, expires=NOW, issuer="", epoch=0, args={"sealed": errand.sealed},
    )  # fmt: skip
    assert open_keys(sealed, TRANSPORT).encryption_key.hex() == new["encryption_key"]
    assert bytes.fromhex(new["encryption_key"]) not in (errand.sealed or b"")
    again = typed(*order, fails=True)["error"]
    assert "exists already" in again["message"]
    other = tmp_path / "other.json"
    refused = typed(*order[:5], "--out", str(other), "--reason", "twice", fails=True)["error"]
    assert refused["code"] == "upkeep.target_busy"
    assert not other.exists(), "keys of a refused wish are of no use to anybody"
