"""The queue, values by hand and runs of validation from the command line."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cloud.store.db import Database
from meterloop.cli import app
from tests.integration.ingest_kit import ORIGIN, SLOT, UP1
from tests.integration.vee_kit import STEP, Sender, build_one, date_of, rows, slots_of, truth

GAP = range(slots_of(3).start + 10, slots_of(3).start + 14)


@pytest.fixture
def cli(db: Database, database_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a verb as somebody, and return its answer."""
    build_one(db)
    slots = [n for day in range(5) for n in slots_of(day) if n not in GAP]
    reads = [0, *(slots_of(day).stop for day in range(5))]
    Sender(db)(rows(slots, reads=reads, other={slots_of(2).start + 3: 9_000}))
    config = tmp_path / "installation.toml"
    config.write_text(f'data = "{tmp_path}"\n[database]\ndsn = "{database_dsn}"\n')
    monkeypatch.delenv("SUDO_USER", raising=False)

    def call(*words: str, who: str = "anna", ok: bool = True) -> dict[str, Any]:
        monkeypatch.setenv("USER", who)
        done = CliRunner().invoke(app, ["vee", *words, "--config", str(config), "--json"])
        answer: dict[str, Any] = json.loads(done.stdout)
        assert answer["ok"] == ok == (done.exit_code == 0), done.output
        return answer

    return call


@pytest.mark.req("B11", "B12", "B17")
def test_days_are_validated_and_what_waits_is_settled(cli: Any) -> None:
    done = cli("run")
    assert (done["days"], done["estimated"], done["rounds_waiting"]) == (4, 4, 0)
    found = cli("queue", "--severity", "error", "--kind", "capacity")
    (high,) = found["exceptions"]
    assert (high["day"], high["value"]) == (str(date_of(2)), 9_000)
    assert any(each["kind"] == "capacity" and each["open"] == 1 for each in found["open"])
    number = str(high["id"])
    assert cli("assign", number, "--to", "user:anna")["assigned_to"] == "user:anna"
    assert cli("queue", "--assigned", "user:anna")["exceptions"][0]["id"] == high["id"]
    assert cli("close", number, "--reason", "a welder", who="boris")["state"] == "closed"
    again = cli("close", number, "--reason", "a welder", ok=False)
    assert again["error"]["code"] == "vee.settled"
    assert cli("queue", "--kind", "capacity")["exceptions"] == []
    (gone,) = cli("queue", "--closed", "--kind", "capacity")["exceptions"]
    assert (gone["closed_by"], gone["close_reason"]) == ("user:boris", "a welder")


@pytest.mark.req("B11")
def test_values_by_hand_take_two_people(cli: Any) -> None:
    cli("run")
    start = (ORIGIN + STEP * GAP[0]).isoformat()
    made = cli("edit", UP1, "--seconds", str(SLOT), "--value", f"{start}=150", "--reason", "photo")
    number = str(made["edit"])
    refused = cli("verify", number, ok=False)
    assert refused["error"]["code"] == "vee.same_person"
    assert refused["error"]["fix"]
    assert number in {str(each["id"]) for each in cli("edits")["edits"]}
    assert cli("verify", number, who="boris")["state"] == "verified"
    told = cli("history", UP1, start[:19])
    assert [each["wh"] for each in told["said"]][-1] == 150
    cli("run")
    cli("run", "--point", UP1, "--day", str(date_of(3)))
    left = [cli("history", UP1, (ORIGIN + STEP * n).isoformat()[:19])["said"][-1] for n in GAP[1:]]
    assert sum(each["wh"] for each in left) == sum(truth(n) for n in GAP) - 150
    bad = cli("edit", UP1, "--value", "yesterday=1", "--reason", "x", ok=False)
    assert bad["error"]["code"] == "config.unusable"


def test_registers_of_days_are_told(cli: Any) -> None:
    cli("run")
    found = cli("registers", UP1, str(date_of(1)), str(date_of(3)))
    # every midnight was read
    assert (found["said"], found["days"]) == ([], [])
