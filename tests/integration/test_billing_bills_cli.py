"""The verbs of bills, and the role that the billing process really has."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from billing.bills.service import corrections
from billing.bills.service import run as runs
from billing.bills.service.corrections import Order
from billing.prepaid import service as prepaid
from cloud.store.db import Database
from meterloop.cli import app
from tests.integration.billing_kit import ORIGIN, customer, rows, street
from tests.integration.billing_kit import read as read_at
from tests.integration.bills_kit import FEB, JAN, NOW, ZONE, book, household, read
from tests.integration.people_kit import all_signed_in
from tests.integration.test_billing_bills_run import opened


def cli(config: Path, *words: str) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["bill", *words, "--config", str(config), "--json"])
    answer: dict[str, Any] = json.loads(result.stdout)
    assert answer["ok"] == (result.exit_code == 0), result.output
    return answer


def installation(folder: Path, dsn: str) -> Path:
    file = folder / "installation.toml"
    file.write_text(f'data = "{folder}"\n[database]\ndsn = "{dsn}"\n')
    return file


def test_a_cycle_is_run_shown_corrected_printed_and_replayed_from_the_command_line(
    db: Database, database_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book(db, household(1), household(2))
    read(db, 1, FEB, 1_100)
    read(db, 2, FEB, 1_200)
    config = installation(tmp_path, database_dsn)
    all_signed_in(db, config, monkeypatch, "reza", "lin")
    ran = cli(config, "run", "--start", "2026-01-01", "--end", "2026-02-01", "--close")
    assert (ran["stage"], ran["equal"], ran["states"]) == ("closed", True, {"billed": 2})
    bill = cli(config, "show", "--account", "AC-000001")["bills"][0]
    shown = cli(config, "show", "--bill", str(bill["id"]))
    counted = sum(row["amount_micros"] for row in shown["trace"] if row["counts"])
    assert counted == shown["total_micros"] == 62_150_000
    out = tmp_path / "bill.pdf"
    cli(config, "print", str(bill["id"]), "--out", str(out))
    assert out.read_bytes().startswith(b"%PDF")
    refused = cli(config, "correct", str(bill["id"]), "--register-wh", "1090000")
    assert refused["error"]["code"] == "bills.reason_missing"
    fixed = cli(
        config, "correct", str(bill["id"]), "--register-wh", "1090000", "--reason", "misread"
    )
    assert fixed["bills"][0]["corrects"] == bill["id"]
    again = cli(config, "replay", "--run", str(ran["run"]))
    assert (again["replayed"], again["differences"]) == (2, [])


def test_a_bill_that_was_tampered_with_fails_its_replay(
    db: Database, database_dsn: str, tmp_path: Path
) -> None:
    book(db, household(1))
    read(db, 1, FEB, 1_100)
    runs.advance(db, opened(db).id, now=NOW)
    with db.transaction() as conn:
        conn.execute("ALTER TABLE bills.bill DISABLE TRIGGER bill_append_only")
        conn.execute("UPDATE bills.bill SET usage = replace(usage, '\"1100\"', '\"1101\"')")
    said = CliRunner().invoke(
        app, ["bill", "replay", "1", "--config", str(installation(tmp_path, database_dsn))]
    )
    assert said.exit_code == 1
    assert "does not have its hash" in said.output
    assert "energy: 52000000 is 52520000 now" in said.output


def test_the_database_refuses_to_change_a_bill_and_billing_may_do_all_it_needs(
    db: Database, database_dsn: str
) -> None:
    book(db, household(1), household(2))
    read(db, 1, FEB, 1_100)
    read(db, 2, FEB, 1_100)
    with Database(database_dsn, user="meterloop_billing") as own:
        run = opened(own)
        runs.advance(own, run.id, now=NOW)
        runs.close(own, run.id, actor="user:li", now=NOW)
        order = Order(reason="moved out", actor="user:li")
        middle = FEB + timedelta(days=9)
        read(db, 1, middle, 1_110)
        corrections.bill_now(own, "SA-000001", end=middle, zone=ZONE, order=order, now=NOW)
    with pytest.raises(Exception, match="append-only|may not"), db.transaction() as conn:
        conn.execute("UPDATE bills.bill SET total_micros = 0")
    assert rows(db, "SELECT count(*) FROM bills.bill") == [(3,)]


@pytest.mark.req("C7")
def test_the_statement_of_a_prepaid_account_is_what_was_drawn(db: Database) -> None:
    street(db, customer(1))
    for day in range(1, 4):
        read_at(db, "UP-000001", ORIGIN + timedelta(days=day), 1_000_000 + 7_777 * day)
        prepaid.sweep(db, now=ORIGIN + timedelta(days=day, minutes=1))
    start, end = ORIGIN.date(), ORIGIN.date() + timedelta(days=2)
    run = runs.open_run(db, start=start, end=end, zone=ZONE, actor="user:li", now=NOW)
    assert runs.advance(db, run.id, now=NOW).states == {"billed": 1}
    runs.close(db, run.id, actor="user:li", now=NOW)
    query = "SELECT sum(amount_micros)::bigint FROM prepaid.drawdown WHERE day < %s"
    drawn = rows(db, query, [end])
    bill = rows(db, "SELECT total_micros, posted_micros, entry_id FROM bills.bill")
    assert bill == [(drawn[0][0], 0, None)]
    assert bill[0][0] > 0


def test_a_period_that_prepayment_has_not_drawn_to_its_end_is_parked(db: Database) -> None:
    street(db, customer(1))
    read_at(db, "UP-000001", ORIGIN + timedelta(hours=6), 1_002_000)
    prepaid.sweep(db, now=ORIGIN + timedelta(hours=6, minutes=1))
    run = runs.open_run(
        db, start=JAN, end=ORIGIN.date() + timedelta(days=2), zone=ZONE, actor="user:li", now=NOW
    )
    assert runs.advance(db, run.id, now=NOW).states == {"parked": 1}
    assert rows(db, "SELECT reasons FROM bills.item") == [(["bills.day_not_drawn"],)]
