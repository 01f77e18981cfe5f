"""The command line as people and scripts meet it: answers, JSON, exit codes, fix lines."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from meterloop.demo import town as demo_town

ROOT = Path(__file__).parents[2]


def run(*words: str, data: Path, timeout: float = 90) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"METERLOOP_DATA": str(data), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "meterloop.cli", *words],
        env=environment, capture_output=True, text=True, check=False, timeout=timeout,
        cwd=data.parent,
    )  # fmt: skip


def answer(result: subprocess.CompletedProcess[str]) -> dict[str, object]:
    return json.loads(result.stdout.splitlines()[-1])  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "words",
    [["audit"], ["migrate"], ["read", "M-1"], ["control", "halt", "--reason", "x"],
     ["up"], ["billing"], ["cloud", "signer"], ["portal"]],
)  # fmt: skip
def test_without_an_installation_every_verb_says_how_to_name_one(
    tmp_path: Path, words: list[str]
) -> None:
    result = run(*words, "--json", data=tmp_path / "none")
    assert result.returncode == 2
    told = answer(result)
    assert told["ok"] is False
    assert "--config FILE" in str(told["error"])
    plain = run(*words, data=tmp_path / "none")
    assert plain.returncode == 2
    assert plain.stderr.startswith("meterloop: ")
    assert "Traceback" not in plain.stderr


def test_migrate_then_audit_on_an_installation_at_rest(tmp_path: Path) -> None:
    data = tmp_path / "town"
    demo_town.prepare(data, seed_number=1, speed=60, port=0)
    first = answer(run("migrate", "--json", data=data))
    assert "0001_roles" in first["applied"]  # type: ignore[operator]
    readings = first["readings"]
    assert isinstance(readings, dict)
    assert readings.pop("means").startswith("a day of rows is a partition")
    assert readings == {
        "kept_by": "partitions", "timescaledb": "", "loaded": False, "installed": False,
        "edition": "", "fix": "",
    }  # fmt: skip
    assert answer(run("migrate", "--json", data=data))["applied"] == []
    away = run("audit", "--json", data=data)
    assert away.returncode == 1
    assert "meterloop up" in str(answer(away)["error"])


def test_doctor_looks_at_everything_and_fails_on_what_is_wrong(tmp_path: Path) -> None:
    fine = run("doctor", "--json", data=tmp_path / "town")
    checks = {row["check"]: row for row in answer(fine)["findings"]}  # type: ignore[attr-defined]
    assert {"disk", "clock", "database", "broker", "time zones"} <= set(checks)
    wrong = tmp_path / "wrong.toml"
    wrong.write_text('[database]\ndsn = "host=/nowhere dbname=x"\n[billing]\nsweep = 1\n')
    result = run("doctor", "--config", str(wrong), "--json", data=tmp_path / "town")
    assert result.returncode == 1
    findings = {row["check"]: row for row in answer(result)["findings"]}  # type: ignore[attr-defined]
    assert findings["database"]["verdict"] == findings["settings billing"]["verdict"] == "fail"
    assert findings["database"]["fix"]
    assert "billing.sweep: no such key" in findings["settings billing"]["found"]


def test_clean_removes_our_folder_and_no_other(tmp_path: Path) -> None:
    ours, foreign = tmp_path / "ours", tmp_path / "foreign"
    demo_town.prepare(ours, seed_number=1, speed=60, port=0)
    assert answer(run("demo", "--clean", "--json", data=ours))["removed"] is True
    assert not ours.exists()
    assert answer(run("demo", "--clean", "--json", data=ours))["removed"] is False
    foreign.mkdir()
    (foreign / "letter.txt").write_text("mine")
    refused = run("demo", "--clean", "--data", str(foreign), data=ours)
    assert refused.returncode == 1
    assert "no data folder of Meterloop" in refused.stderr
    assert (foreign / "letter.txt").exists()


def test_an_unknown_part_of_the_cloud_is_refused(tmp_path: Path) -> None:
    result = run("cloud", "ingset", data=tmp_path / "x")
    assert result.returncode == 2
    choices = result.stderr.split("choose ", 1)[1]
    for part in ("ingest", "control", "signer", "messages", "bridge", "worker"):
        assert part in choices


@pytest.mark.req("A1", "A9")
def test_one_meter_of_each_protocol_is_read_from_the_command_line(tmp_path: Path) -> None:
    data = tmp_path / "town"
    town = demo_town.prepare(data, seed_number=1, speed=60, port=0)
    settings = town.installation.simulator
    assert settings is not None
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "meterloop.cli", "simulate", "--truth", settings["truth"],
               "--fleet-file", settings["fleet_file"], "--scale", str(town.scale)]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as simulator:
        try:
            assert simulator.stdout is not None
            assert json.loads(simulator.stdout.readline())["event"] == "ready"
            modbus = next(meter.meter for meter in town.fleet.meters if meter.protocol == "modbus")
            for meter in ("M-000042", "M-000060", modbus):
                told = answer(run("read", meter, "--json", data=data))
                assert told["ok"] is True, told
                assert told["meter"] == meter
                assert len(told["registers"]) >= 3  # type: ignore[arg-type]
            foreign = run("read", "M-999999", "--json", data=data)
            assert foreign.returncode == 2
            assert "no concentrator's meters_file lists M-999999" in str(answer(foreign))
        finally:
            simulator.terminate()
    gone = run("read", "M-000042", "--json", data=data)
    assert gone.returncode == 1
    assert answer(gone)["ok"] is False
