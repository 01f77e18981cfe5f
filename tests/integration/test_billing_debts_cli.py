"""The verbs of plans, deposits, ends, means and bills outside of a cycle, as typed."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from billing.customers.model import CustomerKind
from cloud.store.db import Database
from meterloop.cli import app
from tests.integration.bills_kit import FEB, book, household, read
from tests.integration.people_kit import all_signed_in
from tests.integration.test_billing_bills_cli import installation
from tests.integration.test_billing_bills_run import finished


class Typed:
    """A command line on one installation."""

    def __init__(self, config: Path) -> None:
        self._config = config

    def __call__(self, *words: str) -> dict[str, Any]:
        answer = self.run(*words)
        assert answer["ok"], answer
        return answer

    def run(self, *words: str) -> dict[str, Any]:
        result = CliRunner().invoke(app, [*words, "--config", str(self._config), "--json"])
        assert result.stdout, result.output
        answer: dict[str, Any] = json.loads(result.stdout)
        assert answer["ok"] == (result.exit_code == 0), result.output
        plain = CliRunner().invoke(app, [*words[:2], "--help"])
        assert plain.exit_code == 0
        return answer

    def refused(self, code: str, *words: str) -> None:
        assert self.run(*words)["error"]["code"] == code


@pytest.fixture
def typed(
    db: Database, database_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Typed:
    book(db, household(1), household(2, kind=CustomerKind.LEGAL))
    read(db, 1, FEB, 1_100)
    read(db, 2, FEB, 1_600)
    finished(db)
    config = installation(tmp_path, database_dsn)
    all_signed_in(db, config, monkeypatch, "wang", "li", "b", "a")
    return Typed(config)


@pytest.mark.req("G11")
def test_a_plan_is_proposed_signed_shown_and_cancelled_by_two(typed: Typed) -> None:
    made = typed(
        "plan", "propose", "AC-000002", "--first", "80", "--instalments", "3", "--of", "energy",
        "--reason", "a bad harvest", "--actor", "user:li",
    )  # fmt: skip
    assert (made["state"], made["total_micros"]) == ("approved", 389_850_000)
    number = str(made["id"])
    assert [each["id"] for each in typed("plan", "show")["plans"]] == [made["id"]]
    typed.refused("plan.state", "plan", "approve", number, "--actor", "user:wang")
    typed.refused("config.unusable", "plan", "sign", number, "--paper", " ")
    signed = typed("plan", "sign", number, "--paper", "cabinet 4", "--actor", "user:li")
    assert (signed["state"], len(signed["shares"])) == ("active", 4)
    assert sum(share["amount_micros"] for share in signed["shares"]) == 389_850_000
    typed.refused("plan.state", "plan", "withdraw", number)
    typed.refused("plan.same_person", "plan", "cancel", number, "--reason", "x", "--actor", "a",
                  "--approver", "a")  # fmt: skip
    ended = typed("plan", "cancel", number, "--reason", "sold", "--actor", "a", "--approver", "b")
    assert ended["state"] == "cancelled"
    assert typed("plan", "show", "AC-000002")["plans"][0]["signed_ref"] == "cabinet 4"
    typed.refused("config.unusable", "plan", "propose", "AC-000002", "--first", "80",
                  "--instalments", "3", "--of", "tax", "--reason", "x")  # fmt: skip
    typed.refused("plan.unknown", "plan", "refuse", "77")


def test_a_deposit_is_demanded_shown_and_dropped(typed: Typed) -> None:
    made = typed("deposit", "demand", "AC-000002", "--reason", "new", "--actor", "user:li")
    assert (made["state"], made["currency"]) == ("demanded", "CNY")
    number = str(made["id"])
    typed.refused("deposit.state", "deposit", "refund", number, "--channel", "bank",
                  "--reason", "x")  # fmt: skip
    typed.refused("config.unusable", "deposit", "decide", number, "perhaps")
    typed.refused("deposit.state", "deposit", "decide", number, "approve")
    assert typed("deposit", "show")["deposits"] == []
    assert typed("deposit", "drop", number, "--reason", "wrong")["state"] == "dropped"
    assert typed("deposit", "show", "AC-000002")["deposits"][0]["state"] == "dropped"


@pytest.mark.req("G8", "G18")
def test_bills_outside_of_a_cycle_and_the_end_of_an_agreement(
    typed: Typed, db: Database, tmp_path: Path
) -> None:
    read(db, 1, FEB.replace(day=11), 1_130)
    made = typed("bill", "adhoc", "SA-000001", "--end", "2026-02-11", "--reason", "asked for")
    assert (made["kind"], made["energy_wh"]) == ("adhoc", 30_000)
    typed.refused("config.unusable", "bill", "adhoc", "SA-000001", "--reason", "x")
    span = ("--start", "2026-01-01", "--end", "2026-02-01", "--reason", "a faulty fuse")
    typed.refused("bills.same_person", "bill", "refund", "SA-000001", "--amount", "5", *span)
    back = typed("bill", "refund", "SA-000001", "--amount", "5", *span, "--approver", "user:wang")
    assert back["posted_micros"] == -5_000_000
    more = typed("bill", "supplement", "SA-000001", "--amount", "7.5", *span, "--approver", "b")
    assert more["posted_micros"] == 7_500_000
    closed = typed(
        "bill", "final", "close", "SA-000001", "--end", "2026-02-16", "--register-wh", "1135000",
        "--reason", "moved out",
    )  # fmt: skip
    assert closed["state"] == "demanded"
    shown = typed("bill", "final", "show")["ends"]
    assert [each["agreement"] for each in shown] == ["SA-000001"]
    assert typed("bill", "final", "show", "--late")["ends"] == []
    fixed = typed("bill", "final", "correct", "SA-000001", "--register-wh", "1134000",
                  "--reason", "misread")  # fmt: skip
    assert fixed["left_micros"] > closed["left_micros"]
    typed.refused("ending.state", "bill", "final", "refund", "SA-000001", "--channel", "bank",
                  "--reason", "x")  # fmt: skip
    typed.refused("ending.state", "bill", "final", "decide", "SA-000001", "approve")
    typed.refused("ending.unknown", "bill", "final", "correct", "SA-000002", "--register-wh", "1",
                  "--reason", "x")  # fmt: skip


@pytest.mark.req("G10")
def test_how_an_account_pays_is_set_and_what_banks_take_is_listed(
    typed: Typed, db: Database, tmp_path: Path
) -> None:
    assert typed("bill", "means", "AC-000001")["means"] == "counter"
    typed.refused("means.mandate_bad", "bill", "means", "AC-000001", "--pays", "bank_debit")
    typed("bill", "means", "AC-000001", "--pays", "bank_debit", "--mandate", "M-1")
    kept = typed("bill", "means", "AC-000001", "--delivery", "electronic")
    assert (kept["means"], kept["mandate"], kept["delivery"]) == (
        "bank_debit", "M-1", "electronic",
    )  # fmt: skip
    read(db, 1, FEB.replace(month=3), 1_200)
    read(db, 2, FEB.replace(month=3), 2_150)
    run = finished(db, FEB, FEB.replace(month=3))
    out = tmp_path / "debits.csv"
    listed = typed("bill", "debits", "--run", str(run.id), "--out", str(out))
    assert [each["mandate"] for each in listed["debits"]] == ["M-1"]
    assert out.read_text().splitlines()[0] == "mandate,account,bill,amount,currency,due_on"
    assert sum(each["bills"] for each in listed["sent"]) == 2
