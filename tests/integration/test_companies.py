"""A company with several supplies: one bill over all, one payment for all, and discounts shown."""

import io
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pypdf
import pytest
from typer.testing import CliRunner

from billing.bills.model import BillKind
from billing.bills.service import asking, collective, corrections
from billing.bills.service import run as runs
from billing.bills.service.corrections import Order
from billing.customers import service as customers
from billing.customers.model import AccountId, CustomerId, CustomerKind, NewCustomer
from billing.payments.model import PaymentOrder
from billing.payments.service import collective as company_payments
from cloud.store.db import Database
from meterloop.cli import app
from protocols.errors import RefusedError
from tests.integration.billing_kit import rows
from tests.integration.bills_kit import FEB, JAN, NOW, ZONE, book, household, read
from tests.integration.people_kit import all_signed_in
from tests.integration.test_billing_bills_cli import installation

YUAN = 1_000_000
BILLED = [62_150_000, 389_850_000, 3_390_000]
"""100 kWh: 52 + 3 + 7.15; 600 kWh: 260 + 82 + 3 + 44.85; none: 3 + 0.39."""


def branch(number: int, **changes: Any) -> NewCustomer:
    """Return one of the supplies of the company CU-FIRM."""
    return household(
        number, customer=CustomerId("CU-FIRM"), name="渝北商贸公司", kind=CustomerKind.LEGAL,
        **changes,
    )  # fmt: skip


def firm(db: Database) -> None:
    """Bill three supplies of a company for January, and found its collective."""
    book(db, *(branch(n) for n in (1, 2, 3)), household(4))
    for number, kwh in ((1, 1_100), (2, 1_600), (3, 1_000), (4, 1_010)):
        read(db, number, FEB, kwh)
    run = runs.open_run(db, start=JAN, end=FEB, zone=ZONE, actor="user:reza", now=NOW)
    runs.advance(db, run.id, now=NOW)
    found_company(db, "AC-000001", "AC-000002", "AC-000003")


def found_company(db: Database, *accounts: str) -> None:
    customers.found_collective(db, "CO-1", "CU-FIRM", "CNY", accounts, actor="user:reza", now=NOW)


def issued(db: Database) -> Any:
    return collective.issue(db, "CO-1", start=JAN, end=FEB, actor="user:reza", now=NOW)


def balances(db: Database) -> list[int]:
    with db.transaction() as conn:
        return [-debt for debt in company_payments.debts_of(
            conn, ["AC-000001", "AC-000002", "AC-000003"])]  # fmt: skip


def paid(txn: str, yuan: int, **changes: Any) -> PaymentOrder:
    base = PaymentOrder(
        channel="bank", peer_txn_id=txn, account=AccountId("CO-1"), amount_micros=yuan * YUAN,
        currency="CNY", peer_time=NOW, actor="peer:bank",
    )  # fmt: skip
    return replace(base, **changes)


@pytest.mark.req("G22")
def test_one_bill_over_all_supplies_adds_up_and_is_issued_once(
    db: Database, database_dsn: str
) -> None:
    firm(db)
    with Database(database_dsn, user="meterloop_portal", application="test") as portal:
        first = issued(portal)
    assert first == issued(db), "the same bills again are the same document"
    assert first.total_micros == first.posted_micros == sum(BILLED)
    with db.transaction() as conn:
        parts = collective.parts_of(conn, first)
        octets = collective.pdf_of(conn, "CO-1", first.id)
        again = collective.pdf_of(conn, "CO-1", first.id)
    assert [part.total_micros for part in parts] == BILLED
    assert octets == again
    text = "".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(octets)).pages)
    assert "455.39" in text
    assert all(part.number in text.replace("\n", "") for part in parts)
    assert "渝北商贸公司" in text


@pytest.mark.req("G22", "G20")
def test_after_a_correction_the_company_gets_another_bill(db: Database) -> None:
    firm(db)
    first = issued(db)
    with db.transaction() as conn:
        wrong = asking.bills_of(conn, "AC-000002")[0]
    order = Order(reason="misread", actor="user:reza")
    corrections.correct(
        db, wrong.id, kind=BillKind.CORRECTIVE_READING, wh=1_100_000, order=order, now=NOW
    )
    second = issued(db)
    assert (second.seq, second.total_micros) == (2, 62_150_000 * 2 + 3_390_000)
    assert first.number != second.number


def test_a_supply_without_a_bill_is_named_not_left_out(db: Database) -> None:
    book(db, branch(1), branch(2))
    read(db, 1, FEB, 1_100)
    found_company(db, "AC-000001", "AC-000002")
    with pytest.raises(RefusedError) as refused:
        issued(db)
    assert refused.value.refusal.value == "bills.collective_incomplete"
    assert "AC-000001, AC-000002" in refused.value.message


@pytest.mark.req("G22", "H2")
def test_one_payment_pays_every_supply_in_order_and_once(db: Database) -> None:
    firm(db)
    assert balances(db) == [-62_150_000, -389_850_000, -3_390_000]
    receipts = company_payments.pay(db, paid("T-1", 400), now=NOW)
    assert [one.amount_micros for one in receipts] == [62_150_000, 337_850_000]
    assert balances(db) == [0, -52_000_000, -3_390_000]
    again = company_payments.pay(db, paid("T-1", 400), now=NOW + timedelta(hours=1))
    assert [one.receipt_no for one in again] == [one.receipt_no for one in receipts]
    assert all(one.replayed for one in again)
    assert balances(db) == [0, -52_000_000, -3_390_000]
    company_payments.pay(db, paid("T-2", 100), now=NOW)
    assert balances(db) == [0, 0, 0]
    held = rows(db, "SELECT posted_cr - posted_dr FROM ledger.account WHERE code = 'AC-000001'")
    assert held == [(500 * YUAN - sum(BILLED),)], "what is left goes to the first account"
    for wrong, code in (
        (paid("T-1", 401), "payments.conflict"),
        (paid("T-3", 1, currency="UZS"), "payments.currency"),
        (paid("T-3", 1, account=AccountId("CO-9")), "customers.collective_unknown"),
    ):
        with pytest.raises(RefusedError) as refused:
            company_payments.pay(db, wrong, now=NOW)
        assert refused.value.refusal.value == code


def test_members_are_the_companys_own_and_of_one_collective(db: Database) -> None:
    firm(db)
    for accounts in (
        ("AC-000001", "AC-000004"), (), ("AC-000001", "AC-000001"), ("AC-000099",),
    ):  # fmt: skip
        with pytest.raises(RefusedError) as refused:
            found_company(db, *accounts)
        assert refused.value.refusal.value == "customers.collective"
    with pytest.raises(RefusedError):
        customers.found_collective(
            db, "CO-2", "CU-FIRM", "CNY", ["AC-000001"], actor="user:reza", now=NOW
        )
    with pytest.raises(psycopg.errors.IntegrityConstraintViolation), db.transaction() as conn:
        conn.execute(
            "INSERT INTO customers.collective_member VALUES ('CO-1', 'AC-000004', 9, now(), NULL)"
        )
    found_company(db, "AC-000003", "AC-000001")
    with db.transaction() as conn:
        assert customers.collective_of(conn, "CO-1").accounts == ("AC-000003", "AC-000001")


def test_companies_and_their_bills_from_the_command_line(
    db: Database, database_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    firm(db)
    config = installation(tmp_path, database_dsn)
    all_signed_in(db, config, monkeypatch, "reza", "lin")

    def cli(*words: str) -> dict[str, Any]:
        result = CliRunner().invoke(app, [*words, "--config", str(config), "--json"])
        answer: dict[str, Any] = json.loads(result.stdout)
        assert answer["ok"], result.output
        return answer

    made = cli("customer", "company", "CO-1", "--customer", "CU-FIRM", "--account", "AC-000002",
               "--account", "AC-000001")  # fmt: skip
    assert made["accounts"] == ["AC-000002", "AC-000001"]
    assert cli("customer", "companies", "FIRM")["companies"][0]["id"] == "CO-1"
    bill = cli("bill", "company", "issue", "CO-1", "--start", "2026-01-01", "--end", "2026-02-01")
    assert bill["total_micros"] == BILLED[0] + BILLED[1]
    assert cli("bill", "company", "show", "CO-1")["bills"][0]["number"] == bill["number"]
    out = tmp_path / "firm.pdf"
    cli("bill", "company", "print", "CO-1", str(bill["id"]), "--out", str(out))
    assert out.read_bytes().startswith(b"%PDF")
