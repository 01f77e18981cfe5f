"""`meterloop tariff import` and `tariff diff`: what they write, tell and refuse."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from billing.rating import service as rating
from meterloop.cli import app

TABLE = """line,kind,label_en,over,upto,price
energy,energy,Household,0,200,600
energy,energy,,200,,800
"""
RATE = {
    "name": "hours", "startdate": 1609459200, "uri": "https://example.org/rate",
    "energyratestructure": [[{"rate": 0.10}], [{"rate": 0.30}]],
    "energyweekdayschedule": [[0] * 14 + [1] * 6 + [0] * 4] * 12,
    "energyweekendschedule": [[0] * 24] * 12,
    "fixedchargefirstmeter": 5, "fixedchargeunits": "$/month",
}  # fmt: skip


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["tariff", *(str(each) for each in arguments)])


def answer(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def gazette(folder: Path, name: str, table: str, *more: str) -> Path:
    source, out = folder / f"{name}.csv", folder / f"{name}.json"
    source.write_text(table)
    result = run("import", "gazette", source, "--out", out, "--zone", "Asia/Tashkent",
                 "--currency", "UZS", "--valid-from", "2025-05-01", "--code", "uz",
                 "--source", "https://example.org/decree", *more)  # fmt: skip
    assert result.exit_code == 0, result.output
    return out


def use(account: str, kwh: str, month: int = 6) -> str:
    return json.dumps({
        "account": account, "quality": "actual", "kwh": {"all": kwh},
        "period": {"start": f"2025-{month:02}-01", "end": f"2025-{month + 1:02}-01"},
    })  # fmt: skip


def test_an_imported_rate_proves_itself(tmp_path: Path) -> None:
    source, out = tmp_path / "rate.json", tmp_path / "hours.v1.json"
    source.write_text(json.dumps(RATE))
    result = run("import", "urdb", source, "--out", out, "--zone", "America/Denver", "--json")
    assert result.exit_code == 0, result.output
    told = answer(result)
    assert (told["ok"], told["code"], told["file"]) == (True, "hours", str(out))
    # 250 x 0.10 + 250 x 0.30 + 5
    assert [case["total"] for case in told["cases"]] == ["5.00", "105.00"]
    tariff, _ = rating.prove(out.read_bytes())
    assert tariff.period_names == ("e0", "e1")


def test_what_cannot_be_imported_is_refused_by_name_and_nothing_written(tmp_path: Path) -> None:
    source, out = tmp_path / "rate.json", tmp_path / "out.json"
    source.write_text(json.dumps({**RATE, "coincidentratestructure": [[{"rate": 3}]]}))
    words = ("import", "urdb", source, "--out", out, "--zone", "America/Denver")
    result = run(*words, "--json")
    assert result.exit_code == 1
    error = answer(result)["error"]
    assert error["code"] == "tariffs.unsupported"
    assert "coincidentratestructure" in error["message"]
    assert "leave" in error["fix"]
    assert not out.exists()
    assert run(*words, "--leave-out", "coincidentratestructure").exit_code == 0
    assert "coincidentratestructure" in json.loads(out.read_text())["legal_ref"]


def test_what_the_caller_states_is_written(tmp_path: Path) -> None:
    out = gazette(tmp_path, "vat", TABLE, "--vat-included", "--legal-ref", "No. 204")
    written = json.loads(out.read_text())
    assert (written["vat_included"], written["legal_ref"]) == (True, "No. 204")
    assert written["sources"] == ["https://example.org/decree"]


@pytest.mark.parametrize(
    "more", [("--valid-from", "May"), ("--limit", "demand_kw"), ("--limit", "=3")]
)
def test_unusable_options_are_named(tmp_path: Path, more: tuple[str, str]) -> None:
    source = tmp_path / "rate.json"
    source.write_text(json.dumps(RATE))
    result = run("import", "urdb", source, "--out", tmp_path / "o.json", "--zone", "UTC", *more)
    assert result.exit_code == 2
    assert more[1] in result.stderr


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    result = run("diff", tmp_path / "a.json", tmp_path / "b.json")
    assert result.exit_code == 2
    assert "a.json: cannot be read" in result.stderr


def test_the_same_file_twice_says_so(tmp_path: Path) -> None:
    one = gazette(tmp_path, "one", TABLE)
    assert "The files say the same." in run("diff", one, one).stdout


def test_a_difference_and_its_impact(tmp_path: Path) -> None:
    one = gazette(tmp_path, "one", TABLE)
    two = gazette(tmp_path, "two", TABLE.replace("800", "1000"), "--version", "2")
    many, single = tmp_path / "many.jsonl", tmp_path / "single.json"
    # A uses 150 and 250 kWh, B 400, the last is named by its file
    many.write_text("\n".join([use("A", "150"), use("B", "400"), "", use("A", "250", 7)]))
    single.write_text(use("", "100"))
    words = ("diff", one, two, "--usage", many, "--usage", single)
    told = answer(run(*words, "--json"))
    impact = told["impact"]
    assert (impact["accounts"], impact["up"], impact["same"]) == (3, 2, 1)
    assert (impact["before"], impact["after"], impact["change"]) == (
        "590000.00", "640000.00", "50000.00",
    )  # fmt: skip
    assert impact["losers"] == [
        {"account": "B", "before": "280000.00", "after": "320000.00"},
        {"account": "A", "before": "250000.00", "after": "260000.00"},
    ]
    assert [step["basis_points"] for step in told["steps"]] == [0, 2500]
    shown = run(*words).stdout
    for text in ("+25.00 %", "lines.energy.steps.2.price", "2 pay more", "nothing", "320000.00"):
        assert text in shown


def test_a_use_that_cannot_be_priced_is_named_by_its_line(tmp_path: Path) -> None:
    one = gazette(tmp_path, "one", TABLE)
    two = gazette(tmp_path, "two", TABLE, "--version", "2", "--limit", "energy_kwh=300")
    many = tmp_path / "many.jsonl"
    many.write_text("\n".join([use("A", "150"), use("B", "400")]))
    error = answer(run("diff", one, two, "--usage", many, "--json"))["error"]
    assert error["code"] == "usage.beyond"
    assert "many.jsonl:2 by uz version 2" in error["message"]


def test_two_currencies_have_no_impact(tmp_path: Path) -> None:
    one = gazette(tmp_path, "one", TABLE)
    two = tmp_path / "two.json"
    two.write_text(one.read_text().replace('"UZS"', '"IRR"'))
    usage = tmp_path / "use.json"
    usage.write_text(use("A", "1"))
    result = run("diff", one, two, "--usage", usage)
    assert result.exit_code == 2
    assert "leave out --usage" in result.stderr
    assert run("diff", one, two).exit_code == 0
