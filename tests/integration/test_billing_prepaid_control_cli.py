"""The verbs of fee control, from policy to statistics."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from billing.prepaid import service as prepaid
from cloud.store.db import Database
from meterloop.cli import app
from tests.integration.billing_kit import HOUR, ORIGIN, YUAN, customer, read, street
from tests.integration.people_kit import all_signed_in

UP = "UP-000001"


@pytest.fixture
def run(db: Database, database_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config = tmp_path / "installation.toml"
    config.write_text(f'data = "{tmp_path}"\n[database]\ndsn = "{database_dsn}"\n')

    def verb(*words: str, plain: bool = False) -> Any:
        tail = [] if plain else ["--json"]
        result = CliRunner().invoke(app, ["prepaid", *words, "--config", str(config), *tail])
        if plain:
            assert result.exit_code == 0, result.output
            return result.stdout
        answer = json.loads(result.stdout)
        assert answer["ok"] == (result.exit_code == 0), result.output
        return answer

    street(db, customer(1), customer(2))
    for number in (1, 2):
        read(db, f"UP-{number:06}", ORIGIN + HOUR, 1_110_000)
    prepaid.sweep(db, now=ORIGIN + HOUR)
    all_signed_in(db, config, monkeypatch, "lin", "aziz", "wang")
    return verb


@pytest.mark.req("C10")
def test_a_policy_is_set_shown_and_refused_in_words(run) -> None:
    said = run(
        "credit", "set", "default", "CNY", "emergency=10", "recovery_permille=200",
        "cut_weekdays=12345", "cut_from_hour=8", "cut_until_hour=15", "spare_eves=yes",
    )  # fmt: skip
    assert said["says"]["emergency_micros"] == 10 * YUAN
    run("credit", "group", "SA-000001", "rural")
    run("credit", "set", "group", "rural", "emergency=12.5")
    run("credit", "line", "T-01", "L-7")
    run("credit", "rest-day", "2026-03-20", "feast")
    assert [part["level"] for part in run("credit", "policies")["policies"]] == [
        "default", "group",
    ]  # fmt: skip
    assert "emergency_micros=12500000" in run("credit", "policies", plain=True)
    shown = run("credit", "show", UP)
    assert shown["policy"]["emergency_micros"] == 12_500_000
    assert shown["policy"]["recovery_permille"] == 200
    for wrong, code in (
        ("recovery_permille=2000", "credit.policy_bad"),
        ("colour=red", "config.unusable"),
        ("emergency=ten", "config.unusable"),
        ("spare_eves=perhaps", "config.unusable"),
        ("watch_days=-1", "config.unusable"),
    ):
        assert run("credit", "set", "default", "CNY", wrong)["error"]["code"] == code


def test_old_debt_needs_two_and_each_step_is_told(run, db: Database) -> None:
    # the clock of the verbs is today's: the day of March is over and drawn
    run("sweep")
    said = run("credit", "debt", "propose", "AC-000001", "5.20", "--reason", "winter", "--actor",
               "user:lin")  # fmt: skip
    assert run("credit", "debt", "list")["proposals"][0]["amount_micros"] == 5_200_000
    number = str(said["proposal"])
    same = run("credit", "debt", "approve", number, "--actor", "user:lin")
    assert same["error"]["code"] == "credit.same_person"
    assert run("credit", "debt", "approve", number, "--actor", "user:aziz")["entry_id"]
    shown = run("credit", "show", UP)
    assert shown["old_debt_micros"] == 5_200_000
    assert shown["available_micros"] == -2_000_000
    assert "old debt 5.20" in run("credit", "show", UP, plain=True)
    again = run("credit", "debt", "withdraw", number)
    assert again["error"]["code"] == "credit.debt_ended"


def test_a_loan_on_figures_of_long_ago_is_refused_with_its_reason(run) -> None:
    run("credit", "set", "default", "CNY", "emergency=10")
    refused = run("credit", "take", UP, "--actor", "user:wang")
    assert refused["error"]["code"] == "credit.balance_unsure"
    assert refused["error"]["fix"]


@pytest.mark.req("C12")
def test_looks_watch_and_statistics(run) -> None:
    look = run("selection", "show", UP)
    assert (look["unseen_minutes"], look["distance_micros"]) == (60, None)
    assert run("selection", "show", "UP-000009")["error"]["code"] == "prepaid.no_agreement"
    assert run("watch", "desk", "+998901234567", "--language", "uz")["language"] == "uz"
    assert run("watch", "desk", "1", "--language", "xx")["error"]["code"] == "config.unusable"
    assert run("watch", "look") == {"ok": True, "new": 0, "watched": 0}
    assert run("watch", "list", plain=True).strip() == "nobody"
    assert run("watch", "seen", "7", "--note", "x")["error"]["code"] == "credit.not_watched"
    whole = run("overview", "--days", "3660")
    assert sum(row["count"] for row in whole["standing"]) == 2
    assert {row["what"]: row["count"] for row in whole["crossings"]} == {
        "reminder": 2, "zero": 2, "cut": 2,
    }  # fmt: skip
    assert "2 accounts" in run("overview", plain=True)
