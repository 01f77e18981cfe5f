"""Scenarios of validation as files: given.json, when/*.csv, then/*.csv worked by hand."""

import csv
import json
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from cloud.vee import service as vee
from cloud.vee.rules.checks import check_series
from cloud.vee.rules.estimate import estimate_series, judged
from cloud.vee.rules.rule_sets import rule_set_for
from meterloop.series import Options, load
from protocols.timeline import from_ms

FOLDER = Path(__file__).parent / "vee"
SCENARIOS = sorted(path.name for path in FOLDER.iterdir() if path.is_dir())


def table(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def stamp(at_ms: int) -> str:
    return from_ms(at_ms).isoformat().replace("+00:00", "Z")


@pytest.mark.req("B11", "B12", "B17")
@pytest.mark.parametrize("name", SCENARIOS)
def test_findings_and_estimates_are_those_worked_by_hand(name: str) -> None:
    folder = FOLDER / name
    given = json.loads((folder / "given.json").read_text())
    reads = folder / "when" / "registers.csv"
    (loaded,) = load(
        (folder / "when" / "intervals.csv").read_bytes(),
        reads.read_bytes() if reads.is_file() else None,
        Options(zone=ZoneInfo(given["zone"])),
    )
    frame = loaded.seen.grid.frame
    rules = rule_set_for(vee.shipped_rule_sets(), given["class"], frame.first_day)
    findings = check_series(loaded.seen, rules, now_ms=frame.end_ms)
    found = [
        {"code": one.code.value, "series": loaded.names[one.series], "start": stamp(one.start_ms),
         "end": stamp(one.end_ms), "value": str(one.value)}
        for one in findings.listed()
    ]  # fmt: skip
    assert found == table(folder / "then" / "findings.csv")
    done = estimate_series(judged(loaded.seen, findings), rules)
    step = frame.step_s * 1000
    made = [
        {"series": loaded.names[one.series], "start": stamp(one.start_ms), "method": one.method,
         "reason": one.reason, "wh": "" if not one.method else " ".join(
             str(value) for value in done.grid.wh[
                 one.series,
                 (one.start_ms - frame.start_ms) // step : (one.end_ms - frame.start_ms) // step,
             ].tolist())}
        for one in done.made
    ]  # fmt: skip
    assert made == table(folder / "then" / "estimates.csv")


def test_there_are_scenarios() -> None:
    assert len(SCENARIOS) >= 3
