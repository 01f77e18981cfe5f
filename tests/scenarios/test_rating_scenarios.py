"""Scenarios of rating as files: given.json, when/registers.csv, then/days.csv worked by hand."""

import csv
import json
from pathlib import Path

import pytest

from billing.money import parse_micros
from billing.rating.rules.kernel import fee_between
from billing.rating.service import prove
from billing.tariffs.service import shipped

FOLDER = Path(__file__).parent / "rating"
SCENARIOS = sorted(path.name for path in FOLDER.iterdir() if path.is_dir())


def table(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.mark.req("C4", "C7", "G1")
@pytest.mark.parametrize("name", SCENARIOS)
def test_days_cost_what_was_worked_by_hand(name: str) -> None:
    given = json.loads((FOLDER / name / "given.json").read_text())
    _, tariff = prove(shipped(given["tariff"]))
    offset = given["opening_year_wh"] - given["opening_register_wh"]
    counter, costs = given["opening_year_wh"], {}
    for row in table(FOLDER / name / "when" / "registers.csv"):
        reached = parse_micros(row["register_kwh"]) // 1000 + offset
        costs[row["day"]] = fee_between(tariff, counter, reached)
        counter = reached
    costs["bill"] = fee_between(tariff, given["opening_year_wh"], counter)
    expected = {
        row["day"]: parse_micros(row["charge"])
        for row in table(FOLDER / name / "then" / "days.csv")
    }
    assert costs == expected
    assert sum(cost for day, cost in costs.items() if day != "bill") == costs["bill"]


def test_there_are_scenarios() -> None:
    assert len(SCENARIOS) >= 2
