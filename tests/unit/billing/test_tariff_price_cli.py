"""`meterloop tariff validate` and `tariff price`: what they tell and how they refuse."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from billing.money import parse_micros
from billing.tariffs.service import SHIPPED, shipped
from meterloop.cli import app

USE: dict[str, Any] = {
    "period": {"start": "2026-01-01", "end": "2026-02-01"},
    "quality": "actual",
    "kwh": {"peak": "40000", "flat": "60000", "valley": "30000"},
    "capacity_kva": "2930",
    "reactive": {"import_kvarh": "97500"},
}


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["tariff", *(str(each) for each in arguments)])


def written(folder: Path, **changes: Any) -> Path:
    file = folder / "usage.json"
    file.write_text(json.dumps({**USE, **changes}))
    return file


@pytest.mark.req("G3", "G4")
def test_price_prints_every_line_that_adds_up(tmp_path: Path) -> None:
    file = written(tmp_path)
    result = run("price", "--tariff", "cn-industry-two-part", "--usage", file, "--json")
    found = json.loads(result.stdout)
    assert found["ok"]
    assert found["total"] == "172809.00"
    assert found["lines"]["pf"] == "8229.00"
    rows = [row for part in found["parts"] for row in part["trace"]]
    assert sum(row["amount_micros"] for row in rows if row["counts"]) == found["total_micros"]
    assert sum(parse_micros(each) for each in found["lines"].values()) == found["total_micros"]
    pf = next(row for row in rows if row["line"] == "pf")
    assert (pf["percent"], pf["base"], pf["quantity"]) == ("5.00", "164580.00", 80)
    assert set(pf["label"]) == {"fa", "zh", "uz", "ru", "en"}
    told = run("price", "--tariff", "cn-industry-two-part", "--usage", file)
    assert "total CNY" in told.stdout
    assert "172809.00" in told.stdout


def test_versions_named_together_cut_the_period(tmp_path: Path) -> None:
    names = []
    for number, start in ((1, "2020-01-01"), (2, "2026-01-11")):
        body = json.loads(shipped("uz-household"))
        body.update(version=number, valid_from=start, test_cases=body["test_cases"][:1])
        body["test_cases"][0]["usage"]["period"] = {"start": "2026-02-01", "end": "2026-03-01"}
        names.append(tmp_path / f"v{number}.json")
        names[-1].write_text(json.dumps(body))
    file = tmp_path / "usage.json"
    file.write_text(json.dumps({"period": USE["period"], "quality": "actual",
                                "kwh": {"all": "310"}}))  # fmt: skip
    result = run("price", "--tariff", names[1], "--tariff", names[0], "--usage", file, "--json")
    parts = json.loads(result.stdout)["parts"]
    assert [(part["version"], part["days"], part["energy_wh"]) for part in parts] == [
        (1, "10", {"all": 100_000}), (2, "21", {"all": 210_000})
    ]  # fmt: skip
    assert parts[0]["months"] == "10/31"


def test_a_ladder_year_is_priced_by_its_counter(tmp_path: Path) -> None:
    file = tmp_path / "usage.json"
    file.write_text(json.dumps({
        "period": USE["period"], "quality": "actual", "kwh": {"all": "300"},
        "before_kwh": {"calendar_year": {"all": "2300"}},
    }))  # fmt: skip
    result = run("price", "--tariff", "cq-household-lv", "--usage", file, "--json")
    assert json.loads(result.stdout)["total"] == "166.00"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"currency": "UZS"}, "usage.currency"),
        ({"quality": "perhaps"}, "usage.quality"),
        ({"capacity_kva": "0.001"}, "usage.beyond"),
        ({"kwh": {"peak": "1"}}, "usage.missing"),
    ],
)
def test_doubtful_usage_is_refused_with_a_fix(tmp_path: Path, changes, code: str) -> None:
    file = written(tmp_path, **changes)
    result = run("price", "--tariff", "cn-industry-two-part", "--usage", file, "--json")
    error = json.loads(result.stdout)["error"]
    assert result.exit_code == 1
    assert error["code"] == code
    assert error["fix"]


def test_validate_proves_every_shipped_file(tmp_path: Path) -> None:
    files = sorted(SHIPPED.glob("*.json"))
    result = run("validate", *files, "--json")
    found = json.loads(result.stdout)["tariffs"]
    assert len(found) == len(files)
    assert all(each["cases"] for each in found)
    assert "cases hold" in run("validate", "uz-household").stdout
    body = json.loads(shipped("uz-household"))
    body["lines"][0]["steps"][1]["over_kwh"] = "210"
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps(body))
    refused = run("validate", wrong)
    assert refused.exit_code == 1
    assert "gap" in refused.output
    assert "fix:" in refused.output


@pytest.mark.parametrize("name", ["no-such-tariff", "missing.json"])
def test_a_tariff_that_is_not_there_is_told(name: str) -> None:
    result = run("validate", name, "--json")
    assert result.exit_code
    assert not json.loads(result.stdout)["ok"]
