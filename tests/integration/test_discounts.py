"""The discount of industry end to end: asked for with evidence, granted by another, on its days."""

import json
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from billing.bills.service import asking, review
from billing.bills.service import run as runs
from billing.customers import service as customers
from billing.customers.model import AgreementId, Discount, NewDiscount
from billing.rating.service import subscribing
from cloud.store.db import Database
from meterloop.cli import app
from protocols.errors import RefusedError
from tests.integration.billing_kit import rows
from tests.integration.people_kit import all_signed_in
from tests.integration.test_billing_bills_cli import installation
from tests.integration.test_subscribers import NOW, TEHRAN, demand, factory, grid
from tests.integration.usage_kit import put_registers

DAYS = [date(2026, month, 1) for month in range(1, 6)]
KWH = 100_000
RIAL = 1_000_000


def wish(**changes: Any) -> NewDiscount:
    base = {
        "agreement": AgreementId("SA-000001"), "attribute": "industry", "value": "true",
        "evidence": "operating licence 4711", "from_day": DAYS[1], "until_day": DAYS[3],
    } | changes  # fmt: skip
    return NewDiscount(**base)


def works(db: Database) -> None:
    """A factory of 500 kW that uses 100 000 kWh a month, read at each month's end."""
    grid(db, (1, "Asia/Tehran"))
    subscribing.subscribe(db, demand(factory(1)), actor="user:reza", now=NOW)
    for number, day in enumerate(DAYS[1:], start=1):
        at = datetime.combine(day, time(0), TEHRAN) - timedelta(minutes=10)
        put_registers(db, "UP-000001", {at: number * KWH * 1_000})


def granted(db: Database, asked: Discount, actor: str = "user:lin") -> None:
    with db.transaction() as conn:
        customers.decide_discount(
            conn, asked.id, granted=True, actor=actor, reason="licence seen", now=NOW
        )


def billed(db: Database) -> list[int]:
    """Bill January to April, large amounts agreed to by two; return totals in rial."""
    for start, end in pairwise(DAYS):
        run = runs.open_run(db, start=start, end=end, zone=TEHRAN, actor="user:reza", now=NOW)
        runs.advance(db, run.id, now=NOW)
        for actor in ("user:reza", "user:lin"):
            review.approve(db, run.id, "SA-000001", actor=actor, now=NOW)
        runs.advance(db, run.id, now=NOW)
    with db.transaction() as conn:
        return [bill.total_micros // RIAL for bill in asking.bills_of(conn, "AC-000001")][::-1]


def by_hand(*, industry: bool) -> int:
    """Return a month's bill: energy 1500 a kWh, 300 000 a kW, 20 % off energy, VAT 10 %."""
    energy, power = KWH * 1_500, 500 * 300_000
    off = energy // 5 if industry else 0
    return (energy + power - off) * 11 // 10


@pytest.mark.req("G15")
def test_the_discount_of_industry_holds_on_its_months_and_ends_by_itself(
    db: Database, database_dsn: str
) -> None:
    works(db)
    with Database(database_dsn, user="meterloop_portal", application="test") as portal:
        asked = customers.ask_discount(portal, wish(), actor="user:reza", now=NOW)
        granted(portal, asked)
    expected = [by_hand(industry=industry) for industry in (False, True, True, False)]
    assert expected[0] == 330_000_000
    assert expected[1] == 297_000_000
    assert billed(db) == expected


@pytest.mark.req("G15")
def test_what_is_only_asked_for_or_refused_changes_no_bill(db: Database) -> None:
    works(db)
    asked = customers.ask_discount(db, wish(), actor="user:reza", now=NOW)
    with db.transaction() as conn:
        customers.decide_discount(
            conn, asked.id, granted=False, actor="user:lin", reason="expired", now=NOW
        )
    customers.ask_discount(db, wish(), actor="user:reza", now=NOW)
    assert set(billed(db)) == {330_000_000}


@pytest.mark.parametrize(
    "changes",
    [
        {"evidence": " "}, {"until_day": DAYS[1]}, {"from_day": date(2026, 2, 2)},
        {"until_day": date(2026, 4, 15)}, {"value": ""},
    ],
)  # fmt: skip
def test_a_discount_without_evidence_or_of_broken_months_is_refused(
    db: Database, changes: dict[str, Any]
) -> None:
    works(db)
    with pytest.raises(RefusedError) as refused:
        customers.ask_discount(db, wish(**changes), actor="user:reza", now=NOW)
    assert refused.value.refusal.value == "customers.discount"


def test_nobody_grants_what_they_asked_for_and_months_do_not_overlap(db: Database) -> None:
    works(db)
    asked = customers.ask_discount(db, wish(), actor="user:reza", now=NOW)
    with pytest.raises(RefusedError) as refused:
        granted(db, asked, actor="user:reza")
    assert refused.value.refusal.value == "customers.same_person"
    with pytest.raises(psycopg.errors.CheckViolation), db.transaction() as conn:
        conn.execute(
            "INSERT INTO customers.discount_decision VALUES (%s, 'user:reza', true, 'user:reza',"
            " 'x', now())", (asked.id,),
        )  # fmt: skip
    with pytest.raises(RefusedError) as twice:
        customers.ask_discount(db, wish(from_day=DAYS[2], until_day=DAYS[4]), actor="u", now=NOW)
    assert twice.value.refusal.value == "customers.discount"
    customers.ask_discount(
        db, wish(from_day=DAYS[3], until_day=DAYS[4]), actor="user:reza", now=NOW
    )
    granted(db, asked)
    with pytest.raises(RefusedError):
        granted(db, asked)


def test_terms_that_change_inside_a_bills_days_park_it(db: Database) -> None:
    works(db)
    granted(db, customers.ask_discount(db, wish(), actor="user:reza", now=NOW))
    run = runs.open_run(db, start=DAYS[0], end=DAYS[2], zone=TEHRAN, actor="user:reza", now=NOW)
    assert runs.advance(db, run.id, now=NOW).states == {"parked": 1}
    assert rows(db, "SELECT reasons[1] FROM bills.item") == [("bills.terms_change_inside",)]


def test_discounts_are_asked_for_and_decided_from_the_command_line(
    db: Database, database_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    works(db)
    config = installation(tmp_path, database_dsn)
    all_signed_in(db, config, monkeypatch, "reza", "lin")

    def cli(*words: str) -> dict[str, Any]:
        given = ["customer", *words, "--config", str(config), "--json"]
        answer: dict[str, Any] = json.loads(CliRunner().invoke(app, given).stdout)
        return answer

    made = cli("ask-discount", "SA-000001", "--evidence", "licence 4711", "--from", "2026-02-01",
               "--until", "2027-02-01", "--actor", "user:reza")  # fmt: skip
    assert made["granted"] is None
    assert [one["id"] for one in cli("discounts", "--waiting")["discounts"]] == [made["id"]]
    alone = cli("decide-discount", str(made["id"]), "grant", "--reason", "ok", "--actor",
                "user:reza")  # fmt: skip
    assert alone["error"]["code"] == "customers.same_person"
    done = cli("decide-discount", str(made["id"]), "grant", "--reason", "ok", "--actor", "user:lin")
    assert done["granted"] is True
    assert cli("discounts", "--waiting")["discounts"] == []
