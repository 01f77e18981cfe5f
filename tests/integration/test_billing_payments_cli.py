"""Money in from the command line: files, suspense, limits, arrears, exceptions, kept messages."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from billing.payments import service as payments
from billing.payments.model import Direction
from billing.payments.rules import sealing
from billing.payments.service import messages
from cloud.store.db import Database
from meterloop.cli import app
from tests.integration.billing_kit import YUAN, customer, order, rows, street
from tests.integration.payments_kit import RING
from tests.integration.people_kit import all_signed_in

NOW = datetime.now(UTC)
TODAY = NOW.date().isoformat()
HEAD = "peer_txn_id,account,amount,currency,peer_time"


class Desk:
    """One installation and its verbs, answered as JSON."""

    def __init__(self, folder: Path, dsn: str) -> None:
        self.folder = folder
        self.config = folder / "installation.toml"
        ring = folder / "keys.json"
        ring.write_text(json.dumps(RING))
        ring.chmod(0o600)
        self.config.write_text(
            f'data = "{folder}"\n[database]\ndsn = "{dsn}"\n'
            f'[portal]\nmessages_key_file = "{ring}"\n'
        )

    def __call__(self, *words: str, fails: str = "") -> dict[str, Any]:
        result = CliRunner().invoke(
            app, ["payments", *words, "--config", str(self.config), "--json"]
        )
        answer: dict[str, Any] = json.loads(result.stdout)
        if fails:
            assert result.exit_code, answer
            assert answer["error"]["code"] == fails
            assert answer["error"]["fix"] or fails == "config.unusable"
        else:
            assert result.exit_code == 0, result.output
            assert answer["ok"]
        return answer

    def text(self, *words: str) -> str:
        result = CliRunner().invoke(app, ["payments", *words, "--config", str(self.config)])
        assert result.exit_code == 0, result.output
        return result.output


@pytest.fixture
def desk(db: Database, database_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    street(db, customer(1, opening_balance_micros=0), customer(2, opening_balance_micros=0))
    found = Desk(tmp_path, database_dsn)
    all_signed_in(db, found.config, monkeypatch, "reza", "auditor", "lin")
    return found


def paid(db: Database, txn: str, yuan: int, **changes: Any) -> None:
    payments.pay(db, order(1, txn, yuan, peer_time=NOW, **changes), now=NOW)


@pytest.mark.req("H3", "H9")
def test_a_file_is_compared_and_what_waits_ends_by_two_people(desk: Desk, db: Database) -> None:
    paid(db, "same", 10)
    paid(db, "other", 20)
    paid(db, "lost", 7, account="AC-999999", already_collected=True)
    file = desk.folder / "bank.csv"
    at = NOW.isoformat()
    file.write_text(f"{HEAD}\nsame,AC-000001,10.00,CNY,{at}\nother,AC-000001,18.50,CNY,{at}\n"
                    f"lost,AC-999999,7,CNY,{at}\nnew,AC-000002,3,CNY,{at}\n")  # fmt: skip
    days = ("--from", TODAY, "--to", TODAY, "--zone", "UTC")
    told = desk("reconcile", str(file), "--channel", "bank", *days)
    assert (told["matched"], told["open"]) == (2, 1)
    assert {each["peer_txn_id"]: each["outcome"] for each in told["differences"]} == {
        "other": "open", "new": "booked",
    }  # fmt: skip
    number = str(told["reconciliation"])
    assert desk("reconcile", str(file), "--channel", "bank", *days)["replayed"]
    desk("differences", "correct", number, "other", "--reason", "slip", "--actor", "user:lin")
    desk("differences", "agree", number, "other", "--actor", "user:lin",
         fails="payments.two_people")  # fmt: skip
    desk("differences", "agree", number, "other", "--actor", "user:reza")
    assert desk("differences", "list")["differences"] == []
    assert desk("statement", "--channel", "bank", *days)["net_micros"] == {"CNY": 38_500_000}

    [item] = desk("suspense", "list")["suspense"]
    receipt = item["receipt_no"]
    desk("suspense", "assign", "R-1", "AC-000002", "--reason", "x",
         fails="payments.transaction_unknown")  # fmt: skip
    desk("suspense", "assign", receipt, "AC-000002", "--reason", "slip", "--actor", "user:lin")
    assert "AC-000002 by user:lin" in desk.text("suspense", "list")
    desk("suspense", "agree", receipt, "--actor", "user:reza")
    assert "nothing in suspense" in desk.text("suspense", "list")
    file.write_text(f"{HEAD}\nsame,AC-000001\n")
    refused = desk("reconcile", str(file), "--channel", "bank", *days, fails="payments.file")
    assert "line 2" in refused["error"]["message"]
    desk("reconcile", str(desk.folder / "none.csv"), "--channel", "bank",
         fails="config.unusable")  # fmt: skip


@pytest.mark.req("H3")
def test_limits_are_proposed_decided_and_shown(desk: Desk, db: Database) -> None:
    paid(db, "a", 30)
    words = ("--amount", "50", "--currency", "CNY", "--reason", "contract", "--actor", "user:lin")
    number = str(desk("limits", "propose", "bank", "day_limit", *words)["change"])
    desk("limits", "approve", number, "--actor", "user:lin", fails="payments.two_people")
    desk("limits", "approve", number, "--actor", "user:reza")
    [shown] = desk("limits", "show")["channels"]
    assert (shown["taken_micros"], shown["left_micros"]) == (30 * YUAN, 20 * YUAN)
    wrong = ("--amount", "x", *words[2:])
    desk("limits", "propose", "bank", "day_limit", *wrong, fails="config.unusable")
    again = str(desk("limits", "propose", "bank", "day_limit", *words)["change"])
    assert "user:lin: contract" in desk.text("limits", "show")
    desk("limits", "withdraw", again, "--actor", "user:lin")


@pytest.mark.req("S30", "G6")
def test_arrears_collections_and_books_of_days(desk: Desk, db: Database) -> None:
    paid(db, "a", 30)
    out = desk.folder / "owed.csv"
    none = desk("arrears", "--out", str(out))
    assert (none["groups"], none["rows_written"]) == ([], 0)
    assert out.read_text().startswith("account,name,kind,usage_point,unit")
    later = (NOW + timedelta(days=1)).isoformat()
    desk("arrears", "--at", later, fails="accounting.moment")
    desk("arrears", "--at", "then", fails="config.unusable")
    days = ("--from", TODAY, "--zone", "UTC")
    [bank] = desk("collected", *days)["groups"]
    assert (bank["group"], bank["payments"], bank["net_micros"]) == ("bank", 1, 30 * YUAN)
    before = (NOW - timedelta(minutes=1)).isoformat()
    assert desk("collected", *days, "--at", before)["groups"] == []
    audited = desk("audit", *days)
    assert [(day["kind"], day["off_micros"]) for day in audited["days"]] == [("receipts", 0)]
    desk("collected", "--from", TODAY, "--to", "2020-01-01", fails="config.unusable")


@pytest.mark.req("G7")
def test_exceptions_are_listed_taken_and_settled(desk: Desk, db: Database) -> None:
    paid(db, "lost", 7, account="AC-999999", already_collected=True)
    told = desk("exceptions", "list")
    [one] = [each for each in told["exceptions"] if each["source"] == "suspense"]
    number = str(one["id"])
    desk("exceptions", "settle", number, "--reason", "x", fails="accounting.step")
    desk("exceptions", "take", number, "--actor", "user:lin")
    desk("exceptions", "dismiss", number, "--reason", "below 10", "--actor", "user:lin")
    assert "below 10" in desk.text("exceptions", "show", number)
    assert number not in {str(each["id"]) for each in desk("exceptions", "list")["exceptions"]}
    assert desk("exceptions", "list", "--all")["exceptions"]


@pytest.mark.req("H9")
def test_an_auditor_reads_a_kept_message_and_is_written_down(desk: Desk, db: Database) -> None:
    ring = sealing.parse_ring(json.dumps(RING))
    number = str(messages.keep(db, ring, "bank", b'{"a": 1}', direction=Direction.ASKED,
                               peer_txn_id="t", wall_now=NOW))  # fmt: skip
    listed = desk("messages", "list", "--channel", "bank", "--from", TODAY, "--zone", "UTC")
    assert [str(each["id"]) for each in listed["messages"]] == [number]
    words = ("messages", "read", number, "--actor", "user:auditor")
    desk(*words, "--reason", " ", fails="payments.peer_id")
    assert desk(*words, "--reason", "complaint")["words"] == '{"a": 1}'
    seen = rows(db, "SELECT actor, reason FROM audit.event WHERE action = 'payments.message_read'")
    assert seen == [("user:auditor", "complaint")]
