"""The verbs of balances, and the role that the billing process really has."""

import importlib
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from billing.prepaid import service as prepaid
from billing.rating import service as rating
from billing.tariffs import service as tariffs
from cloud.store.db import Database
from meterloop.cli import app
from tests.integration.billing_kit import CODE, HOUR, ORIGIN, customer, read, rows, street

SCREEN = importlib.import_module("billing.prepaid.service.screen")
SWEEP = importlib.import_module("billing.prepaid.service.sweep")


def cli(folder: Path, dsn: str, *words: str) -> dict[str, Any]:
    config = folder / "installation.toml"
    config.write_text(f'data = "{folder}"\n[database]\ndsn = "{dsn}"\n')
    result = CliRunner().invoke(app, ["prepaid", *words, "--config", str(config), "--json"])
    answer: dict[str, Any] = json.loads(result.stdout)
    assert answer["ok"] == (result.exit_code == 0) or words[0] == "shadow", result.output
    return answer


@pytest.mark.req("C11")
def test_sweep_balance_exceptions_and_second_opinion_from_the_command_line(
    db: Database, database_dsn: str, tmp_path: Path
) -> None:
    street(db, customer(1), customer(2))
    read(db, "UP-000001", ORIGIN + HOUR, 1_010_000)
    swept = cli(tmp_path, database_dsn, "sweep")
    assert (swept["priced"], swept["exceptions"]) == (2, 2)
    found = cli(tmp_path, database_dsn, "balance", "UP-000001")
    assert (found["fee_micros"], found["quality"]) == (5_200_000, "missing")
    assert found["lower_micros"] < found["available_micros"]
    counted = cli(tmp_path, database_dsn, "exceptions", "--days", "1")
    assert counted["standing"] == 2
    assert [(each["section"], each["kind"], each["began"]) for each in counted["counts"]] == [
        ("C-01", "missing_register", 2)
    ]
    assert cli(tmp_path, database_dsn, "shadow", "--percent", "100")["checked"] == 2
    refused = cli(tmp_path, database_dsn, "balance", "UP-000009")
    assert refused["error"]["code"] == "prepaid.no_agreement"
    assert refused["error"]["fix"]
    zone = cli(tmp_path, database_dsn, "exceptions", "--zone", "Nowhere")
    assert zone["error"]["code"] == "config.unusable"


def test_a_difference_fails_the_verb_and_a_person_lifts_the_freeze(
    db: Database, database_dsn: str, tmp_path: Path
) -> None:
    street(db, customer(1))
    read(db, "UP-000001", ORIGIN + HOUR, 1_010_000)
    prepaid.sweep(db, now=ORIGIN + HOUR)
    rows(db, "UPDATE prepaid.state SET fee_micros = fee_micros - 1 RETURNING 1")
    assert cli(tmp_path, database_dsn, "shadow", "--percent", "100")["differing"] == 1
    lifted = cli(tmp_path, database_dsn, "lift-freeze", "--reason", "changed by hand")
    assert lifted["frozen"] is False
    again = cli(tmp_path, database_dsn, "lift-freeze", "--reason", "changed by hand")
    assert again["error"]["code"] == "tariffs.not_frozen"
    audited = rows(db, "SELECT action, actor <> '' FROM audit.event WHERE action LIKE '%%freeze'")
    assert audited == [("tariffs.freeze", True), ("tariffs.lift_freeze", True)]


def test_the_billing_role_may_do_all_that_a_sweep_needs(
    db: Database, database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    street(db, customer(1), customer(2))
    monkeypatch.setattr(SWEEP, "WRITE_BACK", 0)
    monkeypatch.setattr(SCREEN, "FEW", 0)
    with Database(database_dsn, user="meterloop_billing") as billing:
        for hour in (1, 2, 13):
            read(db, "UP-000001", ORIGIN + hour * HOUR, 1_000_000 + hour * 40_000)
            prepaid.sweep(billing, now=ORIGIN + hour * HOUR, moved_only=hour == 2)
        assert prepaid.shadow_when_due(billing, now=ORIGIN + 14 * HOUR) is not None
        rows(db, "UPDATE prepaid.state SET fee_micros = fee_micros - 1 RETURNING 1")
        late = ORIGIN + timedelta(hours=40)
        found = prepaid.shadow_check(billing, now=late, per_10000=10_000)
        assert found.differing == found.checked == 2
        tariffs.lift_freeze(billing, actor="user:lin", reason="changed by hand", now=late)
        rating.publish(billing, tariffs.shipped(CODE), actor="user:reza", now=late)
    assert rows(db, "SELECT count(*)::int FROM prepaid.snapshot") != [(0,)]
